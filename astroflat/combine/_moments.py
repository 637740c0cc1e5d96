# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Mean and variance along the frames, in plain NumPy."""

from __future__ import annotations

import numpy as np

from astroflat.combine._columns import BLOCK_BYTES, Strip, block_width

__all__ = ['mean_and_squares']


def mean_and_squares(
    strip: Strip, block_bytes: int = BLOCK_BYTES
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Compute the mean of columns, and the sum of squared distances from it.

    Parameters
    ----------
    strip : Strip
        The samples.

    block_bytes : int, optional
        The size of the working block.

    Returns
    -------
    mean, squares : `~numpy.ndarray` of float64
        NaN and 0 where there is no sample.

    count : `~numpy.ndarray` of int32
        The number of samples.
    """
    mean = np.empty(strip.size)
    squares = np.empty(strip.size)
    count = np.empty(strip.size, dtype=np.int32)
    # All blocks have the same width, with something in unused columns: NumPy
    # adds in another order where a block has a single column.
    n = len(strip.samples)
    block = np.zeros((n, block_width(n, 8, block_bytes)))
    for part, samples, mask in strip.blocks(block.shape[1]):
        used = part.stop - part.start
        block[:, :used] = samples
        good = ~np.isnan(block) if samples.dtype.kind == 'f' else None
        if mask is not None:
            good = np.ones(block.shape, bool) if good is None else good
            good[:, :used] &= ~mask
        moments = _of_block(block, good)
        for out, result in zip((mean, squares, count), moments, strict=True):
            out[part] = result[:used]
    return mean, squares, count


def _of_block(
    block: np.ndarray, good: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Do it for a block of float64, which is overwritten."""
    if good is None:
        count = np.full(block.shape[1], len(block))
        mean = np.add.reduce(block, axis=0) / len(block)
        block -= mean
    else:
        count = np.count_nonzero(good, axis=0)
        np.copyto(block, 0, where=~good)
        with np.errstate(invalid='ignore'):
            mean = np.add.reduce(block, axis=0) / count
            block -= mean
        np.copyto(block, 0, where=~good)
    with np.errstate(over='ignore', invalid='ignore'):
        np.multiply(block, block, out=block)
        return mean, np.add.reduce(block, axis=0), count
