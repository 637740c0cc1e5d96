# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Values that are a number per row plus a number per column plus scatter."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ['TwoWayFit', 'excess_scatter', 'fit_two_way']

# The median of the square of a standard normal variable.
_MEDIAN_CHI2 = 0.45493642311957283
_CLIP = 4.0
_MAX_SWEEPS = 30


@dataclass(frozen=True)
class TwoWayFit:
    """
    A fit of one number per star and one per frame.

    Parameters
    ----------
    residual : `~numpy.ndarray`
        What is left of each value.

    noise : `~numpy.ndarray`
        The standard deviation that each value came with.

    freedom : `~numpy.ndarray`
        The fraction of the variance that the fit leaves in each residual.

    used : `~numpy.ndarray` of bool
        False for outliers.

    excess : float
        The standard deviation beyond the noise.

    star : `~numpy.ndarray`
        The star of each value.
    """

    residual: np.ndarray
    noise: np.ndarray
    freedom: np.ndarray
    used: np.ndarray
    excess: float
    star: np.ndarray

    def interval(
        self, confidence: float, rng: np.random.Generator, n: int = 200
    ) -> tuple[float, float]:
        """
        Return a confidence interval of the excess by resampling stars.

        Parameters
        ----------
        confidence : float
            The probability that the interval holds the true value.

        rng : `~numpy.random.Generator`
            The random numbers.

        n : int, optional
            The number of samples.

        Returns
        -------
        low, high : float
            The interval.
        """
        members = _groups(self.star)
        values = np.empty(n)
        for i in range(n):
            chosen = rng.integers(0, len(members), len(members))
            rows = np.concatenate([members[k] for k in chosen])
            values[i] = excess_scatter(
                self.residual[rows], self.noise[rows], self.freedom[rows]
            )
        tail = 50 * (1 - confidence)
        low, high = np.percentile(values, [tail, 100 - tail])
        return float(low), float(high)


def fit_two_way(
    value: np.ndarray, noise: np.ndarray, star: np.ndarray, frame: np.ndarray
) -> TwoWayFit:
    """
    Fit one number per star and one per frame, and find the excess scatter.

    Parameters
    ----------
    value, noise : `~numpy.ndarray`
        The values and their standard deviations.

    star, frame : `~numpy.ndarray` of int
        The star and the frame of each value.

    Returns
    -------
    fit : TwoWayFit
        Residuals, outliers and the excess scatter.

    Notes
    -----
    Least squares with the weight ``1 / (noise^2 + excess^2)``, in which values
    off by more than four standard deviations have none. Weights, outliers
    and excess are iterated. The freedom of a residual is the one of a
    complete table of stars and frames with the same sums of weights.
    """
    star = np.unique(star, return_inverse=True)[1]
    frame = np.unique(frame, return_inverse=True)[1]
    # Means would spread an outlier over all values of its star.
    residual = _polish(value, star, frame)
    freedom = _freedom(np.ones(value.size), star, frame)
    excess = excess_scatter(residual, noise, freedom)
    for _ in range(_MAX_SWEEPS):
        last = excess
        sigma = np.sqrt(freedom * (noise**2 + excess**2) + 1e-12)
        used = np.abs(residual) < _CLIP * sigma
        weight = used / (noise**2 + excess**2 + 1e-12)
        residual = value - _solve(value, weight, star, frame)
        freedom = _freedom(weight, star, frame)
        # Half of the step: weights and excess can swing against each other.
        excess = (last + excess_scatter(residual, noise, freedom)) / 2
        if abs(excess - last) <= 1e-4 * excess:
            break
    return TwoWayFit(residual, noise, freedom, used, excess, star)


def excess_scatter(
    residual: np.ndarray, noise: np.ndarray, freedom: np.ndarray
) -> float:
    """
    Return the standard deviation that residuals have beyond their noise.

    Parameters
    ----------
    residual, noise : `~numpy.ndarray`
        Residuals and their standard deviations without the excess.

    freedom : `~numpy.ndarray`
        The fraction of the variance that is in each residual.

    Returns
    -------
    excess : float
        At which the median of the squared, normalised residuals is that of a
        normal distribution; 0 if the noise alone explains them.
    """
    square = residual**2 / freedom
    variance = noise**2

    def surplus(excess_squared: float) -> float:
        ratio = square / np.maximum(variance + excess_squared, 1e-300)
        return float(np.median(ratio)) - _MEDIAN_CHI2

    if surplus(0.0) <= 0:
        return 0.0
    from scipy.optimize import brentq

    # With this excess no residual is larger than its standard deviation.
    top = float(square.max()) / _MEDIAN_CHI2
    return math.sqrt(brentq(surplus, 0.0, top, rtol=1e-9))


def _polish(value: np.ndarray, star: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Return values less medians per star and per frame, in turn."""
    residual = value.astype(np.float64)
    for _ in range(3):
        for labels in (star, frame):
            for rows in _groups(labels):
                residual[rows] -= np.median(residual[rows])
    return residual


def _solve(
    value: np.ndarray, weight: np.ndarray, star: np.ndarray, frame: np.ndarray
) -> np.ndarray:
    """Return the weighted least-squares sum of both numbers for each value."""
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import lsqr

    n_star, n = int(star.max()) + 1, value.size
    columns = np.column_stack([star, n_star + frame]).ravel()
    rows = np.repeat(np.arange(n), 2)
    matrix = csr_array((np.ones(2 * n), (rows, columns)))
    root = np.sqrt(weight)
    # The mean is in the null space of nothing: taking it out is better rounding.
    middle = np.median(value)
    scaled = matrix.multiply(root[:, None]).tocsr()
    target = root * (value - middle)
    solution = lsqr(scaled, target, atol=1e-12, btol=1e-12, iter_lim=2000)[0]
    return matrix @ solution + middle


def _freedom(weight: np.ndarray, star: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Return the fraction of the variance that the fit leaves."""
    of_star = np.bincount(star, weight)[star]
    of_frame = np.bincount(frame, weight)[frame]
    share = weight / np.maximum(of_star, 1e-300)
    share += weight / np.maximum(of_frame, 1e-300) - weight / weight.sum()
    return np.clip(1 - share, 0.05, 1)


def _groups(labels: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each label."""
    order = np.argsort(labels, kind='stable')
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
