# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Reading PNG and JPEG, and the 16-bit colour that Pillow cannot do."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from astroflat import AstroflatWarning
from astroflat.io import ImageFormatError, read_ccd, read_image, write_image
from astroflat.io._png16 import _unfilter, decode_png16, encode_png16

RNG = np.random.default_rng(4)
COLOUR = RNG.integers(0, 65536, (9, 11, 3)).astype(np.uint16)


def filter_rows(data, kinds, step):
    """Filter rows byte by byte, as the PNG specification says it (section 9)."""
    ny, nx = data.shape
    out = np.zeros_like(data)
    for y in range(ny):
        for x in range(nx):
            a = int(data[y, x - step]) if x >= step else 0
            b = int(data[y - 1, x]) if y else 0
            c = int(data[y - 1, x - step]) if y and x >= step else 0
            p = a + b - c
            nearest = min(((abs(p - v), i, v) for i, v in enumerate((a, b, c))))[2]
            guess = (0, a, b, (a + b) // 2, nearest)[kinds[y]]
            out[y, x] = (int(data[y, x]) - guess) % 256
    return out


@given(
    st.integers(1, 9), st.integers(1, 7), st.sampled_from([6, 8]), st.integers(0, 2**32)
)
def test_row_filters(ny, n, step, seed):
    """The five filters, mixed at random, are undone exactly."""
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (ny, n * step)).astype(np.uint8)
    kinds = rng.integers(0, 5, ny).astype(np.uint8)
    assert np.array_equal(_unfilter(filter_rows(data, kinds, step), kinds, step), data)


@pytest.mark.parametrize('shape', [(1, 1, 3), (2, 1, 3), (1, 5, 3), (9, 11, 3)])
def test_png16_colour(tmp_path, shape):
    """Colour of 16 bits survives bit by bit."""
    data = COLOUR[: shape[0], : shape[1]]
    encode_png16(tmp_path / 'a.png', data, 'text')
    assert np.array_equal(decode_png16(tmp_path / 'a.png'), data)
    image = read_image(tmp_path / 'a.png')
    assert np.array_equal(image.data, data)
    assert image.meta['Description'] == 'text'


def test_png16_is_a_png_for_others(tmp_path):
    """Pillow reads the file that it cannot write, at its 8 bits."""
    encode_png16(tmp_path / 'a.png', COLOUR, '')
    with Image.open(tmp_path / 'a.png') as image:
        image.load()
        seen = np.asarray(image)
    assert np.abs(seen.astype(int) - COLOUR // 257).max() <= 1


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_grey(tmp_path, dtype):
    """Grey of 8 and 16 bits."""
    data = RNG.integers(0, np.iinfo(dtype).max, (7, 5), endpoint=True).astype(dtype)
    Image.fromarray(data).save(tmp_path / 'a.png')
    read = read_image(tmp_path / 'a.png').data
    assert read.dtype == dtype
    assert np.array_equal(read, data)


def test_grey_of_16_bits_can_be_written_by_us(tmp_path):
    """A 16-bit grey image survives bit by bit."""
    data = COLOUR[..., 0]
    write_image(data, tmp_path / 'a.png')
    assert np.array_equal(read_image(tmp_path / 'a.png').data, data)


def test_palette_and_bilevel(tmp_path):
    """A palette is resolved; one bit becomes 0 and 255."""
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[1:3] = (10, 20, 30)
    Image.fromarray(picture).convert('P', palette=Image.Palette.ADAPTIVE).save(
        tmp_path / 'a.png'
    )
    assert np.array_equal(read_image(tmp_path / 'a.png').data, picture)
    mask = picture[..., 0] > 5
    Image.fromarray(mask).save(tmp_path / 'b.png')
    assert np.array_equal(read_image(tmp_path / 'b.png').data, mask * np.uint8(255))


@pytest.mark.parametrize('mode', ['RGBA', 'LA'])
def test_alpha(tmp_path, mode):
    """Transparency is ignored, with a warning only if there is any."""
    n = len(mode)
    data = RNG.integers(0, 255, (4, 5, n)).astype(np.uint8)
    Image.fromarray(data).save(tmp_path / 'a.png')
    wanted = data[..., :3] if n == 4 else data[..., 0]
    with pytest.warns(AstroflatWarning, match='alpha') as record:
        assert np.array_equal(read_image(tmp_path / 'a.png').data, wanted)
    assert record[0].filename == __file__
    data[..., -1] = 255
    Image.fromarray(data).save(tmp_path / 'b.png')
    assert np.array_equal(read_image(tmp_path / 'b.png').data, wanted)


def test_jpeg_warns_that_it_is_not_linear(tmp_path):
    """A JPEG is read, but not in silence."""
    data = np.full((16, 16), 100, np.uint8)
    Image.fromarray(data).save(tmp_path / 'a.jpg')
    with pytest.warns(AstroflatWarning, match='not proportional'):
        read = read_image(tmp_path / 'a.jpg').data
    assert read.dtype == np.uint8
    assert np.abs(read.astype(int) - 100).max() <= 1


def test_cmyk_jpeg_is_refused(tmp_path):
    """Printing colours are not intensities."""
    Image.new('CMYK', (8, 8)).save(tmp_path / 'a.jpg')
    with (
        pytest.raises(ImageFormatError, match='CMYK'),
        pytest.warns(AstroflatWarning),
    ):
        read_image(tmp_path / 'a.jpg')


def test_only_one_image(tmp_path):
    """A PNG has one image, number 0."""
    encode_png16(tmp_path / 'a.png', COLOUR, '')
    assert np.array_equal(read_image(tmp_path / 'a.png', ext=0).data, COLOUR)
    with pytest.raises(ImageFormatError, match='one image only'):
        read_image(tmp_path / 'a.png', ext=1)


@pytest.mark.parametrize('colour', [True, False])
@pytest.mark.parametrize('keep', [0.3, 0.7, 0.95])
def test_truncated(tmp_path, colour, keep):
    """A file that ends too early is an error."""
    path = tmp_path / 'a.png'
    write_image(COLOUR if colour else COLOUR[..., 0], path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ImageFormatError, match=r'a\.png'):
        read_image(path)


def test_damaged_png16(tmp_path):
    """A wrong checksum, an interlaced file and a wrong size are errors."""
    path = tmp_path / 'a.png'
    encode_png16(path, COLOUR, '')
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[-30] ^= 1
    path.write_bytes(bytes(flipped))
    with pytest.raises(ImageFormatError, match=r'a\.png'):
        decode_png16(path)

    def with_header(*fields):
        body = struct.pack('>IIBBBBB', *fields)
        crc = struct.pack('>I', zlib.crc32(b'IHDR' + body))
        return content[:16] + body + crc + content[33:]

    path.write_bytes(with_header(11, 9, 16, 2, 0, 0, 1))
    with pytest.raises(ImageFormatError, match='interlaced'):
        decode_png16(path)
    path.write_bytes(with_header(11, 10, 16, 2, 0, 0, 0))
    with pytest.raises(ImageFormatError, match='truncated'):
        decode_png16(path)
    path.write_bytes(with_header(60_000, 60_000, 16, 2, 0, 0, 0))
    with pytest.raises(ImageFormatError, match='promises'):
        decode_png16(path)


@pytest.mark.parametrize(
    ('name', 'kept'),
    [
        ('Exposure time', 'EXPOSURE TIME'),
        ('a = b', 'A B'),
        ('tab\tand     blanks', 'TAB AND BLANKS'),
        (79 * 'x', 48 * 'X'),
        ('==', None),
    ],
)
@pytest.mark.parametrize('value', ['', ' ' * 9, "it's", 300 * 'long'])
def test_any_text_becomes_a_card(tmp_path, name, kept, value):
    """Text of a PNG file under any name can be written to a FITS file and read."""
    text = PngInfo()
    text.add_text(name, value)
    Image.fromarray(np.eye(3, dtype=np.uint8)).save(tmp_path / 'a.png', pnginfo=text)
    ccd = read_ccd(tmp_path / 'a.png')
    write_image(ccd, tmp_path / 'a.fits')
    again = read_ccd(tmp_path / 'a.fits')
    np.testing.assert_array_equal(again.data, np.eye(3))
    # Blanks at the end mean nothing in FITS.
    cards = {k: v.rstrip() for k, v in ccd.header.items()}
    assert cards == ({} if kept is None else {kept: value.rstrip()})
    if kept is not None:
        assert again.header[kept].rstrip() == value.rstrip()
