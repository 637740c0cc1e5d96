# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Refuse FITS headers over which astropy would count for hours."""

from __future__ import annotations

import contextlib
import lzma
import math
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from astroflat._exceptions import ImageFormatError
from astroflat.io._fits_blocks import data_bytes, read_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ['check_axes']

_BLOCK = 2880
_MOST = 999
_COUNTS = ('NAXIS', 'ZNAXIS', 'TFIELDS')


class _Blocks(NamedTuple):
    """An open file as `read_header` wants it."""

    file: BinaryIO
    name: str

    def read(self, size: int, offset: int) -> bytes:
        """Return some bytes; fewer at the end of the file."""
        self.file.seek(offset)
        return self.file.read(size)


def check_axes(file: BinaryIO, name: str) -> float:
    """
    Refuse more axes or columns than a FITS file can have.

    Parameters
    ----------
    file : file
        Open for reading, plain or compressed with gzip, bzip2 or xz; of compressed
        files only the first header is looked at.

    name : str
        What to call it in messages.

    Returns
    -------
    most : float
        So many HDUs the file can have; infinite if it is not compressed, where
        no damage leads astropy back to a header that it has read.

    Raises
    ------
    ImageFormatError
        If a header promises more than 999 of them, or fewer than no bytes.
        `astropy.io.fits` makes a list of as many as are promised, and with a
        negative size reads the same header again and again. All other damage is
        left to it.
    """
    opener = _opener(file)
    most = math.inf if opener is None else _count_blocks(opener(file), name) + 1
    for cards in _headers(file, name, opener):
        for key in _COUNTS:
            value = cards.get(key, 0)
            if isinstance(value, (int, float)) and value > _MOST:
                msg = f'{name!r} is damaged: it has {key} = {value}, more than {_MOST}'
                raise ImageFormatError(msg)
    return most


def _opener(file: BinaryIO) -> Callable[[BinaryIO], Any] | None:
    """Return what opens a compressed file, or None."""
    from astroflat.io._sources_fits import packed

    opener = packed(file.read(6))
    file.seek(0)
    return opener


def _headers(
    file: BinaryIO, name: str, opener: Callable[[BinaryIO], Any] | None
) -> Iterator[Mapping[str, Any]]:
    """Yield the cards that matter of all headers that can be found."""
    size = 1 if opener else file.seek(0, 2)
    file.seek(0)
    blocks, position = _Blocks(opener(file) if opener else file, name), 0
    # What else is wrong with the file, its reader says.
    damage = (OSError, EOFError, zlib.error, lzma.LZMAError)
    while position < size:
        found = None
        with contextlib.suppress(ImageFormatError, *damage):
            found = read_header(blocks, position, first=position == 0)
        if found is None:
            return
        yield found[0]
        # Refuses a negative size, which would lead astropy back to this header.
        position = found[1] - (-data_bytes(found[0], name) // _BLOCK) * _BLOCK


def _count_blocks(stream: BinaryIO, name: str) -> int:
    """Refuse a damaged stream, over whose end astropy would stumble forever."""
    size = 0
    try:
        while chunk := stream.read(2**20):
            size += len(chunk)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        msg = f'{name!r} cannot be decompressed, it is damaged: {error}'
        raise ImageFormatError(msg) from error
    return size // _BLOCK
