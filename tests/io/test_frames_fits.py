# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Stacks of FITS files, against astropy."""

from __future__ import annotations

import bz2
import gc
import gzip
import lzma
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import (
    CCDData,
    InverseVariance,
    StdDevUncertainty,
    VarianceUncertainty,
)
from astropy.wcs import WCS

from astroflat._exceptions import AstroflatWarning, ImageFormatError
from astroflat.io import _bytes, open_frames

TYPES = ['u1', 'i1', 'i2', 'u2', 'i4', 'u4', 'i8', 'u8', 'f4', 'f8']


def extremes(dtype, shape=(7, 9), seed=0):
    """Return an image with the smallest and largest values of its type."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == 'f':
        image = rng.normal(0, 1e4, shape).astype(dtype)
        image.flat[:2] = [np.nan, np.inf]
        return image
    info = np.iinfo(dtype)
    image = rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    image.flat[:2] = [info.min, info.max]
    return image


def write(folder, images, **cards):
    """Write images as single FITS files and return their paths."""
    paths = []
    for i, image in enumerate(images):
        path = folder / f'f{i}.fits'
        header = fits.Header({'FRAMENO': i, **cards})
        fits.PrimaryHDU(image, header).writeto(path)
        paths.append(path)
    return paths


@pytest.mark.parametrize('dtype', TYPES)
def test_every_type(tmp_path, dtype):
    """All FITS types and their unsigned forms come out native and exact."""
    images = [extremes(dtype, seed=i) for i in range(3)]
    with open_frames(write(tmp_path, images)) as stack:
        assert stack.dtype == np.dtype(dtype)
        assert stack.dtype.isnative
        assert stack.shape == (3, 7, 9)
        np.testing.assert_array_equal(stack.read_rows(0, 7), images)
        np.testing.assert_array_equal(stack.read_rows(3, 5), np.array(images)[:, 3:5])
        np.testing.assert_array_equal(stack[1], images[1])
        assert stack.mask_rows(0, 7) is None


@pytest.mark.parametrize('bitpix', [8, 16, 32, -32, -64])
@pytest.mark.parametrize(('scale', 'zero'), [(0.25, 0), (1, 100), (0.1, -3.5)])
def test_scaled(tmp_path, bitpix, scale, zero):
    """Other scalings give what astropy gives, to the bit and in its type."""
    stored = {8: 'u1', 16: '>i2', 32: '>i4', -32: '>f4', -64: '>f8'}[bitpix]
    raw = (np.arange(63) * 3).reshape(7, 9).astype(stored)
    path = tmp_path / 'a.fits'
    fits.PrimaryHDU(raw).writeto(path)
    with fits.open(path, mode='update', do_not_scale_image_data=True) as hdus:
        hdus[0].header['BSCALE'] = scale
        hdus[0].header['BZERO'] = zero
    expected = fits.getdata(path)
    with open_frames(path) as stack:
        assert stack.dtype == expected.dtype.newbyteorder('=')
        assert stack.dtype.kind == 'f'
        np.testing.assert_array_equal(stack[0], expected)
        assert 'BZERO' not in stack.ccd(0).meta


@pytest.mark.parametrize(('dtype', 'zero'), [('i2', 0), ('u2', 32768), ('i4', 0)])
def test_blank_is_masked(tmp_path, dtype, zero):
    """Integers equal to BLANK keep their type and are masked."""
    raw = np.arange(63).reshape(7, 9).astype(dtype)
    blank = 17 - zero
    paths = write(tmp_path, [raw, raw + np.dtype(dtype).type(1)])
    for path in paths:
        with fits.open(path, mode='update', do_not_scale_image_data=True) as hdus:
            hdus[0].header['BLANK'] = blank
    with open_frames(paths) as stack:
        assert stack.dtype == np.dtype(dtype)
        assert stack.has_mask
        np.testing.assert_array_equal(stack.read_rows(0, 7), [raw, raw + 1])
        np.testing.assert_array_equal(
            stack.mask_rows(1, 3), [raw[1:3] == 17, raw[1:3] == 16]
        )
        np.testing.assert_array_equal(stack.ccd(0).mask, raw == 17)


def test_blank_of_scaled_is_nan(tmp_path):
    """Scaled integers become NaN where they are blank, and there is no mask."""
    raw = np.arange(63).reshape(7, 9).astype('>i2')
    path = write(tmp_path, [raw])[0]
    with fits.open(path, mode='update', do_not_scale_image_data=True) as hdus:
        hdus[0].header['BSCALE'] = 0.5
        hdus[0].header['BLANK'] = 17
    with open_frames(path) as stack:
        np.testing.assert_array_equal(np.isnan(stack[0]), raw == 17)
        np.testing.assert_array_equal(stack[0], fits.getdata(path))
        assert stack.mask_rows(0, 7) is None


@pytest.mark.parametrize('pack', [gzip, bz2, lzma])
def test_packed_files(tmp_path, pack):
    """Compressed files are decoded once and read like plain ones."""
    images = [extremes('u2', seed=i) for i in range(3)]
    packed = []
    for path in write(tmp_path, images, BUNIT='adu'):
        name = path.with_name(path.name + '.x')
        with pack.open(name, 'wb') as file:
            file.write(path.read_bytes())
        packed.append(name)
    with open_frames(packed) as stack:
        np.testing.assert_array_equal(stack.read_rows(2, 6), np.array(images)[:, 2:6])
        assert stack.header(2)['FRAMENO'] == 2
        assert stack.unit == u.adu


@pytest.mark.parametrize('kind', ['RICE_1', 'GZIP_1', 'GZIP_2', 'HCOMPRESS_1'])
@pytest.mark.parametrize('dtype', ['u1', 'i2', 'u2', 'i4', 'f4'])
def test_tile_compressed(tmp_path, kind, dtype):
    """Tile-compressed images give what astropy gives, also of floats."""
    rng = np.random.default_rng(2)
    images = [rng.normal(100, 10, (32, 48)).astype(dtype) for _ in range(2)]
    paths = []
    for i, image in enumerate(images):
        paths.append(tmp_path / f'c{i}.fits.fz')
        hdu = fits.CompImageHDU(image, compression_type=kind)
        hdu.header['FRAMENO'] = i
        hdu.writeto(paths[-1])
    expected = np.array([fits.getdata(path) for path in paths])
    with open_frames(paths) as stack:
        assert stack.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(stack.read_rows(5, 20), expected[:, 5:20])
        np.testing.assert_array_equal(stack[1], expected[1])
        header = stack.header(1)
        assert header['FRAMENO'] == 1
        assert header['NAXIS1'] == 48
        assert 'ZIMAGE' not in header


def test_extensions(tmp_path):
    """Extensions are chosen by number, name, or name and version."""
    path = tmp_path / 'mef.fits'
    amps = [extremes('u2', seed=i) for i in range(3)]
    hdus = [fits.PrimaryHDU(header=fits.Header({'EXPTIME': 30, 'AMP': 'no'}))]
    for i, amp in enumerate(amps):
        header = fits.Header({'AMP': i})
        hdus.append(fits.ImageHDU(amp, header, name='SCI', ver=i + 1))
    hdus.append(fits.ImageHDU(amps[0].astype('f4'), name='other'))
    fits.HDUList(hdus).writeto(path)
    for ext, expected in (
        (None, amps[0]),
        (2, amps[1]),
        (-2, amps[2]),
        ('sci', amps[0]),
        (('SCI', 3), amps[2]),
    ):
        with open_frames([path, path], ext=ext) as stack:
            np.testing.assert_array_equal(stack[1], expected)
    with open_frames(path, ext=('SCI', 2)) as stack:
        assert stack.header(0)['EXPTIME'] == 30
        assert stack.header(0)['AMP'] == 1
    with pytest.raises(ValueError, match="no extension 'ERR'; it has"):
        open_frames(path, ext='ERR')
    with pytest.raises(ValueError, match='is not an image'):
        open_frames(path, ext=0)


@pytest.mark.parametrize(
    'kind', [StdDevUncertainty, VarianceUncertainty, InverseVariance]
)
def test_what_ccddata_writes(tmp_path, kind):
    """Mask, uncertainty, unit, WCS and header come back as from CCDData.read."""
    paths = []
    for i in range(2):
        rng = np.random.default_rng(i)
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
        wcs.wcs.crval = [10 + i, 20]
        wcs.wcs.cdelt = [-1e-4, 1e-4]
        ccd = CCDData(
            rng.normal(5, 1, (7, 9)),
            unit='electron',
            mask=rng.random((7, 9)) > 0.8,
            uncertainty=kind(rng.random((7, 9))),
            meta={'FILTER': 'R'},
            wcs=wcs,
        )
        paths.append(tmp_path / f'ccd{i}.fits')
        ccd.write(paths[-1])
    with open_frames(paths) as stack:
        assert stack.has_mask
        assert stack.has_uncertainty
        assert stack.unit == u.electron
        for i, path in enumerate(paths):
            ours, theirs = stack.ccd(i), CCDData.read(path)
            np.testing.assert_array_equal(ours.data, theirs.data)
            np.testing.assert_array_equal(ours.mask, theirs.mask)
            assert type(ours.uncertainty) is kind
            np.testing.assert_array_equal(
                ours.uncertainty.array, theirs.uncertainty.array
            )
            assert ours.unit == theirs.unit
            assert ours.meta['FILTER'] == 'R'
            np.testing.assert_allclose(ours.wcs.wcs.crval, theirs.wcs.wcs.crval)
        masks = stack.mask_rows(2, 5)
        expected = [CCDData.read(path).mask[2:5] for path in paths]
        np.testing.assert_array_equal(masks, expected)
    # A chosen extension stands alone.
    with open_frames(paths, ext=0) as stack:
        assert not stack.has_mask
        assert not stack.has_uncertainty


def test_cube(tmp_path):
    """The planes of a cube are frames; cubes in a list follow one another."""
    cubes = [extremes('i2', (4, 7, 9), seed=i) for i in range(2)]
    paths = write(tmp_path, cubes)
    with open_frames(paths[0]) as stack:
        assert stack.shape == (4, 7, 9)
        np.testing.assert_array_equal(stack[2], cubes[0][2])
        assert stack.label(2) == 'f0.fits [2]'
    with open_frames(paths) as stack:
        np.testing.assert_array_equal(
            stack.read_rows(1, 4), np.concatenate(cubes)[:, 1:4]
        )


def test_degenerate_axes(tmp_path):
    """Axes of length one in front are dropped."""
    path = write(tmp_path, [np.ones((1, 1, 7, 9), 'f4')])[0]
    with open_frames(path) as stack:
        assert stack.shape == (1, 7, 9)


def test_three_planes(tmp_path):
    """Three planes are colours in lists or if the header says so, else asked for."""
    cubes = [extremes('u2', (3, 7, 9), seed=i) for i in range(2)]
    paths = write(tmp_path, cubes)
    expected = np.moveaxis(np.array(cubes), 1, -1)
    with open_frames(paths) as stack:
        assert stack.color == 'RGB'
        assert stack.shape == (2, 7, 9, 3)
        np.testing.assert_array_equal(stack.read_rows(2, 6), expected[:, 2:6])
    with pytest.warns(AstroflatWarning, match="pass color='RGB'"):
        stack = open_frames(paths[0])
    assert stack.shape == (3, 7, 9)
    stack.close()
    with open_frames(paths[0], color='RGB') as stack:
        np.testing.assert_array_equal(stack[0], expected[0])
    with open_frames(paths, color='mono') as stack:
        assert stack.shape == (6, 7, 9)
    fits.setval(paths[0], 'CTYPE3', value='RGB')
    with open_frames(paths[0]) as stack:
        assert stack.shape == (1, 7, 9, 3)


def test_bayer_header(tmp_path):
    """BAYERPAT names the mosaic, shifted by its offsets."""
    image = np.ones((4, 6), 'u2')
    for k, (x, y, expected) in enumerate(
        [(0, 0, 'RGGB'), (1, 0, 'GRBG'), (0, 1, 'GBRG'), (1, 1, 'BGGR')]
    ):
        path = tmp_path / f'{k}.fits'
        header = fits.Header({'BAYERPAT': 'RGGB', 'XBAYROFF': x, 'YBAYROFF': y})
        fits.PrimaryHDU(image, header).writeto(path)
        with open_frames(path) as stack:
            assert stack.color == expected
        with open_frames(path, color='mono') as stack:
            assert stack.color == 'mono'


def test_times_and_headers(tmp_path):
    """Times come from DATE-OBS, DATE-OBS with TIME-OBS, or MJD-OBS."""
    image = np.ones((2, 2), 'f4')
    for k, cards in enumerate(
        [
            {'DATE-OBS': '2020-01-01T12:00:00.5'},
            {'DATE-OBS': '2020-01-01', 'TIME-OBS': '12:00:00.5'},
            {'MJD-OBS': 58849.5 + 0.5 / 86400},
        ]
    ):
        folder = tmp_path / str(k)
        folder.mkdir()
        with open_frames(write(folder, [image, image], **cards)) as stack:
            assert stack.times.shape == (2,)
            assert stack.times.utc[1].isot == '2020-01-01T12:00:00.500'
            assert [h['FRAMENO'] for h in stack.headers] == [0, 1]
            assert len(stack.headers[0:2]) == 2
    with open_frames(write(tmp_path, [image])) as stack:
        assert stack.times is None


def test_units(tmp_path):
    """BUNIT is read in its many spellings; a wrong one can be overridden."""
    image = np.ones((2, 2), 'f4')
    for k, (text, unit) in enumerate(
        [('ADU', u.adu), ('electrons', u.electron), ('MJy/sr', u.MJy / u.sr)]
    ):
        path = tmp_path / f'{k}.fits'
        fits.PrimaryHDU(image, fits.Header({'BUNIT': text})).writeto(path)
        with open_frames(path) as stack:
            assert stack.unit == unit
            assert stack.ccd(0).unit == unit
    path = tmp_path / 'odd.fits'
    fits.PrimaryHDU(image, fits.Header({'BUNIT': 'furlong!'})).writeto(path)
    with open_frames(path) as stack, pytest.raises(ValueError, match="unit='adu'"):
        _ = stack.unit
    with open_frames(path, unit='electron') as stack:
        assert stack.unit == u.electron
    with open_frames(write(tmp_path, [image])) as stack:
        assert stack.unit is None
        assert stack.ccd(0).unit == u.adu


@pytest.mark.parametrize(
    ('other', 'cards', 'reason'),
    [
        (np.ones((7, 8), 'u2'), {}, r'f1.fits has the shape \(7, 8\)'),
        (np.ones((7, 9), 'i2'), {}, r'f1.fits has the type int16'),
        (np.ones((7, 9), 'u2'), {'BUNIT': 'electron'}, 'f1.fits has the unit electron'),
    ],
)
def test_frames_that_differ(tmp_path, other, cards, reason):
    """A frame of another shape, type or unit is named."""
    write(tmp_path, [np.ones((7, 9), 'u2')], BUNIT='adu')
    fits.PrimaryHDU(other, fits.Header(cards)).writeto(tmp_path / 'f1.fits')
    with pytest.raises(ValueError, match=reason):
        open_frames(tmp_path)


def test_truncated(tmp_path):
    """A file that lacks samples is refused; one that lacks only padding is not."""
    image = extremes('u2', (40, 50))
    path = write(tmp_path, [image])[0]
    data = path.read_bytes()
    path.write_bytes(data[: 2880 + 4000])
    with open_frames(path) as stack:
        np.testing.assert_array_equal(stack[0], image)
    path.write_bytes(data[: 2880 + 3999])
    with pytest.raises(
        ImageFormatError, match='promises 4000 bytes of samples, it has'
    ):
        open_frames(path)
    path.write_bytes(data[:400])
    with pytest.raises(ImageFormatError, match='no END card'):
        open_frames(path)
    packed = tmp_path / 'a.fits.gz'
    packed.write_bytes(gzip.compress(data)[:-200])
    with pytest.raises(ImageFormatError, match='damaged'):
        open_frames(packed)


def test_absurd_header(tmp_path):
    """A header that promises exabytes is refused before anything is allocated."""
    path = write(tmp_path, [np.ones((7, 9), 'u2')])[0]
    data = path.read_bytes().replace(
        b'NAXIS1  =                    9', b'NAXIS1  =      999999999999999'
    )
    path.write_bytes(data)
    with pytest.raises(ImageFormatError, match='truncated'):
        open_frames(path)


def test_no_image(tmp_path):
    """Tables and empty files hold no frames."""
    path = tmp_path / 'table.fits'
    fits.BinTableHDU.from_columns([fits.Column('x', 'E', array=[1.0])]).writeto(path)
    with pytest.raises(ImageFormatError, match='no image in any of its 2 HDUs'):
        open_frames(path)
    (tmp_path / 'empty.fits').touch()
    with pytest.raises(ImageFormatError, match='unknown kind'):
        open_frames(tmp_path / 'empty.fits')


def test_bytes_after_the_end(tmp_path):
    """What follows the last HDU and is no extension is ignored."""
    image = extremes('u2')
    path = write(tmp_path, [image])[0]
    path.write_bytes(path.read_bytes() + b'\0' * 2880 + b'notes')
    with open_frames(path) as stack:
        np.testing.assert_array_equal(stack[0], image)


def test_long_header(tmp_path):
    """Headers of many blocks, with text that looks like cards, are followed."""
    header = fits.Header()
    for k in range(200):
        header['COMMENT'] = f'NAXIS1  = {k} END'
    header['BUNIT'] = ('electron', "a 'quoted' / comment")
    image = extremes('i4')
    path = tmp_path / 'a.fits'
    fits.PrimaryHDU(image, header).writeto(path)
    with open_frames(path) as stack:
        np.testing.assert_array_equal(stack[0], image)
        assert stack.unit == u.electron


def test_opened_once(tmp_path, monkeypatch):
    """Reading many bands opens no file again."""
    images = [extremes('u2', seed=i) for i in range(4)]
    paths = write(tmp_path, images)
    with open_frames(paths) as stack:
        opened = []
        real = os.open
        monkeypatch.setattr(
            _bytes.os, 'open', lambda *a, **k: opened.append(a) or real(*a, **k)
        )
        for row in range(7):
            stack.read_rows(row, row + 1)
        assert opened == []


def n_descriptors():
    """Return how many descriptors the process has, 0 where it cannot be told."""
    folder = Path('/proc/self/fd')
    return len(list(folder.iterdir())) if folder.exists() else 0


def test_short_of_descriptors(tmp_path, monkeypatch):
    """Files beyond the budget are opened for each reading, and closed again."""
    images = [extremes('u2', seed=i) for i in range(6)]
    paths = write(tmp_path, images)
    # Stacks of other tests, kept alive by their tracebacks, close now or not here.
    gc.collect()
    limit = _bytes._BUDGET._used + 2
    monkeypatch.setattr(_bytes._Budget, '_limit', staticmethod(lambda: limit))
    before = n_descriptors()
    with open_frames(paths) as stack:
        np.testing.assert_array_equal(stack.read_rows(2, 5), np.array(images)[:, 2:5])
        if before:
            assert n_descriptors() == before + 2
    assert _bytes._BUDGET._used == limit - 2


def test_without_astropy_fits(tmp_path):
    """Opening and reading plain FITS files does not import astropy.io.fits."""
    write(tmp_path, [extremes('u2')])
    code = (
        'import sys, astroflat.io as io\n'
        f's = io.open_frames({str(tmp_path)!r})\n'
        's.read_rows(0, 7); s.mask_rows(0, 7); s.unit is None\n'
        'bad = {"astropy.io.fits", "astropy.nddata", "scipy", "tifffile"}\n'
        'assert not bad & set(sys.modules), bad & set(sys.modules)\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True, timeout=60)


def test_flipped_by_us(tmp_path):
    """Rows that were reversed for another program are restored."""
    from astroflat.io import write_image

    image = np.arange(63, dtype='u2').reshape(7, 9)
    path = tmp_path / 'a.fits'
    write_image(image, path)
    fits.setval(path, 'AFFLIP', value=True)
    with open_frames(path) as stack:
        np.testing.assert_array_equal(stack[0], image[::-1])


def test_number_where_an_axis_type_stands(tmp_path):
    """A WCS with a card of a wrong type is refused with the reason."""
    [path] = write(tmp_path, [extremes('u2')])
    fits.setval(path, 'CTYPE1', value='RA---TAN')
    fits.setval(path, 'CTYPE2', value=7)
    with open_frames(path) as stack:
        np.testing.assert_array_equal(stack[0], extremes('u2'))
        with pytest.raises(ImageFormatError, match=r'the WCS of .* cannot be read'):
            stack.ccd(0)


@pytest.mark.filterwarnings('ignore:Unexpected bytes', 'ignore:non-ASCII')
def test_end_card_with_more_behind_it(tmp_path):
    """A damaged END joins two headers; the image is refused with the reason."""
    path = tmp_path / 'a.fits'
    hdu = fits.CompImageHDU(extremes('i2'), compression_type='RICE_1')
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    end = b'END' + 77 * b' '
    path.write_bytes(path.read_bytes().replace(end, end[:5] + 75 * b'\xff', 1))
    with open_frames(path) as stack, pytest.raises(ImageFormatError, match='no data'):
        stack.read_rows(0, 2)


@pytest.mark.parametrize(
    'text', ['', ' ', "'", "a'", "'a", "it's", "''", 'a / b', "/'"]
)
def test_text_is_that_of_astropy(tmp_path, text):
    """Texts come back as they were, empty ones and quotes too."""
    path = tmp_path / 'a.fits'
    header = fits.Header([('OBJECT', text, "a comment's quote")])
    fits.writeto(path, np.ones((2, 3), 'i2'), header)
    assert fits.getheader(path)['OBJECT'] == text.rstrip()
    with open_frames(path) as stack:
        assert stack.header(0)['OBJECT'] == text.rstrip()


def test_empty_unit(tmp_path):
    """A BUNIT without a word says nothing."""
    path = tmp_path / 'a.fits'
    fits.writeto(path, np.ones((2, 3), 'i2'), fits.Header({'BUNIT': ''}))
    with open_frames(path) as stack:
        assert stack.unit is None
