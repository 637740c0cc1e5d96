# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The same results on dask's schedulers and on a cluster."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

import astroflat as af
from astroflat.combine import combine_stack

da = pytest.importorskip('dask.array')


def make_frames(n=11, shape=(40, 52), dtype='u2'):
    """Return frames of noise."""
    return np.random.default_rng(3).normal(900, 20, (n, *shape)).astype(dtype)


def assert_equal(a, b):
    """Compare data, uncertainty, counts and mask."""
    np.testing.assert_array_equal(a.data, b.data)
    np.testing.assert_array_equal(a.uncertainty.array, b.uncertainty.array)
    np.testing.assert_array_equal(a.flags, b.flags)
    assert (a.mask is None) == (b.mask is None)


@pytest.mark.parametrize('scheduler', ['synchronous', 'threads'])
def test_dask_array(scheduler):
    """A dask array of any chunks gives the result of the array."""
    import dask

    frames = make_frames()
    bias = np.random.default_rng(0).normal(5, 1, (40, 52))
    for chunks in ((1, 40, 52), (4, 13, 17)):
        array = da.from_array(frames, chunks=chunks)
        with dask.config.set(scheduler=scheduler):
            for options in ({}, {'bias': bias, 'sigma_clip': 3}, {'uncertainty': None}):
                flat = af.median_flat(array, **options)
                expected = af.median_flat(frames, **options)
                np.testing.assert_array_equal(flat.data, expected.data)
                np.testing.assert_array_equal(flat.flags, expected.flags)


def test_small_chunks():
    """A small limit makes small chunks and changes nothing."""
    frames = make_frames()
    array = da.from_array(frames, chunks=(3, 40, 52))
    flat = af.median_flat(array, mem_limit=40_000)
    assert_equal(flat, af.median_flat(frames))


def test_masked_dask_array():
    """Masks inside a dask array are respected."""
    frames = np.ma.array(make_frames(), mask=False)
    frames[2:9, 4:8] = np.ma.masked
    array = da.from_array(frames, chunks=(4, 20, 52), asarray=False)
    flat = af.median_flat(array)
    assert_equal(flat, af.median_flat(frames))


def test_rgb_dask_array():
    """Colours are kept."""
    frames = make_frames(5, (12, 14, 3), 'u1')
    flat = af.median_flat(da.from_array(frames, chunks=(1, 5, 14, 3)))
    np.testing.assert_array_equal(flat.data, np.median(frames, axis=0))


@pytest.mark.parametrize('scale', ['median', lambda frame: 1 / frame.mean()])
def test_levels_of_a_dask_array(scale):
    """Levels are measured frame by frame."""
    frames = make_frames(dtype='f4')
    frames *= np.linspace(0.5, 2, 11, dtype='f4')[:, None, None]
    options = {'scale': scale, 'dark': np.full((40, 52), 3.0)}
    options['dark_scale'] = np.linspace(0, 1, 11)
    flat = af.median_flat(da.from_array(frames, chunks=(2, 7, 52)), **options)
    expected = af.median_flat(frames, **options)
    np.testing.assert_allclose(flat.data, expected.data, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore::ResourceWarning')
def test_cluster(tmp_path):
    """Two worker processes compute files, arrays in memory and dask arrays."""
    distributed = pytest.importorskip('distributed')
    frames = make_frames()
    paths = []
    for i, frame in enumerate(frames):
        paths.append(tmp_path / f'f{i}.fits')
        fits.PrimaryHDU(frame).writeto(paths[-1])
    masked = np.ma.array(frames, mask=frames > 930)
    expected = af.median_flat(frames, bias=7, scale='median')
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        seen = []
        settings = {'bias': 7, 'scale': 'median', 'client': client}
        flat = af.median_flat(
            paths, progress_bar=lambda *state: seen.append(state), **settings
        )
        assert_equal(flat, expected)
        assert seen[-1] == (40, 40)
        assert_equal(af.median_flat(frames, **settings), expected)
        array = da.from_array(frames, chunks=(4, 20, 52))
        assert_equal(af.median_flat(array, **settings), expected)
        sent = af.median_flat(masked, client=client, mem_limit=1e6)
    assert_equal(sent, af.median_flat(masked))


def test_array_level_function_takes_dask_arrays():
    """`combine_stack` reads a dask array band by band."""
    frames = make_frames()
    result = combine_stack(da.from_array(frames, chunks=(4, 20, 52)))
    np.testing.assert_array_equal(result.value, np.median(frames, axis=0))
