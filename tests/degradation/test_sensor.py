# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Exposures: statistics against gain and read noise, limits, seeds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData
from numpy.testing import assert_allclose
from scipy import stats

from astroflat.degradation import (
    CAMERAS,
    NOISE_LEVELS,
    Camera,
    SensorPattern,
    add_noise,
    expose,
    make_scene,
)
from astroflat.degradation.sensor import add_cosmic_rays, read_out, shot_noise

PLAIN = Camera('plain', gain=0.8, read_noise=5.0, bias=300.0, full_well=5e4, bits=16)


def _in_interval(values, mean, variance):
    """Whether mean and variance agree with the expected ones (chi square)."""
    n = values.size
    chi = (n - 1) * values.var(ddof=1) / variance
    low, high = stats.chi2.ppf([1e-4, 1 - 1e-4], n - 1)
    return abs(values.mean() - mean) < 4 * (variance / n) ** 0.5 and low < chi < high


@pytest.mark.parametrize('level', [0.0, 3.0, 80.0, 900.0, 5000.0])
def test_mean_and_variance_of_an_exposure(level):
    """Mean is level / gain + bias, variance that of photons, readout, rounding."""
    ccd = expose(np.full((250, 260), level), camera=PLAIN, rng=1)
    variance = (level + 25.0) / 0.8**2 + 1.0 / 12.0
    assert _in_interval(ccd.data.astype(float), level / 0.8 + 300.0, variance)


@pytest.mark.parametrize('name', sorted(CAMERAS))
def test_cameras_have_the_noise_of_their_numbers(name):
    """The photon transfer of each preset gives its gain and its read noise."""
    camera = CAMERAS[name]
    exposure, level = 0.01, 0.3 * camera.full_well
    dark = SensorPattern(np.zeros((200, 200), np.float32), np.zeros((200, 200), bool))
    frames = [
        expose(
            np.full((200, 200), value),
            camera=camera,
            exposure=exposure,
            rng=seed,
            pattern=dark,
        ).data.astype(float)
        for seed, value in enumerate((level, level, 0.0, 0.0))
    ]
    light, zero = ((one - two).var() / 2 for one, two in (frames[:2], frames[2:]))
    signal = frames[0].mean() - frames[2].mean()
    assert_allclose(signal / (light - zero), camera.gain, rtol=0.03)
    expected = (camera.read_noise**2 + camera.row_noise**2) ** 0.5
    rounding = camera.gain**2 / 12
    assert_allclose((zero * camera.gain**2 - rounding) ** 0.5, expected, rtol=0.05)


def test_shot_noise_is_poisson():
    """Counts follow the Poisson distribution."""
    electrons = shot_noise(np.full(40_000, 4.0), rng=np.random.default_rng(1))
    count = np.bincount(electrons.astype(int), minlength=15)[:12]
    expected = 40_000 * stats.poisson(4.0).pmf(np.arange(12))
    chi = ((count - expected) ** 2 / expected).sum()
    assert chi < stats.chi2.ppf(0.9999, 11)


def test_bright_shot_noise_is_whole_and_has_its_variance():
    """Many electrons are whole numbers with the variance of their mean."""
    electrons = shot_noise(
        np.full((300, 300), 20_000.0, np.float32), rng=np.random.default_rng(1)
    )
    assert np.array_equal(electrons, np.rint(electrons))
    assert _in_interval(electrons.astype(float), 20_000.0, 20_000.0)


def test_light_is_scene_times_flat_plus_gradient():
    """F multiplies the scene and not G, and both make photons."""
    shape = (200, 200)
    flat = np.full(shape, 0.5)
    flat[100:] = 1.2
    gradient = np.full(shape, 150.0)
    ccd = expose(
        np.full(shape, 1000.0), camera=PLAIN, flat=flat, gradient=gradient, rng=3
    )
    for rows, light in ((slice(0, 100), 650.0), (slice(100, 200), 1350.0)):
        variance = (light + 25.0) / 0.64 + 1 / 12
        assert _in_interval(ccd.data[rows].astype(float), light / 0.8 + 300, variance)


def test_saturation_of_well_and_converter():
    """The pixel stops at the full well, the converter at its last number."""
    scene = np.full((20, 20), 1e6)
    shallow = replace(PLAIN, full_well=1000.0, read_noise=0.0)
    assert_allclose(expose(scene, camera=shallow, rng=1).data, 1000 / 0.8 + 300)
    few = replace(PLAIN, bits=12)
    ccd = expose(scene, camera=few, rng=1)
    assert (ccd.data == 4095).all()
    assert ccd.header['SATURATE'] == 4095


def test_eight_bits_are_bytes():
    """Up to eight bits are stored as bytes."""
    camera = replace(PLAIN, bits=8, bias=5.0)
    adu = read_out(np.full((4, 4), 1e4), camera=camera, rng=np.random.default_rng(1))
    assert adu.dtype == np.uint8
    assert (adu == 255).all()


def test_pattern_stays_where_it_is():
    """Hot pixels and dark current are the same in all frames of a pattern."""
    camera = replace(CAMERAS['dslr'], row_noise=0.0)
    pattern = SensorPattern.draw((120, 130), camera=camera, rng=2)
    assert pattern.hot.sum() == round(1e-3 * 120 * 130)
    assert_allclose(np.median(pattern.dark_rate), 0.15, rtol=0.05)
    frames = [
        expose(
            np.full((120, 130), 50.0),
            camera=camera,
            pattern=pattern,
            exposure=300.0,
            rng=seed,
        ).data.astype(float)
        for seed in (1, 2)
    ]
    excess = np.minimum(*frames)[pattern.hot] - np.median(frames[0])
    assert (excess > 300).all()
    expected = (50 + 300 * pattern.dark_rate[~pattern.hot]) / 0.62 + 2048
    assert_allclose(frames[0][~pattern.hot].mean(), expected.mean(), rtol=1e-3)


def test_row_noise_is_common_to_rows():
    """An offset of the row adds to all its pixels."""
    camera = replace(PLAIN, row_noise=20.0, read_noise=0.0)
    ccd = expose(np.full((100, 400), 100.0), camera=camera, rng=1)
    assert_allclose(ccd.data.mean(axis=1).std() * 0.8, 20.0, rtol=0.25)


def test_cosmic_rays_leave_their_charge():
    """Tracks carry charge, and the mask says where."""
    image = np.zeros((300, 300), np.float32)
    hit = add_cosmic_rays(image, 40, rng=np.random.default_rng(1))
    assert np.array_equal(hit, image > 0)
    assert 40 <= hit.sum() < 600
    assert 40 * 500 * 0.8 < image.sum() < 40 * 30_000


def test_cosmic_rays_come_at_their_rate():
    """Their mean number is the one asked for."""
    scene = np.full((100, 100), 10.0)
    hits = [
        (expose(scene, camera=PLAIN, cosmic_rays=3.0, rng=seed).data > 800).any()
        for seed in range(20)
    ]
    assert sum(hits) >= 15


def test_header_says_what_was_done():
    """The header holds what a reduction needs."""
    header = expose(np.ones((5, 5)), camera='ccd', exposure=30.0, rng=1).header
    assert (header['GAIN'], header['RDNOISE'], header['EXPTIME']) == (1.6, 9.0, 30.0)
    assert header['IMAGETYP'] == 'LIGHT'
    assert header['SATURATE'] == 63750


def test_same_seed_same_frame():
    """A seed decides every pixel; the input is left alone."""
    scene = make_scene((50, 60), rng=1)
    before = scene.copy()
    one, two = (expose(scene, camera='cmos', cosmic_rays=2, rng=9) for _ in range(2))
    assert np.array_equal(one.data, two.data)
    assert not np.array_equal(one.data, expose(scene, camera='cmos', rng=10).data)
    assert np.array_equal(scene, before)


def test_containers_are_taken():
    """CCDData and Quantity scenes expose as arrays do."""
    data = np.full((20, 20), 500.0)
    plain = expose(data, camera=PLAIN, rng=1).data
    for scene in (CCDData(data, unit='electron'), data * u.electron, data.tolist()):
        assert np.array_equal(expose(scene, camera=PLAIN, rng=1).data, plain)


@pytest.mark.parametrize('name', sorted(NOISE_LEVELS))
def test_added_noise_has_its_strength(name):
    """Each preset has the noise of its numbers, in the unit of the image."""
    level = NOISE_LEVELS[name]
    clean = np.full((200, 200), 0.02)
    noisy = add_noise(clean, level=name, rng=1)
    assert _in_interval(
        noisy / 0.02 * level.level, level.level, level.level + level.read_noise**2
    )


def test_presets_grow():
    """The names are in the order of the noise."""
    noise = [level.relative for level in NOISE_LEVELS.values()]
    assert noise == sorted(noise)


def test_added_noise_keeps_the_container():
    """A CCDData comes back with the true uncertainty."""
    ccd = CCDData(np.full((40, 40), 50.0), unit='adu', meta={'OBJECT': 'x'})
    noisy = add_noise(ccd, level='medium', rng=1)
    assert noisy.unit == ccd.unit
    assert noisy.meta['OBJECT'] == 'x'
    expected = 50.0 * NOISE_LEVELS['medium'].relative
    assert_allclose(noisy.uncertainty.array, expected, rtol=1e-6)
    assert np.array_equal(ccd.data, np.full((40, 40), 50.0))


@pytest.mark.parametrize(
    ('call', 'word'),
    [
        (lambda: expose(np.full((4, 4), -1.0), rng=1), 'negative'),
        (lambda: expose(np.full((4, 4), np.nan), rng=1), 'negative'),
        (lambda: expose(np.ones(4), rng=1), 'scene'),
        (lambda: expose(np.ones((4, 4)), flat=np.ones((5, 4)), rng=1), 'flat'),
        (lambda: expose(np.ones((4, 4)), camera='eye', rng=1), 'camera'),
        (lambda: add_noise(np.zeros((4, 4))), 'median'),
        (lambda: add_noise(np.ones((4, 4)), level='loud'), 'level'),
        (lambda: replace(PLAIN, gain=0.0), 'gain'),
        (lambda: replace(PLAIN, read_noise=-1.0), 'read_noise'),
        (lambda: replace(PLAIN, bits=32), 'bits'),
    ],
)
def test_arguments_out_of_range(call, word):
    """What cannot be is refused with the name of the argument."""
    with pytest.raises(ValueError, match=word):
        call()
