# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The smooth background of an image, and its noise."""

from __future__ import annotations

import numpy as np

__all__ = ['subtract_background']

# Enough samples for the median of a box.
_SIDE = 16
_MIN_BOXES = 3


def subtract_background(
    image: np.ndarray, bad: np.ndarray, *, box: int = 64
) -> tuple[np.ndarray, float]:
    """
    Subtract a smooth background.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The image, ``(ny, nx)``.

    bad : `~numpy.ndarray` of bool
        True marks pixels to ignore.

    box : int, optional
        The size of the boxes in which a median is taken.

    Returns
    -------
    clean : `~numpy.ndarray`
        The image without its background, 0 where it is bad.

    noise : float
        1.4826 times the median absolute deviation of the good pixels; 0 if
        there are none.

    Notes
    -----
    A paraboloid through the medians of the boxes goes first, because a mesh of
    boxes cannot follow a slope in its outer half boxes; then the mesh.
    """
    if bad.all():
        return np.zeros_like(image), 0.0
    level = float(np.median(image[~bad]))
    clean = np.where(bad, 0, image - _paraboloid(image, bad, box, level))
    clean = np.where(bad, 0, clean - _mesh(clean.astype(image.dtype), bad, box))
    clean = clean.astype(image.dtype, copy=False)
    values = clean[~bad].astype(np.float64)
    return clean, float(1.4826 * np.median(np.abs(values - np.median(values))))


def _paraboloid(
    image: np.ndarray, bad: np.ndarray, box: int, level: float
) -> np.ndarray | float:
    """Fit a paraboloid to the medians of boxes; a constant if they are few."""
    ny, nx = (n // box for n in image.shape)
    if min(ny, nx) < _MIN_BOXES:
        return level
    medians = np.full((ny, nx), np.nan)
    step = max(1, box // _SIDE)
    for j in range(ny):
        for i in range(nx):
            cut = (
                slice(j * box, (j + 1) * box, step),
                slice(i * box, (i + 1) * box, step),
            )
            good = image[cut][~bad[cut]]
            if 2 * good.size > bad[cut].size:
                medians[j, i] = np.median(good)
    # Coordinates of the middle of a box and of the pixels, in units of a box.
    rows, columns = np.arange(ny) + 0.5 - 0.5 / box, np.arange(nx) + 0.5 - 0.5 / box
    matrix = _fit(medians - level, rows, columns)
    if matrix is None:
        return level
    y, x = (np.arange(n) / box for n in image.shape)
    return level + np.polynomial.polynomial.polygrid2d(y, x, matrix)


def _fit(values: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray | None:
    """Fit a polynomial of second degree that outliers do not move."""
    grid = np.meshgrid(y, x, indexing='ij')
    powers = [(0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (2, 0)]
    terms = np.stack([grid[0] ** a * grid[1] ** b for a, b in powers], axis=-1)
    terms, values = terms.reshape(-1, 6), values.ravel()
    keep = np.isfinite(values)
    for _ in range(5):
        if np.count_nonzero(keep) < 9:
            return None
        solution = np.linalg.lstsq(terms[keep], values[keep], rcond=None)[0]
        off = np.abs(values - terms @ solution)
        # NaN is not smaller than anything and stays out.
        keep = off <= 4 * np.median(off[keep]) + 1e-12
    matrix = np.zeros((3, 3))
    for power, value in zip(powers, solution, strict=True):
        matrix[power] = value
    return matrix


def _mesh(image: np.ndarray, bad: np.ndarray, box: int) -> np.ndarray | float:
    """Return what a mesh of boxes finds, a constant where the image is too small."""
    from astropy.stats import SigmaClip
    from photutils.background import Background2D

    sides = tuple(min(box, n) for n in image.shape)
    if min(sides) < 8:
        return 0.0
    try:
        return Background2D(
            image,
            sides,
            mask=bad if bad.any() else None,
            exclude_percentile=80,
            filter_size=3,
            sigma_clip=SigmaClip(3.0, maxiters=10),
        ).background
    except ValueError:
        # So much is masked that no box is left.
        return 0.0
