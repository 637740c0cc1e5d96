# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The restorer against truth, and what it must not do.
"""

from __future__ import annotations

import numpy as np
import pytest
from astropy.nddata import CCDData
from astropy.wcs import WCS

import astroflat as af
from astroflat import AstroflatWarning
from astroflat.neural import _restore_plane
from astroflat.neural._restore_binned import bin_factor
from astroflat.neural._restore_filter import TileFilter, make_kernel, wanted_width
from astroflat.neural._restore_flux import conserve
from astroflat.neural._restore_spikes import find_spikes
from astroflat.psf import TooFewStarsError, moffat_kernel

SKY, READNOISE, FWHM = 300.0, 4.0, 3.6
KNOWN = {'gain': 1.0, 'readnoise': READNOISE, 'offset': 0.0, 'views': 1}


@pytest.fixture(scope='module')
def restorer():
    """The network that comes with the package."""
    return af.Restorer(device='cpu')


def stars(size=192, fwhm=FWHM, seed=3):
    """Places and fluxes of stars on a loose grid, and their light."""
    rng = np.random.default_rng(seed)
    steps = np.arange(24, size - 16, 36)
    y, x = (a.ravel() + rng.uniform(-3, 3, a.size) for a in np.meshgrid(steps, steps))
    flux = 10.0 ** rng.uniform(3.7, 5.3, x.size)
    light = np.zeros((size, size))
    for xi, yi, f in zip(x, y, flux, strict=True):
        i, j, h = round(yi), round(xi), 20
        kernel = moffat_kernel(fwhm, size=2 * h + 1, offset=(xi - j, yi - i))
        rows, columns = (slice(max(c - h, 0), min(c + h + 1, size)) for c in (i, j))
        part = kernel[
            rows.start - i + h : rows.stop - i + h,
            columns.start - j + h : columns.stop - j + h,
        ]
        light[rows, columns] += f * part
    return x, y, flux, light


@pytest.fixture(scope='module')
def field():
    """Stars, and an exposure of them."""
    x, y, flux, light = stars()
    rng = np.random.default_rng(4)
    data = rng.poisson(light + SKY) + READNOISE * rng.standard_normal(light.shape)
    header = {'OBJECT': 'stars'}
    ccd = CCDData(data.astype('f4'), unit='adu', wcs=WCS(naxis=2), meta=header)
    return x, y, flux, ccd


@pytest.fixture(scope='module')
def restored(restorer, field):
    """What comes out, with everything."""
    return restorer.restore(field[3], fwhm=FWHM, full_output=True, **KNOWN)


def moments(image, x, y):
    """Flux, centroid and width of a star by its profile within eight pixels."""
    from scipy.optimize import least_squares

    i, j, h = round(y), round(x), 8
    cut = image[i - h : i + h + 1, j - h : j + h + 1].astype(float)
    v, u = np.mgrid[-h : h + 1, -h : h + 1]
    near = np.hypot(v - (y - i), u - (x - j)) < 3.0

    def apart(p):
        model = p[0] * np.exp(-((u - p[1]) ** 2 + (v - p[2]) ** 2) / (2 * p[3] ** 2))
        return (model + SKY - cut)[near] / np.ptp(cut)

    found = least_squares(apart, (np.ptp(cut), x - j, y - i, 1.0)).x
    return (cut - SKY).sum(), j + found[1], i + found[2], 2.3548 * abs(found[3])


def test_stars_against_truth(field, restored):
    """Widths as asked for, fluxes and places kept, nothing dark around."""
    x, y, flux, ccd = field
    image = restored.image.data
    rows = np.array([moments(image, *place) for place in zip(x, y, strict=True)])
    wanted = wanted_width(make_kernel(moffat_kernel(FWHM)).fwhm, 1.0)
    bright = flux > 2e4
    assert np.median(rows[bright, 3]) == pytest.approx(wanted, rel=0.05)
    assert np.median(rows[bright, 0] / flux[bright]) == pytest.approx(1.0, abs=0.015)
    shifts = np.array([rows[bright, 1] - x[bright], rows[bright, 2] - y[bright]])
    assert np.abs(np.median(shifts, axis=1)).max() < 0.05
    # Peaks rise above the highest value of the input.
    assert image.max() > 1.5 * ccd.data.max()
    noise = (SKY + READNOISE**2) ** 0.5
    assert image.min() > SKY - 0.05 * image.max() - 5 * noise


def test_noise_is_gone_and_doubt_is_said(field, restored):
    """Far from stars only a fraction of the noise is left, about as said."""
    sky = np.s_[2:12, 40:150]
    noise = (SKY + READNOISE**2) ** 0.5
    left = restored.image.data[sky] - SKY
    assert left.std() < 0.35 * noise
    said = restored.image.uncertainty.array[sky]
    assert 0.3 < np.sqrt(np.mean(left**2)) / np.median(said) < 3.0
    # The residual is the noise of the frame.
    assert restored.residual[sky].std() == pytest.approx(noise, rel=0.1)


def test_report(restored):
    """Stars are measured before and after."""
    numbers = restored.report.numbers
    assert numbers['n_stars'] > 5
    assert abs(numbers['fwhm_percent']) < 5.0
    assert abs(numbers['flux_percent']) < 2.0
    assert 0.9 < numbers['residual_sigma'] < 1.1
    assert abs(numbers['residual_correlation']) < 0.05


def test_wrong_width_is_noticed(restorer, field):
    """A width that is not that of the stars leaves more than noise, or rings."""
    found = restorer.restore(field[3], fwhm=2 * FWHM, full_output=True, **KNOWN)
    assert found.report.verdict != 'accept'


def test_what_is_kept(field, restored):
    """Type, shape, WCS, unit and header stay; the input is not changed."""
    ccd, result = field[3], restored.image
    assert isinstance(result, CCDData)
    assert result.data.dtype == np.float32
    assert result.unit == ccd.unit
    assert result.wcs is not None
    assert result.meta['OBJECT'] == 'stars'
    assert result.meta['AFMETH'] == 'restore'
    assert result.meta['AFFWHM'] < result.meta['AFFWHMIN']
    assert 'AFMETH' not in ccd.meta
    assert ccd.uncertainty is None


def test_nothing_to_do_is_nothing_done(restorer, field):
    """With both dials at 0 every bit stays, NaN and infinities too."""
    data = field[3].data.astype('f8')
    data[5, 7], data[9, 9] = np.nan, np.inf
    found = restorer.restore(data, fwhm=3.0, strength=0, denoise=0)
    assert found.tobytes() == data.tobytes()
    assert found is not data


def test_constant_stays(restorer):
    """A constant comes back, borders included, also beside nothing."""
    frame = np.full((70, 90), 123.25, 'f4')
    assert np.array_equal(restorer.restore(frame, fwhm=3.0, **KNOWN), frame)


def test_dials_move_between(restorer, field):
    """Part of the noise is that of the frame, pixel by pixel."""
    data = field[3].data[:96, :96]
    options = {'fwhm': FWHM, **KNOWN}
    clean = restorer.restore(data, **options)
    noisy = restorer.restore(data, denoise=0.0, **options)
    half = restorer.restore(data, denoise=0.5, **options)
    assert half == pytest.approx(0.5 * (clean + noisy), abs=0.05)
    assert float(noisy.sum(dtype='f8')) == pytest.approx(data.sum(dtype='f8'), rel=2e-3)
    gentle = restorer.restore(data, strength=0.3, **options)
    assert data.max() < gentle.max() < clean.max()


def test_strength_nothing_is_the_denoiser(restorer, field):
    """Without sharpening the network of the denoiser does it."""
    data = field[3].data[:96, :96]
    known = {k: v for k, v in KNOWN.items() if k != 'views'}
    expected = af.Denoiser(device='cpu').denoise(data, **known)
    found = restorer.restore(data, fwhm=FWHM, strength=0.0, **KNOWN)
    assert found == pytest.approx(expected, abs=0.02)


def test_bad_pixels(restorer, field):
    """NaN and masked pixels stay as they are, and stay local."""
    data = field[3].data[:128, :128].copy()
    clean = restorer.restore(data, fwhm=FWHM, **KNOWN)
    hurt, mask = data.copy(), np.zeros(data.shape, bool)
    hurt[40, 50] = np.nan
    hurt[8, 100], mask[8, 100] = 6e4, True
    found = restorer.restore(hurt, fwhm=FWHM, mask=mask, **KNOWN)
    assert np.isnan(found[40, 50])
    assert found[8, 100] == 6e4
    far = np.ones(data.shape, bool)
    far[28:53, 38:63] = far[:21, 88:113] = False
    assert np.abs(found - clean)[far].max() < 0.5 * SKY**0.5


def test_saturated_and_sharp_pixels_stay(restorer, field):
    """Full pixels and hot ones keep their values; no rings come of the latter."""
    data = field[3].data[:128, :128].copy()
    data[4:7, 60:63] = 5e4
    data[90, 6], data[6, 6] = 2e4, -500.0
    found = restorer.restore(data, fwhm=FWHM, saturation=4e4, **KNOWN)
    assert np.array_equal(found[4:7, 60:63], data[4:7, 60:63])
    assert found[90, 6] == data[90, 6]
    assert found[6, 6] == data[6, 6]
    around = found[84:97, 0:13].copy()
    around[6, 6] = SKY
    assert np.abs(around - SKY).max() < 5 * SKY**0.5


def test_stars_are_no_spikes():
    """Bright stars at any place in their pixel are light; a hot pixel is not."""
    kernel = make_kernel(moffat_kernel(2.5))
    noise = np.full((192, 192), 20.0)
    light = stars(fwhm=2.5)[3]
    sigma = np.sqrt(noise**2 + light)
    rng = np.random.default_rng(1)
    image = light + sigma * rng.standard_normal(light.shape)
    assert find_spikes(image, sigma, kernel).sum() <= 1
    image[50, 70] += 600.0
    assert find_spikes(image, sigma, kernel)[50, 70]


def test_colours_and_tiles(restorer, field):
    """Planes are restored apart, in any tiles, at any size."""
    data = field[3].data[:96, :85]
    one = restorer.restore(data, fwhm=FWHM, tile=128, **KNOWN)
    frame = np.stack((data, data[::-1], data), axis=-1)
    found = restorer.restore(frame, fwhm=FWHM, tile=64, **KNOWN)
    assert found.shape == frame.shape
    assert np.array_equal(found[..., 0], found[..., 2])
    assert np.abs(found[..., 0] - one).max() < 0.02 * np.abs(one).max()
    assert np.percentile(np.abs(found[..., 0] - one), 99) < 0.3


def test_mosaics_are_warned_of(restorer):
    """What differs from colour to colour would go as noise."""
    image = np.random.default_rng(1).normal(100, 3, (64, 64)).astype('f4')
    ccd = CCDData(image, unit='adu', meta={'BAYERPAT': 'GRBG'})
    with pytest.warns(AstroflatWarning, match='mosaic of colours'):
        restorer.restore(ccd, fwhm=3.0)
    ccd.meta['BAYERPAT'] = 'NONE'
    restorer.restore(ccd, fwhm=3.0)


def test_colours_come_last(restorer):
    """A cube as FITS has it is refused, not sharpened along the wrong axes."""
    with pytest.raises(ValueError, match='colours come last'):
        restorer.restore(np.ones((3, 40, 50)), fwhm=3.0, gain=1, readnoise=0, offset=0)


@pytest.mark.parametrize('strength', [0.0, 1.0])
def test_infinite_and_full_pixels(restorer, strength):
    """Infinite pixels are bad ones; a colour that is full everywhere stays."""
    image = np.random.default_rng(1).normal(100, 3, (64, 64)).astype('f4')
    image[3, 4], image[5, 40], image[20, 20] = np.inf, -np.inf, np.nan
    clean = restorer.restore(image, fwhm=3.0, strength=strength)
    np.testing.assert_array_equal(np.isfinite(clean), np.isfinite(image))
    colours = np.dstack([image, np.full(image.shape, 65535, 'f4')])
    ccd = CCDData(colours, unit='adu', meta={'SATURATE': 65000.0})
    clean = restorer.restore(ccd, fwhm=3.0, strength=strength).data
    assert (clean[..., 1] == 65535).all()
    assert np.std(clean[30:, 30:, 0]) < 2.0


def test_wide_stars(restorer):
    """Stars of nine pixels are restored in bins, and no less."""
    x, y, flux, light = stars(fwhm=9.0)
    rng = np.random.default_rng(2)
    data = (rng.poisson(light + SKY) + 4.0 * rng.standard_normal(light.shape)).astype(
        'f4'
    )
    assert [bin_factor(w) for w in (7.0, 9.0, 14.0)] == [1, 2, 3]
    found = restorer.restore(data, fwhm=9.0, **KNOWN)
    bright = flux.argsort()[-5:]
    widths = [moments(found, x[i], y[i])[3] for i in bright]
    assert np.median(widths) == pytest.approx(4.6, rel=0.1)
    assert found.sum(dtype='f8') == pytest.approx(data.sum(dtype='f8'), rel=2e-3)


def test_field_of_stars(restorer, field):
    """A field of kernels is used place by place; a constant one is as a kernel."""

    class Field:
        """The same everywhere, but nobody says so."""

        shape, degree, grid = (96, 96), 1, None

        def kernel_at(self, x, y):
            """Return the kernel at a place."""
            return moffat_kernel(FWHM)

    data = field[3].data[:96, :96]
    one = restorer.restore(data, psf=moffat_kernel(FWHM), **KNOWN)
    many = restorer.restore(data, psf=Field(), tile=64, **KNOWN)
    assert np.percentile(np.abs(many - one), 99) < 1.0


def test_several_tiles_at_once(restorer, field, monkeypatch):
    """Tiles on threads, as for a GPU, are the tiles one after the other."""

    class Elsewhere:
        """The session, on a GPU by its own account."""

        device = 'cuda'

        def __getattr__(self, name):
            return getattr(session, name)

    class Field:
        """Wider stars to the right."""

        shape, degree, grid = (96, 96), 1, None

        def kernel_at(self, x, y):
            """Return the kernel at a place."""
            return moffat_kernel(FWHM + x / 200.0)

    data, session = field[3].data[:96, :96], restorer._session
    one = restorer.restore(data, psf=Field(), tile=32, **KNOWN)
    monkeypatch.setattr(_restore_plane, 'count_threads', lambda: 3)
    monkeypatch.setattr(restorer, '_session', Elsewhere())
    assert np.array_equal(restorer.restore(data, psf=Field(), tile=32, **KNOWN), one)


def test_protect(restorer, field):
    """What is protected stays to the bit; names and arrays work."""
    data = field[3].data[:96, :96]
    weight = np.zeros(data.shape)
    weight[:40] = 1.0
    found = restorer.restore(data, fwhm=FWHM, protect=weight, **KNOWN)
    assert np.array_equal(found[:40], data[:40])
    assert not np.array_equal(found[40:], data[40:])
    bright = restorer.restore(data, fwhm=FWHM, protect='bright', **KNOWN)
    top = np.unravel_index(data.argmax(), data.shape)
    assert bright[top] == data[top]
    flat = restorer.restore(data, fwhm=FWHM, protect='flat', **KNOWN)
    assert flat[top] > 1.3 * data[top]
    assert (flat == data).mean() > 0.2


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'strength': 1.5}, 'strength must be from 0 to 1'),
        ({'denoise': -0.1}, 'denoise must be from 0 to 1'),
        ({'views': 9}, 'views must be'),
        ({'fwhm': 0.2}, 'fwhm must be from'),
        ({'fwhm': 3.0, 'psf': np.ones((5, 5))}, 'both given'),
        ({'psf': np.zeros((5, 5))}, 'positive sum'),
        ({'fwhm': 3.0, 'protect': 'all'}, 'protect must be one of'),
        ({'fwhm': 3.0, 'protect': np.ones((3, 3))}, 'protect has the shape'),
    ],
)
def test_wrong_arguments(restorer, options, words):
    """Errors name the argument, its value and the way out."""
    with pytest.raises(ValueError, match=words):
        restorer.restore(np.ones((40, 40)), **options)


def test_no_stars(restorer):
    """Without stars a width has to be given."""
    rng = np.random.default_rng(1)
    with pytest.raises(TooFewStarsError, match='give fwhm= or psf='):
        restorer.restore(rng.normal(100, 1, (96, 96)))


def test_filters_keep_the_light():
    """Sums stay, gains are those of the noise, and blurring again undoes it."""
    made = TileFilter(make_kernel(moffat_kernel(4.0)), 1.0)
    image = np.full((64, 80), 5.0, 'f4')
    assert made.apply(image) == pytest.approx(5.0, abs=1e-4)
    noise = np.random.default_rng(2).normal(size=(128, 128)).astype('f4')
    assert made.apply(noise)[1:].std(axis=(1, 2)) == pytest.approx(made.gains, rel=0.15)
    wanted = np.zeros((128, 128), 'f4')
    v, u = np.mgrid[-64:64, -64:64]
    wanted[:] = np.exp(-0.5 * (v**2 + u**2) / (made.wanted / 2.3548) ** 2)
    again = made.blur_again(wanted) / wanted.sum()
    kernel = np.zeros((128, 128))
    kernel[48:81, 48:81] = moffat_kernel(4.0)
    assert np.abs(again - kernel).max() < 0.01 * kernel.max()


def test_light_is_conserved():
    """What a network loses of a source comes back, and the dark stays."""
    v, u = np.mgrid[-64:64, -64:64]
    star = 500.0 * np.exp(-0.5 * (v**2 + u**2) / 0.8**2)
    found = (0.9 * star + 0.3).astype('f4')
    conserve(found, star.astype('f4'), np.ones(star.shape, 'f4'), 4.0)
    assert found.sum() == pytest.approx(star.sum(), rel=0.01)
    assert np.abs(found[:20]).max() < 0.05


def test_turns():
    """All eight ways to turn an image come back."""
    image = np.random.default_rng(1).normal(size=(1, 2, 6, 10))
    for turn in range(8):
        turned = _restore_plane._turn(image, turn)
        assert np.array_equal(_restore_plane._turn(turned, turn, back=True), image)
