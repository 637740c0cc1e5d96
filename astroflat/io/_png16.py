# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
PNG with 16 bits per colour, which no library of the scientific stack keeps.

Pillow reads such files as 8 bits without a word and cannot write them.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroflat._exceptions import ImageFormatError
from astroflat.io._damage import check_promise, reading

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ['decode_png16', 'encode_png16', 'is_png16_colour', 'verify_png']

_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_CHANNELS = {2: 3, 6: 4}


def is_png16_colour(path: str | os.PathLike) -> bool:
    """
    Tell whether a PNG file has 16 bits per sample in colour.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    yes : bool
        True for RGB and RGBA of 16 bits.
    """
    with Path(path).open('rb') as file:
        head = file.read(26)
    return len(head) == 26 and head[24] == 16 and head[25] in _CHANNELS


def _chunks(data: bytes, name: str) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the type and content of every chunk, verified by its checksum."""
    view = memoryview(data)
    start = len(_SIGNATURE)
    while start + 12 <= len(data):
        length, kind = struct.unpack_from('>I4s', data, start)
        end = start + 12 + length
        if end > len(data):
            break
        body = view[start + 8 : end - 4]
        (crc,) = struct.unpack_from('>I', data, end - 4)
        if zlib.crc32(body, zlib.crc32(kind)) != crc:
            msg = f'{name!r} is damaged: the checksum of chunk {kind!r} is wrong'
            raise ImageFormatError(msg)
        yield kind, body
        if kind == b'IEND':
            return
        start = end
    msg = f'{name!r} is truncated: it ends inside a chunk'
    raise ImageFormatError(msg)


def verify_png(path: str | os.PathLike) -> None:
    """
    Read a PNG file through and check that it is whole.

    Parameters
    ----------
    path : str or path-like
        The file.

    Raises
    ------
    ImageFormatError
        If it is truncated or a checksum is wrong; Pillow looks at neither.
    """
    path = Path(path)
    for _ in _chunks(path.read_bytes(), path.name):
        pass


def decode_png16(path: str | os.PathLike) -> np.ndarray:
    """
    Read the samples of a PNG file with 16 bits per colour.

    Parameters
    ----------
    path : str or path-like
        The file, RGB or RGBA, not interlaced.

    Returns
    -------
    data : `~numpy.ndarray` of uint16
        ``(ny, nx, 3)`` or ``(ny, nx, 4)``.
    """
    path = Path(path)
    chunks = list(_chunks(path.read_bytes(), path.name))
    header = next((body for kind, body in chunks if kind == b'IHDR'), b'')
    if len(header) != 13:
        msg = f'{path.name!r} has no header chunk'
        raise ImageFormatError(msg)
    nx, ny, _, colour, _, _, interlace = struct.unpack('>IIBBBBB', header)
    if interlace:
        msg = f'{path.name!r} is interlaced; save it without interlacing'
        raise ImageFormatError(msg)
    stride = nx * _CHANNELS[colour] * 2
    raw = b''.join(body for kind, body in chunks if kind == b'IDAT')
    size = ny * (stride + 1)
    check_promise(size, len(raw), path.name, compressed=True)
    with reading(path.name, 'PNG'):
        rows = zlib.decompressobj().decompress(raw, size)
    if len(rows) != size:
        msg = f'{path.name!r} is truncated: {len(rows)} of {size} bytes of pixels'
        raise ImageFormatError(msg)
    filtered = np.frombuffer(rows, np.uint8).reshape(ny, stride + 1)
    pixels = _unfilter(filtered[:, 1:], filtered[:, 0], _CHANNELS[colour] * 2)
    return pixels.view('>u2').astype(np.uint16).reshape(ny, nx, -1)


def _unfilter(data: np.ndarray, kinds: np.ndarray, step: int) -> np.ndarray:
    """
    Undo the row filters of PNG.

    Every byte is predicted from its left, upper and upper left neighbours,
    so one row after the other, byte by byte, is the obvious way and a slow
    one in Python. Bytes on one anti-diagonal do not depend on each other:
    the rows are sheared so that an anti-diagonal becomes a column, and a
    whole column is done at once.
    """
    if kinds.max(initial=0) > 4:
        msg = f'unknown row filter {int(kinds.max())}: the file is damaged'
        raise ImageFormatError(msg)
    ny, stride = data.shape
    if not kinds.any():
        return np.ascontiguousarray(data)
    n = stride // step
    source = data.reshape(ny, n, step)
    # One pixel of zeros to the left and one row of zeros above: the borders.
    out = np.zeros((ny + 1, n + 1, step), np.uint8)
    select = [kinds == k for k in range(5)]
    for diagonal in range(ny + n - 1):
        low, high = max(0, diagonal - n + 1), min(ny, diagonal + 1)
        y = np.arange(low, high)
        x = diagonal - y
        left = out[y + 1, x].astype(np.int16)
        up = out[y, x + 1].astype(np.int16)
        corner = out[y, x].astype(np.int16)
        guess = _predict(left, up, corner, [s[low:high] for s in select])
        out[y + 1, x + 1] = source[y, x] + guess.astype(np.uint8)
    return np.ascontiguousarray(out[1:, 1:]).reshape(ny, stride)


def _predict(
    left: np.ndarray, up: np.ndarray, corner: np.ndarray, select: list[np.ndarray]
) -> np.ndarray:
    """Return what the filter of each row predicts (PNG specification, 9.4)."""
    guess = np.zeros_like(left)
    guess[select[1]] = left[select[1]]
    guess[select[2]] = up[select[2]]
    guess[select[3]] = (left[select[3]] + up[select[3]]) >> 1
    rows = select[4]
    if rows.any():
        a, b, c = left[rows], up[rows], corner[rows]
        p = a + b - c
        pa, pb, pc = np.abs(p - a), np.abs(p - b), np.abs(p - c)
        best = np.where(pb <= pc, b, c)
        guess[rows] = np.where((pa <= pb) & (pa <= pc), a, best)
    return guess


def encode_png16(path: str | os.PathLike, data: np.ndarray, description: str) -> None:
    """
    Write a colour PNG with 16 bits per sample.

    Parameters
    ----------
    path : str or path-like
        The file.

    data : `~numpy.ndarray` of uint16
        ``(ny, nx, 3)``.

    description : str
        Latin-1 text for the keyword Description.
    """
    ny, nx, _ = data.shape
    pixels = data.astype('>u2').view(np.uint8).reshape(ny, nx * 6)
    rows = np.empty((ny, nx * 6 + 1), np.uint8)
    # Filter "up" for every row: fast, and good for smooth images.
    rows[:, 0] = 2
    rows[0, 1:] = pixels[0]
    np.subtract(pixels[1:], pixels[:-1], out=rows[1:, 1:])
    text = b'Description\0' + description.encode('latin-1', 'replace')
    with Path(path).open('wb') as file:
        file.write(_SIGNATURE)
        _write_chunk(file, b'IHDR', struct.pack('>IIBBBBB', nx, ny, 16, 2, 0, 0, 0))
        _write_chunk(file, b'tEXt', text)
        _write_chunk(file, b'IDAT', zlib.compress(rows, 4))
        _write_chunk(file, b'IEND', b'')


def _write_chunk(file: object, kind: bytes, body: bytes) -> None:
    crc = zlib.crc32(body, zlib.crc32(kind))
    file.write(struct.pack('>I4s', len(body), kind) + body + struct.pack('>I', crc))
