# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the control holes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from astroflat.pipelines._audit import control_holes, fill_error


def holes_and_forbidden():
    """Return three holes and where control holes may not lie."""
    holes = np.zeros((120, 150), bool)
    holes[10:16, 10:18] = holes[60:64, 100:104] = True
    holes[100:120, 0:9] = True
    return holes, ndimage.binary_dilation(holes, iterations=4)


def test_control_holes_are_copies():
    """Control holes have the sizes of the holes and touch nothing forbidden."""
    holes, forbidden = holes_and_forbidden()
    control = control_holes(holes, forbidden)
    assert not (control & forbidden).any()
    sizes = [
        np.sort(np.bincount(ndimage.label(m)[0].ravel())[1:]) for m in (holes, control)
    ]
    assert np.array_equal(*sizes)
    assert np.array_equal(control, control_holes(holes, forbidden))


def test_no_room():
    """Where there is no room there is no control hole."""
    holes = np.ones((20, 20), bool)
    assert not control_holes(holes, holes).any()


def test_error_of_a_known_fill():
    """A fill that is 3 % too bright has that error and bias."""
    image = np.full((50, 50), 200.0)
    control = np.zeros(image.shape, bool)
    control[10:20, 10:20] = True

    def fill(data, holes):
        return np.where(holes, 206.0, data), np.full(data.shape, 6.0)

    error = fill_error(image, control, fill, None)
    assert error['fill_percent'] == pytest.approx(3)
    assert error['fill_bias_percent'] == pytest.approx(3)
    assert error['fill_chi'] == pytest.approx(1.4826)


def test_noise_is_taken_out():
    """A perfect fill of a noisy image has no error of its own."""
    rng = np.random.default_rng(0)
    image = rng.normal(1000, 20, (300, 300))
    control = np.zeros(image.shape, bool)
    control[50:250, 50:250] = True

    def fill(data, holes):
        return np.where(holes, 1000.0, data), np.zeros(data.shape)

    error = fill_error(image, control, fill, np.full(image.shape, 20.0))
    assert error['fill_percent'] < 0.3
    assert error['fill_chi'] == pytest.approx(1, abs=0.02)
