# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the correction of videos and folders."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.time import Time
from astropy.wcs import WCS

import astroflat as af
from astroflat.io import SERFile, read_ccd, read_image, write_image, write_ser

SHAPE = (24, 30)


def make_flat(seed=0):
    """Return a flat between 0.5 and 1 that is 1 in its left half."""
    flat = np.random.default_rng(seed).uniform(0.5, 1, SHAPE).astype('f4')
    flat[:, :15] = 1
    return flat


def make_frames(n=7, top=1500, seed=1):
    """Return integer frames."""
    rng = np.random.default_rng(seed)
    return rng.integers(100, top, (n, *SHAPE)).astype('u2')


def expected(frames, flat, bias=0.0):
    """Correct in double precision, rounding to the nearest integer."""
    return np.rint((frames - np.float64(bias)) / flat + bias)


def test_video(tmp_path):
    """Every frame of a video is corrected; depth and times are kept."""
    frames, flat = make_frames(), make_flat()
    times = Time('2025-06-01T12:00:00') + np.arange(7) * u.s
    write_ser(tmp_path / 'a.ser', frames, bit_depth=12, times=times)
    report = af.correct_frames(tmp_path / 'a.ser', flat, output=tmp_path / 'b.ser')
    with SERFile(tmp_path / 'b.ser') as video:
        assert video.bit_depth == 12
        assert abs((video.times - times).sec).max() < 1e-6
    with af.open_frames(tmp_path / 'b.ser') as stack:
        result = np.array([stack[i] for i in range(7)])
    assert np.abs(result - expected(frames, flat)).max() <= 1
    assert np.array_equal(result[..., :15], frames[..., :15])
    assert report.n_frames == 7
    assert report.n_clipped == report.n_masked == 0


def test_clipping_is_counted(tmp_path):
    """Samples beyond the depth are set to its top and counted."""
    frames = np.full((3, *SHAPE), 4000, 'u2')
    flat = np.ones(SHAPE)
    flat[2, 3:8] = 0.5
    write_ser(tmp_path / 'a.ser', frames, bit_depth=12)
    report = af.correct_frames(tmp_path / 'a.ser', flat, output=tmp_path / 'b.ser')
    assert report.n_clipped == 15
    stack = af.open_frames(tmp_path / 'b.ser')
    assert (stack[0][2, 3:8] == 4095).all()
    assert stack[0].sum() == 4000 * 24 * 30 + 5 * 95


def test_bias_is_restored(tmp_path):
    """The pedestal goes before the division and comes back after it."""
    frames, flat = make_frames(), make_flat()
    af.correct_frames(
        frames,
        flat,
        output=tmp_path / 'b.ser',
        bias=np.full(SHAPE, 80.0),
        restore_bias=True,
    )
    result = af.open_frames(tmp_path / 'b.ser')[2]
    assert np.abs(result - expected(frames, flat, 80)[2]).max() <= 1


def test_cube(tmp_path):
    """Frames are written to a cube as a stream, floating point unrounded."""
    frames = make_frames().astype('f4')
    flat = make_flat()
    af.correct_frames(frames, flat, output=tmp_path / 'b.fits')
    data = fits.getdata(tmp_path / 'b.fits')
    assert data.shape == frames.shape
    assert np.allclose(data, frames / flat, rtol=1e-6)


def test_integer_cube(tmp_path):
    """An integer cube keeps its type."""
    frames, flat = make_frames(top=30000), make_flat()
    af.correct_frames(frames, flat, output=tmp_path / 'b.fits')
    data = fits.getdata(tmp_path / 'b.fits')
    assert data.dtype == np.uint16
    assert np.abs(data - expected(frames, flat)).max() <= 1


def test_uncorrected_pixels_are_counted(tmp_path):
    """Where the flat is unknown the sample stays and is counted."""
    frames = make_frames(n=2)
    flat = np.ones(SHAPE)
    flat[1, 1] = 0
    report = af.correct_frames(frames, flat, output=tmp_path / 'b.ser')
    assert report.n_masked == 2
    assert af.open_frames(tmp_path / 'b.ser')[0][1, 1] == frames[0, 1, 1]


@pytest.fixture
def night(tmp_path):
    """Return a folder with three frames with headers."""
    folder = tmp_path / 'night'
    folder.mkdir()
    for i, frame in enumerate(make_frames(n=3)):
        ccd = CCDData(frame, unit='adu', meta={'OBJECT': 'M57', 'EXPTIME': 30.0})
        ccd.write(folder / f'light_{i}.fits')
    return folder


@pytest.mark.parametrize('dtype', ['keep', 'float32'])
def test_folder(night, tmp_path, dtype):
    """Files keep their names and headers, and their type if asked."""
    flat = make_flat()
    report = af.correct_frames(night, flat, output=tmp_path / 'out', dtype=dtype)
    assert report.n_frames == 3
    names = [p.name for p in report.paths]
    assert names == ['light_0.fits', 'light_1.fits', 'light_2.fits']
    for i, frame in enumerate(make_frames(n=3)):
        path = tmp_path / 'out' / f'light_{i}.fits'
        data = read_image(path)[0]
        header = fits.getheader(path)
        assert header['OBJECT'] == 'M57'
        assert header['AFMETH'] == 'correct'
        if dtype == 'keep':
            assert data.dtype == np.uint16
            assert np.abs(data - expected(frame, flat)).max() <= 1
        else:
            assert data.dtype == np.float32
            assert np.allclose(data, frame / flat, rtol=1e-6)


def test_originals_are_safe(night, tmp_path):
    """Neither the input's own folder nor existing files are overwritten."""
    flat = make_flat()
    before = {p.name: p.read_bytes() for p in night.iterdir()}
    with pytest.raises(FileExistsError, match='another folder'):
        af.correct_frames(night, flat, output=night)
    af.correct_frames(night, flat, output=tmp_path / 'out')
    (tmp_path / 'out' / 'light_0.fits').unlink()
    with pytest.raises(FileExistsError, match='overwrite'):
        af.correct_frames(night, flat, output=tmp_path / 'out')
    assert not (tmp_path / 'out' / 'light_0.fits').exists()
    assert before == {p.name: p.read_bytes() for p in night.iterdir()}


@pytest.mark.parametrize('threads', [1, 2, 4])
def test_threads(tmp_path, threads):
    """The order of the frames does not depend on the threads."""
    frames, flat = make_frames(n=23), make_flat()
    af.correct_frames(frames, flat, output=tmp_path / 'b.fits', n_threads=threads)
    assert np.abs(fits.getdata(tmp_path / 'b.fits') - expected(frames, flat)).max() <= 1


def test_colour_video(tmp_path):
    """A colour video is corrected in every channel."""
    rng = np.random.default_rng(0)
    frames = rng.integers(10, 120, (4, *SHAPE, 3)).astype('u1')
    flat = make_flat()
    write_ser(tmp_path / 'a.ser', frames, color='RGB')
    af.correct_frames(tmp_path / 'a.ser', flat, output=tmp_path / 'b.ser')
    result = af.open_frames(tmp_path / 'b.ser')[3]
    wanted = np.rint(frames[3] / np.float64(flat)[..., None])
    assert np.abs(result - wanted).max() <= 1


def test_wrong_flat_leaves_nothing(tmp_path):
    """A flat of another size is refused and no file is left."""
    with pytest.raises(ValueError, match='flat has the shape'):
        af.correct_frames(make_frames(), np.ones((3, 4)), output=tmp_path / 'b.ser')
    assert not list(tmp_path.iterdir())


def test_wrong_output(tmp_path):
    """A video needs the name of a video or cube; floats do not fit SER."""
    with pytest.raises(ValueError, match=r'must end in .ser or .fits'):
        af.correct_frames(make_frames(), make_flat(), output=tmp_path / 'b.tif')
    frames = make_frames().astype('f4')
    with pytest.raises(ValueError, match='cannot hold float32'):
        af.correct_frames(frames, make_flat(), output=tmp_path / 'b.ser')


def make_full():
    """Return an image with everything that a CCDData can have."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = 'RA---TAN', 'DEC--TAN'
    wcs.wcs.crval = 10, 20
    wcs.wcs.cdelt = -0.001, 0.001
    mask = np.zeros(SHAPE, bool)
    mask[3, 4] = True
    return CCDData(
        np.full(SHAPE, 1000, 'f4'),
        unit='electron',
        meta={'OBJECT': 'M31'},
        mask=mask,
        uncertainty=StdDevUncertainty(np.full(SHAPE, 30, 'f4')),
        wcs=wcs,
    )


@pytest.mark.parametrize('memory', [True, False])
def test_single_image_keeps_everything(tmp_path, memory):
    """One image to one FITS file: 2-D, header, WCS, unit, mask, uncertainty."""
    source = make_full()
    if not memory:
        source.write(tmp_path / 'a.fits')
        source = tmp_path / 'a.fits'
    flat = make_flat()
    flat[0, 0] = 0
    report = af.correct_frames(source, flat, output=tmp_path / 'b.fits')
    assert (report.n_frames, report.n_masked) == (1, 1)
    ccd = CCDData.read(tmp_path / 'b.fits')
    flat[0, 0] = 1
    assert ccd.unit == 'electron'
    assert ccd.header['OBJECT'] == 'M31'
    assert np.allclose(ccd.wcs.wcs.crval, (10, 20))
    assert np.argwhere(ccd.mask).tolist() == [[0, 0], [3, 4]]
    assert np.allclose(ccd.data, 1000 / flat, rtol=1e-6)
    assert np.allclose(ccd.uncertainty.array, 30 / flat, rtol=1e-6)


def test_cube_keeps_header_and_masks(tmp_path):
    """What all frames share goes to the header, their masks to MASK."""
    mask = np.zeros((4, *SHAPE), 'u1')
    mask[1, 5, 6] = 1
    cards = fits.Header({'OBJECT': 'M1', 'BUNIT': 'electron'})
    cube = fits.PrimaryHDU(np.full((4, *SHAPE), 1000, 'f4'), cards)
    hdus = fits.HDUList([cube, fits.ImageHDU(mask, name='MASK')])
    hdus.writeto(tmp_path / 'a.fits')
    flat = make_flat()
    flat[0, 1] = 0
    af.correct_frames(tmp_path / 'a.fits', flat, output=tmp_path / 'b.fits')
    with fits.open(tmp_path / 'b.fits') as hdus:
        header = hdus[0].header
        assert (header['OBJECT'], header['AFMETH']) == ('M1', 'correct')
        assert header['BUNIT'] == 'electron'
        mask[:, 0, 1] = 1
        assert isinstance(hdus['MASK'], fits.ImageHDU)
        assert np.array_equal(hdus['MASK'].data, mask)
    with af.open_frames(tmp_path / 'b.fits') as stack:
        assert stack.ccd(1).mask.sum() == 2


def test_cube_of_files_has_what_they_share(tmp_path):
    """Cards that differ between frames are not those of the cube."""
    for i in range(2):
        meta = {'OBJECT': 'M57', 'AIRMASS': 1.0 + i, 'DATE-OBS': f'2025-01-0{i + 1}'}
        ccd = CCDData(np.full(SHAPE, 100, 'u2'), unit='adu', meta=meta)
        ccd.write(tmp_path / f'a{i}.fits')
    files = [tmp_path / f'a{i}.fits' for i in range(2)]
    af.correct_frames(files, make_flat(), output=tmp_path / 'b.fits')
    header = fits.getheader(tmp_path / 'b.fits')
    assert header['OBJECT'] == 'M57'
    assert not {'AIRMASS', 'DATE-OBS'} & set(header)
    assert header['DATE-END'].startswith('2025-01-02')


@pytest.mark.parametrize('dtype', ['i1', 'i2', 'i4', 'u4', 'f8'])
def test_cube_keeps_its_type(tmp_path, dtype):
    """Every type that a FITS file has comes back, at its limits too."""
    frames = np.full((2, *SHAPE), 100, dtype)
    if frames.dtype.kind == 'f':
        frames += 1e-7
    flat = np.ones(SHAPE)
    flat[2, 2] = 0.5
    top = np.iinfo(dtype).max if frames.dtype.kind != 'f' else 300
    frames[0, 2, 2] = top
    report = af.correct_frames(frames, flat, output=tmp_path / 'b.fits')
    data = fits.getdata(tmp_path / 'b.fits')
    assert data.dtype.newbyteorder('=') == frames.dtype
    assert data[0, 2, 2] == (top if report.n_clipped else 600)
    assert data[1, 0, 0] == frames[1, 0, 0]


def test_video_keeps_its_names(tmp_path):
    """Observer, camera, telescope and local time are those of the source."""
    names = {'observer': 'G. E. Hale', 'instrument': 'IMX', 'telescope': 'C11'}
    local = Time('2025-06-01T14:00:00', scale='local')
    write_ser(tmp_path / 'a.ser', make_frames(n=2), start_local=local, **names)
    af.correct_frames(tmp_path / 'a.ser', make_flat(), output=tmp_path / 'b.ser')
    with SERFile(tmp_path / 'b.ser') as video:
        assert {name: getattr(video, name) for name in names} == names
        assert video.start_local.isot.startswith('2025-06-01T14:00:00')


@pytest.mark.parametrize(('restore', 'slope'), [(False, 2.0), (True, 1.0)])
def test_bias_brings_its_errors(tmp_path, restore, slope):
    """The mask of the bias is handed on, its variance goes through the division."""
    make_full().write(tmp_path / 'a.fits')
    mask = np.zeros(SHAPE, bool)
    mask[7, 8] = True
    bias = CCDData(
        np.full(SHAPE, 100, 'f4'),
        unit='adu',
        mask=mask,
        uncertainty=StdDevUncertainty(np.full(SHAPE, 40, 'f4')),
    )
    report = af.correct_frames(
        [tmp_path / 'a.fits'],
        np.full(SHAPE, 0.5),
        output=tmp_path / 'out',
        bias=bias,
        restore_bias=restore,
    )
    assert report.n_masked == 0
    ccd = CCDData.read(report.paths[0])
    assert ccd.data[0, 0] == 1800 + 100 * restore
    assert np.argwhere(ccd.mask).tolist() == [[3, 4], [7, 8]]
    assert np.isclose(ccd.uncertainty.array[0, 0], np.hypot(60, slope * 40))


def test_bias_of_another_size(tmp_path):
    """A row is not stretched to a frame."""
    with pytest.raises(ValueError, match='bias has the shape'):
        af.correct_frames(
            make_frames(), make_flat(), output=tmp_path / 'b.ser', bias=np.ones((1, 30))
        )


def test_scaled_integers_stay_scaled(tmp_path):
    """A 16-bit image written with a scale is written with it again."""
    write_image(np.full(SHAPE, 0.4), tmp_path / 'a.tif', dtype='uint16', scale=65535)
    flat = np.full(SHAPE, 0.8)
    report = af.correct_frames([tmp_path / 'a.tif'], flat, output=tmp_path / 'out')
    assert np.allclose(read_ccd(report.paths[0]).data, 0.5, atol=1e-5)
