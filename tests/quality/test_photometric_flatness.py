# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of repeated photometry against flats with known scatter."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.nddata import CCDData
from astropy.wcs import WCS

from astroflat import FlatSolution
from astroflat.quality import photometric_flatness
from astroflat.quality._inject import add_star, star_profile
from astroflat.quality._two_way import excess_scatter, fit_two_way

SHAPE = (240, 300)
GAIN = 2.0
N_FRAMES = 7


def ripples(amplitude=0.03, period=45.0):
    """Return a flat whose magnitude is a wave along both axes."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return 1 + amplitude * np.sin(2 * np.pi * x / period) * np.cos(
        2 * np.pi * y / period
    )


def night(flat, *, seed=0, sky=20.0, n_stars=45, offsets=None):
    """Return dithered frames in ADU with the offsets."""
    rng = np.random.default_rng(seed)
    if offsets is None:
        offsets = np.round(rng.uniform(-25, 25, (N_FRAMES, 2)), 2)
    places = rng.uniform(35, np.array(SHAPE) - 35, (n_stars, 2))
    fluxes = 10 ** rng.uniform(4.3, 5.5, n_stars)
    frames = np.full((len(offsets), *SHAPE), sky)
    for k, (frame, offset) in enumerate(zip(frames, offsets, strict=True)):
        for place, flux in zip(places, fluxes, strict=True):
            star = star_profile(None, 3.0, tuple(place + offset))
            # Each frame has another transparency.
            add_star(frame, *star, flux * (1 - 0.05 * k))
    frames = rng.poisson(frames * flat * GAIN) / GAIN
    return (frames + rng.normal(0, 2, frames.shape)).astype('f4'), offsets


@pytest.fixture(scope='module')
def rippled():
    """Return a night through the rippled flat."""
    return night(ripples())


def test_scatter_of_the_flat_is_found(rippled):
    """The residuals follow the flat under the stars; the truth removes them."""
    frames, offsets = rippled
    before = photometric_flatness(frames, offsets=offsets, gain=GAIN)
    table = before.table[before.table['used']]
    row, column = np.rint(table['y']).astype(int), np.rint(table['x']).astype(int)
    flat = -2500 * np.log10(ripples()[row, column])
    # The aperture averages the ripples over its area: a little below 1.
    slope = np.polyfit(flat, table['residual_mmag'], 1)[0]
    assert 0.6 < slope < 1
    assert np.corrcoef(flat, table['residual_mmag'])[0, 1] > 0.8
    assert before.flatness_mmag == pytest.approx(0.85 * np.std(flat), rel=0.25)
    after = photometric_flatness(
        frames, ripples(), offsets=offsets, catalogue=before.stars, gain=GAIN
    )
    assert after.numbers['flatness_mmag_low'] == 0
    assert after.flatness_mmag < 1.5
    assert before.numbers['flatness_mmag_low'] > after.numbers['flatness_mmag_high']
    assert before.numbers['photon_noise']


def test_photon_noise_is_subtracted(rippled):
    """With the gain the scatter of a perfect flat is noise; without, a limit."""
    frames, offsets = rippled
    known = photometric_flatness(frames, ripples(), offsets=offsets, gain=GAIN)
    limit = photometric_flatness(frames, ripples(), offsets=offsets)
    assert known.numbers['scatter_mmag'] == pytest.approx(
        known.numbers['noise_mmag'], rel=0.25
    )
    assert limit.flatness_mmag > known.flatness_mmag + 2
    assert not limit.numbers['photon_noise']


def test_a_useless_flat_does_not_help(rippled):
    """A flat with the wrong phase makes the photometry worse."""
    frames, offsets = rippled
    before = photometric_flatness(frames, offsets=offsets, gain=GAIN)
    worse = photometric_flatness(frames, 2 - ripples(), offsets=offsets, gain=GAIN)
    assert worse.flatness_mmag > 1.6 * before.flatness_mmag
    constant = FlatSolution(CCDData(np.full(SHAPE, 1.0, 'f4'), unit=''))
    same = photometric_flatness(frames, constant, offsets=offsets, gain=GAIN)
    assert same.flatness_mmag == pytest.approx(before.flatness_mmag, rel=1e-3)


def test_offsets_are_found(rippled):
    """Shifts found from the stars, and from the WCS, are those that were made."""
    frames, offsets = rippled
    given = photometric_flatness(frames, offsets=offsets, gain=GAIN)
    found = photometric_flatness(frames, gain=GAIN)
    shifts = found.offsets - found.offsets[0]
    assert np.allclose(shifts, offsets - offsets[0], atol=0.1)
    assert found.flatness_mmag == pytest.approx(given.flatness_mmag, rel=0.02)
    ccds = []
    for frame, (dy, dx) in zip(frames, offsets, strict=True):
        wcs = WCS(naxis=2)
        wcs.wcs.crpix = 150 + dx, 120 + dy
        wcs.wcs.cdelt = -1e-4, 1e-4
        wcs.wcs.crval = 30, 20
        wcs.wcs.ctype = 'RA---TAN', 'DEC--TAN'
        ccds.append(CCDData(frame, unit='adu', wcs=wcs))
    by_wcs = photometric_flatness(ccds, gain=GAIN)
    assert np.allclose(by_wcs.offsets, offsets - offsets[0], atol=0.01)
    assert by_wcs.numbers['n_stars'] == given.numbers['n_stars']


def test_variable_star_and_bad_pixels(rippled):
    """An outlier is not used and does not move the result; a mask is heeded."""
    frames, offsets = rippled
    before = photometric_flatness(frames, offsets=offsets, gain=GAIN)
    changed = frames.copy()
    star = before.stars[0]
    for frame, (dy, dx), factor in zip(
        changed, offsets, np.linspace(0, 2, N_FRAMES), strict=True
    ):
        y, x = star['y'] + dy, star['x'] + dx
        add_star(frame, *star_profile(None, 3.0, (y, x)), factor * 1e5)
    result = photometric_flatness(changed, offsets=offsets, gain=GAIN)
    assert result.numbers['n_outliers'] > before.numbers['n_outliers']
    assert result.flatness_mmag == pytest.approx(before.flatness_mmag, rel=0.1)
    mask = np.zeros(SHAPE, bool)
    mask[:, :150] = True
    masked = [CCDData(frame, unit='adu', mask=mask) for frame in frames]
    half = photometric_flatness(masked, offsets=offsets, gain=GAIN)
    assert half.table['x'].min() > 150


def test_saturated_stars_are_left_out(rippled):
    """The limit is on the raw pixels."""
    frames, offsets = rippled
    all_stars = photometric_flatness(frames, offsets=offsets)
    faint = photometric_flatness(frames, offsets=offsets, saturation=5000)
    assert faint.numbers['n_stars'] < all_stars.numbers['n_stars']


def test_map_and_travel(rippled):
    """The map shows where stars are too faint; the travel is that of the dither."""
    frames, offsets = rippled
    result = photometric_flatness(frames, offsets=offsets, gain=GAIN)
    cells = result.map(6)
    assert cells.shape == (5, 6)
    assert np.nanmax(np.abs(cells)) > 2
    spread = np.hypot(*(offsets[:, None] - offsets[None]).T).max()
    assert 0.5 * spread < result.numbers['travel_pixels'] <= spread + 0.1


def test_wrong_input(rippled):
    """Missing stars and offsets of a wrong shape are refused with the remedy."""
    frames, _ = rippled
    empty = np.random.default_rng(0).normal(100, 3, (3, 80, 80))
    with pytest.raises(ValueError, match='frame 0 cannot be aligned'):
        photometric_flatness(empty)
    with pytest.raises(ValueError, match='min_snr'):
        photometric_flatness(empty, offsets=np.zeros((3, 2)))
    with pytest.raises(ValueError, match='shape'):
        photometric_flatness(frames, offsets=np.zeros((2, 2)))
    with pytest.raises(ValueError, match='gain'):
        photometric_flatness(frames, gain=-1)


def test_two_way_fit_is_least_squares():
    """Rows plus columns, compared with a dense solution."""
    rng = np.random.default_rng(0)
    star, frame = (a.ravel() for a in np.mgrid[:9, :6])
    keep = rng.uniform(size=54) < 0.8
    star, frame = star[keep], frame[keep]
    value = rng.normal(size=9)[star] * 100 + rng.normal(size=6)[frame] * 10
    noise = rng.uniform(0.5, 2, star.size)
    value += rng.normal(0, noise)
    fit = fit_two_way(value, noise, star, frame)
    design = np.zeros((star.size, 15))
    design[np.arange(star.size), star] = 1
    design[np.arange(star.size), 9 + frame] = 1
    weight = fit.used / np.sqrt(noise**2 + fit.excess**2)
    solution = np.linalg.lstsq(design * weight[:, None], value * weight, rcond=None)[0]
    assert np.allclose(fit.residual, value - design @ solution, atol=1e-3)


def test_excess_is_unbiased():
    """The excess that was put in comes out, also with few frames and outliers."""
    rng = np.random.default_rng(4)
    found = []
    for _ in range(20):
        star, frame = (a.ravel() for a in np.mgrid[:40, :5])
        noise = rng.uniform(2, 6, star.size)
        value = rng.normal(0, np.hypot(noise, 5.0))
        value += 300 * star - 20 * frame
        value[rng.integers(0, 200, 4)] += 200
        found.append(fit_two_way(value, noise, star, frame).excess)
    assert np.mean(found) == pytest.approx(5, abs=0.35)
    noise = np.full(4000, 2.0)
    residual = rng.normal(0, np.hypot(2, 3), 4000)
    assert excess_scatter(residual, noise, np.ones(4000)) == pytest.approx(3, abs=0.2)
    assert excess_scatter(0.5 * residual, noise, np.ones(4000)) == 0
