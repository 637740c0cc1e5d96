# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Samples as unsigned integers of the same order.

The kernels find ranks by comparing unsigned integers. Signed integers become
so by turning the sign bit, floating-point numbers by turning all bits where
they are negative and the sign bit where they are not.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    'KINDS',
    'decode',
    'encode',
    'key_dtype',
    'middle',
    'missing_value',
    'sign_bit',
]

# What the compiled kernels switch on.
KINDS = {'u': 0, 'i': 1, 'f': 2}


def key_dtype(dtype: np.dtype) -> np.dtype:
    """
    Return the unsigned integer of the same size.

    Parameters
    ----------
    dtype : `numpy.dtype`
        The type of the samples.

    Returns
    -------
    dtype : `numpy.dtype`
        The type of their keys.
    """
    return np.dtype(f'u{np.dtype(dtype).itemsize}')


def encode(samples: np.ndarray) -> np.ndarray:
    """
    Return the keys of samples.

    Parameters
    ----------
    samples : `~numpy.ndarray`
        Native integers or floating-point numbers.

    Returns
    -------
    keys : `~numpy.ndarray`
        Unsigned, in the order of the samples. NaN lies beyond all numbers, on
        the side of its sign.
    """
    dtype = key_dtype(samples.dtype)
    bits = samples.view(dtype)
    if samples.dtype.kind == 'u':
        return bits.copy()
    sign = sign_bit(dtype)
    if samples.dtype.kind == 'i':
        return bits ^ sign
    return np.where(bits & sign, ~bits, bits | sign)


def decode(keys: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """
    Return the samples that keys stand for.

    Parameters
    ----------
    keys : `~numpy.ndarray`
        What `encode` returned.

    dtype : `numpy.dtype`
        The type of the samples.

    Returns
    -------
    samples : `~numpy.ndarray`
        The samples.
    """
    dtype = np.dtype(dtype)
    if dtype.kind == 'u':
        return keys
    sign = sign_bit(keys.dtype)
    if dtype.kind == 'i':
        return (keys ^ sign).view(dtype)
    return np.where(keys & sign, keys ^ sign, ~keys).view(dtype)


def sign_bit(dtype: np.dtype) -> np.generic:
    """
    Return the bit of the sign.

    Parameters
    ----------
    dtype : `numpy.dtype`
        An unsigned integer.

    Returns
    -------
    bit : numpy scalar
        The highest bit, of the same type.
    """
    return dtype.type(1 << (8 * dtype.itemsize - 1))


def missing_value(dtype: np.dtype) -> np.generic:
    """
    Return what sorts behind every sample, or equals the largest.

    Parameters
    ----------
    dtype : `numpy.dtype`
        The type of the samples.

    Returns
    -------
    value : numpy scalar
        The largest integer, or infinity.
    """
    dtype = np.dtype(dtype)
    if dtype.kind == 'f':
        return dtype.type(np.inf)
    return dtype.type(np.iinfo(dtype).max)


def middle(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """
    Return the mean of the two middle samples as `numpy.median` does.

    Parameters
    ----------
    low, high : `~numpy.ndarray`
        The two; equal where the number of samples is odd.

    Returns
    -------
    middle : `~numpy.ndarray`
        float64 for integers; floating-point numbers keep their type, in which
        the sum may round.
    """
    if low.dtype.kind != 'f':
        low = low.astype(np.float64)
        high = high.astype(np.float64)
    with np.errstate(over='ignore', invalid='ignore'):
        mean = (low + high) / low.dtype.type(2)
    # Of large equal numbers the sum would overflow.
    return np.where(low == high, low, mean)
