# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
From an image to what the networks for flats see of it.

The training makes the same numbers with the same steps, see
`astroflat.training.flat_frames`; a test holds the two together.
"""

from __future__ import annotations

import numpy as np

__all__ = ['BLOCK', 'N_SORTED', 'STRETCH', 'coordinates', 'sorted_groups', 'stretch']

#: Pixels along a cell of the dust network.
BLOCK = 4
#: Values that describe a cell: means of equal groups of its sorted pixels.
N_SORTED = 16
#: Slope of the stretch beyond which it turns logarithmic.
STRETCH = 4.0


def stretch(relative: np.ndarray) -> np.ndarray:
    """
    Compress relative brightness for the eye of a network.

    Parameters
    ----------
    relative : `~numpy.ndarray`
        Brightness over the level, less 1.

    Returns
    -------
    `~numpy.ndarray`
        ``arcsinh(4 relative) / 4``: the same near 0, logarithmic far out.
    """
    return np.arcsinh(STRETCH * relative) / STRETCH


def sorted_groups(image: np.ndarray, block: int) -> np.ndarray:
    """
    Describe the blocks of an image by their sorted values.

    Parameters
    ----------
    image : `~numpy.ndarray`
        Shape ``(h * block, w * block)``, finite.

    block : int
        Side of a block; its square is a multiple of 16.

    Returns
    -------
    `~numpy.ndarray`
        Shape ``(16, h, w)``: means of 16 equal groups of the sorted values.
    """
    h, w = image.shape[0] // block, image.shape[1] // block
    cells = image.reshape(h, block, w, block).transpose(0, 2, 1, 3)
    values = np.sort(cells.reshape(h, w, N_SORTED, -1).reshape(h, w, -1), axis=-1)
    return values.reshape(h, w, N_SORTED, -1).mean(axis=-1).transpose(2, 0, 1)


def coordinates(h: int, w: int) -> np.ndarray:
    """
    Return where the cells are on the frame.

    Parameters
    ----------
    h, w : int
        Rows and columns of cells.

    Returns
    -------
    `~numpy.ndarray`
        float32 of shape ``(3, h, w)``: x and y from the middle of the frame in
        half-diagonals, and the square of the distance.
    """
    half = 0.5 * np.hypot(h, w)
    y = (np.arange(h) - 0.5 * (h - 1)) / half
    x = (np.arange(w) - 0.5 * (w - 1)) / half
    y, x = np.meshgrid(y, x, indexing='ij')
    return np.stack([x, y, x * x + y * y]).astype(np.float32)
