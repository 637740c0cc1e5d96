# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Steps of writing an image that are the same for every format."""

from __future__ import annotations

import os
import shutil
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._exceptions import ImageFormatError
from astroflat.io._samples import scaled_uncertainty

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.nddata import CCDData

__all__ = ['as_written', 'backup', 'file_format', 'storable', 'to_image', 'write_file']

_FORMATS = {
    '.fits': 'fits',
    '.fit': 'fits',
    '.fts': 'fits',
    '.fits.gz': 'fits',
    '.fit.gz': 'fits',
    '.fts.gz': 'fits',
    '.tif': 'tiff',
    '.tiff': 'tiff',
    '.png': 'png',
    '.xisf': 'xisf',
}


def file_format(path: str | os.PathLike) -> str:
    """
    Return the format that the suffix of a file stands for.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    format : {'fits', 'tiff', 'png', 'xisf'}
        The format.

    Raises
    ------
    ImageFormatError
        If the suffix is none that can be written.
    """
    name = Path(path).name.lower()
    parts = 2 if name.endswith('.gz') else 1
    kind = _FORMATS.get(''.join(Path(name).suffixes[-parts:]))
    if kind is None:
        known = ', '.join(_FORMATS)
        msg = f'the suffix of {Path(path).name!r} is not one of {known}'
        raise ImageFormatError(msg)
    return kind


def storable(dtype: np.dtype) -> np.dtype:
    """
    Return the type that an image is kept in.

    Parameters
    ----------
    dtype : dtype
        The type of the image.

    Returns
    -------
    dtype : dtype
        Integers as they are, booleans as uint8, float16 as float32, wider
        than float64 as float64; native byte order.

    Raises
    ------
    TypeError
        If it is not a type of real numbers.
    """
    if dtype.kind in 'iu':
        return dtype.newbyteorder('=')
    if dtype.kind == 'b':
        return np.dtype(np.uint8)
    if dtype.kind == 'f':
        return np.dtype(np.float32 if dtype.itemsize <= 4 else np.float64)
    msg = f'data of type {dtype} are not an image; convert them to real numbers'
    raise TypeError(msg)


def to_image(obj: Any) -> CCDData:
    """
    Return an image as a new CCDData that shares the arrays, not the header.

    Parameters
    ----------
    obj : FlatSolution, CCDData, NDData, Quantity, masked array or array_like
        The image; the flat of a solution.

    Returns
    -------
    ccd : `~astropy.nddata.CCDData`
        The samples in their own type, the header without the cards that
        describe the array, the mask in full.
    """
    from astropy import units as u
    from astropy.nddata import CCDData, NDData

    from astroflat.io._cards import as_header

    # The estimators return a FlatSolution, whose flat is a CCDData. (Arrays
    # have an attribute of this name as well, of another kind.)
    inner = getattr(obj, 'flat', None)
    obj = inner if isinstance(inner, NDData) else obj
    nd = obj if isinstance(obj, NDData) else NDData(obj)
    data = np.asarray(nd.data)
    if data.size == 0 or data.ndim not in {2, 3} or data.shape[2:] not in {(), (3,)}:
        msg = f'data must have the shape (ny, nx) or (ny, nx, 3), not {data.shape}'
        raise ValueError(msg)
    mask = nd.mask
    if mask is not None:
        mask = np.broadcast_to(np.asarray(mask, dtype=bool), data.shape)
    return CCDData(
        data,
        unit=u.dimensionless_unscaled if nd.unit is None else nd.unit,
        mask=mask,
        uncertainty=_bare_uncertainty(nd),
        wcs=nd.wcs,
        psf=getattr(nd, 'psf', None),
        meta=as_header(nd.meta),
    )


def _bare_uncertainty(nd: Any) -> Any:
    """Return the uncertainty in the unit of the data, without its parent."""
    unc = nd.uncertainty
    if unc is None or unc.array is None:
        return None
    factor = 1.0
    if unc.unit is not None and nd.unit is not None:
        power = {'std': 1, 'var': 2, 'ivar': -2}[unc.uncertainty_type]
        factor = unc.unit.to(nd.unit**power)
    array = np.asarray(unc.array)
    return type(unc)(array if factor == 1 else array * factor)


def as_written(
    ccd: CCDData, data: np.ndarray, *, scale: float, flip_rows: bool
) -> CCDData:
    """
    Return an image with the samples and the header of the file.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData`
        The image.

    data : `~numpy.ndarray`
        The samples.

    scale : float
        What the values were multiplied by.

    flip_rows : bool
        Whether the rows are to be written in reverse order.

    Returns
    -------
    ccd : `~astropy.nddata.CCDData`
        The samples with mask, uncertainty and header to match.
    """
    step = slice(None, None, -1 if flip_rows else None)
    unc = ccd.uncertainty
    if unc is not None:
        unc = unc if scale == 1 else scaled_uncertainty(unc, scale)
        unc = type(unc)(unc.array[step])
    header = ccd.header.copy()
    for name in ('AFSCALE', 'AFFLIP'):
        header.remove(name, ignore_missing=True)
    if scale != 1:
        header['AFSCALE'] = (scale, 'samples = values times this')
    if flip_rows:
        header['AFFLIP'] = (True, 'rows were written in reverse order')
    return type(ccd)(
        data[step],
        unit=ccd.unit,
        mask=None if ccd.mask is None else ccd.mask[step],
        uncertainty=unc,
        wcs=ccd.wcs,
        psf=ccd.psf,
        meta=header,
    )


def write_file(
    ccd: CCDData, path: Path, kind: str, *, compress: bool, unit_known: bool
) -> None:
    """
    Call the writer of a format.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData`
        The image as it is to be written.

    path : `pathlib.Path`
        The file, which is replaced if it exists.

    kind : {'fits', 'tiff', 'png', 'xisf'}
        The format.

    compress : bool
        Whether to compress (TIFF and XISF).

    unit_known : bool
        `False` writes no unit.
    """
    if kind == 'fits':
        from astroflat.io._fits_image import write_fits

        write_fits(path, ccd, unit_known=unit_known)
        return
    header = _full_header(ccd, unit_known)
    data = np.ascontiguousarray(ccd.data)
    if kind == 'xisf':
        from astroflat.io._xisf_write import write_xisf

        image_type = 'MasterFlat' if 'FLATNORM' in header else None
        write_xisf(path, data, header, compress=compress, image_type=image_type)
        return
    from astroflat.io._cards import describe

    if kind == 'tiff':
        from astroflat.io._tiff import write_tiff

        write_tiff(path, data, describe(header), compress=compress)
    else:
        from astroflat.io._raster import write_png

        write_png(path, data, describe(header))


def _full_header(ccd: CCDData, unit_known: bool) -> fits.Header:
    """Return the header with unit and WCS, as a FITS file would have it."""
    from astropy.nddata import CCDData

    from astroflat.io._cards import without_structure

    pixel = CCDData(ccd.data[:1, :1], unit=ccd.unit, wcs=ccd.wcs, meta=ccd.header)
    header = without_structure(pixel.to_hdu()[0].header)
    header.remove('BUNIT', ignore_missing=True)
    if unit_known:
        header['BUNIT'] = ccd.unit.to_string() or '1'
    return header


def backup(path: Path) -> None:
    """
    Copy a file that is about to be replaced; never replace a backup.

    Parameters
    ----------
    path : `pathlib.Path`
        The file; nothing is done if it does not exist.
    """
    if not path.exists():
        return
    names = (path.with_name(f'{path.name}.bak{n or ""}') for n in count())
    shutil.copy2(path, next(name for name in names if not name.exists()))
