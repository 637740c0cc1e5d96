# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Models of astropy: derivatives, boxes, fits."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.modeling import fitting
from numpy.testing import assert_allclose

from astroflat.degradation import MoteOptics, fields
from astroflat.degradation._render import render_product, render_sum

MODELS = [
    fields.Vignetting2D(0.3, 45, 52, 70, 2.6, 0.2, 0.4),
    fields.NaturalVignetting2D(40, 45, 150),
    fields.MechanicalVignetting2D(48, 51, 90, 0.9, 0.1, 0.3),
    fields.MechanicalVignetting2D(48, 51, 60, 1.2, 0.1, 0.3),
    fields.LinearGradient2D(1, 0.1, 0.2, 3, 4),
    fields.QuadraticGradient2D(0.1, 0.2, 0.3, 50, 50),
    fields.AmpGlow2D(2, -3, 4, 40, 60),
    fields.DustMote2D(0.2, 50, 48, 30, 6, 0.4, 3, -2, 0.2, 0.1),
]

SHADOWS = [
    fields.DustMote2D(0.3, 40.3, 30.1, 12, 3, 0.3, 1, 0, 0.3, -0.2),
    fields.DustSpeck2D(0.8, 40, 30, 9, 4, 0.7, 2, 0.15, 0.1, 0.05, 0.05, 0.06),
    fields.DustSpeck2D(0.8, 40, 30, 3, 6, 0.7, 1, 0.1, -0.1, 0, 0.1),
    fields.DustFiber2D(0.5, 40, 30, 30, 4, 1.1, 0.06, 2),
]


def _name(model):
    return type(model).__name__


@pytest.mark.parametrize('model', MODELS, ids=_name)
def test_derivatives_against_differences(model):
    """Closed derivatives agree with central differences."""
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 100, (2, 400))
    slopes = model.fit_deriv(x, y, *model.parameters)
    assert len(slopes) == len(model.parameters)
    for index, slope in enumerate(slopes):
        step = 1e-5 * max(1.0, abs(model.parameters[index]))
        high, low = np.array(model.parameters), np.array(model.parameters)
        high[index] += step
        low[index] -= step
        difference = model.evaluate(x, y, *high) - model.evaluate(x, y, *low)
        error = np.abs(difference / (2 * step) - slope)
        # The few points on a kink of the formula may differ.
        assert np.percentile(error, 98) < 2e-5 * max(1.0, np.abs(slope).max())


@pytest.mark.parametrize('model', SHADOWS, ids=_name)
def test_shadow_is_one_beyond_its_reach(model):
    """Nothing changes outside the box that a shadow claims."""
    axis = np.arange(-60.0, 150.0, 0.5)
    value = model(axis[None] + 0 * axis[:, None], axis[:, None] + 0 * axis[None])
    rho = np.hypot(axis - model.x_0.value, axis[:, None] - model.y_0.value)
    assert (value[rho > model.reach] == 1.0).all()
    (y_0, y_1), (x_0, x_1) = model.bounding_box
    assert_allclose([y_1 - y_0, x_1 - x_0], 2 * model.reach)
    assert np.abs(value - 1)[rho > 0.6 * model.reach].max() > 0


@pytest.mark.parametrize(
    'place', [(40.0, 30.0), (-4.0, 3.0), (99.0, 79.5), (300.0, 9.0)]
)
def test_boxes_equal_the_whole_frame(place):
    """A field rendered box by box is the field rendered pixel by pixel."""
    shadows = [model.copy() for model in SHADOWS]
    for model in shadows:
        model.x_0, model.y_0 = place
    boxed = render_product(shadows, (80, 100))
    whole = render_product(shadows, (80, 100), boxes=False)
    assert boxed.dtype == np.float32
    assert_allclose(boxed, whole, atol=3e-6)


def test_render_against_the_models_themselves():
    """Bands of rows in float32 agree with one evaluation in float64."""
    y, x = np.mgrid[:300, :700].astype(float)
    models = [MODELS[0], MODELS[1]]
    factor = MODELS[0](x, y) * MODELS[1](x, y)
    scale = np.abs(factor).max()
    assert_allclose(render_product(models, (300, 700)), factor, atol=2e-5 * scale)
    glow = fields.AmpGlow2D(2, -3, 4, 40, 60)
    assert_allclose(render_sum([glow], (300, 700)), glow(x, y), atol=1e-5)


def test_models_have_no_units():
    """Type hints are not taken for units, and any number goes in."""
    for name in fields.__all__:
        if name.endswith('2D'):
            model = getattr(fields, name)()
            assert model.input_units is None
            assert np.isfinite(model(3, 4))


def test_mote_from_optics_takes_a_place():
    """A mote made from the optics keeps the other parameters it is given."""
    optics = MoteOptics(f_ratio=7.0, obstruction=0.33, pixel_size=4.0)
    mote = fields.DustMote2D.from_optics(
        optics, distance=1.4, particle=30.0, x_0=5.0, y_0=6.0, tilt_x=0.1
    )
    assert_allclose(mote.radius.value, 25.0)
    assert_allclose([mote.x_0.value, mote.y_0.value, mote.tilt_x.value], [5, 6, 0.1])
    assert mote.hole.value == 0.33


def test_astropy_fitter_uses_the_derivatives():
    """A fitter of astropy recovers a vignette from its derivatives."""
    y, x = np.mgrid[:60, :80].astype(float)
    true = fields.Vignetting2D(0.3, 42, 28, 50, 2.4)
    start = fields.Vignetting2D(0.2, 38, 32, 50, 2.0)
    fitted = fitting.TRFLSQFitter()(start, x, y, true(x, y))
    assert_allclose(fitted.parameters, true.parameters, rtol=1e-5)


def test_astropy_fitter_recovers_a_mote():
    """A fitter of astropy recovers a noisy mote within its errors."""
    y, x = np.mgrid[:60, :60].astype(float)
    true = fields.DustMote2D(0.15, 31, 28, 14, 3, 0.4)
    noisy = true(x, y) + np.random.default_rng(1).normal(0, 2e-3, x.shape)
    start = fields.DustMote2D(0.1, 29, 30, 12, 2, 0.3)
    fitted = fitting.TRFLSQFitter()(start, x, y, noisy)
    assert_allclose(fitted.parameters[:6], true.parameters[:6], rtol=0.02, atol=0.1)


def test_response_noise_has_the_amplitude_that_it_says():
    """White and smooth response vary by the amplitude around 1."""
    y, x = np.mgrid[:400, :400].astype(float)
    white = fields.ResponseNoise2D(0.02, 0, 5)(x, y)
    smooth = fields.ResponseNoise2D(0.02, 10, 5)(x, y)
    assert_allclose([white.mean(), smooth.mean()], 1.0, atol=4e-3)
    assert_allclose(white.std(), 0.02, rtol=0.01)
    assert_allclose(smooth.std(), 0.02, rtol=0.15)


def test_bias_residual_has_columns_and_a_ramp():
    """The residual falls along the rows and varies from column to column."""
    y, x = np.mgrid[:200, :50].astype(float)
    value = fields.BiasResidual2D(columns=0.5, ramp=6.0, decay=20.0, seed=4)(x, y)
    assert_allclose(value[0] - value[20], 6.0 * (1 - 1 / np.e), rtol=1e-10)
    assert 0.3 < value[-1].std() < 0.7
