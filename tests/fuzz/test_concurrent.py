# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Functions called from several threads at a time give what they give alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest

import astroflat as af

N_THREADS = 3


def frame(seed, side=64):
    """Return a frame with vignetting, dust, stars and noise, and a mask."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side - 0.5
    flat = 1 - 0.3 * (x**2 + (y - 0.01 * seed) ** 2)
    flat[20 + seed : 27 + seed, 30:37] *= 0.9
    stars = np.zeros((side, side))
    for cy, cx in rng.uniform(8, side - 8, (8, 2)) / side - 0.5:
        stars += 3000 * np.exp(-(side**2) * ((y - cy) ** 2 + (x - cx) ** 2) / 4.5)
    data = rng.poisson(1000 * flat + stars).astype(np.float32)
    return data, rng.random((side, side)) < 0.02


@cache
def network(name):
    """Return a network of astroflat, shared by all threads."""
    return getattr(af, name)(device='cpu', n_threads=1)


def dust(seed):
    """Find dust."""
    found = af.detect_dust(frame(seed)[0], n_threads=1)
    return found.mask, found.probability


def fill(seed):
    """Fill holes, with the uncertainty."""
    return af.inpaint(*frame(seed), return_uncertainty=True)


def sky(seed):
    """Make a flat of frames."""
    frames = [frame(seed + 10 * k)[0] for k in range(3)]
    offsets = np.array([(0, 0), (5, 3), (-4, 6)])
    return af.sky_flat(frames, offsets=offsets, n_threads=1).flat


def median(seed):
    """Take the median of frames."""
    return af.median_flat([frame(seed + 10 * k)[0] for k in range(3)])


def matched(seed):
    """Match a histogram."""
    return af.match_histogram(frame(seed)[0], frame(seed + 1)[0])


def blind(seed):
    """Estimate the fields of a frame."""
    solution = network('FlatCorrector').estimate(frame(seed, 96)[0])
    return solution.flat, solution.flat.uncertainty


def quiet(seed):
    """Take the noise out."""
    return network('Denoiser').denoise(frame(seed, 96)[0], gain=1.0, readnoise=3.0)


def sharp(seed):
    """Restore the stars."""
    known = {'gain': 1.0, 'readnoise': 3.0, 'offset': 0.0, 'views': 1}
    return network('Restorer').restore(frame(seed, 96)[0], fwhm=3.5, **known)


def numbers(result):
    """Return everything that a function returned as plain arrays."""
    parts = result if isinstance(result, tuple) else (result,)
    parts = [getattr(part, 'image', part) for part in parts]
    return [np.asarray(getattr(p, 'array', getattr(p, 'data', p))) for p in parts]


@pytest.mark.filterwarnings('ignore::astroflat.AstroflatWarning')
@pytest.mark.parametrize(
    'function', [dust, fill, sky, median, matched, blind, quiet, sharp]
)
def test_same_result(function):
    """Threads that work on two inputs at a time get the bits of one."""
    if function in {blind, quiet, sharp}:
        pytest.importorskip('onnxruntime')
    alone = [numbers(function(seed)) for seed in (1, 2)]
    assert any((a != b).any() for a, b in zip(*alone, strict=True))
    start = threading.Barrier(N_THREADS)

    def work(k):
        start.wait(60)
        return numbers(function(1 + k % 2))

    with ThreadPoolExecutor(N_THREADS) as pool:
        for k, found in enumerate(pool.map(work, range(N_THREADS))):
            for a, b in zip(found, alone[k % 2], strict=True):
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b)
