# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""FITS files as frames: plain, gzipped, tile-compressed, in extensions."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from astroflat._exceptions import AstroflatWarning, ImageFormatError
from astroflat.io._fits_blocks import (
    HDU,
    choose_hdu,
    find_hdu,
    sample_rule,
    scan_hdus,
)
from astroflat.io._planes import Plane, SampleRule, count_bytes
from astroflat.io._scratch import LazyScratch, Resources, Scratch, Section
from astroflat.io._sources import Entry
from astroflat.io._sources_images import image_entries
from astroflat.io.bayer import BAYER_PATTERNS

__all__ = ['fits_entries', 'packed']

_CHUNK = 1 << 20
_PRINTABLE = bytes(c if 32 <= c < 127 else ord('?') for c in range(256))
# No lossless code shrinks tiles by more than this; a header that claims it is
# damaged, and must not make us allocate what it says.
_MAX_RATIO = 20_000


def fits_entries(
    path: Path, resources: Resources, *, ext: Any, color: str | None, single: bool
) -> list[Entry]:
    """
    Find the frames of a FITS file.

    Parameters
    ----------
    path : `pathlib.Path`
        The file.

    resources : Resources
        Where opened files are noted.

    ext : int, str, (str, int) or None
        The extension; `None` is the first image, with the extensions MASK and
        UNCERT that CCDData writes.

    color : str or None
        'RGB' takes three planes as colours, any other word as frames.

    single : bool
        Whether this is the only file, so that its planes may be the frames.

    Returns
    -------
    entries : list of Entry
        One per frame.
    """
    with path.open('rb') as file:
        opener = packed(file.read(6))
    if opener is None:
        reader = resources.open(path)
    else:
        reader = _inflate(path, opener, resources.scratch)
    hdus = scan_hdus(reader)
    hdu = choose_hdu(hdus, ext, path.name)
    if hdu.cards.get('AFFLIP', hdus[0].cards.get('AFFLIP')) is True:
        # Rows reversed by `write_image` for another program: restored there.
        return image_entries(path, resources, ext=ext)
    builder = _Builder(path, reader, hdus, hdu, resources)
    return builder.entries(ext, color, single=single)


class _Builder:
    """Make the entries of one file."""

    def __init__(
        self,
        path: Path,
        reader: Any,
        hdus: list[HDU],
        hdu: HDU,
        resources: Resources,
    ) -> None:
        self.resources = resources
        self.path = path
        self.reader = reader
        self.hdus = hdus
        self.hdu = hdu

    def entries(self, ext: Any, color: str | None, *, single: bool) -> list[Entry]:
        """Return one entry per frame."""
        shape = self.hdu.shape
        if len(shape) > 3:
            msg = f'{self.path.name!r} has an image of shape {shape}; 2-D or 3-D exist'
            raise ImageFormatError(msg)
        rgb = _is_rgb(self.hdu, color, self.path.name, single=single)
        mask = uncertainty = None
        if ext is None:
            mask = self._companion('MASK')
            uncertainty = self._companion('UNCERT')
        kind = ''
        if uncertainty is not None:
            kind = str(uncertainty.cards.get('UTYPE', 'std')).strip()
        planes = self._planes(self.hdu, rgb=rgb)
        masks = self._planes(mask, rgb=rgb) if mask else [None] * len(planes)
        uncs = self._planes(uncertainty, rgb=rgb) if uncertainty else []
        many = len(planes) > 1
        return [
            Entry(
                plane,
                f'{self.path.name} [{i}]' if many else self.path.name,
                color=color or ('RGB' if rgb else _pattern(self.hdu.cards)),
                cards=self._cards(),
                unit=self.hdu.cards.get('BUNIT'),
                mask=masks[i],
                uncertainty=(uncs[i], kind) if uncs else None,
                load_header=self._load_header,
            )
            for i, plane in enumerate(planes)
        ]

    def _companion(self, name: str) -> HDU | None:
        """Return the mask or uncertainty that belongs to the image."""
        if self.hdu.name == name:
            return None
        return find_hdu(self.hdus, name, self.hdu.shape)

    def _cards(self) -> Mapping:
        """Return the few cards that are known, inherited from the primary."""
        return {**self.hdus[0].cards, **self.hdu.cards}

    def _planes(self, hdu: HDU, *, rgb: bool) -> list[Plane]:
        """Return the images of an HDU."""
        name = self.path.name
        rule = sample_rule(hdu, name)
        if hdu.compressed:
            rule = _native(rule)
            reader, offset = self._decoded(hdu, rule), 0
            size = reader.size
        else:
            reader, offset, size = self.reader, hdu.data_start, self.reader.size
        shape = hdu.shape
        if rgb:
            planes = [Plane(reader, offset, rule, (*shape[1:], 3), planar=True)]
        else:
            count = shape[0] if len(shape) == 3 else 1
            step = count_bytes(shape[-2:], rule.stored)
            # Before the list is made: the count may be nonsense.
            Plane(reader, offset, rule, shape).check(size, name)
            planes = [
                Plane(reader, offset + k * step, rule, shape[-2:]) for k in range(count)
            ]
        planes[-1].check(size, name)
        return planes

    def _decoded(self, hdu: HDU, rule: SampleRule) -> LazyScratch:
        """Return the samples of a tile-compressed image."""
        size = count_bytes(hdu.shape, rule.stored)
        name = self.path.name
        if hdu.data_start + hdu.data_bytes > self.reader.size:
            msg = f'{name!r} is truncated: its compressed tiles are not complete'
            raise ImageFormatError(msg)
        if size > _MAX_RATIO * max(1, hdu.data_bytes):
            msg = f'{name!r} promises {hdu.shape} pixels in {hdu.data_bytes} bytes'
            raise ImageFormatError(msg)
        decode = _decoder(self.path, hdu.index, rule)
        return LazyScratch(self.resources.scratch, decode, size, name)

    def _load_header(self) -> Mapping:
        """Return the whole header; an extension inherits the primary's cards."""
        header = self._header_of(self.hdu)
        if self.hdu.index:
            header.extend(self._header_of(self.hdus[0]), unique=True, strip=True)
        return header

    def _header_of(self, hdu: HDU) -> Any:
        from astropy.io import fits

        if hdu.compressed:
            # As the header of an image, not of the table that holds the tiles.
            with fits.open(self.path, memmap=False) as hdus:
                return hdus[hdu.index].header.copy()
        block = self.reader.read(hdu.data_start - hdu.header_start, hdu.header_start)
        # Only printable ASCII can be written again.
        return fits.Header.fromstring(bytes(block).translate(_PRINTABLE))


def packed(magic: bytes) -> Callable | None:
    """
    Return what opens a compressed file, or None if it is not compressed.

    Parameters
    ----------
    magic : bytes
        The first bytes of the file.

    Returns
    -------
    opener : callable or None
        Takes a path or an open file.
    """
    if magic.startswith(b'\x1f\x8b'):
        import gzip

        return gzip.open
    if magic.startswith(b'BZh'):
        import bz2

        return bz2.open
    if magic.startswith(b'\xfd7zXZ'):
        import lzma

        return lzma.open
    return None


def _inflate(path: Path, opener: Callable, scratch: Scratch) -> Section:
    """Decompress a file into a scratch file."""
    import lzma

    start = scratch.size
    try:
        with opener(path) as stream:
            while chunk := stream.read(_CHUNK):
                scratch.append(chunk)
    except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        # Real errors of the disk have a number, damaged data have not.
        if isinstance(error, OSError) and error.errno:
            raise
        msg = f'{path.name!r} cannot be decompressed, it is damaged: {error}'
        raise ImageFormatError(msg) from error
    return Section(scratch, start, scratch.size - start, path.name)


def _decoder(path: Path, index: int, rule: SampleRule) -> Callable[[], np.ndarray]:
    """Return a function that decodes a tile-compressed image."""

    def decode() -> np.ndarray:
        from astropy.io import fits

        try:
            # Stored integers, so that scaling and blanks are ours, as they
            # are in files that are not compressed.
            with (
                # astropy leaves a file open when it raises over its content.
                path.open('rb') as file,
                fits.open(file, do_not_scale_image_data=True, memmap=False) as hdus,
            ):
                data = hdus[index].data
        except Exception as error:
            # Codecs have exceptions of their own kinds.
            msg = f'{path.name!r} cannot be decompressed: {error}'
            raise ImageFormatError(msg) from error
        if data is None:
            msg = f'{path.name!r} cannot be decompressed: it has no data there'
            raise ImageFormatError(msg)
        return np.ascontiguousarray(data, dtype=rule.stored)

    return decode


def _native(rule: SampleRule) -> SampleRule:
    """Return the rule for samples that were decoded to native ones."""
    from dataclasses import replace

    return replace(rule, stored=rule.stored.newbyteorder('='))


def _is_rgb(hdu: HDU, color: str | None, name: str, *, single: bool) -> bool:
    """Tell whether the planes of a cube are colours."""
    shape = hdu.shape
    if len(shape) != 3 or shape[0] != 3 or color not in (None, 'RGB'):
        return False
    if color == 'RGB':
        return True
    hint = str(hdu.cards.get('CTYPE3', '')).strip().upper()
    space = str(hdu.cards.get('COLORSPC', '')).strip().upper()
    if hint == 'RGB' or space == 'RGB':
        return True
    if not single:
        return hint == ''
    msg = (
        f'{name!r} has three planes, taken as three frames; '
        "pass color='RGB' if they are colours, or color='mono' to say that they "
        'are not'
    )
    warnings.warn(msg, AstroflatWarning, stacklevel=6)
    return False


def _pattern(cards: Mapping) -> str:
    """Return the Bayer pattern of the first stored pixel, or 'mono'."""
    pattern = str(cards.get('BAYERPAT', '')).strip().upper()
    if pattern not in BAYER_PATTERNS:
        return 'mono'
    x, y = (int(cards.get(key) or 0) % 2 for key in ('XBAYROFF', 'YBAYROFF'))
    rows = [pattern[:2], pattern[2:]]
    rows = rows[y:] + rows[:y]
    return ''.join(row[x:] + row[:x] for row in rows)
