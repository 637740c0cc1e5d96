# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Images in TIFF files, through tifffile."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._exceptions import ImageFormatError
from astroflat.io._damage import check_promise, reading
from astroflat.io._warn import warn_user

if TYPE_CHECKING:
    from pathlib import Path

    from astropy.io import fits
    from tifffile import TiffFile, TiffPage

__all__ = ['read_tiff', 'write_tiff']


def read_tiff(
    path: Path, *, ext: int | None = None
) -> tuple[np.ndarray, fits.Header | dict[str, Any], dict[str, Any]]:
    """
    Read one page of a TIFF file.

    Parameters
    ----------
    path : `pathlib.Path`
        The file; classic or BigTIFF, either byte order, planar or not.

    ext : int or None, optional
        The page; `None` is the first.

    Returns
    -------
    data : `~numpy.ndarray`
        Native byte order, ``(ny, nx)`` or ``(ny, nx, 3)``; the first row of
        the file is row 0. An orientation tag is not applied: a pixel stays
        where the sensor has it.

    meta : `~astropy.io.fits.Header` or dict
        The header that astroflat has written, or the text tags of the file.

    extras : dict
        ``unit`` and ``wcs``, where the header has them.
    """
    from tifffile import TiffFile

    from astroflat.io._cards import header_extras, parse_description

    with reading(path.name, 'TIFF'), TiffFile(path) as tif:
        page = _page(tif, ext, path.name)
        _check_size(page, tif, path.name)
        data = _pixels(page, path)
        meta = _text_tags(page)
    header = parse_description(meta.get('ImageDescription'))
    if header is None:
        return data, meta, {}
    header, extras = header_extras(header)
    return data, header, extras


def _page(tif: TiffFile, ext: int | None, name: str) -> TiffPage:
    """Return the page asked for; say so if there are more."""
    n_pages = len(tif.pages)
    if ext is None and n_pages > 1:
        msg = (
            f'{name!r} has {n_pages} pages and the first is read; '
            'choose one with ext=..., or read them all with astroflat.open_frames'
        )
        warn_user(msg)
    index = 0 if ext is None else ext
    if not isinstance(index, int) or not -n_pages <= index < n_pages:
        msg = f'{name!r} has no page {ext!r}; it has {n_pages}, from 0'
        raise ImageFormatError(msg)
    return tif.pages[index]


def _check_size(page: TiffPage, tif: TiffFile, name: str) -> None:
    """Refuse a header that promises more pixels than the file can hold."""
    size = tif.filehandle.size
    n_bytes = -(-page.size * page.bitspersample // 8)
    check_promise(n_bytes, size, name, compressed=page.compression != 1)
    ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
    if max(ends) > size:
        msg = f'{name!r} is truncated: its pixels end after the end of the file'
        raise ImageFormatError(msg)


def _pixels(page: TiffPage, path: Path) -> np.ndarray:
    """Return the samples of a page, colour last, without alpha."""
    from tifffile import PHOTOMETRIC

    name = path.name
    if page.photometric == PHOTOMETRIC.PALETTE:
        msg = f'{name!r} has a colour palette; save it as grey or RGB'
        raise ImageFormatError(msg)
    if page.dtype is None or page.dtype.kind not in 'uifb':
        msg = f'{name!r} has samples of an unknown kind; save it as integers or floats'
        raise ImageFormatError(msg)
    data = _decode(page, path)
    if page.axes == 'SYX':
        data = np.moveaxis(data, 0, -1)
    if data.ndim not in {2, 3} or page.axes not in {'YX', 'YXS', 'SYX'}:
        msg = f'{name!r} has the axes {page.axes}; save a single grey or RGB image'
        raise ImageFormatError(msg)
    data = _without_alpha(data, name)
    if page.photometric == PHOTOMETRIC.MINISWHITE and data.dtype.kind == 'u':
        data = np.iinfo(data.dtype).max - data
    if data.dtype == bool:
        data = data.astype(np.uint8) * 255
    return np.ascontiguousarray(data, dtype=data.dtype.newbyteorder('='))


def _decode(page: TiffPage, path: Path) -> np.ndarray:
    """Decode a page; tifffile alone knows deflate, PackBits and no compression."""
    try:
        return page.asarray()
    except ValueError as error:
        if 'imagecodecs' not in str(error):
            raise
        data = _by_pillow(page, path)
        if data is None:
            msg = (
                f'{path.name!r} is compressed with {page.compression.name}; '
                'save it uncompressed or with ZIP, or install the package imagecodecs'
            )
            raise ImageFormatError(msg) from error
        return data


def _by_pillow(page: TiffPage, path: Path) -> np.ndarray | None:
    """Decode LZW and the like, where Pillow keeps all bits."""
    from PIL import Image

    with Image.open(path, formats=['TIFF']) as image:
        image.seek(page.index)
        data = np.asarray(image)
    # Of colours with 16 bits Pillow keeps 8, without a word.
    exact = data.shape == page.shape and data.dtype.itemsize == page.dtype.itemsize
    return data if exact and data.dtype.kind == page.dtype.kind else None


def _without_alpha(data: np.ndarray, name: str) -> np.ndarray:
    """Return grey or RGB."""
    if data.ndim == 2:
        return data
    samples = data.shape[-1]
    if samples in {2, 4}:
        msg = f'the transparency (alpha) of {name!r} is ignored'
        warn_user(msg)
    if samples in {1, 2}:
        return data[..., 0]
    if samples in {3, 4}:
        return data[..., :3]
    msg = f'{name!r} has {samples} samples per pixel; save it as grey or RGB'
    raise ImageFormatError(msg)


def _text_tags(page: TiffPage) -> dict[str, Any]:
    """Return the tags that say something about the picture."""
    names = ('ImageDescription', 'Make', 'Model', 'Software', 'DateTime', 'Artist')
    values = {name: page.tags.valueof(name) for name in names}
    meta = {k: v.strip() for k, v in values.items() if isinstance(v, str) and v.strip()}
    orientation = page.tags.valueof('Orientation')
    if orientation not in {None, 1}:
        meta['Orientation'] = int(orientation)
    return meta


def write_tiff(
    path: str | os.PathLike, data: np.ndarray, description: str, *, compress: bool
) -> None:
    """
    Write a TIFF file.

    Parameters
    ----------
    path : str or path-like
        The file.

    data : `~numpy.ndarray`
        ``(ny, nx)`` or ``(ny, nx, 3)``.

    description : str
        ASCII for the tag ImageDescription.

    compress : bool
        Whether to compress with deflate (ZIP), which all programs read.
    """
    import tifffile

    from astroflat import __version__

    tifffile.imwrite(
        path,
        data,
        photometric='rgb' if data.ndim == 3 else 'minisblack',
        planarconfig='contig' if data.ndim == 3 else None,
        compression='zlib' if compress else None,
        description=description,
        software=f'astroflat {__version__.split("+")[0]}',
        # No description of the array by tifffile beside ours.
        metadata=None,
    )
