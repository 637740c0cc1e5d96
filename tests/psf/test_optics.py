# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of images by wave optics against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from astropy import units as u
from scipy.special import j1

from astroflat.psf import (
    defocus_kernel,
    noll_to_nm,
    simulate_field,
    zernike,
    zernike_psf,
)

DIAMETER, WAVELENGTH = 0.2, 550.0
# lambda / D in arcseconds.
RESOLUTION = math.degrees(WAVELENGTH * 1e-9 / DIAMETER) * 3600
OPTICS = {'pupil_diameter': DIAMETER, 'wavelength': WAVELENGTH}


def make(size, waves, *, samples, **options):
    """Make an image with a number of pixels per lambda / D."""
    scale = RESOLUTION / samples
    return zernike_psf(size, waves, **OPTICS, pixel_scale=scale, **options)


def width(line):
    """Return the full width at half maximum of a profile, interpolated."""
    above = np.flatnonzero(line > line.max() / 2)
    first, last = above[0], above[-1]
    half = line.max() / 2
    left = first - (line[first] - half) / (line[first] - line[first - 1])
    right = last + (line[last] - half) / (line[last] - line[last + 1])
    return right - left


def test_noll_order():
    """The first 15 polynomials have the orders of Noll's table."""
    expected = [(0, 0), (1, 1), (1, -1), (2, 0), (2, -2), (2, 2), (3, -1), (3, 1)]
    expected += [(3, -3), (3, 3), (4, 0), (4, 2), (4, -2), (4, 4), (4, -4)]
    assert [noll_to_nm(j) for j in range(1, 16)] == expected
    with pytest.raises(ValueError, match='j must be'):
        noll_to_nm(0)


def test_zernikes_are_orthonormal():
    """Over the pupil they have the rms 1 and no products."""
    # Exact nodes: Gauss-Legendre in the square of the radius, even in the angle.
    points, weights = np.polynomial.legendre.leggauss(12)
    rho = np.sqrt((points + 1) / 2)[:, None]
    theta = 2 * np.pi * np.arange(32) / 32
    weights = np.repeat(weights[:, None] / 2 / 32, 32, axis=1)
    values = np.stack(
        [(zernike(j, rho, theta=theta) + 0 * theta).ravel() for j in range(1, 23)]
    )
    products = (values * weights.ravel()) @ values.T
    assert np.abs(products - np.eye(22)).max() < 1e-12


@pytest.mark.parametrize(
    ('j', 'form'),
    [
        (2, lambda x, y: 2 * x),
        (3, lambda x, y: 2 * y),
        (4, lambda x, y: math.sqrt(3) * (2 * (x * x + y * y) - 1)),
        (5, lambda x, y: math.sqrt(6) * 2 * x * y),
        (6, lambda x, y: math.sqrt(6) * (x * x - y * y)),
        (7, lambda x, y: math.sqrt(8) * (3 * (x * x + y * y) - 2) * y),
        (8, lambda x, y: math.sqrt(8) * (3 * (x * x + y * y) - 2) * x),
    ],
)
def test_low_orders(j, form):
    """The low orders are what they are called."""
    x, y = np.random.default_rng(1).uniform(-1, 1, (2, 50))
    found = zernike(j, np.hypot(x, y), theta=np.arctan2(y, x))
    assert np.allclose(found, form(x, y), atol=1e-12)


def test_airy():
    """Without aberrations the image is Airy's, and 1.029 lambda / D wide."""
    samples = 20.0
    image = make(201, {}, samples=samples)
    line = image[100] / image.max()
    assert width(line) / samples == pytest.approx(1.029, rel=2e-3)
    x = np.pi * (np.arange(201) - 100) / samples
    airy = np.ones_like(x)
    airy[x != 0] = (2 * j1(x[x != 0]) / x[x != 0]) ** 2
    assert np.abs(line - airy).max() < 1e-3


def test_obstruction():
    """The image of a ring is the square of a difference of two Airy amplitudes."""
    samples, ratio = 12.0, 0.4
    line = make(121, {}, samples=samples, obstruction=ratio)[60]
    x = np.pi * (np.arange(121) - 60) / samples
    x[60] = 1e-9
    amplitude = 2 * j1(x) / x - ratio**2 * 2 * j1(ratio * x) / (ratio * x)
    expected = (amplitude / (1 - ratio**2)) ** 2
    assert np.abs(line / line.max() - expected).max() < 3e-3


@pytest.mark.parametrize('scale', [0.2, 0.5, 1.3])
def test_arcseconds_per_pixel(scale):
    """The second moment of a long exposure does not depend on the pixels."""
    wide = zernike_psf(
        2 * round(12 / scale) + 1, {}, **OPTICS, pixel_scale=scale, seeing=4.0
    )
    middle = wide.shape[0] // 2
    # The width of pixels adds in quadrature, about.
    found = width(wide[middle]) * scale
    expected = math.hypot(4.0, 0.5 * RESOLUTION)
    pixel = 0.5 * scale**2 / expected
    assert found == pytest.approx(expected + pixel, rel=0.04)


@pytest.mark.parametrize('j', range(4, 12))
@pytest.mark.parametrize('rms', [0.02, 0.05])
def test_strehl(j, rms):
    """The peak falls as Maréchal says, for each of the aberrations."""
    samples = 10.0
    ratio = make(81, {j: rms}, samples=samples).max()
    ratio /= make(81, {}, samples=samples).max()
    assert ratio == pytest.approx(math.exp(-((2 * math.pi * rms) ** 2)), rel=0.015)


@pytest.mark.parametrize(('j', 'axis'), [(2, 1), (3, 0)])
def test_tilt_moves(j, axis):
    """A tilt moves the image by 4 a lambda / D to the positive side."""
    samples, waves = 8.0, 0.55
    image = make(121, {j: waves}, samples=samples)
    still = make(121, {}, samples=samples)
    shift = round(4 * waves * samples)
    assert abs(4 * waves * samples - shift) < 0.5
    peak = np.unravel_index(image.argmax(), image.shape)
    assert peak[axis] == 60 + shift
    assert peak[1 - axis] == 60
    # The same form, moved by 17.6 pixels.
    k = np.fft.fftfreq(121)
    phase = np.exp(-2j * np.pi * k * 4 * waves * samples)
    phase = phase[:, None] if axis == 0 else phase
    moved = np.fft.ifft2(np.fft.fft2(still) * phase).real
    near = np.s_[30:95, 30:95]
    assert np.abs(moved[near] - image[near]).max() < 0.01 * still.max()


def test_defocus_is_a_disc():
    """Far out of focus the image is that of geometry."""
    waves, samples = 2.0, 1.0
    image = make(81, {4: waves}, samples=samples, obstruction=0.3)
    # The slope at the edge of the pupil is 4 sqrt(3) a over its radius.
    radius = 4 * math.sqrt(3) * waves * 2 * samples
    disc = defocus_kernel(2 * radius, obstruction=0.3, size=81)
    y, x = np.indices(image.shape) - 40
    r = np.hypot(x, y)
    # Diffraction draws rings; what is near the edge and the hole does not count.
    for low, high in ((11, 16), (16, 21), (21, 26)):
        ring = (r >= low) & (r < high)
        assert image[ring].sum() == pytest.approx(disc[ring].sum(), rel=0.2)
    assert image[r > radius + 4].sum() < 0.03
    assert image[r < 5].sum() < 0.02


def test_coma_points_outwards_and_conserves_the_centroid_slope():
    """The tail of coma lies on the side that its sign says."""
    plus = make(121, {8: 0.3}, samples=6.0)
    minus = make(121, {8: -0.3}, samples=6.0)
    assert np.allclose(plus, minus[:, ::-1], atol=1e-12)
    assert np.allclose(plus, plus[::-1], atol=1e-12)
    other = make(121, {7: 0.3}, samples=6.0)
    assert np.allclose(other, plus.T, atol=1e-12)


def test_units_and_sequences():
    """Quantities and lists give the same as numbers and dictionaries."""
    plain = zernike_psf(21, {4: 0.1, 6: 0.2}, **OPTICS, pixel_scale=0.4)
    again = zernike_psf(
        21,
        {4: 55 * u.nm, 6: 0.11 * u.um},
        pupil_diameter=20 * u.cm,
        wavelength=0.55 * u.um,
        pixel_scale=(0.4 / 60) * u.arcmin,
    )
    assert np.allclose(plain, again, atol=1e-12)
    listed = zernike_psf((21, 21), [9, 0, 0, 0.1, 0, 0.2], **OPTICS, pixel_scale=0.4)
    assert np.array_equal(plain, listed)


def test_errors():
    """What cannot be is refused by name."""
    with pytest.raises(ValueError, match='pixel_scale'):
        zernike_psf(21, {}, **OPTICS, pixel_scale=0)
    with pytest.raises(ValueError, match='coefficient 4'):
        zernike_psf(21, {4: math.nan}, **OPTICS, pixel_scale=1)
    with pytest.raises(ValueError, match='1024'):
        zernike_psf(21, {4: 90.0}, **OPTICS, pixel_scale=1)
    with pytest.raises(ValueError, match='obstruction'):
        zernike_psf(21, {}, **OPTICS, pixel_scale=1, obstruction=1.0)


@pytest.fixture(scope='module')
def field():
    """Simulate a field with the aberrations of third order."""
    return simulate_field(
        (400, 600),
        **OPTICS,
        pixel_scale=0.9,
        seeing=2.0,
        coma=0.25,
        astigmatism=0.2,
        curvature=0.3,
        tilt=(0.1, 0.0),
        constant={7: 0.05, 11: 0.02},
    )


def test_coefficients_over_the_field(field):
    """Coma grows with the distance, astigmatism and defocus with its square."""
    half = math.hypot(400, 600) / 2
    dx, dy = 120.0, -90.0
    found = field.coefficients_at(299.5 + dx, 199.5 + dy)
    square = (dx * dx + dy * dy) / half**2
    assert found[8] == pytest.approx(0.25 * dx / half)
    assert found[7] == pytest.approx(0.25 * dy / half + 0.05)
    angle = math.atan2(dy, dx)
    assert found[6] == pytest.approx(0.2 * square * math.cos(2 * angle))
    assert found[5] == pytest.approx(0.2 * square * math.sin(2 * angle))
    assert found[4] == pytest.approx(0.3 * square + 0.1 * dx / half)
    assert found[11] == 0.02
    assert field.coefficients_at(299.5, 199.5) == {7: 0.05, 11: 0.02}


def test_field_grows_off_the_axis(field):
    """Stars are wider and longer in the corners; kernels agree with the map."""
    assert field.fwhm_at(599, 0) > 1.1 * field.fwhm_at(299.5, 199.5)
    assert field.ellipticity_at(0, 0) > field.ellipticity_at(299.5, 199.5) + 0.05
    kernel = field.kernel_at(100, 80, size=41)
    assert kernel.shape == (41, 41)
    from astroflat.psf import measure_kernel

    fit = measure_kernel(kernel)
    assert field.fwhm_at(100, 80) == pytest.approx(fit.fwhm, rel=0.03)
    assert field.ellipticity_at(100, 80) == pytest.approx(fit.ellipticity, abs=0.03)
