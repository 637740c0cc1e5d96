# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Conjugate gradients with a preconditioner that knows the offsets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from astroflat.selfcal._kll_operator import SkyOperator

__all__ = ['Preconditioner', 'Solved', 'solve', 'symbol']

# Patterns that the offsets tell worse than this are left to the iterations:
# in float32 the preconditioner would amplify rounding.
_FLOOR = 1e-7
# Pixels of the sky with less than this share of the frames count as this much.
_THIN = 0.02
# The error of the flat is about so many times the largest of the last steps.
_SAFETY, _LAST = 3.0, 3


@dataclass(frozen=True)
class Solved:
    """
    A solution of the normal equations.

    Attributes
    ----------
    sky : `~numpy.ndarray`
        float32.

    levels : `~numpy.ndarray`
        ``(n,)``.

    iterations : int
        How many it took.

    change : float
        The estimated rms error that is left, in the unit of the sky.

    converged : bool
        Whether that is within the tolerance.
    """

    sky: np.ndarray
    levels: np.ndarray
    iterations: int
    change: float
    converged: bool


def symbol(offsets: np.ndarray, ky: np.ndarray, kx: np.ndarray) -> np.ndarray:
    """
    Return how well waves are told from the sky: 0 not at all, 1 fully.

    Parameters
    ----------
    offsets : `~numpy.ndarray`
        ``(n, 2)``.

    ky, kx : `~numpy.ndarray`
        Wave numbers in radians per pixel, 1-D.

    Returns
    -------
    share : `~numpy.ndarray`
        ``(len(ky), len(kx))``: one minus the squared modulus of the mean
        phase factor of the frames.
    """
    centred = offsets - offsets.mean(axis=0)
    along_y = np.exp(1j * np.outer(ky, centred[:, 0])).astype(np.complex64)
    along_x = np.exp(1j * np.outer(centred[:, 1], kx)).astype(np.complex64)
    phase = along_y @ along_x / np.float32(len(offsets))
    return 1 - np.abs(phase) ** 2


class Preconditioner:
    """
    The inverse for an endless detector, in cosine waves.

    For every wave the skies of the groups are tied to each other by the flat
    alone, so that the matrix is a diagonal minus a dyad.

    Parameters
    ----------
    operator : SkyOperator
        The normal equations.

    offsets : `~numpy.ndarray`
        ``(n, 2)``.
    """

    def __init__(self, operator: SkyOperator, offsets: np.ndarray) -> None:
        layout = operator.layout
        cover = operator.coverage()
        thin = np.float32(_THIN * max(float(cover.max()), 1.0))
        self._root = np.where(cover > 0, 1 / np.sqrt(np.maximum(cover, thin)), 0)
        self._root = self._root.astype(np.float32)
        self._levels = np.array([max(float(w.sum()), 1.0) for w in operator.weights])
        self._threads = operator.threads
        ky, kx = (np.pi * np.arange(m) / m for m in layout.block)
        many = [np.flatnonzero(layout.groups == g) for g in range(len(layout.origins))]
        n = len(offsets)
        # The dyad: what a group adds to the flat.
        self._dyad = [np.zeros(layout.block, np.float32) for _ in many]
        left = np.ones(layout.block)
        for dyad, frames in zip(self._dyad, many, strict=True):
            if len(frames) == 0:
                continue
            told = _told(offsets[frames], ky, kx)
            part = len(frames) / n / (1 + operator.ridge) * np.maximum(1 - told, 0)
            dyad[:] = np.sqrt(part)
            left -= part
        left[0, 0] = 1
        self._inverse = (1 / np.maximum(left, _FLOOR)).astype(np.float32)

    def __call__(
        self, sky: np.ndarray, levels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """
        Multiply by the approximate inverse.

        Parameters
        ----------
        sky : `~numpy.ndarray`
            float32.

        levels : `~numpy.ndarray`
            ``(n,)``.

        Returns
        -------
        sky, levels : `~numpy.ndarray`
            The product.
        """
        from scipy.fft import dctn, idctn

        options = {'norm': 'ortho', 'workers': self._threads, 'overwrite_x': True}
        out = sky * self._root
        blocks = out.reshape(len(self._dyad), *self._inverse.shape)
        if len(blocks) == 1:
            waves = dctn(blocks[0], **options)
            waves *= self._inverse
            blocks[0] = idctn(waves, **options)
        else:
            for block in blocks:
                block[:] = dctn(block, **options)
            common = sum(d * b for d, b in zip(self._dyad, blocks, strict=True))
            common *= self._inverse
            for dyad, block in zip(self._dyad, blocks, strict=True):
                block += dyad * common
                block[:] = idctn(block, **options)
        out *= self._root
        return out, levels / self._levels


def _told(offsets: np.ndarray, ky: np.ndarray, kx: np.ndarray) -> np.ndarray:
    """Return how well cosines are told, which hold waves of both signs."""
    told = 0.5 * (symbol(offsets, ky, kx) + symbol(offsets, ky, -kx))
    spread = np.cov(offsets.T, bias=True)
    # Of long waves one minus a square loses its digits.
    long = spread[0, 0] * ky[:, None] ** 2 + spread[1, 1] * kx**2
    return np.where(long < 1e-2, long, told)


def solve(
    operator: SkyOperator,
    inverse: Preconditioner,
    right: tuple[np.ndarray, np.ndarray],
    *,
    tolerance: float,
    max_iterations: int,
    free_levels: bool = True,
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
        The right hand side: sky and levels.

    tolerance : float
        The rms error to reach.

    max_iterations : int
        The most iterations.

    free_levels : bool, optional
        Whether the levels of the frames are solved for.

    Returns
    -------
    solved : Solved
        Sky and levels.
    """
    r, r_levels = right[0].copy(), right[1] * free_levels
    x, x_levels = np.zeros_like(r), np.zeros_like(r_levels)
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
        p_levels = z_levels + beta * p_levels
        q, q_levels, mean = operator.normal(p, p_levels)
        q_levels = q_levels * free_levels
        power = _dot(p, q) + float(p_levels @ q_levels)
        if not power > 0:
            break
        alpha = rho / power
        x += np.float32(alpha) * p
        r -= np.float32(alpha) * q
        x_levels = x_levels + alpha * p_levels
        r_levels = r_levels - alpha * q_levels
        steps.append(abs(alpha) * _rms_off_plane(mean, good))
        if _left(steps) <= tolerance:
            break
    return Solved(x, x_levels, len(steps), _left(steps), _left(steps) <= tolerance)


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


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    """Return the sum of products, in float64 beyond a row."""
    return float(np.einsum('ij,ij->i', a, b).sum(dtype=np.float64))
