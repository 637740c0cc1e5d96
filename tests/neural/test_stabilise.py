# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Noise made 1 everywhere, its exact inverse, and the noise of a frame.
"""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from astroflat.degradation import CAMERAS, expose
from astroflat.neural._local_level import BLOCK, fill_bad, level_grid, level_rows
from astroflat.neural._noise_estimate import find_noise, photon_transfer
from astroflat.neural._stabilise import NoiseModel, expectation


@pytest.mark.parametrize('readnoise', [0.0, 1.5, 9.0])
def test_inverse_is_exact(readnoise):
    """Every number comes back, also below zero."""
    noise = NoiseModel(gain=0.7, readnoise=readnoise, offset=500.0)
    data = np.concatenate([np.linspace(-200, 2000, 500), [1e5, 1e7]])
    np.testing.assert_allclose(noise.inverse(noise.forward(data)), data, rtol=1e-12)
    assert np.all(np.diff(noise.forward(data)) > 0)


@pytest.mark.parametrize('readnoise', [0.0, 2.0, 8.0])
@pytest.mark.parametrize('mean', [0.5, 5.0, 60.0, 4000.0])
def test_unbiased_inverse(readnoise, mean):
    """The inverse of the mean of many noisy pixels is their true value."""
    rng = np.random.default_rng(5)
    electrons = rng.poisson(mean, 200_000) + readnoise * rng.standard_normal(200_000)
    noise = NoiseModel(gain=2.0, readnoise=readnoise, offset=100.0)
    values = noise.forward(electrons / 2.0 + 100.0)
    error = 2.0 * (noise.unbiased(values.mean()) - (mean / 2.0 + 100.0))
    assert abs(error) < 4.0 * np.sqrt((mean + readnoise**2) / 200_000) + 2e-3
    if mean > 4:
        assert values.std() == pytest.approx(1.0, abs=0.02)


def test_closed_form():
    """Without read noise the inverse is that of Mäkitalo and Foi (2011)."""
    noise = NoiseModel(gain=1.0, readnoise=0.0)
    means = expectation(np.array([1.0, 3.0, 10.0, 50.0, 300.0]), 0.0)
    d = means
    closed = d**2 / 4 + np.sqrt(1.5) / (4 * d) - 11 / (8 * d**2)
    closed += 5 * np.sqrt(1.5) / (8 * d**3) - 1 / 8
    np.testing.assert_allclose(noise.unbiased(means), closed, atol=0.03)


@pytest.mark.parametrize('name', ['gain', 'readnoise', 'offset'])
def test_models_that_cannot_be(name):
    """The message names the argument."""
    numbers = {'gain': 1.0, 'readnoise': 2.0, 'offset': 0.0}
    with pytest.raises(ValueError, match=name):
        NoiseModel(**{**numbers, name: -1.0 if name != 'offset' else np.nan})


def test_level_of_a_plane():
    """The level of a plane is the plane, away from the rim."""
    y, x = np.mgrid[:160, :200].astype(np.float32)
    grid = level_grid(3.0 * x - 2.0 * y)
    level = level_rows(grid, slice(0, 160), 200)
    inner = (slice(BLOCK, -BLOCK), slice(BLOCK, 176))
    # The lower median of a block of a plane is off by less than one step.
    assert np.abs(level - (3.0 * x - 2.0 * y))[inner].max() < 3.0
    parts = [level_rows(grid, slice(k, k + 32), 200) for k in range(0, 160, 32)]
    assert np.array_equal(np.concatenate(parts), level)


def test_level_ignores_bad_pixels():
    """Masked pixels and NaN do not count, whole blocks neither."""
    image = np.full((64, 70), 5.0, np.float32)
    image[:16, :16] = np.nan
    bad = np.zeros(image.shape, bool)
    bad[40:45, 10:60] = True
    image[bad] = 1e6
    grid = level_grid(image, bad)
    np.testing.assert_allclose(grid, np.full((4, 5), 5.0), rtol=1e-6)


def test_level_is_that_of_training():
    """Training and inference take the same level away."""
    torch = pytest.importorskip('torch')
    from astroflat.training._noise import local_level

    image = np.random.default_rng(3).normal(size=(96, 64)).astype(np.float32)
    mine = level_rows(level_grid(image), slice(0, 96), 64)
    theirs = local_level(torch.from_numpy(image)[None, None])[0, 0].numpy()
    np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_fill_bad():
    """Bad pixels get the mean of what is around them; good ones stay."""
    image = np.ones((20, 20))
    image[5:12, 5:12] = np.nan
    filled = fill_bad(image, None)
    assert np.array_equal(filled, np.ones((20, 20)))
    assert fill_bad(filled, None) is filled
    assert not fill_bad(np.full((4, 4), np.nan), None).any()


def frame_of(gain, readnoise, *, levels, offset=0.0, seed=1):
    """A frame with a range of levels, in ADU."""
    light = np.repeat(np.linspace(*levels, 320), 320).reshape(320, 320)
    rng = np.random.default_rng(seed)
    electrons = rng.poisson(light) + readnoise * rng.standard_normal(light.shape)
    return electrons / gain + offset


@pytest.mark.parametrize('gain', [0.5, 2.0])
def test_gain_from_the_frame(gain):
    """A frame with a range of levels tells its gain."""
    data = frame_of(gain, 5.0, levels=(200, 6000), offset=300.0)
    found = find_noise(data, np.zeros(data.shape, bool))
    assert found.source == 'frame'
    assert found.model.gain == pytest.approx(gain, rel=0.12)
    truth = NoiseModel(gain, 5.0, 300.0)
    for level in (data.min() + 200, data.max()):
        assert found.model.sigma(level) == pytest.approx(truth.sigma(level), rel=0.08)


def test_noise_without_photons():
    """One level does not tell a gain: the noise is taken to be the same."""
    data = np.random.default_rng(2).normal(0.5, 0.01, (128, 128))
    model = find_noise(data, np.zeros(data.shape, bool)).model
    assert model.sigma(0.5) == pytest.approx(0.01, rel=0.06)
    assert model.forward(data).std() == pytest.approx(1.0, rel=0.06)


@pytest.mark.parametrize('camera', ['ccd', 'dslr'])
def test_header(camera):
    """Gain and read noise of the header; the pedestal is found."""
    light = np.full((256, 256), 300.0)
    ccd = expose(light, camera=camera, exposure=0.0, rng=3)
    data = ccd.data.astype(float)
    found = find_noise(data, np.zeros(data.shape, bool), meta=ccd.header)
    assert found.source == 'header'
    assert found.model.gain == CAMERAS[camera].gain
    assert found.model.forward(data).std() == pytest.approx(1.0, rel=0.06)


def test_gain_that_is_a_knob():
    """GAIN = 100 of a camera is no number of electrons."""
    data = frame_of(2.0, 5.0, levels=(200, 6000))
    bad = np.zeros(data.shape, bool)
    header = fits.Header({'GAIN': 100})
    assert find_noise(data, bad, meta=header).source == 'frame'
    header['EGAIN'] = 2.0
    assert find_noise(data, bad, meta=header).model.gain == 2.0
    header = fits.Header()
    header['GAIN'] = (5, 'e-/ADU')
    assert find_noise(data, bad, meta=header).model.gain == 5.0


def test_photon_transfer_ignores_structure():
    """Stars and bad pixels do not add to the noise of the sky."""
    rng = np.random.default_rng(4)
    data = rng.normal(100.0, 2.0, (256, 256))
    for y, x in rng.integers(10, 246, (60, 2)):
        data[y - 2 : y + 3, x - 2 : x + 3] += 500.0
    bad = np.zeros(data.shape, bool)
    bad[:, 50] = True
    data[:, 50] = np.nan
    _, variances, weights = photon_transfer(data, bad)
    assert np.average(variances, weights=weights) == pytest.approx(4.0, rel=0.08)


def test_too_small():
    """The message says what to give."""
    with pytest.raises(ValueError, match='gain='):
        find_noise(np.ones((10, 10)), np.zeros((10, 10), bool))
