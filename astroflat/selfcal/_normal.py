# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The normal equations of the coarse fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from astroflat.selfcal._coarse import CoarseFit

__all__ = ['TERMS', 'normal_equations']

#: The number of terms of a gradient.
TERMS = 5


def normal_equations(
    fit: CoarseFit,
    light: np.ndarray,
    gain: np.ndarray,
    residual: np.ndarray,
    weights: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """
    Return the normal equations of the data.

    Parameters
    ----------
    fit : CoarseFit
        Where it is now.

    light : `~numpy.ndarray`
        ``(n, cells)``, sky and scene.

    gain : `~numpy.ndarray`
        ``(cells,)``, the flat.

    residual, weights : `~numpy.ndarray`
        ``(n, cells)``, data less model, and inverse variances.

    Returns
    -------
    matrix, vector : `~numpy.ndarray`
        For a step of the logarithm of the flat, the scene, levels, gradients
        and what is added, in this order.
    """
    first, second, third, fourth = fit.split()
    size = fourth + (0 if fit.added is None else fit.cells)
    matrix, vector = np.zeros((size, size)), np.zeros(size)
    slope = gain * light
    own = np.arange(fit.cells)
    matrix[own, own] = (slope**2 * weights).sum(axis=0)
    vector[: fit.cells] = (slope * weights * residual).sum(axis=0)
    tail = np.concatenate([gain[:, None], fit.basis], axis=1)
    for k in range(fit.n):
        w = weights[k]
        index = [second + k, *(third + TERMS * k + np.arange(TERMS))]
        weighted = w[:, None] * tail
        matrix[: fit.cells, index] = slope[k][:, None] * weighted
        matrix[np.ix_(index, index)] = tail.T @ weighted
        vector[index] = weighted.T @ residual[k]
        if fit.scene is not None:
            rows = fit.scene.rows(k).multiply(gain[:, None]).tocsr()
            matrix[first:second, index] = rows.T @ weighted
            vector[first:second] += rows.T @ (w * residual[k])
    if fit.scene is not None:
        across, inside = fit.scene.products(gain, slope, weights)
        matrix[: fit.cells, first:second] = across
        matrix[first:second, first:second] = inside
        matrix[first:second, : fit.cells] = across.T
    matrix[second:fourth, :second] = matrix[:second, second:fourth].T
    if fit.added is not None:
        _normal_added(fit, matrix, vector, slope, gain, weights, residual)
    return matrix, vector


def _normal_added(
    fit: CoarseFit,
    matrix: np.ndarray,
    vector: np.ndarray,
    slope: np.ndarray,
    gain: np.ndarray,
    weights: np.ndarray,
    residual: np.ndarray,
) -> None:
    """Add what is added to all frames to the normal equations."""
    first, second, third, fourth = fit.split()
    own, share = np.arange(fit.cells), fit.added.gain[:, None]
    matrix[fourth + own, fourth + own] = (share**2 * weights).sum(axis=0)
    matrix[own, fourth + own] = (slope * share * weights).sum(axis=0)
    vector[fourth:] = (share * weights * residual).sum(axis=0)
    tail = np.concatenate([gain[:, None], fit.basis], axis=1)
    for k in range(fit.n):
        w = weights[k] * fit.added.gain[k]
        index = [second + k, *(third + TERMS * k + np.arange(TERMS))]
        matrix[index, fourth:] = (w[:, None] * tail).T
        if fit.scene is not None:
            rows = fit.scene.rows(k).multiply((gain * w)[:, None])
            matrix[first:second, fourth:] += rows.T
    matrix[fourth:, :fourth] = matrix[:fourth, fourth:].T
