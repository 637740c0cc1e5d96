# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Offsets from the positions of stars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._progress import progress
from astroflat.selfcal._kll_frames import Frames, Plane
from astroflat.selfcal._shift_similarity import (
    Similarity,
    match_stars,
    rotation_vote,
)
from astroflat.selfcal._shift_stamps import Stars, cut_out, stamp_radius
from astroflat.selfcal._shift_together import measure_together
from astroflat.selfcal.shifts import Shifts

if TYPE_CHECKING:
    from astroflat.combine._request import Request
    from astroflat.selfcal._shift_run import ShiftSettings

__all__ = ['UnalignedError', 'by_stars', 'of_similarities']

_FEWEST_STARS = 6
# So many stars are looked for, so many of them cut out, in so many bytes.
_MOST, _CUT, _BYTES = 400, 120, 2e8
# Widths that are tried, in pixels, on so many pixels in the middle of the frame.
_WIDTHS, _MIDDLE = (1.5, 3.0, 6.0, 12.0), 2048
# Frames are binned until stars are about as wide as this.
_NARROW = 3.0


class UnalignedError(ValueError):
    """A frame that cannot be aligned."""


def of_similarities(
    fits: list[Similarity], method: str, reference: int, uncertainty: Any
) -> Shifts:
    """
    Put the fits of all frames together.

    Parameters
    ----------
    fits : list of Similarity
        One for each frame.

    method : str
        How they were found.

    reference : int
        The frame whose offset is zero.

    uncertainty : `~numpy.ndarray` or None
        Of the offsets.

    Returns
    -------
    shifts : Shifts
        All of them.
    """
    return Shifts(
        np.array([f.offset for f in fits]),
        uncertainty,
        method,
        np.degrees([f.rotation for f in fits]),
        np.array([f.scale for f in fits]),
        np.array([f.share for f in fits]),
        reference,
    )


def by_stars(request: Request, reference: int, settings: ShiftSettings) -> Shifts:
    """
    Find stars in all frames, match them, and compare their images.

    Parameters
    ----------
    request : Request
        The frames.

    reference : int
        The frame whose offset is zero.

    settings : ShiftSettings
        How.

    Returns
    -------
    shifts : Shifts
        The offsets.
    """
    frames = Frames(request, _mono(request), settings.mask)
    fwhm = settings.fwhm or _typical_width(frames, reference)
    stars = _without_still(_find_all(frames, settings, fwhm))
    centre = (np.array(request.stack.shape[1:3]) - 1) / 2
    pairs = [
        _pairs(own.places, stars[reference].places, centre, k, reference, request)
        for k, own in enumerate(stars)
    ]
    fits = measure_together(stars, pairs, reference, centre, fwhm)
    error = np.array([f.error for f in fits])
    return of_similarities(fits, 'stars', reference, error)


def _mono(request: Request) -> Plane:
    return Plane(channel=1 if len(request.stack.shape) == 4 else None)


def _typical_width(frames: Frames, reference: int) -> float:
    """
    Return the width at which stars of two frames agree best.

    What is narrower than a star finds hot pixels, and the knots and rims of stars
    out of focus, which are elsewhere in each frame.
    """
    other = len(frames) // 2
    other = other if other != reference else (reference + 1) % len(frames)
    both = [_middle(*frames.frame(k)) for k in (reference, other)]
    best = (np.inf, _WIDTHS[0])
    for width in _WIDTHS:
        there, here = _moving(*(_places(*frame, width) for frame in both))
        i, j = _matched(here, there)
        if len(i) < _FEWEST_STARS:
            continue
        moved = here[i] - there[j]
        scatter = np.abs(moved - np.median(moved, axis=0))
        best = min(best, (float(np.median(scatter)) / len(i) ** 0.5, width))
    return best[1]


def _moving(there: np.ndarray, here: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out what is at the same place in both frames, unless all is."""
    from scipy.spatial import cKDTree

    if not (len(here) and len(there)):
        return there, here
    still = [
        cKDTree(b).query(a, distance_upper_bound=0.5)[0] < 0.5
        for a, b in ((there, here), (here, there))
    ]
    if min((~s).sum() for s in still) < _FEWEST_STARS:
        return there, here
    return there[~still[0]], here[~still[1]]


def _middle(values: np.ndarray, bad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle of a frame."""
    part = tuple(
        slice((m - min(m, _MIDDLE)) // 2, (m + min(m, _MIDDLE)) // 2)
        for m in values.shape
    )
    return values[part], bad[part]


def _find_all(frames: Frames, settings: ShiftSettings, fwhm: float) -> list[Stars]:
    """Return the stars of all frames."""
    count = progress(
        range(len(frames)), enabled=settings.progress_bar, description='stars'
    )
    one = 4 * (2 * stamp_radius(fwhm) + 1) ** 2 * len(frames)
    cut = int(np.clip(_BYTES / one, 30, _CUT))
    if settings.client is None:
        return [_stars(*frames.frame(k), fwhm, cut) for k in count]
    futures = [
        settings.client.submit(_stars, *frames.frame(k), fwhm, cut) for k in count
    ]
    return settings.client.gather(futures)


def _stars(values: np.ndarray, bad: np.ndarray, fwhm: float, cut: int) -> Stars:
    """Return the places of stars, and the brightest ones themselves."""
    places = _places(values, bad, fwhm)
    return Stars(places, cut_out(values, bad, places[:cut], fwhm))


def _places(values: np.ndarray, bad: np.ndarray, fwhm: float) -> np.ndarray:
    """Return the places of stars, the brightest first."""
    from astroflat.quality import DetectionSettings, find_sources

    step = max(int(fwhm / _NARROW), 1)
    data, bad = _binned(values, bad, step)
    settings = DetectionSettings(fwhm=fwhm / step)
    found = find_sources(data, mask=bad, settings=settings)[:_MOST]
    places = np.column_stack([found['y'], found['x']]).astype(float)
    return places * step + (step - 1) / 2


def _binned(
    values: np.ndarray, bad: np.ndarray, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """Average blocks, without bad pixels."""
    level = float(np.median(values[~bad])) if (~bad).any() else 0.0
    data = np.where(bad, level, values)
    if step == 1:
        return data, bad
    ny, nx = (m // step for m in data.shape)
    blocks = (
        a[: ny * step, : nx * step].reshape(ny, step, nx, step) for a in (data, bad)
    )
    data, share = (a.mean(axis=(1, 3)) for a in blocks)
    return data, share > 0.5


def _without_still(stars: list[Stars]) -> list[Stars]:
    """Leave out what is at the same place of the detector in most frames."""
    from scipy.spatial import cKDTree

    lists = [own.places for own in stars]
    trees = [cKDTree(places) if len(places) else None for places in lists]
    out = []
    for own in stars:
        seen = np.zeros(len(own.places))
        for tree in trees:
            if tree is not None and len(own.places):
                seen += tree.query(own.places, distance_upper_bound=0.5)[0] < 0.5
        out.append(own.part(seen <= max(2, 0.6 * len(lists))))
    # If nothing is left, nothing moves.
    enough = [len(own.places) >= _FEWEST_STARS for own in out]
    return out if all(enough) else stars


def _matched(here: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which stars of two lists are the same."""
    from astropy.table import Table

    from astroflat.quality._tracks import star_offset

    lists = [Table({'y': p[:, 0], 'x': p[:, 1]}) for p in (here, there)]
    try:
        offset = np.array(star_offset(*lists))
    except ValueError:
        return np.zeros(0, int), np.zeros(0, int)
    return match_stars(here, there, offset)


def _pairs(
    here: np.ndarray,
    there: np.ndarray,
    centre: np.ndarray,
    k: int,
    reference: int,
    request: Request,
) -> tuple[np.ndarray, np.ndarray]:
    """Match the stars of a frame with those of the reference, or refuse it."""
    pairs = _matched(here, there)
    name = f'frame {k} ({request.stack.label(k)})'
    few = len(pairs[0]) < 0.2 * min(len(here), len(there))
    if len(pairs[0]) < _FEWEST_STARS or few:
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
        raise UnalignedError(msg)
    return pairs
