# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Write XISF files that PixInsight reads."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np

from astroflat._exceptions import ImageFormatError
from astroflat.io._cards import plain
from astroflat.io._xisf import SAMPLE_FORMATS, SIGNATURE
from astroflat.io._xisf_block import byte_shuffle

if TYPE_CHECKING:
    from astropy.io import fits

__all__ = ['write_xisf']

_NAMESPACE = 'http://www.pixinsight.com/xisf'
_SCHEMA = f'{_NAMESPACE} http://pixinsight.com/xisf/xisf-1.0.xsd'
_ALIGN = 4096
_FORMATS = {np.dtype(code): name for name, code in SAMPLE_FORMATS.items()}


def write_xisf(
    path: str | os.PathLike,
    data: np.ndarray,
    header: fits.Header,
    *,
    compress: bool,
    image_type: str | None = None,
) -> None:
    """
    Write a monolithic XISF file with one image.

    Parameters
    ----------
    path : str or path-like
        The file.

    data : `~numpy.ndarray`
        Unsigned integers, float32 or float64; ``(ny, nx)`` or
        ``(ny, nx, 3)``, which is stored as planes.

    header : `~astropy.io.fits.Header`
        Cards to write as FITS keywords.

    compress : bool
        Whether to compress with zlib after shuffling the bytes.

    image_type : str, optional
        What the image is, such as ``MasterFlat``.
    """
    dtype = data.dtype.newbyteorder('=')
    if dtype not in _FORMATS:
        msg = (
            f'XISF cannot hold samples of type {data.dtype}; '
            "use dtype='float32' or an unsigned integer"
        )
        raise ImageFormatError(msg)
    block, compression = _block(data, compress)
    attributes = _attributes(data, _FORMATS[dtype], image_type)
    if compression:
        attributes['compression'] = compression
    digest = hashlib.sha1(block, usedforsecurity=False).hexdigest()
    attributes['checksum'] = f'sha-1:{digest}'
    text, start = _place(attributes, header, block.size)
    with Path(path).open('wb') as file:
        file.write(SIGNATURE + struct.pack('<II', len(text), 0) + text)
        file.write(bytes(start - 16 - len(text)))
        file.write(block)


def _block(data: np.ndarray, compress: bool) -> tuple[np.ndarray, str | None]:
    """Return the bytes to store and how they are compressed."""
    if data.ndim == 3:
        data = np.moveaxis(data, -1, 0)
    item = data.dtype.itemsize
    plain = np.ascontiguousarray(data, data.dtype.newbyteorder('<'))
    plain = plain.reshape(-1).view(np.uint8)
    if not compress:
        return plain, None
    small = np.frombuffer(zlib.compress(byte_shuffle(plain, item), 4), np.uint8)
    if small.size >= plain.size:
        return plain, None
    name = f'zlib+sh:{plain.size}:{item}' if item > 1 else f'zlib:{plain.size}'
    return small, name


def _attributes(
    data: np.ndarray, sample_format: str, image_type: str | None
) -> dict[str, str]:
    """Return the attributes of the Image element."""
    ny, nx = data.shape[:2]
    attributes = {
        'id': 'image',
        'geometry': f'{nx}:{ny}:{3 if data.ndim == 3 else 1}',
        'sampleFormat': sample_format,
        'colorSpace': 'RGB' if data.ndim == 3 else 'Gray',
    }
    if data.dtype.kind == 'f':
        attributes['bounds'] = _bounds(data)
    if image_type:
        attributes['imageType'] = image_type
    return attributes


def _bounds(data: np.ndarray) -> str:
    """
    Return the range that PixInsight shows from black to white.

    Values of the order of 1 keep the usual 0 to 1, so that they are not
    rescaled; counts get the range of 16 bits, as integer frames have it.
    """
    peak = max(float(row[np.isfinite(row)].max(initial=0)) for row in data)
    if not peak > 16:
        return '0:1'
    return '0:65535' if peak <= 65535 else f'0:{peak!r}'


def _place(
    attributes: dict[str, str], header: fits.Header, size: int
) -> tuple[bytes, int]:
    """Return the header and where the block starts, which it says itself."""
    start = _ALIGN
    while True:
        attributes['location'] = f'attachment:{start}:{size}'
        text = _xml(attributes, header)
        needed = -(-(16 + len(text)) // _ALIGN) * _ALIGN
        if needed <= start:
            return text, start
        start = needed


def _xml(attributes: dict[str, str], header: fits.Header) -> bytes:
    """Return the XML header."""
    root = ET.Element(
        'xisf',
        {
            'version': '1.0',
            'xmlns': _NAMESPACE,
            'xmlns:xsi': 'http://www.w3.org/2001/XMLSchema-instance',
            'xsi:schemaLocation': _SCHEMA,
        },
    )
    image = ET.SubElement(root, 'Image', attributes)
    for card in header.cards:
        value, comment = _keyword(card)
        fields = {'name': card.keyword, 'value': value, 'comment': comment}
        ET.SubElement(image, 'FITSKeyword', fields)
    _metadata(root)
    return ET.tostring(root, encoding='UTF-8', xml_declaration=True)


def _metadata(root: ET.Element) -> None:
    """Add the properties that every file must have."""
    from astroflat import __version__

    metadata = ET.SubElement(root, 'Metadata')
    now = datetime.now(UTC).strftime('%Y-%m-%dT%H:%M:%SZ')
    creation = {'id': 'XISF:CreationTime', 'type': 'TimePoint', 'value': now}
    ET.SubElement(metadata, 'Property', creation)
    program = {'id': 'XISF:CreatorApplication', 'type': 'String'}
    text = f'astroflat {__version__.split("+")[0]}'
    ET.SubElement(metadata, 'Property', program).text = text
    ET.SubElement(
        metadata,
        'Property',
        {'id': 'XISF:BlockAlignmentSize', 'type': 'UInt16', 'value': str(_ALIGN)},
    )


def _keyword(card: Any) -> tuple[str, str]:
    """Return value and comment of a card as XISF writes them."""
    from astropy.io.fits.card import Undefined

    value = plain(card.value)
    if card.keyword in {'HISTORY', 'COMMENT', ''}:
        return '', str(value)
    if isinstance(value, Undefined):
        return '', card.comment
    if isinstance(value, bool):
        return 'T' if value else 'F', card.comment
    if isinstance(value, str):
        quoted = value.replace("'", "''")
        return f"'{quoted}'", card.comment
    return repr(value), card.comment
