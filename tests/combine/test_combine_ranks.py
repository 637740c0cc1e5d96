# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Medians and deviations against numpy, in all the ways to compute them."""

from __future__ import annotations

import warnings

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest

from astroflat.combine._columns import Strip
from astroflat.combine._estimate import make_ranks
from astroflat.combine._keys import decode, encode
from astroflat.combine._ranks import fold
from astroflat.combine._sorting import Network, network_pairs, prune

DTYPES = ['u1', 'i1', 'u2', 'i2', 'u4', 'i4', 'f4', 'f8']
NUMBERS = [1, 2, 3, 8, 13, 40, 129]


WAYS = ['compiled', 'network', 'sorted', 'halved']
# Halving in plain NumPy is for short integers only.
CASES = [
    (way, dtype)
    for way in WAYS
    for dtype in DTYPES
    if way != 'halved' or dtype in ('u1', 'i1', 'u2', 'i2')
]


def cases(*dtypes):
    """Run a test in all ways for some types."""
    chosen = [case for case in CASES if not dtypes or case[1] in dtypes]
    return pytest.mark.parametrize(('way', 'dtype'), chosen)


def make_way(way, samples):
    """Return what finds medians of samples; skip where there is no numba."""
    if way == 'compiled':
        pytest.importorskip('numba')
    return make_ranks(len(samples), samples.dtype, way)


def make_samples(dtype, n, width=97, seed=0):
    """Return noise with saturated, negative and repeated samples."""
    dtype = np.dtype(dtype)
    rng = np.random.default_rng(seed)
    scale = 40 if dtype.itemsize == 1 else 300
    offset = 100 if dtype.kind == 'u' else 0
    samples = rng.normal(offset, scale / 3, (n, width))
    if dtype.kind == 'f':
        samples = samples.astype(dtype)
        samples[:, 0] = -0.0
        samples[0, 1], samples[-1, 2] = -np.inf, np.inf
        return samples
    info = np.iinfo(dtype)
    samples = np.clip(samples, info.min, info.max).astype(dtype)
    samples[: n // 2, 1] = samples[:, 2] = info.max
    samples[: n // 2, 3] = samples[:, 4] = info.min
    return samples


def reference_median(samples, mask=None):
    """Return the median by numpy, of masked arrays or without NaN."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        if mask is not None:
            bad = mask | np.isnan(samples)
            return np.ma.median(np.ma.array(samples, mask=bad), axis=0).filled(0)
        return np.nanmedian(samples, axis=0)


@pytest.mark.parametrize('n', NUMBERS)
@cases()
def test_median_is_numpy_median(dtype, n, way):
    """The median agrees with `numpy.median` to the last bit, odd and even."""
    samples = make_samples(dtype, n)
    ranks = make_way(way, samples)
    median, _, count = ranks(Strip(samples, None, 0, 97), with_mad=False)
    assert (count == n).all()
    expected = np.median(samples, axis=0)
    assert median.dtype == expected.dtype
    np.testing.assert_array_equal(median, expected)


@pytest.mark.parametrize('n', NUMBERS)
@cases()
def test_masked_median_is_numpy_ma_median(dtype, n, way):
    """Masked samples and NaN are left out, also beside saturated ones."""
    samples = make_samples(dtype, n)
    mask = np.random.default_rng(1).random(samples.shape) < 0.3
    mask[:, 5] = True
    mask[1:, 6] = True
    if samples.dtype.kind == 'f':
        samples[::2, 7:12] = np.nan
        samples[0, 13] = np.copysign(np.nan, -1)
    ranks = make_way(way, samples)
    median, _, count = ranks(Strip(samples, mask, 0, 97), with_mad=False)
    np.testing.assert_array_equal(count, np.sum(~(mask | np.isnan(samples)), axis=0))
    known = count > 0
    expected = reference_median(samples, mask)
    np.testing.assert_array_equal(median[known], expected[known])


@pytest.mark.parametrize('n', [2, 3, 12, 13, 40, 129, 130])
@cases('f4', 'f8')
def test_deviation_of_floats_is_exact(dtype, n, way):
    """The median absolute deviation of floats is numpy's."""
    samples = make_samples(dtype, n)[:, 3:]
    ranks = make_way(way, samples)
    samples = np.ascontiguousarray(samples)
    _, mad, _ = ranks(Strip(samples, None, 0, samples.shape[1]), with_mad=True)
    away = np.abs(samples - np.median(samples, axis=0))
    np.testing.assert_array_equal(mad, np.median(away, axis=0))


@pytest.mark.parametrize('n', [2, 3, 4, 12, 40, 129, 130])
@cases('u1', 'i1', 'u2', 'i2', 'i4')
def test_deviation_of_integers_is_within_half_a_unit(dtype, n, way):
    """Grouping changes the deviation by half a unit at most; never to zero."""
    samples = make_samples(dtype, n)
    ranks = make_way(way, samples)
    _, mad, _ = ranks(Strip(samples, None, 0, 97), with_mad=True)
    exact = samples.astype(np.float64)
    exact = np.median(np.abs(exact - np.median(exact, axis=0)), axis=0)
    assert np.abs(mad - exact).max() <= 0.5
    assert mad.min() >= 0.25


@pytest.mark.parametrize('sigma', [0.4, 0.8, 1.3, 3.0])
def test_deviation_follows_noise_of_one_unit(sigma):
    """In 8-bit frames the deviation follows the noise, not the rounding."""
    rng = np.random.default_rng(3)
    levels = rng.uniform(100, 101, 4000)
    samples = np.round(rng.normal(levels, sigma, (400, 4000))).astype('u1')
    ranks = make_ranks(400, samples.dtype, 'halved')
    _, mad, _ = ranks(Strip(samples, None, 0, 4000), with_mad=True)
    true = np.hypot(sigma, 12**-0.5)
    assert np.mean(1.4826 * mad) == pytest.approx(true, rel=0.15)


@pytest.mark.parametrize('n', [5, 40, 131])
@cases()
def test_ways_agree_to_the_bit(dtype, n, way):
    """All give the same medians, deviations and counts, wherever a strip starts."""
    samples = make_samples(dtype, n)
    mask = np.random.default_rng(n).random(samples.shape) < 0.2
    mask[:, 30:] = False
    strip = Strip(samples, mask[:, 10:], 10, 97)
    expected = make_ranks(n, samples.dtype, 'sorted')(strip, with_mad=True)
    result = make_way(way, samples)(strip, with_mad=True)
    known = expected[2] > 0
    for a, b in zip(result, expected, strict=True):
        np.testing.assert_array_equal(a[known], b[known])


@pytest.mark.parametrize('way', ['compiled', 'halved'])
def test_more_frames_than_a_short_counter_holds(way):
    """Counts of more than 65535 frames do not overflow."""
    n = 70_001
    samples = np.arange(n, dtype=np.uint32)[:, None] % 251
    samples = np.repeat(samples.astype(np.uint8), 3, axis=1)
    ranks = make_way(way, samples)
    median, _, count = ranks(Strip(samples, None, 0, 3), with_mad=False)
    assert (count == n).all()
    assert (median == np.median(samples[:, 0])).all()


@hypothesis.given(
    samples=hnp.arrays(
        st.sampled_from(['u1', 'i2', 'f4', 'f8']),
        st.tuples(st.integers(1, 20), st.integers(1, 5)),
        elements=st.integers(0, 5),
    )
)
def test_ties(samples):
    """Few distinct values, where most samples are equal."""
    strip = Strip(samples, None, 0, samples.shape[1])
    ranks = make_ranks(len(samples), samples.dtype, 'network')
    median, _, _ = ranks(strip, with_mad=True)
    np.testing.assert_array_equal(median, np.median(samples, axis=0))


@hypothesis.given(
    samples=hnp.arrays(
        st.sampled_from(['u1', 'i1', 'u2', 'i2', 'f4', 'f8']), st.integers(2, 40)
    )
)
def test_keys_keep_the_order(samples):
    """Keys sort as the samples do, and come back as them."""
    if samples.dtype.kind == 'f':
        samples = samples[~np.isnan(samples)]
    keys = encode(samples)
    np.testing.assert_array_equal(decode(keys, samples.dtype), samples)
    in_order = samples[np.argsort(keys, kind='stable')]
    np.testing.assert_array_equal(in_order, np.sort(samples))


@pytest.mark.parametrize('n', [*range(1, 18), 31, 40])
def test_network_sorts_every_pattern_of_zeros_and_ones(n):
    """A network that sorts zeros and ones sorts everything."""
    rng = np.random.default_rng(n)
    if n <= 12:
        block = ((np.arange(2**n) >> np.arange(n)[:, None]) & 1).astype(np.uint8)
    else:
        block = (rng.random((n, 5000)) < rng.random(5000)).astype(np.uint8)
    network = Network(n, block.shape[1], block.dtype)
    network.block[...] = block
    expected = np.sort(block, axis=0)
    np.testing.assert_array_equal(network.sort(), expected)
    network.block[...] = block
    low, high = network.middle()
    np.testing.assert_array_equal(low, expected[(n - 1) // 2])
    np.testing.assert_array_equal(high, expected[n // 2])


def test_pruning_leaves_out_comparisons():
    """A median of nine needs fewer comparisons than sorting them."""
    pairs = network_pairs(9)
    assert len(prune(pairs, (4,))) < len(pairs)


def test_fold_does_not_overflow():
    """Distances of the extremes from a median between two integers."""
    keys = np.array([[0], [65534], [65535], [65535]], dtype='u2')
    distance, half = fold(keys, keys[1], keys[2])
    assert half.tolist() == [True]
    assert distance[:, 0].tolist() == [65535, 1, 1, 1]
