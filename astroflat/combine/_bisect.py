# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Ranks by halving the interval of values, in plain NumPy."""

from __future__ import annotations

import numpy as np

from astroflat.combine._ranks import count_true, grouped_mad

__all__ = ['mad_of', 'select']


def select(
    keys: np.ndarray, count: np.ndarray | int, top: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
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

    below, upto : `~numpy.ndarray` of int32
        How many samples are smaller than ``low``, and how many not larger.

    Notes
    -----
    The interval that holds the sample is halved for all columns at once by
    counting how many samples lie below its middle: one comparison and one sum
    over the block for each bit by which the samples differ.
    """
    low = np.minimum.reduce(keys, axis=0)
    high = top.copy()
    low = np.minimum(low, high)
    below = np.zeros(keys.shape[1], dtype=np.int32)
    upto = np.zeros(keys.shape[1], dtype=np.int32) + count
    rank = (upto + 1) // 2
    flags = np.empty(keys.shape, dtype=bool)
    while (high != low).any():
        centre = low + ((high - low) >> 1)
        np.less_equal(keys, centre, out=flags)
        smaller = count_true(flags)
        enough = smaller >= rank
        # Where the interval is a point already, nothing may move.
        enough |= high == low
        np.copyto(upto, smaller, where=enough & (centre < high))
        np.copyto(high, centre, where=enough)
        np.copyto(below, smaller, where=~enough)
        np.copyto(low, centre + keys.dtype.type(1), where=~enough)
    np.less_equal(keys, low, out=flags)
    next_one = _smallest_beyond(keys, flags)
    even = (np.asarray(count) % 2 == 0) & (upto == rank)
    return low, np.where(even, next_one, low), below, upto


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
    near, far, below, upto = select(distance, count, top)
    return grouped_mad(near, far, half, below, upto, count)
