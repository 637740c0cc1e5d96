# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The median with its containers: units, headers, calibration, files."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty, VarianceUncertainty
from astropy.stats import SigmaClip
from astropy.time import Time

import astroflat as af
from astroflat.io import write_ser


def make_frames(n=9, shape=(21, 34), dtype='u2', seed=4):
    """Return frames of noise."""
    rng = np.random.default_rng(seed)
    return rng.normal(1000, 30, (n, *shape)).astype(dtype)


def make_ccds(frames, **header):
    """Return frames with headers."""
    ccds = []
    for i, frame in enumerate(frames):
        meta = fits.Header()
        meta['OBJECT'] = 'dusk'
        meta['DATE-OBS'] = f'2026-01-02T03:04:{5 + i:02d}'
        for key, values in header.items():
            meta[key] = values[i]
        ccds.append(CCDData(frame, unit='adu', meta=meta))
    return ccds


def test_result():
    """Data, uncertainty, unit, counts and metadata."""
    frames = make_frames()
    flat = af.median_flat(frames)
    assert isinstance(flat, CCDData)
    assert flat.dtype == np.float32
    assert flat.unit == u.adu
    assert flat.mask is None
    assert isinstance(flat.uncertainty, StdDevUncertainty)
    assert flat.uncertainty.unit == u.adu
    np.testing.assert_array_equal(flat.data, np.median(frames, axis=0))
    np.testing.assert_array_equal(flat.flags, np.full((21, 34), 9))
    assert flat.meta['NCOMBINE'] == 9
    assert flat.meta['AFMETH'] == 'median'
    assert 'median of 9 frames' in str(flat.meta['HISTORY'])


def test_masked_where_there_is_no_sample():
    """Pixels without a single sample are NaN and masked; others are not."""
    frames = np.ma.array(make_frames(), mask=False)
    frames[:, 3, 4] = np.ma.masked
    frames[1:, 5, 6] = np.ma.masked
    flat = af.median_flat(frames)
    assert np.argwhere(flat.mask).tolist() == [[3, 4]]
    assert np.isnan(flat.data[3, 4])
    assert flat.flags[5, 6] == 1
    assert np.isnan(flat.uncertainty.array[5, 6])
    assert (flat.meta['NSAMPMIN'], flat.meta['NSAMPMAX']) == (0, 9)


def test_header_of_the_first_frame_and_dates():
    """Cards are kept, the time range is added, nothing is taken from the input."""
    ccds = make_ccds(make_frames(), EXPTIME=[2.0] * 9)
    flat = af.median_flat(ccds)
    assert flat.meta['OBJECT'] == 'dusk'
    assert flat.meta['EXPTIME'] == 2.0
    assert flat.meta['DATE-BEG'] == '2026-01-02T03:04:05.000'
    assert flat.meta['DATE-END'] == '2026-01-02T03:04:13.000'
    assert 'NCOMBINE' not in ccds[0].meta


def test_metadata_that_no_header_can_hold():
    """Dictionaries become headers; long names are kept, lists are left out."""
    meta = {'object': 'moon', 'a long name': 3, 'list': [1, 2]}
    ccds = [CCDData(frame, unit='adu', meta=meta) for frame in make_frames(3)]
    flat = af.median_flat(ccds)
    assert flat.meta['OBJECT'] == 'moon'
    assert flat.meta['a long name'] == 3
    assert 'list' not in flat.meta


def test_keyword_logging():
    """The record follows the rules of ccdproc; NCOMBINE is always there."""
    quiet = af.median_flat(make_frames(), add_keyword=None)
    assert 'AFMETH' not in quiet.meta
    assert quiet.meta['NCOMBINE'] == 9
    extra = af.median_flat(make_frames(), add_keyword={'FLATOK': True})
    assert extra.meta['FLATOK'] is True


def test_units():
    """The unit comes from the argument, the frames, or is adu."""
    frames = make_frames()
    assert af.median_flat(frames * u.electron).unit == u.electron
    assert af.median_flat(frames, unit='electron').unit == u.electron


def test_write_and_read_back(tmp_path):
    """The result is a file that astropy reads back as it was."""
    path = tmp_path / 'flat.fits'
    frames = np.ma.array(make_frames(), mask=False)
    frames[:, 3, 4] = np.ma.masked
    flat = af.median_flat(frames, sigma_clip=3)
    flat.write(path)
    back = CCDData.read(path)
    np.testing.assert_array_equal(back.data, flat.data)
    np.testing.assert_array_equal(back.mask, flat.mask)
    np.testing.assert_array_equal(back.uncertainty.array, flat.uncertainty.array)
    assert back.header['NCOMBINE'] == 9


@pytest.mark.parametrize('dtype', ['u1', 'u2'])
def test_ser_video(tmp_path, dtype):
    """A SER video gives the median of its frames, with the time range."""
    frames = make_frames(12, dtype='u2')
    frames = (frames // 8).astype(dtype)
    path = tmp_path / 'video.ser'
    times = Time('2026-05-06T07:08:09') + np.arange(12) * u.s
    write_ser(path, frames, times=times)
    flat = af.median_flat(path)
    np.testing.assert_array_equal(flat.data, np.median(frames, axis=0))
    assert flat.meta['DATE-BEG'].startswith('2026-05-06T07:08:09')
    assert flat.meta['DATE-END'].startswith('2026-05-06T07:08:20')


def test_fits_files(tmp_path):
    """A list of FITS files with unsigned integers, scaled and compressed."""
    frames = make_frames()
    paths = []
    for i, frame in enumerate(frames):
        path = tmp_path / f'f{i}.fits'
        fits.PrimaryHDU(frame).writeto(path)
        paths.append(path)
    flat = af.median_flat(paths)
    np.testing.assert_array_equal(flat.data, np.median(frames, axis=0))
    assert 'BZERO' not in flat.meta
    folder = af.median_flat(tmp_path)
    np.testing.assert_array_equal(folder.data, flat.data)


def test_image_file_collection(tmp_path):
    """A collection of ccdproc is a source like others."""
    ccdproc = pytest.importorskip('ccdproc')
    frames = make_frames(5)
    for i, frame in enumerate(frames):
        fits.PrimaryHDU(frame).writeto(tmp_path / f'f{i}.fits')
    collection = ccdproc.ImageFileCollection(tmp_path)
    flat = af.median_flat(collection)
    np.testing.assert_array_equal(flat.data, np.median(frames, axis=0))


def test_agrees_with_ccdproc():
    """Medians, and scaled medians, are those of `ccdproc.combine`."""
    ccdproc = pytest.importorskip('ccdproc')
    ccds = make_ccds(make_frames())
    theirs = ccdproc.combine(ccds, method='median')
    np.testing.assert_array_equal(af.median_flat(ccds).data, theirs.data)

    def inverse(frame):
        return 1 / np.median(frame)

    theirs = ccdproc.combine(ccds, method='median', scale=inverse)
    ours = af.median_flat(ccds, scale=inverse)
    np.testing.assert_allclose(ours.data, theirs.data, rtol=1e-6)


def test_scaling_by_level():
    """Frames of different brightness give the flat, at their median level."""
    shape = 1 + 0.1 * np.sin(np.arange(34) / 5) * np.ones((21, 1))
    rng = np.random.default_rng(0)
    levels = rng.uniform(500, 2000, 15)
    frames = (levels[:, None, None] * shape * rng.normal(1, 1e-3, (15, 21, 34))).astype(
        'f4'
    )
    for scale in ('median', 'mean'):
        flat = af.median_flat(frames, scale=scale)
        ratio = flat.data / shape
        assert np.std(ratio) / np.mean(ratio) < 1e-3
        assert np.mean(ratio) == pytest.approx(np.median(levels), rel=1e-3)
    given = af.median_flat(frames, scale=np.median(levels) / levels)
    np.testing.assert_allclose(given.data, flat.data, rtol=1e-3)


def test_level_is_measured_after_calibration():
    """With a bias, the levels are those of the light."""
    frames = make_frames(dtype='f4') * np.linspace(0.5, 2, 9, dtype='f4')[:, None, None]
    flat = af.median_flat(frames + 300, bias=np.full((21, 34), 300.0), scale='median')
    expected = af.median_flat(frames, scale='median')
    np.testing.assert_allclose(flat.data, expected.data, rtol=1e-5)


def test_levels_of_large_frames_are_sampled():
    """The level of a large frame is that of evenly spaced pixels."""
    from astroflat.combine._levels import sample_step

    assert sample_step((5, 1000, 1000)) == 1
    assert sample_step((5, 4000, 6000)) == 5
    frames = np.ones((3, 1200, 1300), 'u2') * np.array([1, 2, 4], 'u2')[:, None, None]
    flat = af.median_flat(frames * 100, scale='median')
    np.testing.assert_allclose(flat.data, 200)


def test_level_that_is_not_positive():
    """A frame that cannot be scaled is named."""
    frames = make_frames(dtype='f4')
    frames[4] = -1
    with pytest.raises(ValueError, match=r'level of frame 4 .* is -1'):
        af.median_flat(frames, scale='median')


def test_calibration_images():
    """Bias and dark: units, masks, uncertainties."""
    frames = make_frames()
    variance = np.full((21, 34), 9.0)
    mask = np.zeros((21, 34), bool)
    mask[2, 3] = True
    bias = CCDData(
        np.full((21, 34), 2.0), unit='adu', uncertainty=VarianceUncertainty(variance)
    )
    dark = CCDData(np.full((21, 34), 1.0), unit='adu', mask=mask)
    flat = af.median_flat(frames, bias=bias, dark=dark)
    plain = af.median_flat(frames)
    np.testing.assert_array_equal(flat.data, plain.data - 3)
    assert np.argwhere(flat.mask).tolist() == [[2, 3]]
    expected = np.hypot(plain.uncertainty.array, 3)
    np.testing.assert_allclose(flat.uncertainty.array, expected, rtol=1e-6)
    number = af.median_flat(frames, bias=3)
    np.testing.assert_array_equal(number.data, flat.data)


def test_unit_of_the_bias():
    """A unit that cannot be converted is an error, one that can is converted."""
    frames = make_frames() * u.electron
    with pytest.raises(u.UnitsError, match='bias'):
        af.median_flat(frames, bias=CCDData(np.ones((21, 34)), unit='adu'))
    kilo = CCDData(np.ones((21, 34)), unit=1000 * u.electron)
    flat = af.median_flat(frames, bias=kilo)
    plain = af.median_flat(frames)
    np.testing.assert_allclose(flat.data, plain.data - 1000, atol=1e-3)


def test_dark_scaled_by_exposure():
    """The dark is scaled by exposure time, only if asked for."""
    times = np.linspace(1, 9, 9)
    frames = 500 + 2 * times[:, None, None] * np.ones((21, 34))
    ccds = make_ccds(frames, EXPTIME=times)
    dark = CCDData(np.full((21, 34), 20.0), unit='adu', meta={'EXPTIME': 10})
    flat = af.median_flat(ccds, dark=dark, dark_scale=True)
    np.testing.assert_allclose(flat.data, 500)
    half = af.median_flat(ccds, dark=dark, dark_scale=0.5)
    np.testing.assert_allclose(half.data, 500)
    whole = af.median_flat(ccds, dark=dark)
    np.testing.assert_allclose(whole.data, 490)


def test_dark_scale_without_exposure():
    """Without the card the factor cannot be known."""
    frames = make_frames()
    with pytest.raises(ValueError, match='EXPTIME'):
        af.median_flat(frames, dark=np.ones((21, 34)), dark_scale=True)
    with pytest.raises(ValueError, match='needs a dark'):
        af.median_flat(frames, dark_scale=True)


def test_wrong_shape():
    """A calibration image of another shape is refused."""
    with pytest.raises(ValueError, match=r'dark has the shape \(3, 3\)'):
        af.median_flat(make_frames(), dark=np.ones((3, 3)))


def test_clip_is_recorded():
    """What was done is written in words."""
    flat = af.median_flat(make_frames(), sigma_clip=SigmaClip(3), scale='median')
    text = str(flat.meta['HISTORY']).replace('\n', '')
    assert 'clipped at -3 and +3 sigma' in text
    assert 'scaled by their median level' in text


def test_open_stack_stays_open():
    """A stack that was passed in can be used again."""
    with af.open_frames(make_frames()) as stack:
        first = af.median_flat(stack)
        second = af.median_flat(stack[2:])
    assert first.meta['NCOMBINE'] == 9
    assert second.meta['NCOMBINE'] == 7


def test_bayer_pixels_do_not_mix(tmp_path):
    """The pixels of a mosaic are combined with themselves."""
    frames = make_frames(7)
    frames[:, ::2, ::2] *= 3
    path = tmp_path / 'mosaic.ser'
    write_ser(path, frames, color='RGGB')
    flat = af.median_flat(path)
    np.testing.assert_array_equal(flat.data, np.median(frames, axis=0))


def test_progress_bar(capsys):
    """A bar goes to the error stream, or a function is called."""
    af.median_flat(make_frames(), progress_bar=True)
    assert capsys.readouterr().out == ''
    seen = []
    af.median_flat(make_frames(), progress_bar=lambda *state: seen.append(state))
    assert seen[-1] == (21, 21)
