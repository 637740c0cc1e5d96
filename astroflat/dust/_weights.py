# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The one meaning of a mask that may be soft."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ['mask_or_weights']


def mask_or_weights(mask: ArrayLike, *, name: str = 'mask') -> np.ndarray:
    """
    Return a mask as bool, or weights as floating point in [0, 1].

    Parameters
    ----------
    mask : array_like
        Boolean; integers 0 and 1; or floating point from 0 to 1.

    name : str, optional
        The name of the argument, for error messages.

    Returns
    -------
    mask : `~numpy.ndarray`
        bool, or the floating-point array as it is.

    Raises
    ------
    TypeError
        If the array does not hold real numbers.

    ValueError
        If it is not 2-D or holds other values. An 8-bit mask from 0 to 255
        is not guessed at: taken for weights it would correct nothing, or
        far too much.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.size == 0:
        msg = f'{name} must be 2-D (ny, nx), not of shape {mask.shape}'
        raise ValueError(msg)
    if mask.dtype == bool:
        return mask
    if mask.dtype.kind not in 'iuf':
        msg = f'{name} must be boolean or floating point, not {mask.dtype}'
        raise TypeError(msg)
    low, high = mask.min(), mask.max()
    if not (low >= 0 and high <= 1):
        msg = (
            f'{name} has values from {low} to {high}; pass a boolean mask '
            f'({name} > threshold), or divide by the full scale to get [0, 1]'
        )
        raise ValueError(msg)
    return mask if mask.dtype.kind == 'f' else mask.astype(bool)
