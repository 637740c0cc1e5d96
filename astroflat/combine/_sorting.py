# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Sorting all columns of a block at once, in plain NumPy."""

from __future__ import annotations

import functools

import numpy as np

__all__ = ['Network', 'network_pairs', 'prune']


class Network:
    """
    A block whose columns are sorted by a network of comparisons.

    Parameters
    ----------
    n : int
        The number of frames.

    width : int
        The number of pixels.

    dtype : `numpy.dtype`
        The type of the samples.

    Attributes
    ----------
    block : `~numpy.ndarray`
        ``(n, width)``, to be filled before each sorting.

    Notes
    -----
    Every comparison of Batcher's odd-even merge sort [1]_ is the minimum and
    the maximum of two rows, so that the processor's vector units sort many
    columns at once. Rows are not moved: the minimum goes to a spare row, and
    the row that it came from is the next spare one.

    References
    ----------
    .. [1] Batcher, K. E. 1968, Proc. AFIPS Spring Joint Computer Conference
       32, 307, https://doi.org/10.1145/1468075.1468121
    """

    def __init__(self, n: int, width: int, dtype: np.dtype) -> None:
        self._memory = np.zeros((n + 1, width), dtype)
        self.block = self._memory[:n]

    def middle(self) -> tuple[np.ndarray, np.ndarray]:
        """
        Find the two middle samples of each column, without sorting the rest.

        Returns
        -------
        low, high : `~numpy.ndarray`
            ``(width,)``; equal for odd n. The block is not usable afterwards.
        """
        n = len(self.block)
        wanted = ((n - 1) // 2, n // 2)
        rows = self._run(prune(network_pairs(n), wanted))
        return rows[wanted[0]], rows[wanted[1]]

    def sort(self) -> np.ndarray:
        """
        Sort every column.

        Returns
        -------
        block : `~numpy.ndarray`
            A new array; the block is not usable afterwards.
        """
        return np.stack(self._run(network_pairs(len(self.block))))

    def _run(self, pairs: tuple[tuple[int, int], ...]) -> list[np.ndarray]:
        """Compare rows; return them in order."""
        *rows, spare = self._memory
        for a, b in pairs:
            first, second = rows[a], rows[b]
            np.minimum(first, second, out=spare)
            np.maximum(first, second, out=second)
            rows[a], spare = spare, first
        return rows


@functools.lru_cache(maxsize=8)
def network_pairs(n: int) -> tuple[tuple[int, int], ...]:
    """
    Return the comparisons that sort n samples.

    Parameters
    ----------
    n : int
        How many.

    Returns
    -------
    pairs : tuple of (int, int)
        In order: the smaller sample belongs to the first place of each pair.
    """
    pairs = []
    run = 1
    while run < n:
        # Merge sorted runs two by two, comparing over smaller and smaller
        # distances; places beyond the end would hold the largest samples.
        distance = run
        while distance:
            start = 0 if distance == run else distance
            pairs.extend(
                (i, i + distance)
                for j in range(start, n - distance, 2 * distance)
                for i in range(j, min(j + distance, n - distance))
                if i // (2 * run) == (i + distance) // (2 * run)
            )
            distance //= 2
        run *= 2
    return tuple(pairs)


@functools.lru_cache(maxsize=8)
def prune(
    pairs: tuple[tuple[int, int], ...], wanted: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    """
    Leave out comparisons that do not matter.

    Parameters
    ----------
    pairs : tuple of (int, int)
        The comparisons.

    wanted : tuple of int
        The places whose samples are wanted.

    Returns
    -------
    pairs : tuple of (int, int)
        Those that can change a wanted sample.
    """
    needed = set(wanted)
    kept = []
    for pair in reversed(pairs):
        if needed.intersection(pair):
            kept.append(pair)
            needed.update(pair)
    return tuple(reversed(kept))
