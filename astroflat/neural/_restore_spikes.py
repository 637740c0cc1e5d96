# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Pixels that no light through the optics can make: hot ones, hits of particles."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from astroflat.neural._strips import wide_strips

if TYPE_CHECKING:
    from astroflat.neural._restore_filter import Kernel

__all__ = ['find_spikes']

# Height over the surroundings, in standard deviations of the noise.
_HIGH = 6.0
# Depth below the lowest neighbour, likewise.
_LOW = 4.0
# Their neighbours have less than this part of what those of a star have, by two
# standard deviations.
_PART, _SURE = 0.5, 2.0
# Pixels that are looked at on each side.
_REACH = 2


def find_spikes(values: np.ndarray, sigma: np.ndarray, kernel: Kernel) -> np.ndarray:
    """
    Find pixels that stand out more sharply than a star can.

    Parameters
    ----------
    values : ndarray
        Plane ``(ny, nx)`` without holes.
    sigma : ndarray
        Noise of its pixels.
    kernel : Kernel
        Image of a star.

    Returns
    -------
    ndarray of bool
        True for such pixels, and for those far below all their neighbours.
    """
    find = partial(_find, _PART * _neighbours_of_star(kernel))
    found = np.empty(values.shape, bool)
    return wide_strips(find, values, sigma, reach=_REACH, out=found)


def _find(part: float, values: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Find them in some rows; neighbours of a star have twice this part."""
    peak, beside = _heights(values)
    # The mean of four neighbours less that of sixteen more.
    noise = _SURE * np.sqrt(0.25 + 1.0 / 16.0) * sigma
    high = (peak > _HIGH * sigma) & (beside < part * peak - noise)
    return high | _holes(values, sigma)


def _holes(values: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Find pixels below the lowest of their neighbours."""
    from scipy.ndimage import minimum_filter

    around = np.ones((3, 3), bool)
    around[1, 1] = False
    lowest = minimum_filter(values, footprint=around, mode='mirror')
    return values < lowest - _LOW * sigma


def _heights(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels, and means of their four neighbours, over those two pixels away."""
    from scipy.ndimage import uniform_filter

    near = 9.0 * uniform_filter(values, 3, mode='mirror')
    ring = (25.0 * uniform_filter(values, 5, mode='mirror') - near) / 16.0
    framed = np.pad(values, 1, mode='reflect' if min(values.shape) > 1 else 'edge')
    beside = framed[:-2, 1:-1] + framed[2:, 1:-1]
    beside += framed[1:-1, :-2] + framed[1:-1, 2:]
    return values - ring, beside / 4.0 - ring


def _neighbours_of_star(kernel: Kernel) -> float:
    """Height beside the peak of a star over that of the peak, the least there is."""
    from astroflat.neural._restore_filter import centred

    image = centred(kernel, 32)
    peak, beside = _heights(image)
    middle = np.unravel_index(int(image.argmax()), image.shape)
    return float(np.clip(beside[middle] / peak[middle], 0.0, 1.0))
