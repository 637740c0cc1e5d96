# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From frames and offsets to a flat: settings, colours, packing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._exceptions import DegenerateDithersError
from astroflat._progress import progress
from astroflat.selfcal._kll_bend import Bend, fix_bend
from astroflat.selfcal._kll_error import FlatError, estimate_error
from astroflat.selfcal._kll_fit import SkyFit
from astroflat.selfcal._kll_frames import Frames, planes_of
from astroflat.selfcal._kll_geometry import (
    DitherGeometry,
    remove_modes,
    study_dithers,
)
from astroflat.selfcal._kll_islands import islands, lonely
from astroflat.selfcal._kll_merge import merge, merge_labels
from astroflat.selfcal._kll_park import Parked
from astroflat.selfcal._kll_plane import Plane, fix_plane
from astroflat.selfcal._kll_smooth import smooth_flat
from astroflat.selfcal._kll_weigh import count_samples, doubtful, settle

if TYPE_CHECKING:
    from astroflat.combine._request import Request
    from astroflat.selfcal._kll_frames import Plane as ColorPlane
    from astroflat.selfcal._kll_settings import Settings
    from astroflat.selfcal.shifts import Shifts
    from astroflat.solution import FlatSolution

__all__ = ['PlaneResult', 'run']


@dataclass(frozen=True)
class PlaneResult:
    """
    What was found for one colour.

    Attributes
    ----------
    flat, sigma : `~numpy.ndarray`
        Mean 1, and 1 standard deviation.

    bad : `~numpy.ndarray` of bool
        Pixels that nothing is known of.

    coverage : `~numpy.ndarray` of int
        Samples behind each pixel.

    sky : `~numpy.ndarray`
        The sky of each group, NaN where no frame looks.

    fit : SkyFit
        The fit, without residuals and weights.

    error : FlatError
        Its uncertainty.

    plane : Plane
        The slope.

    bend : Bend
        What goes with the squares of the coordinates.

    lost : float
        The rms of undetermined patterns that were left out.
    """

    flat: np.ndarray
    sigma: np.ndarray
    bad: np.ndarray
    coverage: np.ndarray
    sky: np.ndarray
    fit: SkyFit
    error: FlatError
    plane: Plane
    bend: Bend
    lost: float


def run(request: Request, offsets: Any, settings: Settings) -> FlatSolution:
    """
    Find the flat of a stack.

    Parameters
    ----------
    request : Request
        The frames with their calibration.

    offsets : array_like, Shifts or None
        The offsets of the frames.

    settings : Settings
        Everything else.

    Returns
    -------
    solution : FlatSolution
        As `kll_flat` returns.
    """
    from astroflat.selfcal._kll_pack import pack

    shifts = _shifts(request, offsets, settings)
    shape = request.stack.shape
    planes = planes_of(shape[1:], request.stack.color)
    step = planes[0].step
    groups = islands(shifts.offsets, shape[1:3], settings.groups)
    _tell_lonely(groups, settings.groups)
    settings = replace(settings, groups=groups)
    geometry = study_dithers(
        shifts.offsets / step,
        tuple(m // step for m in shape[1:3]),
        groups=settings.groups,
        uncertainty=_typical(shifts.uncertainty) / step,
    )
    _refuse(geometry, settings.on_degenerate)
    done = [_solve(request, shifts.offsets, p, geometry, settings) for p in planes]
    return pack(request, shifts, geometry, planes, done, settings)


def _shifts(request: Request, offsets: Any, settings: Settings) -> Shifts:
    """Return the offsets, measured if they were not given."""
    from astroflat.selfcal._shift_run import ShiftSettings, find_shifts
    from astroflat.selfcal.shifts import Shifts

    if isinstance(offsets, Shifts):
        found = offsets
    elif offsets is None:
        wanted = ShiftSettings(
            mask=settings.mask,
            threads=settings.threads,
            client=settings.client,
            progress_bar=settings.progress_bar,
        )
        found = find_shifts(request, wanted)
    else:
        found = Shifts.given(offsets)
    n = len(request.stack)
    if len(found.offsets) != n:
        msg = f'offsets must have the shape ({n}, 2), not {found.offsets.shape}'
        raise ValueError(msg)
    return found


def _tell_lonely(groups: np.ndarray, given: np.ndarray) -> None:
    """Warn of frames that cannot be compared with any other."""
    from astroflat.io._warn import warn_user

    alone = sorted(set(lonely(groups)) - set(lonely(given)))
    if alone:
        warn_user(
            f'the frames {alone} overlap with no other and tell nothing about the flat'
        )


def _refuse(geometry: DitherGeometry, on_degenerate: str) -> None:
    """Raise or warn if the offsets leave something undetermined."""
    if not geometry.degenerate or on_degenerate == 'ignore':
        return
    from astroflat.io._warn import warn_user

    words = '; '.join(geometry.modes)
    if on_degenerate == 'warn':
        warn_user(f'the flat leaves out what the offsets cannot tell: {words}')
        return
    msg = (
        f'the offsets of the frames cannot tell the flat from the sky: {words}. Move '
        "the telescope irregularly in two directions, or pass on_degenerate='warn' for "
        'a flat without these patterns'
    )
    raise DegenerateDithersError(msg, geometry.modes)


def _solve(
    request: Request,
    offsets: np.ndarray,
    plane: ColorPlane,
    geometry: DitherGeometry,
    settings: Settings,
) -> PlaneResult:
    """Find the flat of one colour."""
    frames: Any = Frames(request, plane, settings.mask)
    offsets = offsets / plane.step
    groups, weights = settings.groups, settings.weights
    if weights is not None and weights.ndim > 1:
        weights = plane.cut(weights) if plane.channel is None else weights
    labels = merge_labels(offsets, groups, settings.max_frames)
    if labels is not None:
        frames, offsets, groups, weights = merge(
            frames, labels, offsets, groups, weights, settings
        )
    fit = SkyFit(frames, offsets, groups, settings.fit, weights)
    passes = iter(
        progress(
            range(settings.fit.passes),
            enabled=settings.progress_bar,
            description='flat',
        )
    )
    fit.run(lambda _: next(passes, None))
    return _finish(fit, geometry, settings)


def _finish(fit: SkyFit, geometry: DitherGeometry, settings: Settings) -> PlaneResult:
    """Settle what the fit leaves open, and find the uncertainty."""
    settle(fit)
    plane = Plane(np.zeros(2), np.zeros((2, 2)), 0.0)
    if settings.levels == 'free':
        plane = fix_plane(fit)
    coverage = count_samples(fit)
    bad = (coverage == 0) | doubtful(fit)
    fit.there = np.zeros(0, dtype=np.uint16)
    fit.seen &= ~bad
    bend = Bend() if geometry.degenerate else fix_bend(fit)
    parked = Parked([_sky(fit), coverage, fit.flat])
    del coverage
    fit.sky = np.zeros(0, dtype=np.float32)
    if not fit.options.ridge:
        # Only its shape is asked for.
        fit.flat = np.broadcast_to(np.float32(0), fit.flat.shape)
    error = estimate_error(fit, settings.rng)
    fit.release()
    sky, coverage, fit.flat = parked.back()
    part = remove_modes(np.where(bad, 0, fit.flat), geometry)
    part -= part.mean() if geometry.kind != 'still' else 0
    log = fit.flat - part
    lost = float(np.sqrt(np.mean(part[~bad] ** 2))) if (~bad).any() else 0.0
    variance = error.variance
    if lost:
        variance = variance + np.float32(0.5) * (part**2 + np.float32(lost**2))
    if settings.levels == 'free' and not geometry.degenerate:
        variance = plane.add_to(variance)
    variance = bend.add_to(variance)
    if settings.smooth is not None:
        log, variance = smooth_flat(log, variance, bad, settings.smooth)
    flat = np.exp(log, out=log)
    mean = np.mean(flat, where=~bad, dtype=np.float64) if (~bad).any() else 1
    flat /= np.float32(mean)
    flat[bad] = 1
    sigma = np.sqrt(variance, out=variance)
    sigma *= flat
    return PlaneResult(
        flat, sigma, bad, coverage.astype(np.int32), sky, fit, error, plane, bend, lost
    )


def _sky(fit: SkyFit) -> np.ndarray:
    """Return the sky, NaN where no frame looks; that of the fit is used up."""
    unseen = fit.operator().coverage() <= 0
    sky = fit.sky
    np.exp(np.clip(sky, -60, 60, out=sky), out=sky)
    sky[unseen] = np.nan
    sky = sky.reshape(len(fit.layout.origins), *fit.layout.block)
    return sky[0] if len(sky) == 1 else sky


def _typical(uncertainty: np.ndarray | None) -> float:
    """Return the median uncertainty of an offset; 0 if it is not known."""
    if uncertainty is None:
        return 0.0
    known = uncertainty[np.isfinite(uncertainty)]
    return float(np.median(known)) if known.size else 0.0
