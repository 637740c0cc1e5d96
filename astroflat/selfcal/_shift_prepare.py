# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Frames made small and alike, for measuring offsets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._progress import progress
from astroflat.selfcal._kll_frames import Frames, Plane

if TYPE_CHECKING:
    from astroflat.combine._request import Request

__all__ = ['high_pass', 'prepare']

# Samples of all prepared frames together.
_MOST = 2**26
# Samples darker than this share of the level of a frame.
_DARK = 0.02


def prepare(
    request: Request, mask: np.ndarray | None, max_size: int, *, bar: bool = False
) -> tuple[np.ndarray, int]:
    """
    Read all frames, binned, as logarithms relative to their levels.

    Parameters
    ----------
    request : Request
        The frames.

    mask : `~numpy.ndarray` of bool or None
        True marks bad pixels.

    max_size : int
        The most pixels along a side.

    bar : bool, optional
        Whether to show a progress bar.

    Returns
    -------
    logs : `~numpy.ndarray`
        ``(n, ny, nx)`` float32, NaN where bad.

    step : int
        How many pixels became one, along either axis.
    """
    stack = request.stack
    n, ny, nx = stack.shape[:3]
    step = max(
        math.ceil(max(ny, nx) / max_size), math.ceil(math.sqrt(n * ny * nx / _MOST))
    )
    if stack.color not in ('mono', 'RGB'):
        step += step % 2
    channel = 1 if len(stack.shape) == 4 else None
    frames = Frames(request, Plane(channel=channel), mask)
    out = np.empty((n, ny // step, nx // step), dtype=np.float32)
    for k in progress(range(n), enabled=bar, description='read'):
        out[k] = _logarithm(_bin(*frames.frame(k), step), stack.label(k))
    return out, step


def _bin(values: np.ndarray, bad: np.ndarray, step: int) -> np.ndarray:
    """Average blocks; those with a bad pixel are NaN."""
    values = np.where(bad, np.float32(np.nan), values)
    if step == 1:
        return values
    ny, nx = (m // step for m in values.shape)
    blocks = values[: ny * step, : nx * step].reshape(ny, step, nx, step)
    if step > 2:
        with np.errstate(invalid='ignore'):
            good = np.isfinite(blocks)
            count = good.sum(axis=(1, 3))
            total = np.where(good, blocks, 0).sum(axis=(1, 3))
            return np.where(2 * count > step**2, total / np.maximum(count, 1), np.nan)
    return blocks.mean(axis=(1, 3))


def _logarithm(values: np.ndarray, label: str) -> np.ndarray:
    """Return the logarithm, relative to the median."""
    good = np.isfinite(values)
    level = float(np.median(values[good])) if good.any() else 0.0
    if not level > 0:
        msg = (
            f'{label}: the median is {level:.3g}; offsets are measured on frames with '
            'light, check bias and mask'
        )
        raise ValueError(msg)
    good &= values > _DARK * level
    return np.log(values / level, out=np.full_like(values, np.nan), where=good)


def high_pass(logs: np.ndarray, sigma: float) -> np.ndarray:
    """
    Return what is small in an image, fading towards its borders.

    Parameters
    ----------
    logs : `~numpy.ndarray`
        ``(ny, nx)``, NaN where bad.

    sigma : float
        The scale in pixels.

    Returns
    -------
    fine : `~numpy.ndarray`
        float32, 0 where bad, outliers cut.
    """
    from scipy.ndimage import gaussian_filter

    good = np.isfinite(logs)
    weight = gaussian_filter(good.astype(np.float32), sigma)
    smooth = gaussian_filter(np.where(good, logs, 0), sigma)
    fine = np.where(good, logs - smooth / np.maximum(weight, 1e-3), 0)
    fine = gaussian_filter(fine, 0.6)
    scale = 1.4826 * float(np.median(np.abs(fine[good]))) if good.any() else 0.0
    # A bright star must not be all there is.
    return np.clip(fine, -20 * scale, 20 * scale).astype(np.float32)


def window(shape: tuple[int, int]) -> np.ndarray:
    """
    Return a window that fades over an eighth of the frame.

    Parameters
    ----------
    shape : tuple of int
        Of the frame.

    Returns
    -------
    window : `~numpy.ndarray`
        float32.
    """
    from scipy.signal.windows import tukey

    parts: list[Any] = [tukey(m, 0.25) for m in shape]
    return np.outer(*parts).astype(np.float32)
