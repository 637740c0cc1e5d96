# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The arithmetic of PixInsight on our files, emulated.

PixInsight itself cannot be run here. Its ImageCalibration is emulated after
the source code that is published with it: of 2015 (mean of the pixels in the
open range of 0.00002 to 0.99998) and of 2020 and later (mean after cutting off
a twentieth of the pixels at either end); the result is truncated to [0, 1].
"""

from __future__ import annotations

import numpy as np
import pytest

import astroflat as af
from astroflat.io import read_image, write_flat

SHAPE = (60, 80)


def dusty(fraction):
    """Return a flat that is exactly 1 but for a part of its pixels."""
    rng = np.random.default_rng(9)
    flat = np.ones(SHAPE, np.float32)
    chosen = rng.permutation(flat.size)[: int(fraction * flat.size)]
    flat.flat[chosen] = rng.uniform(0.5, 0.98, chosen.size)
    return flat


def as_pixinsight(path):
    """Return an image as PixInsight holds it: 16 bits become 0 to 1."""
    data = read_image(path).data
    return data / 65535 if data.dtype == np.uint16 else data.astype(float)


def image_calibration(light, flat, *, year):
    """Return light / flat * s, and s, as ImageCalibration does it."""
    if year < 2020:
        inside = (flat > 0.00002) & (flat < 0.99998)
        s = flat[inside].mean()
    else:
        ordered = np.sort(flat, axis=None)
        cut = max(1, int(0.05 * flat.size))
        s = ordered[cut:-cut].mean()
    return np.clip(light / flat * s, 0, 1), s


@pytest.fixture
def light():
    """Return a frame on the scale of PixInsight."""
    return np.random.default_rng(10).uniform(0.01, 0.3, SHAPE)


@pytest.mark.parametrize('name', ['flat.tif', 'flat.xisf', 'flat.fits', 'flat16.tif'])
def test_pixelmath(tmp_path, light, name):
    """$T / flat is our correction: unity is 1.0 in every file."""
    flat = dusty(0.03)
    write_flat(flat, tmp_path / name, dtype='uint16' if '16' in name else 'float32')
    result = light / as_pixinsight(tmp_path / name)
    ours = af.DegradationModel(flat).correct(light)
    clean = flat == 1
    assert np.array_equal(result[clean], light[clean])
    assert np.allclose(result, ours, rtol=2e-5 if '16' in name else 1e-7)


@pytest.mark.parametrize('scale', [65535, 60000, 32768])
@pytest.mark.parametrize('fraction', [0.01, 0.04])
def test_image_calibration_with_little_dust(tmp_path, light, fraction, scale):
    """Below a twentieth of dust the scale factor is unity: clean pixels stay."""
    flat = dusty(fraction)
    write_flat(flat, tmp_path / 'flat.tif', dtype='uint16', scale=scale)
    result, s = image_calibration(
        light, as_pixinsight(tmp_path / 'flat.tif'), year=2026
    )
    assert s == pytest.approx(scale / 65535, rel=1e-12)
    ours = af.DegradationModel(flat).correct(light)
    assert np.allclose(result, ours, rtol=1e-4)


def test_image_calibration_with_much_dust(tmp_path, light):
    """Above a twentieth the whole frame is multiplied by a constant below 1."""
    flat = dusty(0.3)
    write_flat(flat, tmp_path / 'flat.tif', dtype='uint16')
    result, s = image_calibration(
        light, as_pixinsight(tmp_path / 'flat.tif'), year=2026
    )
    ordered = np.sort(flat, axis=None)[240:-240]
    assert s == pytest.approx(ordered.mean(), abs=1e-5)
    assert 0.9 < s < 0.96
    ours = af.DegradationModel(flat).correct(light)
    # One constant for all pixels: divide by it, or rescale the photometry.
    assert np.allclose(result / s, ours, rtol=1e-4)


def test_the_trap_of_old_versions(tmp_path, light):
    """Unity at 65535 is outside the old range: the factor is that of the dust."""
    flat = dusty(0.03)
    write_flat(flat, tmp_path / 'full.tif', dtype='uint16')
    _, s = image_calibration(light, as_pixinsight(tmp_path / 'full.tif'), year=2015)
    assert s == pytest.approx(flat[flat < 0.99998].mean(), abs=1e-4)
    assert s < 0.8
    # With room above unity all pixels count, and the factor is the mean.
    write_flat(flat, tmp_path / 'half.tif', dtype='uint16', scale=32768)
    half = as_pixinsight(tmp_path / 'half.tif')
    result, s = image_calibration(light, half, year=2015)
    assert s / half.max() == pytest.approx(flat.mean(), rel=1e-4)
    ours = af.DegradationModel(flat).correct(light)
    assert np.allclose(result / flat.mean(), ours, rtol=1e-4)


def test_truncation(tmp_path):
    """A saturated star in a mote is cut off at 1 there, and kept by us."""
    flat = dusty(0.01)
    light = np.full(SHAPE, 0.9)
    write_flat(flat, tmp_path / 'flat.xisf')
    result, _ = image_calibration(
        light, as_pixinsight(tmp_path / 'flat.xisf'), year=2026
    )
    ours = af.DegradationModel(flat).correct(light)
    assert result.max() == 1
    assert ours.max() > 1.5
