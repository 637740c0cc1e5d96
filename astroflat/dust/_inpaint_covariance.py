# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""How alike two pixels are at a given distance, learnt from an image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

__all__ = ['Covariance', 'candidates', 'pixel_noise', 'semivariogram']

#: Separations, in pixels, at which pairs are compared.
LAGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)

#: Correlation lengths, in pixels, of the terms that are tried.
LENGTHS = (1.5, 3.0, 6.0, 12.0, 24.0, 48.0, 96.0)

#: Shapes of the correlation: surfaces with one derivative, and with all.
FAMILIES = ('matern32', 'gaussian')


@dataclass(frozen=True)
class Covariance:
    """
    A stationary, isotropic covariance: white noise and a sum of smooth terms.

    Parameters
    ----------
    noise : float
        The variance of the white noise of one pixel.

    sills : tuple of float
        The variances of the smooth terms.

    lengths : tuple of float
        Their correlation lengths in pixels.

    family : str
        The shape of the correlation of all terms.
    """

    noise: float
    sills: tuple[float, ...] = ()
    lengths: tuple[float, ...] = ()
    family: str = 'matern32'

    @property
    def sill(self) -> float:
        """The variance of the surface without the noise."""
        return float(sum(self.sills))

    def between(
        self,
        distance: np.ndarray,
        size_a: np.ndarray,
        size_b: np.ndarray,
    ) -> np.ndarray:
        """
        Return the covariance of the surface's means over square blocks.

        Parameters
        ----------
        distance : `~numpy.ndarray`
            Separations of the block centres in pixels, ``(n_a, n_b)``.

        size_a, size_b : `~numpy.ndarray` of int
            Sides of the blocks in pixels, ``(n_a,)`` and ``(n_b,)``.

        Returns
        -------
        covariance : `~numpy.ndarray`
            Without the white noise.

        Notes
        -----
        Averaging over a block takes away part of the variance of a term that
        is shorter than the block. Scaling both sides by the root of what is
        left is exact at zero distance and keeps the matrix positive.
        """
        result = np.zeros(distance.shape)
        for sill, length in zip(self.sills, self.lengths, strict=True):
            left = _block_share(size_a, length, self.family)
            right = _block_share(size_b, length, self.family)
            term = _correlation(distance / length, self.family)
            term *= (sill * left)[..., None]
            term *= right
            result += term
        return result


def candidates(
    lags: np.ndarray, gamma: np.ndarray, pairs: np.ndarray, *, noise: float
) -> list[Covariance]:
    """
    Fit one covariance of each family to a semivariogram.

    Parameters
    ----------
    lags, gamma, pairs : `~numpy.ndarray`
        As from `semivariogram`.

    noise : float
        An independent estimate of the variance of the white noise. Half of
        it is the least that a fit may find: a smooth family could otherwise
        take the noise for structure, and interpolate it.

    Returns
    -------
    covariances : list of Covariance
        The fits, and one of noise alone.

    Notes
    -----
    A sum of terms with fixed lengths and free, non-negative variances makes
    the fit linear: no start values, no local minimum. The weights are those
    of Cressie, pairs over the square of the semivariance.

    References
    ----------
    .. [1] Cressie, N. 1985, Mathematical Geology, 17, 563,
       https://doi.org/10.1007/BF01032109
    """
    level = float(gamma.max(initial=0.0))
    flat = max(noise, float(np.average(gamma, weights=pairs))) if level else noise
    found = [Covariance(flat)]
    if not level:
        return found
    lengths = np.array([length for length in LENGTHS if length <= lags[-1]])
    weights = np.sqrt(pairs) / np.maximum(gamma / level, 1e-6)
    weights /= weights.max()
    for family in FAMILIES:
        rises = 1.0 - _correlation(lags[:, None] / lengths, family)
        design = np.column_stack([np.ones_like(gamma), rises])
        values = _solve(design * weights[:, None], gamma / level * weights) * level
        used = values[1:] > 0
        if used.any():
            nugget = max(values[0], 0.5 * noise, 1e-5 * values[1:].sum())
            terms = tuple(values[1:][used]), tuple(lengths[used].tolist())
            found.append(Covariance(nugget, *terms, family))
    return found


def semivariogram(
    residual: np.ndarray, known: np.ndarray, longest: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Return half the mean squared difference of pixels against their distance.

    Parameters
    ----------
    residual : `~numpy.ndarray`
        The image less its trend; finite everywhere.

    known : `~numpy.ndarray` of bool
        The pixels to use.

    longest : float
        The longest separation in pixels.

    Returns
    -------
    lags, gamma, pairs : `~numpy.ndarray`
        Separations with at least 16 pairs along the rows and columns.
    """
    rows = []
    for lag in LAGS:
        if lag > longest:
            break
        total = count = 0.0
        for image, good in ((residual, known), (residual.T, known.T)):
            both = good[lag:] & good[:-lag]
            step = (image[lag:] - image[:-lag])[both]
            total += float(step @ step)
            count += step.size
        if count >= 16:
            rows.append((lag, 0.5 * total / count, count))
    return tuple(np.array(rows, dtype=float).reshape(-1, 3).T)


def pixel_noise(image: np.ndarray, known: np.ndarray) -> float:
    """
    Return the standard deviation of the white noise of an image.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The image; values that are not known do not matter.

    known : `~numpy.ndarray` of bool
        The pixels to use.

    Returns
    -------
    sigma : float
        From the median absolute third difference along rows and columns,
        which any quadratic surface leaves at zero; 0 if there are no four
        known pixels in a row.
    """
    steps = []
    for a, good in ((image, known), (image.T, known.T)):
        valid = good[3:] & good[2:-1] & good[1:-2] & good[:-3]
        steps.append((a[3:] - a[:-3] + 3 * (a[1:-2] - a[2:-1]))[valid])
    steps = np.abs(np.concatenate(steps))
    # 20 is the sum of the squares of the weights 1, 3, 3, 1.
    return float(1.4826 * np.median(steps) / np.sqrt(20)) if steps.size else 0.0


def _correlation(x: np.ndarray, family: str) -> np.ndarray:
    """Return the correlation at a distance in units of the length."""
    if family == 'gaussian':
        return np.exp(-0.5 * x * x)
    x = np.sqrt(3.0) * x
    return (1.0 + x) * np.exp(-x)


def _block_share(size: np.ndarray, length: float, family: str) -> np.ndarray:
    """Return the share of a term's deviation that means over blocks keep."""
    sides, index = np.unique(size, return_inverse=True)
    return np.array([_share(int(side), length, family) for side in sides])[index]


@lru_cache(maxsize=4096)
def _share(side: int, length: float, family: str) -> float:
    """Return the same for one block."""
    offset = np.linspace(0, side - 1, min(side, 8))
    gap = np.abs(offset[:, None] - offset)
    gaps = np.hypot(gap[:, :, None, None], gap)
    return float(np.sqrt(_correlation(gaps / length, family).mean()))


def _solve(design: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Solve non-negative least squares; all zero where it does not converge."""
    from scipy.optimize import nnls

    try:
        return nnls(design, values)[0]
    except RuntimeError:
        return np.zeros(design.shape[1])
