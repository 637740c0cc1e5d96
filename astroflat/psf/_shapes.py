# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Ellipses as matrices, which can be added and interpolated.

The width of an elliptical star is the symmetric matrix S with the squares of its
full widths at half maximum as eigenvalues. Averages and polynomials of S stay
meaningful where the angle of a round star jumps.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = [
    'APERTURE',
    'centroid_within',
    'ellipse_of',
    'inverse_of',
    'matrix_of',
    'place_in_grid',
    'size_of',
]

#: Radius in widths within which light counts for the centroid of a star.
APERTURE = 2.0


def matrix_of(fwhm: Any, ellipticity: Any, theta: Any) -> tuple[Any, Any, Any]:
    """
    Return the matrix of an ellipse.

    Parameters
    ----------
    fwhm : float or array_like
        Geometric mean of the full widths along the axes.

    ellipticity : float or array_like
        ``1 - b/a``, 0 to below 1.

    theta : float or array_like
        Angle of the long axis in degrees, from +x to +y.

    Returns
    -------
    xx, xy, yy : float or array_like
        Components in the squared unit of ``fwhm``.
    """
    ratio = 1.0 - np.asarray(ellipticity, dtype=np.float64)
    square = np.square(np.asarray(fwhm, dtype=np.float64))
    angle = np.deg2rad(np.asarray(theta, dtype=np.float64))
    mean, half = square * (1 / ratio + ratio) / 2, square * (1 / ratio - ratio) / 2
    return (
        mean + half * np.cos(2 * angle),
        half * np.sin(2 * angle),
        mean - half * np.cos(2 * angle),
    )


def ellipse_of(xx: Any, xy: Any, yy: Any) -> tuple[Any, Any, Any]:
    """
    Return the ellipse of a matrix: the inverse of `matrix_of`.

    Parameters
    ----------
    xx, xy, yy : float or array_like
        Components. Where the matrix is not positive it is replaced by the
        nearest one that is.

    Returns
    -------
    fwhm, ellipticity, theta : float or array_like
        As in `matrix_of`; the angle is in [-90, 90).
    """
    xx, xy, yy = (np.asarray(value, dtype=np.float64) for value in (xx, xy, yy))
    mean = np.maximum((xx + yy) / 2, 1e-12)
    half = np.minimum(np.hypot((xx - yy) / 2, xy), 0.98 * mean)
    long, short = np.sqrt(mean + half), np.sqrt(mean - half)
    theta = np.rad2deg(0.5 * np.arctan2(2 * xy, xx - yy))
    theta = np.where(theta >= 90, theta - 180, theta)
    return np.sqrt(long * short), 1 - short / long, theta


def inverse_of(
    fwhm: float, ellipticity: float, theta: float
) -> tuple[float, float, float]:
    """
    Return the inverse of the matrix of an ellipse.

    Parameters
    ----------
    fwhm, ellipticity, theta : float
        As in `matrix_of`.

    Returns
    -------
    xx, xy, yy : float
        Components: ``4 (xx dx² + 2 xy dx dy + yy dy²)`` is 1 on the contour at
        half of the maximum.
    """
    xx, xy, yy = matrix_of(fwhm, ellipticity, theta)
    determinant = xx * yy - xy * xy
    return (
        float(yy / determinant),
        float(-xy / determinant),
        float(xx / determinant),
    )


def size_of(size: Any, reach: float) -> tuple[int, int]:
    """
    Return the shape of a kernel.

    Parameters
    ----------
    size : int, tuple of int or None
        What was asked for.

    reach : float
        Distance in pixels that a kernel without a size must hold.

    Returns
    -------
    shape : tuple of int
        ``(ny, nx)``.
    """
    if size is None:
        side = 2 * math.ceil(reach) + 1
        return side, side
    shape = (size, size) if np.ndim(size) == 0 else tuple(size)
    if len(shape) != 2 or any(int(n) != n or n < 1 for n in shape):
        msg = f'size must be one or two positive whole numbers, not {size!r}'
        raise ValueError(msg)
    return int(shape[0]), int(shape[1])


def place_in_grid(
    shape: tuple[int, int], offset: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """
    Return the distances of pixels from the centre of a kernel.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)``.

    offset : tuple of float
        Displacement (dx, dy) of the kernel from the middle of the array.

    Returns
    -------
    y, x : ndarray
        Of shape ``(ny, 1)`` and ``(1, nx)``.
    """
    ny, nx = shape
    y = np.arange(ny, dtype=np.float64)[:, None] - (ny - 1) / 2 - offset[1]
    x = np.arange(nx, dtype=np.float64)[None, :] - (nx - 1) / 2 - offset[0]
    return y, x


def centroid_within(values: np.ndarray, radius: float) -> tuple[float, float]:
    """
    Return the centroid of the light around it.

    Parameters
    ----------
    values : ndarray
        Image of a star without sky, ``(ny, nx)``.

    radius : float
        Of the aperture around the centroid, in pixels.

    Returns
    -------
    row, column : float
        Where the light within the aperture is on the mean. That of all light is
        where it begins.

    Notes
    -----
    What is in the wings of a lopsided star moves its centroid, and is seen in
    bright stars only. The aperture makes both the same.
    """
    rows, columns = np.ogrid[: values.shape[0], : values.shape[1]]
    share, row, column = 1.0, 0.0, 0.0
    for _ in range(12):
        light = values * share
        total = light.sum()
        last = row, column
        row = float((light * rows).sum() / total)
        column = float((light * columns).sum() / total)
        if math.hypot(row - last[0], column - last[1]) < 1e-4:
            break
        apart = np.hypot(rows - row, columns - column)
        share = np.clip(radius + 0.5 - apart, 0.0, 1.0)
    return row, column
