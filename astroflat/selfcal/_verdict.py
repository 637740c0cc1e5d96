# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What a flat from the sky is worth, in numbers and words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from astroflat._report import QualityReport, to_mmag
from astroflat.selfcal._prior import gradient_basis

if TYPE_CHECKING:
    from astroflat.selfcal._fine import Fine
    from astroflat.selfcal._job import Detail, Job

__all__ = ['LIMITS', 'judge_flat']

LIMITS = {
    'sigma_over_flat_accept': 0.45,
    'sigma_over_flat_reject': 0.9,
    'left_over_nothing_reject': 0.5,
    'object_percent_accept': 15.0,
    'object_percent_reject': 60.0,
    'n_places_reject': 3.0,
    'sky_scatter_percent_accept': 0.8,
    'covered_percent_accept': 75.0,
    'chi_accept': 1.5,
    'shared_over_flat_accept': 0.3,
    'n_frames_accept': 5,
}


def judge_flat(
    job: Job, detail: Detail, method: str, notes: list[str]
) -> QualityReport:
    """
    Compare a flat with doing nothing.

    Parameters
    ----------
    job : Job
        How it was made.

    detail : Detail
        The flat.

    method : str
        Its name.

    notes : list of str
        What keeps it from being accepted, known beforehand.

    Returns
    -------
    report : QualityReport
        Numbers and verdict.
    """
    fit = job.light.fit
    flat, sigma = detail.flat, detail.sigma
    left, nothing = _across_halves(job, detail.fine)
    numbers: dict[str, Any] = {
        'n_frames': job.night.n,
        'flat_percent': 100 * float(np.sqrt(np.mean((flat - 1) ** 2))),
        'sigma_percent': 100 * float(np.sqrt(np.mean((sigma / flat) ** 2))),
        'nothing_percent': nothing,
        'left_percent': left,
        'covered_percent': 100 * float(np.mean(detail.fine.count > 0)),
        'masked_percent': 100 * float(np.mean([p.mean() for p in job.objects.planes])),
        'object_percent': 100 * fit.numbers['object_share'],
        'sky_scatter_percent': 100 * fit.numbers['sky_scatter'],
        'n_places': job.places if job.scene else float(job.night.n),
        'chi': fit.numbers['chi'],
        'gradient_percent': 100 * _rms_gradient(job, shared=False),
        'shared_gradient_percent': 100 * _rms_gradient(job, shared=True),
        **detail.numbers,
    }
    numbers['sigma_mmag'] = to_mmag(numbers['sigma_percent'] / 100)
    report = QualityReport(method, numbers, dict(LIMITS))
    for note in notes:
        report = report.check(False, 'weak', note)
    return _check(report)


def _check(report: QualityReport) -> QualityReport:
    """Apply the limits."""
    n, limits = report.numbers, report.thresholds
    ratio = n['sigma_percent'] / max(n['flat_percent'], 1e-9)
    moves = n['n_places'] / limits['n_places_reject']
    text = (
        f'the flat is {n["flat_percent"]:.2f} % and known to {n["sigma_percent"]:.2f} %'
    )
    if ratio >= limits['sigma_over_flat_reject']:
        report = report.check(False, 'reject', text + ': doing nothing is as good')
    else:
        passed = ratio < limits['sigma_over_flat_accept']
        report = report.check(passed, 'weak', text)
    left = n['left_percent'] < limits['left_over_nothing_reject'] * n['nothing_percent']
    report = report.check(
        left,
        'reject',
        f'one half of the frames leaves {n["left_percent"]:.2f} % in the other, '
        f'doing nothing {n["nothing_percent"]:.2f} %',
    )
    little_sky = (
        n['object_percent'] < limits['object_percent_accept']
        and n['sky_scatter_percent'] < limits['sky_scatter_percent_accept']
    )
    report = report.check(
        n['object_percent'] < limits['object_percent_reject'] * min(moves, 1.0),
        'reject',
        f'diffuse light covers {n["object_percent"]:.0f} % of the sky, and a pixel '
        f'sees {n["n_places"]:.1f} places of it',
    )
    report = report.check(
        little_sky,
        'weak',
        f'light that moves with the sky covers {n["object_percent"]:.0f} % of it, and '
        f'what passes for sky varies by {n["sky_scatter_percent"]:.1f} %',
    )
    report = report.check(
        n['covered_percent'] > limits['covered_percent_accept'],
        'weak',
        f'only {n["covered_percent"]:.0f} % of the pixels ever show the sky',
    )
    report = report.check(
        n['chi'] < limits['chi_accept'],
        'weak',
        f'the frames differ from the model by {n["chi"]:.1f} times their noise',
    )
    shared = n['shared_gradient_percent']
    report = report.check(
        shared < limits['shared_over_flat_accept'] * n['flat_percent'],
        'weak',
        f'a gradient of {shared:.1f} % is the same in all frames and could as well be '
        'part of the flat',
    )
    return report.check(
        n['n_frames'] >= limits['n_frames_accept'],
        'weak',
        f'only {n["n_frames"]} frames',
    )


def _rms_gradient(job: Job, *, shared: bool) -> float:
    """Return the gradients, or their mean, relative to the levels."""
    x, y = job.grid.xy
    basis = np.stack(gradient_basis(x, y), axis=1)
    terms = job.light.fit.terms
    terms = terms.mean(axis=0, keepdims=True) if shared else terms
    fields = terms @ (basis - basis.mean(axis=0)).T
    return float(np.sqrt(np.mean(fields**2)))


def _across_halves(job: Job, fine: Fine) -> tuple[float, float]:
    """
    Correct one half of the frames by the flat of the other, in per cent.

    The noise of both is smoothed away over some pixels; the coarse fit is
    common to both, so this is about dust and detail, and about whether there
    is anything to correct at all.
    """
    smooth = job.light.flat()
    first, second = (_smooth(half) for half in fine.halves)
    known = np.isfinite(first) & np.isfinite(second)
    if not known.any():
        return np.nan, np.nan
    nothing = (smooth * second)[known]
    nothing = nothing / np.median(nothing) - 1
    left = (second / first)[known]
    left = left / np.median(left) - 1
    return tuple(100 * float(np.sqrt(np.mean(v**2))) for v in (left, nothing))


def _smooth(image: np.ndarray, sigma: float = 4.0) -> np.ndarray:
    """Smooth an image, NaN where it is mostly not known."""
    known = np.isfinite(image)
    share = ndimage.gaussian_filter(known.astype(np.float32), sigma)
    value = ndimage.gaussian_filter(np.where(known, image, 0), sigma)
    return np.where(share > 0.3, value / np.maximum(share, 1e-6), np.nan)
