# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Read single images: FITS, TIFF, PNG, JPEG and XISF."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from astroflat._exceptions import ImageFormatError

if TYPE_CHECKING:
    import numpy as np
    from astropy.io import fits
    from astropy.nddata import CCDData

__all__ = ['ImageFile', 'image_format', 'read_ccd', 'read_image']

# The first bytes decide, because names lie; compressed files are taken for FITS.
_MAGIC = (
    (b'SIMPLE  =', 'fits'),
    (b'\x1f\x8b', 'fits'),
    (b'BZh', 'fits'),
    (b'\xfd7zXZ\x00', 'fits'),
    (b'XISF0100', 'xisf'),
    (b'\x89PNG\r\n\x1a\n', 'png'),
    (b'\xff\xd8\xff', 'jpeg'),
    (b'II*\x00', 'tiff'),
    (b'MM\x00*', 'tiff'),
    (b'II+\x00', 'tiff'),
    (b'MM\x00+', 'tiff'),
)


class ImageFile(NamedTuple):
    """
    What `read_image` returns.

    Parameters
    ----------
    data : `~numpy.ndarray`
        The samples as they are stored, native byte order, ``(ny, nx)`` or
        ``(ny, nx, 3)``. Row 0 is the first row of the file.

    meta : `~astropy.io.fits.Header` or dict
        The header, without the cards that describe the array or the WCS.

    extras : dict
        ``mask`` (bool, True is bad), ``uncertainty`` (an
        `~astropy.nddata.NDUncertainty`), ``unit``, ``wcs`` and ``psf``: those
        that the file has.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from astroflat.io import read_image, write_image
    >>> path = os.path.join(tempfile.mkdtemp(), 'frame.xisf')
    >>> _ = write_image(np.zeros((2, 3), dtype='u2'), path)
    >>> data, meta, extras = read_image(path)
    >>> data.shape, len(meta), extras
    ((2, 3), 0, {})
    """

    data: np.ndarray
    meta: fits.Header | dict[str, Any]
    extras: dict[str, Any]


def image_format(path: str | os.PathLike) -> str | None:
    """
    Tell the format of an image file by its first bytes.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    format : {'fits', 'tiff', 'png', 'jpeg', 'xisf'} or None
        `None` if it is none of them.

    Examples
    --------
    >>> import os, tempfile
    >>> from astroflat.io.images import image_format
    >>> path = os.path.join(tempfile.mkdtemp(), 'wrong-name.fits')
    >>> with open(path, 'wb') as file:
    ...     _ = file.write(b'XISF0100')
    >>> image_format(path)
    'xisf'
    """
    with Path(path).open('rb') as file:
        head = file.read(16)
    return next((name for magic, name in _MAGIC if head.startswith(magic)), None)


def read_image(
    path: str | os.PathLike, *, ext: int | str | tuple[str, int] | None = None
) -> ImageFile:
    """
    Read one image from a file, as it is stored.

    Parameters
    ----------
    path : str or path-like
        A FITS file (also compressed or with extensions), a TIFF, PNG or JPEG
        file, or an XISF file. The first bytes decide, not the name.

    ext : int, str, tuple or None, optional
        Which image: the extension of a FITS file (number, name, or name and
        version), the page of a TIFF file, the number or identifier of an
        image in an XISF file. `None` is the first; in a FITS file the first
        that is not a mask, an uncertainty or a PSF.

    Returns
    -------
    image : ImageFile
        The named tuple ``(data, meta, extras)``.

    Raises
    ------
    ImageFormatError
        If the file is of another format, truncated or damaged, or if it has
        no such image. It is also a `ValueError`.

    Notes
    -----
    Samples keep their type: unsigned integers of FITS are restored, other
    scaled integers become floating point, nothing is brought to the range 0
    to 1. Three planes of a FITS file are returned as colour ``(ny, nx, 3)``
    unless CTYPE3 says that the third axis is something else. The extensions
    MASK, UNCERT (its kind in UTYPE) and PSFIMAGE belong to the first image
    and are not read with another one.

    Orientation tags of TIFF and JPEG are not applied: a flat belongs to the
    pixels of the sensor, whichever way the camera was held. A JPEG is read
    with a warning, because its values are not proportional to the light.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from astroflat.io import read_image, write_image
    >>> path = os.path.join(tempfile.mkdtemp(), 'frame.tif')
    >>> _ = write_image(np.array([[1, 2], [3, 4]], dtype='u2'), path)
    >>> read_image(path).data
    array([[1, 2],
           [3, 4]], dtype=uint16)
    """
    path = Path(path)
    kind = image_format(path)
    if kind is None:
        msg = (
            f'{path.name!r} is not a FITS, TIFF, PNG, JPEG or XISF file; convert it '
            'first, or open videos with astroflat.open_frames'
        )
        raise ImageFormatError(msg)
    data, meta, extras = _read(kind, path, ext)
    flipped = meta.pop('AFFLIP', False)
    image = ImageFile(data, meta, extras)
    return _unflipped(image) if flipped else image


def _read(kind: str, path: Path, ext: Any) -> tuple[Any, Any, dict[str, Any]]:
    """Import the reader of a format and call it."""
    if kind == 'fits':
        from astroflat.io._fits_image import read_fits

        return read_fits(path, ext=ext)
    if kind == 'xisf':
        from astroflat.io._xisf import read_xisf

        return read_xisf(path, ext=ext)
    if kind == 'tiff':
        from astroflat.io._tiff import read_tiff

        return read_tiff(path, ext=ext)
    if ext not in {None, 0}:
        msg = f'{path.name!r} has one image only, not {ext!r}'
        raise ImageFormatError(msg)
    from astroflat.io._raster import read_jpeg, read_png

    return read_png(path) if kind == 'png' else read_jpeg(path)


def _unflipped(image: ImageFile) -> ImageFile:
    """Undo the reversal of the rows that `write_image` was asked for."""
    extras = dict(image.extras)
    if 'mask' in extras:
        extras['mask'] = extras['mask'][::-1].copy()
    if 'uncertainty' in extras:
        kind = type(extras['uncertainty'])
        extras['uncertainty'] = kind(extras['uncertainty'].array[::-1].copy())
    return ImageFile(image.data[::-1].copy(), image.meta, extras)


def read_ccd(
    path: str | os.PathLike,
    *,
    ext: int | str | tuple[str, int] | None = None,
    unit: Any = None,
) -> CCDData:
    """
    Read one image from a file as CCDData.

    Parameters
    ----------
    path : str or path-like
        The file, as in `read_image`.

    ext : int, str, tuple or None, optional
        Which image, as in `read_image`.

    unit : unit, optional
        The unit if the file does not say it. The default is adu, and
        dimensionless for a flat written by `write_flat`.

    Returns
    -------
    ccd : `~astropy.nddata.CCDData`
        The image with everything the file has. Integers that astroflat wrote
        with a scale (a 16-bit flat with 1.0 = 65535) are divided by it and
        become float32; all other samples keep their type.

    Raises
    ------
    ImageFormatError
        As in `read_image`.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from astroflat.io import read_ccd, write_flat
    >>> path = os.path.join(tempfile.mkdtemp(), 'flat.tif')
    >>> _ = write_flat(np.array([[1.0, 0.8]]), path, dtype='uint16')
    >>> read_ccd(path).data
    array([[1. , 0.8]], dtype=float32)
    """
    from astropy.nddata import CCDData

    from astroflat.io._cards import as_header

    data, meta, extras = read_image(path, ext=ext)
    header = as_header(meta)
    is_flat = 'FLATNORM' in header
    scale = header.pop('AFSCALE', 1.0)
    if scale != 1 and data.dtype.kind in 'iu':
        data, extras = _unscaled(data, extras, scale)
        if is_flat:
            header['FLATNORM'] = (1.0, header.comments['FLATNORM'])
    return CCDData(
        data,
        unit=extras.get('unit') or unit or ('' if is_flat else 'adu'),
        mask=extras.get('mask'),
        uncertainty=extras.get('uncertainty'),
        wcs=extras.get('wcs'),
        psf=extras.get('psf'),
        meta=header,
    )


def _unscaled(
    data: np.ndarray, extras: dict[str, Any], scale: float
) -> tuple[np.ndarray, dict[str, Any]]:
    """Divide integers by the scale that they were written with."""
    import numpy as np

    from astroflat.io._samples import scaled_uncertainty

    extras = dict(extras)
    if 'uncertainty' in extras:
        extras['uncertainty'] = scaled_uncertainty(extras['uncertainty'], 1 / scale)
    return (data / np.float64(scale)).astype(np.float32), extras
