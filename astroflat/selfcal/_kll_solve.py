# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Preconditioned conjugate gradients in few images of memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from astroflat.selfcal._kll_operator import SkyOperator
    from astroflat.selfcal._kll_precondition import Preconditioner

__all__ = ['Solved', 'solve']

# The error of the flat is about so many times the largest of the last steps.
_SAFETY, _LAST = 3.0, 3
# Rows that are worked on at a time.
_ROWS = 32


@dataclass(frozen=True)
class Solved:
    """
    A solution of the normal equations.

    Attributes
    ----------
    levels : `~numpy.ndarray`
        ``(n,)``.

    iterations : int
        How many it took.

    change : float
        The estimated rms error that is left, in the unit of the sky.

    converged : bool
        Whether that is within the tolerance.
    """

    levels: np.ndarray
    iterations: int
    change: float
    converged: bool


def solve(
    operator: SkyOperator,
    inverse: Preconditioner,
    right: tuple[np.ndarray, np.ndarray, np.ndarray],
    *,
    tolerance: float,
    max_iterations: int,
    free_levels: bool = True,
    offsets: np.ndarray | None = None,
    into: np.ndarray | None = None,
) -> Solved:
    """
    Solve the normal equations by preconditioned conjugate gradients.

    Parameters
    ----------
    operator : SkyOperator
        The matrix.

    inverse : Preconditioner
        Its approximate inverse.

    right : tuple of `~numpy.ndarray`
        The right hand side: sky, which is used up, and levels; and the flat
        that goes with no sky, which becomes the one that goes with the sky.

    tolerance : float
        The rms error to reach.

    max_iterations : int
        The most iterations.

    free_levels : bool, optional
        Whether the levels of the frames are solved for.

    offsets : `~numpy.ndarray`, optional
        ``(n, 2)``: count the slope that levels in step with them will give
        the flat.

    into : `~numpy.ndarray`, optional
        Where the sky is added to. By default only the flat is kept.

    Returns
    -------
    solved : Solved
        Levels, and how good they are.
    """
    r, r_levels, flat = right[0], right[1] * free_levels, right[2]
    x_levels = np.zeros_like(r_levels)
    p, p_levels = np.zeros_like(r), np.zeros_like(r_levels)
    rho, steps = 1.0, []
    good = max(1, np.count_nonzero(operator.total))
    for i in range(max_iterations):
        z, z_levels = inverse(r, r_levels)
        new = _dot(r, z) + float(r_levels @ z_levels)
        beta = new / rho if i else 0.0
        rho = new
        p *= np.float32(beta)
        p += z
        # Two images less while the matrix is at work.
        del z
        p_levels = z_levels + beta * p_levels
        q, q_levels, mean = operator.normal(p, p_levels)
        q_levels = q_levels * free_levels
        power = _dot(p, q) + float(p_levels @ q_levels)
        if not power > 0:
            break
        alpha = rho / power
        if into is not None:
            _add(into, alpha, p)
        _add(r, -alpha, q)
        _add(flat, -alpha, mean)
        x_levels = x_levels + alpha * p_levels
        r_levels = r_levels - alpha * q_levels
        step = _rms_off_plane(mean, good)
        if offsets is not None:
            step = float(np.hypot(step, _rms_of_plane(p_levels, offsets, mean.shape)))
        steps.append(abs(alpha) * step)
        del q, mean
        if _left(steps) <= tolerance:
            break
    return Solved(x_levels, len(steps), _left(steps), _left(steps) <= tolerance)


def _left(steps: list[float]) -> float:
    """Estimate the error that is left from the last steps of the flat."""
    return _SAFETY * max(steps[-_LAST:]) if len(steps) >= _LAST else np.inf


def _rms_off_plane(flat: np.ndarray, good: int) -> float:
    """Return the rms of an image beside the plane through it."""
    ny, nx = flat.shape
    y, x = np.linspace(-1, 1, ny), np.linspace(-1, 1, nx)
    rows, columns = flat.sum(axis=1, dtype=float), flat.sum(axis=0, dtype=float)
    squares = _dot(flat, flat)
    squares -= rows.sum() ** 2 / flat.size
    for axis, sums, other in ((y, rows, nx), (x, columns, ny)):
        if len(axis) > 1:
            squares -= (axis @ sums) ** 2 / (axis @ axis * other)
    return float(np.sqrt(max(squares, 0.0) / good))


def _rms_of_plane(
    levels: np.ndarray, offsets: np.ndarray, shape: tuple[int, ...]
) -> float:
    """Return the rms of the plane that makes levels independent of offsets."""
    slope = np.linalg.lstsq(
        offsets - offsets.mean(axis=0), levels - levels.mean(), rcond=1e-6
    )[0]
    return float(np.linalg.norm(slope * shape) / np.sqrt(12))


def _add(image: np.ndarray, factor: float, other: np.ndarray) -> None:
    """Add a multiple of another image, in place and without a third one."""
    factor = np.float32(factor)
    work = np.empty_like(image[:_ROWS])
    for first in range(0, len(image), _ROWS):
        part = other[first : first + _ROWS]
        image[first : first + _ROWS] += np.multiply(part, factor, out=work[: len(part)])


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    """Return the sum of products, in float64 beyond a row."""
    return float(np.einsum('ij,ij->i', a, b).sum(dtype=np.float64))
