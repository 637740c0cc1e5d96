# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Frames of a video written as single files."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from astroflat.io import dump_frames, open_frames, read_ccd, write_image, write_ser

CUBE = np.arange(3 * 5 * 7, dtype=np.uint16).reshape(3, 5, 7) * 600


@pytest.fixture
def video(tmp_path):
    """Return a video with times and names."""
    path = tmp_path / 'sun.ser'
    times = [f'2020-01-01T00:00:00.{i}' for i in range(3)]
    write_ser(path, CUBE, times=times, observer='me', color='RGGB')
    return path


@pytest.mark.parametrize('kind', ['fits', 'tiff'])
def test_dump(video, tmp_path, kind):
    """The files hold the samples in their type, and open as the same stack."""
    paths = dump_frames(video, tmp_path / 'out', format=kind)
    end = 'fits' if kind == 'fits' else 'tif'
    assert [p.name for p in paths] == [f'sun_0000{i}.{end}' for i in range(3)]
    with open_frames(tmp_path / 'out') as stack:
        assert stack.dtype == np.uint16
        np.testing.assert_array_equal(stack.read_rows(0, 5), CUBE)
        if kind == 'fits':
            assert stack.color == 'RGGB'
            assert stack.times[2].isot == '2020-01-01T00:00:00.200'
            assert stack.header(0)['OBSERVER'] == 'me'
    if kind == 'fits':
        with fits.open(paths[1]) as hdus:
            hdus.verify('exception')


def test_color(tmp_path):
    """Colour is written as each format wants it."""
    rgb = np.stack([CUBE, CUBE + 1, CUBE + 2], axis=-1)
    dump_frames(rgb, tmp_path / 'f', name='a')
    dump_frames(rgb, tmp_path / 't', name='a', format='tiff')
    for folder in ('f', 't'):
        with open_frames(tmp_path / folder) as stack:
            np.testing.assert_array_equal(stack.read_rows(0, 5), rgb)
    assert fits.getdata(tmp_path / 'f' / 'a_00000.fits').shape == (3, 5, 7)


def test_nothing_is_replaced(video, tmp_path):
    """If one file exists nothing is written, unless it may be replaced."""
    out = tmp_path / 'out'
    dump_frames(video, out)
    (out / 'sun_00000.fits').unlink()
    before = (out / 'sun_00002.fits').stat().st_mtime_ns
    with pytest.raises(FileExistsError, match=r'sun_00001\.fits'):
        dump_frames(video, out)
    assert len(list(out.iterdir())) == 2
    dump_frames(video, out, overwrite=True, progress_bar=True)
    assert len(list(out.iterdir())) == 3
    assert (out / 'sun_00002.fits').stat().st_mtime_ns != before


def test_options(video, tmp_path):
    """Options are passed on; a wrong format is refused before anything is made."""
    with pytest.raises(ValueError, match='format must be'):
        dump_frames(video, tmp_path / 'x', format='bmp')
    assert not (tmp_path / 'x').exists()
    paths = dump_frames(video, tmp_path / 'y', byteorder='big', unit='electron')
    np.testing.assert_array_equal(fits.getdata(paths[1]), CUBE[1].byteswap())
    assert fits.getheader(paths[0])['BUNIT'] == 'electron'


def test_illegal_card(tmp_path):
    """A card against the rules of FITS does not cost the frames."""
    path = tmp_path / 'a.fits'
    fits.PrimaryHDU(CUBE[0], fits.Header({'BUNIT': 'adu', 'GAIN': 1.5})).writeto(path)
    data = path.read_bytes()
    assert b'1.5' in data
    path.write_bytes(data.replace(b' 1.5', b'-inf'))
    (out,) = dump_frames(path, tmp_path / 'out')
    np.testing.assert_array_equal(fits.getdata(out), CUBE[0])
    write_image(read_ccd(path), tmp_path / 'b.fits')
    np.testing.assert_array_equal(fits.getdata(tmp_path / 'b.fits'), CUBE[0])


def test_letters_that_no_header_may_hold(tmp_path):
    """Cards that are not ASCII do not cost the frame."""
    path = tmp_path / 'a.fits'
    hdu = fits.PrimaryHDU(CUBE[0], fits.Header({'OBSERVER': 'Mueller'}))
    hdu.writeto(path)
    path.write_bytes(path.read_bytes().replace(b'Mueller', 'Müller'.encode()))
    (written,) = dump_frames(path, tmp_path / 'out')
    assert fits.getheader(written)['OBSERVER'] == 'M??ller'
    np.testing.assert_array_equal(fits.getdata(written), CUBE[0])
