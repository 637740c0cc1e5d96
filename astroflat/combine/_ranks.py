# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Median and median absolute deviation of sorted columns."""

from __future__ import annotations

import numpy as np

from astroflat.combine._keys import middle, missing_value

__all__ = [
    'count_true',
    'fold',
    'grouped_mad',
    'halfway',
    'mad_sorted',
    'middle_of',
    'pick',
]


def count_true(flags: np.ndarray) -> np.ndarray:
    """
    Count the true flags of each column.

    Parameters
    ----------
    flags : `~numpy.ndarray` of bool
        ``(n, width)``.

    Returns
    -------
    count : `~numpy.ndarray` of uint8 or int32
        ``(width,)``.
    """
    ones = flags.view(np.uint8)
    # Sums of bytes that fit in a byte are what the processor adds fastest.
    if len(ones) < 256:
        return np.add.reduce(ones, axis=0, dtype=np.uint8)
    total = np.zeros(flags.shape[1], dtype=np.int32)
    for start in range(0, len(ones), 255):
        total += np.add.reduce(ones[start : start + 255], axis=0, dtype=np.uint8)
    return total


def pick(block: np.ndarray, rank: np.ndarray | int) -> np.ndarray:
    """
    Return one sample of each sorted column.

    Parameters
    ----------
    block : `~numpy.ndarray`
        ``(n, width)``, sorted along the first axis.

    rank : int or `~numpy.ndarray` of int
        Which one, from 0, in all columns or in each.

    Returns
    -------
    samples : `~numpy.ndarray`
        ``(width,)``.
    """
    if isinstance(rank, int):
        return block[rank].copy()
    rank = np.clip(rank, 0, len(block) - 1)
    return np.take_along_axis(block, rank[None], axis=0)[0]


def middle_of(
    block: np.ndarray, count: np.ndarray | int, first: np.ndarray | int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """
    Return the two middle samples of each sorted column.

    Parameters
    ----------
    block : `~numpy.ndarray`
        ``(n, width)``, sorted along the first axis.

    count : int or `~numpy.ndarray` of int
        How many samples count.

    first : int or `~numpy.ndarray` of int, optional
        How many of the smallest do not count.

    Returns
    -------
    low, high : `~numpy.ndarray`
        The two; equal for odd counts.
    """
    return pick(block, first + (count - 1) // 2), pick(block, first + count // 2)


def mad_sorted(
    block: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    count: np.ndarray | int,
    first: np.ndarray | int = 0,
) -> np.ndarray:
    """
    Return the median absolute deviation of sorted columns.

    Parameters
    ----------
    block : `~numpy.ndarray`
        ``(n, width)`` unsigned keys or floating-point numbers, sorted along
        the first axis.

    low, high : `~numpy.ndarray`
        The two middle samples.

    count : int or `~numpy.ndarray` of int
        How many samples count; those behind are ignored.

    first : int or `~numpy.ndarray` of int, optional
        How many of the smallest do not count. An array, if it is not 0.

    Returns
    -------
    mad : `~numpy.ndarray` of float64
        ``(width,)``. Integers are grouped, see `grouped_mad`.
    """
    if block.dtype.kind == 'f':
        with np.errstate(invalid='ignore'):
            away = np.abs(block - middle(low, high))
        return middle(*_nearest(away, count, first)).astype(np.float64)
    away, half = fold(block, low, high)
    near, far = _nearest(away, count, first)
    below = count_true(away < near)
    upto = np.minimum(count_true(away <= near), count)
    return grouped_mad(near, far, half, below, upto, count)


def _nearest(
    away: np.ndarray, count: np.ndarray | int, first: np.ndarray | int
) -> tuple[np.ndarray, np.ndarray]:
    """
    Return the two middle ones of the distances of sorted columns.

    The k samples nearest to a centre are neighbours in sorted order, and the
    first or the last of them is the farthest. So the k-th smallest distance
    is the smallest of these farthest ones.
    """
    if not isinstance(count, int):
        return _nearest_of_some(away, count, first)
    pair = []
    for k in ((count + 1) // 2, count // 2 + 1):
        farthest = np.maximum(away[: count - k + 1], away[k - 1 : count])
        pair.append(farthest.min(axis=0))
    return pair[0], pair[1]


def _nearest_of_some(
    away: np.ndarray, count: np.ndarray, first: np.ndarray | int
) -> tuple[np.ndarray, np.ndarray]:
    """Do the same where the columns have different numbers of samples."""
    row = np.arange(len(away))[:, None]
    outside = (row < first) | (row >= first + count)
    np.copyto(away, missing_value(away.dtype), where=outside)
    return middle_of(np.sort(away, axis=0), count)


def fold(
    keys: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """
    Return the distances of integers from their median.

    Parameters
    ----------
    keys : `~numpy.ndarray`
        ``(n, width)`` unsigned.

    low, high : `~numpy.ndarray`
        The two middle samples.

    Returns
    -------
    distance : `~numpy.ndarray`
        ``(n, width)`` of the type of the keys: the absolute deviations,
        rounded up.

    half : `~numpy.ndarray` of bool
        ``(width,)``: where the median lies between two integers, so that half
        a unit has to be subtracted from the distance.
    """
    floor, half = halfway(low, high)
    distance = np.maximum(keys, floor)
    distance -= np.minimum(keys, floor)
    if half.any():
        distance += half & (keys <= floor)
    return distance, half


def halfway(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Return the median of integers, rounded down.

    Parameters
    ----------
    low, high : `~numpy.ndarray`
        The two middle samples, unsigned.

    Returns
    -------
    floor : `~numpy.ndarray`
        Half of their sum, of their type.

    half : `~numpy.ndarray` of bool
        Where it was rounded.
    """
    differ = low ^ high
    # The sum itself might overflow.
    floor = (low & high) + (differ >> low.dtype.type(1))
    return floor, (differ & low.dtype.type(1)).astype(bool)


def grouped_mad(
    near: np.ndarray,
    far: np.ndarray,
    half: np.ndarray,
    below: np.ndarray,
    upto: np.ndarray,
    count: np.ndarray | int,
) -> np.ndarray:
    """
    Return the median absolute deviation of integers.

    Parameters
    ----------
    near, far : `~numpy.ndarray`
        The two middle ones of the distances.

    half : `~numpy.ndarray` of bool
        Where half a unit has to be subtracted from them, see `fold`.

    below, upto : `~numpy.ndarray` of int
        How many distances are smaller than ``near``, and how many not larger.

    count : int or `~numpy.ndarray` of int
        How many there are.

    Returns
    -------
    mad : `~numpy.ndarray` of float64
        The median absolute deviation.

    Notes
    -----
    An integer stands for all values that were rounded to it. Its samples are
    taken as spread evenly over that unit, as is done for the median of grouped
    data. In counts of thousands this changes nothing; in an 8-bit video, where
    the plain deviation would be 0, 1 or 2, it follows the noise, and it is
    never zero.
    """
    near = near - 0.5 * half
    start = np.maximum(near - 0.5, 0)
    width = near + 0.5 - start
    # Counts may be bytes.
    below, upto = np.asarray(below, np.int64), np.asarray(upto, np.int64)
    inside = np.maximum(upto - below, 1)
    grouped = start + (0.5 * count - below) / inside * width
    # An even number may have its middle in the gap between two units.
    gap = 0.5 * (near + (far - 0.5 * half))
    return np.where(upto + upto == count, gap, grouped)
