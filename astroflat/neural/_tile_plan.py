# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Where the tiles of a frame lie, along one axis and along two."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ['AxisPlan', 'TilePlan', 'as_scale', 'check_counts', 'plan_tiles', 'round_up']


def check_counts(**counts: float) -> None:
    """
    Raise if something that is counted is not a whole number.

    Parameters
    ----------
    **counts
        Numbers by name: a ``halo`` may be 0, all others are at least 1.

    Raises
    ------
    ValueError
        If one is out of range.
    """
    for name, value in counts.items():
        least = 0 if name == 'halo' else 1
        if value != int(value) or value < least:
            msg = f'{name}={value!r}; it must be an integer of at least {least}'
            raise ValueError(msg)


def round_up(value: float, multiple: int) -> int:
    """
    Round up to a multiple.

    Parameters
    ----------
    value : float
        Not negative.

    multiple : int
        At least 1.

    Returns
    -------
    rounded : int
        The next multiple that is not smaller.
    """
    return math.ceil(value / multiple) * multiple


def as_scale(scale: float | Fraction, multiple: int) -> Fraction:
    """
    Check the scale of the output of a network.

    Parameters
    ----------
    scale : float or `fractions.Fraction`
        Pixels of output for each pixel of input, along one axis.

    multiple : int
        The multiple that the sides of the input are of.

    Returns
    -------
    scale : `fractions.Fraction`
        The same, exact.

    Raises
    ------
    ValueError
        If it is not positive, or if ``multiple`` pixels of input do not give
        whole pixels of output.
    """
    exact = Fraction(scale).limit_denominator(1024)
    if exact <= 0 or (exact * multiple).denominator != 1:
        msg = (
            f'scale={scale} does not give whole pixels of output for {multiple} '
            'pixels of input; change scale or multiple'
        )
        raise ValueError(msg)
    return exact


@dataclass(frozen=True)
class AxisPlan:
    """
    The tiles along one axis.

    Attributes
    ----------
    size : int
        The pixels that there are.

    padded : int
        The next multiple of what the network takes.

    window : int
        The length of every tile, halo included.

    starts : tuple of int
        Where the tiles begin. The last one ends at ``padded``.

    edges : tuple of int
        Where the part that is kept of one tile ends and that of the next one
        begins, from 0 to ``padded``.

    halo : int
        The real neighbours that each kept pixel has at least, but for the ends
        of the axis.
    """

    size: int
    padded: int
    window: int
    starts: tuple[int, ...]
    edges: tuple[int, ...]
    halo: int

    def source(self, index: int) -> slice | np.ndarray:
        """
        Return where the pixels of a tile come from.

        Parameters
        ----------
        index : int
            The number of the tile.

        Returns
        -------
        pixels : slice or `~numpy.ndarray` of int
            Pixels behind the end of the axis are mirrored at its last one.
        """
        start, stop = self.starts[index], self.starts[index] + self.window
        if stop <= self.size:
            return slice(start, stop)
        pixels = np.arange(start, stop)
        if self.size == 1:
            return np.zeros_like(pixels)
        period = 2 * self.size - 2
        pixels %= period
        return np.minimum(pixels, period - pixels)

    def weights(self, scale: Fraction) -> list[np.ndarray]:
        """
        Return weights of the tiles that add up to one everywhere.

        Parameters
        ----------
        scale : `fractions.Fraction`
            Pixels of output for each pixel of input.

        Returns
        -------
        weights : list of `~numpy.ndarray`
            float64, one for each tile, as long as its output: 1 where it is
            alone, falling linearly to its ends, but never to zero.
        """
        n = int(self.window * scale)
        starts = [int(start * scale) for start in self.starts]
        sums = np.zeros(int(self.padded * scale))
        tents = []
        for i, start in enumerate(starts):
            x = np.arange(n) + 0.5
            tent = np.ones(n)
            # Tiles that only touch have nothing to blend.
            if i and (shared := starts[i - 1] + n - start):
                tent = np.minimum(tent, x / shared)
            if i + 1 < len(starts) and (shared := start + n - starts[i + 1]):
                tent = np.minimum(tent, x[::-1] / shared)
            tents.append(tent)
            sums[start : start + n] += tent
        return [t / sums[s : s + n] for t, s in zip(tents, starts, strict=True)]


@dataclass(frozen=True)
class TilePlan:
    """
    The tiles of a frame: all of one size.

    Attributes
    ----------
    rows, columns : `AxisPlan`
        The tiles along the axes.
    """

    rows: AxisPlan
    columns: AxisPlan

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for i in range(len(self.rows.starts)):
            for j in range(len(self.columns.starts)):
                yield i, j

    def __len__(self) -> int:
        return len(self.rows.starts) * len(self.columns.starts)

    @property
    def window(self) -> tuple[int, int]:
        """The size of every tile, halo included."""
        return self.rows.window, self.columns.window

    @property
    def cost(self) -> float:
        """The pixels that the network sees, for each pixel of the frame."""
        given = len(self) * self.rows.window * self.columns.window
        return given / (self.rows.size * self.columns.size)


def plan_tiles(
    shape: tuple[int, ...], *, tile: int, halo: int, multiple: int
) -> TilePlan:
    """
    Cut a frame into tiles.

    Parameters
    ----------
    shape : tuple of int
        The shape of the frame; the last two axes count.

    tile : int
        The largest side of the part of a tile that is kept.

    halo : int
        The pixels around it that the network has to see.

    multiple : int
        The sides of a tile are multiples of this number of pixels.

    Returns
    -------
    plan : `TilePlan`
        Tiles of one size, spread evenly.

    Raises
    ------
    ValueError
        If a number is out of range.
    """
    check_counts(tile=tile, halo=halo, multiple=multiple)
    if min(shape[-2:]) < 1:
        msg = f'a frame of the shape {tuple(shape)} has no pixels'
        raise ValueError(msg)
    rows, columns = (_plan_axis(n, tile, halo, multiple) for n in shape[-2:])
    return TilePlan(rows, columns)


def _plan_axis(size: int, tile: int, halo: int, multiple: int) -> AxisPlan:
    """Cut one axis into tiles."""
    padded = round_up(size, multiple)
    halo = round_up(halo, multiple)
    tile = max(tile // multiple * multiple, multiple)
    count = max(-(-(padded - 2 * halo) // tile), 1)
    if count == 1:
        return AxisPlan(size, padded, padded, (0,), (0, padded), halo)
    # The tiles at the ends need a halo on one side only, and their kept parts
    # are that much larger. All are of one size, so that they can be stacked.
    window = round_up((padded - 2 * halo) / count, multiple) + 2 * halo
    steps = (padded - window) // multiple
    starts = tuple(i * steps // (count - 1) * multiple for i in range(count))
    # In the middle of what two tiles share.
    middles = [
        (start + previous + window) // 2 // multiple * multiple
        for previous, start in pairwise(starts)
    ]
    return AxisPlan(size, padded, window, starts, (0, *middles, padded), halo)
