# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Parameters of simulated artifacts are recovered."""

from __future__ import annotations

import math

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData
from numpy.testing import assert_allclose

from astroflat import AstroflatError
from astroflat.degradation import fields, fit_mote, fit_vignetting

Y, X = np.mgrid[:240, :320].astype(float)


def _noisy(model, scale=1000.0, noise=5.0, seed=1):
    image = scale * model(X, Y)
    return image + np.random.default_rng(seed).normal(0, noise, image.shape)


def test_vignette_is_recovered():
    """Loss, centre and steepness of a vignette come back."""
    true = fields.Vignetting2D(0.35, 150, 140, 200, 2.8)
    fitted = fit_vignetting(_noisy(true))
    assert_allclose([fitted.x_0.value, fitted.y_0.value], [150, 140], atol=0.5)
    assert_allclose(fitted.power.value, 2.8, atol=0.03)
    assert_allclose(fitted(X, Y), true(X, Y), atol=1e-3)
    assert_allclose(fitted.meta['scale'], 1000.0, rtol=1e-3)
    assert_allclose(fitted.meta['rms'], 0.005, rtol=0.05)


def test_elliptical_vignette_is_recovered():
    """Ellipticity and direction come back in their usual form."""
    true = fields.Vignetting2D(0.35, 150, 130, 200, 2.8, 0.15, 0.5)
    fitted = fit_vignetting(_noisy(true), free_shape=True)
    assert_allclose(fitted.ellipticity.value, 0.15, atol=0.01)
    assert_allclose(math.sin(fitted.theta.value), math.sin(0.5), atol=0.03)
    assert_allclose(fitted(X, Y), true(X, Y), atol=2e-3)


def test_natural_vignetting_is_recovered():
    """The focal length in pixels comes back."""
    true = fields.NaturalVignetting2D(150, 110, 450)
    start = fields.NaturalVignetting2D(160, 120, 900)
    fitted = fit_vignetting(_noisy(true), model=start)
    assert_allclose(fitted.parameters, true.parameters, rtol=2e-3, atol=0.5)


def test_mechanical_vignetting_is_recovered():
    """Scale and stop come back with the larger circle as the stop."""
    true = fields.MechanicalVignetting2D(150, 110, 300, 1.1)
    start = fields.MechanicalVignetting2D(160, 120, 400, 0.97)
    fitted = fit_vignetting(_noisy(true, noise=2.0), model=start)
    assert fitted.stop.value > 1.0
    assert_allclose(fitted.parameters[:4], true.parameters[:4], rtol=5e-3, atol=0.5)


def test_vignette_under_motes_and_a_mask():
    """Small motes are left out as outliers, a masked half is not looked at."""
    true = fields.Vignetting2D(0.3, 165, 118, 200, 2.5)
    image = _noisy(true, noise=2.0)
    for place in ((60, 60), (200, 100), (250, 200)):
        image *= fields.DustMote2D(0.1, *place, 8, 2, 0.3)(X, Y)
    mask = np.zeros(image.shape, dtype=bool)
    mask[:30] = True
    image[:30] = -1e6
    fitted = fit_vignetting(image, mask=mask)
    assert_allclose([fitted.x_0.value, fitted.y_0.value], [165, 118], atol=1.0)
    assert_allclose(fitted(X, Y), true(X, Y), atol=2e-3)


@pytest.mark.parametrize('seed', range(4))
def test_mote_is_recovered(seed):
    """Depth, place, size, edge, hole and lighting of a mote come back."""
    rng = np.random.default_rng(seed)
    true = fields.DustMote2D(
        depth=rng.uniform(0.03, 0.2),
        x_0=150 + rng.uniform(-1, 1),
        y_0=100,
        radius=rng.uniform(9, 35),
        edge=rng.uniform(1.5, 5),
        hole=rng.uniform(0.25, 0.5),
        hole_x=1.0,
        hole_y=-0.7,
        tilt_x=0.1,
        tilt_y=0.2,
    )
    image = _noisy(true, noise=2.0, seed=seed) * (1 + 1e-4 * X)
    guess = true.radius.value * rng.uniform(0.85, 1.15)
    fitted = fit_mote(image, x_0=152, y_0=98.5, radius=guess, free_lighting=True)
    assert_allclose(fitted.depth.value, true.depth.value, rtol=0.05)
    assert_allclose(fitted.parameters[1:5], true.parameters[1:5], atol=0.25)
    assert_allclose(fitted.hole.value, true.hole.value, atol=0.03)
    assert_allclose(fitted.parameters[6:8], [1.0, -0.7], atol=0.35)
    assert_allclose(fitted.meta['rms'], 0.002, rtol=0.15)


def test_disc_without_a_hole_is_recovered():
    """A shadow without a hole gets a hole of no size."""
    true = fields.DustMote2D(0.1, 150, 100, 15, 4, 0.0)
    fitted = fit_mote(_noisy(true, noise=1.0), x_0=149, y_0=101, radius=14)
    assert fitted.hole.value < 0.08
    assert_allclose(fitted.radius.value, 15, atol=0.2)


def test_ccddata_goes_in():
    """A CCDData with a unit and a mask is taken as it is."""
    true = fields.Vignetting2D(0.3, 165, 118, 200, 2.5)
    ccd = CCDData(true(X, Y), unit=u.adu, mask=np.zeros(X.shape, dtype=bool))
    assert_allclose(fit_vignetting(ccd).x_0.value, 165, atol=1e-3)


def test_too_few_pixels_raise():
    """A fit needs pixels."""
    with pytest.raises(AstroflatError, match='good pixels'):
        fit_mote(np.ones((50, 50)), x_0=500, y_0=500, radius=4)
    with pytest.raises(AstroflatError, match='good pixels'):
        fit_vignetting(np.full((50, 50), np.nan))


def test_input_is_not_changed():
    """Neither the image nor the model to start from are changed."""
    image = _noisy(fields.Vignetting2D(0.3, 165, 118, 200, 2.5))
    start, before = fields.Vignetting2D(0.2, 160, 120, 200, 2.0), image.copy()
    fit_vignetting(image, model=start, free_shape=True)
    assert np.array_equal(image, before)
    assert start.fixed['theta']
    assert_allclose(start.parameters[:5], [0.2, 160, 120, 200, 2.0])
