# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""How bright each frame is, and the factors that make frames alike."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.combine._calibration import Calibration

if TYPE_CHECKING:
    from astroflat.io import FrameStack

__all__ = ['level_of', 'sample_step', 'scale_factors', 'to_factors']

# The level of a frame is that of about this many evenly spaced pixels.
_SAMPLES = 1_000_000


def scale_factors(
    stack: FrameStack, scale: Any, calibration: Calibration, threads: int
) -> np.ndarray | None:
    """
    Return what each frame is to be multiplied by.

    Parameters
    ----------
    stack : FrameStack
        The frames.

    scale : {'median', 'mean'}, callable, array_like or None
        As in `median_flat`.

    calibration : Calibration
        What is subtracted before.

    threads : int
        The most threads.

    Returns
    -------
    factors : `~numpy.ndarray` or None
        ``(n,)``, positive.
    """
    if scale is None:
        return None
    if not callable(scale) and not isinstance(scale, str):
        return np.asarray(scale, dtype=np.float64)
    check_scale(scale)
    step = 1 if callable(scale) else sample_step(stack.shape)

    def measure(i: int) -> float:
        frame, mask = _read(stack, i, step)
        return level_of(calibrate(frame, i, step, calibration), mask, scale)

    with ThreadPoolExecutor(threads) as pool:
        levels = np.array(list(pool.map(measure, range(len(stack)))))
    return to_factors(levels, scale, stack.label)


def check_scale(scale: Any) -> None:
    """
    Raise if this is no way to measure levels.

    Parameters
    ----------
    scale : object
        A word or a function.
    """
    if isinstance(scale, str) and scale not in ('median', 'mean'):
        msg = (
            "scale must be 'median', 'mean', a function, an array of factors or "
            f'None, not {scale!r}'
        )
        raise ValueError(msg)


def sample_step(shape: tuple[int, ...]) -> int:
    """
    Return the distance of the pixels that are looked at.

    Parameters
    ----------
    shape : tuple of int
        That of the stack.

    Returns
    -------
    step : int
        Odd, so that all colours of a Bayer pattern are seen.
    """
    pixels = shape[1] * shape[2]
    return int(np.ceil(np.sqrt(pixels / _SAMPLES))) | 1


def _read(stack: FrameStack, i: int, step: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Read every ``step``-th row and column of a frame, and its mask."""
    one = stack[i : i + 1]
    if step == 1:
        mask = one.mask_rows(0, one.shape[1])
        return one[0], None if mask is None else mask[0]
    rows = range(0, one.shape[1], step)
    frame = np.stack([one.read_rows(y, y + 1)[0, 0, ::step] for y in rows])
    if not one.has_mask:
        return frame, None
    return frame, np.stack([one.mask_rows(y, y + 1)[0, 0, ::step] for y in rows])


def calibrate(
    frame: np.ndarray, i: int, step: int, calibration: Calibration
) -> np.ndarray:
    """
    Subtract bias and dark from the pixels of one frame.

    Parameters
    ----------
    frame : `~numpy.ndarray`
        Every ``step``-th row and column.

    i : int
        Which frame it is.

    step : int
        The distance of the pixels.

    calibration : Calibration
        What to subtract.

    Returns
    -------
    frame : `~numpy.ndarray`
        float64 if there is something to subtract, else as it was.
    """
    if calibration.offset is not None:
        frame = frame - calibration.offset[::step, ::step]
    if calibration.dark is not None:
        dark = calibration.dark[::step, ::step]
        frame = frame - calibration.dark_factors[i] * dark
    return frame


def level_of(
    frame: np.ndarray, mask: np.ndarray | None, scale: str | Callable
) -> float:
    """
    Measure a frame.

    Parameters
    ----------
    frame : `~numpy.ndarray`
        The pixels.

    mask : `~numpy.ndarray` of bool or None
        True is bad.

    scale : {'median', 'mean'} or callable
        What to measure.

    Returns
    -------
    level : float
        Of a function, what it returned for the frame, masked if it has bad
        pixels.
    """
    bad = ~np.isfinite(frame) if frame.dtype.kind == 'f' else np.zeros(1, bool)
    if mask is not None:
        bad = bad | mask
    if callable(scale):
        return float(scale(np.ma.array(frame, mask=bad) if bad.any() else frame))
    good = frame[~bad] if bad.any() else frame
    if good.size == 0:
        return np.nan
    return float(np.median(good) if scale == 'median' else np.mean(good, dtype=float))


def to_factors(
    levels: np.ndarray, scale: str | Callable, label: Callable[[int], str]
) -> np.ndarray:
    """
    Turn levels into factors.

    Parameters
    ----------
    levels : `~numpy.ndarray`
        One per frame.

    scale : {'median', 'mean'} or callable
        What they are. Those of a function are factors already.

    label : callable
        Returns the name of a frame.

    Returns
    -------
    factors : `~numpy.ndarray`
        The median of the levels over each of them.
    """
    bad = np.flatnonzero(~(np.isfinite(levels) & (levels > 0)))
    if bad.size:
        what = 'factor' if callable(scale) else f'{scale} level'
        msg = (
            f'the {what} of {label(int(bad[0]))} is {levels[bad[0]]:g}; frames can '
            'be scaled only if all are positive: leave that frame out, subtract '
            'the right bias, or pass scale=None'
        )
        raise ValueError(msg)
    return levels if callable(scale) else np.median(levels) / levels
