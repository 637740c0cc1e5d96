# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Flats from the sky between the objects, against the truth."""

from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData
from numpy.testing import assert_allclose, assert_array_equal

import astroflat as af
from astroflat.quality import flat_residual
from astroflat.selfcal import sky_flat
from astroflat.selfcal._coarse_result import CoarseResult
from astroflat.selfcal._doubt import large_sigma
from astroflat.selfcal._prior import jump_share

SHAPE = (160, 192)


def _truth(rng):
    """Vignetting of 20 %, three donuts and 0.5 % from pixel to pixel."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    flat = 1 - 0.2 * ((x - 90) ** 2 + (y - 85) ** 2) / 125**2
    dust = np.zeros(SHAPE, bool)
    for cy, cx, radius, depth in ((40, 50, 9, 0.08), (110, 140, 14, 0.05)):
        d = np.hypot(y - cy, x - cx)
        flat *= 1 - depth * ((d < radius) & (d > 0.4 * radius))
        dust |= d < radius + 2
    flat *= 1 + 0.005 * rng.standard_normal(SHAPE)
    return flat / flat.mean(), dust


def _night(*, n=8, dither=25.0, nebula=0.0, gradient=0.0, sky=4000.0, seed=5):
    """Poisson frames of a star field, with a nebula and gradients that turn."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    flat, dust = _truth(rng)
    margin = 40
    big = (SHAPE[0] + 2 * margin, SHAPE[1] + 2 * margin)
    scene = np.zeros(big)
    places = tuple(rng.integers(0, m, 120) for m in big)
    scene[places] = 10 ** rng.uniform(3, 5.5, 120)
    scene = ndimage.gaussian_filter(scene, 1.5)
    y, x = np.mgrid[: big[0], : big[1]]
    scene += (
        nebula
        * sky
        * np.exp(-((y - big[0] / 2) ** 2 + (x - big[1] / 2) ** 2) / (2 * 25**2))
    )
    offsets = np.rint(rng.uniform(-dither, dither, (n, 2)))
    yy, xx = (np.linspace(-1, 1, m) for m in SHAPE)
    frames = []
    for k, (dy, dx) in enumerate(offsets.astype(int)):
        top, left = margin - dy, margin - dx
        light = scene[top : top + SHAPE[0], left : left + SHAPE[1]]
        level = sky * (1 + 0.3 * k / n)
        angle = 2.0 * k / n
        plane = gradient * level * (np.cos(angle) * yy[:, None] + np.sin(angle) * xx)
        frames.append(rng.poisson((light + level) * flat + plane).astype(np.float32))
    return frames, offsets, flat, dust


@pytest.fixture(scope='module')
def night():
    """Return frames, offsets, flat and dust."""
    return _night()


@pytest.fixture(scope='module')
def solution(night):
    """Return the flat of the night."""
    return sky_flat(night[0], offsets=night[1], n_threads=1)


def test_truth(night, solution):
    """Vignetting, dust and pixels are found to a third of what they were, or better."""
    _, _, flat, dust = night
    before = flat_residual(1.0, flat, dust_mask=dust)
    after = flat_residual(solution.flat, flat, dust_mask=dust)
    assert before['total_percent'] > 4
    assert after['total_percent'] < 0.8
    assert after['large_percent'] < 0.35
    assert after['dust_percent'] < 1.0 < 0.4 * before['dust_percent']
    assert after['pixel_percent'] < before['pixel_percent'] < 0.7
    assert solution.report.verdict != 'reject'


def test_uncertainty_covers(night, solution):
    """68 % intervals hold at least as much, and the rms is not overstated much."""
    flat = night[2]
    error = solution.flat.data / flat
    error = error / np.median(error) - 1
    sigma = solution.flat.uncertainty.array / solution.flat.data
    assert 0.6 < np.mean(np.abs(error) < sigma) < 0.95
    rms = np.sqrt(np.mean(error**2))
    assert rms < 1.5 * np.sqrt(np.mean(sigma**2)) < 5 * rms


def test_contract(night, solution):
    """Type, unit, mean, header and stages."""
    flat = solution.flat
    assert flat.unit == u.dimensionless_unscaled
    assert flat.dtype == np.float32
    assert np.isfinite(flat.data).all()
    assert_allclose(flat.data.mean(dtype=float), 1, rtol=1e-6)
    assert solution.coverage.shape == SHAPE
    assert solution.coverage.max() == len(night[0])
    assert flat.meta['NCOMBINE'] == len(night[0])
    assert flat.meta['AFMETH'] == 'sky'
    assert solution.gradient is None
    assert solution.stages['sky'].shape == (len(night[0]),)


def test_beats_median_with_nebula():
    """A nebula that stays in the superflat does not stay in the flat."""
    frames, offsets, flat, dust = _night(nebula=0.5, dither=20, n=12)
    superflat = np.median([f / np.median(f) for f in frames], axis=0)
    plain = flat_residual(superflat, flat, dust_mask=dust)['large_percent']
    found = sky_flat(frames, offsets=offsets, n_threads=1)
    error = flat_residual(found.flat, flat, dust_mask=dust)['large_percent']
    assert plain > 4
    assert error < 0.35 * plain


def test_small_dithers():
    """Stars that never leave their pixels are not taken for the flat."""
    frames, offsets, flat, dust = _night(dither=2)
    superflat = np.median([f / np.median(f) for f in frames], axis=0)
    plain = flat_residual(superflat, flat, dust_mask=dust)['total_percent']
    found = sky_flat(frames, offsets=offsets, n_threads=1)
    error = flat_residual(found.flat, flat, dust_mask=dust)['total_percent']
    assert plain > 8
    assert error < 1.2


def test_hot_pixels_hide_no_dust():
    """Hot pixels are left out, one by one, not masked as stars of the sky are."""
    frames, offsets, flat, dust = _night(dither=6, n=6)
    rng = np.random.default_rng(2)
    hot = np.zeros(SHAPE, bool)
    hot[tuple(rng.integers(2, m - 2, 150) for m in SHAPE)] = True
    warm = [frame + np.where(hot, 12_000, 0).astype('f4') for frame in frames]
    clean = sky_flat(frames, offsets=offsets, n_threads=1)
    found = sky_flat(warm, offsets=offsets, n_threads=1)
    # No more of the detector is hidden than the pixels themselves.
    more = np.mean(found.coverage == 0) - np.mean(clean.coverage == 0)
    assert more < 1.2 * hot.mean()
    errors = [flat_residual(s.flat, flat, dust_mask=dust) for s in (clean, found)]
    assert errors[1]['dust_percent'] < 1.1 * errors[0]['dust_percent']
    assert errors[1]['total_percent'] < 1.1 * errors[0]['total_percent']
    # Filled from around: no more wrong than the response of a pixel is.
    ratio = found.flat.data[hot] / flat[hot]
    assert np.std(ratio) < 0.03


def test_gradients_that_turn():
    """The gradient of each frame is found; what they share is in the sigma."""
    frames, offsets, flat, _ = _night(gradient=0.05, n=10)
    found = sky_flat(frames, offsets=offsets, n_threads=1)
    error = flat_residual(found.flat, flat)['total_percent']
    assert error < 2 * found.report.numbers['sigma_percent']
    difference = found.stages['gradients'](9) - found.stages['gradients'](0)
    level = 4000.0
    yy, xx = (np.linspace(-1, 1, m) for m in SHAPE)
    planes = [
        0.05
        * level
        * (1 + 0.3 * k / 10)
        * (np.cos(0.2 * k) * yy[:, None] + np.sin(0.2 * k) * xx)
        for k in (0, 9)
    ]
    assert np.std(difference - (planes[1] - planes[0])) < 0.008 * level


def test_gradients_that_jump():
    """Clouds change gradients from frame to frame: not the slope of the flat."""
    frames, offsets, flat, dust = _night(n=12)
    yy, xx = (np.linspace(-1, 1, m) for m in SHAPE)
    slopes = np.random.default_rng(5).normal(0, 0.02, (12, 2))
    frames = [
        f + np.float32(4000) * (a * yy[:, None] + b * xx).astype(np.float32)
        for f, (a, b) in zip(frames, slopes, strict=True)
    ]
    found = sky_flat(frames, offsets=offsets, n_threads=1)
    left = flat_residual(found.flat, flat, dust_mask=dust)['total_percent']
    assert left < 1.6
    assert left < 1.5 * found.report.numbers['sigma_percent']


def test_jumps_are_told_from_drift():
    """The share of what jumps is learnt whatever the flat."""
    rng = np.random.default_rng(1)
    y, x = (a.ravel() for a in np.mgrid[-1:1:12j, -1:1:12j])
    basis = np.stack([x, y, x**2, y**2, x * y], axis=1)
    basis -= basis.mean(axis=0)
    times = np.arange(16.0)
    drift = np.stack([np.cos(times / 16), np.sin(times / 16)], axis=1)
    jumps = rng.standard_normal((16, 2))
    for slopes, low, high in ((drift, 0, 0.02), (jumps, 0.5, 1)):
        data = (1 - 0.3 * (x**2 + y**2)) * (1 + 0.02 * slopes @ basis[:, :2].T)
        data[:, 5] = np.nan
        data[3, 7] = 9
        assert low <= jump_share(data, basis, times) <= high
    assert jump_share(data[:4], basis, times[:4]) == 0


def test_diffuse_light_is_doubted():
    """What the flat changes by diffuse light is part of its uncertainty."""
    x = np.linspace(-1, 1, 8) * np.ones((8, 1))
    covariance = 0.01**2 * np.eye(64)
    fit, without = (
        CoarseResult(log_flat, covariance, None, None, None, None, {})
        for log_flat in (0 * x, 0.02 * x)
    )
    sure, nothing = large_sigma(fit, None)
    doubted, doubt = large_sigma(fit, without)
    assert nothing == 0
    assert_allclose(sure, 0.01 * 1.25, rtol=0.02)
    assert 0.8 < doubt / np.std(0.02 * x) < 1
    assert doubted[0, 0] > 1.5 * sure[0, 0]
    # Never more than a few per cent, however much it is.
    assert large_sigma(fit, replace(without, log_flat=5 * x))[1] < 0.06


def test_nothing_to_correct():
    """Without a flat there is no flat to accept."""
    rng = np.random.default_rng(0)
    frames = rng.poisson(2000, (8, 96, 96)).astype(np.float32)
    found = sky_flat(frames, offsets=rng.uniform(-20, 20, (8, 2)), n_threads=1)
    assert found.report.verdict != 'accept'
    assert np.std(found.flat.data) < 0.004


@pytest.mark.parametrize('mem_limit', [2.5e6, 60e6])
def test_bands_do_not_matter(night, solution, mem_limit):
    """The same bytes in many bands and in one."""
    found = sky_flat(night[0], offsets=night[1], mem_limit=mem_limit, n_threads=1)
    assert_array_equal(found.flat.data, solution.flat.data)
    assert_array_equal(found.coverage, solution.coverage)


def test_threads_do_not_matter(night, solution):
    """The same bytes in one thread and in three."""
    found = sky_flat(night[0], offsets=night[1], n_threads=3)
    assert_array_equal(found.flat.data, solution.flat.data)
    assert_array_equal(found.flat.uncertainty.array, solution.flat.uncertainty.array)


def test_inputs(night, solution, tmp_path):
    """CCDData, integers with a bias, files and masks."""
    frames, offsets = night[:2]
    paths = []
    for i, frame in enumerate(frames):
        ccd = CCDData((frame + 500).astype(np.uint16), unit='adu')
        paths.append(tmp_path / f'f{i}.fits')
        ccd.write(paths[-1])
    bad = np.zeros(SHAPE, bool)
    bad[20:23, 60] = True
    found = sky_flat(paths, offsets=offsets, bias=500, mask=bad, n_threads=1)
    assert_array_equal(found.flat.mask, bad)
    assert_array_equal(found.flat.data[bad], 1)
    assert_allclose(found.flat.data[~bad], solution.flat.data[~bad], atol=0.02)
    assert np.std((found.flat.data - solution.flat.data)[~bad]) < 5e-4


def test_different_fields(night):
    """Frames of different skies need no offsets."""
    frames, _, flat, dust = night
    found = sky_flat(frames, offsets=False, n_threads=1)
    error = flat_residual(found.flat, flat, dust_mask=dust)['total_percent']
    assert error < 1.0
    assert found.stages['offsets'] is None


def test_corrects(night, solution):
    """The flat from some frames makes another one flat."""
    frames = night[0]
    left_out = sky_flat(frames[1:], offsets=night[1][1:], n_threads=1)
    before = np.median(frames[0].reshape(10, 16, 12, 16), axis=(1, 3))
    after = left_out.correct(frames[0])
    after = np.median(after.reshape(10, 16, 12, 16), axis=(1, 3))
    spread = [1.4826 * np.median(np.abs(b / np.median(b) - 1)) for b in (before, after)]
    assert spread[1] < 0.25 * spread[0]


class _Client:
    """Computes what is submitted, as a client of a cluster does."""

    def submit(self, function, *args, pure=True):
        class Future:
            def result(self):
                return function(*args)

        return Future()


def test_client(night, solution):
    """Bands combined by a client give the same bytes."""
    found = sky_flat(night[0], offsets=night[1], n_threads=1, client=_Client())
    assert_array_equal(found.flat.data, solution.flat.data)


@pytest.mark.parametrize(
    ('frames', 'options', 'match'),
    [
        (np.ones((2, 64, 64)), {'offsets': False}, 'at least 3 frames'),
        (np.ones((4, 64, 64, 3)), {'offsets': False}, 'one colour plane'),
        (np.ones((4, 16, 64)), {'offsets': False}, 'smaller than 32'),
        (np.ones((4, 64, 64)), {'offsets': [[0, 0]]}, 'offsets must be'),
        (-np.ones((4, 64, 64)), {'offsets': False}, 'a flat needs light'),
        (np.ones((4, 64, 64)), {'offsets': False, 'mem_limit': 10}, 'mem_limit'),
    ],
)
def test_errors(frames, options, match):
    """Errors name what is wrong."""
    with pytest.raises(ValueError, match=match):
        sky_flat(frames.astype(np.float32), **options)


def test_lazy_name():
    """The root knows the name."""
    assert af.sky_flat is sky_flat
