# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Light that a network lost or invented, put back where it belongs."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from astroflat.neural._local_level import level_rows
from astroflat.neural._strips import run_strips, wide_strips

__all__ = ['conserve']

# Height over the noise from which a source stands out once both are smoothed, from
# nothing to all.
_STANDS_OUT = (3.0, 5.0)
# Width of the smoothing, and how far light is conserved around a source, in widths
# of a star.
_SMOOTH, _REACH = 0.6, 2.0
# Side of the boxes over which the dark keeps its sum, and the height over the
# smoothed noise below which it is dark.
_WIDE = 96
_DARK = 4.0
# Largest part of its light by which a source is scaled.
_MOST = 0.25


def conserve(
    restored: np.ndarray, filtered: np.ndarray, sigma: np.ndarray, fwhm: float
) -> None:
    """
    Keep the light that a linear filter finds, in place.

    Parameters
    ----------
    restored : ndarray
        Restored plane less its level.
    filtered : ndarray
        The same, from a linear filter that keeps the sum of the light.
    sigma : ndarray
        Noise of the plane.
    fwhm : float
        Width of its stars in pixels.

    Notes
    -----
    Where it is dark, the mean over wide boxes becomes that of the linear filter. Around
    what stands out of the noise, sources are scaled to the light of the linear filter,
    and what is then left of the difference, smoothed to about the width of a star, is
    added: there the flux in an aperture is that of the linear filter,
    which has no bias. What it costs is the noise of the frame at such a scale.
    """
    width = max(1.0, _SMOOTH * fwhm)
    smooth = _reach(width)
    height = wide_strips(partial(_height, width), restored, sigma, reach=smooth)
    _keep_dark(restored, filtered, height)
    reach = max(2 * smooth, round(_REACH * fwhm) + _reach(0.5 * fwhm))
    planes = restored, filtered, height, sigma
    restored[:] = wide_strips(partial(_sources, width, fwhm), *planes, reach=reach)


def _reach(width: float) -> int:
    """Pixels that a Gaussian of SciPy looks away."""
    return int(4.0 * width + 0.5)


def _height(width: float, restored: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Smoothed height over the noise that smoothing leaves."""
    from scipy.ndimage import gaussian_filter

    height = gaussian_filter(restored, width)
    height /= sigma * np.float32(_smoothed(width))
    return height


def _sources(
    width: float,
    fwhm: float,
    restored: np.ndarray,
    filtered: np.ndarray,
    height: np.ndarray,
    sigma: np.ndarray,
) -> np.ndarray:
    """Return the plane with the light of its sources conserved."""
    from scipy.ndimage import gaussian_filter

    near = _near_sources(height, fwhm)
    if not near.any():
        return restored
    scaled = restored * _scales(filtered - restored, height, sigma, width)
    near *= gaussian_filter(filtered - scaled, width)
    scaled += near
    return scaled


def _scales(
    lost: np.ndarray, height: np.ndarray, sigma: np.ndarray, width: float
) -> np.ndarray:
    """Factors that give what stands out the light of the linear filter."""
    from scipy.ndimage import gaussian_filter

    noise = sigma * np.float32(_smoothed(width))
    mine = np.maximum(height * noise, 0.1 * noise)
    ratio = gaussian_filter(lost, width) / mine
    np.clip(ratio, -_MOST, _MOST, out=ratio)
    ratio *= np.clip((height - _STANDS_OUT[1]) / _STANDS_OUT[1], 0.0, 1.0)
    ratio += 1.0
    return ratio


def _near_sources(height: np.ndarray, fwhm: float) -> np.ndarray:
    """Return 1 around what stands out, 0 elsewhere, with a soft edge."""
    from scipy.ndimage import gaussian_filter, maximum_filter1d

    low, high = _STANDS_OUT
    near = np.clip((height - low) / (high - low), 0.0, 1.0)
    # From the core of the source, which is wider by the smoothing.
    size = 2 * round(_REACH * fwhm) + 1
    for axis in (0, 1):
        near = maximum_filter1d(near, size, axis=axis)
    return gaussian_filter(near, 0.5 * fwhm)


def _smoothed(width: float) -> float:
    """Return what smoothing by a Gaussian leaves of white noise."""
    return 1.0 / (2.0 * math.sqrt(math.pi) * width)


def _keep_dark(restored: np.ndarray, filtered: np.ndarray, height: np.ndarray) -> None:
    """Give wide boxes the mean of the linear filter where they are dark, in place."""

    def sums(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        dark = (np.abs(height[rows]) < _DARK).astype(np.float32)
        return _box_sums(dark), _box_sums(dark * (filtered[rows] - restored[rows]))

    parts = run_strips(sums, restored.shape, multiple=_WIDE)
    shares, lost = (np.concatenate(part) for part in zip(*parts, strict=True))
    grid = np.where(shares > 16.0, lost / np.maximum(shares, 16.0), 0.0)
    grid = grid.astype(np.float32)

    def add(rows: slice) -> None:
        restored[rows] += level_rows(grid, rows, restored.shape[1], block=_WIDE)

    run_strips(add, restored.shape)


def _box_sums(values: np.ndarray) -> np.ndarray:
    """Return sums over boxes; the last may be smaller."""
    for axis, size in enumerate(values.shape):
        starts = np.arange(0, size, _WIDE)
        values = np.add.reduceat(values, starts, axis=axis, dtype=np.float64)
    return values
