# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What headers say: times, uncertainties, coordinates."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from astroflat._exceptions import ImageFormatError

__all__ = [
    'TIME_CARDS',
    'join_times',
    'make_uncertainty',
    'times_of_cards',
    'wcs_of_header',
]

# What tells when a frame was taken.
TIME_CARDS = ('DATE-OBS', 'TIME-OBS', 'MJD-OBS', 'TIMESYS')


def times_of_cards(card: Callable, frames: Sequence[int]) -> Any:
    """
    Return times from the keywords of FITS headers, or None.

    Parameters
    ----------
    card : callable
        ``card(i, key)`` returns a value or None.

    frames : sequence of int
        The frames.

    Returns
    -------
    times : `~astropy.time.Time` or None
        DATE-OBS (with TIME-OBS where it is a date alone) or MJD-OBS; None if
        a frame has neither.
    """
    values: list[Any] = []
    for i in frames:
        date, mjd = card(i, 'DATE-OBS'), card(i, 'MJD-OBS')
        if isinstance(date, str) and len(date) >= 10:
            clock = card(i, 'TIME-OBS')
            if 'T' not in date and isinstance(clock, str):
                date = f'{date}T{clock}'
            values.append(date)
        elif isinstance(mjd, (int, float)) and math.isfinite(mjd):
            values.append(float(mjd))
        else:
            return None
    if not values or len({type(v) for v in values}) > 1:
        return None
    return _make_times(values, str(card(frames[0], 'TIMESYS') or 'utc').lower())


def _make_times(values: list, scale: str) -> Any:
    """Return a Time, or None if the values are none."""
    from astropy.time import Time

    scale = scale if scale in Time.SCALES else 'utc'
    kind = 'mjd' if isinstance(values[0], float) else None
    try:
        return Time(values, format=kind, scale=scale)
    except ValueError:
        return None


def join_times(parts: Sequence[Any]) -> Any:
    """Return one Time of several, or None if one is missing."""
    if not parts or any(p is None for p in parts):
        return None
    from astropy.time import Time

    jd1, jd2, mask = (
        np.concatenate([np.atleast_1d(np.asarray(getattr(p.utc, name))) for p in parts])
        for name in ('jd1', 'jd2', 'mask')
    )
    time = Time(jd1, jd2, format='jd', scale='utc')
    time.format = 'isot'
    if mask.any():
        time[mask] = np.ma.masked
    return time


def make_uncertainty(array: np.ndarray, kind: str) -> Any:
    """Return an astropy uncertainty of the kind that CCDData writes (UTYPE)."""
    from astropy import nddata

    classes = {
        'std': nddata.StdDevUncertainty,
        'var': nddata.VarianceUncertainty,
        'ivar': nddata.InverseVariance,
        'unknown': nddata.UnknownUncertainty,
    }
    names = {cls.__name__: cls for cls in classes.values()}
    cls = classes.get(kind) or names.get(kind, nddata.StdDevUncertainty)
    return cls(array)


def wcs_of_header(header: Mapping, label: str) -> Any:
    """Return the celestial WCS of a FITS header, or None if it has none."""
    if 'CTYPE1' not in header:
        return None
    from astropy.wcs import WCS, FITSFixedWarning

    with warnings.catch_warnings():
        # A date brought into another form is nothing to act on.
        warnings.simplefilter('ignore', FITSFixedWarning)
        try:
            wcs = WCS(header, naxis=2)
        except Exception as error:
            # Cards of a wrong type are used before they are looked at.
            msg = f'the WCS of {label} cannot be read: {error}'
            raise ImageFormatError(msg) from error
    return wcs if wcs.wcs.ctype[0] else None
