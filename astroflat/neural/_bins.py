# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Means of the pixels of bins, of images that are there or made on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from astroflat.neural._strips import run_strips

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ['Bins', 'bin_mean']

_ALL = slice(None)


class Bins:
    """
    Bins of an image that is made a few rows at a time.

    Parameters
    ----------
    pixels : callable
        Takes slices of rows and columns, returns the pixels there, float32; bad
        ones may hold anything.

    bad : `~numpy.ndarray` of bool
        The mask of the image.

    factor : int
        Pixels along the smallest bins that will be asked for.
    """

    def __init__(
        self,
        pixels: Callable[[slice, slice], np.ndarray],
        bad: np.ndarray,
        factor: int,
    ) -> None:
        self.shape, self.factor = bad.shape, factor
        self._pixels = pixels
        self._bad = bad if bad.any() else None
        self._sums = np.empty([-(-n // factor) for n in bad.shape], np.float32)
        self._counts = None
        if self._bad is not None:
            self._counts = np.empty_like(self._sums)

        def add(rows: slice) -> None:
            self._fill(rows, slice(0, self.shape[1]))

        run_strips(add, self.shape, multiple=factor)

    def at(self, factor: int) -> tuple[np.ndarray, np.ndarray | None]:
        """
        Return the image in bins.

        Parameters
        ----------
        factor : int
            Pixels along a bin, a multiple of the smallest. Bins at the far
            border may be smaller.

        Returns
        -------
        means : `~numpy.ndarray`
            float32; 0 where there is no good pixel. Not to be changed.

        bad : `~numpy.ndarray` of bool or None
            Where there is none; None if no pixel is bad.
        """
        step = factor // self.factor
        if self._counts is not None:
            sums, counts = (_add_up(a, step) for a in (self._sums, self._counts))
            return sums / np.maximum(counts, 1), counts == 0
        sums = _add_up(self._sums, step)
        if factor == 1:
            return sums, None
        rows, columns = (_bin_sizes(size, factor) for size in self.shape)
        means = np.empty_like(sums)

        def divide(part: slice) -> None:
            np.divide(sums[part], np.outer(rows[part], columns), out=means[part])

        run_strips(divide, sums.shape)
        return means, None

    def renew(self, rows: slice, columns: slice) -> None:
        """
        Make a box anew, as its pixels have changed.

        Parameters
        ----------
        rows, columns : slice
            The box; it begins at bins.
        """
        step = self.factor
        run_strips(
            lambda part: self._fill(
                slice(rows.start + part.start, rows.start + part.stop), columns
            ),
            (rows.stop - rows.start, columns.stop - columns.start),
            multiple=step,
        )

    def _fill(self, rows: slice, columns: slice) -> None:
        """Add up the pixels of a box that begins at bins."""
        step = self.factor
        bins = tuple(
            slice(s.start // step, -(-s.stop // step)) for s in (rows, columns)
        )
        values = self._pixels(rows, columns)
        if self._bad is not None:
            bad = self._bad[rows, columns]
            values = np.where(bad, np.float32(0), values)
            self._counts[bins] = _block_sums((~bad).astype(np.float32), step)
        self._sums[bins] = _block_sums(values, step)


def bin_mean(
    image: np.ndarray, bad: np.ndarray, factor: int
) -> tuple[np.ndarray, np.ndarray]:
    """
    Bin an image by means of the good pixels.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The image; bad pixels may hold anything.

    bad : `~numpy.ndarray` of bool
        Its mask.

    factor : int
        Pixels along a bin. Bins at the far border may be smaller.

    Returns
    -------
    means : `~numpy.ndarray`
        float32; 0 where there is no good pixel.

    bad : `~numpy.ndarray` of bool
        Where there is none.
    """
    if factor == 1 and image.dtype == np.float32 and not bad.any():
        return image, bad
    bins = Bins(lambda *box: image[box].astype(np.float32, copy=False), bad, factor)
    means, holes = bins.at(factor)
    return means, np.zeros(means.shape, bool) if holes is None else holes


def _bin_sizes(size: int, factor: int) -> np.ndarray:
    """Return how many pixels each bin has along an axis."""
    starts = np.arange(0, size, factor)
    return np.minimum(size - starts, factor).astype(np.float32)


def _add_up(values: np.ndarray, factor: int) -> np.ndarray:
    """Add up bins to larger ones."""
    if factor == 1:
        return values
    out = np.empty([-(-n // factor) for n in values.shape], np.float32)

    def add(rows: slice) -> None:
        first = rows.start // factor
        sums = _block_sums(values[rows], factor)
        out[first : first + len(sums)] = sums

    run_strips(add, values.shape, multiple=factor)
    return out


def _block_sums(values: np.ndarray, factor: int) -> np.ndarray:
    """Add up the pixels of each bin of a few rows."""
    if factor == 1:
        return values
    ny, nx = values.shape
    whole = ny // factor * factor
    sums = values[:whole].reshape(-1, factor, nx).sum(axis=1)
    if whole < ny:
        sums = np.concatenate([sums, values[whole:].sum(axis=0)[None]])
    columns = np.pad(sums, [(0, 0), (0, -nx % factor)]) if nx % factor else sums
    # Sums of strided columns: much faster than a reduction of short rows.
    return sum(columns[:, i::factor] for i in range(factor))
