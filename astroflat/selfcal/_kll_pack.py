# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The result of `kll_flat`: one flat of all colours, and what it is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._provenance import record
from astroflat._report import QualityReport, to_mmag
from astroflat.solution import FlatSolution

if TYPE_CHECKING:
    from astropy.nddata import CCDData

    from astroflat.combine._request import Request
    from astroflat.selfcal._kll_frames import Plane
    from astroflat.selfcal._kll_geometry import DitherGeometry
    from astroflat.selfcal._kll_run import PlaneResult
    from astroflat.selfcal._kll_settings import Settings
    from astroflat.selfcal.shifts import Shifts

__all__ = ['LIMITS', 'pack']

# The limits of the verdict: errors as shares of what doing nothing leaves.
LIMITS = {
    'error_over_flat_accept': 1 / 3,
    'error_over_flat_reject': 1.0,
    'split_accept': 2.0,
    'split_reject': 10.0,
    'misfit_accept': 3.0,
    'unknown_percent_accept': 10.0,
    'bend_percent_reject': 4.0,
}


def pack(
    request: Request,
    shifts: Shifts,
    geometry: DitherGeometry,
    planes: list[Plane],
    done: list[PlaneResult],
    settings: Settings,
) -> FlatSolution:
    """
    Put the results of all colours into one.

    Parameters
    ----------
    request : Request
        The frames.

    shifts : Shifts
        Their offsets.

    geometry : DitherGeometry
        What these can tell.

    planes : list of Plane
        The colours.

    done : list of PlaneResult
        Their results.

    settings : Settings
        The settings.

    Returns
    -------
    solution : FlatSolution
        With report and stages.
    """
    shape = request.stack.shape[1:]

    def join(name: str) -> np.ndarray:
        return _join([getattr(r, name) for r in done], planes, shape)

    report = _report(done, geometry, shifts, len(request.stack))
    coverage = join('coverage')
    flat = _ccd(request, join('flat'), join('bad'), join('sigma'), coverage)
    record(
        flat.meta,
        'kll',
        history=f'{report.verdict}; flat from {len(request.stack)} dithered frames',
        add_keyword=settings.add_keyword,
        NCOMBINE=(len(request.stack), 'number of frames'),
        **_error_card(report.numbers['error_percent']),
    )
    stages = {
        'shifts': shifts,
        'offsets': shifts.offsets,
        'geometry': geometry,
        'levels': [np.exp(r.fit.levels) for r in done],
        'sky': [r.sky for r in done],
        'modes': list(geometry.modes),
    }
    return FlatSolution(
        flat, coverage=coverage, report=report, stages=stages, method='kll'
    )


def _error_card(percent: float) -> dict[str, tuple]:
    """Return the card of the error, if there is a number for it."""
    if not np.isfinite(percent):
        return {}
    return {'AFNOISE': (percent, '[%] expected error of the flat')}


def _ccd(
    request: Request,
    flat: np.ndarray,
    bad: np.ndarray,
    sigma: np.ndarray,
    coverage: np.ndarray,
) -> CCDData:
    """Return the flat with its uncertainty, mask and header."""
    from astropy import units as u
    from astropy.nddata import CCDData, StdDevUncertainty

    from astroflat.combine._core import CombineResult

    return CCDData(
        flat,
        unit=u.dimensionless_unscaled,
        mask=bad if bad.any() else None,
        uncertainty=StdDevUncertainty(sigma),
        meta=request._meta(CombineResult(coverage, None, coverage)),
    )


def _join(
    parts: list[np.ndarray], planes: list[Plane], shape: tuple[int, ...]
) -> np.ndarray:
    """Return the colours as one image."""
    if len(parts) == 1:
        return parts[0]
    image = np.empty(shape, dtype=parts[0].dtype)
    for part, plane in zip(parts, planes, strict=True):
        plane.cut(image)[...] = part
    return image


def _report(
    done: list[PlaneResult], geometry: DitherGeometry, shifts: Shifts, n: int
) -> QualityReport:
    """Say what the flat is worth, and judge."""
    numbers = _numbers(done)
    numbers.update(
        n_frames=n,
        n_merged=len(done[0].fit.frames),
        offsets_method=shifts.method,
        dither_px=geometry.spread[0],
        dither_across_px=geometry.spread[1],
        undetermined=list(geometry.modes),
    )
    return _judge(QualityReport('kll', numbers, dict(LIMITS)), geometry)


def _numbers(done: list[PlaneResult]) -> dict[str, Any]:
    """Return the worst of the colours."""
    rows = [_plane_numbers(result) for result in done]
    numbers = {}
    for name in rows[0]:
        values = [row[name] for row in rows if row[name] is not None]
        numbers[name] = max(values) if values else None
    numbers['converged'] = all(result.fit.converged for result in done)
    for name in ('error', 'flat'):
        numbers[f'{name}_mmag'] = to_mmag(numbers[f'{name}_percent'] / 100)
    return numbers


def _plane_numbers(result: PlaneResult) -> dict[str, Any]:
    """Return the numbers of one colour, errors and what doing nothing leaves."""
    good = ~result.bad
    some = good.any()
    squares = np.einsum('ij,ij->i', result.sigma, result.sigma * good)
    error = np.sqrt(squares.sum(dtype=float) / good.sum()) if some else np.inf
    error = float(error)
    spread = float(np.std(result.flat, where=good, dtype=float)) if some else 0.0
    # Slope and bend count as far as they are known: beyond that doing nothing
    # leaves them as open as the flat does.
    unsure = max(result.plane.mean_variance(result.flat.shape), 0.0)
    bend = result.bend
    slope = result.plane.total * np.array(result.flat.shape)
    rest = max(error**2 - unsure - bend.rms**2, 0.0)
    known = max(rest - result.lost**2, 0.0)
    known += min(float(slope @ slope) / 12, 9 * unsure)
    known += min(bend.size**2, 9 * bend.rms**2)
    flat = np.sqrt(max(spread**2 - known, 0) + result.lost**2)
    return {
        'error_percent': 100 * error,
        'known_error_percent': 100 * float(np.sqrt(rest)),
        'flat_percent': 100 * float(flat),
        'plane_percent': 100 * float(np.sqrt(unsure)),
        'bend_percent': 100 * bend.rms,
        'undetermined_percent': 100 * result.lost,
        'large_scale_percent': 100 * result.error.large,
        'noise_percent': 100 * result.error.noise,
        'split_ratio': result.error.split,
        'misfit_ratio': result.fit.misfit,
        'unknown_percent': 100 * float(np.mean(result.bad)),
        'min_coverage': int(result.coverage[good].min()) if good.any() else 0,
        'iterations': result.fit.iterations,
        'left_percent': 100 * result.fit.change,
    }


def _judge(report: QualityReport, geometry: DitherGeometry) -> QualityReport:
    """Compare the numbers with the limits."""
    n, limits = report.numbers, report.thresholds
    ratio, known = (
        n[name] / max(n['flat_percent'], 1e-9)
        for name in ('error_percent', 'known_error_percent')
    )
    text = (
        f'the flat may be off by {n["error_percent"]:.2g} %; doing nothing leaves '
        f'{n["flat_percent"]:.2g} %'
    )
    if known < limits['error_over_flat_accept'] < ratio:
        text += f'; levels leave its slope open by {n["plane_percent"]:.2g} %'
        text += f' and gradients its bend by {n["bend_percent"]:.2g} %'
    misfit = (
        f'frames differ from the model by {n["misfit_ratio"]:.1f} times their noise: '
        'does the sky change, or rotate?'
    )
    checks = [
        (known < limits['error_over_flat_reject'], 'reject', text),
        (
            n['bend_percent'] < limits['bend_percent_reject'],
            'reject',
            f'gradients of the frames leave the bend open by {n["bend_percent"]:.2g} %',
        ),
        (ratio < limits['error_over_flat_accept'], 'weak', text),
        (
            not geometry.degenerate,
            'weak',
            'the offsets cannot tell: ' + '; '.join(geometry.modes),
        ),
        (
            n['converged'],
            'weak',
            f'the iterations stopped with {n["left_percent"]:.2g} % left',
        ),
        (
            n['unknown_percent'] < limits['unknown_percent_accept'],
            'weak',
            f'{n["unknown_percent"]:.0f} % of the pixels are connected to no other',
        ),
        (n['misfit_ratio'] < limits['misfit_accept'], 'weak', misfit),
        *_split_checks(n['split_ratio'], limits),
    ]
    reasons = set()
    for passed, verdict, reason in checks:
        if not passed and reason not in reasons:
            report = report.check(passed, verdict, reason)
            reasons.add(reason)
    return report


def _split_checks(split: float | None, limits: dict) -> list[tuple]:
    """Return the checks of the two halves against each other."""
    if split is None:
        return []
    text = f'two halves of the frames differ by {split:.1f} times what noise explains'
    return [
        (split < limits['split_reject'], 'reject', text),
        (split < limits['split_accept'], 'weak', text),
    ]
