# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Restore one plane: filter, ask the network, conserve, come back exactly."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.neural._local_level import fill_bad, level_grid, level_rows
from astroflat.neural._restore_flux import conserve
from astroflat.neural._restore_spikes import find_spikes
from astroflat.neural._strips import count_threads, per_strip, run_strips

if TYPE_CHECKING:
    from collections.abc import Callable

    from astroflat.neural._restore_filter import TileFilter
    from astroflat.neural._stabilise import NoiseModel
    from astroflat.neural.runtime import Session

__all__ = ['Found', 'denoised', 'restore_plane']

# Mirrored pixels around the image, so that what happens at the end of a window
# does not happen at the border.
_FRAME = 32
# Pixels that suffice for a median.
_SAMPLE = 2**20
# Largest tiles, where the point-spread function is one and where it changes.
_TILE, _SMALL_TILE = 384, 256
# Most tiles at once.
_THREADS = 12
# The network is trained for the mean logarithm of its error. On simulated frames it
# takes this factor for two of three pixels of extended light to be within it.
_DOUBT = np.float32(1.5)
# Nothing is known better than to this part of the range of the image.
_LEAST = 1e-7
# Channels of what comes out of a tile: restored, its error, filtered without bias,
# and blurred again.
_OUT = 4
# The plane whose sums of light have no bias at any scale.
_UNBIASED = 5


@dataclass
class Found:
    """
    What was found for a plane.

    Parameters
    ----------
    change : ndarray
        What the restored plane, without noise, has more than the plane, float32.
    error : ndarray
        Standard deviation of the error of the restored plane, float32.
    sigma : ndarray
        Noise of the plane, float32.
    residual : ndarray
        The plane less the restored one blurred again, float32.
    spikes : ndarray of bool
        Pixels that no light through the optics can make; they stay.
    """

    change: np.ndarray
    error: np.ndarray
    sigma: np.ndarray
    residual: np.ndarray
    spikes: np.ndarray


def restore_plane(
    data: np.ndarray,
    bad: np.ndarray,
    full: np.ndarray,
    noise: NoiseModel,
    session: Session,
    optics: Callable[[float, float], TileFilter],
    *,
    varies: bool = False,
    views: int = 1,
    tile: int | None = None,
    progress: Any = None,
) -> Found:
    """
    Restore a plane without noise.

    Parameters
    ----------
    data : ndarray
        Plane ``(ny, nx)``.
    bad : ndarray of bool
        Pixels that are not used.
    full : ndarray of bool
        Pixels that are saturated.
    noise : NoiseModel
        Noise of the plane.
    session : Session
        Network.
    optics : callable
        ``optics(x, y)`` gives the filters at a place.
    varies : bool, optional
        Whether they are not the same everywhere.
    views : int, optional
        How often the network sees each tile, turned each time.
    tile : int, optional
        Side of the tiles.
    progress : bool or callable, optional
        As in `astroflat.neural.apply_tiled`.

    Returns
    -------
    Found
        Changes and errors in the unit of the data.
    """
    middle = _middle(data, bad)
    values = fill_bad((data - middle).astype(np.float32), bad)
    level = _level(values)
    factor = _factor(data, bad, noise, level + middle)
    sigma = _sigma(noise, level + middle, factor, values)
    kernel = optics(data.shape[1] / 2.0, data.shape[0] / 2.0).kernel
    own = _sigma(noise, values + middle, factor, values)
    spikes = find_spikes(values, own, kernel) & ~full
    bad = bad | spikes
    values = fill_bad(values, spikes)
    planes = np.stack((values, level, sigma, (bad | full).astype(np.float32)))
    around = ((0, 0), (_FRAME, _FRAME), (_FRAME, _FRAME))
    planes = np.pad(planes, around, mode='symmetric')
    # A GPU waits for the filters of one tile; it gets those of several.
    n_threads = min(_THREADS, count_threads()) if session.device == 'cuda' else 1
    function = _Tiles(session, optics, noise, middle, factor, views, n_threads)
    found = _over_tiles(function, planes, session, varies, tile, progress)
    del planes, own
    inner = slice(_FRAME, _FRAME + len(data)), slice(_FRAME, _FRAME + data.shape[1])
    found = found[(slice(None), *inner)]
    restored = found[0]
    conserve(restored, found[2], sigma, kernel.fwhm)
    offset = values - level
    return Found(
        spikes=spikes,
        change=restored - offset,
        error=found[1],
        sigma=sigma,
        residual=offset - found[3],
    )


def denoised(
    data: np.ndarray,
    bad: np.ndarray,
    noise: NoiseModel,
    session: Session,
    *,
    tile: int | None = None,
    progress: Any = None,
) -> Found:
    """
    Remove the noise of a plane that is not to be sharpened.

    Parameters
    ----------
    data : ndarray
        Plane ``(ny, nx)``.
    bad : ndarray of bool
        Pixels that are not used.
    noise : NoiseModel
        Noise of the plane.
    session : Session
        Network of the denoiser.
    tile : int, optional
        Side of the tiles.
    progress : bool or callable, optional
        As in `astroflat.neural.apply_tiled`.

    Returns
    -------
    Found
        Changes and errors in the unit of the data.
    """
    from astroflat.neural._denoise_plane import denoise_plane

    result, left, *_ = denoise_plane(
        data, bad, noise, session, tile=tile, progress=progress
    )
    # Bad pixels may be infinite.
    change = (result - np.where(bad, result.dtype.type(0), data)).astype(np.float32)
    change[bad], left[bad] = 0.0, 0.0
    sigma = noise.sigma(data).astype(np.float32)
    return Found(
        change=change,
        error=left,
        sigma=sigma,
        residual=-change,
        spikes=np.zeros(data.shape, bool),
    )


def _middle(data: np.ndarray, bad: np.ndarray) -> float:
    """About the median, of at most a million pixels."""
    step = math.isqrt(max(data.size // _SAMPLE, 1))
    for part in (slice(None, None, step),) * 2, (slice(None),) * 2:
        good = data[part][~bad[part]]
        if good.size:
            return float(np.median(good))
    return 0.0


def _level(values: np.ndarray) -> np.ndarray:
    """Smooth local level."""
    grid = level_grid(values)
    level = np.empty(values.shape, np.float32)

    def compute(rows: slice) -> None:
        level[rows] = level_rows(grid, rows, values.shape[1])

    run_strips(compute, level.shape)
    return level


def _factor(
    data: np.ndarray, bad: np.ndarray, noise: NoiseModel, level: np.ndarray
) -> float:
    """Noise found over that of the model, 1 if that is close."""
    from astroflat.neural._denoise_plane import noise_scale

    values = fill_bad(per_strip(noise.forward, data), bad)
    scale = noise_scale(values - per_strip(noise.forward, level))
    return scale if abs(scale - 1.0) > 0.12 and scale > 0 else 1.0


def _sigma(
    noise: NoiseModel, level: np.ndarray, factor: float, values: np.ndarray
) -> np.ndarray:
    """Noise of the local level, never nothing."""
    ends = (f(a) for a in (values, level) for f in (np.min, np.max))
    least = _LEAST * max(*(abs(float(end)) for end in ends), 1e-30)
    return per_strip(lambda rows: np.maximum(factor * noise.sigma(rows), least), level)


def _over_tiles(
    function: _Tiles,
    planes: np.ndarray,
    session: Session,
    varies: bool,
    tile: int | None,
    progress: Any,
) -> np.ndarray:
    """Run over all tiles, blended where the filters change from tile to tile."""
    from astroflat.neural.tiles import apply_tiled

    card = session.card
    if tile is None:
        tile = _SMALL_TILE if varies else _TILE
        tile = min(tile, -(-max(planes.shape) // card.multiple) * card.multiple)
    return apply_tiled(
        function,
        planes,
        tile=tile,
        halo=card.halo,
        multiple=card.multiple,
        batch=function.n_threads,
        out_channels=_OUT,
        blend=varies,
        with_origin=True,
        progress=progress,
    )


@dataclass
class _Tiles:
    """Filter tiles and ask the network."""

    session: Session
    optics: Callable[[float, float], TileFilter]
    noise: NoiseModel
    middle: float
    factor: float
    views: int
    n_threads: int = 1

    def __call__(self, tiles: np.ndarray, origins: Any) -> np.ndarray:
        """Return restored, error, filtered and blurred again."""
        if self.n_threads == 1:
            return np.stack(list(map(self._one, tiles, origins)))
        with ThreadPoolExecutor(self.n_threads) as pool:
            return np.stack(list(pool.map(self._one, tiles, origins)))

    def _one(self, tile: np.ndarray, origin: Any) -> np.ndarray:
        values, level, sigma, bad = tile
        ny, nx = values.shape
        y, x = (
            float(o) - _FRAME + n / 2 for o, n in zip(origin, (ny, nx), strict=True)
        )
        out = np.zeros((_OUT, ny, nx), np.float32)
        if np.ptp(values) == 0:
            # Nothing to see is nothing to restore.
            out[[0, 2, 3]], out[1] = values - level, sigma
            return out
        filters = self.optics(x, y)
        planes = filters.apply(values)
        shot = self.factor * self.noise.sigma(planes[1] + self.middle) / sigma
        inputs = np.empty((1, 8, ny, nx), np.float32)
        inputs[0, :6] = (planes - level) / sigma
        inputs[0, 6] = np.log2(np.clip(shot, 0.1, 1e3))
        inputs[0, 7] = bad
        found = self._views(inputs, filters.dials)
        out[0], out[1] = found[0] * sigma, found[2] * (_DOUBT * sigma)
        out[2] = planes[_UNBIASED] - level
        # The level is blurred with it, or it would be blurred once too little.
        out[3] = filters.blur_again(out[0] + level) - level
        return out

    def _views(self, inputs: np.ndarray, dials: np.ndarray) -> np.ndarray:
        """Mean of what the network gives for an image and turned ones."""
        name = self.session.outputs[0].name
        total = 0.0
        for turn in range(self.views):
            feeds = {'planes': _turn(inputs, turn), 'dials': dials}
            total = total + _turn(self.session.run(feeds)[name], turn, back=True)[0]
        return total / np.float32(self.views)


def _turn(images: np.ndarray, turn: int, *, back: bool = False) -> np.ndarray:
    """Turn images around, mirror and transpose them: eight ways, or back."""
    axes = ((), (2, 3), (2,), (3,))[turn % 4]
    if turn >= 4 and back:
        images = images.swapaxes(2, 3)
    images = np.flip(images, axes)
    if turn >= 4 and not back:
        images = images.swapaxes(2, 3)
    return np.ascontiguousarray(images)
