# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A flat that is believed to be smooth."""

from __future__ import annotations

import numpy as np

__all__ = ['smooth_flat']


def smooth_flat(
    log: np.ndarray, variance: np.ndarray, bad: np.ndarray, sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """
    Average over a Gaussian by information; constants stay constant.

    Parameters
    ----------
    log : `~numpy.ndarray`
        The logarithm of a flat.

    variance : `~numpy.ndarray`
        Its variance.

    bad : `~numpy.ndarray` of bool
        Pixels that do not count.

    sigma : float
        The standard deviation of the Gaussian in pixels.

    Returns
    -------
    log, variance : `~numpy.ndarray`
        Afterwards.
    """
    from scipy.ndimage import gaussian_filter

    weight = np.where(bad, 0, 1 / np.maximum(variance, 1e-12))
    # What is large bends at the borders, where a mean is one-sided.
    base = _polynomial(log, weight)
    total = np.maximum(gaussian_filter(weight, sigma), 1e-12)
    smooth = base + gaussian_filter(weight * (log - base), sigma) / total
    # White noise under a Gaussian of this width.
    fewer = max(1.0, 4 * np.pi * sigma**2)
    return smooth.astype(np.float32), variance / fewer


def _polynomial(log: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the polynomial of degree 4 through an image."""
    axes = [np.linspace(-1, 1, m) for m in log.shape]
    powers = [np.polynomial.legendre.legvander(a, 4) for a in axes]
    pairs = [(i, j) for i in range(5) for j in range(5 - i)]
    step = [max(1, m // 64) for m in log.shape]
    part = tuple(slice(s // 2, None, s) for s in step)
    terms = np.stack(
        [np.outer(powers[0][part[0], i], powers[1][part[1], j]) for i, j in pairs], -1
    )
    root = np.sqrt(weight[part] / max(float(weight.max()), 1e-30))
    fit, *_ = np.linalg.lstsq(
        (terms * root[..., None]).reshape(-1, len(pairs)),
        (log[part] * root).ravel(),
        rcond=None,
    )
    return sum(
        c * np.outer(powers[0][:, i], powers[1][:, j])
        for c, (i, j) in zip(fit, pairs, strict=True)
    )
