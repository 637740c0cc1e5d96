# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Rules for plain arrays: dtypes, masks, shapes, threads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = [
    'as_float',
    'as_mask',
    'check_2d',
    'float_dtype',
    'n_threads',
    'robust_sky',
    'row_chunks',
]

# More pixels than this do not make a median any better, only slower.
_SKY_SAMPLES = 1_000_000


def float_dtype(dtype: np.dtype) -> np.dtype:
    """
    Return the floating-point type that an array is computed in.

    Parameters
    ----------
    dtype : `numpy.dtype`
        The type of the input.

    Returns
    -------
    dtype : `numpy.dtype`
        float64 for float64 and wider, float32 for everything else.

    Raises
    ------
    TypeError
        For complex, text, object and structured types.
    """
    dtype = np.dtype(dtype)
    if dtype.kind in 'biu' or (dtype.kind == 'f' and dtype.itemsize <= 4):
        return np.dtype(np.float32)
    if dtype.kind == 'f':
        return np.dtype(np.float64)
    msg = f'arrays of type {dtype} are not images; convert to real numbers first'
    raise TypeError(msg)


def as_float(array: ArrayLike, *, name: str = 'data', copy: bool = False) -> np.ndarray:
    """
    Return an array as native floating point.

    Parameters
    ----------
    array : array_like
        Real numbers of any type and byte order.

    name : str, optional
        The name of the argument, for the error message.

    copy : bool, optional
        Whether to copy an array that already has the right type.

    Returns
    -------
    array : `~numpy.ndarray`
        float64 for float64 and wider, float32 for everything else; native
        byte order; C-contiguous. The input is never modified.

    Raises
    ------
    TypeError
        If the array does not hold real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat._arrays import as_float
    >>> as_float(np.array([1, 2], dtype='>u2')).dtype
    dtype('float32')
    """
    array = np.asanyarray(array)
    if isinstance(array, np.ma.MaskedArray) or type(array) is not np.ndarray:
        array = np.asarray(array)
    try:
        dtype = float_dtype(array.dtype)
    except TypeError as error:
        msg = f'{name}: {error}'
        raise TypeError(msg) from None
    if copy:
        return np.array(array, dtype=dtype, order='C')
    return np.ascontiguousarray(array, dtype=dtype)


def as_mask(
    mask: ArrayLike | None, shape: tuple[int, ...], *, name: str = 'mask'
) -> np.ndarray | None:
    """
    Return a mask as a boolean array of the given shape, or `None`.

    Parameters
    ----------
    mask : array_like of bool or None
        True marks a bad pixel. Integers are accepted if they are 0 or 1.

    shape : tuple of int
        The shape of the data.

    name : str, optional
        The name of the argument, for the error message.

    Returns
    -------
    mask : `~numpy.ndarray` of bool or None
        The mask, C-contiguous.

    Raises
    ------
    ValueError
        If the shape differs or the values are not 0 and 1.
    """
    if mask is None or mask is np.ma.nomask:
        return None
    mask = np.asarray(mask)
    if mask.dtype != bool:
        if not np.isin(mask, (0, 1)).all():
            msg = (
                f'{name} has values other than 0 and 1; '
                'pass a boolean mask, for example mask > threshold'
            )
            raise ValueError(msg)
        mask = mask.astype(bool)
    if mask.shape != tuple(shape):
        msg = f'{name} has the shape {mask.shape}, the data have {tuple(shape)}'
        raise ValueError(msg)
    return np.ascontiguousarray(mask)


def check_2d(array: np.ndarray, name: str = 'data') -> None:
    """
    Raise if an array is not an image with at least one pixel.

    Parameters
    ----------
    array : `~numpy.ndarray`
        The array to check.

    name : str, optional
        The name of the argument, for the error message.
    """
    if array.ndim != 2 or array.size == 0:
        msg = (
            f'{name} must be a 2-D image (ny, nx) with at least one pixel, '
            f'not of shape {array.shape}; select one plane'
        )
        raise ValueError(msg)


def robust_sky(
    array: np.ndarray, mask: np.ndarray | None = None
) -> tuple[float, float]:
    """
    Return the robust level and scale of an image.

    Parameters
    ----------
    array : `~numpy.ndarray`
        The image; NaN and infinity are ignored.

    mask : `~numpy.ndarray` of bool, optional
        True marks pixels to ignore.

    Returns
    -------
    level, scale : float
        The median, and 1.4826 times the median absolute deviation, of at
        most a million evenly spaced pixels; both NaN if there is none.
    """
    good = np.isfinite(array) if mask is None else np.isfinite(array) & ~mask
    values = array[good]
    if values.size == 0:
        return np.nan, np.nan
    # A prime-like stride does not fall on the columns of a detector pattern.
    step = max(1, values.size // _SKY_SAMPLES) | 1
    values = values[::step].astype(np.float64)
    level = np.median(values)
    return float(level), float(1.4826 * np.median(np.abs(values - level)))


def n_threads(value: int | None = None) -> int:
    """
    Return the number of threads to use.

    Parameters
    ----------
    value : int or None, optional
        The number asked for. `None` takes ``OMP_NUM_THREADS`` if it is set,
        and the processors that this process may use otherwise.

    Returns
    -------
    n : int
        At least 1.
    """
    if value is None:
        text = os.environ.get('OMP_NUM_THREADS', '')
        if text.isdigit() and int(text) > 0:
            return int(text)
        if hasattr(os, 'sched_getaffinity'):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
    if value != int(value) or value < 1:
        msg = f'n_threads must be a positive integer or None, not {value!r}'
        raise ValueError(msg)
    return int(value)


def row_chunks(ny: int, nx: int, itemsize: int = 4, target: int = 2**20) -> list[slice]:
    """
    Cut an image into bands of whole rows.

    Parameters
    ----------
    ny, nx : int
        The shape of the image.

    itemsize : int, optional
        Bytes per pixel.

    target : int, optional
        Bytes per band; a band has at least one row.

    Returns
    -------
    bands : list of slice
        The bands, in order; they cover every row once.
    """
    rows = max(1, int(target // max(1, nx * itemsize)))
    return [slice(start, min(start + rows, ny)) for start in range(0, ny, rows)]
