# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Iterative rejection of outliers along the frames of each pixel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from astroflat.combine._columns import Strip, block_width, load, sortable_dtype
from astroflat.combine._estimate import Estimate
from astroflat.combine._keys import decode, encode, key_dtype, middle
from astroflat.combine._options import Clip, Options
from astroflat.combine._ranks import mad_sorted, middle_of
from astroflat.combine._spread import MAD_TO_SIGMA, from_mad, from_squares

__all__ = ['ClippedEstimator', 'Left', 'kept_range', 'reject']


class Left(NamedTuple):
    """
    What is left of sorted columns.

    Attributes
    ----------
    first, last : `~numpy.ndarray` of int
        The samples ``first`` to ``last - 1`` of each column are left.

    mean, squares : `~numpy.ndarray` of float64
        Their mean, and the sum of their squared distances from it.

    mad : `~numpy.ndarray` of float64 or None
        Their median absolute deviation, if it was asked for.
    """

    first: np.ndarray
    last: np.ndarray
    mean: np.ndarray
    squares: np.ndarray
    mad: np.ndarray | None


class ClippedEstimator:
    """
    Combine the samples that are left after rejecting outliers.

    Parameters
    ----------
    n : int
        The number of frames.

    dtype : `numpy.dtype`
        The type of the samples.

    options : Options
        What to compute; ``options.clip`` is not None.

    block_bytes : int
        The size of the working block.

    Notes
    -----
    In a sorted column the samples within two limits are neighbours, so that
    rejecting means moving two indices.
    """

    def __init__(
        self, n: int, dtype: np.dtype, options: Options, block_bytes: int
    ) -> None:
        self._dtype = dtype
        self._options = options
        width = block_width(n, 8, 2 * block_bytes)
        self._block = np.zeros((width, n), sortable_dtype(dtype)).T
        self._reject = reject
        if options.compiled:
            from astroflat.combine._compiled import compiled_reject

            self._reject = compiled_reject

    def __call__(self, strip: Strip) -> Estimate:
        """
        Combine a strip.

        Parameters
        ----------
        strip : Strip
            The samples.

        Returns
        -------
        estimate : Estimate
            Value, spread and count of what is left.
        """
        wide = self._dtype if self._dtype.kind == 'f' else np.dtype(np.float64)
        median = self._options.method == 'median'
        value = np.empty(strip.size, wide if median else np.float64)
        spread = None if self._options.spread is None else np.empty(strip.size)
        count = np.empty(strip.size, dtype=np.int32)
        for part, samples, mask in strip.blocks(self._block.shape[1]):
            used = self._block[:, : part.stop - part.start]
            present = self._load(used, samples, mask)
            used.T.sort(axis=-1)
            result = self._of_block(used, present)
            value[part], count[part] = result.value, result.count
            if spread is not None:
                spread[part] = result.spread
        return Estimate(value, spread, count)

    def _load(
        self, block: np.ndarray, samples: np.ndarray, mask: np.ndarray | None
    ) -> np.ndarray:
        """Fill the block and return the number of samples of each column."""
        if samples.dtype.kind == 'f':
            # As in astropy, infinity is no sample when outliers are rejected.
            bad = ~np.isfinite(samples)
            mask = bad if mask is None else bad | mask
        count, _ = load(block, samples, mask)
        return np.zeros(block.shape[1], dtype=np.intp) + count

    def _of_block(self, block: np.ndarray, present: np.ndarray) -> Estimate:
        """Combine a sorted block."""
        numbers = block
        if self._dtype.kind != 'f':
            keys = block.astype(key_dtype(self._dtype), copy=False)
            numbers = decode(keys, self._dtype)
        left = self._reject(numbers, present, self._options)
        count = left.last - left.first
        if self._options.method == 'mean':
            value = left.mean
        else:
            value = middle(*middle_of(numbers, count, left.first))
        return Estimate(value, self._spread(left, count), count)

    def _spread(self, left: Left, count: np.ndarray) -> np.ndarray | None:
        """Return the standard deviation of the samples that are left."""
        if self._options.spread is None:
            return None
        sigma = from_squares(left.squares, count, self._dtype)
        if self._options.spread == 'std':
            return sigma
        return np.where(left.mad == 0, sigma, from_mad(left.mad, count))


def reject(numbers: np.ndarray, count: np.ndarray, options: Options) -> Left:
    """
    Reject outliers from sorted columns, in plain NumPy.

    Parameters
    ----------
    numbers : `~numpy.ndarray`
        ``(n, width)``, sorted along the first axis.

    count : `~numpy.ndarray` of int
        How many of each column are there.

    options : Options
        What to compute.

    Returns
    -------
    left : Left
        The samples that are left, and their statistics.
    """
    values = numbers.astype(np.float64)
    first, last = kept_range(values, count, options.clip)
    mean, squares = _mean_and_squares(values, first, last)
    mad = None
    if options.spread == 'mad':
        block = encode(numbers) if numbers.dtype.kind != 'f' else values
        low, high = middle_of(block, last - first, first)
        mad = mad_sorted(block, low, high, last - first, first)
    return Left(first, last, mean, squares, mad)


def kept_range(
    values: np.ndarray, count: np.ndarray, clip: Clip
) -> tuple[np.ndarray, np.ndarray]:
    """
    Find which samples of sorted columns are not outliers.

    Parameters
    ----------
    values : `~numpy.ndarray` of float64
        ``(n, width)``, sorted along the first axis.

    count : `~numpy.ndarray` of int
        How many of each column are there.

    clip : Clip
        The limits.

    Returns
    -------
    first, last : `~numpy.ndarray` of int
        The samples ``first`` to ``last - 1`` of each column are left.

    Notes
    -----
    As in `astropy.stats.sigma_clip`, the limits found last apply to all
    samples: one that was rejected before may come back.
    """
    lower = np.full(values.shape[1], -np.inf)
    upper = np.full(values.shape[1], np.inf)
    active = np.flatnonzero(count > 0)
    column, first, last = values, np.zeros_like(count), count
    if active.size < count.size:
        column, first, last = values[:, active], first[active], count[active]
    iteration = 0
    while active.size:
        centre, spread = _centre_and_spread(column, first, last, clip)
        low, high = centre - clip.lower * spread, centre + clip.upper * spread
        lower[active], upper[active] = low, high
        after = np.maximum(first, np.count_nonzero(column < low, axis=0))
        before = np.minimum(last, np.count_nonzero(column <= high, axis=0))
        iteration += 1
        if iteration == clip.maxiters:
            break
        moved = ((after != first) | (before != last)) & (before > after)
        active, column = active[moved], column[:, moved]
        first, last = after[moved], before[moved]
    first = np.count_nonzero(values < lower, axis=0)
    last = np.minimum(np.count_nonzero(values <= upper, axis=0), count)
    return np.minimum(first, last), last


def _centre_and_spread(
    values: np.ndarray, first: np.ndarray, last: np.ndarray, clip: Clip
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the distances are measured from, and in units of."""
    median = mean = squares = None
    if clip.centre == 'median':
        median = middle(*middle_of(values, last - first, first))
    if clip.centre == 'mean' or clip.spread == 'std':
        mean, squares = _mean_and_squares(values, first, last)
    centre = median if clip.centre == 'median' else mean
    if clip.spread == 'mad':
        low, high = middle_of(values, last - first, first)
        mad = mad_sorted(values, low, high, last - first, first)
        return centre, MAD_TO_SIGMA * mad
    return centre, np.sqrt(squares / (last - first))


def _mean_and_squares(
    values: np.ndarray, first: np.ndarray, last: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of a range of samples and the squares about it."""
    row = np.arange(len(values))[:, None]
    outside = (row < first) | (row >= last)
    chosen = np.where(outside, 0, values)
    with np.errstate(invalid='ignore'):
        mean = np.add.reduce(chosen, axis=0) / (last - first)
        chosen -= mean
    np.copyto(chosen, 0, where=outside)
    np.multiply(chosen, chosen, out=chosen)
    return mean, np.add.reduce(chosen, axis=0)
