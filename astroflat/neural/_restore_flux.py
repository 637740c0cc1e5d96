# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Light that a network lost or invented, put back where it belongs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ['conserve']

# Height over the noise from which a source stands out, from nothing to all.
_STANDS_OUT = (3.0, 6.0)
# Largest part of its light that is put back or taken away.
_MOST = 0.25


def conserve(
    restored: np.ndarray,
    filtered: np.ndarray,
    sigma: np.ndarray,
    optics: Callable[[float, float], Any],
) -> None:
    """
    Give sources the light that the linear filter finds in them, in place.

    Parameters
    ----------
    restored : ndarray
        Restored plane less its level.
    filtered : ndarray
        The same, from a linear filter that keeps the sum of the light.
    sigma : ndarray
        Its noise.
    optics : callable
        ``optics(x, y)`` gives the filters at a place.

    Notes
    -----
    Both are smoothed to about the width of the stars in the plane, where the linear
    filter has no more noise than the plane itself. Where the smoothed restored plane
    stands out of the noise, it is multiplied by the ratio of both: sources keep
    their shape, and the dark stays dark.
    """
    from scipy.ndimage import gaussian_filter

    ny, nx = restored.shape
    width = max(1.0, optics(nx / 2.0, ny / 2.0).kernel.fwhm * 0.6)
    mine, linear = (gaussian_filter(a, width) for a in (restored, filtered))
    noise = sigma / (2.0 * np.sqrt(np.pi) * width)
    low, high = _STANDS_OUT
    weight = np.clip((mine / noise - low) / (high - low), 0.0, 1.0)
    safe = np.maximum(mine, 0.1 * noise)
    ratio = np.clip((linear - mine) / safe, -_MOST, _MOST)
    restored += (weight * ratio * restored).astype(np.float32)
