# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the flatness of unregistered stacks."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.nddata import CCDData

from astroflat import FlatSolution
from astroflat.quality import stack_flatness, to_mmag
from astroflat.quality.flatness import block_background, remove_hot_pixels

SHAPE = (330, 390)


def true_flat():
    """Return a vignette with dust."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    flat = 1 - 0.04 * ((x - 200) ** 2 + (y - 190) ** 2) / 200**2
    for cy, cx, depth in ((120, 150, 0.06), (250, 300, 0.03), (200, 90, 0.04)):
        flat = flat * (1 - depth * (np.hypot(x - cx, y - cy) < 9))
    return flat


def night(flat, n=4, sky=400.0, seed=0):
    """Return noisy frames, each with another sky level and moving stars."""
    rng = np.random.default_rng(seed)
    frames = []
    for i in range(n):
        frame = np.full(SHAPE, sky * (1 + 0.3 * i))
        for _ in range(40):
            y, x = rng.integers(5, SHAPE[0] - 5), rng.integers(5, SHAPE[1] - 5)
            frame[y - 1 : y + 2, x - 1 : x + 2] += rng.uniform(100, 5000)
        frames.append(frame * flat + rng.normal(0, 2, SHAPE))
    return np.array(frames)


@pytest.fixture(scope='module')
def frames():
    """Return the night of the true flat."""
    return night(true_flat())


def test_slopes_tell_what_is_left(frames):
    """1 for nothing done, 0 for the true flat, -1 for the flat applied twice."""
    flat = true_flat()
    for applied, expected in ((None, 1.0), (flat, 0.0), (flat**2, -1.0)):
        result = stack_flatness(frames, flat, flat=applied)
        assert result['dust_slope'] == pytest.approx(expected, abs=0.06)
        # Relative departures of 4 % are not quite linear.
        assert result['vign_slope'] == pytest.approx(expected, abs=0.12)


def test_half_a_correction(frames):
    """The dust removed and the vignette left, or the reverse, show apart."""
    flat = true_flat()
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    vignette = 1 - 0.04 * ((x - 200) ** 2 + (y - 190) ** 2) / 200**2
    result = stack_flatness(frames, flat, flat=flat / vignette)
    assert abs(result['dust_slope']) < 0.06
    assert result['vign_slope'] == pytest.approx(1, abs=0.05)
    result = stack_flatness(frames, flat, flat=vignette)
    assert result['dust_slope'] == pytest.approx(1, abs=0.06)
    assert abs(result['vign_slope']) < 0.02


def test_background_scatter(frames):
    """The scatter is that of the blocks of the flat, and falls to the noise."""
    flat = true_flat()
    result = stack_flatness(frames, flat)
    inner = (flat / np.median(flat))[40:-40, 40:-40]
    blocks = block_background(inner)
    expected = 1.4826 * np.median(np.abs(blocks - np.median(blocks)))
    assert result['bkg_mad'] == pytest.approx(expected, rel=0.03)
    assert result['bkg_mmag'] == pytest.approx(to_mmag(result['bkg_mad']))
    assert result['n_frames'] == 4
    assert stack_flatness(frames, flat=flat)['bkg_mad'] < 0.02 * expected
    assert 'dust_slope' not in stack_flatness(frames)


def test_solution_with_gradient_and_bias(frames):
    """A solution brings its gradient; a bias is subtracted first."""
    flat = true_flat()
    ramp = np.linspace(0, 150, SHAPE[1])[None] * np.ones((SHAPE[0], 1))
    solution = FlatSolution(
        CCDData(flat.astype('f4'), unit=''), gradient=CCDData(ramp, unit='adu')
    )
    seen = frames + ramp + 1000
    good = stack_flatness(seen, flat, flat=solution, bias=1000.0)
    assert good['bkg_mad'] < 1e-3
    assert stack_flatness(seen, flat, flat=solution)['bkg_mad'] > 0.005
    given = stack_flatness(seen, flat, flat=flat, gradient=ramp, bias=1000.0)
    assert given['bkg_mad'] == pytest.approx(good['bkg_mad'], rel=1e-2)


def test_bad_pixels(frames):
    """NaN and masked pixels change little, hot pixels are cleaned."""
    flat = true_flat()
    expected = stack_flatness(frames, flat)
    broken = frames.copy()
    broken[:, 100:104, 200:204] = np.nan
    broken[1, 10:20, 10:20] = np.nan
    result = stack_flatness(broken, flat)
    for name, value in expected.items():
        assert result[name] == pytest.approx(value, rel=0.03)
    mask = np.zeros(SHAPE, bool)
    mask[100:104, 200:204] = True
    masked = [CCDData(f, unit='adu', mask=mask) for f in np.nan_to_num(broken, nan=1e6)]
    assert stack_flatness(masked[1:], flat)['dust_slope'] == pytest.approx(
        expected['dust_slope'], rel=0.05
    )


def test_hot_pixels_are_cleaned():
    """A hot pixel becomes like its neighbours, the sky stays as it is."""
    sky = np.random.default_rng(0).normal(300, 2, (100, 120))
    hot = sky.copy()
    hot[10:90:10, 10:110:10] += 500
    clean = remove_hot_pixels(hot)
    assert np.abs(clean - sky)[10:90:10, 10:110:10].max() < 10
    assert np.count_nonzero(clean != hot) == 80


def test_wrong_input(frames):
    """Small frames, other shapes and a dark sky are refused with the remedy."""
    with pytest.raises(ValueError, match='box='):
        stack_flatness(frames[:, :100])
    with pytest.raises(ValueError, match='truth has the shape'):
        stack_flatness(frames, np.ones((10, 10)))
    with pytest.raises(ValueError, match='bias='):
        stack_flatness(frames - 5000)
    small = stack_flatness(frames[:, :100, :100], np.ones((100, 100)), border=4, box=8)
    assert np.isnan(small['dust_slope'])
    assert np.isnan(small['vign_slope'])
