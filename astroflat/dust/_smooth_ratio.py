# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Average the noise of a transmission away, but not its edges."""

from __future__ import annotations

import numpy as np

from astroflat.dust._inpaint_windows import grow_box, holes, inner_box

__all__ = ['smooth_ratio']

#: Width in pixels of the mean in which structure is looked for.
FINE = 0.7

#: Structure is what exceeds this many times the variance of that mean.
THRESHOLD = 2.0


def smooth_ratio(
    ratio: np.ndarray, where: np.ndarray, variance: np.ndarray, sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """
    Smooth a ratio of two images inside a mask as far as it is noise.

    Parameters
    ----------
    ratio : `~numpy.ndarray`
        The ratio, float64.

    where : `~numpy.ndarray` of bool
        The pixels to average over; the others are returned as they are.

    variance : `~numpy.ndarray`
        The variance of the noise of the logarithm of the ratio.

    sigma : float
        The width of the Gaussian in pixels.

    Returns
    -------
    smoothed : `~numpy.ndarray`
        The result; without noise, the ratio itself.

    share : `~numpy.ndarray`
        The share of the variance that is left.

    Notes
    -----
    Each pixel moves towards the mean of its neighbours by the share of the
    noise in the local variance [1]_. The variance is that of a slightly
    smoothed image, in which shallow edges stand out from the noise better.

    References
    ----------
    .. [1] Lee, J.-S. 1980, IEEE Transactions on Pattern Analysis and Machine
       Intelligence, 2, 165, https://doi.org/10.1109/TPAMI.1980.4766994
    """
    smoothed, share = ratio.copy(), np.ones(ratio.shape)
    where = where & (ratio > 0)
    margin = int(np.ceil(6 * max(sigma, FINE)))
    for hole in holes(where):
        box = grow_box(hole.box, margin, ratio.shape)
        results = _smooth_window(ratio[box], where[box], variance[box], sigma)
        inner = inner_box(hole.box, box)
        for whole, part in zip((smoothed, share), results, strict=True):
            whole[hole.box][hole.member] = part[inner][hole.member]
    return smoothed, share


def _smooth_window(
    ratio: np.ndarray, where: np.ndarray, variance: np.ndarray, sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """Smooth one window; values outside the mask do not matter."""
    weight = where.astype(float)
    logarithm = np.log(np.where(where, ratio, 1.0))
    mean = _mean(logarithm, weight, sigma)
    structure = _mean((_mean(logarithm, weight, FINE) - mean) ** 2, weight, 1.0)
    noise = THRESHOLD * _mean(variance, weight, sigma) / (4 * np.pi * FINE**2)
    kept = np.clip(1.0 - noise / np.maximum(structure, 1e-300), 0.0, 1.0)
    kept[noise == 0] = 1.0
    # Noise of the mean, and its covariance with the pixel in the middle.
    of_mean, common = 1 / (4 * np.pi * sigma**2), 1 / (2 * np.pi * sigma**2)
    lost = 1.0 - kept
    share = kept**2 + 2 * kept * lost * common + lost**2 * of_mean
    smoothed = np.where(kept == 1.0, ratio, np.exp(mean + kept * (logarithm - mean)))
    return smoothed, np.minimum(share, 1.0)


def _mean(image: np.ndarray, weight: np.ndarray, sigma: float) -> np.ndarray:
    """Return the Gaussian mean over the pixels of a mask."""
    from scipy.ndimage import gaussian_filter

    total = gaussian_filter(image * weight, sigma, mode='constant', truncate=3)
    norm = gaussian_filter(weight, sigma, mode='constant', truncate=3)
    return total / np.maximum(norm, 1e-12)
