# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Offsets from the positions of stars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._progress import progress
from astroflat.selfcal._kll_frames import Frames, Plane
from astroflat.selfcal._shift_similarity import (
    Similarity,
    fit_similarity,
    match_stars,
    rotation_vote,
)
from astroflat.selfcal.shifts import Shifts

if TYPE_CHECKING:
    from astroflat.combine._request import Request
    from astroflat.selfcal._shift_run import ShiftSettings

__all__ = ['UnalignedError', 'by_stars', 'of_similarities']

_FEWEST_STARS = 6


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
    Find stars in all frames, and match them.

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
    return of_similarities(fits, 'stars', reference, error)


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
        raise UnalignedError(msg)
    i, j = pairs
    share = len(i) / max(min(len(here), len(there)), 1)
    return fit_similarity(here[i], there[j], centre, share)
