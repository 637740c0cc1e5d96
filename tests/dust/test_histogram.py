# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of matching an image to the photometric scale of another."""

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData, InverseVariance, StdDevUncertainty
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter

from astroflat.dust.histogram import match_histogram

METHODS = ['quantile', 'linear', 'local']


def scene(shape=(240, 320), seed=0):
    """Return a textured scene with values from about 0.3 to 1."""
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.standard_normal(shape), 8, mode='wrap')
    y, x = (np.linspace(-1, 1, side) for side in shape)
    return 0.7 + 0.1 * field / field.std() - 0.15 * (y[:, None] ** 2 + x**2) / 2


def square(shape=(240, 320)):
    """Return the mask of a region."""
    mask = np.zeros(shape, dtype=bool)
    mask[60:110, 90:150] = True
    return mask


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_identity(method, dtype):
    """Matching an image to itself returns it, to rounding."""
    image = (1e4 * scene()).astype(dtype)
    matched = match_histogram(image, image, method=method)
    assert matched.dtype == dtype
    assert_allclose(matched, image, rtol=4 * np.finfo(dtype).eps)


@settings(max_examples=50, deadline=None)
@given(image=arrays(np.int16, (9, 11)))
def test_identity_of_any_integers(image):
    """Also with ties, and with a single value."""
    matched = match_histogram(image, image)
    assert_array_equal(matched, image.astype(np.float32))


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('bits', [8, 12, 14, 16])
def test_an_8_bit_answer_is_matched_without_bias(method, bits):
    """A clean image of 255 steps comes back to any depth within 0.1 %."""
    rng = np.random.default_rng(bits)
    top = 2**bits - 1
    # Used up to a quarter, as data of 14 bits in 16 often are.
    truth = np.round(scene() * top / (4 if bits > 8 else 1))
    mask = square()
    observed = truth + truth * rng.normal(0, 0.005, truth.shape)
    observed[mask] *= 0.7
    answer = np.round(0.93 * 255 * truth / truth.max() + 4)
    matched = match_histogram(answer, observed, mask=mask, method=method)
    for part in (mask, ~mask):
        assert abs(matched[part].mean() / truth[part].mean() - 1) < 1e-3
    # Rounding by half a step of the answer, and what the noise adds.
    error = np.abs(matched / truth - 1)[~mask]
    assert np.percentile(error, 99) < 0.5 / answer[~mask].min() + 0.003


def test_the_mean_of_good_pixels_is_exactly_that_of_the_reference():
    """Ties are mapped to the mean of their partners."""
    rng = np.random.default_rng(1)
    reference = rng.gamma(2.0, 500.0, (200, 200))
    answer = np.floor(reference**0.5)
    matched = match_histogram(answer, reference)
    assert_allclose(matched.mean(), reference.mean(), rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), levels=st.integers(2, 400))
def test_the_quantile_mapping_is_monotone(seed, levels):
    """A larger value is never mapped to a smaller one, beyond the range too."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, levels, (30, 40)).astype(float)
    reference = rng.exponential(100.0, image.shape)
    mask = rng.random(image.shape) < 0.2
    matched = match_histogram(image, reference, mask=mask)
    order = np.argsort(image, axis=None)
    steps = np.diff(matched.ravel()[order])
    assert steps.min() >= -1e-9 * matched.max()


def test_a_curve_is_undone():
    """A monotone curve between the two is found without being told."""
    truth = scene((400, 400))
    matched = match_histogram(np.log(truth) * 40 + 3, truth)
    assert_allclose(matched, truth, rtol=2e-4)


@pytest.mark.parametrize('method', METHODS)
def test_masked_pixels_do_not_matter_but_are_mapped(method):
    """Only the good pixels set the scale; all pixels follow it."""
    truth = 1e4 * scene()
    image = 0.5 * truth - 300
    mask = square()
    reference = np.where(mask, 1e6, truth)
    reference[0, 0] = np.nan
    bad = np.zeros(truth.shape, dtype=bool)
    bad[5, :50] = True
    reference[bad] = 0
    matched = match_histogram(
        image, CCDData(reference, unit='adu', mask=bad), mask=mask, method=method
    )
    rtol = 3e-3 if method == 'quantile' else 1e-6
    assert_allclose(matched, truth, rtol=rtol)


@pytest.mark.parametrize('method', METHODS)
def test_nothing_is_clipped_beyond_the_range(method):
    """Masked values outside the range of the good ones go on in a line."""
    truth = 1e4 * scene()
    mask = square()
    truth[65, 95], truth[66, 96] = 2e4, 1e3
    matched = match_histogram(2 * truth + 50, truth, mask=mask, method=method)
    assert_allclose(matched[65, 95], 2e4, rtol=0.02)
    assert_allclose(matched[66, 96], 1e3, rtol=0.2)


def test_linear_is_robust():
    """Some wrong regions do not change gain and offset."""
    truth = 1e4 * scene()
    image = (truth - 120) / 0.954
    image[:40, :60] += 5000
    matched = match_histogram(image, truth, method='linear')
    assert_allclose(matched[60:], truth[60:], rtol=1e-3)


def test_a_flat_scene_is_matched_by_its_level():
    """Without contrast, gain and offset cannot be told apart: no offset."""
    rng = np.random.default_rng(0)
    reference = 1000 + rng.normal(0, 5, (200, 200))
    image = 500 + rng.normal(0, 5, (200, 200))
    image[50, 50] = 250
    matched = match_histogram(image, reference, method='linear')
    assert_allclose(matched[50, 50], 500, rtol=0.01)
    constant = np.full((20, 20), 5.0)
    for method in METHODS:
        assert_allclose(match_histogram(constant, 3 * constant, method=method), 15)


@pytest.mark.parametrize('degree', [1, 2, 3])
def test_local_finds_gain_and_offset_surfaces(degree):
    """Drifts that vary over the frame are removed, also under the mask."""
    truth = 1e4 * scene()
    y, x = (np.linspace(-1, 1, side) for side in truth.shape)
    gain = 0.9 + 0.05 * x - 0.03 * y[:, None]
    image = gain * truth + 200 * x * (y[:, None] if degree > 1 else 1)
    mask = square()
    reference = np.where(mask, 0.6 * truth, truth)
    local = match_histogram(image, reference, mask=mask, method='local', degree=degree)
    linear = match_histogram(image, reference, mask=mask, method='linear')

    def error(matched):
        return np.sqrt(np.mean((matched / truth - 1)[mask] ** 2))

    assert error(local) < 2e-3
    assert error(local) < 0.2 * error(linear)


def test_units_uncertainty_and_kind():
    """The unit is the reference's, the uncertainty scales with the gain."""
    truth = 1e4 * scene()
    image = CCDData(
        truth / 4, unit='adu', uncertainty=StdDevUncertainty(np.ones(truth.shape))
    )
    reference = CCDData(truth, unit='electron')
    matched = match_histogram(image, reference, method='linear')
    assert matched.unit == u.electron
    assert_allclose(matched.uncertainty.array, 4, rtol=1e-6)
    image.uncertainty = InverseVariance(np.ones(truth.shape))
    matched = match_histogram(image, reference, method='quantile')
    assert_allclose(matched.uncertainty.array, 1 / 16, rtol=1e-2)
    assert 'match_histogram' in matched.meta['AFMETH']


def test_errors():
    """Errors say what is wrong."""
    image = np.ones((9, 9))
    with pytest.raises(ValueError, match='shape'):
        match_histogram(image, np.ones((9, 8)))
    with pytest.raises(ValueError, match='mask has the shape'):
        match_histogram(image, image, mask=np.ones((3, 3), dtype=bool))
    with pytest.raises(ValueError, match='only 0 pixels'):
        match_histogram(image, image, mask=np.ones((9, 9), dtype=bool))
    with pytest.raises(ValueError, match="'quantile', 'linear' or 'local'"):
        match_histogram(image, image, method='cdf')
    with pytest.raises(ValueError, match='values from 255'):
        match_histogram(image, image, mask=np.full((9, 9), 255, dtype=np.uint8))
