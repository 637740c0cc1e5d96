# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of measured images of stars against simulated lopsided ones."""

from __future__ import annotations

import numpy as np
import pytest
from photutils.centroids import centroid_com
from scipy.ndimage import fourier_shift

import astroflat as af
from astroflat.neural._restore_filter import make_kernel
from astroflat.psf import (
    PSFField,
    measure_field,
    measure_stars,
    moffat_kernel,
    simulate_field,
    zernike_psf,
)
from astroflat.psf._remainder import spline_basis

SHAPE, HALF, SKY, READNOISE = (420, 420), 30, 200.0, 4.0
OPTICS = {'pupil_diameter': 0.2, 'wavelength': 550, 'pixel_scale': 0.6}


def place_of(image, fwhm, start):
    """Return where photutils finds the centroid (x, y) within two widths of it."""
    v, u = np.indices(image.shape)
    for _ in range(8):
        far = np.hypot(v - start[1], u - start[0]) > 2 * fwhm
        start = centroid_com(image, mask=far)
    return start


def centred(kernel):
    """Bring the centroid of a kernel to its middle, and its sum to 1."""
    middle = (kernel.shape[0] - 1) / 2
    for _ in range(3):
        x, y = place_of(kernel, make_kernel(kernel).fwhm, (middle, middle))
        spectrum = fourier_shift(np.fft.fft2(kernel), (middle - y, middle - x))
        kernel = np.fft.ifft2(spectrum).real
    return kernel / kernel.sum()


def expose(kernel_at, n=5, seed=1, shape=SHAPE):
    """Stars on a loose grid over two decades, and an exposure of them."""
    rng = np.random.default_rng(seed)
    rows, columns = (np.linspace(40, side - 41, n) for side in shape)
    places = np.stack(np.meshgrid(columns, rows)).reshape(2, -1)
    x, y = places + rng.uniform(-6, 6, places.shape)
    flux = 10.0 ** rng.uniform(4.3, 6, x.size)
    light = np.zeros(shape)
    for xi, yi, f in zip(x, y, flux, strict=True):
        j, i = round(xi), round(yi)
        spectrum = fourier_shift(np.fft.fft2(kernel_at(xi, yi)), (yi - i, xi - j))
        part = np.s_[i - HALF : i + HALF + 1, j - HALF : j + HALF + 1]
        light[part] += f * np.fft.ifft2(spectrum).real
    noise = READNOISE * rng.standard_normal(shape)
    image = rng.poisson(np.maximum(light, 0) + SKY) + noise
    return x, y, flux, image.astype('f4')


@pytest.fixture(scope='module')
def lopsided():
    """A telescope out of collimation and out of focus, and a frame of its stars."""
    kernel = zernike_psf(
        2 * HALF + 1, {4: 0.25, 8: 0.2}, seeing=1.8, obstruction=0.3, **OPTICS
    )
    kernel = centred(kernel)
    return kernel, *expose(lambda x, y: kernel)


@pytest.fixture(scope='module')
def field(lopsided):
    """What is measured in it."""
    return measure_field(lopsided[4])


def apart(kernel, truth):
    """Part of the light that is elsewhere (%)."""
    return 50 * float(np.abs(kernel - truth).sum())


def test_lopsided_stars_are_measured(lopsided, field):
    """The kernel is right to 3 % of the light; the profile alone misses 10 %."""
    kernel = lopsided[0]
    size = kernel.shape[0]
    found = field.kernel_at(200, 200, size=size)
    profile = measure_field(lopsided[4], profile='moffat')
    assert apart(found, kernel) < 3.0
    assert apart(profile.kernel_at(200, 200, size=size), kernel) > 8.0
    # The centroid is in the middle; nothing is below 0.
    place = place_of(found, make_kernel(found).fwhm, (HALF, HALF))
    assert place == pytest.approx((HALF, HALF), abs=0.05)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1)
    assert make_kernel(found).fwhm == pytest.approx(make_kernel(kernel).fwhm, rel=0.02)
    # Here stars are the same everywhere.
    assert not field.varies
    assert np.array_equal(found, field.kernel_at(20, 400, size=size))
    # Widths are those of the profile.
    assert field.fwhm_at(100, 100) == profile.fwhm_at(100, 100)


def test_report_says_what_was_used(lopsided, field):
    """It says how much of the light is elsewhere, and how lopsided stars are."""
    kernel, numbers = lopsided[0], field.report.numbers
    assert field.profile == 'measured'
    assert 'measured profile' in repr(field)
    truth = apart(kernel[::-1, ::-1], kernel)
    assert truth > 10
    assert numbers['asymmetry_percent'] == pytest.approx(truth, rel=0.15)
    expected = apart(field.with_remainder(None).kernel_at(0, 0, size=61), kernel)
    assert numbers['remainder_percent'] == pytest.approx(expected, rel=0.3)
    assert numbers['remainder_sigma'] > 20
    assert numbers['n_measured'] > 15


def test_stars_stay_where_they_are(lopsided):
    """Restored by default: round, as narrow as asked, in place, without rings."""
    kernel, x, y, flux, image = lopsided
    restorer = af.Restorer(device='cpu')
    known = {'gain': 1.0, 'readnoise': READNOISE, 'offset': 0.0, 'views': 1}
    found = restorer.restore(image, full_output=True, **known)
    numbers = found.report.numbers
    assert numbers['profile'] == 'measured'
    assert numbers['shift_px'] <= 0.05
    assert abs(numbers['fwhm_percent']) < 5
    assert abs(numbers['flux_percent']) < 1
    old = measure_field(image, profile='moffat')
    before = restorer.restore(image, psf=old, **known)
    wide = make_kernel(kernel).fwhm
    rows, rings = [], []
    for i in np.flatnonzero(flux > 2e5):
        here = x[i], y[i]
        places = [place_of(im - SKY, wide, here) for im in (image, found.image)]
        v, u = np.indices(image.shape)
        near = np.hypot(v - here[1], u - here[0]) < 2 * wide
        top = found.image[near].max() - SKY
        rings.append([(im[near].min() - SKY) / top for im in (found.image, before)])
        light = (found.image[near] - SKY).sum() / flux[i]
        rows.append(
            (*np.subtract(places[0], here), *np.subtract(places[1], here), light)
        )
    rows = np.array(rows)
    # As photutils finds them: before, after, and in truth.
    assert np.abs(np.median(rows[:, 2:4] - rows[:, :2], axis=0)).max() < 0.05
    assert np.abs(np.median(rows[:, 2:4], axis=0)).max() < 0.05
    assert np.median(rows[:, 4]) == pytest.approx(1, abs=0.01)
    ring, was = np.median(rings, axis=0)
    assert ring > -0.015
    assert ring > 0.5 * was


def test_what_changes_over_the_field():
    """Coma that grows off the axis is followed."""
    truth = simulate_field((500, 600), coma=0.45, seeing=2.0, **OPTICS)
    image = expose(
        lambda x, y: truth.kernel_at(x, y, size=2 * HALF + 1), n=7, shape=truth.shape
    )[3]
    found = measure_field(image)
    assert found.varies
    assert found.report.numbers['remainder_degree'] == 1
    profile = found.with_remainder(None)
    for place in ((60, 60), (540, 60), (540, 440)):
        kernel = centred(truth.kernel_at(*place, size=61))
        off = apart(found.kernel_at(*place, size=61), kernel)
        assert off < 0.6 * apart(profile.kernel_at(*place, size=61), kernel)
    # Outside of the stars the nearest edge holds.
    assert np.isfinite(found.kernel_at(-1e4, 1e4)).all()


@pytest.mark.parametrize(
    ('fwhm', 'shape', 'seed'),
    [(2.5, {}, 1), (4.0, {'beta': 4.0, 'ellipticity': 0.2, 'theta': 30}, 2)],
)
def test_profiles_stay_profiles(fwhm, shape, seed):
    """Where stars are Moffat profiles nothing is added, to the last bit."""
    kernel = moffat_kernel(fwhm, size=2 * HALF + 1, **shape)
    image = expose(lambda x, y: kernel, seed=seed)[3]
    found, profile = measure_field(image), measure_field(image, profile='moffat')
    assert found.remainder is None
    assert found.profile == 'moffat'
    assert found.report.numbers['remainder_percent'] == 0
    assert found.report.numbers == profile.report.numbers
    assert np.array_equal(found.kernel_at(100, 50), profile.kernel_at(100, 50))
    expected = moffat_kernel(
        float(found.fwhm_at(100, 50)),
        beta=found.beta,
        ellipticity=float(found.ellipticity_at(100, 50)),
        theta=float(found.theta_at(100, 50)),
    )
    assert np.array_equal(found.kernel_at(100, 50), expected)


def test_few_stars(lopsided):
    """Four stars are too few to tell."""
    image = expose(lambda x, y: lopsided[0], n=2, shape=(200, 200))[3]
    found = measure_field(image)
    assert len(found.table) == 4
    assert found.profile == 'moffat'


def test_neighbours_and_bad_pixels_do_not_count(lopsided, field):
    """Stars beside the measured ones, and hits, hardly change it."""
    kernel, x, y, flux, image = lopsided
    rng = np.random.default_rng(5)
    hurt = image.copy()
    for xi, yi, f in zip(x[::2], y[::2], flux[::2], strict=True):
        angle = rng.uniform(0, 2 * np.pi)
        j, i = round(xi + 16 * np.cos(angle)), round(yi + 16 * np.sin(angle))
        part = np.s_[i - 15 : i + 16, j - 15 : j + 16]
        hurt[part] += 0.3 * f * kernel[15:46, 15:46]
    hits = rng.integers(30, 390, (300, 2))
    hurt[hits[:, 0], hits[:, 1]] += 2e3
    found = measure_field(hurt)
    assert found.profile == 'measured'
    assert apart(found.kernel_at(9, 9, size=61), kernel) < 4.5
    assert len(measure_stars(hurt)) > 10


def test_write_and_read(field, tmp_path):
    """It comes back from the table, and can be left out."""
    path = tmp_path / 'psf.ecsv'
    field.write(path)
    again = PSFField.read(path)
    kernel = field.kernel_at(50, 300)
    assert np.abs(again.kernel_at(50, 300) - kernel).max() < 1e-5 * kernel.max()
    assert again.profile == 'measured'
    assert again.report.numbers == field.report.numbers
    assert measure_field(again.table, profile='moffat').remainder is None
    assert path.stat().st_size < 50_000
    with pytest.raises(ValueError, match='profile must be'):
        measure_field(again.table, profile='gauss')


def test_plot(field):
    """A third panel shows what was measured, at nine places."""
    figure = field.plot()
    panel = figure.axes[2]
    expected = field.kernel_at(210, 210, size=2 * int(2 * field.fwhm) + 3) ** 0.5
    shown = panel.images[0].get_array()
    side = len(expected)
    assert shown.shape == (3 * side, 3 * side)
    assert np.allclose(shown[side : 2 * side, side : 2 * side], expected)
    assert '% of the light' in panel.get_title()
    assert len(field.with_remainder(None).plot().axes) == 3


@pytest.mark.parametrize('factor', [1e-6, 1e6])
def test_unit_does_not_matter(lopsided, field, factor):
    """The same comes out of an image in other units."""
    found = measure_field(lopsided[4].astype('f8') * factor)
    kernel = field.kernel_at(200, 200)
    close = pytest.approx(kernel, abs=2e-3 * kernel.max())
    assert found.kernel_at(200, 200, size=kernel.shape) == close


def test_splines():
    """They have the sum 1 and reproduce straight lines."""
    places = np.linspace(-3, 3, 25)
    basis = spline_basis(places, 11)
    assert basis.sum(axis=1) == pytest.approx(1)
    assert basis @ (np.arange(11) - 5) == pytest.approx(places)
