# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Reading TIFF: every layout that cameras and programs write."""

from __future__ import annotations

import importlib.util
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from astroflat import AstroflatWarning
from astroflat.io import ImageFormatError, open_frames, read_image

RNG = np.random.default_rng(3)
GREY = RNG.integers(0, 256, (19, 23)).astype(np.uint16) * 257
COLOUR = RNG.integers(0, 65536, (19, 23, 3)).astype(np.uint16)


@pytest.mark.parametrize('dtype', ['u1', 'u2', 'i2', 'u4', 'i4', 'f4', 'f8'])
@pytest.mark.parametrize('byteorder', ['<', '>'])
@pytest.mark.parametrize('bigtiff', [False, True])
def test_grey(tmp_path, dtype, byteorder, bigtiff):
    """Samples come back bit by bit in native order."""
    data = (GREY % 128).astype(dtype)
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, data, byteorder=byteorder, bigtiff=bigtiff)
    read = read_image(path).data
    assert read.dtype == data.dtype
    assert read.dtype.isnative
    assert np.array_equal(read, data)


@pytest.mark.parametrize('planar', ['contig', 'separate'])
@pytest.mark.parametrize('compression', [None, 'zlib'])
@pytest.mark.parametrize('tile', [None, (16, 16)])
def test_colour_layouts(tmp_path, planar, compression, tile):
    """Colour is last, however it is stored."""
    path = tmp_path / 'a.tif'
    stored = COLOUR if planar == 'contig' else np.moveaxis(COLOUR, -1, 0)
    tifffile.imwrite(
        path,
        stored,
        photometric='rgb',
        planarconfig=planar,
        compression=compression,
        tile=tile,
    )
    read = read_image(path).data
    assert read.flags.c_contiguous
    assert np.array_equal(read, COLOUR)


def test_white_is_zero(tmp_path):
    """An inverted image is turned the right way."""
    tifffile.imwrite(tmp_path / 'a.tif', GREY, photometric='miniswhite')
    assert np.array_equal(read_image(tmp_path / 'a.tif').data, 65535 - GREY)


def test_bilevel(tmp_path):
    """One bit per pixel becomes 0 and 255."""
    mask = GREY > 30000
    Image.fromarray(mask).save(tmp_path / 'a.tif')
    read = read_image(tmp_path / 'a.tif').data
    assert np.array_equal(read, mask * np.uint8(255))


@pytest.mark.parametrize('samples', [2, 4])
def test_alpha_is_ignored_with_a_warning(tmp_path, samples):
    """Transparency is not a colour."""
    data = RNG.integers(0, 256, (5, 6, samples)).astype(np.uint8)
    photometric = 'rgb' if samples == 4 else 'minisblack'
    tifffile.imwrite(
        tmp_path / 'a.tif', data, photometric=photometric, planarconfig='contig'
    )
    with pytest.warns(AstroflatWarning, match='alpha'):
        read = read_image(tmp_path / 'a.tif').data
    assert np.array_equal(read, data[..., :3] if samples == 4 else data[..., 0])


def test_palette_is_refused(tmp_path):
    """Indices into a palette are no intensities."""
    image = Image.fromarray((GREY >> 8).astype(np.uint8)).convert('P')
    image.save(tmp_path / 'a.tif')
    with pytest.raises(ImageFormatError, match='palette'):
        read_image(tmp_path / 'a.tif')


def test_pages(tmp_path):
    """The first page is read with a warning; another one by its number."""
    pages = np.stack([GREY, GREY + 1, GREY + 2])
    path = tmp_path / 'a.tif'
    with tifffile.TiffWriter(path) as tif:
        for page in pages:
            tif.write(page)
    with pytest.warns(AstroflatWarning, match='3 pages'):
        assert np.array_equal(read_image(path).data, pages[0])
    assert np.array_equal(read_image(path, ext=2).data, pages[2])
    assert np.array_equal(read_image(path, ext=-1).data, pages[2])
    with pytest.raises(ImageFormatError, match='no page 3'):
        read_image(path, ext=3)


@pytest.mark.parametrize('bits', [8, 16])
def test_lzw(tmp_path, bits):
    """Grey of 8 and 16 bits and colour of 8 bits compressed with LZW are read."""
    data = (GREY >> (16 - bits)).astype(f'u{bits // 8}')
    Image.fromarray(data).save(tmp_path / 'a.tif', compression='tiff_lzw')
    assert np.array_equal(read_image(tmp_path / 'a.tif').data, data)
    colour = (COLOUR >> 8).astype(np.uint8)
    Image.fromarray(colour).save(tmp_path / 'b.tif', compression='tiff_lzw')
    assert np.array_equal(read_image(tmp_path / 'b.tif').data, colour)


def test_unsupported_compression_names_the_remedy(tmp_path):
    """What cannot be decoded exactly is an error that says what to install."""
    pytest.importorskip('PIL')
    if importlib.util.find_spec('imagecodecs'):
        pytest.skip('imagecodecs decodes it')
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, COLOUR, photometric='rgb', compression='zlib')
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[0].tags['Compression'].valueoffset
    content[offset : offset + 2] = (5).to_bytes(2, 'little')
    path.write_bytes(bytes(content))
    with pytest.raises(ImageFormatError, match=r'imagecodecs|LZW|decod'):
        read_image(path)


def test_orientation_is_reported_not_applied(tmp_path):
    """A pixel stays where the sensor has it."""
    tifffile.imwrite(
        tmp_path / 'a.tif', GREY, extratags=[(274, 'H', 1, 6, True)], metadata=None
    )
    image = read_image(tmp_path / 'a.tif')
    assert np.array_equal(image.data, GREY)
    assert image.meta['Orientation'] == 6


def test_text_tags(tmp_path):
    """What the camera says is kept."""
    tifffile.imwrite(
        tmp_path / 'a.tif', GREY, description='flat 12', software='NINA', metadata=None
    )
    meta = read_image(tmp_path / 'a.tif').meta
    assert meta['ImageDescription'] == 'flat 12'
    assert meta['Software'] == 'NINA'


@pytest.mark.parametrize('compression', [None, 'zlib'])
@pytest.mark.parametrize('keep', [0.2, 0.7, 0.95])
def test_truncated(tmp_path, compression, keep):
    """A file that ends too early is an error."""
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, COLOUR, compression=compression, photometric='rgb')
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ImageFormatError, match=r'a\.tif'):
        read_image(path)


def test_promise_of_too_many_pixels(tmp_path):
    """A width of millions in a small file is refused before any allocation."""
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, np.zeros((8, 8), np.uint8), compression='zlib')
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        for name in ('ImageWidth', 'ImageLength', 'RowsPerStrip'):
            offset = tif.pages[0].tags[name].valueoffset
            content[offset : offset + 4] = (60_000).to_bytes(4, 'little')
            if tif.pages[0].tags[name].dtype == 4:
                content[offset : offset + 4] = (3_000_000).to_bytes(4, 'little')
    path.write_bytes(bytes(content))
    with pytest.raises(ImageFormatError, match='promises'):
        read_image(path)


@pytest.mark.parametrize('tag', [256, 257])
def test_side_as_text(tmp_path, tag):
    """A side that is stored as text is damage."""
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, GREY, byteorder='<')
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack('<H', tag), 8)
    struct.pack_into('<HI', data, at + 2, 2, 1)
    path.write_bytes(bytes(data))
    for read in (open_frames, read_image):
        with pytest.raises(ImageFormatError, match=r"'a\.tif'"):
            read(path)
