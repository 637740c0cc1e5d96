# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Stacks of folders, patterns, collections, and images of other formats."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from astroflat._exceptions import AstroflatWarning, ImageFormatError
from astroflat.io import SERError, open_frames, write_image, write_ser
from astroflat.io._resolve import natural_key

tifffile = pytest.importorskip('tifffile')

CUBE = np.random.default_rng(1).integers(0, 65535, (12, 6, 8), dtype=np.uint16)


def write(folder, name='f{}.fits', numbers=range(12)):
    """Write frames whose numbers have no leading zeros; return their paths."""
    paths = [folder / name.format(i) for i in numbers]
    for path, i in zip(paths, numbers, strict=True):
        fits.PrimaryHDU(CUBE[i]).writeto(path)
    return paths


def test_natural_order(tmp_path):
    """A folder and a pattern give frame 9 before frame 10; a list its own order."""
    paths = write(tmp_path)
    (tmp_path / 'notes.txt').write_text('not a frame')
    (tmp_path / '.f99.fits').write_text('hidden')
    (tmp_path / 'more').mkdir()
    for source in (tmp_path, str(tmp_path), tmp_path / '*.fits', paths, iter(paths)):
        with open_frames(source) as stack:
            np.testing.assert_array_equal(stack.read_rows(0, 6), CUBE)
    with open_frames(paths[::-1]) as stack:
        np.testing.assert_array_equal(stack.read_rows(0, 6), CUBE[::-1])
    with open_frames(tmp_path / 'f1[01].fits') as stack:
        assert [stack.label(i) for i in range(2)] == ['f10.fits', 'f11.fits']


def test_brackets_in_names(tmp_path):
    """A file whose name looks like a pattern is that file."""
    path = write(tmp_path, 'a[{}].fits', [3])[0]
    with open_frames(path) as stack:
        np.testing.assert_array_equal(stack[0], CUBE[3])


@given(st.lists(st.text('ab10_', min_size=1, max_size=6), unique=True))
def test_natural_key_is_an_order(names):
    """Any names can be sorted, whatever order they come in."""
    first = sorted(names, key=natural_key)
    names.reverse()
    assert sorted(names, key=natural_key) == first


def test_missing(tmp_path, monkeypatch):
    """What does not exist, or holds nothing, is named without its folder."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"the file 'x\.fits' does not exist"):
        open_frames('x.fits')
    with pytest.raises(FileNotFoundError, match=r"'y\.fits' does not exist"):
        open_frames([tmp_path / 'y.fits'])
    with pytest.raises(FileNotFoundError, match='no file matches'):
        open_frames('*.fits')
    with pytest.raises(ValueError, match='has no frames'):
        open_frames(tmp_path)
    (tmp_path / 'd').mkdir()
    with pytest.raises(IsADirectoryError, match='within a list'):
        open_frames(['d'])


def test_mixed_folder(tmp_path):
    """A folder with frames of several kinds asks for a pattern."""
    write(tmp_path, numbers=[0, 1])
    write_ser(tmp_path / 'a.ser', CUBE)
    with pytest.raises(ValueError, match=r'2 FITS, 1 SER.*\*\.fits'):
        open_frames(tmp_path)
    with open_frames(tmp_path / '*.ser') as stack:
        assert len(stack) == 12


def test_unknown_content(tmp_path):
    """The content decides, not the name."""
    (tmp_path / 'a.fits').write_text('hello')
    with pytest.raises(ImageFormatError, match=r"'a\.fits' is of an unknown kind"):
        open_frames(tmp_path / 'a.fits')
    (tmp_path / 'b.ser').write_text('hello')
    with pytest.raises(SERError, match='not a SER video'):
        open_frames(tmp_path / 'b.ser')
    write_ser(tmp_path / 'c.fits', CUBE)
    with open_frames(tmp_path / 'c.fits') as stack:
        assert len(stack) == 12


def test_videos_in_a_row(tmp_path):
    """Several SER videos, and frames of other kinds, follow one another."""
    times = [f'2020-01-01T00:00:{i:02d}' for i in range(12)]
    write_ser(tmp_path / 'a1.ser', CUBE[:5], times=times[:5])
    write_ser(tmp_path / 'a2.ser', CUBE[5:9], times=times[5:9], byteorder='big')
    paths = write(tmp_path, numbers=[9, 10, 11])
    for path, time in zip(paths, times[9:], strict=True):
        fits.setval(path, 'DATE-OBS', value=time)
    with open_frames([tmp_path / 'a1.ser', tmp_path / 'a2.ser', *paths]) as stack:
        assert stack.shape == CUBE.shape
        np.testing.assert_array_equal(stack.read_rows(2, 5), CUBE[:, 2:5])
        np.testing.assert_array_equal(
            stack[[6, 2, 11]].read_rows(0, 6), CUBE[[6, 2, 11]]
        )
        assert stack.label(5) == 'frame 0 of a2.ser'
        assert stack.label(9) == 'f9.fits'
        assert list(stack.times.isot) == [f'{time}.000' for time in times]
        assert list(stack[8:2:-3].times.isot) == [f'{times[8]}.000', f'{times[5]}.000']
        assert stack.header(11)['NAXIS'] == 2
        assert stack.ccd(7).wcs is None
    write_ser(tmp_path / 'a3.ser', CUBE[:2, :3])
    with pytest.raises(ValueError, match=r'a3\.ser has the shape'):
        open_frames([tmp_path / 'a1.ser', tmp_path / 'a3.ser'])


def test_partial_video(tmp_path):
    """A truncated video is opened on demand, with a warning."""
    path = tmp_path / 'a.ser'
    write_ser(path, CUBE)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(SERError, match='partial=True'):
        open_frames(path)
    with pytest.warns(AstroflatWarning, match='reading 11'):
        stack = open_frames(path, partial=True)
    np.testing.assert_array_equal(stack.read_rows(0, 6), CUBE[:11])
    stack.close()


def test_image_file_collection(tmp_path):
    """A collection gives its files, or those of a filtered one."""
    ccdproc = pytest.importorskip('ccdproc')
    for i, path in enumerate(write(tmp_path)):
        fits.setval(path, 'IMAGETYP', value='FLAT' if i % 3 else 'BIAS')
    collection = ccdproc.ImageFileCollection(tmp_path)
    with open_frames(collection) as stack:
        assert len(stack) == 12
    flats = collection.filter(imagetyp='flat')
    with open_frames(flats) as stack:
        labels = {stack.label(i) for i in range(len(stack))}
        assert labels == {f'f{i}.fits' for i in range(12) if i % 3}


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'byteorder': '>'},
        {'bigtiff': True},
        {'compression': 'zlib'},
        {'compression': 'zlib', 'predictor': True},
        {'rowsperstrip': 2},
        {'tile': (16, 16)},
        {'photometric': 'miniswhite'},
    ],
)
@pytest.mark.parametrize('dtype', ['u1', 'u2', 'f4'])
def test_tiff(tmp_path, options, dtype):
    """All storages of TIFF give the same as reading the image alone."""
    from astroflat.io import read_image

    if 'predictor' in options and dtype == 'f4':
        pytest.skip('tifffile alone has no floating-point predictor')
    frames = CUBE[:3].astype(dtype)
    for i, frame in enumerate(frames):
        tifffile.imwrite(
            tmp_path / f'{i}.tif', frame, **{'photometric': 'minisblack', **options}
        )
    expected = [read_image(tmp_path / f'{i}.tif').data for i in range(3)]
    with open_frames(tmp_path) as stack:
        assert stack.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(stack.read_rows(1, 5), np.array(expected)[:, 1:5])
        np.testing.assert_array_equal(stack[2], expected[2])
        assert isinstance(stack.header(0), dict)
        assert stack.times is None


@pytest.mark.parametrize('planar', ['contig', 'separate'])
@pytest.mark.parametrize('compression', [None, 'zlib'])
def test_tiff_color(tmp_path, planar, compression):
    """Colour is the last axis, however it is stored."""
    rgb = CUBE[:9].reshape(3, 3, 6, 8).transpose(0, 2, 3, 1)
    for i, frame in enumerate(rgb):
        stored = frame if planar == 'contig' else frame.transpose(2, 0, 1)
        tifffile.imwrite(
            tmp_path / f'{i}.tif', stored, photometric='rgb', planarconfig=planar,
            compression=compression,
        )  # fmt: skip
    with open_frames(tmp_path) as stack:
        assert stack.color == 'RGB'
        np.testing.assert_array_equal(stack.read_rows(1, 4), rgb[:, 1:4])


def test_tiff_pages(tmp_path):
    """The pages of a TIFF file are frames."""
    path = tmp_path / 'stack.tif'
    tifffile.imwrite(path, CUBE, photometric='minisblack')
    with open_frames(path) as stack:
        assert stack.shape == CUBE.shape
        assert stack.label(3) == 'stack.tif [3]'
        np.testing.assert_array_equal(stack.read_rows(2, 3), CUBE[:, 2:3])


def test_tiff_damaged(tmp_path):
    """A truncated TIFF file is refused, or fails with its name when decoded."""
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, CUBE[0], photometric='minisblack')
    data = path.read_bytes()
    path.write_bytes(data[:-20])
    with pytest.raises(ImageFormatError, match=r"'a\.tif'"):
        open_frames(path)[0]
    path.write_bytes(data[:6])
    with pytest.raises(ImageFormatError, match=r"'a\.tif' cannot be read"):
        open_frames(path)


@pytest.mark.parametrize('suffix', ['png', 'xisf'])
def test_other_images(tmp_path, suffix):
    """PNG and XISF files of 16 bits are stacks as well."""
    for i, frame in enumerate(CUBE[:3]):
        write_image(frame, tmp_path / f'{i}.{suffix}')
    with open_frames(tmp_path) as stack:
        assert stack.dtype == np.uint16
        np.testing.assert_array_equal(stack.read_rows(1, 4), CUBE[:3, 1:4])


def test_error_closes_files(tmp_path):
    """Nothing stays open when the last of many files is refused."""
    from astroflat.io import _bytes

    write(tmp_path)
    (tmp_path / 'f99.fits').write_text('broken')
    gc.collect()
    used = _bytes._BUDGET._used
    with pytest.raises(ImageFormatError, match=r'f99\.fits'):
        open_frames(tmp_path)
    assert _bytes._BUDGET._used == used
