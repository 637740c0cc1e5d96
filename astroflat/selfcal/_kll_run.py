# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From frames and offsets to a flat: settings, colours, packing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._exceptions import DegenerateDithersError
from astroflat._progress import progress
from astroflat.selfcal._kll_bend import Bend, fix_bend
from astroflat.selfcal._kll_error import FlatError, estimate_error
from astroflat.selfcal._kll_fit import SkyFit
from astroflat.selfcal._kll_frames import Frames, merge_frames, planes_of
from astroflat.selfcal._kll_geometry import (
    DitherGeometry,
    remove_modes,
    study_dithers,
)
from astroflat.selfcal._kll_plane import Plane, fix_plane
from astroflat.selfcal._kll_weigh import count_samples, doubtful

if TYPE_CHECKING:
    from astroflat.combine._request import Request
    from astroflat.selfcal._kll_frames import Plane as ColorPlane
    from astroflat.selfcal._kll_settings import Settings
    from astroflat.selfcal.shifts import Shifts
    from astroflat.solution import FlatSolution

__all__ = ['PlaneResult', 'run']

# Frames closer than this are not told apart if there are too many, in pixels.
_CELLS = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0)


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
    from astroflat.selfcal.shifts import Shifts, measure_shifts

    if isinstance(offsets, Shifts):
        found = offsets
    elif offsets is None:
        found = measure_shifts(
            request.stack,
            bias=request.planes()['bias'],
            dark=request.planes()['dark'],
            mask=settings.mask,
            n_threads=settings.threads,
            client=settings.client,
            progress_bar=settings.progress_bar,
        )
    else:
        found = Shifts.given(offsets)
    n = len(request.stack)
    if len(found.offsets) != n:
        msg = f'offsets must have the shape ({n}, 2), not {found.offsets.shape}'
        raise ValueError(msg)
    return found


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
    labels = _labels(offsets, groups, settings.max_frames)
    if labels is not None:
        frames, offsets, groups, weights = _merge(
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
    fit.settle()
    plane = Plane(np.zeros(2), np.zeros((2, 2)), 0.0)
    if settings.levels == 'free':
        plane = fix_plane(fit)
    coverage = count_samples(fit)
    bad = (coverage == 0) | doubtful(fit)
    fit.seen &= ~bad
    bend = Bend() if geometry.degenerate else fix_bend(fit)
    sky = _sky(fit)
    error = estimate_error(fit, settings.rng)
    fit.release()
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
        log, variance = _smooth(log, variance, bad, settings.smooth)
    flat = np.exp(log, out=log)
    mean = np.mean(flat, where=~bad, dtype=np.float64) if (~bad).any() else 1
    flat /= np.float32(mean)
    flat[bad] = 1
    sigma = np.sqrt(variance, out=variance)
    sigma *= flat
    return PlaneResult(flat, sigma, bad, coverage, sky, fit, error, plane, bend, lost)


def _sky(fit: SkyFit) -> np.ndarray:
    """Return the sky, NaN where no frame looks."""
    unseen = fit.operator().coverage() <= 0
    sky = fit.sky.copy()
    np.exp(np.clip(sky, -60, 60, out=sky), out=sky)
    sky[unseen] = np.nan
    sky = sky.reshape(len(fit.layout.origins), *fit.layout.block)
    return sky[0] if len(sky) == 1 else sky


def _smooth(
    log: np.ndarray, variance: np.ndarray, bad: np.ndarray, sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """Average over a Gaussian by information; constants stay constant."""
    from scipy.ndimage import gaussian_filter

    weight = np.where(bad, 0, 1 / np.maximum(variance, 1e-12))
    # What is large bends at the borders, where a mean is one-sided.
    base = _polynomial(log, weight)
    total = np.maximum(gaussian_filter(weight, sigma), 1e-12)
    smooth = base + gaussian_filter(weight * (log - base), sigma) / total
    # White noise under a Gaussian of this width.
    fewer = max(1.0, 4 * np.pi * sigma**2)
    return smooth.astype(np.float32), variance / fewer


def _polynomial(log: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the polynomial of degree 4 through an image."""
    axes = [np.linspace(-1, 1, m) for m in log.shape]
    powers = [np.polynomial.legendre.legvander(a, 4) for a in axes]
    pairs = [(i, j) for i in range(5) for j in range(5 - i)]
    step = [max(1, m // 64) for m in log.shape]
    part = tuple(slice(s // 2, None, s) for s in step)
    terms = np.stack(
        [np.outer(powers[0][part[0], i], powers[1][part[1], j]) for i, j in pairs], -1
    )
    root = np.sqrt(weight[part] / max(float(weight.max()), 1e-30))
    fit, *_ = np.linalg.lstsq(
        (terms * root[..., None]).reshape(-1, len(pairs)),
        (log[part] * root).ravel(),
        rcond=None,
    )
    return sum(
        c * np.outer(powers[0][:, i], powers[1][:, j])
        for c, (i, j) in zip(fit, pairs, strict=True)
    )


def _labels(
    offsets: np.ndarray, groups: np.ndarray, max_frames: int
) -> np.ndarray | None:
    """Return which frames to average; None to average none."""
    if len(offsets) <= max_frames:
        return None
    for cell in _CELLS:
        key = np.column_stack([np.floor(offsets / cell), groups]).astype(int)
        _, labels = np.unique(key, axis=0, return_inverse=True)
        labels = labels.ravel()
        if labels.max() < max_frames:
            break
    # In the order of time, so that every other one is a fair half.
    _, first = np.unique(labels, return_index=True)
    return np.argsort(np.argsort(first))[labels]


def _merge(
    frames: Frames,
    labels: np.ndarray,
    offsets: np.ndarray,
    groups: np.ndarray,
    weights: np.ndarray | None,
    settings: Settings,
) -> tuple:
    """Average frames, and everything that belongs to them."""
    number = np.bincount(labels).astype(float)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(labels, values) / number

    share = number / number.max()
    if weights is not None:
        if weights.ndim == 3:
            msg = (
                f'weights of each sample need each frame; pass max_frames={len(labels)}'
            )
            raise ValueError(msg)
        share = (
            share * mean(weights)
            if weights.ndim == 1
            else share[:, None, None] * (weights)
        )
    count = iter(
        progress(range(len(labels)), enabled=settings.progress_bar, description='read')
    )
    merged = merge_frames(
        frames, labels, lambda _: next(count, None), mem_limit=settings.mem_limit
    )
    places = np.column_stack([mean(offsets[:, 0]), mean(offsets[:, 1])])
    return merged, places, mean(groups.astype(float)).astype(int), share


def _typical(uncertainty: np.ndarray | None) -> float:
    """Return the median uncertainty of an offset; 0 if it is not known."""
    if uncertainty is None:
        return 0.0
    known = uncertainty[np.isfinite(uncertainty)]
    return float(np.median(known)) if known.size else 0.0
