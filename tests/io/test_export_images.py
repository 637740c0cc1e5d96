# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Writing frames: what comes back, and what is said about the rest."""

from __future__ import annotations

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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astroflat import AstroflatWarning
from astroflat.io import ImageFormatError, read_ccd, read_image, write_image

RNG = np.random.default_rng(8)
EXACT = ['.fits', '.fits.gz', '.tif', '.xisf']
SHAPES = [(13, 9), (13, 9, 3), (1, 1), (1, 5), (5, 1)]


@pytest.fixture
def header():
    """Return a header with every kind of card."""
    header = fits.Header()
    header['OBJECT'] = ("M 57 'the ring'", 'target')
    header['EXPTIME'] = (12.5, '[s] exposure')
    header['TINY'] = 1.23456789e-30
    header['NCOMBINE'] = 7
    header['COOLED'] = (True, 'sensor')
    header['NOTHING'] = (None, 'undefined')
    header['HIERARCH a longer keyword'] = 3.25
    header['LONGTEXT'] = 'x' * 150
    header.add_comment('first')
    header.add_history('one')
    header.add_history('two')
    header['BSCALE'] = 3.0
    header['DATAMAX'] = 1.0
    return header


@pytest.fixture
def celestial():
    """Return a WCS with rotation."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
    wcs.wcs.crval = [283.4, 33.03]
    wcs.wcs.crpix = [5.0, 6.5]
    wcs.wcs.cd = [[-3e-4, 1e-5], [1e-5, 3e-4]]
    return wcs


@pytest.mark.parametrize('suffix', EXACT)
@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('dtype', ['f4', 'f8', 'u1', 'u2', 'u4'])
def test_round_trip(tmp_path, suffix, shape, dtype):
    """All bits, the shape and the type come back."""
    data = (RNG.normal(100, 20, shape)).astype(dtype)
    if dtype[0] == 'f':
        data.flat[0] = np.nextafter(np.float32(1), 2)
        data.flat[-1] = -1e-40
    report = write_image(data, tmp_path / f'a{suffix}')
    read = read_image(tmp_path / f'a{suffix}').data
    assert read.dtype == data.dtype
    assert read.shape == data.shape
    assert read.tobytes() == data.tobytes()
    assert (report.dtype, report.n_clipped) == (data.dtype.name, 0)


@pytest.mark.parametrize('suffix', EXACT)
def test_special_values(tmp_path, suffix):
    """NaN and infinity are values of floating point."""
    data = np.array([[np.nan, np.inf], [-np.inf, -0.0]], np.float32)
    write_image(data, tmp_path / f'a{suffix}')
    assert read_image(tmp_path / f'a{suffix}').data.tobytes() == data.tobytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=48, max_size=48), st.sampled_from(EXACT), st.booleans())
def test_any_bits(tmp_path, content, suffix, compress):
    """Any float32 numbers at all come back, compressed or not."""
    data = np.frombuffer(content, np.float32).reshape(3, 4)
    # Some processors quiet a signalling NaN when they copy it.
    data = np.where(np.isnan(data), np.float32('nan'), data)
    write_image(data, tmp_path / f'a{suffix}', overwrite=True, compress=compress)
    assert read_image(tmp_path / f'a{suffix}').data.tobytes() == data.tobytes()


@pytest.mark.parametrize('suffix', [*EXACT, '.png'])
def test_header_round_trip(tmp_path, suffix, header, celestial):
    """Every card, its comment and the order come back; the structure does not."""
    data = np.full((6, 8), 7, np.uint16)
    ccd = CCDData(data, unit='adu', meta=header, wcs=celestial)
    write_image(ccd, tmp_path / f'a{suffix}')
    read = read_ccd(tmp_path / f'a{suffix}')
    wanted = [c for c in header.cards if c.keyword not in {'BSCALE', 'DATAMAX'}]
    assert [(c.keyword, str(c.value), c.comment) for c in read.header.cards] == [
        (c.keyword, str(c.value), c.comment) for c in wanted
    ]
    assert read.header['TINY'] == header['TINY']
    assert read.header['COOLED'] is True
    assert read.unit == u.adu
    x, y = np.meshgrid(np.arange(8), np.arange(6))
    assert np.allclose(
        read.wcs.wcs_pix2world(x, y, 0), celestial.wcs_pix2world(x, y, 0)
    )
    # A second round adds nothing.
    write_image(read, tmp_path / f'b{suffix}')
    again = read_ccd(tmp_path / f'b{suffix}')
    assert repr(again.header) == repr(read.header)


@pytest.mark.parametrize('suffix', [*EXACT, '.png'])
def test_dictionary_as_metadata(tmp_path, suffix):
    """Metadata that are no FITS header are made one."""
    meta = {
        'filter': 'Hα',
        'exptime': np.float32(2.5),
        'count': np.int64(3),
        'a very long name': 1,
        'missing': None,
        'pair': (4, 'with a comment'),
        'list': [1, 2],
        'nan': float('nan'),
        'HISTORY': ['one', 'two'],
        'COMMENT': 'three',
        'NAXIS1': 17,
    }
    ccd = CCDData(np.ones((3, 4), np.uint8), unit='electron', meta=meta)
    write_image(ccd, tmp_path / f'a{suffix}')
    header = read_ccd(tmp_path / f'a{suffix}').header
    assert header['FILTER'] == 'H?'
    assert (header['EXPTIME'], header['COUNT'], header['PAIR']) == (2.5, 3, 4)
    assert header['A VERY LONG NAME'] == 1
    assert header['LIST'] == '[1, 2]'
    assert header['NAN'] == 'nan'
    assert list(header['HISTORY']) == ['one', 'two']
    assert list(header['COMMENT']) == ['three']
    assert ccd.meta == meta


@pytest.mark.parametrize(
    'kind', [StdDevUncertainty, VarianceUncertainty, InverseVariance]
)
@pytest.mark.parametrize('shape', [(6, 8), (6, 8, 3)])
def test_everything_in_fits(tmp_path, kind, shape):
    """Mask, uncertainty in its kind, unit and PSF, also in colour."""
    data = RNG.normal(100, 5, shape).astype(np.float32)
    ccd = CCDData(
        data,
        unit='electron',
        mask=data > 104,
        uncertainty=kind(np.abs(data)),
        psf=np.ones((3, 3)),
    )
    report = write_image(ccd, tmp_path / 'a.fits')
    assert report.dropped == ()
    read = read_ccd(tmp_path / 'a.fits')
    assert np.array_equal(read.data, data)
    assert np.array_equal(read.mask, ccd.mask)
    assert type(read.uncertainty) is kind
    assert np.array_equal(read.uncertainty.array, np.abs(data))
    assert read.unit == u.electron
    assert np.array_equal(read.psf, np.ones((3, 3)))


def test_uncertainty_in_another_unit(tmp_path):
    """An uncertainty in thousandths of an electron is brought to electrons."""
    thousandths = StdDevUncertainty(np.full((2, 2), 500.0), unit='0.001 electron')
    ccd = CCDData(np.ones((2, 2)), unit='electron', uncertainty=thousandths)
    write_image(ccd, tmp_path / 'a.fits')
    assert np.allclose(read_ccd(tmp_path / 'a.fits').uncertainty.array, 0.5)


@pytest.mark.parametrize('suffix', ['.tif', '.png', '.xisf'])
def test_what_other_formats_drop(tmp_path, suffix):
    """The report says what is not in the file."""
    data = np.ones((3, 4), np.uint8)
    ccd = CCDData(data, unit='adu', mask=data > 1, uncertainty=StdDevUncertainty(data))
    report = write_image(ccd, tmp_path / f'a{suffix}')
    assert report.dropped == ('mask', 'uncertainty')
    assert 'without mask, uncertainty' in str(report)


@pytest.mark.parametrize('suffix', [*EXACT, '.png'])
def test_back_to_the_type_of_the_camera(tmp_path, suffix):
    """A corrected frame as uint16: rounded half to even, clipped, counted."""
    data = np.array([[0.4, 0.5, 1.5, 70000.0], [-3.0, 65535.4, 2.5, 100.0]], 'f4')
    with pytest.warns(AstroflatWarning, match='2 of 8 pixels') as record:
        report = write_image(data, tmp_path / f'a{suffix}', dtype='uint16')
    assert record[0].filename == __file__
    assert report.n_clipped == 2
    read = read_image(tmp_path / f'a{suffix}').data
    assert read.dtype == np.uint16
    assert read.tolist() == [[0, 0, 2, 65535], [0, 65535, 2, 100]]


def test_nan_in_integers(tmp_path):
    """NaN becomes 0 in integers, counted and warned about."""
    data = np.array([[1.0, np.nan]])
    with pytest.warns(AstroflatWarning, match='1 pixels'):
        report = write_image(data, tmp_path / 'a.tif', dtype='uint16')
    assert (report.n_filled, report.n_clipped) == (1, 0)
    assert read_image(tmp_path / 'a.tif').data.tolist() == [[1, 0]]


def test_containers(tmp_path):
    """NDData, Quantity, masked arrays, lists; the unit only where there is one."""
    from astropy.nddata import NDData

    data = np.arange(6, dtype=np.float32).reshape(2, 3)
    cases = {
        'array': (data, None),
        'list': (data.tolist(), None),
        'nddata': (NDData(data, unit='adu'), u.adu),
        'quantity': (data * u.electron, u.electron),
        'masked': (np.ma.array(data, mask=data > 3), None),
        'bool': (data > 3, None),
        'half': (data.astype(np.float16), None),
        'big': (data.astype('>f4'), None),
    }
    for name, (image, unit) in cases.items():
        write_image(image, tmp_path / f'{name}.fits')
        read = read_image(tmp_path / f'{name}.fits')
        assert np.array_equal(read.data, data > 3 if name == 'bool' else data)
        assert read.extras.get('unit') == unit
    assert np.array_equal(read_image(tmp_path / 'masked.fits').extras['mask'], data > 3)


@pytest.mark.parametrize(
    ('options', 'error', 'match'),
    [
        ({'dtype': 'complex64'}, ValueError, 'complex64'),
        ({'dtype': 'float16'}, ValueError, 'float16'),
        ({'scale': 2.0}, ValueError, 'uint16'),
        ({'scale': -1.0, 'dtype': 'uint16'}, ValueError, 'positive'),
        ({'scale': np.nan, 'dtype': 'uint16'}, ValueError, 'positive'),
    ],
)
def test_wrong_options(tmp_path, options, error, match):
    """Options that make no sense are named."""
    with pytest.raises(error, match=match):
        write_image(np.ones((2, 2)), tmp_path / 'a.fits', **options)
    assert list(tmp_path.iterdir()) == []


def test_formats_have_limits(tmp_path):
    """PNG has no floating point; the error says what to do."""
    with pytest.raises(ImageFormatError, match="dtype='uint16'"):
        write_image(np.ones((2, 2)), tmp_path / 'a.png')
    with pytest.raises(TypeError, match='complex'):
        write_image(np.ones((2, 2), complex), tmp_path / 'a.fits')


def test_missing_folder(tmp_path):
    """A folder that does not exist is said to be missing."""
    with pytest.raises(FileNotFoundError, match='folder'):
        write_image(np.ones((2, 2)), tmp_path / 'no' / 'a.fits')


def test_shared_memory_is_not_modified(tmp_path):
    """A read-only array can be written."""
    data = np.ones((4, 4), np.float32)
    data.flags.writeable = False
    for suffix in EXACT:
        write_image(data, tmp_path / f'a{suffix}', flip_rows=True)
        assert np.array_equal(read_image(tmp_path / f'a{suffix}').data, data)
