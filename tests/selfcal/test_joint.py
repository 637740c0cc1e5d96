# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Flat and gradient told apart, or not, against the truth."""

import numpy as np
import pytest
from astropy import units as u
from numpy.testing import assert_allclose

import astroflat as af
from astroflat.quality import flat_residual
from astroflat.selfcal import solve_fields

SHAPE = (128, 128)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]] / 64 - 1
FLAT = (
    1 - 0.1 * (X**2 + Y**2) - 0.05 * np.exp(-((X + 0.3) ** 2 + (Y - 0.2) ** 2) / 0.02)
)
FLAT /= FLAT.mean()
GLOW = 60 * np.exp(-((X - 1) ** 2 + (Y - 1) ** 2) / 0.3)
TWILIGHT = np.array([300.0, 600, 1200, 2400, 4800])


def _frames(sky, flat, glow, seed=0, gain=None):
    rng = np.random.default_rng(seed)
    gain = np.ones(len(sky)) if gain is None else gain
    light = sky[:, None, None] * flat + gain[:, None, None] * glow
    return rng.poisson(light).astype(np.float32)


def _solve(frames, **options):
    return solve_fields(frames, offsets=False, n_threads=1, **options)


def test_both():
    """Twilight to dark frames tell F and G."""
    found = _solve(_frames(TWILIGHT, FLAT, GLOW))
    assert found.stages['model'] == 'both'
    assert found.gradient.unit == u.adu
    assert flat_residual(found.flat, FLAT)['total_percent'] < 0.4
    error = found.gradient.data - GLOW
    error = error - np.polyval(np.polyfit(FLAT.ravel(), error.ravel(), 1), FLAT)
    assert error.std() < 0.2 * GLOW.std()
    # A slope of the sky that all frames share may be there; it is not here.
    sigma = np.sqrt(np.mean(found.gradient.uncertainty.array**2))
    assert error.std() < sigma < 0.006 * TWILIGHT.mean()
    assert 'support F and G' in ' '.join(found.report.reasons)


def test_levels_known():
    """Exposure times under a steady source find the constant of G too."""
    found = _solve(_frames(TWILIGHT, FLAT, GLOW + 20), levels=TWILIGHT)
    assert found.stages['model'] == 'both'
    assert_allclose(found.gradient.data.mean(), (GLOW + 20).mean(), atol=3)


def test_glow_grows_with_exposure():
    """The gradient is that of a mean frame; each frame has its share."""
    exposure = np.array([10.0, 30, 60, 60, 120, 240])
    sky = np.array([4000.0, 800, 3000, 500, 2500, 700])
    frames = _frames(sky, FLAT, GLOW, gain=exposure / exposure.mean())
    found = _solve(frames, exposure=exposure)
    assert found.stages['model'] == 'both'
    ratio = found.stages['frame_gradients'](5) - found.stages['frame_gradients'](0)
    truth = GLOW * (exposure[5] - exposure[0]) / exposure.mean()
    assert np.corrcoef(ratio.ravel(), truth.ravel())[0, 1] > 0.8


def test_multiplicative():
    """Without glow there is no G."""
    found = _solve(_frames(TWILIGHT, FLAT, 0 * GLOW))
    assert found.stages['model'] == 'multiplicative'
    assert 'F alone' in ' '.join(found.report.reasons)
    assert flat_residual(found.flat, FLAT)['total_percent'] < 0.4


def test_additive():
    """Without a flat there is no F."""
    found = _solve(_frames(TWILIGHT, np.ones(SHAPE), GLOW))
    assert found.stages['model'] == 'additive'
    assert flat_residual(found.flat, np.ones(SHAPE))['large_percent'] < 0.2
    error = found.gradient.data - found.gradient.data.mean() - (GLOW - GLOW.mean())
    assert error.std() < 0.15 * GLOW.std()


def test_drifts_are_not_taken_for_fields():
    """A gradient that turns while the level drifts is neither F nor G."""
    night = af.degradation.simulate_night(
        12, (128, 128), dither=15, gradient=0.15, difficulty=0.6, sky=3000, rng=5
    )
    found = solve_fields(
        list(night.frames), night.offsets, bias=night.camera.bias, n_threads=1
    )
    nothing = flat_residual(1.0, night.flat)['total_percent']
    error = flat_residual(found.flat, night.flat)['total_percent']
    assert error < 0.8 * nothing
    assert error < 2 * found.report.numbers['sigma_percent']


def test_refuses_to_invent():
    """Alike levels cannot tell: no G, a reason, and an error where it is demanded."""
    frames = _frames(np.full(6, 500.0), FLAT, GLOW)
    found = _solve(frames)
    assert found.stages['model'] == 'multiplicative'
    assert found.report.verdict != 'accept'
    assert 'cannot tell' in ' '.join(found.report.reasons)
    with pytest.raises(ValueError, match='cannot tell'):
        _solve(frames, model='both')


def test_one_bright_frame_is_no_lever():
    """A frame of another level, with a sky of its own, does not tell F from G."""
    frames = _frames(np.array([650, 500, 502, 498, 501, 500.0]), FLAT, 0 * GLOW)
    # Twilight comes from one side.
    frames[0] += (30 * X * FLAT).astype(frames[0].dtype)
    found = _solve(frames)
    assert found.stages['model'] == 'multiplicative'
    assert 'cannot tell' in ' '.join(found.report.reasons)
    assert flat_residual(found.flat, FLAT)['large_percent'] < 1.0
    # Two of them do.
    two = np.array([650, 640, 502, 498, 501, 500.0])
    assert 'multiplicative_f' in _solve(_frames(two, FLAT, GLOW)).stages['tests']


def test_model_asked_for():
    """The user may choose."""
    found = _solve(_frames(TWILIGHT, FLAT, GLOW), model='multiplicative')
    assert found.stages['model'] == 'multiplicative'
    assert 'as asked for' in ' '.join(found.report.reasons)


def test_bands_and_threads():
    """The same bytes however it is computed."""
    frames = _frames(TWILIGHT, FLAT, GLOW)
    first = _solve(frames)
    second = solve_fields(frames, offsets=False, n_threads=2, mem_limit=1.5e6)
    assert np.array_equal(first.flat.data, second.flat.data)
    assert np.array_equal(first.gradient.data, second.gradient.data)


def test_corrects():
    """A frame becomes even."""
    frames = _frames(TWILIGHT, FLAT, GLOW)
    clean = _solve(frames).correct(frames[3])
    assert clean.std() < frames[3].std()
    assert np.std(clean.reshape(8, 16, 8, 16).mean(axis=(1, 3))) < 0.006 * clean.mean()


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ({'model': 'any'}, 'model must be one of'),
        ({'levels': [1, 2]}, 'levels must be 5 positive numbers'),
        ({'exposure': [1, 2, 3, 4, -1]}, 'exposure must be 5 positive numbers'),
    ],
)
def test_errors(options, match):
    """Errors name what is wrong."""
    with pytest.raises(ValueError, match=match):
        _solve(_frames(TWILIGHT, FLAT, GLOW), **options)


def test_lazy_name():
    """The root knows the name."""
    assert af.solve_fields is solve_fields
