# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The kernels compiled by numba, wrapped; this module imports numba."""

from __future__ import annotations

import numpy as np

from astroflat.combine import _ranks_numba as kernels
from astroflat.combine._clip import Left
from astroflat.combine._clip_numba import clip_columns
from astroflat.combine._columns import Strip, block_width
from astroflat.combine._keys import KINDS, encode, key_dtype, middle
from astroflat.combine._options import Options
from astroflat.combine._ranks import grouped_mad

__all__ = ['CompiledRanks', 'compiled_moments', 'compiled_reject']

# Pixels whose sums fit in the cache beside the samples.
_MOMENTS_WIDTH = 2048
_REAL = {4: np.float32, 8: np.float64}


class CompiledRanks:
    """
    Medians by halving the interval of values.

    Parameters
    ----------
    n : int
        The number of frames.

    dtype : `numpy.dtype`
        The type of the samples.

    block_bytes : int
        The size of the working block.
    """

    def __init__(self, n: int, dtype: np.dtype, block_bytes: int) -> None:
        self._dtype = dtype
        keys = key_dtype(dtype)
        width = min(2048, block_width(n, dtype.itemsize, block_bytes))
        self._marks = _marks(dtype)
        self._block = np.empty((n, width), keys)
        self._work = np.empty((5, width), keys)
        self._space = np.empty((5, width), _counter(n, keys))
        real = _REAL.get(keys.itemsize)
        self._real = [
            np.empty((1, 1), np.float32) if real is None else array.view(real)
            for array in (self._block, self._work)
        ]

    def __call__(
        self, strip: Strip, *, with_mad: bool
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """
        Return median, median absolute deviation and count.

        Parameters
        ----------
        strip : Strip
            The samples.

        with_mad : bool
            Whether to compute the median absolute deviation.

        Returns
        -------
        median, mad, count : `~numpy.ndarray`
            The second is `None` if it was not asked for.
        """
        wide = self._dtype if self._dtype.kind == 'f' else np.float64
        median = np.empty(strip.size, wide)
        count = np.empty(strip.size, np.int32)
        mad = np.empty(strip.size if with_mad else 0)
        kernels.ranks(
            _read_only(strip.samples).view(self._block.dtype),
            _read_only(strip.mask),
            KINDS[self._dtype.kind],
            self._marks,
            strip.start,
            self._block,
            self._real[0],
            self._work,
            self._real[1],
            self._space,
            (median, count, mad),
        )
        return median, mad if with_mad else None, count


def _counter(n: int, keys: np.dtype) -> type:
    """Return the type of counters: the size of the keys, if that is enough."""
    if keys.itemsize == 8:
        return np.int64
    return np.uint16 if keys.itemsize <= 2 and n < 2**16 else np.int32


def _marks(dtype: np.dtype) -> np.ndarray:
    """Return the constants that the kernels need, as keys."""
    keys = key_dtype(dtype)
    infinity = 0
    if dtype.kind == 'f':
        infinity = int(encode(np.array([np.inf], dtype))[0])
    bits = 8 * keys.itemsize
    return np.array([2**bits - 1, 2 ** (bits - 1), infinity, 1, 0], dtype=keys)


def _read_only(array: np.ndarray | None) -> np.ndarray | None:
    """Return a view that cannot be written to, so that one kernel fits all."""
    if array is None:
        return None
    array = np.asarray(array).view()
    array.flags.writeable = False
    return array


def compiled_moments(strip: Strip) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Compute the mean of columns, and the sum of squared distances from it.

    Parameters
    ----------
    strip : Strip
        The samples.

    Returns
    -------
    mean, squares : `~numpy.ndarray` of float64
        NaN and 0 where there is no sample.

    count : `~numpy.ndarray` of int32
        The number of samples.
    """
    mean, squares = np.empty(strip.size), np.empty(strip.size)
    count = np.empty(strip.size, dtype=np.int32)
    samples, mask = _read_only(strip.samples), _read_only(strip.mask)
    for first in range(0, strip.size, _MOMENTS_WIDTH):
        part = slice(first, first + _MOMENTS_WIDTH)
        kernels.moments(
            samples,
            None if mask is None else mask[:, part],
            strip.start + first,
            count[part],
            mean[part],
            squares[part],
        )
    return mean, squares, count


def compiled_reject(numbers: np.ndarray, count: np.ndarray, options: Options) -> Left:
    """
    Reject outliers from sorted columns.

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
    clip = options.clip
    width = numbers.shape[1]
    out = tuple(np.zeros(width, kind) for kind in (np.int32, np.int32, float, float))
    far = tuple(np.zeros(width, kind) for kind in (float, float, np.int32, np.int32))
    with_mad = options.spread == 'mad'
    clip_columns(
        np.ascontiguousarray(numbers.T, dtype=np.float64),
        count,
        (clip.lower, clip.upper, clip.maxiters),
        (clip.centre == 'mean', clip.spread == 'mad', with_mad),
        out,
        far,
    )
    mad = None
    if with_mad and numbers.dtype.kind == 'f':
        mad = middle(far[0], far[1])
    elif with_mad:
        mad = grouped_mad(far[0], far[1], 0, far[2], far[3], out[1] - out[0])
    return Left(*out, mad)
