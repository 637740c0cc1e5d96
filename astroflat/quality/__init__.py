# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How good a correction is: measures against truth, of real frames, and reports.

Against truth: `flat_residual` for flats; `image_metrics`, `match_sources`,
`flux_scatter` and `detection_curve` for images. Without truth:
`photometric_flatness` and `stack_flatness` of many frames, `inject_audit` of
anything that takes and returns an image, and `do_no_harm`. `evaluate_flat`,
`evaluate_image` and `evaluate_frames` do all that applies, and report.
"""

from __future__ import annotations

import importlib
from typing import Any

# Public name -> module: a command that writes a report needs no tables and no
# photometry, so nothing is imported before it is asked for.
_NAMES = {
    'DetectionCurve': 'curve',
    'DetectionSettings': 'detection',
    'Evaluation': 'evaluation',
    'HarmLimits': 'limits',
    'InjectionAudit': 'audit',
    'PhotometricFlatness': 'repeatability',
    'QualityReport': 'report',
    'SourceMatch': 'matching',
    'detection_curve': 'curve',
    'do_no_harm': 'harm',
    'evaluate_flat': 'evaluation',
    'evaluate_frames': 'evaluation',
    'evaluate_image': 'evaluation',
    'faintest_flux': 'detection',
    'find_sources': 'detection',
    'flat_residual': 'metrics',
    'flux_scatter': 'photometry',
    'image_metrics': 'images',
    'inject_audit': 'audit',
    'match_sources': 'matching',
    'measure_fwhm': 'width',
    'pair_sources': 'pairing',
    'photometric_flatness': 'repeatability',
    'stack_flatness': 'flatness',
    'to_mmag': 'report',
}

__all__ = sorted(_NAMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _NAMES:
        msg = f'module {__name__!r} has no attribute {name!r}'
        raise AttributeError(msg)
    value = getattr(importlib.import_module(f'{__name__}.{_NAMES[name]}'), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
