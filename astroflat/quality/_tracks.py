# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The same stars in many frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.table import Table, vstack

from astroflat.quality.pairing import pair_sources

__all__ = ['common_places', 'link_stars', 'star_offset']

# Differences of positions among so many of the brightest stars are compared.
_BRIGHTEST = 60
_MIN_VOTES = 4


def star_offset(
    stars: Table, reference: Table, *, tolerance: float = 2.0
) -> tuple[float, float]:
    """
    Find the shift between two lists of stars by a vote of their differences.

    Parameters
    ----------
    stars, reference : `~astropy.table.Table`
        Lists with columns ``x`` and ``y``, the brightest first.

    tolerance : float, optional
        How far differences of the same shift may be apart, in pixels.

    Returns
    -------
    offset : tuple of float
        (dy, dx): what is at (y, x) in the reference is at (y + dy, x + dx).

    Raises
    ------
    ValueError
        If fewer than four stars agree on a shift.
    """
    from scipy.spatial import cKDTree

    a, b = (
        np.column_stack([t['y'], t['x']])[:_BRIGHTEST].astype(float)
        for t in (stars, reference)
    )
    differences = (a[:, None] - b[None]).reshape(-1, 2)
    votes = 0
    if len(differences):
        tree = cKDTree(differences)
        near = tree.query_ball_point(differences, tolerance)
        counts = [len(n) for n in near]
        best = int(np.argmax(counts))
        votes = counts[best]
    if votes < _MIN_VOTES:
        msg = (
            f'only {votes} of {len(a)} and {len(b)} stars agree on a shift; give '
            'offsets=, frames with WCS, or a lower settings.nsigma'
        )
        raise ValueError(msg)
    dy, dx = np.median(differences[near[best]], axis=0)
    return float(dy), float(dx)


def common_places(
    lists: list[Table], *, offsets: Any = None, wcs: list[Any] | None = None
) -> np.ndarray:
    """
    Bring the stars of all frames to common coordinates, in place.

    Parameters
    ----------
    lists : list of `~astropy.table.Table`
        The stars of each frame with ``x`` and ``y``; ``x_sky`` and ``y_sky``
        are added: pixels of the reference.

    offsets : array_like, optional
        The shift (dy, dx) of the sky in each frame.

    wcs : list of WCS, optional
        The celestial WCS of each frame, used without offsets if none of them
        is missing. Otherwise the shifts are found from the stars.

    Returns
    -------
    offsets : `~numpy.ndarray`
        The mean shift of each frame, ``(n, 2)`` with dy and dx.

    Raises
    ------
    ValueError
        If the offsets have a wrong shape, or a frame cannot be aligned.
    """
    n = len(lists)
    if offsets is None and wcs and all(_celestial(w) for w in wcs):
        return _by_wcs(lists, wcs)
    if offsets is None:
        reference = lists[int(np.argmax([len(t) for t in lists]))]
        offsets = [_offset(t, reference, i) for i, t in enumerate(lists)]
    offsets = np.asarray(offsets, dtype=np.float64)
    if offsets.shape != (n, 2):
        msg = f'offsets must have the shape ({n}, 2), not {offsets.shape}'
        raise ValueError(msg)
    for table, (dy, dx) in zip(lists, offsets, strict=True):
        table['x_sky'], table['y_sky'] = table['x'] - dx, table['y'] - dy
    return offsets


def link_stars(
    lists: list[Table], *, tolerance: float, catalogue: Table | None = None
) -> Table:
    """
    Give the same star the same number in all frames, in place.

    Parameters
    ----------
    lists : list of `~astropy.table.Table`
        The stars of each frame with ``x_sky`` and ``y_sky``; the column
        ``star`` is added, -1 for those that are not in the catalogue.

    tolerance : float
        The largest distance in pixels.

    catalogue : `~astropy.table.Table`, optional
        The stars to look for, with ``x`` and ``y``; by default all that are
        seen in any frame.

    Returns
    -------
    catalogue : `~astropy.table.Table`
        ``x`` and ``y`` of each star.
    """
    fixed = catalogue is not None
    stars = Table({'x': [], 'y': []}, dtype=(float, float))
    if fixed:
        stars = Table({n: np.asarray(catalogue[n], dtype=float) for n in ('x', 'y')})
    for table in lists:
        here = Table({'x': table['x_sky'], 'y': table['y_sky']})
        i, j = pair_sources(here, stars, max_separation=tolerance)
        number = np.full(len(here), -1)
        number[i] = j
        if not fixed:
            new = number < 0
            number[new] = len(stars) + np.arange(np.count_nonzero(new))
            stars = vstack([stars, here[new]])
        table['star'] = number
    return stars


def _offset(stars: Table, reference: Table, i: int) -> tuple[float, float]:
    """Return the shift of a frame, naming it if there is none."""
    try:
        return star_offset(stars, reference)
    except ValueError as error:
        msg = f'frame {i} cannot be aligned: {error}'
        raise ValueError(msg) from None


def _by_wcs(lists: list[Table], wcs: list[Any]) -> np.ndarray:
    """Bring stars to the pixels of the first frame through the sky."""
    offsets = []
    for table, own in zip(lists, wcs, strict=True):
        sky = own.pixel_to_world(np.asarray(table['x']), np.asarray(table['y']))
        x, y = wcs[0].world_to_pixel(sky)
        table['x_sky'], table['y_sky'] = np.atleast_1d(x), np.atleast_1d(y)
        shift = [np.nan, np.nan]
        if len(table):
            shift = [np.median(table['y'] - y), np.median(table['x'] - x)]
        offsets.append(shift)
    return np.array(offsets, dtype=np.float64)


def _celestial(wcs: Any) -> bool:
    return wcs is not None and getattr(wcs, 'has_celestial', True)
