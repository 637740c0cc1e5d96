# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The ways to measure offsets, and when frames are refused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._progress import progress
from astroflat.selfcal._kll_frames import Frames, Plane
from astroflat.selfcal._shift_angle import find_angle, tile_similarity
from astroflat.selfcal._shift_phase import first_offsets
from astroflat.selfcal._shift_prepare import prepare
from astroflat.selfcal._shift_refine import refine
from astroflat.selfcal._shift_similarity import (
    Similarity,
    fit_similarity,
    match_stars,
    rotation_vote,
    wcs_pairs,
)
from astroflat.selfcal.shifts import Shifts

if TYPE_CHECKING:
    from astroflat.combine._request import Request

__all__ = ['ShiftSettings', 'find_shifts']

_METHODS = ('auto', 'wcs', 'stars', 'phase')
# Peaks of correlations below this many standard deviations are chance.
_CHANCE = 6.0
# And those below this many, if all others are much higher.
_SURE = 12.0
# The least correlation of a frame with the sky of all.
_ALIKE = 0.3
_FEWEST_STARS = 6


@dataclass(frozen=True)
class ShiftSettings:
    """
    The arguments of `measure_shifts`, see there.

    Attributes
    ----------
    method, reference, max_shift, max_distortion, mask, fwhm, max_size
        As there.

    threads, client, progress_bar
        As there; ``threads`` is ``n_threads``.
    """

    method: str
    reference: int | None
    max_shift: float | None
    max_distortion: float | None
    mask: np.ndarray | None
    fwhm: float
    max_size: int
    threads: int
    client: Any
    progress_bar: bool


class _UnalignedError(ValueError):
    """A frame that cannot be aligned."""


def find_shifts(request: Request, settings: ShiftSettings) -> Shifts:
    """
    Measure the offsets of a stack.

    Parameters
    ----------
    request : Request
        The frames.

    settings : ShiftSettings
        How.

    Returns
    -------
    shifts : Shifts
        As `measure_shifts` returns.
    """
    if settings.method not in _METHODS:
        msg = f'method must be one of {_METHODS}, not {settings.method!r}'
        raise ValueError(msg)
    reference = _reference(settings.reference, len(request.stack))
    if settings.method == 'wcs':
        return _check(_by_wcs(request, reference), request, settings)
    if settings.method == 'stars':
        return _check(_by_stars(request, reference, settings), request, settings)
    start = None
    if settings.method == 'auto' and all(_wcs_list(request)):
        start = _check(_by_wcs(request, reference), request, settings).offsets
    try:
        found = _by_phase(request, reference, settings, start)
    except _UnalignedError:
        if settings.method == 'phase':
            raise
        found = _by_stars(request, reference, settings)
    return _check(found, request, settings)


def _reference(reference: int | None, n: int) -> int:
    """Return the number of the reference frame."""
    if reference is None:
        return 0
    if not -n <= reference < n:
        msg = f'reference must be a frame, 0 to {n - 1}, not {reference}'
        raise ValueError(msg)
    return reference % n


def _check(shifts: Shifts, request: Request, settings: ShiftSettings) -> Shifts:
    """Refuse frames that are rotated, scaled or too far away."""
    label = request.stack.label
    if settings.max_shift is not None:
        far = np.abs(shifts.offsets).max(axis=1)
        k = int(np.argmax(far))
        if far[k] > settings.max_shift:
            msg = (
                f'frame {k} ({label(k)}) is shifted by {far[k]:.1f} px, more than '
                f'max_shift={settings.max_shift:g}'
            )
            raise ValueError(msg)
    if settings.max_distortion is None or shifts.rotation is None:
        return shifts
    reach = math.hypot(*request.stack.shape[1:3]) / 2
    turned = np.abs(np.radians(shifts.rotation)) * reach
    scaled = np.abs(shifts.scale - 1) * reach
    for name, moved, value in (
        ('rotated', turned, [f'{a:.3g} deg' for a in shifts.rotation]),
        ('scaled', scaled, [f'{s:.5f}' for s in shifts.scale]),
    ):
        k = int(np.argmax(moved))
        if moved[k] > settings.max_distortion:
            msg = (
                f'frame {k} ({label(k)}) is {name} by {value[k]} against frame '
                f'{shifts.reference}, {moved[k]:.1f} px at the corners; use frames of '
                'one position of the rotator and one side of the meridian, or pass a '
                'larger max_distortion'
            )
            raise ValueError(msg)
    return shifts


def _wcs_list(request: Request) -> list[Any]:
    """Return the celestial WCS of the frames, None where there is none."""
    from astropy.wcs import WCS

    stack = request.stack
    found: list[Any] = []
    for i, header in enumerate(stack.headers):
        if 'CTYPE1' in header:
            wcs = WCS(header, naxis=2)
        else:
            # Images in memory have it beside their headers.
            wcs = None if stack.video is not None else stack.ccd(i).wcs
        if wcs is None or not wcs.has_celestial:
            return [None]
        found.append(wcs)
    return found


def _by_wcs(request: Request, reference: int) -> Shifts:
    """Return what the WCS say."""
    found = _wcs_list(request)
    if not all(found):
        msg = (
            "method='wcs' needs a celestial WCS in the header of every frame; solve "
            "the frames first, or use method='phase'"
        )
        raise ValueError(msg)
    shape = request.stack.shape[1:3]
    centre = (np.array(shape) - 1) / 2
    fits = [
        fit_similarity(*wcs_pairs(own, found[reference], shape), centre)
        for own in found
    ]
    return _of_similarities(fits, 'wcs', reference, None)


def _of_similarities(
    fits: list[Similarity], method: str, reference: int, uncertainty: Any
) -> Shifts:
    """Put the fits of all frames together."""
    return Shifts(
        np.array([f.offset for f in fits]),
        uncertainty,
        method,
        np.degrees([f.rotation for f in fits]),
        np.array([f.scale for f in fits]),
        np.array([f.share for f in fits]),
        reference,
    )


def _by_phase(
    request: Request, reference: int, settings: ShiftSettings, start: np.ndarray | None
) -> Shifts:
    """Correlate, then fit sky, pattern and offsets together."""
    bar = settings.progress_bar
    logs, step = prepare(request, settings.mask, settings.max_size, bar=bar)
    shape = logs.shape[1:]
    most = min(settings.max_shift or np.inf, 0.9 * step * max(shape))
    if start is None:
        first, heights = first_offsets(logs, reference, most / step)
        _refuse_chance(heights, logs, reference, request)
    else:
        first, heights = start / step, np.full(len(logs), np.inf)
    fine = refine(logs, first, reference, settings.threads)
    moved = np.abs(fine.offsets - first).max(axis=1)
    lost = (fine.quality < _ALIKE) | (moved > 6)
    # Frames that show nothing cannot be told from those that do not move.
    if lost.any() and not (np.abs(first) < 1).all():
        k = int(np.flatnonzero(lost)[0])
        raise _UnalignedError(_words(k, logs, reference, request))
    rotation, scale = (
        _significant(v, np.hypot(*shape) / 2) for v in (fine.rotation, fine.scale)
    )
    for k in np.flatnonzero((rotation != 0) | (scale != 0)):
        # Beyond the first order, tiles tell it better.
        better = tile_similarity(logs[k], logs[reference], fine.offsets[k])
        if k != reference and better is not None:
            rotation[k], scale[k] = better.rotation, better.scale - 1
    rotation[reference] = scale[reference] = 0.0
    return Shifts(
        fine.offsets * step,
        fine.uncertainty * step,
        'phase',
        np.degrees(rotation),
        1 + scale,
        np.clip(fine.quality, 0, 1),
        reference,
    )


def _significant(values: np.ndarray, reach: float) -> np.ndarray:
    """Return measurements that stand out of their scatter, others as 0."""
    value, error = values.T
    # Seeing differs from frame to frame, the turning of the field hardly does.
    usual = 1.4826 * np.median(np.abs(np.diff(value))) / np.sqrt(2)
    floor = 5 * np.hypot(np.minimum(usual, 0.5 / reach), error)
    return np.where(np.abs(value) > floor, value, 0.0)


def _refuse_chance(
    heights: np.ndarray, logs: np.ndarray, reference: int, request: Request
) -> None:
    """Raise if the offset of a frame is nothing but the highest of many peaks."""
    usual = float(np.median(heights))
    lost = np.flatnonzero(heights < max(_CHANCE, min(_SURE, 0.35 * usual)))
    if lost.size:
        raise _UnalignedError(_words(int(lost[0]), logs, reference, request))


def _words(k: int, logs: np.ndarray, reference: int, request: Request) -> str:
    """Say why a frame cannot be aligned, with the angle if it is rotated."""
    angle = find_angle(logs[k], logs[reference])
    name = f'frame {k} ({request.stack.label(k)})'
    if np.isfinite(angle):
        return (
            f'{name} is rotated by about {angle:.1f} deg against frame {reference}; '
            'use frames of one position of the rotator and one side of the meridian'
        )
    return (
        f'{name} cannot be aligned with frame {reference}: it shows too little that '
        'both share. Leave it out, or give offsets'
    )


def _by_stars(request: Request, reference: int, settings: ShiftSettings) -> Shifts:
    """Find stars in all frames, and match them."""
    frames = Frames(request, _mono(request), settings.mask)
    lists = _find_all(frames, settings)
    lists = _without_still(lists)
    shape = request.stack.shape[1:3]
    centre = (np.array(shape) - 1) / 2
    there = lists[reference]
    fits = [
        _match(lists[k], there, centre, k, reference, request)
        for k in range(len(lists))
    ]
    error = np.array([f.error for f in fits])
    return _of_similarities(fits, 'stars', reference, error)


def _mono(request: Request) -> Plane:
    return Plane(channel=1 if len(request.stack.shape) == 4 else None)


def _find_all(frames: Frames, settings: ShiftSettings) -> list[np.ndarray]:
    """Return the places of the stars of all frames, the brightest first."""
    count = progress(
        range(len(frames)), enabled=settings.progress_bar, description='stars'
    )
    if settings.client is None:
        return [_places(*frames.frame(k), settings.fwhm) for k in count]
    futures = [
        settings.client.submit(_places, *frames.frame(k), settings.fwhm) for k in count
    ]
    return settings.client.gather(futures)


def _places(values: np.ndarray, bad: np.ndarray, fwhm: float) -> np.ndarray:
    """Return the places of stars, the brightest first."""
    from astroflat.quality import DetectionSettings, find_sources

    level = float(np.median(values[~bad])) if (~bad).any() else 0.0
    data = np.where(bad, level, values)
    found = find_sources(data, mask=bad, settings=DetectionSettings(fwhm=fwhm))[:400]
    return np.column_stack([found['y'], found['x']]).astype(float)


def _without_still(lists: list[np.ndarray]) -> list[np.ndarray]:
    """Leave out what is at the same place of the detector in most frames."""
    from scipy.spatial import cKDTree

    trees = [cKDTree(places) if len(places) else None for places in lists]
    out = []
    for places in lists:
        seen = np.zeros(len(places))
        for tree in trees:
            if tree is not None and len(places):
                seen += tree.query(places, distance_upper_bound=0.5)[0] < 0.5
        out.append(places[seen <= max(2, 0.6 * len(lists))])
    # If nothing is left, nothing moves.
    enough = [len(places) >= _FEWEST_STARS for places in out]
    return out if all(enough) else lists


def _match(
    here: np.ndarray,
    there: np.ndarray,
    centre: np.ndarray,
    k: int,
    reference: int,
    request: Request,
) -> Similarity:
    """Match the stars of a frame with those of the reference."""
    from astropy.table import Table

    from astroflat.quality._tracks import star_offset

    lists = [Table({'y': p[:, 0], 'x': p[:, 1]}) for p in (here, there)]
    name = f'frame {k} ({request.stack.label(k)})'
    try:
        offset = np.array(star_offset(*lists))
    except ValueError:
        offset = np.full(2, np.nan)
    pairs = match_stars(here, there, offset) if np.isfinite(offset).all() else ([], [])
    if len(pairs[0]) < _FEWEST_STARS or len(pairs[0]) < 0.2 * min(
        len(here), len(there)
    ):
        angle = rotation_vote(here, there, centre)
        if np.isfinite(angle) and abs(angle) > 0.4:
            msg = (
                f'{name} is rotated by about {angle:.1f} deg against frame '
                f'{reference}; use frames of one position of the rotator and one side '
                'of the meridian'
            )
            raise ValueError(msg)
    if len(pairs[0]) < _FEWEST_STARS:
        msg = (
            f'{name} cannot be aligned: only {len(pairs[0])} of its {len(here)} stars '
            f'are among the {len(there)} of frame {reference}; check fwhm, or use '
            "method='phase'"
        )
        raise _UnalignedError(msg)
    i, j = pairs
    share = len(i) / max(min(len(here), len(there)), 1)
    return fit_similarity(here[i], there[j], centre, share)
