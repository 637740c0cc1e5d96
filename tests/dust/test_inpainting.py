# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the inpainting against known truth."""

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import (
    CCDData,
    InverseVariance,
    NDData,
    StdDevUncertainty,
    VarianceUncertainty,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter
from skimage.restoration import inpaint_biharmonic

from astroflat._exceptions import AstroflatWarning
from astroflat.dust.inpainting import (
    BiharmonicInpainter,
    GaussianProcessInpainter,
    Inpainter,
    inpaint,
)
from astroflat.dust.masks import dilate_mask, feather_mask

METHODS = ['gp', 'polynomial', 'biharmonic', BiharmonicInpainter(0)]


def disc(shape, y, x, radius):
    """Return a mask with one disc."""
    return np.hypot(*np.ogrid[-y : shape[0] - y, -x : shape[1] - x]) <= radius


def spots(shape, n, largest, seed=0):
    """Return a mask with discs, away from the edges."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, dtype=bool)
    for _ in range(n):
        y, x = (rng.uniform(2 * largest, side - 2 * largest) for side in shape)
        mask |= disc(shape, y, x, rng.uniform(1, largest))
    return mask


def vignetting(shape, strength=0.3):
    """Return a smooth flat, not quite a quadratic."""
    y, x = (np.linspace(-1, 1, side) for side in shape)
    r2 = ((y[:, None] + 0.1) ** 2 + x**2) / 2
    return 1 - strength * r2 - 0.1 * strength * r2**2


def texture(shape, length, seed=0):
    """Return a random surface of unit variance."""
    rng = np.random.default_rng(seed)
    surface = gaussian_filter(rng.standard_normal(shape), length, mode='wrap')
    return surface / surface.std()


@pytest.mark.parametrize('method', METHODS)
def test_smooth_surfaces_come_back(method):
    """Without noise, a gently curved surface is filled to a small part."""
    flat = 1e4 * vignetting((120, 150))
    mask = spots(flat.shape, 12, 8)
    filled = inpaint(flat, mask, method=method)
    # The flat is no quadratic, so one fitted to a wide ring is off a little.
    rtol = 1e-3 if method == 'polynomial' else 2e-5
    assert_allclose(filled[mask], flat[mask], rtol=rtol)


@pytest.mark.parametrize('degree', [0, 1, 2, 3])
def test_polynomials_are_filled_exactly(degree):
    """A polynomial of the degree of the trend comes back to rounding."""
    y, x = np.mgrid[:70, :80] / 40
    image = sum(x**i * y ** (degree - i) for i in range(degree + 1)) + 3.0
    mask = disc(image.shape, 33, 41, 9)
    filler = GaussianProcessInpainter(degree=degree, smooth_terms=False)
    filled, sigma = inpaint(image, mask, method=filler, return_uncertainty=True)
    assert_allclose(filled, image, rtol=1e-9)
    assert sigma[mask].max() < 1e-6


def test_biharmonic_equals_scikit_image():
    """Mosaics of crops give the same as one call, also at the edges."""
    image = 100 + 5 * texture((160, 230), 3)
    rng = np.random.default_rng(1)
    mask = np.zeros(image.shape, dtype=bool)
    for _ in range(60):
        mask |= disc(mask.shape, *rng.uniform(-3, 230, 2), rng.uniform(0.3, 5))
    mask |= disc(mask.shape, 100, 120, 25)
    expected = inpaint_biharmonic(image, mask)
    filled = inpaint(image, mask, method=BiharmonicInpainter(0))
    # What scikit-image clips to the range of the good pixels is not compared.
    free = (expected > image[~mask].min()) & (expected < image[~mask].max())
    assert free[mask].mean() > 0.99
    assert_allclose(filled[free], expected[free], rtol=1e-12)


@pytest.mark.parametrize('method', METHODS)
def test_a_peak_under_the_mask_is_not_clipped(method):
    """Values beyond the range of the good pixels are possible."""
    y, x = np.mgrid[-30:31, -30:31]
    image = 1000.0 - y**2 - x**2
    mask = np.hypot(y, x) <= 5
    filled = inpaint(image, mask, method=method)
    assert filled[30, 30] > image[~mask].max() + 15


def test_integers_are_not_rescaled():
    """Integers are filled at their own scale and become float32."""
    image = np.full((40, 40), 5000, dtype='>u2')
    image[3, 3] = 65535
    mask = disc(image.shape, 20, 10, 3)
    for method in METHODS:
        filled = inpaint(image, mask, method=method)
        assert filled.dtype == np.float32
        assert_allclose(filled[mask], 5000, rtol=1e-3)
        assert_array_equal(filled[~mask], image[~mask])


def test_noise_of_the_border_is_not_copied():
    """In a noisy smooth flat, the fill is far better than a single pixel."""
    flat = vignetting((260, 260))
    noisy = flat + np.random.default_rng(2).normal(0, 0.02, flat.shape)
    mask = spots(flat.shape, 25, 12)

    def error(method):
        filled = inpaint(noisy, mask, method=method)
        return np.sqrt(np.mean((filled - flat)[mask] ** 2))

    assert error('gp') < 0.002
    assert error('polynomial') < 0.002
    assert error('biharmonic') < 0.008
    assert error(BiharmonicInpainter(0)) > 0.015


def test_large_holes_in_noise_do_not_overshoot():
    """The Gaussian process stays within the noise of a mean over the ring."""
    flat = vignetting((400, 400))
    noisy = flat + np.random.default_rng(4).normal(0, 0.01, flat.shape)
    mask = disc(flat.shape, 190, 210, 70)
    filled = inpaint(noisy, mask)
    assert np.abs(filled - flat)[mask].max() < 0.002


def test_texture_is_continued_as_well_as_biharmonic():
    """In small holes in a texture with little noise, no method is given up."""
    image = 1 + 0.05 * texture((200, 200), 5)
    mask = spots(image.shape, 30, 4, seed=7)

    def error(method):
        return np.sqrt(
            np.mean((inpaint(image, mask, method=method) - image)[mask] ** 2)
        )

    assert error('gp') < 1.2 * error('biharmonic')
    assert error('gp') < 0.1 * error('polynomial')


@pytest.mark.parametrize(
    ('method', 'scene', 'radius'),
    [
        ('gp', 'flat', 2),
        ('gp', 'flat', 6),
        ('gp', 'texture', 2),
        ('gp', 'texture', 6),
        ('biharmonic', 'texture', 2),
        ('biharmonic', 'texture', 6),
    ],
)
def test_uncertainty_is_calibrated(method, scene, radius):
    """About 68 % of the errors are below the stated standard deviation."""
    shape = (400, 400)
    truth = vignetting(shape)
    if scene == 'texture':
        truth = truth * (1 + 0.04 * texture(shape, 6, seed=9))
    mask = np.zeros(shape, dtype=bool)
    mask[20::40, 20::40] = True
    mask = dilate_mask(mask, radius)
    noisy = truth + np.random.default_rng(5).normal(0, 0.003, shape)
    filled, sigma = inpaint(noisy, mask, method=method, return_uncertainty=True)
    inside = np.abs(filled - truth)[mask] <= sigma[mask]
    assert 0.55 < inside.mean() < 0.83
    assert np.isnan(sigma[~mask]).all()


def test_errors_lost_in_the_noise_are_overstated():
    """Where the placebo holes cannot tell, the uncertainty is on the safe side."""
    noisy = np.random.default_rng(1).normal(1, 0.01, (300, 300))
    mask = np.zeros(noisy.shape, dtype=bool)
    mask[20::40, 20::40] = True
    mask = dilate_mask(mask, 2)
    filled, sigma = inpaint(noisy, mask, method='biharmonic', return_uncertainty=True)
    assert np.mean(np.abs(filled - 1)[mask] <= sigma[mask]) > 0.6
    assert sigma[mask].max() < 0.01


@settings(max_examples=8, deadline=None)
@given(gain=st.floats(1e-6, 1e6), seed=st.integers(0, 9))
def test_the_fill_scales_with_the_image(gain, seed):
    """Another unit of the image changes nothing but the unit."""
    image = 10 + texture((50, 50), 4, seed)
    mask = disc(image.shape, 25, 22, 5)
    one = inpaint(image, mask, return_uncertainty=True)
    two = inpaint(gain * image, mask, return_uncertainty=True)
    assert_allclose(two[0], gain * one[0], rtol=1e-6)
    assert_allclose(two[1][mask], gain * one[1][mask], rtol=1e-4)


@pytest.mark.parametrize('method', METHODS)
def test_other_bad_pixels_are_neither_used_nor_filled(method):
    """Masked and NaN pixels next to a hole have no influence and stay."""
    flat = 1000 * vignetting((80, 80)).astype(np.float32)
    mask = disc(flat.shape, 40, 40, 5)
    bad = np.zeros(flat.shape, dtype=bool)
    bad[:, 46] = bad[30:34, 36:40] = True
    image = np.where(bad, np.float32(1e8), flat)
    image[33, 43] = np.nan
    ccd = CCDData(image, unit='adu', mask=bad)
    filled = inpaint(ccd, mask, method=method)
    assert_allclose(filled.data[mask], flat[mask], rtol=2e-3)
    assert_array_equal(filled.data[~mask], image[~mask])
    assert_array_equal(filled.mask, bad)


@pytest.mark.parametrize('method', METHODS)
def test_pixels_outside_stay_to_the_bit(method):
    """The input is not modified, and the rest of the image is copied."""
    image = texture((60, 60), 2).astype(np.float32)
    copy = image.copy()
    mask = disc(image.shape, 20, 30, 4)
    filled = inpaint(image, mask, method=method)
    assert_array_equal(image, copy)
    assert filled.dtype == np.float32
    assert_array_equal(filled[~mask], image[~mask])
    assert not np.array_equal(filled[mask], image[mask])


@pytest.mark.parametrize(
    ('kind', 'power'),
    [(StdDevUncertainty, 1), (VarianceUncertainty, 2), (InverseVariance, -2)],
)
def test_uncertainty_of_ccddata_stays_in_its_kind(kind, power):
    """Inside the hole it is that of the fill, outside it is untouched."""
    rng = np.random.default_rng(0)
    image = rng.normal(500, 5, (70, 70))
    array = rng.uniform(4, 6, image.shape) ** power
    ccd = CCDData(image, unit='electron', uncertainty=kind(array))
    mask = disc(image.shape, 35, 35, 4)
    filled, sigma = inpaint(ccd, mask, return_uncertainty=True)
    assert type(filled.uncertainty) is kind
    assert filled.unit == u.electron
    assert_array_equal(filled.uncertainty.array[~mask], array[~mask])
    assert_allclose(filled.uncertainty.array[mask], sigma[mask] ** power)
    assert_allclose(sigma[~mask], array[~mask] ** (1 / power))
    assert 0 < sigma[mask].max() < 4
    assert filled.meta['NINPAINT'] == mask.sum()
    assert 'NINPAINT' not in ccd.meta


def test_unknown_uncertainty_stays_unknown():
    """An image without uncertainty does not get one of zeros."""
    ccd = CCDData(np.ones((30, 30)), unit='adu')
    assert inpaint(ccd, disc((30, 30), 15, 15, 2)).uncertainty is None


def test_kinds_of_images():
    """The kind that came in goes out."""
    image = 7 + np.zeros((30, 30))
    mask = disc(image.shape, 15, 15, 2)
    assert inpaint(image * u.adu, mask).unit == u.adu
    assert type(inpaint(NDData(image), mask)) is NDData
    masked = np.ma.array(image, mask=image > 100)
    assert isinstance(inpaint(masked, mask), np.ma.MaskedArray)
    assert type(inpaint(image.tolist(), mask)) is np.ndarray


def test_colour_images_are_filled_plane_by_plane():
    """Each colour is filled as if it were alone."""
    image = np.stack([texture((40, 50), 3, seed) for seed in range(3)], axis=-1)
    mask = disc(image.shape, 20, 25, 4)
    filled, sigma = inpaint(image, mask, return_uncertainty=True)
    assert sigma.shape == image.shape
    for k in range(3):
        assert_array_equal(filled[..., k], inpaint(image[..., k], mask))


def test_weights_and_empty_masks():
    """Every pixel of positive weight is filled, and none if there is none."""
    image = texture((50, 50), 3)
    weight = feather_mask(disc(image.shape, 25, 25, 3), 2)
    assert_array_equal(inpaint(image, weight), inpaint(image, weight > 0))
    nothing = np.zeros(image.shape, dtype=bool)
    for method in METHODS:
        filled, sigma = inpaint(image, nothing, method=method, return_uncertainty=True)
        assert_array_equal(filled, image)
        assert np.isnan(sigma).all()


def test_long_holes_are_filled_in_cells():
    """A fibre across the frame is filled without seams."""
    flat = 1000 * vignetting((120, 300))
    noisy = flat + np.random.default_rng(0).normal(0, 2, flat.shape)
    y, x = np.mgrid[:120, :300]
    mask = np.abs(y - 60 - 30 * np.sin(x / 50)) < 4
    filled, sigma = inpaint(noisy, mask, return_uncertainty=True)
    assert np.abs(filled - flat)[mask].max() < 2
    assert np.isfinite(sigma[mask]).all()


def test_lone_spikes_around_a_hole_are_ignored():
    """A hot pixel beside the hole does not pull the fill."""
    flat = vignetting((90, 90)) + np.random.default_rng(1).normal(0, 0.002, (90, 90))
    mask = disc(flat.shape, 45, 45, 6)
    hot = flat.copy()
    hot[45, 53] = hot[36, 44] = 3.0
    assert_allclose(inpaint(hot, mask)[mask], inpaint(flat, mask)[mask], atol=0.002)


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('shape', [(1, 40), (40, 1), (3, 3), (5, 60)])
def test_tiny_frames(method, shape):
    """Frames with next to nothing in them work."""
    image = np.full(shape, 7.0)
    mask = np.zeros(shape, dtype=bool)
    mask[0, 0] = mask[shape[0] // 2, shape[1] // 2] = True
    filled, sigma = inpaint(image, mask, method=method, return_uncertainty=True)
    assert_allclose(filled, 7.0, rtol=1e-9)
    assert np.isfinite(sigma[mask]).all()


def test_a_hole_in_a_corner_is_extrapolated_with_a_larger_error():
    """What is not surrounded is less certain."""
    noisy = np.random.default_rng(0).normal(1, 0.01, (120, 120))
    mask = disc(noisy.shape, 0, 0, 10) | disc(noisy.shape, 60, 60, 10)
    filled, sigma = inpaint(noisy, mask, return_uncertainty=True)
    assert_allclose(filled[mask], 1, atol=0.05)
    assert sigma[0, 0] > 3 * sigma[60, 60]


def test_a_function_can_be_the_method():
    """Any callable plugs in; its uncertainty is found by hiding pixels."""
    rng = np.random.default_rng(3)
    image = rng.normal(100, 2, (300, 300))
    mask = spots(image.shape, 30, 5)
    calls = []

    def mean_level(data, hole):
        calls.append(hole.sum())
        assert np.isnan(data[hole]).all()
        return np.where(hole, np.nanmean(data) + 1.0, data)

    assert isinstance(mean_level, Inpainter)
    filled, sigma = inpaint(image, mask, method=mean_level, return_uncertainty=True)
    assert_allclose(filled[mask], 101, atol=0.1)
    assert len(calls) == 2
    # The error is the offset of 1 that it makes on purpose.
    assert_allclose(np.median(sigma[mask]), 1, rtol=0.25)
    inpaint(image, mask, method=mean_level)
    assert len(calls) == 3


def test_a_method_may_bring_its_own_uncertainty():
    """A tuple of image and deviation is taken as it is."""
    image = np.ones((20, 20))
    mask = disc(image.shape, 10, 10, 2)
    filled, sigma = inpaint(
        image,
        mask,
        method=lambda data, hole: (np.full(data.shape, 4.0), 0.5 * hole),
        return_uncertainty=True,
    )
    assert (filled[mask] == 4).all()
    assert (sigma[mask] == 0.5).all()


def test_methods_cannot_write_to_the_image():
    """What a method gets is read-only."""

    def careless(data, hole):
        data[hole] = 0
        return data

    with pytest.raises(ValueError, match='read-only'):
        inpaint(np.ones((9, 9)), disc((9, 9), 4, 4, 1), method=careless)


def test_pixels_that_cannot_be_filled_are_masked():
    """What a method leaves NaN is announced and masked."""
    image = np.ones((20, 20))
    mask = disc(image.shape, 10, 10, 2)
    with pytest.warns(AstroflatWarning, match='13 pixels could not be filled'):
        filled = inpaint(CCDData(image, unit='adu'), mask, method=lambda data, _: data)
    assert_array_equal(filled.mask, mask)


def test_a_hole_within_bad_pixels_is_filled_from_afar():
    """The Gaussian process widens its ring until it finds good pixels."""
    image = np.full((400, 400), 3.0)
    image[100:300, 100:300] = np.nan
    mask = disc(image.shape, 200, 200, 5)
    assert_allclose(inpaint(image, mask)[mask], 3.0)


def test_errors():
    """Errors say what is wrong."""
    image, mask = np.ones((9, 9)), disc((9, 9), 4, 4, 1)
    with pytest.raises(ValueError, match='mask has the shape'):
        inpaint(image, mask[:5])
    with pytest.raises(ValueError, match="'gp', 'polynomial', 'biharmonic'"):
        inpaint(image, mask, method='magic')
    with pytest.raises(TypeError, match='instance'):
        inpaint(image, mask, method=BiharmonicInpainter)
    with pytest.raises(ValueError, match='no good pixel'):
        inpaint(image, np.ones((9, 9), dtype=bool))
    with pytest.raises(ValueError, match='returned arrays of shapes'):
        inpaint(image, mask, method=lambda data, _: data[:3])
    with pytest.raises(ValueError, match='ring_sigma'):
        BiharmonicInpainter(-1)
    with pytest.raises(ValueError, match='degree'):
        GaussianProcessInpainter(degree=7)
