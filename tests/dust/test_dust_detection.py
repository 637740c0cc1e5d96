# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the detection of dust against simulated truth."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData

import astroflat as af
from astroflat.dust import DustDetection, match_catalogues

SHAPE = (300, 360)
# Centre (y, x), radius, transmission of discs; a hole makes a donut.
OBJECTS = [
    (60, 60, 12, 0.95, 0),
    (70, 250, 20, 0.93, 8),
    (200, 80, 4, 0.9, 0),
    (220, 220, 30, 0.96, 12),
    (150, 320, 6, 0.85, 0),
    (260, 300, 2.5, 0.7, 0),
]


def simulate(noise=0.004, seed=0, vignetting=0.25):
    """Return a vignetted flat with dust, and its mask."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    flat = 1 - vignetting * ((y - 150) ** 2 + (x - 180) ** 2) / 230**2
    dust = np.zeros(SHAPE, bool)
    for cy, cx, radius, value, hole in OBJECTS:
        distance = np.hypot(y - cy, x - cx)
        flat = np.where((distance < radius) & (distance >= hole), flat * value, flat)
        dust |= distance < radius
    flat = flat * np.random.default_rng(seed).normal(1, noise, SHAPE)
    return 30_000 * flat, dust


def matched(catalogue):
    """Return how many of the true objects a catalogue has."""
    found = 0
    for cy, cx, radius, *_ in OBJECTS:
        distance = np.hypot(catalogue['x'].value - cx, catalogue['y'].value - cy)
        found += bool((distance < max(radius, 3)).any())
    return found


@pytest.mark.parametrize('seed', range(3))
def test_all_are_found_and_nothing_else(seed):
    """Discs, donuts and specks over a vignette are found, without inventions."""
    image, dust = simulate(seed=seed)
    detection = af.detect_dust(image)
    assert matched(detection.catalogue) == len(OBJECTS)
    assert len(detection) == len(OBJECTS)
    assert (detection.mask & dust).sum() / dust.sum() > 0.9
    assert (detection.mask & ~dust).sum() / detection.mask.sum() < 0.35


def test_catalogue():
    """Depth, kind, area and labels are those of the objects."""
    detection = af.detect_dust(simulate()[0])
    table = detection.catalogue
    assert table['x'].unit == u.pix
    for i, (cy, cx, radius, value, hole) in enumerate(OBJECTS):
        distance = np.hypot(table['x'].value - cx, table['y'].value - cy)
        row = table[np.argmin(distance)]
        if not hole and radius > 3:
            assert row['depth'] == pytest.approx(1 - value, rel=0.25), i
        if radius >= 12:
            assert row['radius'].value == pytest.approx(radius, rel=0.2)
        assert detection.labels[cy, cx - int(radius * 0.7)] == row['id']
    assert (detection.probability[detection.mask] > 0.5).all()
    assert (detection.probability[~detection.mask] <= 0.5).all()


@pytest.mark.parametrize('kind', ['flat', 'vignette'])
def test_clean_images_stay_clean(kind):
    """No dust is invented in noise, with or without vignetting."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    light = np.ones(SHAPE)
    if kind == 'vignette':
        light -= 0.4 * ((y - 120) ** 2 + (x - 200) ** 2) / 250**2
    for seed in range(3):
        image = np.random.default_rng(seed).poisson(3000 * light)
        assert len(af.detect_dust(image)) == 0


def test_scale_changes_nothing():
    """The unit of the light does not matter."""
    image, _ = simulate()
    expected = af.detect_dust(image)
    for factor in (1e-4, 8.0):
        assert np.array_equal(af.detect_dust(image * factor).mask, expected.mask)


@pytest.mark.parametrize('turns', [1, 2])
def test_rotation(turns):
    """A turned image gives the turned objects."""
    image, _ = simulate()
    expected = np.rot90(af.detect_dust(image).mask, turns)
    turned = af.detect_dust(np.rot90(image, turns)).mask
    assert (turned ^ expected).sum() < 0.25 * expected.sum()


@pytest.mark.parametrize('bits', [8, 12])
def test_quantised_image(bits):
    """The steps of integers are no dust, and hide none of 7 % and more."""
    image, _ = simulate(noise=0.002)
    image = np.rint(image / image.max() * 0.8 * 2**bits).astype('u2')
    detection = af.detect_dust(image)
    assert matched(detection.catalogue) >= len(OBJECTS) - 2
    assert len(detection) <= len(OBJECTS)


def test_bright_defects():
    """Bright defects have a negative depth, and polarity leaves them out."""
    image, _ = simulate()
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image[np.hypot(y - 120, x - 150) < 5] *= 1.1
    table = af.detect_dust(image).catalogue
    distance = np.hypot(table['x'].value - 150, table['y'].value - 120)
    assert table['depth'][np.argmin(distance)] < -0.05
    dark = af.detect_dust(image, polarity='dark').catalogue
    assert (dark['depth'] > 0).all()
    bright = af.detect_dust(image, polarity='bright').catalogue
    assert (bright['depth'] < 0).all()
    assert len(bright) >= 1


def test_bad_pixels_are_ignored():
    """Masked and NaN pixels are never dust and change nothing elsewhere."""
    image, _ = simulate()
    mask = np.zeros(SHAPE, bool)
    mask[120:124, 100:104] = True
    broken = image.copy()
    broken[mask] = 0
    broken[30, 200] = np.nan
    detection = af.detect_dust(CCDData(broken, unit='adu', mask=mask))
    assert not detection.mask[mask].any()
    assert not detection.mask[30, 200]
    assert matched(detection.catalogue) == len(OBJECTS)
    assert len(detection) == len(OBJECTS)


def test_fibre_specks_and_dust_under_dust():
    """A faint bent fibre is one object, and so are specks of any shape and place."""
    y, x = np.mgrid[:260, :320].astype(float)
    image = np.ones(y.shape)
    image[np.hypot(x - 150, y - 120) < 25] *= 0.95
    image[np.hypot(x - 160, y - 125) < 2.5] *= 0.8
    image[np.hypot(x - 40, y - 140) < 1.2] *= 0.7
    image[np.hypot((x - 60) / 6, (y - 90) / 2.5) < 1] *= 0.6
    image[np.hypot(x - 110, y + 1) < 5] *= 0.85
    bend = 40 + (x - 160) ** 2 / 150
    image[(np.abs(y - bend) < 1.5) & (np.abs(x - 160) < 28)] *= 0.97
    image *= np.random.default_rng(5).normal(1, 0.005, image.shape)
    table = af.detect_dust(image).catalogue
    assert len(table) == 6
    fibre = table[table['kind'] == 'fibre']
    assert len(fibre) == 1
    assert fibre['depth'][0] == pytest.approx(0.03, abs=0.008)
    for cx, cy, radius in [(150, 120, 25), (160, 125, 2.5), (60, 90, 3.9)]:
        away = np.hypot(table['x'].value - cx, table['y'].value - cy)
        same = np.abs(np.log(table['radius'].value / radius)) < 0.3
        assert (away[same] < 0.5 + 0.08 * radius).any()


def test_sensitivity():
    """A higher sensitivity finds at least as much."""
    image, _ = simulate(noise=0.02)
    counts = [len(af.detect_dust(image, sensitivity=s)) for s in (0.3, 1, 3)]
    assert counts == sorted(counts)


def test_own_detector():
    """A detector of one's own is called with data and bad pixels."""

    class Threshold:
        """Everything darker than a limit."""

        def detect(self, data, bad):
            """Return the dust."""
            return DustDetection.from_mask((data < 5) & ~bad, data)

    image = np.full((20, 30), 10.0)
    image[3:5, 4:7] = 1
    detection = af.detect_dust(image, detector=Threshold())
    assert detection.mask.sum() == 6
    assert detection.catalogue['depth'][0] == pytest.approx(0.9)


@pytest.mark.parametrize(
    ('kwargs', 'match'),
    [
        ({'sensitivity': 0}, 'sensitivity must be positive'),
        ({'min_depth': 1}, 'min_depth'),
        ({'max_radius': -1}, 'max_radius'),
        ({'polarity': 'grey'}, 'polarity'),
        ({'detector': 'magic'}, 'detector'),
    ],
)
def test_wrong_arguments(kwargs, match):
    """Wrong arguments are named."""
    with pytest.raises(ValueError, match=match):
        af.detect_dust(np.ones((20, 20)), **kwargs)


def test_dark_image():
    """An image without light is refused with a remedy."""
    with pytest.raises(ValueError, match='bias'):
        af.detect_dust(np.zeros((40, 40)))


@pytest.mark.parametrize('shape', [(1, 1), (3, 50), (16, 16)])
def test_small_images(shape):
    """Small images have no dust and do not fail."""
    image = np.random.default_rng(0).poisson(1000, shape)
    assert len(af.detect_dust(image)) == 0


def test_from_mask():
    """A mask becomes objects with their depths."""
    image = np.full((30, 40), 100.0) + np.random.default_rng(0).normal(0, 1, (30, 40))
    mask = np.zeros(image.shape, bool)
    mask[5:8, 5:8] = mask[20:22, 10:30] = True
    image[mask] *= 0.8
    table = DustDetection.from_mask(mask, image).catalogue
    assert np.allclose(table['depth'], 0.2, atol=0.02)
    assert table['kind'].tolist() == ['speck', 'fibre']
    assert table['area'].value.tolist() == [9, 40]


def test_matching():
    """Objects of two catalogues are matched once, the nearest first."""
    image, _ = simulate()
    one = af.detect_dust(image).catalogue
    pairs = match_catalogues(one, one[::-1])
    assert len(pairs) == len(one)
    assert (pairs.sum(axis=1) == len(one) - 1).all()
