# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How well the holes are filled, measured where the truth is known.

The holes of the dust are moved to places without dust and filled there in the
same way. What the fill misses there it will miss under the dust as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ['control_holes', 'fill_error']

# Half of the frame at most is worth filling to learn the scatter.
_MAX_FRACTION = 0.25


def control_holes(
    holes: np.ndarray, forbidden: np.ndarray, *, seed: int = 0, attempts: int = 40
) -> np.ndarray:
    """
    Move holes to where nothing is wrong.

    Parameters
    ----------
    holes : `~numpy.ndarray` of bool
        The holes, ``(ny, nx)``.

    forbidden : `~numpy.ndarray` of bool
        Where no control hole may lie: dust and bad pixels, with a margin.

    seed : int, optional
        The seed of the places.

    attempts : int, optional
        How many places are tried for each hole.

    Returns
    -------
    control : `~numpy.ndarray` of bool
        Copies of the holes at other places, as many as fit.
    """
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    labels, n = ndimage.label(holes)
    control = np.zeros_like(holes)
    taken = forbidden.copy()
    boxes = ndimage.find_objects(labels)
    budget = _MAX_FRACTION * holes.size
    for i in rng.permutation(n):
        shape = labels[boxes[i]] == i + 1
        if control.sum() + shape.sum() > budget:
            break
        place = _find_place(shape, taken, rng, attempts)
        if place is None:
            continue
        control[place] |= shape
        # Neighbouring control holes would look for support in each other.
        taken[_grow(place, shape.shape)] = True
    return control


def _find_place(
    shape: np.ndarray, taken: np.ndarray, rng: np.random.Generator, attempts: int
) -> tuple[slice, slice] | None:
    """Return a place where a hole overlaps nothing that is taken."""
    room = np.subtract(taken.shape, shape.shape)
    for _ in range(attempts):
        y, x = (int(rng.integers(0, r + 1)) for r in room)
        place = (slice(y, y + shape.shape[0]), slice(x, x + shape.shape[1]))
        if not (taken[place] & shape).any():
            return place
    return None


def _grow(place: tuple[slice, slice], shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return a place with a margin of half its size."""
    return tuple(
        slice(max(0, s.start - n // 2 - 2), s.stop + n // 2 + 2)
        for s, n in zip(place, shape, strict=True)
    )


def fill_error(
    image: np.ndarray,
    control: np.ndarray,
    fill: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray | None]],
    noise: np.ndarray | None,
) -> dict[str, float]:
    """
    Fill the control holes and compare with what is there.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The image, ``(ny, nx)``.

    control : `~numpy.ndarray` of bool
        The control holes.

    fill : callable
        Takes image and holes, returns the filled image and its standard
        deviation.

    noise : `~numpy.ndarray` or None
        The standard deviation of the image: it is in the difference as well
        and is no fault of the fill.

    Returns
    -------
    error : dict of float
        ``fill_percent``, the root mean square of the relative error with the
        noise of the image taken out; ``fill_bias_percent``, its mean;
        ``fill_chi``, the robust scatter of the error over its predicted
        standard deviation. NaN without control holes.
    """
    if not control.any():
        return dict.fromkeys(('fill_percent', 'fill_bias_percent', 'fill_chi'), np.nan)
    filled, sigma = fill(image, control)
    truth = image[control].astype(float)
    error = filled[control] / truth - 1
    variance = 0.0 if noise is None else np.mean((noise[control] / truth) ** 2)
    # Below its own standard error the difference says nothing.
    floor = variance * np.sqrt(2 / error.size)
    square = max(float(np.mean(error**2) - variance), float(floor))
    chi = np.nan
    if sigma is not None:
        expected = sigma[control].astype(float) ** 2
        expected = expected + (0 if noise is None else noise[control] ** 2)
        ratio = np.abs(error * truth) / np.sqrt(np.maximum(expected, 1e-30))
        chi = float(1.4826 * np.median(ratio))
    return {
        'fill_percent': 100 * float(np.sqrt(square)),
        'fill_bias_percent': 100 * float(np.mean(error)),
        'fill_chi': chi,
    }
