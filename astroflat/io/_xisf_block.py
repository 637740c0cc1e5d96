# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Data blocks of XISF files: where they are, checksums, compression."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from astroflat._exceptions import ImageFormatError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

__all__ = ['byte_shuffle', 'byte_unshuffle', 'positive_int', 'read_block']

_HASHES = {
    'sha1': 'sha1',
    'sha256': 'sha256',
    'sha512': 'sha512',
    'sha3256': 'sha3_256',
    'sha3512': 'sha3_512',
}
# How much a block can grow by when it is decompressed. A header that promises
# more is damaged or hostile, and believing it would fill the memory.
_MAX_RATIO = {'zlib': 1032, 'lz4': 255, 'lz4hc': 255, 'zstd': 40_000}


def positive_int(text: str, what: str, name: str) -> int:
    """
    Return a decimal number that is not negative.

    Parameters
    ----------
    text : str
        The digits.

    what, name : str
        What the number is and the file that it is in, for the message.

    Returns
    -------
    number : int
        The number.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        msg = f'{name!r} is damaged: {what} is {text[:40]!r}, not a number'
        raise ImageFormatError(msg)
    return int(text)


def read_block(
    file: BinaryIO, element: Element, n_bytes: int, *, name: str
) -> np.ndarray:
    """
    Read the data block that an XML element describes.

    Parameters
    ----------
    file : file
        The open file.

    element : `~xml.etree.ElementTree.Element`
        The element with the attributes of the block.

    n_bytes : int
        The size that the decoded block must have.

    name : str
        The name of the file, for messages.

    Returns
    -------
    block : `~numpy.ndarray` of uint8
        Exactly ``n_bytes`` bytes.

    Raises
    ------
    ImageFormatError
        If the block is truncated, fails its checksum, is of another size or
        kept in another file.
    """
    raw, attributes = _locate(file, element, n_bytes, name)
    # The checksum is that of the stored bytes: nothing altered is decompressed.
    _verify(raw, attributes.get('checksum'), name)
    compression = attributes.get('compression')
    if compression is None:
        if raw.size != n_bytes:
            msg = f'{name!r} is damaged: a block has {raw.size} bytes, not {n_bytes}'
            raise ImageFormatError(msg)
        return raw
    return _decompress(raw, compression, attributes.get('subblocks'), n_bytes, name)


def _locate(
    file: BinaryIO, element: Element, n_bytes: int, name: str
) -> tuple[np.ndarray, dict[str, str]]:
    """Return the stored bytes and the attributes that describe them."""
    kind, _, rest = element.get('location', '').partition(':')
    if kind == 'attachment':
        return _attached(file, rest, name), element.attrib
    limit = 2 * n_bytes + 1024
    if kind == 'inline':
        return _from_text(element.text, rest, limit, name), element.attrib
    if kind == 'embedded':
        data = element.find('{*}Data')
        if data is None:
            msg = f'{name!r} is damaged: an embedded block has no Data element'
            raise ImageFormatError(msg)
        raw = _from_text(data.text, data.get('encoding', ''), limit, name)
        return raw, {**element.attrib, **data.attrib}
    if kind.startswith(('url(', 'path(')):
        msg = f'{name!r} keeps its pixels in another file; save it as one .xisf file'
        raise ImageFormatError(msg)
    msg = f'{name!r} has a block at an unknown place: {kind[:40]!r}'
    raise ImageFormatError(msg)


def _attached(file: BinaryIO, place: str, name: str) -> np.ndarray:
    """Read the bytes of an attached block."""
    start, _, size = place.partition(':')
    start = positive_int(start, 'the position of a block', name)
    size = positive_int(size, 'the size of a block', name)
    end = file.seek(0, 2)
    if start + size > end:
        msg = (
            f'{name!r} is truncated: a block ends at byte {start + size}, '
            f'the file at byte {end}'
        )
        raise ImageFormatError(msg)
    file.seek(start)
    return np.fromfile(file, np.uint8, size)


def _from_text(text: str | None, encoding: str, limit: int, name: str) -> np.ndarray:
    """Decode a block written as text in the header."""
    text = ''.join((text or '').split())
    if len(text) > 2 * limit:
        msg = f'{name!r} is damaged: a block in the header is too long'
        raise ImageFormatError(msg)
    try:
        if encoding == 'base64':
            raw = base64.b64decode(text, validate=True)
        elif encoding == 'hex':
            raw = bytes.fromhex(text)
        else:
            msg = f'{name!r} has a block in the unknown encoding {encoding[:40]!r}'
            raise ImageFormatError(msg)
    except (binascii.Error, ValueError) as error:
        if isinstance(error, ImageFormatError):
            raise
        msg = f'{name!r} is damaged: a block in the header is not {encoding}'
        raise ImageFormatError(msg) from error
    return np.frombuffer(raw, np.uint8)


def _verify(raw: np.ndarray, checksum: str | None, name: str) -> None:
    """Compare the checksum, if there is one."""
    if checksum is None:
        return
    algorithm, _, digest = checksum.partition(':')
    known = _HASHES.get(algorithm.lower().replace('-', ''))
    if known is None or not digest:
        msg = f'{name!r} has a checksum of an unknown kind: {checksum[:40]!r}'
        raise ImageFormatError(msg)
    found = hashlib.new(known, raw, usedforsecurity=False).hexdigest()
    if not hmac.compare_digest(found, digest.strip().lower()):
        msg = f'{name!r} is damaged: its pixels do not match their {algorithm} checksum'
        raise ImageFormatError(msg)


def _decompress(
    raw: np.ndarray, compression: str, subblocks: str | None, n_bytes: int, name: str
) -> np.ndarray:
    """Decompress a block and undo the shuffling of its bytes."""
    codec, _, sizes = compression.partition(':')
    codec, _, shuffled = codec.partition('+')
    size, _, item = sizes.partition(':')
    size = positive_int(size, 'the uncompressed size', name)
    if size != n_bytes:
        msg = f'{name!r} is damaged: a block of {size} bytes holds {n_bytes} of pixels'
        raise ImageFormatError(msg)
    parts = _subblocks(subblocks, raw.size, size, name)
    decoded = [_decode(part, n, codec, name) for part, n in _cut(raw, parts)]
    out = decoded[0] if len(decoded) == 1 else np.concatenate(decoded)
    if not shuffled:
        return out
    if shuffled != 'sh':
        msg = f'{name!r} is compressed in an unknown way: {compression[:40]!r}'
        raise ImageFormatError(msg)
    return byte_unshuffle(out, positive_int(item, 'the item size', name))


def _subblocks(
    text: str | None, stored: int, size: int, name: str
) -> list[tuple[int, int]]:
    """Return the stored and the decompressed size of each part of a block."""
    if text is None:
        return [(stored, size)]
    parts = []
    for pair in text.split(':'):
        small, _, large = pair.partition(',')
        parts.append(
            (
                positive_int(small, 'the size of a sub-block', name),
                positive_int(large, 'the size of a sub-block', name),
            )
        )
    if sum(p[0] for p in parts) != stored or sum(p[1] for p in parts) != size:
        msg = f'{name!r} is damaged: the sub-blocks do not add up to the block'
        raise ImageFormatError(msg)
    return parts


def _cut(raw: np.ndarray, parts: list[tuple[int, int]]) -> Any:
    """Yield the stored bytes of every part with its decompressed size."""
    start = 0
    for stored, size in parts:
        yield raw[start : start + stored], size
        start += stored


def _decode(raw: np.ndarray, size: int, codec: str, name: str) -> np.ndarray:
    """Decompress one part; a part that would not shrink is stored as it is."""
    if codec not in {'zlib', 'lz4', 'lz4hc', 'zstd'}:
        msg = f'{name!r} is compressed in an unknown way: {codec[:40]!r}'
        raise ImageFormatError(msg)
    if raw.size == size:
        return raw
    if size > _MAX_RATIO[codec] * (raw.size + 64):
        msg = f'{name!r} is damaged: {raw.size} compressed bytes cannot hold {size}'
        raise ImageFormatError(msg)
    try:
        out = _zlib(raw, size) if codec == 'zlib' else _numcodecs(raw, size, codec)
    except (zlib.error, RuntimeError, ValueError) as error:
        msg = f'{name!r} is damaged: its pixels cannot be decompressed ({error})'
        raise ImageFormatError(msg) from error
    if out.size != size:
        msg = f'{name!r} is damaged: {out.size} bytes decompressed, not {size}'
        raise ImageFormatError(msg)
    return out


def _zlib(raw: np.ndarray, size: int) -> np.ndarray:
    """Decompress, and stop one byte after the size that was promised."""
    return np.frombuffer(zlib.decompressobj().decompress(raw, size + 1), np.uint8)


def _numcodecs(raw: np.ndarray, size: int, codec: str) -> np.ndarray:
    """Decompress LZ4 and Zstandard, which PixInsight writes as well."""
    try:
        from numcodecs import lz4, zstd
    except ImportError as error:
        msg = (
            f'this XISF file is compressed with {codec}, which needs the package '
            'numcodecs; install it, or save the file with zlib or uncompressed'
        )
        raise ImageFormatError(msg) from error
    out = np.empty(size, np.uint8)
    if codec == 'zstd':
        _refuse_short(zstd.decompress, raw, size)
        zstd.decompress(raw, out)
    else:
        # numcodecs wants the size before a raw LZ4 block.
        lz4.decompress(struct.pack('<I', size) + raw.tobytes(), out)
    return out


def _refuse_short(decompress: Any, raw: np.ndarray, size: int) -> None:
    """Raise if a Zstandard block holds less than it should."""
    try:
        # What is shorter than the buffer would leave its end undefined, and
        # numcodecs does not tell. What is too long for it fails at once.
        decompress(raw, np.empty(max(size - 1, 0), np.uint8))
    except ValueError:
        return
    msg = f'fewer than {size} bytes'
    raise ValueError(msg)


def byte_shuffle(data: np.ndarray, item: int) -> np.ndarray:
    """
    Put the first bytes of all items first, then the second bytes, and so on.

    Parameters
    ----------
    data : `~numpy.ndarray` of uint8
        The bytes.

    item : int
        Bytes per item; what is left after the last whole item stays last.

    Returns
    -------
    data : `~numpy.ndarray` of uint8
        The same bytes in an order that compresses better.
    """
    whole = data.size - data.size % max(item, 1)
    if item < 2 or whole == 0:
        return data
    out = np.empty_like(data)
    out[:whole].reshape(item, -1)[...] = data[:whole].reshape(-1, item).T
    out[whole:] = data[whole:]
    return out


def byte_unshuffle(data: np.ndarray, item: int) -> np.ndarray:
    """
    Undo `byte_shuffle`.

    Parameters
    ----------
    data : `~numpy.ndarray` of uint8
        The shuffled bytes.

    item : int
        Bytes per item.

    Returns
    -------
    data : `~numpy.ndarray` of uint8
        The bytes in their own order.
    """
    whole = data.size - data.size % max(item, 1)
    if item < 2 or whole == 0:
        return data
    out = np.empty_like(data)
    out[:whole].reshape(-1, item)[...] = data[:whole].reshape(item, -1).T
    out[whole:] = data[whole:]
    return out
