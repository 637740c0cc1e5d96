# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Line filters, and lines that are pulled straight.

A short straight stroke in each of many directions collects the light that a
fibre takes along it, so that fibres are found which no single pixel shows.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from astroflat.dust._candidates import Filter
from astroflat.dust._scatter import BlockMap, block_scatter
from astroflat.dust._whitening import pool

__all__ = ['line_significance', 'longest_path', 'recentre', 'straighten']

_DIRECTIONS = 16
# Half the length of a stroke, half its width, and where its flanks are.
_HALF, _CORE, _FLANKS = 7.5, 1.2, (2.4, 5.2)
_BLOCK = 64


@lru_cache(maxsize=32)
def _stroke(direction: int) -> np.ndarray:
    """Return a dark stroke between bright flanks, of unit norm."""
    half, fine = int(_HALF + 3), 4
    n = 2 * half + 1
    t = (np.arange(n * fine) + 0.5) / fine - 0.5 - half
    angle = np.pi * direction / _DIRECTIONS
    along = np.cos(angle) * t + np.sin(angle) * t[:, None]
    across = np.abs(np.cos(angle) * t[:, None] - np.sin(angle) * t)

    def share(inside: np.ndarray) -> np.ndarray:
        inside = inside & (np.abs(along) <= _HALF)
        return inside.reshape(n, fine, n, fine).mean((1, 3))

    core = share(across <= _CORE)
    flanks = share((across >= _FLANKS[0]) & (across <= _FLANKS[1]))
    kernel = core - flanks * (core.sum() / flanks.sum())
    return (kernel / np.sqrt((kernel**2).sum())).astype(np.float32)


def line_significance(
    white: np.ndarray, *, floor: float = 0.0, workers: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """
    Filter an image with strokes of all directions, narrow and wide.

    Parameters
    ----------
    white : `~numpy.ndarray` of float32
        The whitened image.

    floor : float, optional
        The least noise per pixel.

    workers : int, optional
        Threads of the transforms.

    Returns
    -------
    dark, bright : `~numpy.ndarray` of float32
        The most significant of the strokes through every pixel, in units of
        the local scatter of strokes.
    """
    dark, bright = _level_significance(white, floor, workers)
    wide = _level_significance(pool(white), floor / 2, workers)
    ny, nx = white.shape
    for fine, coarse in zip((dark, bright), wide, strict=True):
        coarse = np.repeat(np.repeat(coarse, 2, 0)[:ny], 2, 1)[:, :nx]
        np.maximum(fine, coarse, out=fine)
    return dark, bright


def _level_significance(
    white: np.ndarray, floor: float, workers: int
) -> tuple[np.ndarray, np.ndarray]:
    """Filter with strokes of one width."""
    bank = Filter(white, int(_HALF + 3), workers)
    dark = np.full(white.shape, -np.inf, np.float32)
    bright = dark.copy()
    scatter = []
    for direction in range(_DIRECTIONS):
        response = bank(_stroke(direction))
        np.maximum(bright, response, out=bright)
        np.negative(response, out=response)
        np.maximum(dark, response, out=dark)
        if direction % (_DIRECTIONS // 4) == 0:
            scatter.append(block_scatter(response, _BLOCK, step=2, floor=floor)[1])
    tiny = np.finfo(np.float32).tiny
    values = np.maximum(np.mean([part.values for part in scatter], axis=0), tiny)
    unit = BlockMap(values, white.shape).full()
    dark /= unit
    bright /= unit
    return dark, bright


def longest_path(mask: np.ndarray) -> np.ndarray:
    """
    Find the longest line through a region.

    Parameters
    ----------
    mask : `~numpy.ndarray` of bool
        The region.

    Returns
    -------
    path : `~numpy.ndarray` of float
        Its pixels in order, ``(n, 2)`` as (y, x), smoothed.
    """
    from scipy.ndimage import uniform_filter1d
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import dijkstra
    from skimage.morphology import skeletonize

    y, x = np.nonzero(skeletonize(mask))
    number = np.full(np.add(mask.shape, 2), -1)
    number[y + 1, x + 1] = np.arange(len(y))
    edges = []
    for dy, dx in ((0, 1), (1, -1), (1, 0), (1, 1)):
        other = number[y + 1 + dy, x + 1 + dx]
        here = np.nonzero(other >= 0)[0]
        edges.append((here, other[here], np.full(len(here), np.hypot(dy, dx))))
    start, end, length = (np.concatenate(part) for part in zip(*edges, strict=True))
    graph = coo_matrix((length, (start, end)), shape=(len(y), len(y))).tocsr()

    def farthest(node: int) -> tuple[int, np.ndarray]:
        away, before = dijkstra(
            graph, directed=False, indices=node, return_predecessors=True
        )
        return int(np.argmax(np.where(np.isfinite(away), away, -1))), before

    first, _ = farthest(0)
    last, before = farthest(first)
    nodes = [last]
    while nodes[-1] != first:
        nodes.append(int(before[nodes[-1]]))
    path = np.stack([y[nodes], x[nodes]], axis=1).astype(float)
    return uniform_filter1d(path, 5, axis=0, mode='nearest') if len(path) > 5 else path


def straighten(data: np.ndarray, path: np.ndarray, reach: int) -> np.ndarray:
    """
    Sample an image across a line.

    Parameters
    ----------
    data : `~numpy.ndarray`
        The image.

    path : `~numpy.ndarray`
        Points of the line, ``(n, 2)`` as (y, x).

    reach : int
        How far to go on both sides.

    Returns
    -------
    strip : `~numpy.ndarray`
        ``(n, 4 * reach + 1)`` samples in steps of half a pixel, mirrored at
        the border.
    """
    from scipy.ndimage import map_coordinates

    away = np.arange(-2 * reach, 2 * reach + 1) / 2
    normal = _normals(path)
    y, x = (path[:, k : k + 1] + away * normal[:, k : k + 1] for k in (0, 1))
    return map_coordinates(data, [y, x], order=1, mode='reflect', output=float)


def recentre(path: np.ndarray, strip: np.ndarray) -> np.ndarray:
    """
    Move a line to where the image is darkest.

    Parameters
    ----------
    path : `~numpy.ndarray`
        Points of the line.

    strip : `~numpy.ndarray`
        As given by `straighten`.

    Returns
    -------
    path : `~numpy.ndarray`
        The points, moved by up to three pixels.
    """
    from scipy.ndimage import gaussian_filter, uniform_filter1d

    middle = strip.shape[1] // 2
    near = gaussian_filter(strip, (4, 1))[:, middle - 6 : middle + 7]
    off = uniform_filter1d((np.argmin(near, axis=1) - 6) / 2, 9, mode='nearest')
    return path + off[:, None] * _normals(path)


def _normals(path: np.ndarray) -> np.ndarray:
    """Return the directions across a line, as (y, x)."""
    ahead = np.gradient(path, axis=0)
    ahead /= np.maximum(np.hypot(*ahead.T), 1e-9)[:, None]
    return np.stack([ahead[:, 1], -ahead[:, 0]], axis=1)
