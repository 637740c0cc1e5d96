# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What makes a flat safe to hand to another program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.io._samples import scaled_uncertainty
from astroflat.io._warn import warn_user

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.nddata import CCDData

__all__ = ['clean_flat', 'flat_dtype', 'flat_scale', 'label_flat']

_UINT16_MAX = 65535


def clean_flat(ccd: CCDData) -> tuple[CCDData, int]:
    """
    Return a flat that is finite and positive everywhere.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData`
        The flat, dimensionless.

    Returns
    -------
    flat : `~astropy.nddata.CCDData`
        float32, 1 where the flat is masked or not usable, which the mask
        then says.

    n_filled : int
        How many pixels outside the mask were not finite or not positive.

    Raises
    ------
    ValueError
        If the flat is not dimensionless or nowhere usable.
    """
    from astropy import units as u

    if not ccd.unit.is_equivalent(u.dimensionless_unscaled):
        msg = f'the flat is in {ccd.unit}; divide it by its level first'
        raise ValueError(msg)
    factor = ccd.unit.to(u.dimensionless_unscaled)
    data = (ccd.data * np.float64(factor)).astype(np.float32)
    usable = np.isfinite(data) & (data > 0)
    known = np.zeros(data.shape, bool) if ccd.mask is None else ccd.mask
    n_filled = int(np.count_nonzero(~usable & ~known))
    mask = ~usable | known
    if mask.all():
        msg = 'the flat has no pixel that is finite, positive and not masked'
        raise ValueError(msg)
    _warn_about(data, mask, n_filled)
    data[mask] = 1
    flat = type(ccd)(
        data,
        unit=u.dimensionless_unscaled,
        mask=mask if mask.any() else None,
        uncertainty=_clean_uncertainty(ccd.uncertainty, factor, mask),
        wcs=ccd.wcs,
        psf=ccd.psf,
        meta=ccd.header,
    )
    return flat, n_filled


def _clean_uncertainty(uncertainty: Any, factor: float, mask: np.ndarray) -> Any:
    """Return a float32 uncertainty, finite under the mask; None if none is known."""
    if uncertainty is None:
        return None
    array = scaled_uncertainty(uncertainty, factor).array.astype(np.float32)
    unknown = ~np.isfinite(array)
    if (unknown | mask).all():
        return None
    # Elsewhere it stays unknown: 0 would be a claim.
    array[unknown & mask] = 0
    return type(uncertainty)(array)


def _warn_about(data: np.ndarray, mask: np.ndarray, n_filled: int) -> None:
    """Warn about a flat that does not look like one."""
    if n_filled:
        msg = (
            f'{n_filled} pixels of the flat are not finite or not positive; '
            'they are written as 1.0 and masked'
        )
        warn_user(msg)
    level = float(np.median(data[~mask]))
    if not 0.5 < level < 2:
        msg = f'the median of the flat is {level:.4g}; divide it by its level first'
        warn_user(msg)


def flat_dtype(dtype: Any, kind: str, scale: Any) -> np.dtype:
    """
    Return the type of the samples of a flat.

    Parameters
    ----------
    dtype : {'float32', 'uint16'} or None
        The type asked for.

    kind : str
        The format of the file.

    scale : float, 'auto' or None
        The scale asked for.

    Returns
    -------
    dtype : dtype
        float32 or uint16.
    """
    if dtype is None:
        integer = kind == 'png' or (kind in {'tiff', 'xisf'} and scale is not None)
        dtype = 'uint16' if integer else 'float32'
    dtype = np.dtype(dtype)
    if dtype not in {np.dtype(np.float32), np.dtype(np.uint16)}:
        msg = f"dtype of a flat must be 'float32' or 'uint16', not {str(dtype)!r}"
        raise ValueError(msg)
    return dtype


def flat_scale(scale: Any, data: np.ndarray) -> float:
    """
    Return the integer that stands for 1.0.

    Parameters
    ----------
    scale : float, 'auto' or None
        What was asked for.

    data : `~numpy.ndarray`
        The flat.

    Returns
    -------
    scale : float
        65535 by default; for ``'auto'`` the largest of 65535, 32768,
        16384, ... that clips nothing.
    """
    if scale is None:
        return float(_UINT16_MAX)
    if scale == 'auto':
        peak = float(data.max())
        if round(peak * _UINT16_MAX) <= _UINT16_MAX:
            return float(_UINT16_MAX)
        return float(2.0 ** np.floor(np.log2(_UINT16_MAX / peak)))
    if isinstance(scale, str) or not 0 < scale <= _UINT16_MAX:
        msg = f"scale must be between 0 and {_UINT16_MAX}, or 'auto', not {scale!r}"
        raise ValueError(msg)
    return float(scale)


def label_flat(
    header: fits.Header,
    dtype: np.dtype,
    scale: float,
    *,
    n_filled: int,
    add_keyword: Any,
) -> None:
    """
    Say in the header what the samples mean, in place.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        The header of the flat.

    dtype : dtype
        The type of the samples.

    scale : float
        The value of unity.

    n_filled : int
        How many pixels had to be set to unity.

    add_keyword : bool, str, `ccdproc.Keyword` or dict
        What else to write, as in ccdproc.
    """
    from astroflat._provenance import record

    # These describe the samples: they are written whatever add_keyword says.
    header['IMAGETYP'] = ('FLAT', 'type of image')
    header['FLATNORM'] = (scale, 'value of unity: pass norm_value=FLATNORM')
    history = f'flat written as {dtype}, {scale:g} is unity'
    if n_filled:
        history += f', {n_filled} bad pixels set to unity and masked'
    # The method that made the flat stays the method of the file.
    method = header.get('AFMETH', 'write_flat')
    record(header, method, history=history, add_keyword=add_keyword)
