# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""TIFF, PNG, JPEG and XISF files as frames."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from astroflat._exceptions import ImageFormatError
from astroflat.io._planes import Plane, SampleRule, count_bytes
from astroflat.io._scratch import LazyScratch, Resources
from astroflat.io._sources import Entry, native_dtype
from astroflat.io._sources_memory import Item, check_shape
from astroflat.io._spool import keep

__all__ = ['image_entries', 'tiff_entries']

# Deflate cannot grow by more; a header that claims it is damaged.
_MAX_RATIO = 1100


def image_entries(path: Path, resources: Resources, *, ext: Any = None) -> list[Entry]:
    """
    Decode an image file.

    Parameters
    ----------
    path : `pathlib.Path`
        Any file that `read_image` reads.

    resources : Resources
        Where the samples are kept.

    ext : int, str or tuple, optional
        Which image of the file.

    Returns
    -------
    entries : list of Entry
        One.
    """
    from astroflat.io.images import read_image

    data, meta, extras = read_image(path, ext=ext)
    source = SimpleNamespace(
        meta=meta, uncertainty=extras.get('uncertainty'), wcs=extras.get('wcs')
    )
    item = Item(np.asarray(data), extras.get('mask'), extras.get('unit'), source)
    return [keep(resources.scratch, item, path.name)]


def tiff_entries(path: Path, resources: Resources) -> list[Entry]:
    """
    Find the frames of a TIFF file.

    Parameters
    ----------
    path : `pathlib.Path`
        The file. Each page is a frame.

    resources : Resources
        Where opened files are noted.

    Returns
    -------
    entries : list of Entry
        Pages stored in one piece are read from the file, others are decoded
        when they are first read.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as tif:
            pages = [_Page(page, tif.byteorder) for page in tif.pages]
    except (
        OSError, ValueError, TypeError, KeyError, IndexError, AttributeError,
        struct.error, RuntimeError, ZeroDivisionError, OverflowError,
    ) as error:  # fmt: skip
        if isinstance(error, (ImageFormatError, FileNotFoundError)):
            raise
        msg = f'{path.name!r} cannot be read as TIFF: {error}'
        raise ImageFormatError(msg) from error
    if not pages:
        msg = f'{path.name!r} has no page'
        raise ImageFormatError(msg)
    reader = resources.open(path)
    many = len(pages) > 1
    return [
        _tiff_entry(
            path,
            page,
            reader,
            resources,
            index=i,
            label=f'{path.name} [{i}]' if many else path.name,
        )
        for i, page in enumerate(pages)
    ]


class _Page:
    """
    What a page of a TIFF file is.

    Attributes
    ----------
    shape : tuple of int
        ``(ny, nx)`` or ``(ny, nx, 3)``.

    stored : `numpy.dtype`
        The type in the file.

    offset : int or None
        Where the samples begin; `None` if they must be decoded.

    planar : bool
        Whether the colours lie one after the other.
    """

    __slots__ = ('offset', 'planar', 'shape', 'stored')

    def __init__(self, page: Any, order: str) -> None:
        self.planar = page.axes == 'SYX'
        shape = tuple(page.shape)
        if self.planar:
            shape = (*shape[1:], shape[0])
        if len(shape) == 3 and shape[2] != 3:
            # Grey, grey with alpha, RGB with alpha: `read_image` sorts it out.
            shape = shape[:2] if shape[2] < 3 else (*shape[:2], 3)
        if not all(isinstance(n, (int, np.integer)) for n in shape):
            # A side may be stored as text, or as a fraction.
            msg = f'a page has the shape {shape}'
            raise ValueError(msg)
        self.shape = shape
        if page.dtype is None:
            msg = 'the samples are of an unknown kind'
            raise ValueError(msg)
        self.stored = np.dtype(page.dtype).newbyteorder(order)
        plain = (
            page.is_contiguous
            and page.is_memmappable
            and tuple(page.shape) in (shape, (shape[-1], *shape[:2]))
            # Bits and inverted grey are brought to light values when decoded.
            and self.stored.kind in 'iuf'
            and int(page.photometric) in (1, 2, 32803)
            and 'AFFLIP' not in str(page.tags.valueof('ImageDescription'))
        )
        self.offset = int(page.dataoffsets[0]) if plain else None


def _tiff_entry(
    path: Path,
    page: _Page,
    reader: Any,
    resources: Resources,
    *,
    index: int,
    label: str,
) -> Entry:
    """Return the entry of one page."""
    shape = check_shape(page.shape, label)
    dtype = native_dtype(page.stored, label)
    if page.offset is not None:
        rule = SampleRule(page.stored, dtype)
        plane = Plane(reader, page.offset, rule, shape, planar=page.planar)
        plane.check(reader.size, label)
    else:
        size = count_bytes(shape, dtype)
        if size > _MAX_RATIO * max(1, reader.size):
            msg = f'{label!r} promises {shape} pixels in {reader.size} bytes'
            raise ImageFormatError(msg)
        decode = _decoder(path, index, shape, dtype)
        lazy = LazyScratch(resources.scratch, decode, size, label)
        plane = Plane(lazy, 0, SampleRule(dtype, dtype), shape)
    return Entry(
        plane,
        label,
        color='RGB' if len(shape) == 3 else 'mono',
        load_header=lambda: _meta(path, index),
    )


def _decoder(
    path: Path, index: int, shape: tuple[int, ...], dtype: np.dtype
) -> Callable[[], np.ndarray]:
    """Return a function that decodes one page."""

    def decode() -> np.ndarray:
        from astroflat.io.images import read_image

        data = read_image(path, ext=index).data
        return np.ascontiguousarray(data.reshape(shape), dtype=dtype)

    return decode


def _meta(path: Path, index: int) -> Any:
    from astroflat.io.images import read_image

    return read_image(path, ext=index).meta
