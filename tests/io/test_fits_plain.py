# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the FITS writer that does not need Astropy, against Astropy."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from astroflat._provenance import record
from astroflat.io._fits_plain import PlainHeader, write_images

# Astropy explains these.
_STRUCTURE = ['SIMPLE', 'BITPIX', 'NAXIS', 'NAXIS1', 'NAXIS2']
VALUES = {
    'BUNIT': 'adu',
    'EMPTY': '',
    'QUOTE': "O'Neill's",
    'LONG': 'x' * 68,
    'YES': True,
    'NO': np.False_,
    'COUNT': np.int64(-12),
    'SIZE': 2**40,
    'SMALL': 1e-300,
    'HALF': np.float32(0.5),
    'WHOLE': 3.0,
}


@pytest.mark.parametrize('kind', ['u1', 'i2', 'i4', 'f4', 'f8'])
@pytest.mark.parametrize('shape', [(3, 5), (3, 36, 40)])
def test_astropy_reads_what_was_written(tmp_path, kind, shape):
    """Arrays of every type and shape come back to the bit, in legal files."""
    image = np.random.default_rng(1).integers(0, 250, shape).astype(kind)
    second = PlainHeader(EXTNAME='UNCERT', UTYPE='StdDevUncertainty')
    path = tmp_path / 'image.fits'
    write_images(path, [(image, PlainHeader()), (image.T[:2], second)])
    assert path.stat().st_size % 2880 == 0
    with fits.open(path, memmap=False) as hdus:
        hdus.verify('exception')
        assert [hdu.name for hdu in hdus] == ['PRIMARY', 'UNCERT']
        assert hdus[0].data.dtype.newbyteorder('=') == np.dtype(kind)
        assert np.array_equal(hdus[0].data, image)
        assert np.array_equal(hdus[1].data, image.T[:2])
        assert hdus[1].header['UTYPE'] == 'StdDevUncertainty'


def test_cards_are_those_of_astropy(tmp_path):
    """Values, comments and HISTORY are read as if Astropy had written them."""
    theirs = fits.Header(VALUES)
    ours = PlainHeader(VALUES)
    for header in (ours, theirs):
        history = 'many words ' * 20
        record(header, 'median', history=history, NCOMBINE=(9, 'frames combined'))
    image = np.zeros((2, 3), np.float32)
    write_images(tmp_path / 'ours.fits', [(image, ours)])
    fits.PrimaryHDU(image, theirs).writeto(tmp_path / 'theirs.fits')
    with (
        fits.open(tmp_path / 'ours.fits') as one,
        fits.open(tmp_path / 'theirs.fits') as two,
    ):
        one.verify('exception')
        difference = fits.FITSDiff(one, two, ignore_comments=_STRUCTURE)
        assert difference.identical, difference.report()
        assert one[0].header.comments['NCOMBINE'] == 'frames combined'
        assert list(one[0].header['HISTORY']) == list(two[0].header['HISTORY'])


def test_text_is_made_legal(tmp_path):
    """What FITS cannot hold is replaced, as anywhere else in the package."""
    path = tmp_path / 'image.fits'
    header = PlainHeader(OBSERVER='Müller\n')
    write_images(path, [(np.zeros((1, 1)), header)])
    assert fits.getheader(path)['OBSERVER'] == 'M?ller?'


@pytest.mark.parametrize('value', ['x' * 69, "'" * 35, np.nan, None, [1]])
def test_what_does_not_fit_is_refused(tmp_path, value):
    """Nothing is cut or written wrongly without a word."""
    with pytest.raises(ValueError, match=r'KEY = .* does not fit one card'):
        write_images(tmp_path / 'a.fits', [(np.ones((1, 1)), PlainHeader(KEY=value))])


def test_nothing_is_replaced(tmp_path):
    """An existing file stays."""
    path = tmp_path / 'a.fits'
    path.write_bytes(b'precious')
    with pytest.raises(FileExistsError):
        write_images(path, [(np.ones((1, 1)), PlainHeader())])
    assert path.read_bytes() == b'precious'
