# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Frames that exist only while they are read, bands, and a real cluster."""

import gc
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import astroflat as af

SIZE = 320


def _lazy(n, size=SIZE):
    """Return a dask array whose frames are made when they are read."""
    da = pytest.importorskip('dask.array')
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    flat = 1 - 0.4 * (x**2 + y**2)

    def make(block_info=None):
        k = block_info[None]['chunk-location'][0]
        noise = np.random.default_rng(k).standard_normal((size, size), np.float32)
        level = np.float32(1000 * (1 + 0.05 * k))
        return (level * flat + np.sqrt(level) * noise)[None]

    chunks = ((1,) * n, (size,), (size,))
    empty = np.empty((0, 0, 0), np.float32)
    return da.map_blocks(make, chunks=chunks, dtype=np.float32, meta=empty)


def _peak(function, n, size=SIZE):
    """Return the largest memory of a method, and its flat."""
    options = {'offsets': False, 'mem_limit': 4e6, 'n_threads': 1}
    # Beside the objects of a long session cycles would wait for their collection.
    gc.collect()
    gc.freeze()
    tracemalloc.start()
    try:
        found = function(_lazy(n, size), **options)
        return tracemalloc.get_traced_memory()[1], found.flat.data
    finally:
        tracemalloc.stop()
        gc.unfreeze()


def test_memory_hardly_grows_with_frames():
    """Of a frame its cells are kept, and about half a byte for each pixel."""
    # The first call imports, which counts as well.
    _peak(af.sky_flat, 3)
    few, many = (_peak(af.sky_flat, n, 640)[0] for n in (4, 16))
    assert many - few < 12 * (0.35e6 + 0.6 * 640**2)


@pytest.mark.parametrize('function', [af.sky_flat, af.solve_fields])
def test_bands_of_lazy_frames(function):
    """The same bytes from a lazy source in narrow bands and an array in one."""
    frames = _lazy(6, 96)
    options = {'offsets': False, 'n_threads': 1}
    narrow = function(frames, mem_limit=2e5, **options)
    whole = function(frames.compute(), **options)
    assert_array_equal(narrow.flat.data, whole.flat.data)
    assert_array_equal(narrow.flat.uncertainty.array, whole.flat.uncertainty.array)
    assert_array_equal(narrow.coverage, whole.coverage)


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore::ResourceWarning')
def test_cluster():
    """Two worker processes give the same bytes."""
    distributed = pytest.importorskip('distributed')
    frames = _lazy(6, 96).compute()
    options = {'offsets': False, 'n_threads': 1, 'mem_limit': 1e6}
    expected = [f(frames, **options) for f in (af.sky_flat, af.solve_fields)]
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        for function, known in zip(
            (af.sky_flat, af.solve_fields), expected, strict=True
        ):
            found = function(frames, client=client, **options)
            assert_array_equal(found.flat.data, known.flat.data)
            assert_array_equal(found.coverage, known.coverage)
