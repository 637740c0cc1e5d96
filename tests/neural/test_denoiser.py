# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The denoiser against truth, and what it must not do.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.nddata import CCDData
from astropy.wcs import WCS

import astroflat as af
from astroflat._exceptions import AstroflatWarning, ModelError
from astroflat.degradation import CAMERAS, draw_scene, expose
from astroflat.quality import image_metrics

KNOWN = {'gain': 1.0, 'readnoise': 2.0, 'offset': 0.0}


@pytest.fixture(scope='module')
def denoiser():
    """The network that comes with the package."""
    return af.Denoiser(device='cpu')


def noisy(light, seed=1):
    """Electrons with shot noise and a read noise of 2."""
    rng = np.random.default_rng(seed)
    return (rng.poisson(light) + 2.0 * rng.standard_normal(light.shape)).astype('f4')


@pytest.fixture(scope='module')
def field():
    """Truth and exposure of a star field."""
    camera = replace(CAMERAS['ccd'], hot_fraction=0.0, dark_current=0.0)
    scene = draw_scene((192, 224), kind='starfield', rng=4, level=200).render()
    ccd = expose(scene, camera=camera, exposure=0.0, rng=2)
    ccd.wcs = WCS(naxis=2)
    return scene / camera.gain + camera.bias, ccd


def test_closer_to_the_truth(denoiser, field):
    """Ten decibels are gained on a frame of its own kind; errors are known."""
    truth, ccd = field
    full = ccd.data >= ccd.header['SATURATE']
    clean = denoiser.denoise(ccd)
    metrics = image_metrics(clean.data, truth, before=ccd.data, mask=full)
    assert metrics['psnr_gain_db'] > 10.0
    error = np.abs(clean.data - truth)[~full]
    assert 0.6 < np.mean(error < clean.uncertainty.array[~full]) < 0.95
    # The sum of all pixels is that of the input within three times its noise.
    noise = np.sqrt(np.sum(np.maximum(truth - 1250, 1) * 1.6 + 81)) / 1.6
    assert abs(float((clean.data - ccd.data).sum())) < 3 * noise


def test_what_is_kept(denoiser, field):
    """Type, shape, WCS, unit and header stay; the input is not changed."""
    ccd = field[1]
    before = ccd.data.copy()
    clean = denoiser.denoise(ccd)
    assert type(clean) is CCDData
    assert clean.data.dtype == np.float32
    assert (clean.unit, clean.shape) == (ccd.unit, ccd.shape)
    assert clean.wcs is not None
    assert np.array_equal(ccd.data, before)
    header = clean.header
    assert header['AFMETH'] == 'denoise'
    assert header['AFPROV'] == 'CPUExecutionProvider'
    assert header['AFDENOIS'] == 1.0
    assert header['AFGAIN'] == 1.6
    assert 'denoised' in str(header['HISTORY'])
    assert 'AFMETH' not in ccd.header


def test_strength(denoiser, field):
    """Nothing is removed at 0, bit for bit, and part of it in between."""
    ccd = field[1]
    none, half, all_ = (denoiser.denoise(ccd, strength=s) for s in (0, 0.5, 1))
    assert np.array_equal(none.data, ccd.data.astype('f4'))
    middle = 0.5 * (none.data + all_.data)
    faint = ccd.data < 2000
    assert np.abs(half.data - middle)[faint].max() < 0.1 * np.std(ccd.data[faint])
    sigmas = [np.median(r.uncertainty.array) for r in (none, half, all_)]
    assert sigmas[0] > sigmas[1] > sigmas[2]


def test_constant_is_constant(denoiser):
    """A frame without noise comes back bit for bit, borders included."""
    image = np.full((70, 90), 321.0, np.float32)
    assert np.array_equal(denoiser.denoise(image, **KNOWN), image)
    assert np.array_equal(denoiser.denoise(image), image)


def test_nan_and_masked_pixels(denoiser):
    """They are not changed, and spread neither themselves nor their value."""
    image = noisy(np.full((128, 128), 100.0))
    mask = np.zeros(image.shape, bool)
    mask[30:33, 40:42] = True
    clean = denoiser.denoise(np.where(mask, 1e6, image), mask=mask, **KNOWN)
    other = denoiser.denoise(np.where(mask, -1e6, image), mask=mask, **KNOWN)
    assert (clean[mask] == 1e6).all()
    np.testing.assert_array_equal(clean[~mask], other[~mask])
    assert clean[~mask].std() < 0.4 * image.std()
    image[60, 60] = np.nan
    clean = denoiser.denoise(CCDData(image, unit='electron', mask=mask), **KNOWN)
    assert np.isnan(clean.data[60, 60])
    assert np.isnan(clean.data).sum() == 1
    assert np.array_equal(clean.data[mask], image[mask])
    assert np.array_equal(clean.mask, mask)


def test_bright_stars_pass(denoiser):
    """Far above the range of training a pixel keeps its bits nearly."""
    light = np.full((96, 96), 100.0)
    light[40:44, 40:44] = 3e6
    image = noisy(light)
    clean = denoiser.denoise(image, **KNOWN)
    core = (slice(40, 44), slice(40, 44))
    sigma = np.sqrt(3e6)
    assert np.abs(clean - image)[core].max() < 0.05 * sigma
    # No ring around it beyond the noise.
    ring = np.ones((96, 96), bool)
    ring[36:48, 36:48] = False
    assert np.abs(clean - 100.0)[ring].max() < 6.0 * np.sqrt(104)


def test_change_is_bounded(denoiser):
    """No pixel moves by more than 12 standard deviations of its noise."""
    image = noisy(np.full((96, 96), 50.0))
    image[50, 50] = 50.0 + 400.0
    clean = denoiser.denoise(image, **KNOWN)
    z = 2.0 * np.sqrt(np.maximum(np.stack([image, clean]), 0) + 0.375 + 4.0)
    assert np.abs(z[1] - z[0]).max() <= 12.1
    # A spike of this height is not noise: most of it stays.
    assert clean[50, 50] > 250.0


def test_saturated_pixels_stay(denoiser):
    """Full pixels keep their bits."""
    image = noisy(np.full((96, 96), 300.0))
    image[20:24, 20:24] = 900.0
    clean = denoiser.denoise(image, saturation=900.0, **KNOWN)
    assert np.array_equal(clean[20:24, 20:24], image[20:24, 20:24])


def test_tiles_do_not_show(denoiser):
    """Small tiles give what large ones give."""
    scene = draw_scene((200, 184), kind='galaxies', rng=3, level=300).render()
    image = noisy(scene)
    one = denoiser.denoise(image, **KNOWN)
    many = denoiser.denoise(image, tile=48, **KNOWN)
    np.testing.assert_allclose(one, many, atol=0.02)


@pytest.mark.parametrize(
    ('middle', 'width', 'height', 'left'),
    [(0.0, 1.0, -1.0, 0.1), (0.0, 2.5, 0.3, 0.1), (3.5, 0.7, 0.1, 0.3)],
    ids=['core', 'star', 'wings'],
)
def test_flux_in_apertures_comes_back(middle, width, height, left):
    """Light of a star that was taken for noise is given back within an aperture."""
    from astroflat.neural import _denoise_conserve

    r = np.hypot(*(axis - 48.0 for axis in np.mgrid[:96, :96]))
    wrong = height * np.exp(-0.5 * ((r - middle) / width) ** 2)
    star = 8.0 * np.exp(-0.5 * (r / 1.27) ** 2)
    found = np.stack([wrong, np.full(r.shape, 0.3)]).astype('f4')
    values = (star + wrong).astype('f4')
    _denoise_conserve.conserve(found, values, np.zeros(r.shape, bool))
    for radius in (4.5, 6.0):
        lost = [field[r < radius].sum() for field in (wrong, found[0])]
        assert abs(lost[1]) < left * abs(lost[0])


def test_strips_do_not_show(monkeypatch, field):
    """What noise sums to does not depend on how many rows are done at a time."""
    from astroflat.neural import _denoise_conserve, _strips

    rng = np.random.default_rng(1)
    truth, _ = field
    noise = rng.standard_normal(truth.shape).astype('f4')
    values = ((truth - np.median(truth)) / 20.0).astype('f4') + noise
    found = np.stack([0.9 * noise + 0.1, np.full_like(noise, 0.2)])
    bad, results = rng.uniform(size=values.shape) < 0.01, []
    for pixels in (2**18, 1):
        monkeypatch.setattr(_strips, '_PIXELS', pixels)
        results.append(found.copy())
        _denoise_conserve.conserve(results[-1], values, bad)
    np.testing.assert_array_equal(*results)
    assert np.array_equal(results[0][1], found[1])
    assert not results[0][0][bad].any()
    # The sum over everything was 0.1 for each pixel, and is nothing now.
    assert abs(results[0][0][~bad].mean()) < 0.005


def test_results_do_not_depend_on_strips(monkeypatch, denoiser, field):
    """However many rows are done at a time, the result is the same."""
    from astroflat.neural import _strips

    first = denoiser.denoise(field[1])
    monkeypatch.setattr(_strips, '_PIXELS', 5000)
    second = denoiser.denoise(field[1])
    np.testing.assert_array_equal(first.data, second.data)
    np.testing.assert_array_equal(first.uncertainty.array, second.uncertainty.array)


def test_colour_and_mosaic(denoiser):
    """Colours are denoised apart, those of a mosaic too."""
    light = np.stack([np.full((96, 96), level) for level in (50.0, 200.0, 800.0)], -1)
    image = noisy(light)
    clean = denoiser.denoise(image, **KNOWN)
    for k, level in enumerate((50.0, 200.0, 800.0)):
        assert clean[..., k].std() < 0.35 * image[..., k].std()
        assert clean[..., k].mean() == pytest.approx(level, abs=0.5)
    mosaic = np.full((128, 128), 100.0)
    mosaic[::2, ::2] = 900.0
    image = noisy(mosaic)
    ccd = CCDData(image, unit='electron', meta={'BAYERPAT': 'RGGB'})
    clean = denoiser.denoise(ccd, **KNOWN)
    assert np.std(clean.data - mosaic) < 0.45 * np.std(image - mosaic)


@pytest.mark.parametrize('dtype', ['>u2', 'u2', '<f8', '>f4'])
def test_types(denoiser, dtype):
    """Integers become float32, double precision stays."""
    image = noisy(np.full((64, 64), 500.0)).astype(dtype)
    clean = denoiser.denoise(image, **KNOWN)
    assert clean.dtype == (np.float64 if dtype == '<f8' else np.float32)
    assert clean.std() < 0.4 * image.std()


def test_stacked_frames(denoiser):
    """A frame with less noise than its gain says is warned of, not smeared."""
    scene = draw_scene((192, 192), kind='galaxies', rng=3, level=300).render()
    stack = np.mean([noisy(scene, seed) for seed in range(9)], axis=0)
    with pytest.warns(AstroflatWarning, match='may be stacked'):
        clean = denoiser.denoise(stack, **KNOWN)
    before, after = (np.std(x - scene) for x in (stack, clean))
    assert after < 0.6 * before


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ({'strength': 1.5}, 'strength'),
        ({'gain': -1.0, 'readnoise': 1.0, 'offset': 0.0}, 'gain'),
    ],
)
def test_wrong_arguments(denoiser, options, match):
    """The message names the argument."""
    with pytest.raises(ValueError, match=match):
        denoiser.denoise(np.ones((64, 64), np.float32), **options)


def test_networks_for_something_else():
    """A network that does not exist is refused by name."""
    with pytest.raises(ModelError, match='no-such'):
        af.Denoiser('no-such')


def test_colours_come_last(denoiser):
    """A cube as FITS has it is refused, not denoised along the wrong axes."""
    options = {'gain': 1.0, 'readnoise': 0.0, 'offset': 0.0}
    with pytest.raises(ValueError, match='colours come last'):
        denoiser.denoise(np.ones((3, 40, 50)), **options)


def test_infinite_pixels(denoiser):
    """They are bad as NaN are, and raise no warning."""
    image = np.random.default_rng(1).normal(100, 3, (64, 64))
    image[3, 4], image[5, 40], image[20, 20] = np.inf, -np.inf, np.nan
    clean = denoiser.denoise(image)
    bad = ~np.isfinite(image)
    np.testing.assert_array_equal(clean[bad], image[bad])
    assert np.std(clean[~bad]) < 1.0


def test_full_everywhere(denoiser):
    """A colour that is full has no noise to find; the others have."""
    image = np.random.default_rng(1).normal(100, 3, (64, 64))
    colours = np.dstack([image, np.full(image.shape, 65535.0)])
    clean = denoiser.denoise(colours, saturation=65000.0)
    assert (clean[..., 1] == 65535).all()
    assert np.std(clean[..., 0]) < 1.0


@pytest.mark.parametrize('level', [65000.0, 3e6])
def test_saturation_of_the_header(denoiser, level):
    """Sums of many exposures saturate far above 16 bits."""
    rng = np.random.default_rng(1)
    image = rng.normal(100, 3, (64, 64))
    image[20:40, 20:40] += level + rng.normal(0, 3, (20, 20))
    ccd = CCDData(image, unit='adu', meta={'SATURATE': level})
    clean = denoiser.denoise(ccd).data
    full = image >= level
    assert full.sum() == 400
    np.testing.assert_array_equal(clean[full], image[full])


@pytest.mark.parametrize('name', ['NONE', 'MONO', 'Default'])
def test_what_is_no_mosaic(denoiser, name):
    """Cameras without colours write other words where the mosaic should stand."""
    image = np.random.default_rng(1).normal(100, 3, (64, 64)).astype('f4')
    ccd = CCDData(image, unit='adu', meta={'BAYERPAT': name, 'COLORTYP': name})
    np.testing.assert_array_equal(denoiser.denoise(ccd).data, denoiser.denoise(image))


@pytest.mark.parametrize('shape', [(129, 2), (2, 129), (1, 1)])
def test_too_small_to_find_noise(denoiser, shape):
    """A strip has no box to measure noise in; told of it, it goes."""
    image = np.full(shape, 100.0)
    with pytest.raises(ValueError, match='too small'):
        denoiser.denoise(image)
    known = {'gain': 1.0, 'readnoise': 1.0, 'offset': 0.0}
    assert denoiser.denoise(image, **known).shape == shape


def test_all_bad(denoiser):
    """A frame without a good pixel comes back."""
    image = np.full((32, 32), np.nan, np.float32)
    assert np.isnan(denoiser.denoise(image)).all()
