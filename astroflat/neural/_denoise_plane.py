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
# Width in pixels of what it sums to nothing over around sources, and the height of
# these in standard deviations of the noise of a pixel, from nothing to all.
_NARROW = 1.5
_STANDS_OUT = (0.4, 0.8)
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
    _conserve(found, values, bad)
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


def _conserve(found: np.ndarray, values: np.ndarray, bad: np.ndarray) -> None:
    """
    Make the noise found sum to nothing, in place.

    That is what noise does; a network that takes faint sources for noise, or noise
    for the wings of a source, does not. The sum is taken over some thousand pixels
    everywhere, and over some ten around what stands out: there the flux in an
    aperture stays that of the input. Pixels that are left as they are stay so.
    """
    from scipy.ndimage import gaussian_filter

    share = np.maximum(1.0 - found[1] ** 2, 0.0)
    share[bad] = 0.0
    found[0][share == 0] = 0.0
    sums, shares = _box_sums(found[0]), _box_sums(share)
    grid = np.where(shares > 16.0, sums / np.maximum(shares, 16.0), 0.0)
    grid = grid.astype(np.float32)
    for rows in _strips(len(share)):
        level = level_rows(grid, rows, share.shape[1], block=_WIDE)
        found[0, rows] -= share[rows] * level
    near = _near_sources(values - found[0])
    if near.any():
        near *= gaussian_filter(found[0], _NARROW)
        near /= np.maximum(gaussian_filter(share, _NARROW), 0.1)
        found[0] -= share * near


def _near_sources(height: np.ndarray) -> np.ndarray:
    """Return 1 around what stands out of the local level, 0 elsewhere."""
    from scipy.ndimage import gaussian_filter, maximum_filter

    low, high = _STANDS_OUT
    near = gaussian_filter(height, 1.0)
    near -= np.float32(low)
    near /= np.float32(high - low)
    np.clip(near, 0.0, 1.0, out=near)
    return gaussian_filter(maximum_filter(near, 11), 1.0)


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
