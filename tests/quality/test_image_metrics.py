# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of pixel errors against hand-computed cases and scikit-image."""

from __future__ import annotations

import math

import numpy as np
import pytest
from astropy.nddata import CCDData
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import metrics as reference

from astroflat.quality import image_metrics


def pair(shape=(40, 50), seed=0):
    """Return a truth and a noisy image of it."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(100, 200, shape)
    return truth + rng.normal(0, 5, shape), truth


@pytest.mark.parametrize('shape', [(40, 50), (7, 7), (20, 30, 3)])
def test_agrees_with_scikit_image(shape):
    """Without bad pixels the numbers are those of scikit-image."""
    image, truth = pair(shape)
    result = image_metrics(image, truth, peak=150.0)
    options = {'data_range': 150.0}
    mse = reference.mean_squared_error(truth, image)
    psnr = reference.peak_signal_noise_ratio(truth, image, **options)
    axis = -1 if len(shape) == 3 else None
    ssim = reference.structural_similarity(truth, image, channel_axis=axis, **options)
    assert result['mse'] == pytest.approx(mse, rel=1e-12)
    assert result['psnr_db'] == pytest.approx(psnr, rel=1e-12)
    if shape[0] > 7:
        # scikit-image leaves out the same border of half a window.
        assert result['ssim'] == pytest.approx(ssim, rel=1e-9)


def test_by_hand():
    """Four pixels with the errors 1, -1, 3 and 1."""
    truth = np.array([[0.0, 10.0], [20.0, 30.0]])
    image = truth + np.array([[1, -1], [3, 1]])
    result = image_metrics(image, truth, peak=30)
    assert result['mse'] == 3
    assert result['mae'] == 1.5
    assert result['bias'] == 1
    assert result['max_error'] == 3
    assert result['psnr_db'] == pytest.approx(10 * math.log10(300), rel=1e-12)
    assert result['n_pixels'] == 4
    assert math.isnan(result['ssim'])


def test_default_peak_is_stated():
    """The default is a percentile range, which one star does not blow up."""
    image, truth = pair((100, 100))
    expected = np.ptp(np.percentile(truth, (0.5, 99.5)))
    assert image_metrics(image, truth)['peak'] == pytest.approx(expected, rel=1e-12)
    truth[50, 50] = 1e7
    assert image_metrics(image, truth)['peak'] == pytest.approx(expected, rel=0.05)


def test_perfect_and_nothing():
    """A perfect image has no error; doing nothing gains nothing, exactly."""
    image, truth = pair()
    perfect = image_metrics(truth, truth, before=image)
    assert perfect['mse'] == 0
    assert perfect['psnr_db'] == math.inf
    assert perfect['ssim'] == pytest.approx(1, rel=1e-12)
    assert perfect['psnr_gain_db'] == math.inf
    nothing = image_metrics(image, truth, before=image)
    assert nothing['psnr_gain_db'] == 0
    assert nothing['ssim_gain'] == 0
    worse = image_metrics(2 * image - truth, truth, before=image)
    assert worse['psnr_gain_db'] == pytest.approx(-20 * math.log10(2), rel=1e-9)
    assert image_metrics(truth, truth, before=truth)['psnr_gain_db'] == 0


def test_bad_pixels_leave_no_trace():
    """What is masked or not finite changes nothing, whatever stands there."""
    image, truth = pair()
    mask = np.zeros(image.shape, bool)
    mask[10:13, 20:25] = True
    expected = image_metrics(image, truth, mask=mask, peak=100)
    broken = image.copy()
    broken[10:13, 20:25] = np.nan
    assert image_metrics(broken, truth, peak=100) == pytest.approx(expected, rel=1e-12)
    masked = CCDData(np.where(mask, 1e20, image), unit='adu', mask=mask)
    assert image_metrics(masked, truth, peak=100) == pytest.approx(expected, rel=1e-12)
    assert expected['n_pixels'] == image.size - 15


def test_windows_with_bad_pixels_are_left_out():
    """The similarity is the mean over the windows that are wholly good."""
    image, truth = pair((30, 30))
    mask = np.zeros(image.shape, bool)
    mask[:, 17:] = True
    result = image_metrics(image, truth, mask=mask, peak=100)
    part = image_metrics(image[:, :17], truth[:, :17], peak=100)
    assert result['ssim'] == pytest.approx(part['ssim'], rel=1e-9)


@pytest.mark.parametrize(
    ('shape', 'window'), [((1, 1), 1), ((2, 9), 1), ((3, 3), 3), ((6, 8), 5)]
)
def test_small_images(shape, window):
    """Down to one pixel everything has a value, but SSIM needs a window of 3."""
    image, truth = pair(shape)
    result = image_metrics(image, truth, peak=10)
    assert result['mse'] == pytest.approx(np.mean((image - truth) ** 2), rel=1e-12)
    assert result['ssim_window'] == window
    assert math.isnan(result['ssim']) == (window < 3)


def test_constant_truth():
    """Without a range there is no peak, and no PSNR to be proud of."""
    result = image_metrics(np.ones((9, 9)), np.full((9, 9), 3.0))
    assert result['peak'] == 0
    assert math.isnan(result['psnr_db'])
    assert math.isnan(result['ssim'])
    assert result['mse'] == 4


@settings(max_examples=25, deadline=None)
@given(st.floats(-1e3, 1e3), st.floats(0.1, 1e3))
def test_unit_and_level_do_not_matter(level, factor):
    """PSNR and SSIM are the same in other units and on another level."""
    image, truth = pair((12, 12))
    start = image_metrics(image, truth)
    other = image_metrics(factor * image, factor * truth)
    assert other['psnr_db'] == pytest.approx(start['psnr_db'], abs=1e-6)
    assert other['ssim'] == pytest.approx(start['ssim'], abs=1e-6)
    moved = image_metrics(image + level, truth + level)
    assert moved['psnr_db'] == pytest.approx(start['psnr_db'], abs=1e-6)


def test_wrong_input():
    """Wrong shapes, nothing to compare and a wrong peak are refused."""
    image, truth = pair()
    with pytest.raises(ValueError, match='image has the shape'):
        image_metrics(image[1:], truth)
    with pytest.raises(ValueError, match='before has the shape'):
        image_metrics(image, truth, before=image[1:])
    with pytest.raises(ValueError, match='no pixel'):
        image_metrics(np.full((3, 3), np.nan), np.ones((3, 3)))
    with pytest.raises(ValueError, match='peak'):
        image_metrics(image, truth, peak=0)
