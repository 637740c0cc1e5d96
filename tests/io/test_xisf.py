# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""XISF files that PixInsight and other programs may write."""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astroflat.io import ImageFormatError, read_image, write_image
from astroflat.io._xisf_block import byte_shuffle, byte_unshuffle

RNG = np.random.default_rng(5)
FORMATS = {
    'UInt8': 'u1',
    'UInt16': 'u2',
    'UInt32': 'u4',
    'UInt64': 'u8',
    'Float32': 'f4',
    'Float64': 'f8',
}


def xisf(path, body, blocks=(), start=4096):
    """Write a file by hand: a header around some XML, and blocks from a place on."""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<xisf version="1.0" xmlns="http://www.pixinsight.com/xisf">'
        f'{body}<Metadata/></xisf>'
    ).encode()
    head = b'XISF0100' + struct.pack('<II', len(text), 0) + text
    path.write_bytes(head.ljust(start, b'\0') + b''.join(blocks))
    return path


def element(data, location, *, attributes='', content='', kind=None):
    """Return an Image element for an array (planes, ny, nx)."""
    planes, ny, nx = data.shape
    kind = kind or next(k for k, v in FORMATS.items() if np.dtype(v) == data.dtype)
    space = 'Gray' if planes == 1 else 'RGB'
    return (
        f'<Image geometry="{nx}:{ny}:{planes}" sampleFormat="{kind}" '
        f'colorSpace="{space}" location="{location}" {attributes}>{content}</Image>'
    )


def samples(dtype, planes=1):
    """Return an array (planes, 5, 7) that uses the range of a type."""
    values = RNG.random((planes, 5, 7))
    if np.dtype(dtype).kind == 'u':
        values = values * np.iinfo(dtype).max
    return values.astype(dtype)


@pytest.mark.parametrize('dtype', FORMATS.values())
@pytest.mark.parametrize('planes', [1, 3])
@pytest.mark.parametrize('order', ['little', 'big'])
def test_sample_formats(tmp_path, dtype, planes, order):
    """Every sample format, grey and colour, in either byte order."""
    data = samples(dtype, planes)
    raw = data.astype(data.dtype.newbyteorder(order)).tobytes()
    body = element(
        data, f'attachment:4096:{len(raw)}', attributes=f'byteOrder="{order}"'
    )
    read = read_image(xisf(tmp_path / 'a.xisf', body, [raw])).data
    assert read.dtype == data.dtype
    assert read.dtype.isnative
    assert read.flags.c_contiguous
    assert read.flags.writeable
    assert np.array_equal(read, data[0] if planes == 1 else np.moveaxis(data, 0, -1))


def test_interleaved_pixels(tmp_path):
    """Pixels may be stored one after the other instead of plane by plane."""
    data = samples('u2', 3)
    raw = np.moveaxis(data, 0, -1).tobytes()
    body = element(
        data, f'attachment:4096:{len(raw)}', attributes='pixelStorage="Normal"'
    )
    read = read_image(xisf(tmp_path / 'a.xisf', body, [raw])).data
    assert np.array_equal(read, np.moveaxis(data, 0, -1))


def test_alpha_channels_are_left_out(tmp_path):
    """Channels beyond those of the colour space are no colours."""
    data = samples('u2', 2)
    raw = data.tobytes()
    body = (
        f'<Image geometry="7:5:2" sampleFormat="UInt16" colorSpace="Gray" '
        f'location="attachment:4096:{len(raw)}"/>'
    )
    read = read_image(xisf(tmp_path / 'a.xisf', body, [raw])).data
    assert np.array_equal(read, data[0])


@pytest.mark.parametrize('encoding', ['base64', 'hex'])
@pytest.mark.parametrize('embedded', [False, True])
@pytest.mark.parametrize('compressed', [False, True])
def test_pixels_in_the_header(tmp_path, encoding, embedded, compressed):
    """Small images may be written as text, in the element or in a child of it."""
    data = samples('u2')
    raw = data.tobytes()
    how = f'compression="zlib:{len(raw)}"' if compressed else ''
    stored = zlib.compress(raw) if compressed else raw
    text = base64.b64encode(stored).decode() if encoding == 'base64' else stored.hex()
    text = f'{text[:20]}\n  {text[20:]}'
    if embedded:
        content = f'<Data encoding="{encoding}" {how}>{text}</Data>'
        body = element(data, 'embedded', content=content)
    else:
        body = element(data, f'inline:{encoding}', attributes=how, content=text)
    assert np.array_equal(read_image(xisf(tmp_path / 'a.xisf', body)).data, data[0])


def compress(raw, codec):
    """Compress with a codec as XISF stores it."""
    if codec == 'zlib':
        return zlib.compress(raw)
    numcodecs = pytest.importorskip('numcodecs')
    if codec == 'zstd':
        return bytes(numcodecs.zstd.compress(raw))
    # A raw LZ4 block: numcodecs puts the size before it.
    return bytes(numcodecs.lz4.compress(raw))[4:]


@pytest.mark.parametrize('codec', ['zlib', 'lz4', 'lz4hc', 'zstd'])
@pytest.mark.parametrize('shuffled', [False, True])
@pytest.mark.parametrize('checksum', [None, 'sha-1', 'sha256', 'sha-512', 'sha3-256'])
def test_compression(tmp_path, codec, shuffled, checksum):
    """All codecs of the format, and all checksums, which are of the stored bytes."""
    data = np.linspace(0, 1, 3 * 40 * 50, dtype='f4').reshape(3, 40, 50)
    raw = data.tobytes()
    how = f'{codec}:{len(raw)}'
    if shuffled:
        raw = byte_shuffle(np.frombuffer(raw, np.uint8), 4).tobytes()
        how = f'{codec}+sh:{len(raw)}:4'
    stored = compress(raw, codec)
    attributes = f'compression="{how}"'
    if checksum:
        name = checksum.replace('sha-', 'sha').replace('-', '_')
        digest = hashlib.new(name, stored).hexdigest().upper()
        attributes += f' checksum="{checksum}:{digest}"'
    body = element(data, f'attachment:4096:{len(stored)}', attributes=attributes)
    read = read_image(xisf(tmp_path / 'a.xisf', body, [stored])).data
    assert np.array_equal(read, np.moveaxis(data, 0, -1))


def test_sub_blocks(tmp_path):
    """A block in parts, one of which was not worth compressing."""
    data = np.zeros((1, 40, 50), 'u2')
    data[0, 20:] = RNG.integers(0, 65536, (20, 50))
    raw = byte_shuffle(data.reshape(-1).view(np.uint8), 2).tobytes()
    parts = [raw[:1500], raw[1500:2500], raw[2500:]]
    stored = [zlib.compress(parts[0]), parts[1], zlib.compress(parts[2])]
    pairs = zip(stored, parts, strict=True)
    text = ':'.join(f'{len(s)},{len(p)}' for s, p in pairs)
    total = sum(map(len, stored))
    body = element(
        data,
        f'attachment:4096:{total}',
        attributes=f'compression="zlib+sh:4000:2" subblocks="{text}"',
    )
    read = read_image(xisf(tmp_path / 'a.xisf', body, stored)).data
    assert np.array_equal(read, data[0])


@given(st.binary(max_size=50), st.integers(0, 9))
def test_shuffle_is_a_permutation_that_unshuffle_undoes(content, item):
    """Any bytes and any item size come back, also with a rest."""
    data = np.frombuffer(content, np.uint8)
    shuffled = byte_shuffle(data, item)
    assert sorted(shuffled) == sorted(data)
    assert np.array_equal(byte_unshuffle(shuffled, item), data)


def test_shuffle_order():
    """First all first bytes, then all second bytes, then the rest."""
    data = np.array([1, 2, 3, 11, 12, 13, 99], np.uint8)
    assert byte_shuffle(data, 3).tolist() == [1, 11, 2, 12, 3, 13, 99]


def test_choose_an_image(tmp_path):
    """A file may hold several images, chosen by number or identifier."""
    first, second = samples('u1'), samples('f4')
    blocks = [first.tobytes(), second.tobytes()]
    body = element(first, f'attachment:4096:{len(blocks[0])}', attributes='id="a"')
    body += element(
        second,
        f'attachment:{4096 + len(blocks[0])}:{len(blocks[1])}',
        attributes='id="b"',
    )
    path = xisf(tmp_path / 'a.xisf', body, blocks)
    assert np.array_equal(read_image(path).data, first[0])
    for ext in (1, -1, 'b'):
        assert np.array_equal(read_image(path, ext=ext).data, second[0])
    for ext in (2, 'c'):
        with pytest.raises(ImageFormatError, match="1 'b'"):
            read_image(path, ext=ext)


def test_fits_keywords(tmp_path):
    """Keywords become the header: numbers, text, logical values, history."""
    cards = [
        ('OBJECT', "'M 57'", 'target'),
        ('OBSERVER', "'O''Neill'", ''),
        ('EXPTIME', '30.5', 's'),
        ('GAIN', '1.5E-1', ''),
        ('BIGGAIN', '2.D3', ''),
        ('NCOMBINE', '12', ''),
        ('COOLED', 'T', ''),
        ('NOTHING', '', 'undefined'),
        ('WEIRD', 'a b', 'text without quotes'),
        ('NOTANUM', 'nan', ''),
        ('HISTORY', '', 'calibrated'),
        ('HISTORY', '', 'registered'),
        ('COMMENT', '', 'PixInsight & friends'),
        ('BSCALE', '1', 'describes another file'),
        ('NAXIS1', '77', 'describes another file'),
        ('BUNIT', "'electron'", ''),
    ]
    content = ''.join(
        f'<FITSKeyword name="{n}" value="{v}" comment="{c.replace("&", "&amp;")}"/>'
        for n, v, c in cards
    )
    data = samples('u1')
    raw = data.tobytes()
    body = element(data, f'attachment:4096:{len(raw)}', content=content)
    meta, extras = read_image(xisf(tmp_path / 'a.xisf', body, [raw]))[1:]
    assert meta['OBJECT'] == 'M 57'
    assert meta.comments['OBJECT'] == 'target'
    assert meta['OBSERVER'] == "O'Neill"
    assert (meta['EXPTIME'], meta['GAIN'], meta['BIGGAIN']) == (30.5, 0.15, 2000.0)
    assert meta['NCOMBINE'] == 12
    assert meta['COOLED'] is True
    assert meta.cards['NOTHING'].comment == 'undefined'
    assert (meta['WEIRD'], meta['NOTANUM']) == ('a b', 'nan')
    assert list(meta['HISTORY']) == ['calibrated', 'registered']
    assert list(meta['COMMENT']) == ['PixInsight & friends']
    assert 'BSCALE' not in meta
    assert 'NAXIS1' not in meta
    assert str(extras['unit']) == 'electron'


@pytest.mark.parametrize('compressed', [False, True])
@pytest.mark.parametrize('shape', [(5, 7), (64, 48), (5, 7, 3)])
@pytest.mark.parametrize('dtype', ['u1', 'u2', 'u4', 'f4', 'f8'])
def test_round_trip(tmp_path, compressed, shape, dtype):
    """What is written is read back bit by bit."""
    data = np.linspace(0, 200, int(np.prod(shape))).reshape(shape).astype(dtype)
    write_image(data, tmp_path / 'a.xisf', compress=compressed)
    read = read_image(tmp_path / 'a.xisf').data
    assert read.dtype == data.dtype
    assert np.array_equal(read, data)


def test_written_file(tmp_path):
    """Signature, alignment, checksum, bounds and mandatory properties."""
    data = np.full((64, 48), 0.5, np.float32)
    write_image(data, tmp_path / 'a.xisf')
    content = (tmp_path / 'a.xisf').read_bytes()
    (length,) = struct.unpack_from('<I', content, 8)
    header = content[16 : 16 + length].decode()
    assert content[:8] == b'XISF0100'
    assert f'location="attachment:4096:{data.nbytes}"' in header
    assert content[4096:] == data.tobytes()
    assert f'checksum="sha-1:{hashlib.sha1(data.tobytes()).hexdigest()}"' in header
    assert 'bounds="0:1"' in header
    assert 'XISF:CreationTime' in header
    assert 'XISF:CreatorApplication' in header


def test_bounds_of_counts(tmp_path):
    """Floating-point counts are shown on the scale of 16 bits."""
    for peak, bounds in ((40_000, '0:65535'), (1e6, '0:1000000.0'), (1.2, '0:1')):
        data = np.array([[0, peak], [np.nan, np.inf]], np.float32)
        data[1, 1] = peak
        write_image(data, tmp_path / 'a.xisf', overwrite=True)
        assert f'bounds="{bounds}"'.encode() in (tmp_path / 'a.xisf').read_bytes()


def test_long_header_moves_the_pixels(tmp_path):
    """A header of more than 4096 bytes pushes the block to the next boundary."""
    from astropy.nddata import CCDData

    data = samples('f4')[0]
    meta = {f'KEY{i}': 'x' * 60 for i in range(200)}
    write_image(CCDData(data, unit='adu', meta=meta), tmp_path / 'a.xisf')
    image = read_image(tmp_path / 'a.xisf')
    assert np.array_equal(image.data, data)
    assert image.meta['KEY199'] == 'x' * 60


def test_signed_integers_are_refused(tmp_path):
    """XISF has no signed integers; the error says what to do."""
    with pytest.raises(ImageFormatError, match='float32'):
        write_image(np.zeros((2, 2), np.int16), tmp_path / 'a.xisf')
    assert not (tmp_path / 'a.xisf').exists()


def test_the_xisf_package_reads_ours(tmp_path):
    """An independent reader gets the same pixels, where it is installed."""
    package = pytest.importorskip('xisf')
    data = samples('f4', 3)
    for compressed in (False, True):
        path = tmp_path / f'{compressed}.xisf'
        write_image(np.moveaxis(data, 0, -1), path, compress=compressed)
        read = package.XISF(str(path)).read_image(0)
        assert np.array_equal(read, np.moveaxis(data, 0, -1))
