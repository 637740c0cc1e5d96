# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Denoise one plane: stabilise, ask the network, come back exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.neural._denoise_conserve import conserve
from astroflat.neural._denoise_wide import ask_wide, bin_side
from astroflat.neural._local_level import fill_bad, level_grid, level_rows
from astroflat.neural._strips import per_strip, run_strips

if TYPE_CHECKING:
    from astroflat.neural._stabilise import NoiseModel
    from astroflat.neural.runtime import Session

__all__ = ['denoise_plane', 'noise_scale']

# With less than this part of the expected noise all that is fine is real.
_NOISY = 0.3
# Noise this close to that of the model is left as it is.
_CLOSE = 0.12


def denoise_plane(
    data: np.ndarray,
    bad: np.ndarray,
    noise: NoiseModel,
    session: Session,
    *,
    strength: float = 1.0,
    most: int = 4,
    tile: int | None = None,
    progress: Any = None,
) -> tuple[np.ndarray, np.ndarray, float, int]:
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
    most : int, optional
        Side of the largest bins that the network may look at where nothing is
        sharp.
    tile : int, optional
        Side of the tiles.
    progress : bool or callable, optional
        As in `astroflat.neural.apply_tiled`.

    Returns
    -------
    tuple
        Result in the dtype of the input; standard deviation that is left,
        float32; the noise found in units of the model; and the side of the bins
        that the network looked at, 1 where it saw the pixels.
    """
    values, scale, factor = _see(data, bad, noise)
    found = _ask(values, session, tile, progress)
    side = min(most, bin_side(fill_bad(data, bad))) if scale > _NOISY else 1
    wide = None
    if side > 1:
        heights = fill_bad(per_strip(noise.forward, data), bad) / np.float32(factor)
        wide = ask_wide(lambda v: _ask_bins(v, session, tile), heights, side, found)
    if wide is None:
        side = 1
        conserve(found, values, bad)
    else:
        found = wide
    found[0] *= np.float32(strength * factor)
    result, left = np.array(data), np.empty(data.shape, np.float32)

    def back(rows: slice) -> None:
        parts = data[rows], found[:, rows]
        # Bad pixels may be infinite.
        with np.errstate(invalid='ignore'):
            result[rows], left[rows] = _back(
                *parts, noise, strength, factor, min(scale, 1.0)
            )

    run_strips(back, data.shape)
    result[bad] = data[bad]
    left[bad] = noise.sigma(data[bad])
    return result, left, scale, side


def _ask_bins(values: np.ndarray, session: Session, tile: int | None) -> np.ndarray:
    """Find the noise of means over pixels, which sums to nothing."""
    values, _, factor = _flatten(np.array(values))
    found = _ask(values, session, tile, None)
    conserve(found, values, np.zeros(values.shape, bool))
    found[0] *= np.float32(factor)
    return found


def _see(
    data: np.ndarray, bad: np.ndarray, noise: NoiseModel
) -> tuple[np.ndarray, float, float]:
    """Return what the network sees, the noise found, and what it is divided by."""
    return _flatten(fill_bad(per_strip(noise.forward, data), bad))


def _flatten(values: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Take the local level away and make the noise 1, in place."""
    grid = level_grid(values)
    scale = noise_scale(values)
    factor = scale if abs(scale - 1.0) > _CLOSE and scale > 0 else 1.0

    def flatten(rows: slice) -> None:
        values[rows] -= level_rows(grid, rows, values.shape[1])
        if factor != 1.0:
            values[rows] /= np.float32(factor)

    run_strips(flatten, values.shape)
    return values, scale, factor


def _ask(
    values: np.ndarray, session: Session, tile: int | None, progress: Any
) -> np.ndarray:
    """Run the network over all tiles: the noise, and the error that it leaves."""
    from astroflat.neural.tiles import apply_tiled, choose_tile

    card = session.card
    name = session.outputs[0].name
    most = -(-max(values.shape) // card.multiple) * card.multiple
    if tile is None:
        tile = choose_tile(halo=card.halo, multiple=card.multiple)
    tile = min(tile, most)
    return apply_tiled(
        lambda tiles: session.run(tiles)[name],
        values[None],
        tile=tile,
        halo=card.halo,
        multiple=card.multiple,
        out_channels=2,
        progress=progress,
    )


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
