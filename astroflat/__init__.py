# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Flat-field calibration for when the real flats are missing, stale or wrong.

The camera sees ``I_obs = I_true * F + G``. astroflat finds the flat field F
and the additive gradient G from what there is, says how sure it is, and then
applies plain arithmetic.
"""

from __future__ import annotations

import importlib
from typing import Any

try:
    from astroflat._version import version as __version__
except ImportError:
    __version__ = '0.0.0'

# Public name -> module. Nothing is imported before it is asked for, so that
# the commands start at once.
_NAMES = {
    'AstroflatError': 'astroflat._exceptions',
    'AstroflatWarning': 'astroflat._exceptions',
    'DegenerateDithersError': 'astroflat._exceptions',
    'DegradationModel': 'astroflat.degradation.model',
    'Denoiser': 'astroflat.neural.denoiser',
    'FlatCorrector': 'astroflat.neural.corrector',
    'FlatSolution': 'astroflat.solution',
    'Restorer': 'astroflat.neural.restorer',
    'correct_frames': 'astroflat.pipelines.apply',
    'detect_dust': 'astroflat.dust',
    'dilate_mask': 'astroflat.dust',
    'dust_flat': 'astroflat.pipelines.dust_flat',
    'feather_mask': 'astroflat.dust',
    'inpaint': 'astroflat.dust',
    'kll_flat': 'astroflat.selfcal',
    'list_models': 'astroflat.neural.models',
    'match_histogram': 'astroflat.dust',
    'median_flat': 'astroflat.combine',
    'open_frames': 'astroflat.io',
    'read_image': 'astroflat.io',
    'repair_flat': 'astroflat.selfcal',
    'run_night': 'astroflat.pipelines.night',
    'self_flat': 'astroflat.selfcal',
    'sky_flat': 'astroflat.selfcal',
    'solve_fields': 'astroflat.selfcal',
    'star_flat': 'astroflat.selfcal',
    'synthetic_flat': 'astroflat.dust',
    'write_flat': 'astroflat.io',
}
_PACKAGES = (
    'combine',
    'degradation',
    'dust',
    'genai',
    'io',
    'neural',
    'pipelines',
    'psf',
    'quality',
    'selfcal',
    'visualization',
)

__all__ = ['__version__']
__all__ += [*_NAMES, *_PACKAGES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    """Import a public name or sub-package when it is first used."""
    if name in _NAMES:
        value = getattr(importlib.import_module(_NAMES[name]), name)
    elif name in _PACKAGES:
        value = importlib.import_module(f'astroflat.{name}')
    else:
        msg = f'module {__name__!r} has no attribute {name!r}'
        raise AttributeError(msg)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
