# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From floating point to the samples of a file, counting what is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from astroflat._arrays import row_chunks

if TYPE_CHECKING:
    from astropy.nddata import NDUncertainty

__all__ = ['Samples', 'scaled_uncertainty', 'to_samples']


class Samples(NamedTuple):
    """
    The samples of a file.

    Attributes
    ----------
    data : `~numpy.ndarray`
        The samples.

    n_clipped : int
        How many were outside the range of the type.

    n_filled : int
        How many were not finite and became 0, in an integer type.
    """

    data: np.ndarray
    n_clipped: int
    n_filled: int


def to_samples(
    data: np.ndarray, dtype: np.dtype | str | type, *, scale: float = 1.0
) -> Samples:
    """
    Convert an image to the type of a file.

    Parameters
    ----------
    data : `~numpy.ndarray`
        The image.

    dtype : dtype
        The type of the samples. To integers, values are rounded half to
        even, clipped to the range of the type and counted.

    scale : float, optional
        What to multiply by first; in an integer type only.

    Returns
    -------
    samples : Samples
        The samples, native byte order. The input is not modified; it is
        returned as it is if nothing has to change.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.io._samples import to_samples
    >>> to_samples(np.array([[1.0, 0.5, 1.1]]), 'uint16', scale=65535)
    Samples(data=array([[65535, 32768, 65535]], dtype=uint16), n_clipped=1, n_filled=0)
    """
    dtype = np.dtype(dtype)
    if dtype.kind == 'f' or (data.dtype == dtype and scale == 1):
        return _to_float(data, dtype)
    out = np.empty(data.shape, dtype)
    limits = np.iinfo(dtype)
    n_clipped = n_filled = 0
    for rows in row_chunks(data.shape[0], data[0].size, 8):
        band = data[rows].astype(np.float64)
        if scale != 1:
            band *= scale
        bad = ~np.isfinite(band)
        n_filled += int(np.count_nonzero(bad))
        band[bad] = 0
        np.rint(band, out=band)
        outside = (band < limits.min) | (band > limits.max)
        n_clipped += int(np.count_nonzero(outside))
        # The largest 64-bit integers are not numbers of float64.
        top = np.nextafter(limits.max, 0) if dtype.itemsize == 8 else limits.max
        out[rows] = np.clip(band, limits.min, top)
    return Samples(out, n_clipped, n_filled)


def _to_float(data: np.ndarray, dtype: np.dtype) -> Samples:
    """Convert to floating point; what overflows becomes infinite and is counted."""
    native = data.dtype.newbyteorder('=')
    if native == dtype:
        return Samples(np.ascontiguousarray(data, dtype), 0, 0)
    with np.errstate(over='ignore'):
        out = np.ascontiguousarray(data, dtype)
    if data.dtype.kind != 'f' or data.dtype.itemsize <= dtype.itemsize:
        return Samples(out, 0, 0)
    n_clipped = int(np.count_nonzero(np.isinf(out) & np.isfinite(data)))
    return Samples(out, n_clipped, 0)


def scaled_uncertainty(uncertainty: NDUncertainty, scale: float) -> NDUncertainty:
    """
    Return the uncertainty of an image that was multiplied by a number.

    Parameters
    ----------
    uncertainty : `~astropy.nddata.NDUncertainty`
        Standard deviation, variance or inverse variance.

    scale : float
        The factor.

    Returns
    -------
    uncertainty : `~astropy.nddata.NDUncertainty`
        The same kind, floating point of the same width.
    """
    power = {'std': 1, 'var': 2, 'ivar': -2}[uncertainty.uncertainty_type]
    array = np.asarray(uncertainty.array)
    factor = np.float64(scale) ** power
    dtype = array.dtype if array.dtype.kind == 'f' else np.dtype(np.float32)
    return type(uncertainty)((array * factor).astype(dtype.newbyteorder('=')))
