# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""XISF files that are truncated, damaged or made to do harm."""

from __future__ import annotations

import contextlib
import hashlib
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astroflat.io import ImageFormatError, read_image, write_image

DATA = np.arange(35, dtype=np.uint16).reshape(5, 7)
RAW = DATA.tobytes()
IMAGE = 'geometry="7:5:1" sampleFormat="UInt16" colorSpace="Gray"'
PLACE = f'location="attachment:4096:{len(RAW)}"'


def xisf(path, body, block=RAW, *, prolog=''):
    """Write a file by hand."""
    text = f'{prolog}<xisf version="1.0">{body}</xisf>'
    text = text if isinstance(text, bytes) else text.encode()
    head = b'XISF0100' + struct.pack('<II', len(text), 0) + text
    path.write_bytes(head.ljust(4096, b'\0') + block)
    return path


def test_the_undamaged_file(tmp_path):
    """What the other tests damage is read."""
    path = xisf(tmp_path / 'a.xisf', f'<Image {IMAGE} {PLACE}/>')
    assert np.array_equal(read_image(path).data, DATA)


@pytest.mark.parametrize(
    ('attributes', 'match'),
    [
        (f'geometry="7:5" sampleFormat="UInt16" {PLACE}', 'geometry'),
        (f'geometry="7:5:2:1" sampleFormat="UInt16" {PLACE}', 'geometry'),
        (f'geometry="7:0:1" sampleFormat="UInt16" {PLACE}', 'geometry'),
        (f'geometry="7:-5:1" sampleFormat="UInt16" {PLACE}', 'not a number'),
        (f'geometry="7:5e9:1" sampleFormat="UInt16" {PLACE}', 'not a number'),
        (f'geometry="7:٥:1" sampleFormat="UInt16" {PLACE}', 'not a number'),
        (f'geometry="7:5:1" sampleFormat="Complex32" {PLACE}', 'Complex32'),
        (f'geometry="7:5:1" {PLACE}', 'samples'),
        (f'{IMAGE} byteOrder="middle" {PLACE}', 'byte order'),
        (f'geometry="7:5:1" sampleFormat="UInt16" colorSpace="RGB" {PLACE}', 'RGB'),
        (f'geometry="7:5:1" sampleFormat="UInt16" colorSpace="CIELab" {PLACE}', 'Lab'),
        (IMAGE, 'unknown place'),
        (f'{IMAGE} location="url(http://example.org/a):1:2"', 'another file'),
        (f'{IMAGE} location="path(/etc/passwd)"', 'another file'),
        (f'{IMAGE} location="attachment:4096"', 'not a number'),
        (f'{IMAGE} location="attachment:4096:69"', 'a block has 69 bytes, not 70'),
        (f'{IMAGE} location="attachment:4100:70"', 'truncated'),
        (f'{IMAGE} location="attachment:99999999999999999:70"', 'truncated'),
        (f'{IMAGE} location="attachment:9999999999999999999999:7"', 'not a number'),
        (f'{IMAGE} location="embedded"', 'no Data'),
        (f'{IMAGE} location="inline:rot13"', 'rot13'),
        (f'{IMAGE} location="inline:base64"', 'has 0 bytes'),
        (f'{IMAGE} {PLACE} checksum="sha-1:00"', 'checksum'),
        (f'{IMAGE} {PLACE} checksum="md5:00"', 'unknown kind'),
        (f'{IMAGE} {PLACE} checksum="sha-1"', 'unknown kind'),
        (f'{IMAGE} {PLACE} compression="zlib:69"', '69 bytes'),
        (f'{IMAGE} {PLACE} compression="zlib"', 'not a number'),
        (f'{IMAGE} {PLACE} compression="rar:70"', 'unknown way'),
        (f'{IMAGE} {PLACE} compression="zlib+up:70"', 'unknown way'),
        (f'{IMAGE} {PLACE} compression="zlib:70" subblocks="1,1"', 'add up'),
        (f'{IMAGE} {PLACE} compression="zlib:70" subblocks="1"', 'not a number'),
    ],
)
def test_wrong_attributes(tmp_path, attributes, match):
    """Every wrong attribute has an error that says what is wrong."""
    path = xisf(tmp_path / 'a.xisf', f'<Image {attributes}/>')
    with pytest.raises(ImageFormatError, match=match):
        read_image(path)


def test_no_image(tmp_path):
    """A file of properties only has no image."""
    with pytest.raises(ImageFormatError, match='no image'):
        read_image(xisf(tmp_path / 'a.xisf', '<Metadata/>'))


def test_truncated_header_and_pixels(tmp_path):
    """Whatever is missing at the end is noticed."""
    write_image(DATA, tmp_path / 'a.xisf')
    content = (tmp_path / 'a.xisf').read_bytes()
    for keep in (8, 12, 16, 200, 4000, 4096, len(content) - 1):
        (tmp_path / 'b.xisf').write_bytes(content[:keep])
        with pytest.raises(ImageFormatError, match=r'b\.xisf'):
            read_image(tmp_path / 'b.xisf')


def test_one_flipped_bit(tmp_path):
    """The checksum finds it, in plain and in compressed pixels."""
    data = np.zeros((60, 50), np.float32)
    for compressed in (False, True):
        path = tmp_path / f'{compressed}.xisf'
        write_image(data, path, compress=compressed)
        content = bytearray(path.read_bytes())
        content[-5] ^= 4
        path.write_bytes(bytes(content))
        with pytest.raises(ImageFormatError, match='checksum'):
            read_image(path)


@pytest.mark.parametrize('damage', ['short', 'long', 'garbage', 'adler'])
def test_damaged_stream(tmp_path, damage):
    """Without a checksum the stream itself is verified."""
    stream = zlib.compress(RAW if damage != 'long' else RAW + b'\0\0')
    stream = {
        'short': zlib.compress(RAW[:60]),
        'garbage': b'x' * len(stream),
        'adler': stream[:-1] + bytes([stream[-1] ^ 1]),
    }.get(damage, stream)
    attributes = (
        f'{IMAGE} location="attachment:4096:{len(stream)}" compression="zlib:70"'
    )
    path = xisf(tmp_path / 'a.xisf', f'<Image {attributes}/>', stream)
    with pytest.raises(ImageFormatError, match='decompressed'):
        read_image(path)


@pytest.mark.parametrize('codec', ['lz4', 'zstd'])
@pytest.mark.parametrize('size', [60, 80])
def test_other_codecs_of_the_wrong_size(tmp_path, codec, size):
    """A stream that holds less or more than it should is an error."""
    numcodecs = pytest.importorskip('numcodecs')
    content = bytes(size)
    stream = bytes(getattr(numcodecs, codec).compress(content))
    stream = stream[4:] if codec == 'lz4' else stream
    attributes = (
        f'{IMAGE} location="attachment:4096:{len(stream)}" compression="{codec}:70"'
    )
    path = xisf(tmp_path / 'a.xisf', f'<Image {attributes}/>', stream)
    with pytest.raises(ImageFormatError, match='damaged'):
        read_image(path)


@pytest.mark.parametrize('codec', ['zlib', 'lz4', 'zstd'])
def test_bomb(tmp_path, codec):
    """A header that promises gigabytes from a few bytes does not get the memory."""
    size = 50_000 * 40_000 * 2
    stream = zlib.compress(bytes(100_000))
    attributes = (
        'geometry="50000:40000:1" sampleFormat="UInt16" colorSpace="Gray" '
        f'location="attachment:4096:{len(stream)}" compression="{codec}:{size}"'
    )
    path = xisf(tmp_path / 'a.xisf', f'<Image {attributes}/>', stream)
    tracemalloc.start()
    with pytest.raises(ImageFormatError, match='cannot hold'):
        read_image(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_stream_longer_than_promised_is_not_unpacked(tmp_path):
    """Decompression stops at the size of the image, not at the end of the stream."""
    stream = zlib.compress(bytes(50_000_000))
    attributes = (
        f'{IMAGE} location="attachment:4096:{len(stream)}" compression="zlib:70"'
    )
    path = xisf(tmp_path / 'a.xisf', f'<Image {attributes}/>', stream)
    tracemalloc.start()
    with pytest.raises(ImageFormatError, match='decompressed'):
        read_image(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6


@pytest.mark.parametrize(
    'prolog',
    [
        '<!DOCTYPE xisf [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>',
        '<!DOCTYPE xisf SYSTEM "file:///etc/passwd">',
        '<!doctype xisf [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    ],
)
def test_document_type_is_refused(tmp_path, prolog):
    """No entities: neither expansion bombs nor other files."""
    path = xisf(tmp_path / 'a.xisf', f'<Image {IMAGE} {PLACE}/>', prolog=prolog)
    with pytest.raises(ImageFormatError, match='document type'):
        read_image(path)


def test_other_encodings_hide_nothing(tmp_path):
    """The header is UTF-8 whatever it declares."""
    text = (
        '<?xml version="1.0" encoding="UTF-16"?>'
        f'<xisf version="1.0"><Image {IMAGE} {PLACE}/></xisf>'
    )
    head = text.encode('utf-16')
    path = tmp_path / 'a.xisf'
    path.write_bytes(b'XISF0100' + struct.pack('<II', len(head), 0) + head)
    with pytest.raises(ImageFormatError, match='UTF-8'):
        read_image(path)


@pytest.mark.parametrize('text', ['', '<xisf', '<a></b>', '&lol;', '<xisf>\x01</xisf>'])
def test_not_xml(tmp_path, text):
    """A header that is not XML is an error."""
    path = tmp_path / 'a.xisf'
    head = text.encode()
    path.write_bytes(b'XISF0100' + struct.pack('<II', len(head), 0) + head)
    with pytest.raises(ImageFormatError, match='not XML'):
        read_image(path)


def test_illegal_keywords_do_not_lose_the_image(tmp_path):
    """Keywords that FITS does not allow are made legal."""
    content = (
        '<FITSKeyword name="VERYLONGKEYWORD" value="1" comment="é"/>'
        '<FITSKeyword name="A B" value="\'ü&#10;x\'" comment=""/>'
        '<FITSKeyword name="" value="" comment="blank"/>'
        '<FITSKeyword/>'
        f'<FITSKeyword name="LONG" value="\'{"y" * 300}\'" comment="{"z" * 90}"/>'
    )
    path = xisf(tmp_path / 'a.xisf', f'<Image {IMAGE} {PLACE}>{content}</Image>')
    data, meta, _ = read_image(path)
    assert np.array_equal(data, DATA)
    assert meta['VERYLONGKEYWORD'] == 1
    assert meta['A B'] == '? x'
    assert meta['LONG'] == 'y' * 300


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_is_one_kind_of_error(tmp_path, data):
    """Bytes changed at random give the image or an ImageFormatError."""
    path = tmp_path / 'a.xisf'
    write_image(DATA.astype(np.float32), path, compress=True, overwrite=True)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, 1500))
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    with contextlib.suppress(ImageFormatError):
        read_image(path)


def test_checksum_is_looked_at_before_decompression(tmp_path):
    """Altered bytes never reach the codec."""
    stream = b'x' * 40
    digest = hashlib.sha256(b'other').hexdigest()
    attributes = (
        f'{IMAGE} location="attachment:4096:40" compression="zlib:70" '
        f'checksum="sha-256:{digest}"'
    )
    path = xisf(tmp_path / 'a.xisf', f'<Image {attributes}/>', stream)
    with pytest.raises(ImageFormatError, match='checksum'):
        read_image(path)
