# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the dilation and the feathering of masks."""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import binary_dilation, distance_transform_edt

from astroflat.dust.masks import dilate_mask, feather_mask


def disc(radius):
    """Return the disc of pixels within a radius."""
    n = int(radius)
    y, x = np.mgrid[-n : n + 1, -n : n + 1]
    return np.sqrt(y * y + x * x) <= radius


def points(shape, n, seed=0):
    """Return a mask with some single pixels."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, dtype=bool)
    mask[rng.integers(0, shape[0], n), rng.integers(0, shape[1], n)] = True
    return mask


@pytest.mark.parametrize('radius', [0, 0.9, 1, np.sqrt(2), np.sqrt(3), 2, 7.3, 25])
@pytest.mark.parametrize('shape', [(1, 40), (5, 3), (60, 77), (300, 1100)])
def test_dilation_equals_a_disc(shape, radius):
    """One radius is a binary dilation with a disc, also across tiles."""
    mask = points(shape, 9)
    assert_array_equal(dilate_mask(mask, radius), binary_dilation(mask, disc(radius)))


@settings(max_examples=40, deadline=None)
@given(mask=arrays(bool, (17, 23)), radius=st.floats(0, 12))
def test_dilation_of_any_mask(mask, radius):
    """The same holds for any mask and radius."""
    assert_array_equal(dilate_mask(mask, radius), binary_dilation(mask, disc(radius)))


def test_dilation_by_more_than_sixteen_bits():
    """Radii whose squares do not fit into 16 bits are exact."""
    mask = points((300, 500), 2)
    expected = distance_transform_edt(~mask) <= 200.5
    assert_array_equal(dilate_mask(mask, 200.5), expected)


def test_dilation_of_nothing_and_everything():
    """Empty and full masks stay what they are, in a new array."""
    for value in (False, True):
        mask = np.full((9, 9), value)
        result = dilate_mask(mask, 3)
        assert_array_equal(result, mask)
        assert result is not mask


def test_radius_per_object():
    """Every object grows by its own radius."""
    labels = np.zeros((90, 120), dtype=int)
    labels[20:24, 20:30] = 7
    labels[60, 60] = 2
    labels[60, 100] = 40
    radii = [9.5, 3, 0]
    expected = np.zeros(labels.shape, dtype=bool)
    for name, radius in zip((2, 7, 40), radii, strict=True):
        expected |= binary_dilation(labels == name, disc(radius))
    assert_array_equal(dilate_mask(labels > 0, radii, labels=labels), expected)
    column = Table({'radius': radii * u.pix})['radius']
    for given_as in (np.array(radii) * u.pix, column):
        result = dilate_mask(labels > 0, given_as, labels=labels)
        assert_array_equal(result, expected)


def test_unlabelled_pixels_stay_and_do_not_grow():
    """Labels off the mask are ignored, pixels without a label kept."""
    mask = np.zeros((40, 40), dtype=bool)
    mask[10, 10] = mask[30, 30] = True
    labels = np.zeros(mask.shape, dtype=int)
    labels[10, 10] = 1
    labels[20, 20] = 5
    result = dilate_mask(mask, [4], labels=labels)
    expected = binary_dilation(labels == 1, disc(4))
    expected[30, 30] = True
    assert_array_equal(result, expected)


def test_relative_radius():
    """The radius grows with the equivalent radius of the object."""
    mask = np.zeros((120, 120), dtype=bool)
    mask[5, 5] = True
    big = np.hypot(*np.mgrid[-70:50, -70:50]) <= 12
    area = np.count_nonzero(big)
    expected = binary_dilation(mask, disc(1 + 0.5 * np.sqrt(1 / np.pi)))
    expected |= binary_dilation(big, disc(1 + 0.5 * np.sqrt(area / np.pi)))
    assert_array_equal(dilate_mask(mask | big, 1, relative=0.5), expected)


def test_probabilities_are_thresholded():
    """Of a soft mask, what attains the threshold grows; hysteresis works."""
    soft = np.zeros((30, 30))
    soft[5, 4:8] = 0.3, 0.9, 0.3, 0.1
    soft[20, 20] = 0.4
    assert dilate_mask(soft, 0).sum() == 1
    assert dilate_mask(soft, 0, threshold=0.2).sum() == 4
    assert dilate_mask(soft, 0, threshold=(0.2, 0.8)).sum() == 3


@pytest.mark.parametrize(
    ('arguments', 'match'),
    [
        ({'radius': -1}, 'radius'),
        ({'radius': np.nan}, 'radius'),
        ({'radius': [1, 2]}, 'needs labels'),
        ({'radius': [1, 2], 'labels': np.eye(5, dtype=int)}, '2 radii for 1'),
        ({'labels': np.eye(4, dtype=int)}, 'labels'),
        ({'labels': np.eye(5)}, 'labels'),
        ({'relative': -1.0}, 'relative'),
    ],
)
def test_bad_arguments_of_dilate_mask(arguments, match):
    """Errors name the argument."""
    with pytest.raises(ValueError, match=match):
        dilate_mask(np.eye(5, dtype=bool), **arguments)


@pytest.mark.parametrize('function', [dilate_mask, feather_mask])
def test_masks_that_are_no_masks(function):
    """Masks of 0 to 255 and the like are refused with a remedy."""
    with pytest.raises(ValueError, match='divide by the full scale'):
        function(np.array([[0, 255]], dtype=np.uint8))
    with pytest.raises(ValueError, match='values from'):
        function(np.array([[0.0, np.nan]]))
    with pytest.raises(ValueError, match='2-D'):
        function(np.zeros(5))
    with pytest.raises(TypeError, match='boolean'):
        function(np.array([['a']]))
    with pytest.raises(ValueError, match='threshold'):
        dilate_mask(np.zeros((3, 3)), threshold=(0.5, 0.2))


@pytest.mark.parametrize(('sigma', 'reach'), [(3.0, 3.0), (1.0, 3.0), (2.5, 2.0)])
def test_feather_is_the_stated_function_of_the_distance(sigma, reach):
    """Weights follow the closed form, 1 on the mask and 0 beyond the reach."""
    mask = points((200, 260), 12)
    distance = distance_transform_edt(~mask)
    limit = reach * sigma
    expected = np.maximum(1 - (distance / limit) ** 2, 0) ** (reach**2 / 2)
    weight = feather_mask(mask, sigma, reach=reach)
    assert weight.dtype == np.float32
    assert_allclose(weight, expected, atol=1e-6)
    assert (weight[mask] == 1).all()
    assert (weight[distance >= limit] == 0).all()
    assert (weight[(distance < limit - 1)] > 0).all()


def test_feather_is_a_gaussian_near_the_mask():
    """To second order the fall is that of a Gaussian of the same sigma."""
    mask = np.zeros((1, 60), dtype=bool)
    mask[0, 0] = True
    x = np.arange(10)
    weight = feather_mask(mask, 20.0)[0, :10]
    assert_allclose(weight, np.exp(-0.5 * (x / 20) ** 2), atol=2e-3)


def test_feather_without_a_width():
    """A sigma of zero gives the mask as weights."""
    mask = points((20, 20), 5)
    assert_array_equal(feather_mask(mask, 0), mask.astype(np.float32))
    assert_array_equal(feather_mask(mask.astype(np.uint8), 0), mask)


@settings(max_examples=30, deadline=None)
@given(
    soft=arrays(np.float32, (11, 14), elements=st.floats(0, 1, width=32)),
    sigma=st.floats(0.2, 3),
)
def test_feather_never_lowers_a_soft_mask(soft, sigma):
    """Every weight is at least what was given, and at most 1."""
    weight = feather_mask(soft, sigma)
    assert (weight >= soft).all()
    assert (weight <= 1).all()


def test_feather_of_a_soft_mask_by_brute_force():
    """Soft pixels act like pixels at the distance that they stand for."""
    rng = np.random.default_rng(3)
    soft = rng.random((25, 31)) * (rng.random((25, 31)) < 0.05)
    limit, power = 6.0, 4.5
    y, x = np.mgrid[:25, :31]
    start = limit**2 * (1 - soft ** (1 / power))
    expected = np.zeros(soft.shape)
    for j, i in np.argwhere(soft > 0):
        square = (y - j) ** 2 + (x - i) ** 2 + start[j, i]
        fall = np.maximum(1 - square / limit**2, 0) ** power
        expected = np.maximum(expected, fall)
    assert_allclose(feather_mask(soft, 2.0), expected, atol=1e-5)


def test_a_soft_mask_of_zeros_and_ones_is_a_mask():
    """Both ways to compute the weights agree."""
    mask = points((60, 60), 6)
    assert_allclose(feather_mask(mask.astype(float)), feather_mask(mask), atol=1e-6)


def test_inputs_are_not_modified():
    """Neither function writes to its input."""
    soft = np.zeros((20, 20))
    soft[10, 10] = 0.7
    copy = soft.copy()
    dilate_mask(soft, 3)
    feather_mask(soft, 2)
    assert_array_equal(soft, copy)


@pytest.mark.parametrize('arguments', [{'sigma': -1}, {'sigma': np.inf}, {'reach': 0}])
def test_bad_arguments_of_feather_mask(arguments):
    """Widths must be finite and positive."""
    with pytest.raises(ValueError, match='finite positive'):
        feather_mask(np.eye(5, dtype=bool), **arguments)
