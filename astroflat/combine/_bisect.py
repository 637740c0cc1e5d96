# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Ranks by halving the interval of values, in plain NumPy."""

from __future__ import annotations

import numpy as np

from astroflat.combine._ranks import count_true, grouped_mad

__all__ = ['mad_of', 'select']


def select(
    keys: np.ndarray, count: np.ndarray | int, top: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Return the two middle samples of each column without sorting.

    Parameters
    ----------
    keys : `~numpy.ndarray`
        ``(n, width)`` unsigned. Missing samples have the largest value.

    count : int or `~numpy.ndarray` of int
        How many samples count.

    top : `~numpy.ndarray`
        ``(width,)``: no sample that counts is larger.

    Returns
    -------
    low, high : `~numpy.ndarray`
        The two middle samples; equal for odd counts.

    upto : `~numpy.ndarray` of int
        How many samples are not larger than ``low``.

    Notes
    -----
    The lower middle sample is the largest number below which there are fewer
    than half of the samples. It is found bit by bit, for all columns at once:
    one comparison and one sum over the block for each bit by which the samples
    of a column differ.
    """
    flags = np.empty(keys.shape, dtype=bool)
    rank = (count + 1) // 2
    low = np.minimum(np.minimum.reduce(keys, axis=0), top)
    for step in _steps(low, top):
        trial = low + step
        np.less(keys, trial, out=flags)
        larger = count_true(flags) < rank
        # Beyond the largest number that there is it starts from 0 again.
        larger &= trial > low
        low += larger * step
    np.less_equal(keys, low, out=flags)
    upto = np.minimum(count_true(flags), count)
    alone = (np.asarray(count) % 2 == 1) | (upto > rank)
    if np.all(alone):
        return low, low, upto
    return low, np.where(alone, low, _smallest_beyond(keys, flags)), upto


def _steps(low: np.ndarray, top: np.ndarray) -> list[np.generic]:
    """Return the bits in which samples differ, the highest first."""
    kind = low.dtype.type
    bits = int((top - low).max()).bit_length()
    return [kind(1 << bit) for bit in reversed(range(bits))]


def _smallest_beyond(keys: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """Return the smallest sample of each column that is not flagged."""
    # All bits set where flagged: a minimum with `where` would not use the
    # vector units.
    ones = np.negative(flags.view(np.uint8))
    if keys.dtype.itemsize > 1:
        ones = ones.view(np.int8).astype(f'i{keys.dtype.itemsize}').view(keys.dtype)
    return np.minimum.reduce(keys | ones, axis=0)


def mad_of(
    distance: np.ndarray, half: np.ndarray, count: np.ndarray | int, top: np.ndarray
) -> np.ndarray:
    """
    Return the median absolute deviation from distances.

    Parameters
    ----------
    distance, half : `~numpy.ndarray`
        What `fold` returned; missing samples have the largest value.

    count : int or `~numpy.ndarray` of int
        How many samples count.

    top : `~numpy.ndarray`
        ``(width,)``: no distance that counts is larger.

    Returns
    -------
    mad : `~numpy.ndarray` of float64
        ``(width,)``, grouped.
    """
    near, far, upto = select(distance, count, top)
    below = count_true(distance < near)
    return grouped_mad(near, far, half, below, upto, count)
