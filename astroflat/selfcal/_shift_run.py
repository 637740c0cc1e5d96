# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The ways to measure offsets, and when frames are refused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._exceptions import AstroflatError
from astroflat.selfcal._shift_angle import find_angle, tile_similarity
from astroflat.selfcal._shift_phase import first_offsets
from astroflat.selfcal._shift_prepare import prepare
from astroflat.selfcal._shift_refine import refine
from astroflat.selfcal._shift_similarity import fit_similarity, wcs_pairs
from astroflat.selfcal._shift_stars import (
    UnalignedError,
    by_stars,
    of_similarities,
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
# Pixels by which offsets of two methods may differ, and the share of the stars
# that must be found again to believe them.
_AGREE, _MATCHED = 1.5, 0.4
# An offset less sure than this, in pixels of the binned frame, is not known.
_UNSURE = 0.5


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

    method: str = 'auto'
    reference: int | None = None
    max_shift: float | None = None
    max_distortion: float | None = 1.0
    mask: np.ndarray | None = None
    fwhm: float | None = None
    max_size: int = 768
    threads: int = 1
    client: Any = None
    progress_bar: bool = False


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
    for name in ('max_shift', 'fwhm', 'max_size'):
        value = getattr(settings, name)
        if value is not None and not value > 0:
            msg = f'{name} must be positive, not {value!r}'
            raise ValueError(msg)
    reference = _reference(settings.reference, len(request.stack))
    if settings.method == 'wcs':
        return _check(_by_wcs(request, reference), request, settings)
    if settings.method == 'stars':
        return _check(by_stars(request, reference, settings), request, settings)
    start = None
    if settings.method == 'auto' and all(_wcs_list(request)):
        start = _check(_by_wcs(request, reference), request, settings).offsets
    try:
        found = _by_phase(request, reference, settings, start)
    except UnalignedError:
        if settings.method == 'phase':
            raise
        found = by_stars(request, reference, settings)
    # A WCS that the frames contradict is as good as none.
    alone = start is None or np.abs(found.offsets - start).max() > _AGREE
    if settings.method == 'auto' and alone and found.method == 'phase':
        found = _ask_stars(found, request, settings)
    return _check(found, request, settings)


def _ask_stars(found: Shifts, request: Request, settings: ShiftSettings) -> Shifts:
    """Return the offsets of the stars where they are better, or contradict."""
    if request.stack.video is not None:
        return found
    try:
        stars = by_stars(request, found.reference, settings)
    except (AstroflatError, ValueError):
        return found
    if np.median(stars.quality) <= _MATCHED:
        return found
    # Dust and noise stay with the detector, stars never do.
    apart = np.abs(found.offsets - stars.offsets).max()
    better = np.median(stars.uncertainty) < np.median(found.uncertainty)
    return stars if better or apart > _AGREE else found


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
    return of_similarities(fits, 'wcs', reference, None)


def _by_phase(
    request: Request, reference: int, settings: ShiftSettings, start: np.ndarray | None
) -> Shifts:
    """Correlate, then fit sky, pattern and offsets together."""
    bar = settings.progress_bar
    logs, step = prepare(request, settings.mask, settings.max_size, bar=bar)
    shape = logs.shape[1:]
    most = min(settings.max_shift or np.inf, 0.9 * step * max(shape))
    given = None if start is None else start / step
    first, heights = first_offsets(logs, reference, most / step, given)
    _refuse_chance(heights, logs, reference, request)
    fine = refine(logs, first, reference, settings.threads)
    moved = np.abs(fine.offsets - first).max(axis=1)
    lost = (fine.quality < _ALIKE) | (moved > 6) | (fine.uncertainty > _UNSURE)
    # Frames that show nothing cannot be told from those that do not move.
    if lost.any() and not (np.abs(first) < 1).all():
        k = int(np.flatnonzero(lost)[0])
        raise UnalignedError(_words(k, logs, reference, request))
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
    steps = np.abs(np.diff(value))
    usual = 1.4826 * np.median(steps) / np.sqrt(2) if steps.size else 0.0
    floor = 5 * np.hypot(np.minimum(usual, 0.5 / reach), error)
    return np.where(np.abs(value) > floor, value, 0.0)


def _refuse_chance(
    heights: np.ndarray, logs: np.ndarray, reference: int, request: Request
) -> None:
    """Raise if the offset of a frame is nothing but the highest of many peaks."""
    usual = float(np.median(heights))
    lost = np.flatnonzero(heights < max(_CHANCE, min(_SURE, 0.35 * usual)))
    if lost.size:
        raise UnalignedError(_words(int(lost[0]), logs, reference, request))


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
