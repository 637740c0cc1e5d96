# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The eight ways to turn and mirror a frame, there and back."""

from __future__ import annotations

import numpy as np

__all__ = ['N_WAYS', 'turn', 'turn_back']

N_WAYS = 8


def turn(array: np.ndarray, way: int) -> np.ndarray:
    """
    Turn and mirror the last two axes.

    Parameters
    ----------
    array : `~numpy.ndarray`
        Any array of two or more axes.

    way : int
        0 to 7; 0 leaves it as it is.

    Returns
    -------
    `~numpy.ndarray`
        A view.
    """
    array = np.rot90(array, way % 4, (-2, -1))
    return array[..., ::-1] if way >= 4 else array


def turn_back(array: np.ndarray, way: int) -> np.ndarray:
    """
    Undo `turn`.

    Parameters
    ----------
    array : `~numpy.ndarray`
        What `turn` returned, or a result on its grid.

    way : int
        The same number.

    Returns
    -------
    `~numpy.ndarray`
        A view.
    """
    array = array[..., ::-1] if way >= 4 else array
    return np.rot90(array, -(way % 4), (-2, -1))
