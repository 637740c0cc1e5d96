# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Denoise one plane: stabilise, ask the network, come back exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.neural._local_level import fill_bad, level_grid, level_rows

if TYPE_CHECKING:
    from astroflat.neural._stabilise import NoiseModel
    from astroflat.neural.runtime import Session

__all__ = ['denoise_plane', 'noise_scale']

_ROWS = 256
# Side of the boxes in which the noise sums to nothing: its mean over one is known
# to one percent.
_WIDE = 96
# Noise this close to that of the model is left as it is.
_CLOSE = 0.12


def denoise_plane(
    data: np.ndarray,
    bad: np.ndarray,
    noise: NoiseModel,
    session: Session,
    *,
    strength: float = 1.0,
    tile: int | None = None,
    progress: Any = None,
) -> tuple[np.ndarray, np.ndarray, float]:
    """
    Denoise a plane.

    Parameters
    ----------
    data : ndarray
        Plane ``(ny, nx)``.
    bad : ndarray of bool
        Pixels that are neither used nor changed.
    noise : NoiseModel
        Noise of the plane.
    session : Session
        Network.
    strength : float, optional
        Part of the noise that is taken away.
    tile : int, optional
        Side of the tiles.
    progress : bool or callable, optional
        As in `astroflat.neural.apply_tiled`.

    Returns
    -------
    tuple
        Result in the dtype of the input; standard deviation that is left,
        float32; and the noise found in units of the model.
    """
    values = noise.forward(data).astype(np.float32)
    values = fill_bad(values, bad)
    grid = level_grid(values)
    scale = noise_scale(values)
    factor = scale if abs(scale - 1.0) > _CLOSE and scale > 0 else 1.0
    for rows in _strips(len(values)):
        values[rows] -= level_rows(grid, rows, values.shape[1])
    values /= np.float32(factor)
    found = _ask(values, session, tile, progress)
    _conserve(found, bad)
    found[0] *= np.float32(strength * factor)
    result, left = np.array(data), np.empty(data.shape, np.float32)
    for rows in _strips(len(values)):
        parts = data[rows], found[:, rows]
        result[rows], left[rows] = _back(
            *parts, noise, strength, factor, min(scale, 1.0)
        )
    result[bad] = data[bad]
    left[bad] = noise.sigma(data[bad])
    return result, left, scale


def _ask(
    values: np.ndarray, session: Session, tile: int | None, progress: Any
) -> np.ndarray:
    """Run the network over all tiles: the noise, and the error that it leaves."""
    from astroflat.neural.tiles import apply_tiled, choose_tile

    card = session.card
    name = session.outputs[0].name
    if tile is None:
        most = -(-max(values.shape) // card.multiple) * card.multiple
        tile = min(choose_tile(halo=card.halo, multiple=card.multiple), most)
    return apply_tiled(
        lambda tiles: session.run(tiles)[name],
        values[None],
        tile=tile,
        halo=card.halo,
        multiple=card.multiple,
        out_channels=2,
        progress=progress,
    )


def _conserve(found: np.ndarray, bad: np.ndarray) -> None:
    """
    Make the noise found sum to nothing over some thousand pixels, in place.

    That is what noise does; a network that takes faint sources for noise, or noise
    for faint sources, does not. Pixels that are left as they are stay so.
    """
    share = np.maximum(1.0 - found[1] ** 2, 0.0)
    share[bad] = 0.0
    noise = np.where(share > 0, found[0], 0.0)
    sums, shares = _box_sums(noise), _box_sums(share)
    grid = np.where(shares > 16.0, sums / np.maximum(shares, 16.0), 0.0)
    grid = grid.astype(np.float32)
    for rows in _strips(len(share)):
        level = level_rows(grid, rows, share.shape[1], block=_WIDE)
        found[0, rows] -= share[rows] * level


def _box_sums(values: np.ndarray) -> np.ndarray:
    """Return sums over boxes; the last may be smaller."""
    for axis, size in enumerate(values.shape):
        starts = np.arange(0, size, _WIDE)
        values = np.add.reduceat(values, starts, axis=axis, dtype=np.float64)
    return values


def _back(
    data: np.ndarray,
    found: np.ndarray,
    noise: NoiseModel,
    strength: float,
    factor: float,
    noisy: float,
) -> tuple[np.ndarray, np.ndarray]:
    """
    Take the noise away from some rows.

    A pixel without change keeps its bits: what is added is a difference of two
    inverses. The inverse of a mean is the algebraic one where all noise is
    left, and the unbiased one where none is.
    """
    before = noise.forward(data)
    after = before - found[0]
    error = np.minimum(found[1], 1.0) ** 2
    change = noise.inverse(after) - noise.inverse(before)
    change += strength * (1.0 - error) * noisy**2 * noise.correction(after)
    result = data + change
    # Of the noise n = found + e, with e apart from what was found.
    left = (1.0 - strength) ** 2 + strength * (2.0 - strength) * found[1] ** 2
    sigma = noise.sigma(result) * factor * np.sqrt(left)
    return result.astype(data.dtype), sigma.astype(np.float32)


def noise_scale(values: np.ndarray) -> float:
    """
    Measure the noise of stabilised values, which should be 1.

    Parameters
    ----------
    values : ndarray
        Values ``(ny, nx)``.

    Returns
    -------
    float
        Standard deviation of the noise in the smooth parts.
    """
    from astroflat.neural._noise_estimate import photon_transfer

    try:
        _, variances, weights = photon_transfer(values, np.zeros(values.shape, bool))
    except ValueError:
        return 1.0
    order = np.argsort(variances)
    part = np.cumsum(weights[order]) <= 0.5 * weights.sum()
    part[0] = True
    return float(np.median(variances[order][part])) ** 0.5


def _strips(ny: int) -> list[slice]:
    """Rows, some at a time: the arithmetic is in float64."""
    return [slice(k, min(k + _ROWS, ny)) for k in range(0, ny, _ROWS)]
