# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tiles cut from a user's frames when they are needed, with the way back."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from astroflat.neural._stabilise import NoiseModel

__all__ = ['FrameTiles', 'Tile', 'check_tiles', 'normalise_frame']


@dataclass(frozen=True)
class Tile:
    """
    A tile as a network sees it, and what leads back.

    Parameters
    ----------
    values : ndarray of float32
        Height above the local level in standard deviations, ``(ny, nx)``; 0 where
        a pixel is bad.
    level : ndarray of float32
        The local level after the transform.
    noise : NoiseModel
        The transform of the frame.
    frame : int
        Number of the frame.
    plane : int
        Its colour, 0 for mono.
    y, x : int
        Place of the first pixel in the frame.
    """

    values: np.ndarray
    level: np.ndarray
    noise: NoiseModel
    frame: int
    plane: int
    y: int
    x: int

    def back(self, values: np.ndarray | None = None) -> np.ndarray:
        """
        Undo the normalisation.

        Parameters
        ----------
        values : ndarray, optional
            Values on the grid of the tile; by default its own.

        Returns
        -------
        ndarray of float64
            In the unit of the frame.
        """
        values = self.values if values is None else values
        return self.noise.inverse(np.asarray(values, np.float64) + self.level)


def normalise_frame(
    frame: Any, plane: int = 0, **noise: Any
) -> tuple[np.ndarray, np.ndarray, NoiseModel]:
    """
    Return what a network sees of a frame.

    Parameters
    ----------
    frame : CCDData, array_like or path
        Linear frame, ``(ny, nx)`` or ``(ny, nx, 3)``.
    plane : int, optional
        The colour.
    **noise
        ``gain``, ``readnoise`` and ``offset``, as in `astroflat.Denoiser.denoise`.

    Returns
    -------
    tuple
        Height above the local level in standard deviations, float32, 0 where a
        pixel is bad; the level; the transform.
    """
    from astroflat._nddata import unpack
    from astroflat.neural._local_level import fill_bad, level_grid, level_rows
    from astroflat.neural._noise_estimate import find_noise

    parts = unpack(frame, name='frames', ndim=(2, 3))
    data, bad = parts.data, parts.bad
    if data.ndim == 3:
        data, bad = data[:, :, plane], bad[:, :, plane]
    found = find_noise(data, bad, meta=parts.meta, **noise)
    values = found.model.forward(data).astype(np.float32)
    values = fill_bad(values, bad)
    level = level_rows(level_grid(values), slice(0, len(values)), values.shape[1])
    return np.where(bad, np.float32(0), values - level), level, found.model


class FrameTiles:
    """
    Overlapping tiles of frames, cut when they are asked for.

    Parameters
    ----------
    frames : sequence of CCDData, array_like or path
        Linear frames.
    size : int
        Side of the tiles in pixels.
    stride : int, optional
        From one tile to the next; half a tile by default. The last of a row ends
        at the edge of the frame.
    keep : int, optional
        Frames that are kept in memory; only those that are in use are read.
    **noise
        ``gain``, ``readnoise`` and ``offset``.

    Raises
    ------
    ValueError
        If there are no frames, or if one is smaller than a tile.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.training.frame_tiles import FrameTiles
    >>> frame = np.random.default_rng(1).poisson(300, (64, 96)).astype('f4')
    >>> tiles = FrameTiles([frame], 64, stride=32, gain=1, readnoise=0, offset=0)
    >>> len(tiles), tiles[1].x, bool(np.allclose(tiles[1].back(), frame[:, 32:]))
    (2, 32, True)
    """

    def __init__(
        self,
        frames: Sequence[Any],
        size: int,
        *,
        stride: int | None = None,
        keep: int = 8,
        **noise: Any,
    ) -> None:
        self.frames, self.size, self.keep = list(frames), size, keep
        self.noise = noise
        self._kept: OrderedDict[tuple[int, int], tuple] = OrderedDict()
        self.shapes = [_shape(frame) for frame in self.frames]
        if not self.frames:
            msg = f'{len(self.frames)} frames are too few; give 1 or more'
            raise ValueError(msg)
        smallest = min(min(shape[:2]) for shape in self.shapes)
        if smallest < size:
            msg = f'frames of {smallest} pixels are smaller than size={size}'
            raise ValueError(msg)
        step = stride or max(1, size // 2)
        self.places = [
            (k, plane, y, x)
            for k, (ny, nx, planes) in enumerate(self.shapes)
            for plane in range(planes)
            for y in _starts(ny, size, step)
            for x in _starts(nx, size, step)
        ]

    def __len__(self) -> int:
        """Return the number of tiles."""
        return len(self.places)

    def __getitem__(self, index: int) -> Tile:
        """Cut a tile of the grid."""
        return self.cut(*self.places[index])

    def cut(self, frame: int, plane: int, y: int, x: int) -> Tile:
        """
        Cut a tile at any place.

        Parameters
        ----------
        frame, plane : int
            Number of the frame, and its colour.
        y, x : int
            First pixel.

        Returns
        -------
        Tile
            The tile.
        """
        values, level, noise = self._frame(frame, plane)
        part = slice(y, y + self.size), slice(x, x + self.size)
        return Tile(values[part], level[part], noise, frame, plane, y, x)

    def _frame(self, frame: int, plane: int) -> tuple:
        """Read a frame, or take it from those that were read last."""
        key = frame, plane
        if key not in self._kept:
            self._kept[key] = normalise_frame(self.frames[frame], plane, **self.noise)
            while len(self._kept) > self.keep:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def _shape(frame: Any) -> tuple[int, int, int]:
    """Rows, columns and colours of a frame."""
    from astroflat._nddata import unpack

    shape = unpack(frame, name='frames', ndim=(2, 3)).shape
    return (*shape[:2], shape[2] if len(shape) == 3 else 1)


def _starts(length: int, size: int, step: int) -> list[int]:
    """First pixels of tiles along an axis; the last ends at the edge."""
    starts = list(range(0, length - size + 1, step))
    return starts if starts[-1] == length - size else [*starts, length - size]


def check_tiles(tiles: FrameTiles, *, count: int = 16, seed: int = 0) -> None:
    """
    Look at some tiles before a long training.

    Parameters
    ----------
    tiles : FrameTiles
        The tiles.
    count : int, optional
        How many to look at.
    seed : int, optional
        Which.

    Raises
    ------
    ValueError
        If values are not finite, if the noise is far from 1, if it is shared by
        neighbours as after resampling, or if the way back is wrong.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(tiles))[:count]
    found = [(tiles[int(k)], _faults(tiles[int(k)])) for k in sorted(chosen)]
    bad = [
        f'frame {tile.frame} at y={tile.y}, x={tile.x}: {fault}'
        for tile, faults in found
        for fault in faults
    ]
    # Single tiles may be all nebula; most of a frame is not.
    if sum(bool(faults) for _, faults in found) > 0.5 * len(found):
        shown = '\n  '.join(bad[:10])
        msg = f'{len(bad)} problems with {len(found)} tiles:\n  {shown}'
        raise ValueError(msg)


def _faults(tile: Tile) -> list[str]:
    """Say what is wrong with a tile."""
    values = tile.values.astype(np.float64)
    if not np.isfinite(values).all():
        return ['values that are not finite']
    across = np.diff(values, axis=1)
    across -= np.median(across)
    inside = np.abs(across) < 6.0
    sigma = 1.4826 * np.median(np.abs(across)) / 2**0.5
    faults = []
    if not 0.4 < sigma < 2.5:
        faults.append(
            f'noise of {sigma:.2f}, which should be 1; give gain and readnoise'
        )
    # Differences of neighbours have the correlation -1/2 if nothing is shared.
    both = inside[:, 1:] & inside[:, :-1]
    if sigma > 0 and both.any():
        shared = np.mean((across[:, 1:] * across[:, :-1])[both])
        shared = 0.5 + shared / np.mean(across[inside] ** 2)
        if abs(shared) > 0.2:
            faults.append(
                f'neighbours share noise ({shared:+.2f}): was the frame resampled?'
            )
    if not np.allclose(tile.noise.forward(tile.back()), values + tile.level, atol=1e-3):
        faults.append('the way back is wrong')
    return faults
