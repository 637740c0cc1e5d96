# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Images in FITS files, with what CCDData keeps beside them."""

from __future__ import annotations

import os
import warnings
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from astroflat._exceptions import ImageFormatError
from astroflat.io._damage import reading
from astroflat.io._fits_axes import check_axes
from astroflat.io._warn import warn_user

if TYPE_CHECKING:
    from collections.abc import Iterator

    from astropy.io import fits
    from astropy.nddata import CCDData

__all__ = ['read_fits', 'write_fits']

_COMPANIONS = ('MASK', 'UNCERT', 'PSFIMAGE')
# A card that the source had against the rules must not cost the image.
_VERIFY = 'silentfix+ignore'


def read_fits(
    source: str | os.PathLike | bytes,
    *,
    ext: int | str | tuple[str, int] | None = None,
    name: str | None = None,
) -> tuple[np.ndarray, fits.Header, dict[str, Any]]:
    """
    Read one image of a FITS file.

    Parameters
    ----------
    source : str, path-like or bytes
        The file or its content; also compressed with gzip, bzip2 or xz, or by
        tiles.

    ext : int, str, tuple or None, optional
        The extension. `None` is the first HDU with an image that is not a
        mask, an uncertainty or a PSF.

    name : str, optional
        What to call the file in messages.

    Returns
    -------
    data : `~numpy.ndarray`
        Native byte order; ``(ny, nx)``, ``(ny, nx, 3)`` for three planes of
        colour, or the cube as it is stored.

    header : `~astropy.io.fits.Header`
        Without the cards that describe the array or the WCS; an extension
        inherits the cards of the primary header that it does not have.

    extras : dict
        ``mask``, ``uncertainty``, ``unit``, ``wcs`` and ``psf``, where the
        file has them.
    """
    from astropy.io.fits.verify import VerifyWarning
    from astropy.wcs import FITSFixedWarning

    name = name or Path(source).name
    with reading(name, 'FITS'), warnings.catch_warnings():
        # Dates brought into another form, cards with lower-case letters:
        # nothing that the reader of an image can or should act on.
        warnings.simplefilter('ignore', FITSFixedWarning)
        warnings.simplefilter('ignore', VerifyWarning)
        warnings.filterwarnings('ignore', message='The following header keyword is')
        # A truncated file is an error here, not a warning and garbage.
        warnings.filterwarnings('error', message='.*truncated')
        return _read(source, ext, name)


def _read(
    source: Any, ext: Any, name: str
) -> tuple[np.ndarray, fits.Header, dict[str, Any]]:
    """Read the chosen HDU through CCDData's own reader."""
    from astropy import units as u
    from astropy.nddata import fits_ccddata_reader

    with _opened(source) as file:
        most = check_axes(file, name)
    index, primary, bunit, own = _choose(source, ext, name, most)
    unit = _parse_unit(bunit, name)
    with _opened(source) as file:
        ccd = fits_ccddata_reader(
            file,
            hdu=index,
            # CCDData insists on a unit; that it was not known is told in extras.
            unit=None if _is_readable(bunit) else unit or u.dimensionless_unscaled,
            hdu_mask='MASK' if own else None,
            hdu_uncertainty='UNCERT' if own else None,
            hdu_psf='PSFIMAGE' if own else None,
            memmap=False,
        )
    return _parts(ccd, primary, unit, name)


@contextmanager
def _opened(source: Any) -> Iterator[BinaryIO]:
    """Open a file, or bytes in memory, and close it whatever happens."""
    # astropy leaves a file open when it raises over its content.
    with BytesIO(source) if isinstance(source, bytes) else Path(source).open('rb') as f:
        yield f


def _choose(
    source: Any, ext: Any, name: str, most: float
) -> tuple[int, fits.Header | None, str | None, bool]:
    """Return the index of the HDU, the primary header, unit and whether it is first."""
    from astropy.io import fits

    with _opened(source) as file, fits.open(file) as hdus:
        images = [
            i
            for i, hdu in enumerate(_bounded(hdus, most, name))
            if hdu.is_image and hdu.header.get('NAXIS', 0) >= 2
        ]
        first = next((i for i in images if hdus[i].name not in _COMPANIONS), None)
        index = first if ext is None else _index_of(hdus, ext, name)
        if index is None or index not in images:
            what = 'no image' if ext is None else f'no image in extension {ext!r}'
            having = ', '.join(f'{i} {hdus[i].name!r}'.strip() for i in images)
            msg = f'{name!r} has {what}; it has images in: {having or "nothing"}'
            raise ImageFormatError(msg)
        primary = hdus[0].header.copy() if index else None
        return index, primary, hdus[index].header.get('BUNIT'), index == first


def _bounded(hdus: fits.HDUList, most: float, name: str) -> Iterator[Any]:
    """Yield the HDUs; refuse more than there can be."""
    for i, hdu in enumerate(hdus):
        if i >= most:
            # Without a sound header astropy does not know where the next one is.
            msg = f'{name!r} is damaged: a header leads back to itself'
            raise ImageFormatError(msg)
        yield hdu


def _index_of(hdus: fits.HDUList, ext: Any, name: str) -> int:
    """Return the index of an extension given by number, name or both."""
    try:
        return range(len(hdus))[ext] if isinstance(ext, int) else hdus.index_of(ext)
    except (KeyError, IndexError):
        names = ', '.join(f'{i} {hdu.name!r}' for i, hdu in enumerate(hdus))
        msg = f'{name!r} has no extension {ext!r}; it has: {names}'
        raise ImageFormatError(msg) from None


def _parse_unit(text: Any, name: str) -> Any:
    """Return the unit of a BUNIT card, or None."""
    from astroflat.io._units import parse_unit

    if not isinstance(text, str) or not text.strip():
        return None
    try:
        return parse_unit(text, name)
    except ValueError:
        msg = f'the unit {text!r} of {name!r} is not known and is ignored'
        warn_user(msg)
        return None


def _is_readable(text: Any) -> bool:
    """Tell whether CCDData's reader understands a BUNIT card by itself."""
    from astropy import units as u
    from astropy.nddata import CCDData

    if not isinstance(text, str) or not text.strip():
        return False
    if text in CCDData.known_invalid_fits_unit_strings:
        return True
    try:
        u.Unit('adu' if text.strip().lower() == 'adu' else text)
    except ValueError:
        return False
    return True


def _parts(
    ccd: CCDData, primary: fits.Header | None, unit: Any, name: str
) -> tuple[np.ndarray, fits.Header, dict[str, Any]]:
    """Take the CCDData apart, colour last, native byte order."""
    from astroflat.io._cards import without_structure

    axis_type = str(ccd.header.get('CTYPE3', '') or _third_axis(ccd.wcs))
    data = _native(ccd.data)
    move = data.ndim == 3 and (
        data.shape[0] == 1 or (data.shape[0] == 3 and axis_type.strip() in {'', 'RGB'})
    )
    extras = {'unit': unit, 'wcs': _celestial(ccd.wcs), 'psf': ccd.psf}
    if ccd.mask is not None:
        extras['mask'] = _companion(ccd.mask, data.shape, move, 'MASK', name)
    if ccd.uncertainty is not None:
        array = _native(ccd.uncertainty.array)
        array = _companion(array, data.shape, move, 'UNCERT', name)
        extras['uncertainty'] = type(ccd.uncertainty)(array)
    header = without_structure(ccd.header)
    if primary is not None:
        header.extend(without_structure(primary), unique=True, end=True)
    header.remove('BUNIT', ignore_missing=True)
    extras = {key: value for key, value in extras.items() if value is not None}
    return _planes_last(data, move), header, extras


def _third_axis(wcs: Any) -> str:
    """Return the type of the third axis of a WCS."""
    return wcs.wcs.ctype[2] if wcs is not None and wcs.naxis > 2 else ''


def _celestial(wcs: Any) -> Any:
    """Return the two celestial axes of a WCS, or None."""
    if wcs is None or wcs.naxis == 2:
        return wcs
    return wcs.celestial if wcs.has_celestial else None


def _native(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder('='))


def _companion(
    array: np.ndarray, shape: tuple[int, ...], move: bool, what: str, name: str
) -> np.ndarray:
    """Return a mask or uncertainty like the data, or raise if it is of another."""
    if array.shape != shape:
        msg = (
            f'{what} in {name!r} has the shape {array.shape}, the image {shape}; '
            'name the image with ext=... to read it without'
        )
        raise ImageFormatError(msg)
    return _planes_last(array, move)


def _planes_last(array: np.ndarray, move: bool) -> np.ndarray:
    """Bring colour planes to the last axis; drop a single plane."""
    if not move:
        return array
    if array.shape[0] == 1:
        return array[0]
    return np.ascontiguousarray(np.moveaxis(array, 0, -1))


def write_fits(path: str | os.PathLike, ccd: CCDData, *, unit_known: bool) -> None:
    """
    Write a CCDData with mask, uncertainty and PSF as extensions.

    Parameters
    ----------
    path : str or path-like
        The file; it is compressed with gzip if the name ends in ``.gz``.

    ccd : `~astropy.nddata.CCDData`
        The image; colour is written as three planes.

    unit_known : bool
        `False` leaves out BUNIT.
    """
    import gzip

    hdus = _planes_first(ccd).to_hdu()
    header = hdus[0].header
    header.remove('BUNIT', ignore_missing=True)
    if unit_known:
        # An empty BUNIT is read as "unknown" by CCDData.read; 1 is dimensionless.
        header['BUNIT'] = ccd.unit.to_string() or '1'
    path = Path(path)
    with path.open('wb') as file:
        if path.suffix == '.gz':
            # No name and no time in it: the same image gives the same bytes.
            with gzip.GzipFile('', 'wb', 6, file, mtime=0) as compressed:
                hdus.writeto(compressed, output_verify=_VERIFY)
        else:
            hdus.writeto(file, output_verify=_VERIFY)


def _planes_first(ccd: CCDData) -> CCDData:
    """Return colour as FITS stores it."""
    from astropy.nddata import CCDData

    if ccd.data.ndim != 3:
        return ccd
    unc = ccd.uncertainty
    return CCDData(
        _first(ccd.data),
        unit=ccd.unit,
        mask=None if ccd.mask is None else _first(ccd.mask),
        uncertainty=None if unc is None else type(unc)(_first(unc.array)),
        meta=ccd.header,
        wcs=ccd.wcs,
        psf=ccd.psf,
    )


def _first(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(array, -1, 0))
