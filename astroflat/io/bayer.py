# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Colour-filter mosaics taken apart into planes of one colour, and back.

A statistic over a neighbourhood of a mosaic mixes colours; over a plane it
does not. The planes are half as large in each direction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ['BAYER_PATTERNS', 'is_mosaic', 'merge_bayer', 'split_bayer']

# Rows of the 2 x 2 cell from the upper left, as in SER and in FITS (BAYERPAT).
BAYER_PATTERNS = (
    'RGGB',
    'GRBG',
    'GBRG',
    'BGGR',
    'CYYM',
    'YCMY',
    'YMCY',
    'MYYC',
)


def is_mosaic(color: str) -> bool:
    """
    Tell whether a colour is a 2 x 2 filter pattern.

    Parameters
    ----------
    color : str
        The ``color`` of a stack or a video.

    Returns
    -------
    mosaic : bool
        `True` for 'RGGB' and the like, `False` for 'mono' and 'RGB'.

    Examples
    --------
    >>> from astroflat.io import is_mosaic
    >>> is_mosaic('RGGB'), is_mosaic('mono')
    (True, False)
    """
    return color in BAYER_PATTERNS


def split_bayer(image: Any, pattern: str) -> dict[str, np.ndarray]:
    """
    Take a mosaic apart into its four planes.

    Parameters
    ----------
    image : array_like
        The mosaic, ``(..., ny, nx)``; a stack is taken apart at once.

    pattern : str
        One of `BAYER_PATTERNS`.

    Returns
    -------
    planes : dict of `~numpy.ndarray`
        Views of the image, in the order of the cell. The colour that occurs
        twice is numbered: 'R', 'G1', 'G2', 'B' for 'RGGB'. With an odd
        number of rows or columns the planes differ in size by one.

    See Also
    --------
    merge_bayer : The exact inverse.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.io import split_bayer
    >>> planes = split_bayer(np.arange(16).reshape(4, 4), 'RGGB')
    >>> list(planes)
    ['R', 'G1', 'G2', 'B']
    >>> planes['B']
    array([[ 5,  7],
           [13, 15]])
    """
    image = np.asanyarray(image)
    if image.ndim < 2:
        msg = f'image must be (..., ny, nx), not of shape {image.shape}'
        raise ValueError(msg)
    return {name: image[..., y::2, x::2] for name, (y, x) in _cells(pattern).items()}


def merge_bayer(planes: Mapping[str, Any], pattern: str) -> np.ndarray:
    """
    Put the four planes of a mosaic together.

    Parameters
    ----------
    planes : mapping of array_like
        The planes by the names that `split_bayer` gives them.

    pattern : str
        One of `BAYER_PATTERNS`.

    Returns
    -------
    image : `~numpy.ndarray`
        The mosaic, ``(..., ny, nx)``, in the common type of the planes.

    Raises
    ------
    ValueError
        If planes are missing or their sizes do not go together.

    See Also
    --------
    split_bayer : The exact inverse.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.io import merge_bayer, split_bayer
    >>> image = np.arange(15).reshape(3, 5)
    >>> bool((merge_bayer(split_bayer(image, 'GBRG'), 'GBRG') == image).all())
    True
    """
    cells = _cells(pattern)
    if set(planes) != set(cells):
        msg = f'planes must be {list(cells)} for {pattern!r}, not {list(planes)}'
        raise ValueError(msg)
    arrays = {name: np.asanyarray(planes[name]) for name in cells}
    first, _, _, last = arrays.values()
    shape = (
        *first.shape[:-2],
        first.shape[-2] + last.shape[-2],
        first.shape[-1] + last.shape[-1],
    )
    image = np.empty(shape, np.result_type(*arrays.values()))
    for name, (y, x) in cells.items():
        target = image[..., y::2, x::2]
        if target.shape != arrays[name].shape:
            msg = (
                f'plane {name!r} has the shape {arrays[name].shape}; '
                f'{target.shape} goes with the others'
            )
            raise ValueError(msg)
        target[...] = arrays[name]
    return image


def _cells(pattern: str) -> dict[str, tuple[int, int]]:
    """Return the place in the 2 x 2 cell of each plane."""
    if pattern not in BAYER_PATTERNS:
        msg = f'pattern must be one of {list(BAYER_PATTERNS)}, not {pattern!r}'
        raise ValueError(msg)
    seen: dict[str, int] = {}
    cells = {}
    for k, letter in enumerate(pattern):
        seen[letter] = seen.get(letter, 0) + 1
        twice = pattern.count(letter) > 1
        cells[f'{letter}{seen[letter]}' if twice else letter] = divmod(k, 2)
    return cells
