# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Smooth local level of an image, and neighbours in place of bad pixels."""

from __future__ import annotations

import numpy as np

from astroflat.neural._strips import run_strips

__all__ = ['BLOCK', 'fill_bad', 'level_grid', 'level_rows']

#: Side of the blocks in pixels. Networks are trained with it.
BLOCK = 16


def level_grid(values: np.ndarray, bad: np.ndarray | None = None) -> np.ndarray:
    """
    Return the medians of the blocks of an image.

    Parameters
    ----------
    values : ndarray
        Image ``(ny, nx)``.
    bad : ndarray of bool, optional
        Pixels to leave out.

    Returns
    -------
    ndarray of float32
        Medians. Blocks at the upper ends may have fewer pixels; one without
        a good pixel has the mean of its neighbours.
    """
    columns = -(-values.shape[1] // BLOCK)

    def strip(rows: slice) -> list[np.ndarray]:
        starts = range(rows.start, rows.stop, BLOCK)
        return [_row_of_blocks(values, bad, start, columns) for start in starts]

    parts = run_strips(strip, values.shape, multiple=BLOCK)
    return fill_bad(np.array([row for part in parts for row in part]), None)


def _row_of_blocks(
    values: np.ndarray, bad: np.ndarray | None, start: int, columns: int
) -> np.ndarray:
    """Return the medians of a row of blocks."""
    strip = np.array(values[start : start + BLOCK], dtype=np.float32)
    if bad is not None:
        strip[bad[start : start + BLOCK]] = np.nan
    padded = np.full((len(strip), columns * BLOCK), np.nan, dtype=np.float32)
    padded[:, : strip.shape[1]] = strip
    blocks = padded.reshape(len(strip), columns, BLOCK).swapaxes(0, 1)
    return _medians(blocks.reshape(columns, -1))


def _medians(blocks: np.ndarray) -> np.ndarray:
    """Lower medians of rows, without NaN: those of whole rows by selection."""
    n = blocks.shape[1]
    # As in training: of an even number the lower of the two in the middle.
    middle = np.partition(blocks, (n - 1) // 2, axis=1)[:, (n - 1) // 2]
    holes = np.flatnonzero(np.isnan(blocks).any(axis=1))
    if holes.size:
        # Sorting puts NaN last; a block of nothing else stays NaN.
        ordered = np.sort(blocks[holes], axis=1)
        count = np.isfinite(ordered).sum(axis=1)
        row = np.arange(len(holes))
        ends = ordered[row, np.maximum(count - 1, 0) // 2], ordered[row, count // 2 % n]
        middle[holes] = np.where(count > 0, 0.5 * (ends[0] + ends[1]), np.nan)
    return middle


def level_rows(
    grid: np.ndarray, rows: slice, n_columns: int, *, block: int = BLOCK
) -> np.ndarray:
    """
    Interpolate the level for some rows of the image.

    Parameters
    ----------
    grid : ndarray
        Medians of blocks, as from `level_grid`.
    rows : slice
        First and last row.
    n_columns : int
        Number of columns of the image.
    block : int, optional
        Side of the blocks.

    Returns
    -------
    ndarray of float32
        Level; constant from the middle of the outermost blocks on.
    """
    low, high, weight = _places(np.arange(rows.start, rows.stop), block, len(grid))
    lines = grid[low] + weight[:, None] * (grid[high] - grid[low])
    low, high, weight = _places(np.arange(n_columns), block, grid.shape[1])
    return lines[:, low] + weight * (lines[:, high] - lines[:, low])


def _places(
    pixels: np.ndarray, block: int, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the blocks on both sides of pixels, and the weight of the second."""
    place = np.clip((pixels + 0.5) / block - 0.5, 0.0, size - 1.0)
    low = np.minimum(place.astype(np.intp), max(size - 2, 0))
    high = np.minimum(low + 1, size - 1)
    return low, high, (place - low).astype(np.float32)


def fill_bad(values: np.ndarray, bad: np.ndarray | None) -> np.ndarray:
    """
    Put the mean of good neighbours in place of bad pixels, from the rim inwards.

    Parameters
    ----------
    values : ndarray
        Image ``(ny, nx)``.
    bad : ndarray of bool or None
        Bad pixels; NaN are bad too.

    Returns
    -------
    ndarray
        The image itself if nothing is bad, else a copy. Without any good
        pixel it is 0.
    """
    hole = ~np.isfinite(values)
    if bad is not None:
        hole |= bad
    if not hole.any():
        return values
    from scipy.ndimage import distance_transform_edt, uniform_filter

    values = np.where(hole, 0, values)
    if hole.all():
        return values
    good = (~hole).astype(values.dtype)
    mean, share = uniform_filter(values, 3), uniform_filter(good, 3)
    near = hole & (share > 1e-3)
    values[near] = mean[near] / share[near]
    far = hole & ~near
    if far.any():
        index = distance_transform_edt(far, return_distances=False, return_indices=True)
        values = values[tuple(index)]
    return values
