# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""PNG and JPEG, through Pillow where it is exact."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._exceptions import ImageFormatError
from astroflat.io._damage import check_promise, reading
from astroflat.io._warn import warn_user

if TYPE_CHECKING:
    from pathlib import Path

    from astropy.io import fits
    from PIL.Image import Image

__all__ = ['read_jpeg', 'read_png', 'write_png']

_GREY = {'1', 'L', 'LA', 'I', 'I;16', 'I;16B', 'I;16L', 'F'}


def read_png(
    path: Path,
) -> tuple[np.ndarray, fits.Header | dict[str, Any], dict[str, Any]]:
    """
    Read a PNG file.

    Parameters
    ----------
    path : `pathlib.Path`
        The file, of 1 to 16 bits, grey or colour.

    Returns
    -------
    data : `~numpy.ndarray`
        uint8 or uint16, ``(ny, nx)`` or ``(ny, nx, 3)``.

    meta : `~astropy.io.fits.Header` or dict
        The header that astroflat has written, or the text of the file.

    extras : dict
        ``unit`` and ``wcs``, where the header has them.
    """
    from astroflat.io._cards import header_extras, parse_description
    from astroflat.io._png16 import decode_png16, is_png16_colour, verify_png

    verify_png(path)
    with _open(path, 'PNG') as image:
        if is_png16_colour(path):
            # Pillow would silently drop the lower byte of each sample.
            data = decode_png16(path)
        else:
            data = _pixels(image, path.name)
        text = {k: v for k, v in image.info.items() if isinstance(v, str)}
    header = parse_description(text.get('Description'))
    if header is None:
        return _without_alpha(data, path.name), text, {}
    header, extras = header_extras(header)
    return data, header, extras


def read_jpeg(path: Path) -> tuple[np.ndarray, dict[str, Any], dict[str, Any]]:
    """
    Read a JPEG file, with a warning.

    Parameters
    ----------
    path : `pathlib.Path`
        The file.

    Returns
    -------
    data : `~numpy.ndarray`
        uint8, ``(ny, nx)`` or ``(ny, nx, 3)``.

    meta : dict
        The comment of the file, if any.

    extras : dict
        Empty.
    """
    msg = (
        f'{path.name!r} is a JPEG: 8 bits, lossy and made for the eye, so its values '
        'are not proportional to the light and a flat does not divide out of them'
    )
    warn_user(msg)
    with _open(path, 'JPEG') as image:
        data = _pixels(image, path.name)
        comment = image.info.get('comment', b'')
    return data, {'COMMENT': comment.decode('utf-8', 'replace')} if comment else {}, {}


def _open(path: Path, kind: str) -> Image:
    """Open an image with Pillow."""
    from PIL import Image

    with reading(path.name, kind), warnings.catch_warnings():
        # 100 megapixels are an ordinary camera, not an attack.
        warnings.simplefilter('ignore', Image.DecompressionBombWarning)
        image = Image.open(path, formats=[kind])
        try:
            # One bit per sample is the least that the file can mean.
            n_bytes = -(-image.width * image.height * len(image.getbands()) // 8)
            size = path.stat().st_size
            check_promise(n_bytes, size, path.name, compressed=True)
        except ImageFormatError:
            image.close()
            raise
        return image


def _pixels(image: Image, name: str) -> np.ndarray:
    """Return grey or colour samples."""
    with reading(name, image.format):
        if image.mode in {'P', 'PA'}:
            image = image.convert('RGBA' if image.has_transparency_data else 'RGB')
        if image.mode not in _GREY | {'RGB', 'RGBA'}:
            msg = f'{name!r} has the colour mode {image.mode}; save it as grey or RGB'
            raise ImageFormatError(msg)
        data = np.asarray(image)
    if data.dtype == bool:
        data = data.astype(np.uint8) * 255
    elif data.dtype.kind in 'ui' and data.dtype.itemsize > 1:
        data = data.astype(np.uint16)
    return _without_alpha(data, name)


def _without_alpha(data: np.ndarray, name: str) -> np.ndarray:
    """Return grey or RGB, with a warning if a pixel was transparent."""
    if data.ndim == 2 or data.shape[-1] == 3:
        return np.ascontiguousarray(data)
    opaque = np.iinfo(data.dtype).max
    if (data[..., -1] != opaque).any():
        msg = f'the transparency (alpha) of {name!r} is ignored'
        warn_user(msg)
    return np.ascontiguousarray(data[..., 0] if data.shape[-1] == 2 else data[..., :3])


def write_png(path: str | os.PathLike, data: np.ndarray, description: str) -> None:
    """
    Write a PNG file.

    Parameters
    ----------
    path : str or path-like
        The file.

    data : `~numpy.ndarray`
        uint8 or uint16, ``(ny, nx)`` or ``(ny, nx, 3)``.

    description : str
        Text for the keyword Description.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    if data.ndim == 3 and data.dtype == np.uint16:
        from astroflat.io._png16 import encode_png16

        encode_png16(path, data, description)
        return
    info = PngInfo()
    info.add_text('Description', description)
    Image.fromarray(data).save(path, format='PNG', pnginfo=info, compress_level=4)
