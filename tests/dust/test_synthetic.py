# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the synthetic flat against truth."""

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData, StdDevUncertainty, VarianceUncertainty
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from astroflat.degradation.profiles import mote, speck
from astroflat.dust.histogram import match_histogram
from astroflat.dust.inpainting import inpaint
from astroflat.dust.masks import dilate_mask, feather_mask
from astroflat.dust.synthetic import synthetic_flat


def dusty_flat(shape=(300, 360), noise=0.0, seed=0):
    """Return an observed flat with two donuts and specks, and its parts."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    dust = np.ones(shape)
    for y_0, x_0, radius, depth in ((90, 100, 40, 0.08), (200, 250, 28, 0.04)):
        dust *= mote(
            x, y, depth=depth, x_0=x_0, y_0=y_0, radius=radius, edge=3.0, hole=0.35
        )
    for _ in range(25):
        y_0, x_0 = rng.uniform(15, shape[0] - 15), rng.uniform(15, shape[1] - 15)
        depth, a = rng.uniform(0.1, 0.6), rng.uniform(1.5, 5)
        dust *= speck(x, y, depth=depth, x_0=x_0, y_0=y_0, a=a, b=0.7 * a)
    smooth = 20000 * (1 - 0.3 * ((y - 140) ** 2 + (x - 190) ** 2) / 55000)
    sigma = noise * smooth * np.sqrt(dust)
    observed = smooth * dust + sigma * rng.standard_normal(shape)
    return observed, smooth, dust, sigma


def weights(dust):
    """Return the weights of the whole chain for a known transmission."""
    return feather_mask(dilate_mask(np.abs(dust - 1) > 1e-3, 1), 2.0)


@settings(max_examples=50, deadline=None)
@given(
    weight=arrays(np.float32, (6, 7), elements=st.floats(0, 1, width=32)),
    seed=st.integers(0, 10**6),
)
def test_the_formula(weight, seed):
    """F = 1 - w + w observed / clean, and exactly 1 where w is 0."""
    rng = np.random.default_rng(seed)
    clean = rng.uniform(100, 200, weight.shape)
    observed = np.where(weight > 0, clean * rng.uniform(0.3, 1.4, clean.shape), clean)
    flat = synthetic_flat(observed, clean, weight)
    expected = 1 - weight + weight * observed / clean
    assert flat.data.dtype == np.float32
    assert flat.unit == u.dimensionless_unscaled
    assert_allclose(flat.data, expected, rtol=1e-6)
    assert (flat.data[weight == 0] == 1).all()
    assert not flat.mask.any()
    assert flat.uncertainty is None


def test_values_above_one_are_kept():
    """Bright rims are part of the truth."""
    clean = np.full((20, 20), 50.0)
    observed = clean.copy()
    observed[5, 5] = 80
    weight = np.zeros(clean.shape)
    weight[5, 5] = 1
    assert_allclose(synthetic_flat(observed, clean, weight).data[5, 5], 1.6)


def test_invalid_pixels_are_masked_and_one():
    """No value, no light or less than the floor: flagged, never clipped."""
    clean = np.full((20, 20), 100.0)
    observed = clean.copy()
    weight = np.zeros(clean.shape)
    weight[5:9, 5] = weight[5:9, 7] = 1
    observed[5, 5] = np.nan
    observed[6, 5] = 4.0
    observed[7, 5] = 6.0
    observed[8, 5] = -30.0
    clean[5, 7], clean[6, 7], clean[7, 7], clean[8, 7] = 0, -5, np.inf, np.nan
    flat = synthetic_flat(observed, clean, weight, min_value=0.05)
    expected = weight > 0
    expected[7, 5] = False
    assert_array_equal(flat.mask, expected)
    assert (flat.data[expected] == 1).all()
    assert_allclose(flat.data[7, 5], 0.06)
    assert np.isfinite(flat.data).all()
    assert flat.meta['NPIXBAD'] == 7


def test_bad_pixels_off_the_dust_do_not_matter():
    """Where nothing is corrected, nothing is masked either."""
    clean = np.full((20, 20), 100.0)
    observed = CCDData(clean.copy(), unit='adu', mask=np.eye(20, dtype=bool))
    observed.data[3, 3] = np.nan
    weight = np.zeros(clean.shape)
    weight[5, 5] = weight[6, 7] = 1
    flat = synthetic_flat(observed, clean, weight)
    assert flat.mask.sum() == 1
    assert flat.mask[5, 5]
    assert (flat.data == 1).all()


def test_the_uncertainty_is_propagated():
    """Relative errors of both images add in squares, times the weight."""
    rng = np.random.default_rng(0)
    clean = rng.uniform(100, 200, (30, 30))
    observed = 0.8 * clean
    sigma_o, sigma_c = rng.uniform(1, 2, (2, 30, 30))
    weight = np.zeros(clean.shape, dtype=np.float32)
    weight[10:20, 10:20] = rng.uniform(0.1, 1, (10, 10))
    flat = synthetic_flat(
        CCDData(
            np.where(weight, observed, clean),
            unit='adu',
            uncertainty=StdDevUncertainty(sigma_o),
        ),
        CCDData(clean, unit='adu', uncertainty=VarianceUncertainty(sigma_c**2)),
        weight,
        smooth=0,
    )
    relative = np.hypot(sigma_o / observed, sigma_c / clean)
    expected = weight * 0.8 * relative
    assert_allclose(flat.uncertainty.array, expected, rtol=1e-5)
    assert (flat.uncertainty.array[weight == 0] == 0).all()


@pytest.mark.parametrize('which', [0, 1])
def test_an_unknown_uncertainty_stays_unknown(which):
    """If one of the images has none, the flat has none."""
    images = [CCDData(np.ones((9, 9)), unit='adu') for _ in range(2)]
    images[which].uncertainty = StdDevUncertainty(np.ones((9, 9)))
    weight = np.eye(9)
    assert synthetic_flat(*images, weight).uncertainty is None


def test_images_on_different_scales_are_refused():
    """The levels off the dust must agree within some per cent."""
    observed, clean, dust, _ = dusty_flat()
    weight = weights(dust)
    for factor in (0.25, 0.95, 1.05, 257):
        with pytest.raises(ValueError, match='match_histogram'):
            synthetic_flat(observed, factor * clean, weight)
    synthetic_flat(observed, 1.01 * clean, weight)
    synthetic_flat(observed, 1.05 * clean, weight, max_level_error=0.1)
    matched = match_histogram(0.25 * clean, observed, mask=weight, method='linear')
    flat = synthetic_flat(observed, matched, weight)
    assert_allclose(flat.data, dust, atol=1e-3)


def test_images_in_units_that_do_not_agree_are_refused():
    """Electrons are not divided by ADU, and kilo-ADU are converted."""
    image = np.full((9, 9), 5.0)
    with pytest.raises(u.UnitsError):
        synthetic_flat(image * u.electron, image * u.adu, np.eye(9))
    flat = synthetic_flat(image * u.mm, 0.1 * image * u.cm, np.eye(9))
    assert_allclose(flat.data, 1)


def test_the_chain_returns_the_true_transmission():
    """Mask, weights, inpainting and division recover the dust without noise."""
    observed, _, dust, _ = dusty_flat()
    weight = weights(dust)
    flat = synthetic_flat(observed, inpaint(observed, weight), weight)
    assert_allclose(flat.data, dust, atol=1.5e-3)
    assert np.sqrt(np.mean((flat.data / dust - 1)[weight > 0] ** 2)) < 3e-4


def test_smoothing_lowers_the_noise_and_keeps_the_edges():
    """With known noise the default leaves much less of it in the flat."""
    observed, _, dust, sigma = dusty_flat(noise=0.01)
    weight = weights(dust)
    ccd = CCDData(observed, unit='adu', uncertainty=StdDevUncertainty(sigma))
    clean = inpaint(ccd, weight)
    donuts = np.zeros(dust.shape, dtype=bool)
    donuts[45:135, 55:145] = True
    donuts &= weight == 1
    specks = (dust < 0.85) & (weight == 1)

    def error(where, **options):
        flat = synthetic_flat(ccd, clean, weight, **options)
        return np.sqrt(np.mean((flat.data / dust - 1)[where] ** 2))

    assert error(donuts) < 0.5 * error(donuts, smooth=0)
    assert error(specks) < 1.05 * error(specks, smooth=0)
    # The noise is measured if it is not known.
    measured = synthetic_flat(observed, clean.data, weight, smooth=1.5)
    known = synthetic_flat(ccd, clean, weight, smooth=1.5)
    assert np.sqrt(np.mean((measured.data - known.data) ** 2)) < 1e-3


@pytest.mark.parametrize('smooth', [0, 1.5])
def test_the_uncertainty_describes_the_errors(smooth):
    """About 68 % of the errors are below it, smoothed or not."""
    observed, _, dust, sigma = dusty_flat(noise=0.01, seed=4)
    weight = weights(dust)
    ccd = CCDData(observed, unit='adu', uncertainty=StdDevUncertainty(sigma))
    flat = synthetic_flat(ccd, inpaint(ccd, weight), weight, smooth=smooth)
    core = weight == 1
    inside = np.abs(flat.data - dust)[core] <= flat.uncertainty.array[core]
    assert 0.5 < inside.mean() < 0.8


def test_smoothing_without_noise_changes_nothing():
    """Where there is no noise there is nothing to average away."""
    observed, clean, dust, _ = dusty_flat()
    weight = weights(dust)
    plain = synthetic_flat(observed, clean, weight)
    smooth = synthetic_flat(observed, clean, weight, smooth=1.5)
    assert_allclose(smooth.data, plain.data, atol=1e-4)


def test_provenance():
    """Number and fraction of changed pixels are in the header, WCS is kept."""
    observed, clean, dust, _ = dusty_flat()
    weight = weights(dust)
    ccd = CCDData(observed, unit='adu', meta={'OBJECT': 'flat'})
    flat = synthetic_flat(ccd, clean, weight)
    changed = np.count_nonzero(flat.data != 1)
    assert flat.meta['NPIXCHG'] == changed
    assert_allclose(flat.meta['FRACCHG'], changed / flat.data.size, atol=1e-8)
    assert flat.meta['OBJECT'] == 'flat'
    assert flat.meta['AFMETH'] == 'synthetic_flat'
    assert 'NPIXCHG' not in ccd.meta


def test_ccdproc_leaves_the_clean_pixels_alone():
    """With norm_value=1, pixels off the dust are unchanged to the bit."""
    ccdproc = pytest.importorskip('ccdproc')
    observed, clean, dust, _ = dusty_flat()
    weight = weights(dust)
    flat = synthetic_flat(observed, clean, weight)
    frame = CCDData(observed.astype(np.float32), unit='adu')
    corrected = ccdproc.flat_correct(frame, flat, norm_value=1)
    off = weight == 0
    assert_array_equal(corrected.data[off], frame.data[off])
    assert_allclose(corrected.data, clean, rtol=1e-5)


def test_errors():
    """Errors say what is wrong."""
    image = np.ones((9, 9))
    with pytest.raises(ValueError, match='must be the same'):
        synthetic_flat(image, image[:5], np.eye(9))
    with pytest.raises(ValueError, match='weight has values'):
        synthetic_flat(image, image, 255 * np.eye(9))
    with pytest.raises(ValueError, match='smooth'):
        synthetic_flat(image, image, np.eye(9), smooth=-1)
    with pytest.raises(ValueError, match='min_value'):
        synthetic_flat(image, image, np.eye(9), min_value=-1)
