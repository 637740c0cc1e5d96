# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the errors of a flat against hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest

from astroflat.quality import flat_residual

SHAPE = (200, 240)


def true_flat(seed=0):
    """Return a vignette with a disc of 5 % depth, and where it is."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    vignette = 1 - 0.3 * ((x - 120) ** 2 + (y - 100) ** 2) / 120**2
    disc = np.hypot(x - 80, y - 90) < 12
    return np.where(disc, 0.95, 1) * vignette, disc


def test_truth_has_no_error():
    """The truth in any scale is perfect."""
    truth, disc = true_flat()
    result = flat_residual(7 * truth, truth, dust_mask=disc)
    assert all(abs(v) < 1e-12 for v in result.values())


def test_doing_nothing():
    """Doing nothing leaves the relative scatter of the inverse flat."""
    truth, disc = true_flat()
    result = flat_residual(1.0, truth, dust_mask=disc)
    ratio = 1 / truth
    ratio = ratio / np.median(ratio[~disc]) - 1
    expected = 100 * np.sqrt(np.mean(ratio**2))
    assert result['total_percent'] == pytest.approx(expected, rel=1e-12)
    assert result['total_mmag'] == pytest.approx(
        2500 * np.log10(1 + expected / 100), rel=1e-12
    )


def test_parts_are_told_apart():
    """Missed dust, wrong vignette and pixel noise each show in their part."""
    truth, disc = true_flat()
    no_dust = np.where(disc, truth / 0.95, truth)
    result = flat_residual(no_dust, truth, dust_mask=disc)
    assert result['dust_percent'] == pytest.approx(5.26, abs=0.01)
    assert result['large_percent'] < 0.5
    tilt = truth * (1 + 0.02 * np.linspace(-1, 1, SHAPE[1]))
    result = flat_residual(tilt, truth, dust_mask=disc)
    assert result['large_percent'] == pytest.approx(2 / np.sqrt(3), rel=0.03)
    assert result['pixel_percent'] < 0.01
    noisy = truth * np.random.default_rng(0).normal(1, 0.01, SHAPE)
    result = flat_residual(noisy, truth, dust_mask=disc)
    # Smoothing by 2 px leaves 1 / (2 sqrt(pi) 2) of white noise.
    assert result['pixel_percent'] == pytest.approx(0.97, abs=0.05)
    assert result['large_percent'] < 0.05


def test_dust_is_found():
    """Without a mask the dust is where the flat departs from its surroundings."""
    truth, disc = true_flat()
    no_dust = np.where(disc, truth / 0.95, truth)
    # What is found includes a rim about the disc: its area is 5.8 times larger.
    found = flat_residual(no_dust, truth)['dust_percent']
    assert found == pytest.approx(5.26 / np.sqrt(5.8), abs=0.1)
    assert flat_residual(truth, truth)['dust_percent'] == 0


def test_bad_pixels_are_ignored():
    """Masked and non-finite pixels in either flat change nothing else."""
    truth, disc = true_flat()
    guess = truth * np.random.default_rng(0).normal(1, 0.01, SHAPE)
    mask = np.zeros(SHAPE, bool)
    mask[30:33, 40:43] = True
    expected = flat_residual(guess, truth, dust_mask=disc, mask=mask)
    broken = guess.copy()
    broken[30:33, 40:43] = np.nan
    assert flat_residual(broken, truth, dust_mask=disc) == expected
    broken[30:33, 40:43] = 1e9
    assert flat_residual(broken, truth, dust_mask=disc, mask=mask) == expected


def test_wrong_input():
    """Wrong shapes and nothing left to compare are refused."""
    with pytest.raises(ValueError, match='shape'):
        flat_residual(np.ones((3, 3)), np.ones(SHAPE))
    with pytest.raises(ValueError, match='no pixel'):
        flat_residual(1.0, np.ones((8, 8)), border=4)


def test_negative_border():
    """It is refused: the last rows alone would be compared."""
    with pytest.raises(ValueError, match='border must not be negative'):
        flat_residual(np.ones((32, 32)), np.ones((32, 32)), border=-1)
