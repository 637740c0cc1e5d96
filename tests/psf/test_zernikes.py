# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Aberrations fitted to simulated stars, against what they were simulated with."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.nddata import CCDData

from astroflat.psf import (
    TooFewStarsError,
    fit_zernikes,
    measure_zernikes,
    simulate_field,
    zernike_psf,
)
from astroflat.psf._wavefront import Wavefront
from astroflat.psf.optics import Telescope

OPTICS = {
    'pupil_diameter': 0.2,
    'wavelength': 550,
    'pixel_scale': 0.8,
    'obstruction': 0.3,
}
AIR = 2.2
TERMS = (4, 5, 6, 7, 8)


def star(coefficients, rng, *, flux=1e5, size=27, seeing=AIR, noise=5.0):
    """Return a star with the noise of its photons, and the noise."""
    image = 200 + flux * zernike_psf(size, coefficients, seeing=seeing, **OPTICS)
    sigma = np.sqrt(image + noise**2)
    return rng.normal(image, sigma), sigma


def pulls(fit, truth):
    """Return errors over standard deviations, with the sign that fits better."""
    both = [
        np.array([(f.coefficients[j] - truth.get(j, 0)) / f.errors[j] for j in TERMS])
        for f in (fit, fit.mirrored())
    ]
    return min(both, key=lambda p: np.abs(p).max())


def test_image_and_derivatives():
    """The image is that of the simulator; derivatives are differences of images."""
    telescope = Telescope(0.2, 550, 0.8, 0.3, AIR)
    terms, at = (4, 5, 7, 11), np.array([0.4, 0.1, 0.2, 0.03])
    model = Wavefront(telescope, terms, (31, 29), dict.fromkeys(terms, 0.4))
    image = model(at, (0, 0), AIR)[0]
    expected = zernike_psf(
        (31, 29), dict(zip(terms, at, strict=True)), seeing=AIR, **OPTICS
    )
    np.testing.assert_allclose(image / image.sum(), expected, atol=5e-5)
    assert 0.97 < image.sum() < 1
    point = np.array([*at, 0.3, -0.2, AIR])
    step = 1e-5

    def value(p):
        return model(p[:4], (p[4], p[5]), p[6])

    for k, derivative in enumerate(value(point)[1]):
        move = step * (np.arange(7) == k)
        numeric = (value(point + move)[0] - value(point - move)[0]) / (2 * step)
        np.testing.assert_allclose(derivative, numeric, atol=1e-6 * abs(numeric).max())


@pytest.mark.parametrize('j', [4, 5, 6, 11])
def test_sign_of_even_terms_is_in_no_image(j):
    """A wavefront and its mirror image make the same star, to rounding."""
    truth = {j: 0.3, 5: 0.1, 7: 0.15, 10: 0.05}
    other = {i: v if i in (7, 10) else -v for i, v in truth.items()}
    images = [zernike_psf(31, c, **OPTICS) for c in (truth, other)]
    np.testing.assert_allclose(images[0], images[1], atol=1e-12)
    coma = {**truth, 7: -0.15}
    assert abs(zernike_psf(31, coma, **OPTICS) - images[0]).max() > 1e-3


def test_errors_are_those_of_the_noise():
    """Coefficients differ from the truth by as much as their errors say."""
    rng = np.random.default_rng(7)
    found = []
    for _ in range(10):
        truth = dict(zip(TERMS, rng.normal(0, 0.1, 5), strict=True))
        truth[4] = rng.uniform(0.2, 0.7)
        data, sigma = star(truth, rng, flux=10 ** rng.uniform(4.5, 5.3))
        fit = fit_zernikes(data, seeing=AIR, sigma=sigma, **OPTICS)
        found.append(pulls(fit, truth))
        assert abs(fit.chi2 - 1) < 0.2
    found = np.array(found)
    assert np.abs(found).max() < 4.5
    # Near 0 the error of an even term is an upper limit.
    assert 0.65 < np.sqrt(np.mean(found**2)) < 1.25


def test_seeing_is_found():
    """Out of focus the air is told from the telescope, and costs precision."""
    rng = np.random.default_rng(3)
    truth = {4: 0.5, 5: 0.1, 8: -0.12}
    data, sigma = star(truth, rng, flux=3e5)
    free = fit_zernikes(data, sigma=sigma, **OPTICS)
    known = fit_zernikes(data, sigma=sigma, seeing=AIR, **OPTICS)
    assert free.seeing == pytest.approx(AIR, abs=4 * free.seeing_err)
    assert free.seeing_err < 0.02
    assert np.abs(pulls(free, truth)).max() < 4
    assert free.errors[4] > 1.05 * known.errors[4]
    assert known.seeing_err == 0
    # Of the whole image; the stamp holds 98.5 % of it.
    assert known.flux == pytest.approx(3e5 / 0.985, rel=0.005)
    assert (known.x, known.y) == pytest.approx((13, 13), abs=0.05)
    assert known.sky == pytest.approx(200, abs=1.5)


def test_unknown_noise_and_bad_pixels():
    """Errors come from the residuals; masked and infinite pixels do not count."""
    rng = np.random.default_rng(5)
    truth = {4: 0.4, 7: 0.1}
    image = 5e4 * zernike_psf(27, truth, seeing=AIR, **OPTICS)
    data = rng.normal(image, 3.0)
    sound = fit_zernikes(data, seeing=AIR, **OPTICS)
    given = fit_zernikes(data, seeing=AIR, sigma=3.0, **OPTICS)
    assert sound.errors[4] == pytest.approx(given.errors[4], rel=0.15)
    data[3, 4], data[10, 10], data[15, 14] = np.nan, np.inf, 1e6
    mask = np.zeros(data.shape, bool)
    mask[15, 14] = True
    fit = fit_zernikes(data, seeing=AIR, mask=mask, **OPTICS)
    assert np.abs(pulls(fit, truth)).max() < 4.5
    assert fit.misfit < 0.02


def test_rings():
    """Half a wave or more out of focus, with a bright ring, the start is right."""
    rng = np.random.default_rng(2)
    truth = {4: 1.2, 5: 0.12, 7: -0.1}
    data, sigma = star(truth, rng, flux=4e5, size=41, seeing=1.2)
    fit = fit_zernikes(data, sigma=sigma, seeing=1.2, **OPTICS)
    assert fit.coefficients[4] == pytest.approx(1.2, abs=0.01)
    assert np.abs(pulls(fit, truth)).max() < 4.5


def test_two_fits_as_good_as_each_other():
    """A faint star near the focus has two answers; the other one is told."""
    rng = np.random.default_rng(1)
    for _ in range(6):
        data, sigma = star({4: 0.15, 5: 0.08, 7: 0.05}, rng, flux=8e3)
        fit = fit_zernikes(data, seeing=AIR, sigma=sigma, **OPTICS)
        if fit.rival:
            break
    assert set(fit.rival) == set(TERMS)
    apart = [abs(abs(fit.rival[j]) - abs(fit.coefficients[j])) for j in TERMS]
    assert max(apart) > 0.005
    data, sigma = star({4: 0.6, 5: 0.1}, rng, flux=3e5)
    assert not fit_zernikes(data, seeing=AIR, sigma=sigma, **OPTICS).rival


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({'terms': (1, 4)}, 'terms must be different numbers from 4 on'),
        ({'terms': (4, 4)}, 'terms must be different'),
        ({'terms': ()}, 'terms must be different'),
        ({'sigma': 0.0}, 'sigma must be positive'),
        ({'pixel_scale': -1}, 'pixel_scale must be positive'),
        ({'mask': np.ones((27, 27), bool)}, '0 good pixels'),
    ],
)
def test_wrong_arguments(change, reason):
    """Errors name the argument."""
    data = 1e4 * zernike_psf(27, {4: 0.3}, seeing=AIR, **OPTICS)
    with pytest.raises(ValueError, match=reason):
        fit_zernikes(data, **{**OPTICS, **change})


def test_no_star():
    """A stamp without a star, or of three axes, is refused."""
    with pytest.raises(ValueError, match='there is no star'):
        fit_zernikes(np.zeros((21, 21)), **OPTICS)
    with pytest.raises(ValueError, match='stamp must be a 2-D image'):
        fit_zernikes(np.zeros((3, 21, 21)), **OPTICS)


def field_image(truth, rng, n, *, low=4.3, high=5.5):
    """Return an image with stars at random places."""
    image = np.full(truth.shape, 300.0)
    ny, nx = truth.shape
    for x, y, flux in zip(
        rng.integers(20, nx - 20, n),
        rng.integers(20, ny - 20, n),
        10 ** rng.uniform(low, high, n),
        strict=True,
    ):
        star = truth.kernel_at(x, y, size=35)
        image[y - 17 : y + 18, x - 17 : x + 18] += flux * star
    return rng.normal(image, np.sqrt(image + 30))


def off(field, truth):
    """Return the rms of the errors over the image, term by term."""
    x, y = (
        np.linspace(25, truth.shape[1] - 25, 7),
        np.linspace(25, truth.shape[0] - 25, 5),
    )
    pairs = [
        (field.coefficients_at(a, b), truth.coefficients_at(a, b)) for a in x for b in y
    ]
    errors = [[found[j] - true.get(j, 0) for j in TERMS] for found, true in pairs]
    return np.sqrt(np.mean(np.square(errors), axis=0))


@pytest.fixture(scope='module')
def field():
    """Measure a field that is out of focus, with all aberrations of third order."""
    aberrations = {'coma': 0.3, 'astigmatism': 0.2, 'curvature': 0.2}
    truth = simulate_field(
        (300, 420), seeing=AIR, constant={4: 0.3}, **aberrations, **OPTICS
    )
    image = field_image(truth, np.random.default_rng(4), 28)
    options = {'fwhm': 4.0, 'n_stars': 22, 'gain': 1.0, 'seeing': AIR, 'n_threads': 1}
    return measure_zernikes(image, **options, **OPTICS), truth


def test_field(field):
    """Polynomials of the place follow the truth to a hundredth of a wave."""
    field, truth = field
    assert field.terms == TERMS
    assert off(field, truth).max() < 0.012
    table = field.table
    assert {'x', 'y', 'z4', 'z4_err', 'flux', 'misfit', 'used'} <= set(table.colnames)
    assert field.report.verdict == 'accept'
    assert field.report.numbers['z4_rms_waves'] == pytest.approx(0.37, abs=0.05)
    ratio = [
        (row[f'z{j}'] - truth.coefficients_at(row['x'], row['y']).get(j, 0))
        / row[f'z{j}_err']
        for row in table
        for j in TERMS
    ]
    assert 0.7 < 1.4826 * np.median(np.abs(ratio)) < 1.4
    stated = np.array(
        [
            list(field.errors_at(x, y).values())
            for x in (40, 210, 380)
            for y in (40, 260)
        ]
    )
    assert stated.max() < 0.02
    assert 0.4 < (off(field, truth) / stated.mean(axis=0)).mean() < 1.8


def test_field_makes_stars(field):
    """The field has the kernels and the widths of the truth."""
    field, truth = field
    for x, y in ((30, 30), (210, 150), (390, 270)):
        ours, theirs = (f.kernel_at(x, y, size=25) for f in (field, truth))
        assert abs(ours - theirs).max() < 0.06 * theirs.max()
        assert field.psf.fwhm_at(x, y) == pytest.approx(truth.fwhm_at(x, y), rel=0.02)
    other = field.mirrored()
    np.testing.assert_allclose(
        other.kernel_at(30, 30, size=25), field.kernel_at(30, 30, size=25), atol=1e-12
    )
    assert other.coefficients_at(30, 30)[4] == -field.coefficients_at(30, 30)[4]
    assert other.coefficients_at(30, 30)[7] == field.coefficients_at(30, 30)[7]
    assert np.array_equal(other.table['z4'], -field.table['z4'])


def test_field_is_drawn(field):
    """A map for the defocus, marks for astigmatism and coma."""
    pytest.importorskip('matplotlib')
    figure = field[0].plot()
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles[0] == '4: defocus'
    assert titles[1].startswith('5, 6: astigmatism')
    assert titles[2].startswith('7, 8: coma')
    arrows = figure.axes[2].collections[-1]
    # Coma points away from the axis.
    places = arrows.get_offsets() - np.array([209.5, 149.5])
    along = places[:, 0] * arrows.U + places[:, 1] * arrows.V
    far = np.hypot(*places.T) > 60
    assert (along[far] > 0).all()


def test_tilted_detector_passes_through_the_focus():
    """Where the focus is crossed, defocus changes its sign, and no star says so."""
    truth = simulate_field((300, 420), seeing=AIR, tilt=(0.6, 0.0), **OPTICS)
    image = field_image(truth, np.random.default_rng(8), 26)
    options = {'degree': 1, 'terms': (4,), 'seeing': AIR, 'fwhm': 4.0, 'gain': 1.0}
    found = measure_zernikes(image, n_threads=1, **options, **OPTICS)
    values = [found.coefficients_at(x, 150)[4] for x in (30, 390)]
    true = [truth.coefficients_at(x, 150)[4] for x in (30, 390)]
    assert np.sign(values[0]) == -np.sign(values[1])
    assert np.abs(values) == pytest.approx(np.abs(true), abs=0.03)


def test_too_few_stars():
    """Without stars the reason is told, and what can be done."""
    rng = np.random.default_rng(0)
    image = rng.normal(100, 1, (120, 150))
    with pytest.raises(TooFewStarsError, match='0 usable stars, but 3 are needed'):
        measure_zernikes(image, fwhm=3.0, seeing=AIR, **OPTICS)
    image[40, 60] += 5000
    image[80:84, 20:30] += 800
    with pytest.raises(TooFewStarsError, match=r'usable stars|is the image of a star'):
        measure_zernikes(image, fwhm=3.0, **OPTICS)


@pytest.mark.parametrize(
    ('option', 'value', 'reason'),
    [
        ('degree', 4, 'degree must be a whole number from 0 to 3'),
        ('gain', 0.0, 'gain must be positive'),
        ('terms', (2, 4), 'terms must be different numbers from 4 on'),
    ],
)
def test_wrong_options(option, value, reason):
    """Errors name the option and the value."""
    with pytest.raises(ValueError, match=reason):
        measure_zernikes(np.zeros((50, 50)), **{option: value}, **OPTICS)


def test_mask_of_the_stamp():
    """Pixels that a masked array or an image masks do not count."""
    star = 200 + 1e5 * zernike_psf(31, {4: 0.4, 8: -0.15}, seeing=2.0, **OPTICS)
    mask = np.zeros(star.shape, bool)
    mask[3, 4] = mask[15, 16] = True
    spoilt = np.where(mask, 1e7, star)
    options = {'terms': (4, 8), 'seeing': 2.0, **OPTICS}
    for stamp in (
        np.ma.MaskedArray(spoilt, mask),
        CCDData(spoilt, unit='adu', mask=mask),
    ):
        found = fit_zernikes(stamp, **options).coefficients
        assert found[4] == pytest.approx(0.4, abs=0.01)
        assert found[8] == pytest.approx(-0.15, abs=0.01)
    with pytest.raises(ValueError, match='stamp must be a 2-D image'):
        fit_zernikes(star[0], **options)
    with pytest.raises(ValueError, match='mask has the shape'):
        fit_zernikes(star, mask=mask[0], **options)
