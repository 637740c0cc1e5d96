# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Random fields with random access: the value of a pixel is a function of its place.

A hash of pixel and seed replaces a stream of random numbers. So a tile, a
bounding box and the whole frame agree, whatever the order of evaluation, and a
model with a seed describes every pixel of a response map.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from astroflat.degradation._namespace import namespace

__all__ = ['lattice_noise', 'line_noise', 'white_noise']

# Multipliers and shifts of the SplitMix64 finaliser, as signed 64-bit integers:
# all namespaces have int64, and its products wrap around.
_STEP_X = 0x1E3779B97F4A7C15
_STEP_Y = 0x3F58476D1CE4E5B9
_MIX_1 = 0x3F58476D1CE4E5B9 | 1
_MIX_2 = 0x14D049BB133111EB
_MASK_16 = 0xFFFF

# The sum of four 16-bit integers has this mean and standard deviation.
_MEAN = 2.0 * 65535.0
_SIGMA = math.sqrt((65536.0**2 - 1.0) / 3.0)


def white_noise(x: Any, y: Any, *, seed: int) -> Any:
    """
    Independent, nearly normal numbers for whole pixels.

    Parameters
    ----------
    x, y : array_like
        Pixel coordinates, rounded to whole pixels.
    seed : int
        Number of the field, below 2**31.

    Returns
    -------
    array
        Mean 0 and standard deviation 1, never beyond 3.47: the sum of four
        uniform numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation.profiles import white_noise
    >>> row, column = np.arange(300.0), np.arange(300.0)[:, None]
    >>> field = white_noise(row, column, seed=7)
    >>> bool(field[5, 9] == white_noise(9.0, 5.0, seed=7))
    True
    >>> bool(abs(field.std() - 1) < 0.01)
    True
    """
    xp = namespace(x, y)
    bits = _hash(_whole(xp, x), _whole(xp, y), seed)
    total = bits & _MASK_16
    for shift in (16, 32, 48):
        total = total + ((bits >> shift) & _MASK_16)
    return (_float_like(xp, total, x) - _MEAN) / _SIGMA


def line_noise(x: Any, y: Any, *, seed: int, axis: int = 0) -> Any:
    """
    Nearly normal numbers that are the same along whole lines of pixels.

    Parameters
    ----------
    x, y : array_like
        Pixel coordinates, rounded to whole pixels.
    seed : int
        Number of the field, below 2**31.
    axis : {0, 1}, optional
        Axis along which the numbers change: 0 gives rows, 1 gives columns.

    Returns
    -------
    array
        As `white_noise`, in the common shape of ``x`` and ``y``.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation.profiles import line_noise
    >>> rows = line_noise(np.arange(4.0), np.arange(3.0)[:, None], seed=2)
    >>> rows.shape, bool(np.ptp(rows, axis=1).any())
    ((3, 4), False)
    """
    place = y if axis == 0 else x
    return white_noise(place, -(axis + 1.0) + 0.0 * place, seed=seed) + 0.0 * (x + y)


def lattice_noise(x: Any, y: Any, *, scale: float, seed: int) -> Any:
    """
    Smooth noise: random numbers on a grid joined by cubic B-splines.

    Parameters
    ----------
    x, y : array_like
        Pixel coordinates.
    scale : float
        Spacing of the grid in pixels; blobs are about twice as wide.
    seed : int
        Number of the field, below 2**31.

    Returns
    -------
    array
        Mean 0 and standard deviation near 1 over many cells.

    Notes
    -----
    A row ``(1, nx)`` and a column ``(ny, 1)`` are recognised and joined one
    axis after the other, which is about four times faster than a full grid.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation.profiles import lattice_noise
    >>> row, column = np.arange(400.0), np.arange(400.0)[:, None]
    >>> field = lattice_noise(row, column, scale=8.0, seed=1)
    >>> bool(abs(field.std() - 1) < 0.1)
    True
    """
    xp = namespace(x, y)
    ix, wx = _spline(xp, x / scale)
    iy, wy = _spline(xp, y / scale)
    join = _join_axes if _is_grid(x, y) else _join_points
    # The squared B-spline weights sum to 151/315 on average over a cell.
    return join(ix, wx, iy, wy, seed) * (315.0 / 151.0)


def _is_grid(x: Any, y: Any) -> bool:
    """Whether the coordinates are a row and a column of NumPy arrays."""
    if namespace(x, y) is not np or np.ndim(y) != 2:
        return False
    return np.ndim(x) in (1, 2) and x.size == x.shape[-1] and y.size == y.shape[0]


def _join_points(ix: Any, wx: list, iy: Any, wy: list, seed: int) -> Any:
    """Sum the sixteen weighted numbers around each point."""
    total = 0.0
    for j in range(4):
        row = 0.0
        for i in range(4):
            row = row + wx[i] * white_noise(ix + (i - 1), iy + (j - 1), seed=seed)
        total = total + wy[j] * row
    return total


def _join_axes(ix: Any, wx: list, iy: Any, wy: list, seed: int) -> Any:
    """Sum over the columns of each row of the grid, then over its rows."""
    cx, cy = ix.ravel().astype(int), iy.ravel().astype(int)
    x_cells = np.arange(cx.min() - 1, cx.max() + 3, dtype=ix.dtype)
    y_cells = np.arange(cy.min() - 1, cy.max() + 3, dtype=iy.dtype)
    nodes = white_noise(x_cells, y_cells[:, None], seed=seed)
    rows = sum(wx[i] * nodes[:, cx - cx.min() + i] for i in range(4))
    return sum(wy[j] * rows[cy - cy.min() + j] for j in range(4))


def _spline(xp: Any, t: Any) -> tuple[Any, list[Any]]:
    """Cell and the four cubic B-spline weights of a position in cells."""
    cell = xp.floor(t)
    u = t - cell
    v = 1.0 - u
    sixth = 1.0 / 6.0
    weights = [
        v * v * v * sixth,
        (4.0 + 3.0 * u * u * (u - 2.0)) * sixth,
        (4.0 + 3.0 * v * v * (v - 2.0)) * sixth,
        u * u * u * sixth,
    ]
    return cell, weights


def _hash(ix: Any, iy: Any, seed: int) -> Any:
    """Mix two integer coordinates and a seed into 64 nearly random bits."""
    # The seed moves the lattice; an odd multiplier is a bijection of 64 bits.
    bits = (ix + 1) * _STEP_X + (iy + 1) * _STEP_Y + (int(seed) << 31)
    bits = (bits ^ ((bits >> 30) & 0x3FFFFFFFF)) * _MIX_1
    bits = (bits ^ ((bits >> 27) & 0x1FFFFFFFFF)) * _MIX_2
    return bits ^ ((bits >> 31) & 0x1FFFFFFFF)


def _whole(xp: Any, value: Any) -> Any:
    """Nearest whole pixel as an int64 array of at least one dimension."""
    if hasattr(value, 'to'):
        return value.round().to(xp.int64)
    # Scalars of NumPy warn when a product wraps around, arrays do not.
    return xp.atleast_1d(xp.rint(value)).astype(xp.int64)


def _float_like(xp: Any, value: Any, like: Any) -> Any:
    """Convert integers to the floating type of the coordinates."""
    dtype = getattr(like, 'dtype', None)
    if hasattr(value, 'to'):
        return value.to(dtype)
    if dtype is None or dtype.kind != 'f':
        dtype = xp.float64
    out = value.astype(dtype)
    return out if getattr(like, 'ndim', 0) or value.size > 1 else out[0]
