# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The response of a detector from stars, against the truth."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import Table

import astroflat as af
from astroflat.degradation import simulate_night
from astroflat.quality import DetectionSettings, to_mmag
from astroflat.selfcal import star_flat

SHAPE = (400, 500)
Y, X = (
    a / n for a, n in zip(np.mgrid[-399:400:2, -499:500:2], (400, 500), strict=True)
)
BOWL = 1 + 0.04 * (X**2 + Y**2 - 0.66)
SLOPE = 1 + 0.02 * X - 0.01 * Y
TWISTED = 1 + 0.03 * X * Y**2 - 0.02 * X**3 + 0.03 * (X**2 - 0.3)


def photometry(
    seed, response, *, zeros=0.0, jitter=0.003, n=120, n_frames=16, reach=150
):
    """Return fluxes of stars on a detector with a response."""
    rng = np.random.default_rng(seed)
    star, frame = (a.ravel() for a in np.mgrid[:n, :n_frames])
    x0, y0 = rng.uniform(-80, 580, n), rng.uniform(-80, 480, n)
    dx, dy = rng.uniform(-reach, reach, (2, n_frames))
    x, y = x0[star] + dx[frame], y0[star] + dy[frame]
    inside = (x > 0) & (x < 499) & (y > 0) & (y < 399)
    star, frame, x, y = star[inside], frame[inside], x[inside], y[inside]
    flux = 10 ** rng.uniform(4, 6, n)[star]
    error = np.sqrt(flux + 200**2)
    flux = flux * response[np.rint(y).astype(int), np.rint(x).astype(int)]
    flux *= np.exp(rng.normal(0, zeros, n_frames))[frame]
    flux = flux * rng.normal(1, jitter, flux.size) + error * rng.normal(0, 1, flux.size)
    names = ('star', 'frame', 'x', 'y', 'flux', 'flux_err')
    return Table([star, frame, x, y, flux, error], names=names)


def error_mmag(flat, response):
    """Return the scatter of a flat about the true response."""
    ratio = flat / response
    return to_mmag(np.std(ratio / ratio.mean()))


@pytest.mark.parametrize(('name', 'response'), [('bowl', BOWL), ('twisted', TWISTED)])
def test_response(name, response):
    """A smooth response is found to 3 mmag, with an uncertainty that is right."""
    ratios = []
    for seed in range(3):
        solution = star_flat(photometry(seed, response, zeros=0.001), shape=SHAPE)
        error = error_mmag(solution.flat.data, response)
        assert error < 3
        ratios.append(error / solution.report.numbers['sigma_mmag'])
        assert solution.report.verdict == 'accept'
        assert solution.report.numbers['error_mmag'] == pytest.approx(
            error_mmag(1, response), abs=2
        )
    assert 0.4 < np.sqrt(np.mean(np.square(ratios))) < 2


def test_slope_needs_a_clear_night():
    """With zero points of their own, shifts do not determine a slope."""
    clear = star_flat(photometry(1, SLOPE, zeros=0.0), shape=SHAPE)
    assert error_mmag(clear.flat.data, SLOPE) < 3
    assert clear.report.numbers['undetermined'] == 0
    for options in ({'zero_points': 'free'}, {}):
        table = photometry(1, BOWL * SLOPE, zeros=0.05)
        solution = star_flat(table, shape=SHAPE, **options)
        assert solution.report.numbers['undetermined'] == 2
        assert solution.report.verdict == 'weak'
        assert solution.report.numbers['sigma_mmag'] > 30
        # The bowl is found, the slope is left alone.
        assert error_mmag(solution.flat.data, BOWL) < 3


@pytest.mark.parametrize('seed', [0, 2, 3])
def test_right_flat_is_left_alone(seed):
    """Where there is nothing to correct, the correction is 1, or nearly."""
    solution = star_flat(photometry(seed, np.ones(SHAPE)), shape=SHAPE)
    assert to_mmag(np.std(solution.flat.data)) < 2
    if solution.report.numbers['degree'] == 0:
        assert (solution.flat.data == 1).all()
        assert solution.report.numbers['held_out_ratio'] == 1
    assert (solution.flat.uncertainty.array > 0).all()


def test_outliers():
    """Variable stars and blends do not move the fit."""
    table = photometry(4, BOWL)
    table['flux'][::40] *= 1.3
    solution = star_flat(table, shape=SHAPE)
    assert error_mmag(solution.flat.data, BOWL) < 3
    assert solution.report.numbers['n_outliers'] > 0.5 * len(table) / 40


def test_flat_is_corrected():
    """A given flat is multiplied; what it carries is kept."""
    given = CCDData(
        (SLOPE**2).astype('f4'),
        unit='',
        mask=Y < -0.99,
        uncertainty=StdDevUncertainty(np.full(SHAPE, 0.001, 'f4')),
        meta={'FILTER': 'B'},
    )
    solution = star_flat(photometry(5, BOWL), given)
    good = ~given.mask
    ratio = (solution.flat.data / (BOWL * SLOPE**2))[good]
    assert to_mmag(np.std(ratio / ratio.mean())) < 3
    assert (solution.flat.data[given.mask] == 1).all()
    assert (solution.flat.uncertainty.array[good] > 0.0008).all()
    assert solution.flat.meta['FILTER'] == 'B'
    assert solution.stages['correction'].shape == SHAPE
    counts = CCDData(3e4 * SLOPE, unit='adu')
    again = star_flat(photometry(5, BOWL), af.FlatSolution(counts))
    assert np.mean(again.flat.data) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize('level', [3e4, 0.01])
def test_flat_in_counts(level):
    """It is divided by its mean, with and without a unit."""
    table = photometry(5, BOWL)
    wanted = star_flat(table, np.ones(SHAPE))
    found = star_flat(table, np.full(SHAPE, level))
    np.testing.assert_allclose(found.flat.data, wanted.flat.data, rtol=1e-6)


def test_frames():
    """From frames: scattered light in the flat is found to 3 mmag."""
    night = simulate_night(
        12,
        (320, 400),
        dither=120,
        sky=400,
        sky_drift=0.1,
        flat=np.float32(1 + 0.05 * (np.linspace(-1, 1, 400) ** 2 - 0.33))
        * np.ones((320, 1), 'f4'),
        aberration=0.0,
        density=3000,
        rng=3,
    )
    solution = star_flat(
        list(night),
        settings=DetectionSettings(fwhm=3.5),
        gain=night.camera.gain,
    )
    assert error_mmag(1, night.flat) > 12
    assert error_mmag(solution.flat.data, night.flat) < 4.5
    checked = star_flat(list(night), solution, settings=DetectionSettings(fwhm=3.5))
    assert checked.report.numbers['error_mmag'] < 3


@pytest.mark.parametrize(
    ('change', 'error', 'text'),
    [
        ({'zero_points': 'all'}, ValueError, 'zero_points'),
        ({'max_degree': 40}, ValueError, 'max_degree'),
        ({'shape': None}, ValueError, 'shape must be given'),
        ({'gain': 1.5}, TypeError, 'belong to frames'),
    ],
)
def test_errors(change, error, text):
    """Errors name what is wrong."""
    with pytest.raises(error, match=text):
        star_flat(photometry(0, BOWL, n=10), **{'shape': SHAPE, **change})


def test_useless_tables():
    """Tables without what is needed are refused."""
    table = photometry(0, BOWL, n=30)
    with pytest.raises(ValueError, match='no column'):
        star_flat(table['star', 'frame', 'flux'], shape=SHAPE)
    with pytest.raises(ValueError, match='stars are in two frames'):
        star_flat(table[table['frame'] == 0], shape=SHAPE)
    with pytest.raises(ValueError, match='stay where they are'):
        star_flat(photometry(0, BOWL, n=30, reach=0.5), shape=SHAPE)
