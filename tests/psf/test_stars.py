# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of measured stars and fields against simulated ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from astropy.nddata import CCDData
from hypothesis import given
from hypothesis import strategies as st

from astroflat.psf import (
    PSFField,
    TooFewStarsError,
    measure_field,
    measure_kernel,
    measure_stars,
    moffat_kernel,
    simulate_field,
)
from astroflat.psf._shapes import ellipse_of, matrix_of

SHAPE = (300, 400)


def paint(image, kernel_at, places, fluxes, reach=24):
    """Add stars to an image; the kernels come with their fraction of a pixel."""
    ny, nx = image.shape
    padded = np.pad(image, reach)
    for (x, y), flux in zip(places, fluxes, strict=True):
        column, row = round(x), round(y)
        kernel = kernel_at(x, y, 2 * reach + 1, (x - column, y - row))
        part = np.s_[row : row + 2 * reach + 1, column : column + 2 * reach + 1]
        padded[part] += flux * kernel
    return padded[reach : reach + ny, reach : reach + nx]


def moffat_at(fwhm, **shape):
    """Return what makes the same star everywhere."""
    return lambda x, y, size, offset: moffat_kernel(
        fwhm, size=size, offset=offset, **shape
    )


def scatter(n, rng, shape=SHAPE):
    """Return places and fluxes over two decades."""
    places = np.stack(
        [rng.uniform(4, shape[1] - 5, n), rng.uniform(4, shape[0] - 5, n)], axis=1
    )
    return places, 10 ** rng.uniform(3.6, 5.6, n)


@given(st.floats(0.5, 20), st.floats(0, 0.8), st.floats(-90, 89.9), st.floats(0.1, 10))
def test_ellipses_are_matrices(fwhm, ellipticity, theta, scale):
    """An ellipse comes back from its matrix, and scales with it."""
    found = ellipse_of(*(scale * part for part in matrix_of(fwhm, ellipticity, theta)))
    assert found[0] == pytest.approx(fwhm * math.sqrt(scale))
    assert found[1] == pytest.approx(ellipticity, abs=1e-6)
    if ellipticity > 0.01:
        turned = (found[2] - theta + 90) % 180 - 90
        assert abs(turned) < 1e-3


@pytest.mark.parametrize(
    ('fwhm', 'ellipticity', 'theta', 'beta'),
    [(1.5, 0.05, 20, 3.0), (2.5, 0.2, -40, 2.5), (4.0, 0.3, 80, 4.0)],
)
def test_stars_are_recovered(fwhm, ellipticity, theta, beta):
    """Width to 1 %, ellipticity to 0.01, angle to 2°, exponent to 6 %; places."""
    rng = np.random.default_rng(5)
    places, fluxes = scatter(60, rng)
    kernel = moffat_at(fwhm, beta=beta, ellipticity=ellipticity, theta=theta)
    image = paint(rng.normal(200, 4, SHAPE), kernel, places, fluxes)
    stars = measure_stars(image)
    assert len(stars) > 35
    assert np.median(stars['fwhm']) == pytest.approx(fwhm, rel=0.01)
    assert np.median(stars['ellipticity']) == pytest.approx(ellipticity, abs=0.01)
    if ellipticity > 0.1:
        assert np.median(stars['theta']) == pytest.approx(theta, abs=2)
    assert stars.meta['beta'] == pytest.approx(beta, rel=0.06)
    # Faint wings of stars count as noise too.
    assert 3.9 < stars.meta['noise'] < 5
    for star in stars[:20]:
        gap = np.hypot(*(places - [star['x'], star['y']]).T)
        assert gap.min() < 0.03
        assert star['flux'] == pytest.approx(fluxes[gap.argmin()], rel=0.1)
    # The errors that the fit states are those that are seen, where noise and not
    # the wings of others decides.
    faint = stars[len(stars) // 2 :]
    pulls = (faint['fwhm'] - fwhm) / faint['fwhm_err']
    assert 0.5 < np.median(np.abs(pulls)) / 0.6745 < 2.0


def test_wide_stars_on_a_gradient():
    """Stars of 9 pixels on a slope are found without being told their width."""
    rng = np.random.default_rng(2)
    shape = (500, 500)
    places, fluxes = scatter(25, rng, shape)
    sky = 300 + 0.3 * np.arange(500) + rng.normal(0, 3, shape)
    image = paint(sky, moffat_at(9.0), places, 10 * fluxes, reach=50)
    field = measure_field(image)
    assert field.fwhm == pytest.approx(9.0, rel=0.02)


def test_what_is_left_out():
    """Saturated, masked and close stars, hot pixels and edges do not count."""
    rng = np.random.default_rng(3)
    image = rng.normal(100, 2, SHAPE)
    kernel = moffat_at(3.0)
    good = [(60, 60), (150, 60), (240, 60), (330, 60), (60, 240)]
    cut, bad, pair, edge = (150, 150), (250, 150), [(330, 150), (335, 150)], (2, 200)
    places = [*good, cut, bad, *pair, edge]
    image = paint(image, kernel, places, [3e4] * 5 + [3e5, 3e4, 3e4, 3e4, 3e4])
    top = image[150, 150] * 0.4
    clipped = np.minimum(image, top)
    clipped[200, 300] += 4000
    mask = np.zeros(SHAPE, bool)
    mask[150, 250] = True
    header = {'SATURATE': float(top)}
    ccd = CCDData(clipped, unit='adu', mask=mask, meta=header)
    stars = measure_stars(ccd, fwhm=3.0)
    found = {(round(float(s['x'])), round(float(s['y']))) for s in stars}
    assert found == set(good)
    refused = stars.meta['refused']
    assert refused['saturated'] == 1
    assert refused['close to another'] == 2
    assert refused['sharper than a star'] == 1
    assert refused['at the edge'] == 1
    # Without the level in the header a flat top is seen.
    assert (
        measure_stars(clipped, mask=mask, fwhm=3.0).meta['refused']['flat-topped'] == 1
    )
    assert not mask[150, 150]


def test_input_is_not_modified():
    """Data, mask and header stay as they were; colours are averaged."""
    rng = np.random.default_rng(4)
    places, fluxes = scatter(20, rng)
    image = paint(rng.normal(100, 2, SHAPE), moffat_at(3.0), places, fluxes)
    ccd = CCDData(image.astype('f4'), unit='adu', meta={'A': 1})
    before = ccd.data.copy()
    stars = measure_stars(ccd)
    assert np.array_equal(before, ccd.data)
    assert ccd.meta == {'A': 1}
    colour = measure_stars(np.stack([ccd.data] * 3, axis=-1))
    assert np.allclose(colour['fwhm'], stars['fwhm'], rtol=1e-3)
    mask = np.zeros((*SHAPE, 3), bool)
    mask[..., 1] = ccd.data > 500
    planes = np.stack([ccd.data] * 3, axis=-1)
    assert len(measure_stars(planes, mask=mask)) < len(stars)


@pytest.fixture(scope='module')
def simulated():
    """Make an image of a field with coma, astigmatism and curvature."""
    field = simulate_field(
        (500, 700),
        pupil_diameter=0.2,
        wavelength=550,
        pixel_scale=0.8,
        obstruction=0.3,
        seeing=2.2,
        coma=0.3,
        astigmatism=0.12,
        curvature=0.25,
    )
    rng = np.random.default_rng(6)
    places, fluxes = scatter(90, rng, field.shape)
    # On whole pixels: these kernels have no offset.
    places = np.round(places)
    image = paint(
        rng.normal(100, 5, field.shape),
        lambda x, y, size, _: field.kernel_at(x, y, size=size),
        places,
        fluxes,
    )
    return field, image


def test_field_is_recovered(simulated):
    """The map is right to 4 % (rms) where a constant is wrong by 10 %."""
    truth, image = simulated
    found = measure_field(image)
    assert found.degree >= 2
    y, x = np.mgrid[0:499:9j, 0:699:9j]
    wide = truth.fwhm_at(x, y)
    constant = np.std(wide) / np.mean(wide)
    assert constant > 0.1
    assert np.sqrt(np.mean((found.fwhm_at(x, y) / wide - 1) ** 2)) < 0.04
    off = found.ellipticity_at(x, y) - truth.ellipticity_at(x, y)
    assert np.sqrt(np.mean(off**2)) < 0.03
    # In the corners stars are long; there the angle is known.
    for corner in ((20, 20), (680, 20), (680, 480)):
        angle = found.theta_at(*corner) - truth.theta_at(*corner)
        assert abs((angle + 90) % 180 - 90) < 8
    numbers = found.report.numbers
    assert found.report.verdict == 'accept'
    assert numbers['scatter_percent'] < 0.4 * numbers['scatter_of_constant_percent']
    profile = found.with_remainder(None).kernel_at(100, 400)
    assert measure_kernel(profile).fwhm == pytest.approx(found.fwhm_at(100, 400), 0.02)
    # With what stars have more, it is that of the stars.
    expected = measure_kernel(truth.kernel_at(100, 400, size=51)).fwhm
    kernel = found.kernel_at(100, 400)
    assert measure_kernel(kernel).fwhm == pytest.approx(expected, 0.04)


def test_grid_follows_what_polynomials_cannot():
    """Cells take up a step of the width; the polynomial alone does not."""
    rng = np.random.default_rng(7)
    x, y = rng.uniform(0, 400, 600), rng.uniform(0, 300, 600)
    truth = np.where(x < 200, 3.0, 3.6)
    stars = _table(x, y, truth * rng.normal(1, 0.01, 600))
    plain = measure_field(stars, degree=1)
    cells = measure_field(stars, degree=1, grid=(3, 8))
    places = (np.array([60.0, 170.0, 230.0, 340.0]), np.full(4, 150.0))
    expected = np.array([3.0, 3.0, 3.6, 3.6])
    off = [np.abs(f.fwhm_at(*places) - expected).max() for f in (plain, cells)]
    assert off[1] < 0.6 * off[0]
    assert cells.grid == (3, 8)


def _table(x, y, fwhm):
    """Return a table of round stars."""
    from astropy.table import Table

    n = len(x)
    columns = [x, y, fwhm, 0.01 * np.asarray(fwhm), np.zeros(n), np.zeros(n)]
    names = ['x', 'y', 'fwhm', 'fwhm_err', 'ellipticity', 'theta']
    return Table(columns, names=names, meta={'shape': list(SHAPE), 'beta': 3.0})


def test_outliers_and_degree():
    """Outliers are not used; a constant field gets a constant; errors are right."""
    rng = np.random.default_rng(8)
    x, y = rng.uniform(0, 400, 40), rng.uniform(0, 300, 40)
    widths = rng.normal(3.0, 0.03, 40)
    widths[:4] = 7.0
    field = measure_field(_table(x, y, widths))
    assert not field.table['used'][:4].any()
    assert field.table['used'][4:].all()
    assert field.fwhm == pytest.approx(3.0, rel=0.01)
    assert field.fwhm_err_at(200, 150) == pytest.approx(0.03 / 6, rel=0.6)
    # Outside of the stars the value at the edge holds.
    inside = x[4:].max()
    assert field.fwhm_at(1e5, 150) == field.fwhm_at(inside, 150)


def test_few_stars():
    """Too few stars are an error that says why; an explicit degree needs more."""
    with pytest.raises(TooFewStarsError, match='0 usable stars, but 3 are needed'):
        measure_field(np.random.default_rng(1).normal(100, 1, (80, 80)))
    x = np.array([10.0, 200, 300, 100])
    stars = _table(x, x[::-1] * 0.7, np.full(4, 3.0))
    assert measure_field(stars).degree == 0
    with pytest.raises(TooFewStarsError, match='12 are needed'):
        measure_field(stars, degree=2)
    with pytest.raises(ValueError, match='degree'):
        measure_field(stars, degree=7)
    with pytest.raises(ValueError, match='grid'):
        measure_field(stars, grid=(0, 2))
    del stars.meta['shape']
    with pytest.raises(ValueError, match='shape'):
        measure_field(stars)
    with pytest.raises(TypeError, match='beta'):
        measure_field(stars, beta=3)
    with pytest.raises(ValueError, match='min_snr'):
        measure_stars(np.ones((9, 9)), min_snr=0)


def test_things_that_are_no_stars():
    """Objects of all sizes are refused as stars; a little unlike, they are doubted."""
    rng = np.random.default_rng(9)
    x, y = rng.uniform(0, 400, 40), rng.uniform(0, 300, 40)
    with pytest.raises(TooFewStarsError, match='not alike'):
        measure_field(_table(x, y, rng.uniform(1.5, 6, 40)))
    field = measure_field(_table(x, y, 3 * rng.normal(1, 0.2, 40).clip(0.6, 1.4)))
    assert field.report.verdict == 'weak'


def test_empty_and_constant_images():
    """Images without anything give an empty table, not a crash."""
    for image in (np.zeros((50, 60)), np.full((50, 60), np.nan)):
        stars = measure_stars(image)
        assert len(stars) == 0
        assert stars['fwhm'].unit == 'pix'


def test_write_and_read(simulated, tmp_path):
    """A field comes back from its file, and other files are refused."""
    field = measure_field(simulated[1], degree=1, grid=(2, 3))
    path = tmp_path / 'psf.ecsv'
    field.write(path)
    again = PSFField.read(path)
    y, x = np.mgrid[0:499:5j, 0:699:5j]
    assert np.allclose(again.fwhm_at(x, y), field.fwhm_at(x, y), rtol=1e-12)
    assert again.beta == field.beta
    assert again.shape == field.shape
    with pytest.raises(FileExistsError):
        field.write(path)
    (tmp_path / 'other.ecsv').write_text('nothing')
    with pytest.raises(ValueError, match='table of stars'):
        PSFField.read(tmp_path / 'other.ecsv')


def test_write_and_read_of_optics(tmp_path):
    """A field of wave optics comes back with the profiles that it was measured by."""
    field = simulate_field(
        (200, 300),
        pupil_diameter=0.2,
        wavelength=550,
        pixel_scale=0.8,
        seeing=2.0,
        coma=0.2,
    )
    field.write(tmp_path / 'optics.ecsv')
    again = PSFField.read(tmp_path / 'optics.ecsv')
    y, x = np.mgrid[0:199:5j, 0:299:5j]
    assert np.allclose(again.fwhm_at(x, y), field.fwhm_at(x, y), rtol=1e-9)
    assert again.degree == field.degree
    table = field.table['x', 'y', 'fwhm']
    table.write(tmp_path / 'less.ecsv', format='ascii.ecsv')
    with pytest.raises(ValueError, match='no columns'):
        PSFField.read(tmp_path / 'less.ecsv')


@pytest.mark.parametrize('beta', [1.0, 0.5, 0, -1, np.nan, np.inf])
def test_exponents_of_no_profile(beta):
    """They are refused wherever they are given."""
    kernel = moffat_kernel(3.0)
    for function in (measure_stars, measure_kernel):
        with pytest.raises(ValueError, match='beta must be above 1'):
            function(kernel, beta=beta)
    with pytest.raises(ValueError, match='beta must be above 1'):
        moffat_kernel(3.0, beta=beta)


def test_plot(simulated):
    """The figure has the map and the whiskers of the stars and the field."""
    field = measure_field(simulated[1])
    figure = field.plot()
    left, right = figure.axes[:2]
    assert 'stars from others ± ' in left.get_title()
    used = int(np.count_nonzero(field.table['used']))
    assert len(right.collections[0].get_segments()) == used
    segments = np.array(right.collections[1].get_segments())
    lengths = np.hypot(*(segments[:, 1] - segments[:, 0]).T)
    middle = segments.mean(axis=1)
    expected = field.ellipticity_at(*middle.T)
    assert np.ptp(lengths / expected) < 1e-6 * (lengths / expected).mean()
    assert len(simulated[0].plot().axes) == 3
