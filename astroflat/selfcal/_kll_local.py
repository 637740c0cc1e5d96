# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Means of the surroundings on a grid of cells, which are cheap at any scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ['enlarge', 'local_mean', 'sum_cells']

# Cells per standard deviation of the surroundings.
_FINE = 4


def local_mean(
    image: np.ndarray, seen: np.ndarray, sigma: Sequence[float]
) -> np.ndarray:
    """
    Return Gaussian means of the pixels that are seen, on a grid of cells.

    Parameters
    ----------
    image : `~numpy.ndarray`
        ``(ny, nx)``; 0 where not seen.

    seen : `~numpy.ndarray` of bool
        ``(ny, nx)``.

    sigma : sequence of float
        The standard deviation along y and along x, in pixels.

    Returns
    -------
    cells : `~numpy.ndarray`
        float64; `enlarge` makes an image of them.
    """
    from scipy.ndimage import gaussian_filter

    number = [
        int(np.clip(np.ceil(_FINE * m / s), 1, m))
        for m, s in zip(image.shape, sigma, strict=True)
    ]
    width = [s * c / m for s, c, m in zip(sigma, number, image.shape, strict=True)]
    total, weight = (
        gaussian_filter(sum_cells(a, number), width, mode='constant')
        for a in (image, seen)
    )
    return total / np.maximum(weight, 1e-6)


def sum_cells(image: np.ndarray, number: Sequence[int]) -> np.ndarray:
    """
    Add up the pixels of cells.

    Parameters
    ----------
    image : `~numpy.ndarray`
        ``(ny, nx)``.

    number : sequence of int
        The number of cells along y and along x.

    Returns
    -------
    cells : `~numpy.ndarray`
        float64, of the shape ``number``.
    """
    rows, columns = (
        np.linspace(0, m, c + 1).astype(int)
        for m, c in zip(image.shape, number, strict=True)
    )
    cells = np.empty(tuple(number))
    for out, first, last in zip(cells, rows[:-1], rows[1:], strict=True):
        line = image[first:last].sum(axis=0, dtype=np.float64)
        out[:] = np.add.reduceat(line, columns[:-1])
    return cells


def enlarge(cells: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """
    Interpolate cells linearly to an image.

    Parameters
    ----------
    cells : `~numpy.ndarray`
        2-D.

    shape : tuple of int
        Of the image.

    Returns
    -------
    image : `~numpy.ndarray`
        float32.
    """
    (low, high, part), (left, right, across) = (
        _places(c, m) for c, m in zip(cells.shape, shape, strict=True)
    )
    cells = cells.astype(np.float32)
    wide = cells[:, left] * (1 - across) + cells[:, right] * across
    image = np.empty(shape, dtype=np.float32)
    for row, j, i, t in zip(image, low, high, part, strict=True):
        np.multiply(wide[j], 1 - t, out=row)
        row += t * wide[i]
    return image


def _places(number: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the cells beside each pixel, and how far it is from the first."""
    edges = np.linspace(0, size, number + 1).astype(int)
    centres = (edges[:-1] + edges[1:] - 1) / 2
    place = np.interp(np.arange(size), centres, np.arange(number))
    low = np.minimum(place.astype(int), max(number - 2, 0))
    return low, np.minimum(low + 1, number - 1), (place - low).astype(np.float32)
