# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From the samples of pixels to value, spread and count."""

from __future__ import annotations

import functools
from typing import NamedTuple, Protocol

import numpy as np

from astroflat.combine._bisect import mad_of, select
from astroflat.combine._columns import (
    BLOCK_BYTES,
    Strip,
    block_width,
    load,
    ordered_dtype,
)
from astroflat.combine._keys import decode, middle
from astroflat.combine._moments import mean_and_squares
from astroflat.combine._options import Options
from astroflat.combine._ranks import fold, mad_sorted, middle_of
from astroflat.combine._sorting import Sorter
from astroflat.combine._spread import from_mad, from_squares

__all__ = ['Estimate', 'Estimator', 'Ranks', 'make_estimator', 'make_ranks']

# Integers of one or two bytes in more frames than this are not sorted.
_SORT_LIMIT = 128


class Estimate(NamedTuple):
    """
    What is known of each pixel.

    Attributes
    ----------
    value : `~numpy.ndarray`
        The median or mean; undefined where ``count`` is 0.

    spread : `~numpy.ndarray` of float64 or None
        The standard deviation of a single sample; NaN where it is unknown.

    count : `~numpy.ndarray` of int
        The number of samples used.
    """

    value: np.ndarray
    spread: np.ndarray | None
    count: np.ndarray


class Ranks(Protocol):
    """Something with its own memory that finds medians of strips."""

    def __call__(
        self, strip: Strip, *, with_mad: bool
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Return median, median absolute deviation and count."""
        ...


class Estimator(Protocol):
    """Something with its own memory that combines strips."""

    def __call__(self, strip: Strip) -> Estimate:
        """Combine a strip."""
        ...


def make_estimator(
    n: int, dtype: np.dtype, options: Options, block_bytes: int = BLOCK_BYTES
) -> Estimator:
    """
    Return what combines strips; one per thread.

    Parameters
    ----------
    n : int
        The number of frames.

    dtype : `numpy.dtype`
        The type of the samples.

    options : Options
        What to compute.

    block_bytes : int, optional
        The size of its working block.

    Returns
    -------
    estimator : callable
        Takes a Strip, returns an Estimate.
    """
    if options.clip is not None:
        from astroflat.combine._clip import ClippedEstimator

        return ClippedEstimator(n, dtype, options, block_bytes)
    return _PlainEstimator(n, dtype, options, block_bytes)


def make_ranks(
    n: int, dtype: np.dtype, block_bytes: int = BLOCK_BYTES, *, compiled: bool
) -> Ranks:
    """
    Return the fastest way to medians; one per thread.

    Parameters
    ----------
    n : int
        The number of frames.

    dtype : `numpy.dtype`
        The type of the samples.

    block_bytes : int, optional
        The size of its working block.

    compiled : bool
        Whether numba may be used.

    Returns
    -------
    ranks : callable
        See `Ranks`. All ways give identical results.
    """
    if compiled:
        from astroflat.combine._compiled import CompiledRanks

        return CompiledRanks(n, dtype, block_bytes)
    if dtype.kind != 'f' and dtype.itemsize <= 2 and n > _SORT_LIMIT:
        return _HalvedRanks(n, dtype, block_bytes)
    return _SortedRanks(n, dtype, block_bytes)


class _PlainEstimator:
    """Combine all samples that are there."""

    def __init__(
        self, n: int, dtype: np.dtype, options: Options, block_bytes: int
    ) -> None:
        self._options = options
        self._moments = functools.partial(mean_and_squares, block_bytes=block_bytes)
        self._width = block_width(n, 8, block_bytes)
        self._ranks = None
        if options.compiled:
            from astroflat.combine._compiled import compiled_moments

            self._moments = compiled_moments
        if options.method == 'median' or options.spread == 'mad':
            self._ranks = make_ranks(n, dtype, block_bytes, compiled=options.compiled)

    def __call__(self, strip: Strip) -> Estimate:
        """Combine a strip."""
        method, spread = self._options.method, self._options.spread
        value = sigma = count = None
        if self._ranks is not None:
            value, mad, count = self._ranks(strip, with_mad=spread == 'mad')
            if mad is not None:
                sigma = self._from_mad(strip, mad, count)
        if method == 'mean' or spread == 'std':
            mean, squares, count = self._moments(strip)
            value = mean if method == 'mean' else value
            if spread == 'std':
                sigma = from_squares(squares, count, strip.samples.dtype)
        return Estimate(value, sigma, count)

    def _from_mad(self, strip: Strip, mad: np.ndarray, count: np.ndarray) -> np.ndarray:
        """Return the spread; the usual one where half the samples are equal."""
        sigma = from_mad(mad, count)
        equal = np.flatnonzero((mad == 0) & (count > 1))
        for chosen in np.array_split(equal, len(equal) // self._width + 1):
            if chosen.size:
                _, squares, number = self._moments(strip.choose(chosen))
                sigma[chosen] = from_squares(squares, number, strip.samples.dtype)
        return sigma


class _SortedRanks:
    """Medians of sorted columns."""

    def __init__(self, n: int, dtype: np.dtype, block_bytes: int) -> None:
        self._dtype = dtype
        width = block_width(n, dtype.itemsize, 2 * block_bytes)
        self._sorter = Sorter(n, width, ordered_dtype(dtype))

    def __call__(
        self, strip: Strip, *, with_mad: bool
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Return median, median absolute deviation and count."""
        out = _Output(strip.size, self._dtype, with_mad=with_mad)
        block = self._sorter.block
        for part, samples, mask in strip.blocks(block.shape[1]):
            used = block[:, : part.stop - part.start]
            count, _ = load(used, samples, mask)
            self._sorter.sort()
            low, high = middle_of(used, count)
            mad = mad_sorted(used, low, high, count) if with_mad else None
            out.put(part, low, high, mad, count)
        return out.value, out.mad, out.count


class _HalvedRanks:
    """Medians by halving the interval of values."""

    def __init__(self, n: int, dtype: np.dtype, block_bytes: int) -> None:
        self._dtype = dtype
        width = block_width(n, dtype.itemsize, 2 * block_bytes)
        self._block = np.empty((n, width), ordered_dtype(dtype))

    def __call__(
        self, strip: Strip, *, with_mad: bool
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Return median, median absolute deviation and count."""
        out = _Output(strip.size, self._dtype, with_mad=with_mad)
        for part, samples, mask in strip.blocks(self._block.shape[1]):
            used = self._block[:, : part.stop - part.start]
            count, missing = load(used, samples, mask)
            low, high, _, _ = select(used, count, _largest(used, missing))
            mad = None
            if with_mad:
                away, half = fold(used, low, high)
                top = _largest(away, missing)
                mad = mad_of(away, half, count, top)
            out.put(part, low, high, mad, count)
        return out.value, out.mad, out.count


def _largest(block: np.ndarray, missing: np.ndarray | None) -> np.ndarray:
    """Return the largest sample of each column; push missing ones behind."""
    if missing is None:
        return np.maximum.reduce(block, axis=0)
    np.copyto(block, 0, where=missing)
    top = np.maximum.reduce(block, axis=0)
    np.copyto(block, np.iinfo(block.dtype).max, where=missing)
    return top


class _Output:
    """Arrays that are filled block by block."""

    def __init__(self, size: int, dtype: np.dtype, *, with_mad: bool) -> None:
        self._dtype = dtype
        self.value = np.empty(size, dtype if dtype.kind == 'f' else np.float64)
        self.mad = np.empty(size) if with_mad else None
        self.count = np.empty(size, dtype=np.int32)

    def put(
        self,
        part: slice,
        low: np.ndarray,
        high: np.ndarray,
        mad: np.ndarray | None,
        count: np.ndarray | int,
    ) -> None:
        """Fill in a block; the middle samples may be keys."""
        if low.dtype.kind != self._dtype.kind:
            low, high = decode(low, self._dtype), decode(high, self._dtype)
        self.value[part] = middle(low, high)
        self.count[part] = count
        if mad is not None:
            self.mad[part] = mad
