# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Images in XISF files, the native format of PixInsight.

A monolithic file is a signature, an XML header and blocks of bytes. What is
read here: every sample format but the complex ones, planar and interleaved,
either byte order, inline, embedded and attached blocks, all checksums, zlib
and, with numcodecs, LZ4 and Zstandard, with or without byte shuffling.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any, BinaryIO
from xml.etree import ElementTree as ET

import numpy as np

from astroflat._exceptions import ImageFormatError
from astroflat.io._xisf_block import positive_int, read_block

if TYPE_CHECKING:
    from pathlib import Path

    from astropy.io import fits

__all__ = ['SAMPLE_FORMATS', 'SIGNATURE', 'read_xisf']

SIGNATURE = b'XISF0100'
SAMPLE_FORMATS = {
    'UInt8': 'u1',
    'UInt16': 'u2',
    'UInt32': 'u4',
    'UInt64': 'u8',
    'Float32': 'f4',
    'Float64': 'f8',
}
_COLOUR = {'Gray': 1, 'RGB': 3}
# Headers of real files have kilobytes; with inline previews, megabytes.
_MAX_HEADER = 64 * 2**20


def read_xisf(
    path: Path, *, ext: int | str | None = None
) -> tuple[np.ndarray, fits.Header, dict[str, Any]]:
    """
    Read one image of a monolithic XISF file.

    Parameters
    ----------
    path : `pathlib.Path`
        The file.

    ext : int, str or None, optional
        The number or the identifier of the image; `None` is the first.

    Returns
    -------
    data : `~numpy.ndarray`
        Native byte order, ``(ny, nx)`` or ``(ny, nx, 3)``, the samples as
        they are stored: integers are not brought to the range 0 to 1.

    header : `~astropy.io.fits.Header`
        The FITS keywords of the image.

    extras : dict
        ``unit`` and ``wcs``, where the keywords have them.

    Raises
    ------
    ImageFormatError
        If the file is truncated, damaged, or in a form that is not supported.
    """
    from astroflat.io._cards import header_extras, header_from_cards

    with path.open('rb') as file:
        root = _parse(_header_text(file, path.name), path.name)
        image = _select(root, ext, path.name)
        data = _pixels(file, image, path.name)
    header, extras = header_extras(header_from_cards(_keywords(image)))
    return data, header, extras


def _header_text(file: BinaryIO, name: str) -> str:
    """Return the XML header."""
    head = file.read(16)
    if len(head) < 16 or head[:8] != SIGNATURE:
        msg = f'{name!r} is not a monolithic XISF file'
        raise ImageFormatError(msg)
    (length,) = struct.unpack_from('<I', head, 8)
    size = file.seek(0, 2)
    if 16 + length > size:
        msg = f'{name!r} is truncated: its header ends after the end of the file'
        raise ImageFormatError(msg)
    if length > _MAX_HEADER:
        msg = f'{name!r} is damaged: its header has {length} bytes'
        raise ImageFormatError(msg)
    file.seek(16)
    try:
        return file.read(length).rstrip(b'\0').decode('utf-8')
    except UnicodeDecodeError as error:
        msg = f'{name!r} is damaged: its header is not UTF-8'
        raise ImageFormatError(msg) from error


def _parse(text: str, name: str) -> ET.Element:
    """
    Parse the XML header, without a document type.

    Entities, which can make a small header fill the memory or read other
    files, can only be defined in a document type; XISF has no use for one.
    The text is already decoded, so that another encoding cannot hide it.
    """
    if re.search(r'<!\s*(DOCTYPE|ENTITY)', text, re.IGNORECASE):
        msg = f'the header of {name!r} has a document type, which XISF does not allow'
        raise ImageFormatError(msg)
    try:
        return ET.fromstring(text)  # noqa: S314
    except (ET.ParseError, ValueError) as error:
        msg = f'{name!r} is damaged: its header is not XML ({error})'
        raise ImageFormatError(msg) from error


def _select(root: ET.Element, ext: int | str | None, name: str) -> ET.Element:
    """Return the Image element asked for."""
    images = root.findall('{*}Image')
    if not images:
        msg = f'{name!r} has no image'
        raise ImageFormatError(msg)
    if isinstance(ext, str):
        chosen = [image for image in images if image.get('id') == ext]
        if chosen:
            return chosen[0]
    elif -len(images) <= (ext or 0) < len(images):
        return images[ext or 0]
    names = ', '.join(f'{i} {image.get("id", "")!r}' for i, image in enumerate(images))
    msg = f'{name!r} has no image {ext!r}; it has: {names}'
    raise ImageFormatError(msg)


def _geometry(image: ET.Element, name: str) -> tuple[int, int, int]:
    """Return width, height and the number of channels."""
    text = image.get('geometry', '')
    numbers = [positive_int(part, 'its geometry', name) for part in text.split(':')]
    if len(numbers) != 3 or 0 in numbers:
        msg = f'{name!r} has the geometry {text[:40]!r}; only images of 2 axes are read'
        raise ImageFormatError(msg)
    return numbers[0], numbers[1], numbers[2]


def _dtype(image: ET.Element, name: str) -> np.dtype:
    """Return the type of the stored samples."""
    kind = image.get('sampleFormat', '')
    if kind not in SAMPLE_FORMATS:
        msg = f'{name!r} has samples of the kind {kind[:40]!r}, which are not read'
        raise ImageFormatError(msg)
    order = image.get('byteOrder', 'little').lower()
    if order not in {'little', 'big'}:
        msg = f'{name!r} has the unknown byte order {order[:40]!r}'
        raise ImageFormatError(msg)
    return np.dtype(SAMPLE_FORMATS[kind]).newbyteorder(order)


def _pixels(file: BinaryIO, image: ET.Element, name: str) -> np.ndarray:
    """Return the samples, colour last, native byte order."""
    nx, ny, channels = _geometry(image, name)
    dtype = _dtype(image, name)
    space = image.get('colorSpace', 'Gray')
    if space not in _COLOUR or channels < _COLOUR[space]:
        msg = f'{name!r} has {channels} channels in the colour space {space[:40]!r}'
        raise ImageFormatError(msg)
    block = read_block(file, image, nx * ny * channels * dtype.itemsize, name=name)
    samples = block.view(dtype)
    if image.get('pixelStorage', 'Planar').lower() == 'normal':
        data = samples.reshape(ny, nx, channels)
    else:
        data = np.moveaxis(samples.reshape(channels, ny, nx), 0, -1)
    # Channels beyond those of the colour space are transparency and the like.
    data = data[..., 0] if space == 'Gray' else data[..., :3]
    return np.array(data, dtype.newbyteorder('='), order='C', copy=True)


def _keywords(image: ET.Element) -> list[tuple[str, Any, str]]:
    """Return the FITS keywords of an image."""
    cards = []
    for element in image.iter():
        if element.tag.rpartition('}')[2] == 'FITSKeyword':
            value, comment = element.get('value', ''), element.get('comment', '')
            cards.append((element.get('name', ''), _value(value), comment))
    return cards


def _value(text: str) -> Any:
    """Return the value of a FITS keyword written as text."""
    text = text.strip()
    if text.startswith("'"):
        return text[1:].removesuffix("'").replace("''", "'").rstrip()
    if text in {'T', 'F'}:
        return text == 'T'
    for kind in (int, _real):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None


def _real(text: str) -> float:
    """Return a number written as FITS or C does; not nan, inf or 1_000."""
    if not re.fullmatch(r'[+-]?(\d+\.?\d*|\.\d+)([EeDd][+-]?\d+)?', text):
        raise ValueError
    return float(text.upper().replace('D', 'E'))
