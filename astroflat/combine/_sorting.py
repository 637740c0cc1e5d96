# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Sorting all columns of a block at once, in plain NumPy."""

from __future__ import annotations

import numpy as np

__all__ = ['Sorter', 'network_views']

# Up to this many frames a sorting network is faster than sorting column by
# column, by the size of the samples in bytes (measured).
_NETWORK_LIMIT = {1: 128, 2: 128, 4: 32, 8: 12}


class Sorter:
    """
    A block of samples that can be sorted along the frames.

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
        ``(n, width)``, to be filled. Its memory order is the sorter's affair.

    Notes
    -----
    Few frames go through Batcher's odd-even merge sort [1]_: every comparison
    of the network is the minimum and the maximum of whole rows, so that the
    processor's vector units sort hundreds of columns at once. Many frames are
    sorted column by column by `numpy.sort`.

    References
    ----------
    .. [1] Batcher, K. E. 1968, Proc. AFIPS Spring Joint Computer Conference
       32, 307, https://doi.org/10.1145/1468075.1468121
    """

    def __init__(self, n: int, width: int, dtype: np.dtype) -> None:
        dtype = np.dtype(dtype)
        self._steps = None
        if n <= _NETWORK_LIMIT[dtype.itemsize]:
            self.block = np.zeros((n, width), dtype)
            spare = np.zeros((n // 2) * width, dtype)
            self._steps = [
                (a, b, spare[: a.size].reshape(a.shape))
                for a, b in network_views(self.block)
            ]
        else:
            self.block = np.zeros((width, n), dtype).T

    def sort(self) -> np.ndarray:
        """
        Sort every column of the block in place.

        Returns
        -------
        block : `~numpy.ndarray`
            The block. It must not have held NaN.
        """
        if self._steps is None:
            self.block.T.sort(axis=-1)
            return self.block
        for a, b, spare in self._steps:
            np.minimum(a, b, out=spare)
            np.maximum(a, b, out=b)
            np.copyto(a, spare)
        return self.block


def network_views(block: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """
    Return the comparisons of a sorting network as pairs of views.

    Parameters
    ----------
    block : `~numpy.ndarray`
        ``(n, width)``, C-contiguous.

    Returns
    -------
    pairs : list of (`~numpy.ndarray`, `~numpy.ndarray`)
        In order: the smaller samples belong in the first of each pair, the
        larger in the second.
    """
    n = len(block)
    pairs = []
    p = 1
    while p < n:
        k = p
        while k >= 1:
            pairs.extend(_step(block, p, k))
            k //= 2
        p *= 2
    return pairs


def _step(block: np.ndarray, p: int, k: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """
    Return the comparisons over distance ``k`` that merge runs of ``p`` rows.

    Runs are merged two by two; at the end of the block may be an incomplete
    pair, whose missing rows count as infinite and need no comparison.
    """
    n, width = block.shape
    whole, rest = divmod(n, 2 * p)
    pairs = []
    if whole:
        merged = block[: whole * 2 * p].reshape(whole, 2 * p, width)
        if k == p:
            pairs.append((merged[:, :p], merged[:, p:]))
        else:
            inner = merged[:, k : 2 * p - k]
            inner = inner.reshape(whole, p // k - 1, 2, k, width)
            pairs.append((inner[:, :, 0], inner[:, :, 1]))
    start = whole * 2 * p + (0 if k == p else k)
    rest -= start - whole * 2 * p
    while rest > k:
        length = min(k, rest - k)
        first = block[start : start + length]
        pairs.append((first, block[start + k : start + k + length]))
        start += 2 * k
        rest -= 2 * k
    return pairs
