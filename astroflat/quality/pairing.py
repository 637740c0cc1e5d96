# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The two sides of a comparison of sources, and their pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.table import Table, vstack

from astroflat._nddata import unpack
from astroflat.quality._background import subtract_background
from astroflat.quality.detection import DetectionSettings, find_sources

__all__ = [
    'catalogue_sources',
    'open_pair',
    'others',
    'pair_sources',
    'reference_sources',
]


def pair_sources(
    sources: Table, reference: Table, *, max_separation: float
) -> tuple[np.ndarray, np.ndarray]:
    """
    Pair two lists of places, one to one, the closest first.

    Parameters
    ----------
    sources, reference : `~astropy.table.Table`
        With columns ``x`` and ``y``.

    max_separation : float
        The largest distance of a pair.

    Returns
    -------
    i, j : `~numpy.ndarray` of int
        The rows of the pairs in both tables, in the order of ``sources``.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from astroflat.quality import pair_sources
    >>> sources = Table({'x': [0.0, 1.0], 'y': [0.0, 0.0]})
    >>> reference = Table({'x': [0.9], 'y': [0.0]})
    >>> pair_sources(sources, reference, max_separation=2)
    (array([1]), array([0]))
    """
    from scipy.spatial import cKDTree

    if not (len(sources) and len(reference)):
        return np.empty(0, int), np.empty(0, int)
    left, right = (cKDTree(_places(table)) for table in (sources, reference))
    near = left.sparse_distance_matrix(right, max_separation, output_type='ndarray')
    near = near[np.lexsort((near['j'], near['i'], near['v']))]
    free_i, free_j = np.ones(len(sources), bool), np.ones(len(reference), bool)
    chosen = []
    for k, (i, j, _) in enumerate(near):
        if free_i[i] and free_j[j]:
            free_i[i] = free_j[j] = False
            chosen.append(k)
    pairs = np.sort(near[chosen], order='i')
    return pairs['i'].astype(int), pairs['j'].astype(int)


def open_pair(
    image: Any,
    reference: Any,
    settings: DetectionSettings,
    noise: float | None,
    mask: Any,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray, float]:
    """
    Take the two sides of a comparison apart.

    Parameters
    ----------
    image : CCDData, array_like or path
        The image to judge.

    reference : CCDData, array_like, path or `~astropy.table.Table`
        The truth.

    settings : DetectionSettings
        Where the size of the background boxes is taken from.

    noise : float or None
        The noise per pixel; `None` for the larger one of both images.

    mask : array_like of bool or None
        True marks pixels to ignore.

    Returns
    -------
    image : `~numpy.ndarray`
        The pixels of the image.

    reference : `~numpy.ndarray` or None
        The pixels of the reference, `None` for a catalogue.

    bad : `~numpy.ndarray` of bool
        True where either is bad.

    noise : float
        The noise per pixel.
    """
    frame = unpack(image, name='image', mask=mask)
    sides, bad, other = [frame.data], frame.bad, None
    if not isinstance(reference, Table):
        second = unpack(reference, name='reference')
        if second.shape != frame.shape:
            msg = f'reference has the shape {second.shape}, image has {frame.shape}'
            raise ValueError(msg)
        sides, bad, other = [*sides, second.data], bad | second.bad, second.data
    if noise is None:
        noise = max(subtract_background(d, bad, box=settings.box)[1] for d in sides)
    return frame.data, other, bad, float(noise)


def reference_sources(
    image: np.ndarray,
    bad: np.ndarray,
    *,
    settings: DetectionSettings,
    limits: tuple[float, float],
) -> Table:
    """
    Find the sources of a reference image above a threshold, and fainter ones.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The reference.

    bad : `~numpy.ndarray` of bool
        True marks pixels to ignore.

    settings : DetectionSettings
        How sources are found.

    limits : tuple of float
        The threshold of the sources that are asked for, and of those that
        may be found.

    Returns
    -------
    sources : `~astropy.table.Table`
        ``x``, ``y``, ``flux``, ``strength`` and ``counted``.
    """
    deep = find_sources(image, settings=settings, threshold=limits[1], mask=bad)
    if settings.method == 'dao':
        deep['counted'] = deep['strength'] >= limits[0]
        return deep
    # A group that is high enough may be too small at the higher threshold.
    found = find_sources(image, settings=settings, threshold=limits[0], mask=bad)
    _, known = pair_sources(found, deep, max_separation=settings.fwhm)
    found['counted'] = True
    rest = deep[others(len(deep), known)]
    rest['counted'] = False
    return vstack([found, rest], metadata_conflicts='silent')


def catalogue_sources(catalogue: Table, min_flux: float) -> Table:
    """
    Return a catalogue as plain numbers, with what is asked for.

    Parameters
    ----------
    catalogue : `~astropy.table.Table`
        With ``x``, ``y`` and ``flux``.

    min_flux : float
        The faintest flux that is asked for.

    Returns
    -------
    sources : `~astropy.table.Table`
        ``x``, ``y``, ``flux`` and ``counted``.
    """
    missing = {'x', 'y', 'flux'} - set(catalogue.colnames)
    if missing:
        msg = (
            f'the catalogue has no column {sorted(missing)}; '
            "rename its columns to 'x', 'y' and 'flux'"
        )
        raise ValueError(msg)
    columns = {n: _numbers(catalogue[n]) for n in ('x', 'y', 'flux')}
    finite = np.isfinite(columns['x']) & np.isfinite(columns['y'])
    sources = Table(columns)[finite]
    sources['counted'] = sources['flux'] >= min_flux
    return sources


def others(n: int, taken: np.ndarray) -> np.ndarray:
    """
    Return True for the rows that are not taken.

    Parameters
    ----------
    n : int
        The number of rows.

    taken : `~numpy.ndarray` of int
        The rows that are taken.

    Returns
    -------
    free : `~numpy.ndarray` of bool
        The others.
    """
    free = np.ones(n, bool)
    free[taken] = False
    return free


def _numbers(column: Any) -> np.ndarray:
    """Return a column without its unit."""
    return np.asarray(getattr(column, 'value', column), dtype=np.float64)


def _places(table: Table) -> np.ndarray:
    return np.column_stack([np.asarray(table['x']), np.asarray(table['y'])])
