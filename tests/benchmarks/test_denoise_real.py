# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Denoised exposures that drift are compared with the sky, not with the pixels."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from astroflat.degradation import make_scene
from benchmarks import denoise_real, denoise_tables

NOISE = 10.0


@pytest.fixture(scope='module')
def exposures():
    """Six frames that drift by whole pixels, with a pattern that stays."""
    rng = np.random.default_rng(1)
    scene = make_scene((260, 260), kind='starfield', rng=3, level=300, fwhm=4).clip(
        max=900
    )
    offsets = np.array([[k, -9 * k] for k in range(6)], float)
    pattern = 4.0 * rng.standard_normal((160, 160))
    frames = [
        scene[30 - int(dy) : 190 - int(dy), 30 - int(dx) : 190 - int(dx)]
        + pattern
        + NOISE * rng.standard_normal((160, 160))
        for dy, dx in offsets
    ]
    truth = scene[30:190, 30:190]
    return denoise_real.Exposures(np.array(frames), offsets), truth


def test_error_is_that_against_the_sky(exposures):
    """A result with a known error gets it, whatever the noise of the others is."""
    frames, truth = exposures
    rng = np.random.default_rng(2)
    wrong = truth + 3.0 * rng.standard_normal(truth.shape)
    tables = denoise_real.compare(
        frames, lambda _: [('truth', truth), ('wrong', wrong)], most=1
    )
    total = np.hypot(NOISE, 4.0)
    for table in tables.values():
        assert table['noisy frame'][0] == 1.0
        assert table['wrong'][0] == pytest.approx(3.0 / total, rel=0.2)
        assert table['truth'][0] < 0.15


def test_the_best_setting_counts():
    """Of each filter one row is left."""
    table = {'a/0': (0.5, 0.1), 'a/1': (0.3, 0.1), 'b/0': (0.7, 0.1), 'ours': (0.2, 0)}
    best = denoise_real.best_settings(table)
    assert best == {'a': (0.3, 0.1), 'b': (0.7, 0.1), 'ours': (0.2, 0)}


def test_drift_is_measured_and_frames_are_calibrated(exposures, tmp_path):
    """Bias and flat are used, and offsets found, though the pattern stays."""
    frames, _ = exposures
    flat = np.linspace(0.8, 1.2, 160)[None, :] * np.ones((160, 160))
    for k, frame in enumerate(frames.frames[:4]):
        fits.writeto(tmp_path / f'light{k}.fits', (frame * flat + 50).astype('f4'))
    fits.writeto(tmp_path / 'bias1.fits', np.full((160, 160), 50, 'f4'))
    fits.writeto(tmp_path / 'flat1.fits', (1000 * flat + 50).astype('f4'))
    found = denoise_real.read_exposures(tmp_path)
    same = np.isclose(found.frames, frames.frames[:4], rtol=1e-4)
    assert same.mean() > 0.998
    assert np.abs(found.offsets - frames.offsets[:4]).max() < 0.75


def test_drift_is_what_is_wide():
    """A sky that tilts is found, also beside holes; noise is not."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:200, :220]
    tilt = 0.01 * (x - 110) - 0.005 * (y - 100)
    seen = np.ones(tilt.shape, bool)
    seen[:, :15] = False
    found = denoise_real.drift(tilt, seen, width=20.0)
    inside = np.s_[60:-60, 75:-60]
    np.testing.assert_allclose(found[inside], tilt[inside], atol=0.02)
    noise = denoise_real.drift(rng.standard_normal(tilt.shape), seen, width=20.0)
    assert noise[inside].std() < 0.03


def test_gains_of_stars_by_hand():
    """Half of the noise, a tenth of it in the background, and a bias of 2 %."""
    rng = np.random.default_rng(5)
    snr, true = np.full(4000, 6.0), np.full(4000, 100.0)
    raw, core = 16.0 * rng.standard_normal((2, 4000))

    def row(share, bias, noise):
        errors = share * raw + bias
        middle = share * core
        return {
            'stars': [snr.tolist(), errors.tolist(), true.tolist()],
            'cores': [middle.tolist(), (middle + 40.0).tolist()],
            'noise': noise,
        }

    noisy, clean = row(1.0, 0.0, 5.0), row(0.5, 2.0, 0.5)
    found = denoise_tables._bin([clean, clean], [noisy, noisy], 5, 7)
    assert found['gain'] == pytest.approx(2.0)
    assert found['core'] == pytest.approx(2.0)
    assert found['shown'] == pytest.approx(10.0, rel=0.02)
    # What is left of the noise is in the difference to the noisy frame.
    assert found['bias'] == pytest.approx(2.0, abs=4 * found['error'])
    assert found['error'] == pytest.approx(8.0 / 8000**0.5, rel=0.05)
