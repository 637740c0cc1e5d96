# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The coarse grid that large-scale fields live on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ['Grid', 'linear_weights']

# More cells do not make a smooth field any better, only slower.
_CELLS = 24
_SAMPLES = 32


@dataclass(frozen=True)
class Grid:
    """
    Square cells over a frame.

    Parameters
    ----------
    shape : tuple of int
        Shape of a frame, ``(ny, nx)``.

    cell : int
        Size of a cell in pixels.
    """

    shape: tuple[int, int]
    cell: int

    @classmethod
    def of(cls, shape: tuple[int, int]) -> Grid:
        """
        Choose the cells of a frame.

        Parameters
        ----------
        shape : tuple of int
            Shape of a frame.

        Returns
        -------
        grid : Grid
            At most 24 cells along the longer side, of at least 4 pixels.
        """
        return cls(tuple(shape), max(4, math.ceil(max(shape) / _CELLS)))

    @property
    def cells(self) -> tuple[int, int]:
        """The number of cells along both axes; the last ones may be cut."""
        return tuple(-(-n // self.cell) for n in self.shape)

    @cached_property
    def xy(self) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates (x, y) of the cells, 0 in the middle, 1 at a corner."""
        size = math.hypot(*self.shape) / 2
        y, x = (
            (self.cell * (np.arange(m) + 0.5) - n / 2) / size
            for m, n in zip(self.cells, self.shape, strict=True)
        )
        yy, xx = np.meshgrid(y, x, indexing='ij')
        return xx.ravel(), yy.ravel()

    def pixel_xy(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """
        Return coordinates of pixels in the same unit.

        Parameters
        ----------
        rows : slice
            With start and stop.

        Returns
        -------
        x, y : `~numpy.ndarray`
            ``(1, nx)`` and ``(rows, 1)``.
        """
        size = math.hypot(*self.shape) / 2
        x = (np.arange(self.shape[1]) + 0.5 - self.shape[1] / 2) / size
        y = (np.arange(rows.start, rows.stop) + 0.5 - self.shape[0] / 2) / size
        return x[None], y[:, None]

    def medians(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """
        Return the median of every cell.

        Parameters
        ----------
        frame : `~numpy.ndarray`
            NaN is ignored.

        Returns
        -------
        median : `~numpy.ndarray`
            NaN where a cell has no pixel.

        count : `~numpy.ndarray` of int
            The number of pixels looked at: all, or an even sample of at
            least 32 x 32 in large cells.
        """
        step = max(1, self.cell // _SAMPLES)
        ny, nx = self.cells
        padded = np.full((ny * self.cell, nx * self.cell), np.nan, np.float32)
        padded[: self.shape[0], : self.shape[1]] = frame
        blocks = padded.reshape(ny, self.cell, nx, self.cell)[:, ::step, :, ::step]
        samples = np.sort(
            blocks.transpose(0, 2, 1, 3).reshape(ny, nx, -1), axis=-1
        )  # NaN goes last
        count = np.isfinite(samples).sum(axis=-1)
        low, high = np.maximum(count - 1, 0) // 2, count // 2
        high = np.minimum(high, samples.shape[-1] - 1)
        pick = np.take_along_axis
        both = [pick(samples, k[..., None], -1)[..., 0] for k in (low, high)]
        median = np.where(count > 0, 0.5 * (both[0] + both[1]), np.nan)
        return median.astype(float), count

    def enlarge(
        self,
        cells: np.ndarray,
        rows: slice | None = None,
        *,
        start: tuple[float, float] = (0.0, 0.0),
    ) -> np.ndarray:
        """
        Interpolate values of cells linearly to pixels.

        Parameters
        ----------
        cells : `~numpy.ndarray`
            Values of cells, of a frame or of a larger field.

        rows : slice, optional
            The rows wanted; all by default.

        start : tuple of float, optional
            Where the frame begins in the field, in cells.

        Returns
        -------
        pixels : `~numpy.ndarray` of float32
            ``(rows, nx)``; constant beyond the middle of the outer cells.
        """
        rows = rows or slice(0, self.shape[0])
        y = (np.arange(rows.start, rows.stop) + 0.5) / self.cell - 0.5 + start[0]
        x = (np.arange(self.shape[1]) + 0.5) / self.cell - 0.5 + start[1]
        iy, fy = linear_weights(y, cells.shape[0])
        ix, fx = linear_weights(x, cells.shape[1])
        cells = np.asarray(cells, np.float32)
        down = cells[iy] * (1 - fy)[:, None] + cells[iy + 1] * fy[:, None]
        return down[:, ix] * (1 - fx) + down[:, ix + 1] * fx


def linear_weights(x: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """
    Return left neighbours and weights of the right ones.

    Parameters
    ----------
    x : `~numpy.ndarray`
        Positions; those outside of 0 to n - 1 are moved to the border.

    n : int
        The number of nodes, at least 2.

    Returns
    -------
    index : `~numpy.ndarray` of int
        The left node.

    weight : `~numpy.ndarray` of float32
        The weight of the node right of it.
    """
    x = np.clip(x, 0, n - 1)
    index = np.minimum(x.astype(int), n - 2)
    return index, (x - index).astype(np.float32)
