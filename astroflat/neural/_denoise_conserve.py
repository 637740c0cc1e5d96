# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Noise that a network found is made to sum to nothing, so that fluxes stay."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter

from astroflat.neural._local_level import level_rows
from astroflat.neural._strips import run_strips

__all__ = ['conserve']

# Side of the boxes in which the noise sums to nothing: its mean over one is known
# to one percent.
_WIDE = 96
# Width in pixels of what it sums to nothing over around sources, how often what is
# smooth of it is taken away (after once, some leaks through the edge of an aperture),
# and the height of sources in standard deviations of the noise of a pixel, from
# nothing to all.
_NARROW, _TIMES = 2.0, 2
_STANDS_OUT = (0.4, 0.8)
# How far from what stands out, and over how many pixels that ends.
_AROUND, _EDGE = 11, 1.0
# Rows around a strip that its filters reach, each four widths far.
_REACH = (4, _AROUND // 2 + round(4 * _EDGE), _TIMES * round(4 * _NARROW))
_HALO = _REACH[0] + _REACH[1] + _REACH[2]


def conserve(found: np.ndarray, values: np.ndarray, bad: np.ndarray) -> None:
    """
    Make the noise found sum to nothing, in place.

    Parameters
    ----------
    found : ndarray
        The noise, and the standard deviation of the error that it leaves,
        ``(2, ny, nx)``. The first is changed.
    values : ndarray
        What the network saw, ``(ny, nx)``.
    bad : ndarray of bool
        Pixels that stay as they are.

    Notes
    -----
    That is what noise does; a network that takes faint sources for noise, or noise
    for the wings of a source, does not. The sum is taken over some thousand pixels
    everywhere, and over some ten around what stands out: there the flux in an
    aperture stays that of the input. Pixels that are left as they are stay so.
    """
    share = np.empty(values.shape, np.float32)

    def begin(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        share[rows] = np.maximum(1.0 - found[1, rows] ** 2, 0.0)
        share[rows][bad[rows]] = 0.0
        found[0, rows][share[rows] == 0] = 0.0
        return _box_sums(found[0, rows]), _box_sums(share[rows])

    sums, shares = zip(*run_strips(begin, values.shape, multiple=_WIDE), strict=True)
    sums, shares = np.concatenate(sums), np.concatenate(shares)
    grid = np.where(shares > 16.0, sums / np.maximum(shares, 16.0), 0.0)
    grid = grid.astype(np.float32)

    def level(rows: slice) -> None:
        smooth = level_rows(grid, rows, values.shape[1], block=_WIDE)
        found[0, rows] -= share[rows] * smooth

    run_strips(level, values.shape)
    # All strips see the same noise: it is changed when all are done.
    changes = run_strips(
        lambda rows: _near_sources(found[0], values, share, rows),
        values.shape,
        multiple=_WIDE,
    )
    start = 0
    for change in changes:
        found[0, start : start + len(change)] -= change
        start += len(change)


def _near_sources(
    noise: np.ndarray, values: np.ndarray, share: np.ndarray, rows: slice
) -> np.ndarray:
    """Return the smooth part of the noise around what stands out, for some rows."""
    first = max(0, rows.start - _HALO)
    wide = slice(first, min(len(values), rows.stop + _HALO))
    inside = slice(rows.start - first, rows.stop - first)
    noise, share = noise[wide], share[wide]
    near = _near(values[wide] - noise)
    if not near[inside].any():
        return np.zeros_like(noise[inside])
    near *= share
    near /= np.maximum(gaussian_filter(share, _NARROW), 0.1)
    left = noise.copy()
    for _ in range(_TIMES):
        left -= near * gaussian_filter(left, _NARROW)
    return (noise - left)[inside]


def _near(height: np.ndarray) -> np.ndarray:
    """Return 1 around what stands out of the local level, 0 elsewhere."""
    low, high = _STANDS_OUT
    near = gaussian_filter(height, 1.0)
    near -= np.float32(low)
    near /= np.float32(high - low)
    np.clip(near, 0.0, 1.0, out=near)
    return gaussian_filter(maximum_filter(near, _AROUND), _EDGE)


def _box_sums(values: np.ndarray) -> np.ndarray:
    """Return sums over boxes; the last may be smaller."""
    for axis, size in enumerate(values.shape):
        starts = np.arange(0, size, _WIDE)
        values = np.add.reduceat(values, starts, axis=axis, dtype=np.float64)
    return values
