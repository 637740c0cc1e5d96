# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Where the telescope points from frame to frame."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ['dither_offsets']


def dither_offsets(
    n: int, *, pattern: Any, amplitude: float, rng: np.random.Generator
) -> np.ndarray:
    """
    Offsets of the sky on the detector.

    Parameters
    ----------
    n : int
        Number of frames.
    pattern : str or array_like
        ``'random'`` (uniform in a square), ``'spiral'`` (a Fermat spiral),
        ``'grid'``, ``'line'`` (one direction only), ``'drift'`` (steady, with
        the error of a mount), ``'none'``, or offsets ``(n, 2)`` as (dy, dx).
    amplitude : float
        Largest offset in pixels along either axis.
    rng : `numpy.random.Generator`
        Source of random numbers.

    Returns
    -------
    ndarray
        ``(n, 2)`` offsets (dy, dx) in pixels.

    Raises
    ------
    ValueError
        If the pattern is not known or has the wrong shape.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation._dither import dither_offsets
    >>> offsets = dither_offsets(
    ...     9, pattern='grid', amplitude=4.0, rng=np.random.default_rng(1)
    ... )
    >>> offsets[0], len(offsets)
    (array([-4., -4.]), 9)
    """
    if not isinstance(pattern, str):
        offsets = np.array(pattern, dtype=np.float64)
        if offsets.shape != (n, 2) or not np.isfinite(offsets).all():
            msg = f'offsets must be finite and of shape {(n, 2)}, not {offsets.shape}'
            raise ValueError(msg)
        return offsets
    if pattern not in _PATTERNS:
        msg = f'pattern must be one of {", ".join(_PATTERNS)}, not {pattern!r}'
        raise ValueError(msg)
    return amplitude * np.clip(_PATTERNS[pattern](n, rng), -1.0, 1.0)


def _random(n: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform in a square."""
    return rng.uniform(-1.0, 1.0, (n, 2))


def _spiral(n: int, rng: np.random.Generator) -> np.ndarray:
    """Fermat spiral, which covers a disc evenly."""
    index = np.arange(n)
    radius = np.sqrt((index + 0.5) / n)
    angle = index * math.pi * (3.0 - math.sqrt(5.0)) + rng.uniform(0, 2 * math.pi)
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)


def _grid(n: int, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG001
    """Square grid, row by row."""
    side = math.ceil(math.sqrt(n))
    axis = np.linspace(-1.0, 1.0, side) if side > 1 else np.zeros(1)
    return np.stack(np.meshgrid(axis, axis, indexing='ij'), axis=-1).reshape(-1, 2)[:n]


def _line(n: int, rng: np.random.Generator) -> np.ndarray:
    """One direction only: the geometry that leaves stripes undetermined."""
    angle = rng.uniform(0.0, math.pi)
    step = rng.uniform(-1.0, 1.0, n)[:, None]
    return step * np.array([math.sin(angle), math.cos(angle)])


def _drift(n: int, rng: np.random.Generator) -> np.ndarray:
    """Steady drift with periodic error and jitter."""
    time = np.linspace(-1.0, 1.0, n) if n > 1 else np.zeros(1)
    angle = rng.uniform(0.0, 2.0 * math.pi)
    along = 0.85 * time + 0.08 * np.sin(9.0 * time + angle)
    across = 0.10 * np.sin(5.0 * time + 2.0 * angle)
    wander = 0.02 * rng.standard_normal((n, 2))
    sin, cos = math.sin(angle), math.cos(angle)
    path = np.stack([along * sin + across * cos, along * cos - across * sin], axis=1)
    return path + wander


def _none(n: int, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG001
    """No dither at all."""
    return np.zeros((n, 2))


_PATTERNS = {
    'random': _random,
    'spiral': _spiral,
    'grid': _grid,
    'line': _line,
    'drift': _drift,
    'none': _none,
}
