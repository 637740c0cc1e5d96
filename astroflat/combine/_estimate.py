# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From the samples of pixels to value, spread and count."""

from __future__ import annotations

import functools
from typing import Literal, NamedTuple, Protocol

import numpy as np

from astroflat.combine._bisect import Halving
from astroflat.combine._columns import (
    BLOCK_BYTES,
    Strip,
    block_width,
    load,
    ordered_dtype,
    sortable_dtype,
)
from astroflat.combine._keys import decode, key_dtype, middle
from astroflat.combine._moments import mean_and_squares
from astroflat.combine._options import Options
from astroflat.combine._ranks import mad_sorted, middle_of
from astroflat.combine._sorting import Network
from astroflat.combine._spread import from_mad, from_squares

__all__ = [
    'Estimate',
    'Estimator',
    'Ranks',
    'make_estimator',
    'make_ranks',
    'useful_threads',
]

Way = Literal['compiled', 'network', 'sorted', 'halved']

# The blocks of plain NumPy are larger than the cache would like: calls have to
# be long, or threads spend their time waiting for the interpreter's lock.
_LARGE = 3
# Up to this many frames short integers go through a sorting network if there
# is one thread (its calls are too short for more); in several threads those of
# two bytes are sorted up to this many, or fewer in two (measured).
_NETWORK_LIMIT = 64
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
    n: int,
    dtype: np.dtype,
    options: Options,
    *,
    threads: int = 1,
    block_bytes: int = BLOCK_BYTES,
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

    threads : int, optional
        How many run at the same time.

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
    ranks = None
    if options.needs_ranks:
        way = _way(n, dtype, threads, compiled=options.compiled)
        ranks = make_ranks(n, dtype, way, block_bytes)
    return _PlainEstimator(n, options, ranks, block_bytes)


def _way(n: int, dtype: np.dtype, threads: int, *, compiled: bool) -> Way:
    """Return the fastest way to medians."""
    if compiled:
        return 'compiled'
    if dtype.kind == 'f' or dtype.itemsize > 2:
        return 'sorted'
    if threads == 1:
        return 'network' if n <= _NETWORK_LIMIT else 'halved'
    limit = _NETWORK_LIMIT if threads == 2 else _SORT_LIMIT
    return 'sorted' if dtype.itemsize == 2 and n <= limit else 'halved'


def useful_threads(n: int, dtype: np.dtype, options: Options, threads: int) -> int:
    """
    Return how many threads are worth starting.

    Parameters
    ----------
    n : int
        The number of frames.

    dtype : `numpy.dtype`
        The type of the samples.

    options : Options
        What to compute.

    threads : int
        How many are allowed.

    Returns
    -------
    threads : int
        1 instead of 2 where one thread's sorting network is faster than two
        threads that sort: for medians of few integers of two bytes.
    """
    plain = options.clip is None and options.spread is None and not options.compiled
    short = dtype.kind != 'f' and dtype.itemsize == 2 and n <= _NETWORK_LIMIT
    serial = threads == 2 and plain and short and options.needs_ranks
    return 1 if serial else threads


def make_ranks(
    n: int, dtype: np.dtype, way: Way, block_bytes: int = BLOCK_BYTES
) -> Ranks:
    """
    Return one of the ways to medians; one per thread.

    Parameters
    ----------
    n : int
        The number of frames.

    dtype : `numpy.dtype`
        The type of the samples.

    way : {'compiled', 'network', 'sorted', 'halved'}
        Which. The last is for integers of one or two bytes.

    block_bytes : int, optional
        The size of its working block.

    Returns
    -------
    ranks : callable
        See `Ranks`. All ways give identical results.
    """
    if way == 'compiled':
        from astroflat.combine._compiled import CompiledRanks

        return CompiledRanks(n, dtype, block_bytes)
    ways = {'network': _NetworkRanks, 'sorted': _SortedRanks, 'halved': _HalvedRanks}
    return ways[way](n, dtype, block_bytes)


class _PlainEstimator:
    """Combine all samples that are there."""

    def __init__(
        self, n: int, options: Options, ranks: Ranks | None, block_bytes: int
    ) -> None:
        self._options = options
        self._ranks = ranks
        self._moments = functools.partial(
            mean_and_squares, block_bytes=_LARGE * block_bytes
        )
        self._width = block_width(n, 8, block_bytes)
        if options.compiled:
            from astroflat.combine._compiled import compiled_moments

            self._moments = compiled_moments

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


class _NetworkRanks:
    """Medians by a sorting network."""

    def __init__(self, n: int, dtype: np.dtype, block_bytes: int) -> None:
        self._dtype = dtype
        width = block_width(n, dtype.itemsize, 2 * _LARGE * block_bytes)
        self._network = Network(n, width, ordered_dtype(dtype))

    def __call__(
        self, strip: Strip, *, with_mad: bool
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Return median, median absolute deviation and count."""
        out = _Output(strip.size, self._dtype, with_mad=with_mad)
        block = self._network.block
        for part, samples, mask in strip.blocks(block.shape[1]):
            used = part.stop - part.start
            count, missing = load(block[:, :used], samples, mask)
            mad = None
            if with_mad or missing is not None:
                columns = self._network.sort()[:, :used]
                low, high = middle_of(columns, count)
                mad = mad_sorted(columns, low, high, count) if with_mad else None
            else:
                low, high = (row[:used] for row in self._network.middle())
            out.put(part, low, high, mad, count)
        return out.value, out.mad, out.count


class _SortedRanks:
    """Medians of sorted columns."""

    def __init__(self, n: int, dtype: np.dtype, block_bytes: int) -> None:
        self._dtype = dtype
        width = block_width(n, dtype.itemsize, 2 * block_bytes)
        # Column by column in memory, as four bytes at least: these are what
        # NumPy sorts with vector instructions on every processor.
        self._block = np.zeros((width, n), sortable_dtype(dtype)).T

    def __call__(
        self, strip: Strip, *, with_mad: bool
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Return median, median absolute deviation and count."""
        out = _Output(strip.size, self._dtype, with_mad=with_mad)
        for part, samples, mask in strip.blocks(self._block.shape[1]):
            used = self._block[:, : part.stop - part.start]
            count, _ = load(used, samples, mask)
            used.T.sort(axis=-1)
            columns = used
            if with_mad:
                # Row by row, for what follows.
                columns = np.ascontiguousarray(used, ordered_dtype(self._dtype))
            low, high = middle_of(columns, count)
            mad = mad_sorted(columns, low, high, count) if with_mad else None
            out.put(part, low, high, mad, count)
        return out.value, out.mad, out.count


class _HalvedRanks:
    """Medians by halving the interval of values."""

    def __init__(self, n: int, dtype: np.dtype, block_bytes: int) -> None:
        self._dtype = dtype
        width = block_width(n, dtype.itemsize, _LARGE * block_bytes)
        self._halving = Halving(n, width, ordered_dtype(dtype))

    def __call__(
        self, strip: Strip, *, with_mad: bool
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Return median, median absolute deviation and count."""
        out = _Output(strip.size, self._dtype, with_mad=with_mad)
        halving = self._halving
        for part, samples, mask in strip.blocks(halving.block.shape[1]):
            used = part.stop - part.start
            count, missing = load(halving.block[:, :used], samples, mask)
            low, high = halving.middle(used, count, missing)
            mad = halving.mad(low, high, count, missing) if with_mad else None
            out.put(part, low, high, mad, count)
        return out.value, out.mad, out.count


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
        if self._dtype.kind != 'f':
            keys = key_dtype(self._dtype)
            low = decode(low.astype(keys, copy=False), self._dtype)
            high = decode(high.astype(keys, copy=False), self._dtype)
        self.value[part] = middle(low, high)
        self.count[part] = count
        if mad is not None:
            self.mad[part] = mad
