# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Fields on the pixels of a frame, made a few rows at a time.

A frame of 24 million pixels has fields that some thousand numbers describe. They
are written out where they are used, strip by strip, and nowhere kept: to get fresh
memory for an image takes longer than to compute it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from astroflat.neural._strips import run_strips

if TYPE_CHECKING:
    from collections.abc import Callable

    from scipy.sparse import csr_array

__all__ = ['BoxRows', 'GridRows', 'write_out']

_ALL = slice(None)
# How often a cell at an end is repeated before it is made a spline of.
_REPEATED = 12


class GridRows:
    """
    A field on a grid of cells, interpolated to pixels.

    Parameters
    ----------
    field : `~numpy.ndarray`
        Values at the middles of the cells.

    shape : tuple of int
        Shape of the frame. A constant stays the same constant, borders included.

    order : int, optional
        Order of the spline.

    full : tuple of int, optional
        How many pixels the cells cover, if more than the frame has.
    """

    def __init__(
        self,
        field: np.ndarray,
        shape: tuple[int, int],
        order: int = 3,
        *,
        full: tuple[int, int] | None = None,
    ) -> None:
        self.shape = shape
        self.empty = not field.any()
        if self.empty:
            return
        (self._rows, down), (columns, across) = (
            _weights(n, size, order, kept)
            for n, size, kept in zip(field.shape, full or shape, shape, strict=True)
        )
        # Bilinear in the coefficients: small matrices instead of 2-D splines. Those of
        # the rows are sparse: threads of BLAS would get in the way of the strips.
        coefficients = down @ np.asarray(field, float) @ across.T
        self._across = np.ascontiguousarray((columns @ coefficients.T).T, np.float32)

    def __call__(self, rows: slice, columns: slice = _ALL) -> np.ndarray:
        """
        Write some rows out.

        Parameters
        ----------
        rows, columns : slice
            Which.

        Returns
        -------
        `~numpy.ndarray`
            float32.
        """
        if self.empty:
            return _nothing(self.shape, rows, columns)
        return self._rows[rows] @ self._across[:, columns]


class BoxRows:
    """
    What is 0 but in some boxes of pixels, where it is a field on a grid.

    Parameters
    ----------
    shape : tuple of int
        Shape of the frame.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._pieces: list[tuple[tuple[slice, slice], GridRows]] = []

    @property
    def empty(self) -> bool:
        """Whether there is no box."""
        return not self._pieces

    def add(self, box: tuple[slice, slice], grid: GridRows) -> None:
        """
        Add a field in a box.

        Parameters
        ----------
        box : tuple of slice
            Rows and columns of the frame.

        grid : GridRows
            The field; its first pixel is that of the box.
        """
        self._pieces.append((box, grid))

    def __call__(self, rows: slice, columns: slice = _ALL) -> np.ndarray:
        """
        Write some rows out.

        Parameters
        ----------
        rows, columns : slice
            Which.

        Returns
        -------
        `~numpy.ndarray`
            float32; exactly 0 off the boxes.
        """
        out = _nothing(self.shape, rows, columns)
        self.add_to(out, rows, columns)
        return out

    def add_to(self, out: np.ndarray, rows: slice, columns: slice = _ALL) -> None:
        """
        Add some rows to what is there.

        Parameters
        ----------
        out : `~numpy.ndarray`
            Where to add them.

        rows, columns : slice
            Which.
        """
        window = [
            slice(*part.indices(size)[:2])
            for part, size in zip((rows, columns), self.shape, strict=True)
        ]
        for box, grid in self._pieces:
            pairs = list(zip(box, window, strict=True))
            both = [(max(b.start, w.start), min(b.stop, w.stop)) for b, w in pairs]
            if any(first >= last for first, last in both):
                continue
            target, source = (
                tuple(
                    slice(f - part.start, t - part.start)
                    for (f, t), part in zip(both, parts, strict=True)
                )
                for parts in (window, box)
            )
            out[target] += grid(*source)

    def count(self, rows: slice) -> int:
        """
        Count the pixels that are not 0.

        Parameters
        ----------
        rows : slice
            Rows of the frame.

        Returns
        -------
        int
            How many.
        """
        touched = any(
            b.start < rows.stop and b.stop > rows.start for (b, _), _ in self._pieces
        )
        return int(np.count_nonzero(self(rows))) if touched else 0


def write_out(
    field: Callable[[slice], np.ndarray], shape: tuple[int, int]
) -> np.ndarray:
    """
    Write a whole field out.

    Parameters
    ----------
    field : callable
        Gives rows of it.

    shape : tuple of int
        Shape of the frame.

    Returns
    -------
    `~numpy.ndarray`
        float32.
    """
    out = np.empty(shape, np.float32)

    def fill(rows: slice) -> None:
        out[rows] = field(rows)

    run_strips(fill, shape)
    return out


def _nothing(shape: tuple[int, int], *parts: slice) -> np.ndarray:
    """Return zeros for rows and columns."""
    sizes = [
        len(range(*part.indices(size))) for part, size in zip(parts, shape, strict=True)
    ]
    # Memory that was used before; that of zeros() would be fresh, which is slow.
    return np.full(sizes, np.float32(0))


def _weights(n: int, size: int, order: int, kept: int) -> tuple[csr_array, np.ndarray]:
    """
    Return matrices that interpolate ``n`` cells to the first of ``size`` pixels.

    The second makes coefficients of the values of the cells, the first pixels of the
    coefficients.
    """
    where = (np.arange(kept) + 0.5) * n / size - 0.5
    if order == 1:
        where = np.clip(where, 0, n - 1)
        low = np.minimum(where.astype(int), max(n - 2, 0))
        share = where - low
        places = low, np.minimum(low + 1, n - 1)
        return _sparse(places, (1 - share, share), n), np.eye(n)
    from scipy.ndimage import spline_filter1d

    # As scipy does it: the cells at the ends are repeated.
    cells = np.pad(np.eye(n), [(_REPEATED, _REPEATED), (0, 0)], mode='edge')
    coefficients = spline_filter1d(cells, order=3, axis=0, mode='nearest')
    where = where + _REPEATED
    low = np.floor(where).astype(int)
    t = where - low
    weights = (
        (1 - t) ** 3 / 6,
        (3 * t**3 - 6 * t**2 + 4) / 6,
        (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
        t**3 / 6,
    )
    places = tuple(low + i for i in (-1, 0, 1, 2))
    return _sparse(places, weights, len(cells)), coefficients


def _sparse(
    places: tuple[np.ndarray, ...], weights: tuple[np.ndarray, ...], n: int
) -> csr_array:
    """Return a matrix with few numbers in each row."""
    from scipy.sparse import csr_array

    values = np.stack(weights, axis=1).astype(np.float32).ravel()
    columns = np.stack(places, axis=1).ravel()
    starts = np.arange(0, values.size + 1, len(places))
    return csr_array((values, columns, starts), shape=(len(places[0]), n))
