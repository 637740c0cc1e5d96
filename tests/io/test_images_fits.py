# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Reading FITS images: extensions, compression, companions, damage."""

from __future__ import annotations

import bz2
import gzip
import lzma

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

from astroflat import AstroflatWarning
from astroflat.io import ImageFormatError, read_ccd, read_image, write_image

IMAGE = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def celestial():
    """Return a WCS on the sky."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
    wcs.wcs.crval = [283.4, 33.03]
    wcs.wcs.crpix = [2.0, 1.5]
    wcs.wcs.cdelt = [-3e-4, 3e-4]
    return wcs


def write(path, *hdus):
    """Write HDUs and return the path."""
    fits.HDUList(list(hdus)).writeto(path)
    return path


@pytest.mark.parametrize('dtype', ['u1', 'i2', 'u2', 'i4', 'u4', 'i8', 'f4', 'f8'])
def test_sample_types(tmp_path, dtype):
    """Every sample type comes back as it is, in native byte order."""
    path = write(tmp_path / 'a.fits', fits.PrimaryHDU(IMAGE.astype(dtype)))
    data = read_image(path).data
    assert data.dtype == np.dtype(dtype)
    assert data.dtype.isnative
    assert data.flags.c_contiguous
    assert data.flags.writeable
    assert np.array_equal(data, IMAGE)


def test_scaled_integers_become_float(tmp_path):
    """BSCALE other than 1 gives floating point, BLANK gives NaN."""
    hdu = fits.PrimaryHDU(np.array([[1, 2], [3, -99]], dtype=np.int16))
    hdu.header['BLANK'] = -99
    path = write(tmp_path / 'a.fits', hdu)
    with fits.open(path, mode='update', do_not_scale_image_data=True) as hdus:
        hdus[0].header['BSCALE'] = 0.5
        hdus[0].header['BZERO'] = 10.0
    data = read_image(path).data
    assert data.dtype.kind == 'f'
    assert np.array_equal(data, [[10.5, 11.0], [11.5, np.nan]], equal_nan=True)


def test_first_image_extension(tmp_path):
    """An empty primary HDU is passed over and its cards are inherited."""
    primary = fits.PrimaryHDU(header=fits.Header({'OBJECT': 'M57', 'EXPTIME': 1.0}))
    table = fits.BinTableHDU.from_columns([fits.Column('a', 'D', array=[1.0])])
    image = fits.ImageHDU(IMAGE, fits.Header({'EXPTIME': 30.0}), name='SCI')
    path = write(tmp_path / 'a.fits', primary, table, image)
    data, meta, _ = read_image(path)
    assert np.array_equal(data, IMAGE)
    assert meta['OBJECT'] == 'M57'
    assert meta['EXPTIME'] == 30.0
    assert 'NAXIS1' not in meta
    assert 'XTENSION' not in meta


@pytest.mark.parametrize('kind', ['RICE_1', 'GZIP_2'])
def test_tile_compressed(tmp_path, kind):
    """A tile-compressed image is found and restored exactly."""
    hdu = fits.CompImageHDU(IMAGE.astype(np.int16), compression_type=kind)
    path = write(tmp_path / 'a.fits.fz', fits.PrimaryHDU(), hdu)
    data, meta, _ = read_image(path)
    assert np.array_equal(data, IMAGE)
    assert not [name for name in meta if name.startswith('Z')]


@pytest.mark.parametrize(
    ('suffix', 'compress'), [('gz', gzip), ('bz2', bz2), ('xz', lzma)]
)
def test_compressed_files(tmp_path, suffix, compress):
    """Whole files may be compressed, whatever they are called."""
    path = write(tmp_path / 'a.fits', fits.PrimaryHDU(IMAGE))
    packed = tmp_path / f'b.fits.{suffix}'
    packed.write_bytes(compress.compress(path.read_bytes()))
    assert np.array_equal(read_image(packed).data, IMAGE)


@pytest.mark.parametrize('ext', [2, -1, 'CHIP2', ('CHIP2', 1)])
def test_choose_extension(tmp_path, ext):
    """An extension is chosen by number, by name, or by both."""
    path = write(
        tmp_path / 'a.fits',
        fits.PrimaryHDU(),
        fits.ImageHDU(IMAGE, name='CHIP1'),
        fits.ImageHDU(IMAGE + 1, name='CHIP2'),
    )
    assert np.array_equal(read_image(path, ext=ext).data, IMAGE + 1)


@pytest.mark.parametrize('ext', [7, 'NOTHING', ('CHIP1', 3)])
def test_missing_extension(tmp_path, ext):
    """The error names the extensions that there are."""
    path = write(
        tmp_path / 'a.fits', fits.PrimaryHDU(), fits.ImageHDU(IMAGE, name='CHIP1')
    )
    with pytest.raises(ImageFormatError, match='CHIP1'):
        read_image(path, ext=ext)


def test_no_image(tmp_path):
    """A file without an image, and an extension that is a table, are errors."""
    table = fits.BinTableHDU.from_columns([fits.Column('a', 'D', array=[1.0])])
    path = write(tmp_path / 'a.fits', fits.PrimaryHDU(), table)
    with pytest.raises(ImageFormatError, match='no image'):
        read_image(path)
    with pytest.raises(ImageFormatError, match='no image in extension 1'):
        read_image(path, ext=1)


@pytest.mark.parametrize(
    'kind', [StdDevUncertainty, VarianceUncertainty, InverseVariance]
)
def test_ccddata_file(tmp_path, kind, celestial):
    """Everything that CCDData.write keeps is read, the uncertainty in its kind."""
    mask = IMAGE > 9
    ccd = CCDData(
        IMAGE,
        unit='electron',
        mask=mask,
        uncertainty=kind(IMAGE + 1),
        wcs=celestial,
        psf=np.ones((3, 3)),
        meta=fits.Header({'FILTER': 'R'}),
    )
    ccd.write(tmp_path / 'a.fits')
    _, meta, extras = read_image(tmp_path / 'a.fits')
    assert extras['mask'].dtype == bool
    assert np.array_equal(extras['mask'], mask)
    assert type(extras['uncertainty']) is kind
    assert np.array_equal(extras['uncertainty'].array, IMAGE + 1)
    assert extras['unit'] == u.electron
    assert np.array_equal(extras['psf'], np.ones((3, 3)))
    assert np.allclose(extras['wcs'].wcs.crval, celestial.wcs.crval)
    assert meta['FILTER'] == 'R'
    assert 'CRVAL1' not in meta
    again = read_ccd(tmp_path / 'a.fits')
    assert again.unit == u.electron
    assert np.array_equal(again.mask, mask)
    assert type(again.uncertainty) is kind


def test_companions_belong_to_the_first_image(tmp_path):
    """The mask of one chip is not taken for that of another."""
    mask = fits.ImageHDU((IMAGE > 5).astype(np.uint8), name='MASK')
    path = write(
        tmp_path / 'a.fits',
        fits.PrimaryHDU(IMAGE),
        mask,
        fits.ImageHDU(IMAGE[:2], name='CHIP2'),
    )
    assert 'mask' in read_image(path).extras
    assert read_image(path, ext='CHIP2').extras == {}


@pytest.mark.parametrize('name', ['MASK', 'UNCERT'])
def test_companion_of_another_shape(tmp_path, name):
    """A mask or uncertainty that does not fit is an error, not a surprise later."""
    companion = fits.ImageHDU(np.zeros((2, 2), np.uint8), name=name)
    path = write(tmp_path / 'a.fits', fits.PrimaryHDU(IMAGE), companion)
    with pytest.raises(ImageFormatError, match=r'(?i)(mask|uncert)'):
        read_image(path)


def test_mask_alone_is_not_the_image(tmp_path):
    """The image is found behind its mask."""
    path = write(
        tmp_path / 'a.fits',
        fits.PrimaryHDU(),
        fits.ImageHDU((IMAGE > 5).astype(np.uint8), name='MASK'),
        fits.ImageHDU(IMAGE, name='SCI'),
    )
    image = read_image(path)
    assert np.array_equal(image.data, IMAGE)
    assert np.array_equal(image.extras['mask'], IMAGE > 5)


@pytest.mark.parametrize(
    ('bunit', 'unit'),
    [('ADU', 'adu'), ('adu', 'adu'), ('electron', 'electron'), ('counts', 'adu')],
)
def test_units(tmp_path, bunit, unit):
    """The spellings of real headers are understood."""
    hdu = fits.PrimaryHDU(IMAGE, fits.Header({'BUNIT': bunit}))
    path = write(tmp_path / 'a.fits', hdu)
    assert read_image(path).extras['unit'] == u.Unit(unit)
    assert read_ccd(path).unit == u.Unit(unit)


def test_unknown_unit_is_ignored_with_a_warning(tmp_path):
    """A unit that nobody knows does not keep the image from being read."""
    hdu = fits.PrimaryHDU(IMAGE, fits.Header({'BUNIT': 'frobs'}))
    path = write(tmp_path / 'a.fits', hdu)
    with pytest.warns(AstroflatWarning, match='frobs') as record:
        image = read_image(path)
    assert 'unit' not in image.extras
    assert record[0].filename == __file__


def test_default_unit(tmp_path):
    """Without BUNIT the unit is the caller's, or adu."""
    path = write(tmp_path / 'a.fits', fits.PrimaryHDU(IMAGE))
    assert 'unit' not in read_image(path).extras
    assert read_ccd(path).unit == u.adu
    assert read_ccd(path, unit='electron').unit == u.electron


def test_three_planes_are_colour(tmp_path):
    """Three planes become (ny, nx, 3), with their mask."""
    planes = np.arange(36, dtype=np.float32).reshape(3, 3, 4)
    mask = fits.ImageHDU((planes > 20).astype(np.uint8), name='MASK')
    path = write(tmp_path / 'a.fits', fits.PrimaryHDU(planes), mask)
    image = read_image(path)
    assert image.data.shape == (3, 4, 3)
    assert np.array_equal(image.data[..., 1], planes[1])
    assert np.array_equal(image.extras['mask'][..., 2], planes[2] > 20)


def test_spectral_cube_stays_a_cube(tmp_path):
    """Three planes of wavelength are not taken for colour."""
    hdu = fits.PrimaryHDU(np.zeros((3, 5, 4), np.float32))
    hdu.header['CTYPE3'] = 'WAVE'
    path = write(tmp_path / 'a.fits', hdu)
    assert read_image(path).data.shape == (3, 5, 4)


def test_single_plane_is_an_image(tmp_path):
    """A third axis of length 1 is dropped; a real cube is kept."""
    one = write(tmp_path / 'a.fits', fits.PrimaryHDU(IMAGE[None]))
    many = write(tmp_path / 'b.fits', fits.PrimaryHDU(np.zeros((5, 3, 4))))
    assert np.array_equal(read_image(one).data, IMAGE)
    assert read_image(many).data.shape == (5, 3, 4)


def test_celestial_part_of_a_longer_wcs(tmp_path, celestial):
    """A colour image keeps the two axes on the sky."""
    header = celestial.to_header()
    header['WCSAXES'] = 3
    header['CTYPE3'] = 'RGB'
    hdu = fits.PrimaryHDU(np.zeros((3, 3, 4), np.float32), header)
    path = write(tmp_path / 'a.fits', hdu)
    image = read_image(path)
    assert image.data.shape == (3, 4, 3)
    assert image.extras['wcs'].naxis == 2
    assert np.allclose(image.extras['wcs'].wcs.crval, celestial.wcs.crval)


@pytest.mark.parametrize('keep', [0.3, 0.6, 0.9])
@pytest.mark.parametrize('compressed', [False, True])
def test_truncated(tmp_path, keep, compressed):
    """A file that ends too early is an error, never a partial image."""
    data = np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32)
    path = write(tmp_path / 'a.fits', fits.PrimaryHDU(data))
    content = path.read_bytes()
    content = gzip.compress(content) if compressed else content
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ImageFormatError, match=r'a\.fits'):
        read_image(path)


def test_input_file_is_closed(tmp_path):
    """The file can be replaced as soon as it has been read."""
    path = write(tmp_path / 'a.fits', fits.PrimaryHDU(IMAGE))
    data = read_image(path).data
    fits.writeto(path, IMAGE * 0, overwrite=True)
    assert np.array_equal(data, IMAGE)


@pytest.mark.parametrize('packed', [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize('number', ['1000', '99999999999'])
def test_absurd_number_of_axes(tmp_path, packed, number):
    """More axes than FITS knows are refused before astropy counts them."""
    path = write(tmp_path / 'a.fits', fits.PrimaryHDU(IMAGE))
    card = f'NAXIS   = {2:20d}'.encode()
    assert card in path.read_bytes()
    data = path.read_bytes().replace(card, f'NAXIS   = {number:>20s}'.encode())
    path.write_bytes(packed(data))
    with pytest.raises(ImageFormatError, match=f'NAXIS = {number}, more than 999'):
        read_image(path)


def test_absurd_number_of_axes_in_an_extension(tmp_path):
    """The same holds for the headers behind the first."""
    mask = fits.ImageHDU(np.zeros((3, 4), np.uint8), name='MASK')
    path = write(tmp_path / 'a.fits', fits.PrimaryHDU(IMAGE), mask)
    data = bytearray(path.read_bytes())
    start = data.index(b'NAXIS   =', 2880)
    data[start : start + 30] = f'NAXIS   = {10**12:20d}'.encode()
    path.write_bytes(bytes(data))
    with pytest.raises(ImageFormatError, match='more than 999'):
        read_image(path)


@pytest.mark.parametrize('packed', [bytes, gzip.compress])
@pytest.mark.parametrize('key', ['NAXIS1', 'NAXIS2', 'GCOUNT'])
def test_negative_size(tmp_path, packed, key):
    """Data of a negative size are refused; astropy would read in a circle."""
    path = write(tmp_path / 'a.fits', fits.PrimaryHDU(IMAGE))
    data = bytearray(path.read_bytes())
    start = data.find(f'{key:8s}='.encode())
    start = data.index(b'END'.ljust(80)) if start < 0 else start
    data[start : start + 80] = f'{key:8s}= {-4:20d}'.encode().ljust(80)
    if key == 'GCOUNT':
        data[start + 80 : start + 83] = b'END'
    path.write_bytes(packed(bytes(data)))
    with pytest.raises(ImageFormatError, match='the header is damaged'):
        read_image(path)


def test_wrong_checksum_of_gzip(tmp_path):
    """A gzip file with a wrong checksum is refused, not read in a circle."""
    path = write(tmp_path / 'a.fits', fits.PrimaryHDU(IMAGE))
    data = bytearray(gzip.compress(path.read_bytes()))
    data[-8] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ImageFormatError, match='cannot be decompressed'):
        read_image(path)


@pytest.mark.filterwarnings('ignore:An exception occurred', 'ignore:The HDU will be')
def test_header_that_leads_back(tmp_path):
    """A compressed file without a sound header is refused, not read in a circle."""
    plain = write(tmp_path / 'a.fits', fits.PrimaryHDU(IMAGE)).read_bytes()
    path = tmp_path / 'a.fits.gz'
    path.write_bytes(gzip.compress(plain.replace(b' T', b'?T', 1)))
    with pytest.raises(ImageFormatError, match='leads back to itself'):
        read_image(path)


def test_many_small_extensions_compressed(tmp_path):
    """As many HDUs as fit into a compressed file are read."""
    hdus = [fits.PrimaryHDU(), *(fits.ImageHDU() for _ in range(20))]
    path = write(tmp_path / 'a.fits.gz', *hdus, fits.ImageHDU(IMAGE))
    np.testing.assert_array_equal(read_image(path)[0], IMAGE)


@pytest.mark.parametrize(
    ('value', 'lines'),
    [(None, []), (5, ['5']), (['a', None, 3], ['a', '3']), ('one', ['one'])],
)
@pytest.mark.parametrize('name', ['HISTORY', 'COMMENT'])
def test_notes_of_any_kind(tmp_path, name, value, lines):
    """Notes in a plain dict become lines, whatever they are."""
    path = tmp_path / 'a.fits'
    write_image(CCDData(np.ones((4, 5)), unit='adu', meta={name: value}), path)
    assert list(fits.getheader(path).get(name, [])) == lines
