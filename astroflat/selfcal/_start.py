# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A flat to start from: the lower envelope of the frames, roughly."""

from __future__ import annotations

import numpy as np

__all__ = ['first_guess', 'lower_half']


def first_guess(
    data: np.ndarray, known: np.ndarray, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, float]:
    """
    Fit vignetting and a tilt to what is not brighter than the rest.

    Parameters
    ----------
    data : `~numpy.ndarray`
        ``(n, cells)``, levels relative to each frame.

    known : `~numpy.ndarray` of bool
        Where they are known.

    x, y : `~numpy.ndarray`
        Coordinates of the cells, 1 at a corner.

    Returns
    -------
    log_flat : `~numpy.ndarray`
        Mean 0.

    strength : float
        Loss at a corner, at least 0.01.

    Notes
    -----
    Objects only add light: residuals above the fit are given up soon,
    residuals below it hardly.
    """
    counted = known.sum(axis=0)
    middle = np.median(np.where(known, data, 1.0), axis=0)
    values = np.log(np.maximum(middle, 0.05))
    r2 = x**2 + y**2
    terms = np.stack([np.ones_like(x), x, y, r2, r2**2], axis=1)
    inverse = np.diag(1 / np.array([10.0, 0.1, 0.1, 0.5, 0.3]) ** 2)
    weight, scale = (counted > 0).astype(float), 0.05
    for step in range(25):
        normal = terms.T @ (weight[:, None] * terms) / scale**2 + inverse
        solution = np.linalg.solve(normal, terms.T @ (weight * values) / scale**2)
        residual = values - terms @ solution
        below = -residual[(residual < 0) & (counted > 0)]
        scale = 1.4826 * float(np.median(below)) if below.size else 0.01
        scale = max(scale, 0.002) * (1 if step > 8 else 2)
        above = np.exp(-0.5 * (residual / (2 * scale)) ** 2) + 1e-3
        weight = np.where(residual > 0, above, 1 / (1 + (residual / (3 * scale)) ** 2))
        weight *= counted > 0
    flat = terms @ solution
    strength = max(0.01, abs(float(solution[3] + solution[4])))
    return flat - flat.mean(), strength


def lower_half(ratio: np.ndarray) -> np.ndarray:
    """
    Return the level of the sky of each frame, from its darker cells.

    Parameters
    ----------
    ratio : `~numpy.ndarray`
        ``(n, cells)``, NaN where not known.

    Returns
    -------
    level : `~numpy.ndarray`
        The 40th percentile of each frame.
    """
    return np.nanpercentile(ratio, 40, axis=1)
