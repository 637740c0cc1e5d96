# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Images in blocks: medians, smooth surfaces through them, and back."""

from __future__ import annotations

import numpy as np

__all__ = [
    'block_centers',
    'block_medians',
    'chebyshev_powers',
    'chebyshev_terms',
    'evaluate_plane',
    'fit_plane',
    'upsample',
]

_MIN_SHARE = 0.3


def block_medians(image: np.ndarray, seen: np.ndarray, box: int) -> np.ndarray:
    """
    Return the medians of blocks.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The image. The last blocks of rows and columns take what is left over.

    seen : `~numpy.ndarray` of bool
        The pixels to use.

    box : int
        The size of a block.

    Returns
    -------
    medians : `~numpy.ndarray`
        NaN where less than 30 % of the pixels are used.
    """
    ny, nx = (max(1, n // box) for n in image.shape)
    data = np.where(seen, image, np.nan)[: ny * box, : nx * box]
    height, width = (min(box, n) for n in data.shape)
    data = data.reshape(ny, height, nx, width).transpose(0, 2, 1, 3)
    data = data.reshape(ny, nx, -1)
    # NaN goes last. No warning to suppress, which threads cannot do for themselves.
    ordered = np.sort(data, axis=-1)
    count = np.isfinite(data).sum(axis=-1)
    low, high = (
        np.maximum(count - 1, 0) // 2,
        np.minimum(count // 2, data.shape[-1] - 1),
    )
    pick = np.take_along_axis
    both = [pick(ordered, k[..., None], -1)[..., 0] for k in (low, high)]
    medians = 0.5 * (both[0].astype(np.float64) + both[1])
    medians[np.isfinite(data).mean(axis=-1) < _MIN_SHARE] = np.nan
    return medians


def block_centers(shape: tuple[int, int], size: tuple[int, int], box: int) -> tuple:
    """
    Return the coordinates of the middles of blocks, from -1 to 1 over the frame.

    Parameters
    ----------
    shape : tuple of int
        The number of blocks.

    size : tuple of int
        The shape of the image.

    box : int
        The size of a block.

    Returns
    -------
    y, x : `~numpy.ndarray`
        One coordinate per row and per column of blocks.
    """
    return tuple(
        (2 * ((np.arange(n) + 0.5) * min(box, m)) - m) / m
        for n, m in zip(shape, size, strict=True)
    )


def chebyshev_powers(degree: int, start: int = 0) -> list[tuple[int, int]]:
    """
    Return the degrees in y and x of polynomials of a total degree.

    Parameters
    ----------
    degree : int
        The largest total degree.

    start : int, optional
        The smallest.

    Returns
    -------
    powers : list of tuple of int
        Sorted by total degree.
    """
    return [(t - j, j) for t in range(start, degree + 1) for j in range(t + 1)]


def chebyshev_terms(
    y: np.ndarray, x: np.ndarray, powers: list[tuple[int, int]]
) -> np.ndarray:
    """
    Return products of Chebyshev polynomials at points.

    Parameters
    ----------
    y, x : `~numpy.ndarray`
        Coordinates from -1 to 1, of one shape.

    powers : list of tuple of int
        The degrees in y and x.

    Returns
    -------
    terms : `~numpy.ndarray`
        The shape of the coordinates with one more axis.
    """
    from numpy.polynomial.chebyshev import chebvander

    top = max((max(p) for p in powers), default=0)
    in_y, in_x = chebvander(y, top), chebvander(x, top)
    return np.stack([in_y[..., i] * in_x[..., j] for i, j in powers], axis=-1)


def fit_plane(blocks: np.ndarray, *, degree: int) -> np.ndarray:
    """
    Fit a polynomial to blocks; outliers do not move it.

    Parameters
    ----------
    blocks : `~numpy.ndarray`
        Values, NaN where unknown.

    degree : int
        The total degree; lower if there are few blocks.

    Returns
    -------
    matrix : `~numpy.ndarray`
        Chebyshev coefficients in y and x.
    """
    known = np.isfinite(blocks)
    while degree and known.sum() < 2 * len(chebyshev_powers(degree)):
        degree -= 1
    powers = chebyshev_powers(degree)
    matrix = np.zeros((degree + 1, degree + 1))
    if not known.any():
        return matrix
    y, x = (np.linspace(-1 + 1 / n, 1 - 1 / n, n) for n in blocks.shape)
    terms = chebyshev_terms(*np.meshgrid(y, x, indexing='ij'), powers)
    keep = known
    for _ in range(5):
        solution = np.linalg.lstsq(terms[keep], blocks[keep], rcond=None)[0]
        off = np.abs(blocks - terms @ solution)
        keep = known & (off <= 4 * 1.4826 * np.median(off[keep]) + 1e-12)
        if keep.sum() < 2 * len(powers):
            break
    for power, value in zip(powers, solution, strict=True):
        matrix[power] = value
    return matrix


def evaluate_plane(
    matrix: np.ndarray, shape: tuple[int, int], box: int | None = None
) -> np.ndarray:
    """
    Evaluate a polynomial of `fit_plane` on the pixels.

    Parameters
    ----------
    matrix : `~numpy.ndarray`
        The coefficients.

    shape : tuple of int
        The shape of the image.

    box : int, optional
        The size of the blocks of the fit; the image itself by default.

    Returns
    -------
    image : `~numpy.ndarray`
        The polynomial.
    """
    from numpy.polynomial.chebyshev import chebgrid2d

    extent = [n if box is None else max(1, n // box) * min(box, n) for n in shape]
    y, x = ((2 * np.arange(n) + 1 - m) / m for n, m in zip(shape, extent, strict=True))
    return chebgrid2d(y, x, matrix)


def upsample(blocks: np.ndarray, shape: tuple[int, int], box: int) -> np.ndarray:
    """
    Interpolate blocks linearly to pixels.

    Parameters
    ----------
    blocks : `~numpy.ndarray`
        Values of blocks, finite.

    shape : tuple of int
        The shape of the image.

    box : int
        The size of the blocks.

    Returns
    -------
    image : `~numpy.ndarray`
        Constant beyond the middles of the outer blocks.
    """
    from scipy import ndimage

    y, x = ((np.arange(n) + 0.5) / min(box, n) - 0.5 for n in shape)
    rows = ndimage.map_coordinates(
        blocks,
        np.meshgrid(y, np.arange(blocks.shape[1]), indexing='ij'),
        order=1,
        mode='nearest',
    )
    grid = np.meshgrid(np.arange(shape[0]), x, indexing='ij')
    return ndimage.map_coordinates(rows, grid, order=1, mode='nearest')
