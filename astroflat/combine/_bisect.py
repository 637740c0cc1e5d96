# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Ranks by halving the interval of values, in plain NumPy."""

from __future__ import annotations

import numpy as np

from astroflat.combine._ranks import count_true, grouped_mad, halfway

__all__ = ['Halving']


class Halving:
    """
    A block in whose columns ranks are found without sorting.

    Parameters
    ----------
    n : int
        The number of frames.

    width : int
        The number of pixels.

    dtype : `numpy.dtype`
        The type of the keys, unsigned.

    Attributes
    ----------
    block : `~numpy.ndarray`
        ``(n, width)``, to be filled.

    Notes
    -----
    The lower middle sample is the largest number below which there are fewer
    than half of the samples. It is found bit by bit, for all columns at once:
    one comparison and one sum over the block for each bit by which the samples
    of a column differ.

    All large arrays are made once: memory that is new for every block costs
    more time than what is done in it.
    """

    def __init__(self, n: int, width: int, dtype: np.dtype) -> None:
        self.block = np.empty((n, width), dtype)
        self._flags = np.empty((n, width), dtype=bool)
        self._spare = np.empty((n, width), dtype)

    def middle(
        self, used: int, count: np.ndarray | int, missing: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """
        Find the two middle samples of each column.

        Parameters
        ----------
        used : int
            How many columns are filled.

        count : int or `~numpy.ndarray` of int
            How many samples count.

        missing : `~numpy.ndarray` of bool or None
            Which do not.

        Returns
        -------
        low, high : `~numpy.ndarray`
            ``(used,)``; equal for odd counts.
        """
        low, high, _ = self._select(self.block[:, :used], count, missing)
        return low, high

    def mad(
        self,
        low: np.ndarray,
        high: np.ndarray,
        count: np.ndarray | int,
        missing: np.ndarray | None,
    ) -> np.ndarray:
        """
        Find the median absolute deviation of each column.

        Parameters
        ----------
        low, high : `~numpy.ndarray`
            What `middle` returned.

        count : int or `~numpy.ndarray` of int
            How many samples count.

        missing : `~numpy.ndarray` of bool or None
            Which do not.

        Returns
        -------
        mad : `~numpy.ndarray` of float64
            Grouped. The block holds the distances afterwards.
        """
        keys = self.block[:, : low.size]
        half = self._fold(keys, low, high)
        near, far, upto = self._select(keys, count, missing)
        flags = self._flags[:, : low.size]
        below = count_true(np.less(keys, near, out=flags))
        return grouped_mad(near, far, half, below, upto, count)

    def _select(
        self, keys: np.ndarray, count: np.ndarray | int, missing: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the middle keys and how many are not larger than the first."""
        flags = self._flags[:, : keys.shape[1]]
        top = _largest(keys, missing)
        low = np.minimum(np.minimum.reduce(keys, axis=0), top)
        rank = (count + 1) // 2
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
        return low, np.where(alone, low, self._smallest_beyond(keys)), upto

    def _smallest_beyond(self, keys: np.ndarray) -> np.ndarray:
        """Return the smallest key of each column that is not flagged."""
        # All bits set where flagged: a minimum with `where` would not use the
        # vector units.
        ones = self._flags[:, : keys.shape[1]].view(np.int8)
        np.negative(ones, out=ones)
        spare = self._spare[:, : keys.shape[1]]
        np.copyto(spare.view(f'i{keys.dtype.itemsize}'), ones)
        np.bitwise_or(keys, spare, out=spare)
        return np.minimum.reduce(spare, axis=0)

    def _fold(self, keys: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Replace keys by their distances from the median; see `_ranks.fold`."""
        floor, half = halfway(low, high)
        smaller = self._flags[:, : low.size]
        spare = self._spare[:, : low.size]
        np.less_equal(keys, floor, out=smaller)
        np.minimum(keys, floor, out=spare)
        np.maximum(keys, floor, out=keys)
        keys -= spare
        if half.any():
            smaller &= half
            keys += smaller
        return half


def _largest(keys: np.ndarray, missing: np.ndarray | None) -> np.ndarray:
    """Return the largest key of each column; push missing ones behind."""
    if missing is None:
        return np.maximum.reduce(keys, axis=0)
    np.copyto(keys, 0, where=missing)
    top = np.maximum.reduce(keys, axis=0)
    np.copyto(keys, np.iinfo(keys.dtype).max, where=missing)
    return top


def _steps(low: np.ndarray, top: np.ndarray) -> list[np.generic]:
    """Return the bits in which keys differ, the highest first."""
    kind = low.dtype.type
    bits = int((top - low).max()).bit_length()
    return [kind(1 << bit) for bit in reversed(range(bits))]
