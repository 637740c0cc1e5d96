# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Denoised exposures that drift are compared with the sky, not with the pixels."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from astroflat.degradation import make_scene
from benchmarks import denoise_real

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
