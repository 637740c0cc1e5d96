# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
From an image to what the networks for flats see of it.

The training makes the same numbers with the same steps, see
`astroflat.training.flat_inputs`; a test holds the two together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from astroflat.neural._bins import bin_mean
from astroflat.neural._strips import median, total

__all__ = [
    'BLOCK',
    'N_SORTED',
    'STRETCH',
    'Cells',
    'coordinates',
    'frame_level',
    'grid_shape',
    'noise_channel',
    'sample_cells',
    'sorted_groups',
    'stretch',
]

#: Pixels along a cell of the dust network.
BLOCK = 4
#: Values that describe a cell: means of equal groups of its sorted pixels.
N_SORTED = 16
#: Slope of the stretch beyond which it turns logarithmic.
STRETCH = 4.0
#: Cells along the longer side of a frame for the network of smooth fields.
LONG_SIDE = 64
# The grid has to be a multiple of this number of cells.
_MULTIPLE = 8
_SHORTEST = 16


class Cells(NamedTuple):
    """
    A frame as cells.

    Attributes
    ----------
    channels : `~numpy.ndarray`
        float32 ``(18, h, w)``: sorted values, valid share, noise.

    level : float
        What the values were divided by.

    valid : `~numpy.ndarray`
        Share of valid samples of each cell.
    """

    channels: np.ndarray
    level: float
    valid: np.ndarray


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


def frame_level(values: np.ndarray) -> float:
    """
    Return the level that a frame is divided by.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Its good pixels.

    Returns
    -------
    float
        Their median, or a quarter of their mean where that is more: most of
        a frame of the Moon may be black. Not positive if there is no light.
    """
    if values.size == 0:
        return 0.0
    return max(median(values), 0.25 * total(values) / values.size)


def grid_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """
    Return the grid on which the smooth fields of a frame are looked for.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the frame.

    Returns
    -------
    tuple of int
        64 cells along the longer side; multiples of 8, at least 16.
    """
    share = LONG_SIDE / max(shape) / _MULTIPLE
    h, w = (max(_SHORTEST, _MULTIPLE * round(size * share)) for size in shape)
    return h, w


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
    values = np.sort(cells.reshape(h, w, block * block), axis=-1)
    groups = values.reshape(h, w, N_SORTED, -1)
    # The mean of one value is a slow way to copy it.
    groups = groups[..., 0] if groups.shape[-1] == 1 else groups.mean(axis=-1)
    return groups.transpose(2, 0, 1)


def noise_channel(groups: np.ndarray, valid: np.ndarray) -> float:
    """
    Return the number that tells a network how noisy a frame is.

    Parameters
    ----------
    groups : `~numpy.ndarray`
        Sorted values of the cells, ``(16, h, w)``.

    valid : `~numpy.ndarray`
        Share of valid samples of each cell.

    Returns
    -------
    float
        Logarithm of the median spread within the cells that are valid.
    """
    spread = 0.5 * (groups[12] - groups[3])[valid > 0]
    spread = float(np.median(spread)) if spread.size else 1.0
    return float(np.log10(max(spread, 1e-4)) + 2.0)


def sample_cells(image: np.ndarray, bad: np.ndarray) -> Cells:
    """
    Reduce a frame to the grid of the smooth fields.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The frame, ``(ny, nx)``.

    bad : `~numpy.ndarray` of bool
        Its mask.

    Returns
    -------
    Cells
        Its cells. Large frames are binned first, then 4 x 4 or 8 x 8 evenly
        spaced samples are taken from each cell.
    """
    grid = grid_shape(image.shape)
    cell = min(size / n for size, n in zip(image.shape, grid, strict=True))
    image, bad = bin_mean(image, bad, max(1, int(cell // 8)))
    cell = min(size / n for size, n in zip(image.shape, grid, strict=True))
    block = 8 if cell >= 8 else 4
    rows, columns = (
        ((np.arange(n * block) + 0.5) * size / (n * block)).astype(int)
        for size, n in zip(image.shape, grid, strict=True)
    )
    samples = image[np.ix_(rows, columns)]
    good = ~bad[np.ix_(rows, columns)]
    level = frame_level(samples[good])
    if not level > 0:
        return Cells(np.zeros((N_SORTED + 2, *grid), np.float32), level, np.zeros(grid))
    valid = good.reshape(grid[0], block, grid[1], block).mean(axis=(1, 3))
    relative = stretch(samples / np.float32(level) - 1)
    groups = sorted_groups(_fill(relative, good, block), block) * (valid > 0)
    noise = np.full(grid, noise_channel(groups, valid))
    channels = np.concatenate([groups, [valid, noise]]).astype(np.float32)
    return Cells(channels, level, valid)


def _fill(values: np.ndarray, good: np.ndarray, block: int) -> np.ndarray:
    """Give bad samples the median of the good ones of their cell."""
    if good.all():
        return values
    h, w = values.shape[0] // block, values.shape[1] // block
    cells = np.where(good, values, np.nan).reshape(h, block, w, block)
    cells = cells.transpose(0, 2, 1, 3).reshape(h, w, -1)
    some = np.isfinite(cells).any(axis=-1)
    median = np.zeros((h, w), values.dtype)
    median[some] = np.nanmedian(cells[some], axis=-1)
    spread = median.repeat(block, axis=0).repeat(block, axis=1)
    return np.where(good, values, spread)


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
