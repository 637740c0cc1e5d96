# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of finding and measuring sources against photutils and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from astropy.nddata import CCDData

from astroflat.quality import (
    DetectionSettings,
    faintest_flux,
    find_sources,
    measure_fwhm,
)
from astroflat.quality._aperture import measure_fluxes
from astroflat.quality._background import subtract_background
from astroflat.quality._inject import add_star, star_profile

SIGMA = 3 / 2.3548200450309493


def starfield(places, fluxes, *, shape=(160, 200), noise=1.0, fwhm=3.0, seed=0):
    """Return Gaussian stars on a noisy sky of level 100."""
    image = np.random.default_rng(seed).normal(100, noise, shape)
    for place, flux in zip(places, fluxes, strict=True):
        add_star(image, *star_profile(None, fwhm, place), flux)
    return image


PLACES = [(30.0, 40.3), (80.6, 60.0), (120.2, 150.7), (50.5, 170.1)]
FLUXES = [1000.0, 500.0, 2000.0, 300.0]


def test_places_and_fluxes():
    """Stars are found at their places with the flux of the aperture."""
    image = starfield(PLACES, FLUXES, noise=0.05)
    sources = find_sources(image, threshold=5)
    assert np.all(np.diff(sources['strength']) < 0)
    order = np.argsort(FLUXES)[::-1]
    true = np.array(PLACES)[order]
    assert np.abs(sources['y'] - true[:, 0]).max() < 0.05
    assert np.abs(sources['x'] - true[:, 1]).max() < 0.05
    radius = DetectionSettings().radius
    inside = 1 - math.exp(-(radius**2) / 2 / SIGMA**2)
    expected = inside * np.sort(FLUXES)[::-1]
    assert np.allclose(sources['flux'], expected, rtol=0.01)


def test_same_as_photutils():
    """On a flat sky the stars are those of DAOStarFinder."""
    from photutils.detection import DAOStarFinder

    image = starfield(PLACES, FLUXES)
    clean, noise = subtract_background(image, np.zeros(image.shape, bool))
    found = DAOStarFinder(
        threshold=4 * noise, fwhm=3, sigma_radius=3, min_separation=3
    ).find_stars(clean)
    sources = find_sources(
        image, settings=DetectionSettings(border=0), threshold=4 * noise
    )
    expected = np.sort(np.asarray(found[found.colnames[1]]))
    assert np.allclose(np.sort(sources['x']), expected, atol=1e-9)


@pytest.mark.parametrize('nsigma', [3.0, 4.0, 6.0, 10.0])
def test_strength_is_the_highest_threshold(nsigma):
    """A list cut by strength is the list found at that threshold."""
    image = starfield(PLACES, FLUXES)
    deep = find_sources(image, threshold=2.5)
    direct = find_sources(image, threshold=nsigma)
    chosen = deep[deep['strength'] >= nsigma]
    assert len(chosen) == len(direct)
    assert np.allclose(chosen['x'], direct['x'])


def test_default_threshold():
    """The default is a multiple of the noise, which is stated."""
    image = starfield([], [], noise=3.0)
    sources = find_sources(image, settings=DetectionSettings(nsigma=7))
    assert sources.meta['noise'] == pytest.approx(3, rel=0.03)
    assert sources.meta['threshold'] == 7 * sources.meta['noise']
    assert len(sources) == 0
    fixed = find_sources(image, settings=DetectionSettings(threshold=2.0))
    assert fixed.meta['threshold'] == 2


@pytest.mark.parametrize('method', ['dao', 'segmentation'])
def test_faintest_flux(method):
    """A star of that flux, without noise, just reaches the threshold."""
    settings = DetectionSettings(method=method, n_pixels=1)
    flux = faintest_flux(5.0, settings)
    for factor, n in ((0.9, 0), (1.15, 1)):
        image = starfield([(40.0, 40.0)], [factor * flux], shape=(80, 80), noise=0)
        assert len(find_sources(image, settings=settings, threshold=5.0)) == n


def test_noise_gives_few_sources():
    """Five standard deviations of the filtered noise are hardly ever reached."""
    image = starfield([], [], shape=(500, 500))
    for method in ('dao', 'segmentation'):
        settings = DetectionSettings(method=method, n_pixels=1)
        assert len(find_sources(image, settings=settings)) <= 2
        # One in 741 filter widths is above three of them.
        many = find_sources(image, settings=settings, threshold=3.0)
        assert 20 < len(many) < 600


def test_segmentation_finds_what_is_not_a_star():
    """An extended object is one source, and a blend is taken apart."""
    y, x = np.mgrid[:120, :160]
    image = np.random.default_rng(0).normal(100, 1, (120, 160))
    image += 30 * np.exp(-((x - 50) ** 2 / 150 + (y - 60) ** 2 / 40))
    for place in (110, 117):
        image += 60 * np.exp(-((x - place) ** 2 + (y - 60) ** 2) / 2 / SIGMA**2)
    settings = DetectionSettings(method='segmentation')
    sources = find_sources(image, settings=settings)
    sources.sort('x')
    assert np.allclose(sources['x'], [50, 110, 117], atol=0.7)


def test_bad_pixels_and_edges():
    """Nothing is found on bad pixels and the border; a cut flux is NaN."""
    image = starfield(PLACES, FLUXES)
    image[30, 40] = np.nan
    mask = np.zeros(image.shape, bool)
    mask[84:86, 60] = True
    sources = find_sources(CCDData(image, unit='adu', mask=mask))
    assert len(sources) == 3
    near = np.hypot(sources['y'] - 80.6, sources['x'] - 60) < 1
    assert np.isnan(sources['flux'][near]).all()
    assert np.isfinite(sources['flux'][~near]).all()
    wide = find_sources(image, settings=DetectionSettings(border=60))
    assert len(wide) == 1


@pytest.mark.parametrize('shape', [(1, 1), (3, 5), (12, 12), (9, 300)])
def test_small_and_empty_images(shape):
    """Images without anything in them give an empty table."""
    assert len(find_sources(np.full(shape, 7.0))) == 0
    assert len(find_sources(np.full(shape, np.nan))) == 0
    noise = np.random.default_rng(0).normal(size=shape)
    assert find_sources(noise, threshold=50).colnames[:2] == ['x', 'y']


def test_background_is_taken_off():
    """A gradient and a block without good pixels do not disturb the noise."""
    y, x = np.mgrid[:256, :256]
    image = np.random.default_rng(0).normal(0, 2, (256, 256)) + x + 0.5 * y
    bad = np.zeros(image.shape, bool)
    bad[:100, :100] = True
    image[bad] = np.nan
    clean, noise = subtract_background(image, bad)
    assert noise == pytest.approx(2, rel=0.05)
    assert abs(np.mean(clean[~bad])) < 0.3
    assert np.all(clean[bad] == 0)


def test_flux_error_is_the_scatter():
    """The stated error is the scatter of many measurements."""
    rng = np.random.default_rng(3)
    image = rng.normal(50, 4, (400, 400))
    places = np.stack(np.meshgrid(*2 * [np.arange(20, 390, 24)]), -1).reshape(-1, 2)
    result = measure_fluxes(
        image, places[:, 1], places[:, 0], radius=4.5, annulus=(7.5, 13.5)
    )
    assert np.std(result['flux']) == pytest.approx(
        np.mean(result['flux_err']), rel=0.12
    )
    assert abs(np.mean(result['flux'])) < 4 * np.std(result['flux']) / 15
    lit = measure_fluxes(
        np.full((60, 60), 10.0) + starfield([(30, 30)], [800], shape=(60, 60), noise=0),
        [30],
        [30],
        radius=4.5,
        annulus=(7.5, 13.5),
        gain=2.0,
    )
    assert lit['flux_err'][0] == pytest.approx(math.sqrt(lit['flux'][0] / 2), rel=1e-6)


def test_aperture_that_leaves_the_image():
    """A circle over the edge, or with a bad pixel, has no flux."""
    image = np.ones((40, 40))
    mask = np.zeros((40, 40), bool)
    mask[20, 22] = True
    result = measure_fluxes(
        image,
        [3.0, 20.0, 12.0],
        [20.0, 20.0, 20.0],
        radius=4.5,
        annulus=(6, 9),
        mask=mask,
    )
    assert np.isnan(result['flux']).tolist() == [True, True, False]
    assert result['flux'][2] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize('fwhm', [2.0, 3.3, 6.0, 11.0])
def test_fwhm(fwhm):
    """The width is found without knowing it, hot pixels or not."""
    places = [(30 + 45 * i, 40 + 50 * j) for i in range(5) for j in range(5)]
    fluxes = 800 * fwhm**2 * np.linspace(0.2, 3, 25)
    image = starfield(places, fluxes, shape=(260, 300), noise=2, fwhm=fwhm)
    rng = np.random.default_rng(1)
    image[rng.integers(0, 260, 60), rng.integers(0, 300, 60)] += 3000
    assert measure_fwhm(image) == pytest.approx(fwhm, abs=0.15)


def test_fwhm_without_stars():
    """No stars, no width."""
    assert math.isnan(measure_fwhm(np.random.default_rng(0).normal(size=(80, 80))))
    assert math.isnan(measure_fwhm(np.ones((5, 5))))


def test_settings_are_checked():
    """Impossible settings are refused by name."""
    with pytest.raises(ValueError, match='fwhm'):
        DetectionSettings(fwhm=0)
    with pytest.raises(ValueError, match='method'):
        DetectionSettings(method='eye')
    assert DetectionSettings(aperture=2.0).annulus[0] == 7.5
