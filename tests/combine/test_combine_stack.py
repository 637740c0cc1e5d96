# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Combining stacks: exactness, memory, threads, calibration."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from astroflat import open_frames
from astroflat.combine import combine_stack
from astroflat.combine._options import choose_engine
from astroflat.combine._plan import make_plan


@pytest.fixture(params=['numpy', 'numba'])
def engine(request):
    """The engine; skipped where there is no numba."""
    if request.param == 'numba':
        pytest.importorskip('numba')
    return request.param


def make_frames(dtype='u2', n=15, shape=(37, 53), seed=2):
    """Return frames of noise."""
    rng = np.random.default_rng(seed)
    frames = rng.normal(120, 9, (n, *shape))
    return frames.astype(dtype)


@pytest.mark.parametrize('n', [1, 6, 15])
@pytest.mark.parametrize(
    'dtype', ['u1', 'u2', 'i2', 'i4', 'u4', 'i8', 'f4', 'f8', '>u2']
)
def test_median_is_float32_of_numpy_median(dtype, n, engine):
    """Every type of samples gives numpy's median, rounded once."""
    frames = make_frames(dtype, n)
    result = combine_stack(frames, engine=engine)
    assert result.value.dtype == np.float32
    np.testing.assert_array_equal(
        result.value, np.median(frames, axis=0).astype(np.float32)
    )
    assert result.count.dtype == np.int32
    assert (result.count == n).all()


@pytest.mark.parametrize('dtype', ['u2', 'f4', 'f8'])
def test_mean(dtype, engine):
    """The mean and its uncertainty are numpy's."""
    frames = make_frames(dtype)
    result = combine_stack(frames, method='mean', engine=engine)
    np.testing.assert_allclose(
        result.value, frames.mean(axis=0, dtype=float), rtol=1e-6
    )
    expected = frames.std(axis=0, ddof=1, dtype=float) / np.sqrt(15)
    np.testing.assert_allclose(result.sigma, expected, rtol=1e-6)


@pytest.mark.parametrize('dtype', ['u1', 'u2', 'f4'])
@pytest.mark.parametrize('uncertainty', ['mad', 'std'])
def test_uncertainty_of_the_median_is_right(dtype, uncertainty, engine):
    """Medians of many stacks scatter by as much as each claims."""
    rng = np.random.default_rng(7)
    frames = rng.normal(120.3, 9, (101, 80, 80)).astype(dtype)
    result = combine_stack(frames, uncertainty=uncertainty, engine=engine)
    assert result.sigma.dtype == np.float32
    scatter = np.std(result.value)
    assert np.sqrt(np.mean(result.sigma**2)) == pytest.approx(scatter, rel=0.04)


@pytest.mark.parametrize('n', [3, 5, 8, 20])
def test_sigma_from_deviations_of_few_frames_is_unbiased(n):
    """The small-sample factors make the mean estimate right."""
    rng = np.random.default_rng(n)
    frames = rng.normal(0, 1, (n, 200, 200)).astype('f4')
    result = combine_stack(frames, uncertainty='mad', engine='numpy')
    expected = np.sqrt(np.pi / 2) / np.sqrt(n)
    assert result.sigma.mean() == pytest.approx(expected, rel=0.015)


def test_unknown_uncertainty_is_nan_never_zero(engine):
    """One sample, or equal numbers, say nothing of the noise."""
    frames = make_frames('f4', 4)
    frames[:, 0, 0] = 5
    frames[1:, 0, 1] = np.nan
    result = combine_stack(frames, engine=engine)
    assert np.isnan(result.sigma[0, :2]).all()
    assert result.count[0, 1] == 1
    assert (result.sigma[1:] > 0).all()
    integers = combine_stack(np.full((4, 2, 2), 65535, 'u2'), engine=engine)
    assert (integers.sigma > 0.1).all()
    assert np.isnan(combine_stack(make_frames('u2', 1)).sigma).all()


def test_half_of_the_samples_equal(engine):
    """Where the median deviation is 0 the standard deviation serves."""
    frames = np.zeros((5, 1, 200), 'f4')
    frames[0], frames[1] = 3, -1
    result = combine_stack(frames, engine=engine)
    expected = np.std([3, -1, 0, 0, 0], ddof=1) * np.sqrt(np.pi / 2 / 5)
    np.testing.assert_allclose(result.sigma, expected, rtol=1e-6)


def test_no_uncertainty():
    """It can be left out."""
    assert combine_stack(make_frames(), uncertainty=None).sigma is None


@hypothesis.given(
    mem_limit=st.floats(2e5, 1e7),
    n_threads=st.integers(1, 5),
    engine=st.sampled_from(['numpy', 'auto']),
    view=st.booleans(),
)
def test_memory_and_threads_change_nothing(mem_limit, n_threads, engine, view):
    """Results do not depend on how the image is cut."""
    frames = make_frames('f4', shape=(37, 20))
    frames[3, 5:9] = np.nan
    source = frames if view else list(frames)
    settings = {'mem_limit': mem_limit, 'n_threads': n_threads, 'engine': engine}
    for options in ({}, {'method': 'mean'}, {'sigma_clip': 2}):
        expected = combine_stack(frames, n_threads=1, engine='numpy', **options)
        result = combine_stack(source, **settings, **options)
        for a, b in zip(result, expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize('limit', [1.5e6, 6e6])
@pytest.mark.parametrize('options', [{}, {'sigma_clip': 3.0}, {'method': 'mean'}])
def test_memory_limit_is_kept(limit, options):
    """No more is allocated than allowed, beside result and input."""
    frames = list(make_frames('u2', 60, (100, 150)))
    frames[0] = np.ma.array(frames[0], mask=frames[0] > 125)
    factors = np.linspace(0.9, 1.1, 60)
    result_bytes = 100 * 150 * 12
    with open_frames(frames) as stack:
        settings = {'engine': 'numpy', 'n_threads': 2, 'factors': factors, **options}
        combine_stack(stack, **settings)
        tracemalloc.start()
        combine_stack(stack, mem_limit=limit, **settings)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak <= limit + result_bytes


def test_too_little_memory_is_an_error():
    """If one row of all frames does not fit, that is said before reading."""
    with pytest.raises(ValueError, match='mem_limit=1000 bytes is too small'):
        combine_stack(make_frames(), mem_limit=1000)


def test_plan_covers_every_row_once():
    """Bands are in order, without gaps, and fewer threads where memory is short."""
    plan = make_plan(
        (100, 2048, 2048), itemsize=2, sample_bytes=2, mem_limit=256e6, threads=4
    )
    assert plan.threads == 4
    assert [row for band in plan.bands for row in range(2048)[band]] == list(
        range(2048)
    )
    small = make_plan(
        (100, 2048, 2048), itemsize=2, sample_bytes=2, mem_limit=2e6, threads=4
    )
    assert small.threads < 4
    assert small.rows <= plan.rows


@pytest.mark.parametrize('engine', ['numpy', 'auto'])
def test_colours_do_not_mix(engine):
    """Every colour of an RGB stack is combined with itself."""
    frames = make_frames('u1', 9, (11, 13, 3))
    frames[..., 2] //= 4
    result = combine_stack(frames, engine=engine)
    assert result.value.shape == (11, 13, 3)
    np.testing.assert_array_equal(result.value, np.median(frames, axis=0))


def test_bias_and_dark(engine):
    """What is the same for all frames is subtracted exactly."""
    frames = make_frames('u2')
    rng = np.random.default_rng(0)
    bias, dark = rng.normal(20, 1, (2, 37, 53))
    result = combine_stack(frames, bias=bias, dark=dark, engine=engine)
    expected = np.median(frames, axis=0) - (bias + dark)
    np.testing.assert_array_equal(result.value, expected.astype(np.float32))
    plain = combine_stack(frames, engine=engine)
    np.testing.assert_array_equal(result.sigma, plain.sigma)


@pytest.mark.parametrize(
    ('dtype', 'tolerance'), [('u2', 3e-7), ('i4', 1e-7), ('f8', 1e-7)]
)
def test_scaled_darks_and_factors(dtype, tolerance, engine):
    """Frames are calibrated one by one before they are combined."""
    frames = make_frames(dtype)
    rng = np.random.default_rng(0)
    bias, dark = rng.normal(20, 1, (2, 37, 53))
    factors, times = rng.uniform(0.5, 2, (2, 15))
    result = combine_stack(
        frames, bias=bias, dark=dark, factors=factors, dark_factors=times, engine=engine
    )
    calibrated = frames - bias - times[:, None, None] * dark
    expected = np.median(calibrated * factors[:, None, None], axis=0)
    np.testing.assert_allclose(result.value, expected, rtol=tolerance, atol=1e-5)


def test_factors_of_one_are_no_factors():
    """Integers stay integers if nothing changes them."""
    frames = make_frames('u2')
    result = combine_stack(frames, factors=np.ones(15))
    for a, b in zip(result, combine_stack(frames), strict=True):
        np.testing.assert_array_equal(a, b)


def test_time_order_does_not_matter():
    """A permutation of the frames gives the same median."""
    frames = make_frames('u2')
    order = np.random.default_rng(1).permutation(15)
    with open_frames(frames) as stack:
        result = combine_stack(stack[order])
    np.testing.assert_array_equal(result.value, combine_stack(frames).value)


def test_input_is_not_modified():
    """Frames in memory are only read."""
    frames = make_frames('f4')
    frames[0, 0, 0] = np.nan
    before = frames.copy()
    combine_stack(frames, sigma_clip=2, factors=np.linspace(1, 2, 15))
    np.testing.assert_array_equal(frames, before)


def test_progress_reaches_the_end():
    """Progress counts rows and does not go back."""
    seen = []
    combine_stack(
        make_frames(),
        n_threads=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (37, 37)
    assert seen == sorted(seen)


def test_errors_in_threads_arrive():
    """An error on the way is raised, not swallowed."""

    def fail(done, total):
        msg = f'stop at {done} of {total}'
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match='stop at'):
        combine_stack(make_frames(), n_threads=2, progress=fail)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'method': 'sum'}, "method must be 'median' or 'mean', not 'sum'"),
        ({'uncertainty': 'poisson'}, 'uncertainty must be'),
        ({'factors': [1, 2]}, 'one per frame'),
        ({'factors': [np.nan] * 15}, 'finite'),
        ({'bias': np.zeros((2, 2))}, 'bias has the shape'),
        ({'engine': 'fortran'}, 'engine must be'),
        ({'n_threads': 0}, 'n_threads'),
    ],
)
def test_bad_arguments(options, message):
    """Arguments that make no sense are named in the error."""
    with pytest.raises(ValueError, match=message):
        combine_stack(make_frames(), **options)


def test_numba_that_is_not_installed(monkeypatch):
    """It is an error to ask for it, and no problem not to have it."""
    monkeypatch.setitem(sys.modules, 'numba', None)
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    monkeypatch.delitem(sys.modules, 'numba')
    assert choose_engine('auto', 10**12) is False
    with pytest.raises(ImportError, match=r'pip install astroflat\[fast\]'):
        choose_engine('numba', 1)


def test_import_is_light():
    """The engine does not load containers, files or compilers."""
    code = (
        'import sys, astroflat.combine\n'
        "heavy = {'astropy.nddata', 'astropy.io.fits', 'numba', 'dask', 'scipy'}\n"
        'print(sorted(heavy & set(sys.modules)))'
    )
    run = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == '[]'


def test_running_is_light():
    """Nor does combining a SER video or an array without numba."""
    code = (
        'import sys, numpy, astroflat.combine as c\n'
        "c.combine_stack(numpy.zeros((3, 4, 4), 'u2'), engine='numpy')\n"
        "heavy = {'astropy.nddata', 'astropy.io.fits', 'numba', 'dask', 'scipy'}\n"
        'print(sorted(heavy & set(sys.modules)))'
    )
    run = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == '[]'


@pytest.mark.parametrize('uncertainty', [None, 'mad'])
@pytest.mark.parametrize('n', [3, 64, 65])
def test_two_threads_of_few_short_integers(n, uncertainty):
    """Whatever is done by one or two threads, the numbers are the same."""
    frames = np.random.default_rng(n).integers(900, 1100, (n, 30, 41)).astype('u2')
    options = {'uncertainty': uncertainty, 'engine': 'numpy'}
    one, two, three = (combine_stack(frames, n_threads=k, **options) for k in (1, 2, 3))
    expected = np.median(frames, axis=0).astype('f4')
    for result in (one, two, three):
        assert np.array_equal(result.value, expected)
        assert uncertainty is None or np.array_equal(result.sigma, one.sigma)
