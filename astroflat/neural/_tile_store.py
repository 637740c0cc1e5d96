# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tiles cut out of a frame, and their results put together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from fractions import Fraction

    from astroflat.neural._tile_plan import TilePlan

__all__ = ['TileStore', 'cut_tiles', 'group_tiles', 'tile_origins']


class TileStore:
    """Where the results of the tiles go."""

    def __init__(
        self,
        plan: TilePlan,
        scale: Fraction,
        *,
        blend: bool,
        channels: int | None,
        out: np.ndarray | None,
    ) -> None:
        self.plan, self.scale, self.channels, self.out = plan, scale, channels, out
        self.shape = tuple(
            math.ceil(axis.size * scale) for axis in (plan.rows, plan.columns)
        )
        self.window = tuple(int(n * scale) for n in plan.window)
        axes = (plan.rows, plan.columns)
        self.weights = [axis.weights(scale) for axis in axes] if blend else None

    def add(self, group: list[tuple[int, int]], results: np.ndarray) -> None:
        """Put the results of some tiles where they belong."""
        self._check(len(group), results)
        for (i, j), result in zip(group, results, strict=True):
            if self.weights is None:
                self._put(i, j, result)
            else:
                self._blend(i, j, result)

    def _check(self, count: int, results: np.ndarray) -> None:
        """Check the shape of the results; make the output at the first ones."""
        channels = results.shape[1] if results.ndim == 4 else None
        if self.channels is None:
            self.channels = channels
        wanted = (count, self.channels, *self.window)
        if results.shape != wanted:
            msg = f'function returned the shape {results.shape} instead of {wanted}'
            raise ValueError(msg)
        shape = (self.channels, *self.shape)
        if self.out is None:
            self.out = np.zeros(shape, np.float32)
            self.fresh = True
        elif self.out.shape != shape:
            msg = f'out has the shape {self.out.shape}; the result has {shape}'
            raise ValueError(msg)
        elif self.weights is not None and not hasattr(self, 'fresh'):
            self.out[...] = 0
            self.fresh = True

    def _put(self, i: int, j: int, result: np.ndarray) -> None:
        """Keep the middle of a tile."""
        (ys, y), (xs, x) = self._core(0, i), self._core(1, j)
        self.out[:, ys, xs] = result[:, y, x]

    def _core(self, axis: int, index: int) -> tuple[slice, slice]:
        """Return the kept part of a tile: in the result, and in the tile."""
        plan = (self.plan.rows, self.plan.columns)[axis]
        first, last = (int(e * self.scale) for e in plan.edges[index : index + 2])
        last = min(last, self.shape[axis])
        start = int(plan.starts[index] * self.scale)
        return slice(first, last), slice(first - start, last - start)

    def _blend(self, i: int, j: int, result: np.ndarray) -> None:
        """Add a tile with its weights."""
        wy, wx = self.weights[0][i], self.weights[1][j]
        y, x = (
            int(axis.starts[k] * self.scale)
            for axis, k in ((self.plan.rows, i), (self.plan.columns, j))
        )
        target = self.out[:, y : y + len(wy), x : x + len(wx)]
        ny, nx = target.shape[1:]
        weight = np.outer(wy[:ny], wx[:nx]).astype(np.float32)
        target += result[:, :ny, :nx] * weight


def cut_tiles(plan: TilePlan, array: Any, group: list[tuple[int, int]]) -> np.ndarray:
    """Copy some tiles out of the frame."""
    tiles = np.empty((len(group), array.shape[0], *plan.window), np.float32)
    for tile, (i, j) in zip(tiles, group, strict=True):
        rows, columns = plan.rows.source(i), plan.columns.source(j)
        # One axis after the other: a slice costs no copy.
        tile[...] = array[:, rows][:, :, columns]
    return tiles


def tile_origins(plan: TilePlan, group: list[tuple[int, int]]) -> np.ndarray:
    """Return the first row and column of some tiles."""
    return np.array([(plan.rows.starts[i], plan.columns.starts[j]) for i, j in group])


def group_tiles(
    plan: TilePlan, batch: int, progress: bool | Callable[[int, int], None] | None
) -> Iterable[list[tuple[int, int]]]:
    """Go through the tiles, some at a time, and tell how far it is."""
    from astroflat._progress import progress as bar

    tiles = list(plan)
    groups = [tiles[k : k + batch] for k in range(0, len(tiles), batch)]
    if not callable(progress):
        yield from bar(groups, enabled=bool(progress), description='tiles')
        return
    done = 0
    for group in groups:
        yield group
        done += len(group)
        progress(done, len(tiles))
