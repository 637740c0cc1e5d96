# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Smooth response of a detector from the same stars at many places."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

__all__ = [
    'StarData',
    'SmoothFit',
    'choose_degree',
    'drop_undetermined',
    'fit_response',
    'legendre_powers',
    'legendre_terms',
    'on_grid',
]

_CLIP = 4.0
_SWEEPS = 6
_FOLDS = 5
# By how many standard errors a higher degree has to be better.
_SIMPLER = 0.3
# A mode with a larger share of the variance of the prior is not determined.
_UNKNOWN = 0.3


@dataclass(frozen=True)
class StarData:
    """
    Relative photometry.

    Parameters
    ----------
    value, noise : `~numpy.ndarray`
        Natural logarithm of the flux and its standard deviation.

    star, frame : `~numpy.ndarray` of int
        Numbers without gaps.

    y, x : `~numpy.ndarray`
        Places on the detector, from -1 to 1.
    """

    value: np.ndarray
    noise: np.ndarray
    star: np.ndarray
    frame: np.ndarray
    y: np.ndarray
    x: np.ndarray

    def take(self, rows: np.ndarray) -> StarData:
        """Return some of the measurements; frames keep their numbers."""
        star = np.unique(self.star[rows], return_inverse=True)[1]
        return StarData(
            self.value[rows],
            self.noise[rows],
            star,
            self.frame[rows],
            self.y[rows],
            self.x[rows],
        )


@dataclass(frozen=True)
class SmoothFit:
    """
    A smooth response with its covariance.

    Parameters
    ----------
    powers : list of tuple of int
        The degrees in y and x of the terms.

    values : `~numpy.ndarray`
        Their coefficients in the logarithm of the response. The terms have a
        root mean square of 1 over the detector.

    covariance : `~numpy.ndarray`
        Their covariance; terms that the stars do not determine have the
        variance of the prior.

    zero : `~numpy.ndarray`
        The zero point of each frame.

    zero_sigma : `~numpy.ndarray`
        Their standard deviations.

    residual : `~numpy.ndarray`
        What is left of each measurement.

    used : `~numpy.ndarray` of bool
        False for outliers.

    excess : float
        The standard deviation beyond the noise.
    """

    powers: list[tuple[int, int]]
    values: np.ndarray
    covariance: np.ndarray
    zero: np.ndarray
    zero_sigma: np.ndarray
    residual: np.ndarray
    used: np.ndarray
    excess: float


def legendre_powers(degree: int) -> list[tuple[int, int]]:
    """
    Return the degrees in y and x of all terms but the constant.

    Parameters
    ----------
    degree : int
        The largest total degree.

    Returns
    -------
    powers : list of tuple of int
        Sorted by total degree.
    """
    return [(t - j, j) for t in range(1, degree + 1) for j in range(t + 1)]


def legendre_terms(
    y: np.ndarray, x: np.ndarray, powers: list[tuple[int, int]]
) -> np.ndarray:
    """
    Return products of Legendre polynomials, orthonormal over the detector.

    Parameters
    ----------
    y, x : `~numpy.ndarray`
        Coordinates from -1 to 1.

    powers : list of tuple of int
        The degrees in y and x.

    Returns
    -------
    terms : `~numpy.ndarray`
        The shape of the coordinates with one more axis.
    """
    from numpy.polynomial.legendre import legvander

    if not powers:
        return np.zeros((*np.shape(y), 0))
    top = max(max(p) for p in powers)
    norm = np.sqrt(2 * np.arange(top + 1) + 1)
    in_y, in_x = legvander(y, top) * norm, legvander(x, top) * norm
    return np.stack([in_y[..., i] * in_x[..., j] for i, j in powers], axis=-1)


def fit_response(
    data: StarData, degree: int, *, zero_prior: float, prior: float = 0.03
) -> SmoothFit:
    """
    Fit one number per star, one per frame, and a smooth response.

    Parameters
    ----------
    data : StarData
        The photometry.

    degree : int
        The total degree of the response.

    zero_prior : float
        The standard deviation of the zero points of the frames.

    prior : float, optional
        The standard deviation of the prior of each coefficient about 0.

    Returns
    -------
    fit : SmoothFit
        The result.
    """
    powers = legendre_powers(degree)
    n_frames = int(data.frame.max()) + 1
    terms = legendre_terms(data.y, data.x, powers)
    design = np.concatenate([np.eye(n_frames)[data.frame], terms], axis=1)
    ridge = np.repeat([zero_prior**-2, prior**-2], [n_frames, len(powers)])
    used, excess = np.ones(data.value.size, bool), 0.0
    for _ in range(_SWEEPS):
        weight = used / (data.noise**2 + excess**2 + 1e-14)
        matrix = _less_star_mean(design, weight, data.star)
        target = _less_star_mean(data.value[:, None], weight, data.star)[:, 0]
        normal = matrix.T @ (weight[:, None] * matrix) + np.diag(ridge)
        inverse = np.linalg.inv(normal)
        solution = inverse @ (matrix.T @ (weight * target))
        residual = target - matrix @ solution
        freedom = _freedom(weight, data.star, len(solution))
        excess = _excess(residual, data.noise, freedom)
        limit = _CLIP * np.sqrt(freedom * (data.noise**2 + excess**2) + 1e-14)
        used = np.abs(residual) < limit
    return SmoothFit(
        powers,
        solution[n_frames:],
        inverse[n_frames:, n_frames:],
        solution[:n_frames],
        np.sqrt(np.diag(inverse))[:n_frames],
        residual,
        used,
        excess,
    )


def _less_star_mean(
    columns: np.ndarray, weight: np.ndarray, star: np.ndarray
) -> np.ndarray:
    """Subtract the weighted mean of each star, which eliminates its magnitude."""
    from scipy.sparse import csr_array

    n = int(star.max()) + 1
    rows = np.arange(star.size)
    gather = csr_array((weight, (star, rows)), shape=(n, star.size))
    total = np.bincount(star, weight, minlength=n)
    mean = (gather @ columns) / np.maximum(total, 1e-300)[:, None]
    return columns - mean[star]


def _freedom(weight: np.ndarray, star: np.ndarray, n_common: int) -> np.ndarray:
    """Return the fraction of the variance that is left in each residual."""
    share = weight / np.maximum(np.bincount(star, weight)[star], 1e-300)
    return np.clip(1 - share - n_common / star.size, 0.05, 1)


def _excess(residual: np.ndarray, noise: np.ndarray, freedom: np.ndarray) -> float:
    """Return the scatter beyond the noise that is the most likely one."""
    from scipy.optimize import brentq

    square, variance = residual**2 / freedom, noise**2

    def score(extra: float) -> float:
        # Bright stars, with little noise, know best; outliers count 16 at most.
        total = variance + extra + 1e-14
        return float(np.mean((np.minimum(square / total, _CLIP**2) - 1) / total))

    top = float(square.max()) + 1e-12
    if score(0.0) <= 0 or score(top) >= 0:
        return 0.0
    return float(np.sqrt(brentq(score, 0.0, top, xtol=1e-14, rtol=1e-6)))


def choose_degree(
    data: StarData,
    max_degree: int,
    *,
    zero_prior: float,
    prior: float,
    rng: np.random.Generator,
) -> tuple[int, np.ndarray]:
    """
    Choose the degree by stars that were left out.

    Parameters
    ----------
    data : StarData
        The photometry.

    max_degree : int
        The largest degree to try.

    zero_prior, prior : float
        As in `fit_response`.

    rng : `~numpy.random.Generator`
        It distributes the stars over five groups.

    Returns
    -------
    degree : int
        The one with the smallest error, or a smaller one that is as good
        within the uncertainty of the difference.

    errors : `~numpy.ndarray`
        The mean squared, normalised error in the stars left out per degree.
    """
    n_stars = int(data.star.max()) + 1
    fold = rng.permutation(np.arange(n_stars) % _FOLDS)
    loss = np.zeros((max_degree + 1, n_stars))
    for degree in range(max_degree + 1):
        for k in range(_FOLDS):
            train = fold[data.star] != k
            fit = fit_response(
                data.take(train), degree, zero_prior=zero_prior, prior=prior
            )
            rows = np.flatnonzero(~train)
            loss[degree] += _star_loss(data, rows, fit, n_stars)
    errors = loss.mean(axis=1)
    best = int(np.argmin(errors))
    for degree in range(best):
        worse = loss[degree] - loss[best]
        if worse.mean() < _SIMPLER * worse.std(ddof=1) / np.sqrt(n_stars):
            return degree, errors
    return best, errors


def _star_loss(
    data: StarData, rows: np.ndarray, fit: SmoothFit, n_stars: int
) -> np.ndarray:
    """Return the squared error per star that a fit without it makes."""
    model = legendre_terms(data.y[rows], data.x[rows], fit.powers) @ fit.values
    value = data.value[rows] - model - fit.zero[data.frame[rows]]
    variance = data.noise[rows] ** 2 + 1e-8
    star = data.star[rows]
    rest = _less_star_mean(value[:, None], 1 / variance, star)[:, 0]
    # A variable star or a blend must not decide.
    return np.bincount(star, np.minimum(rest**2 / variance, 25), minlength=n_stars)


def drop_undetermined(fit: SmoothFit, prior: float) -> tuple[SmoothFit, int]:
    """
    Leave modes at 0 that the stars do not determine.

    Parameters
    ----------
    fit : SmoothFit
        The fit.

    prior : float
        The standard deviation of the prior.

    Returns
    -------
    fit : SmoothFit
        Modes with an uncertainty of more than 0.3 priors are 0, and have the
        uncertainty of the prior.

    n : int
        Their number.
    """
    if not fit.powers:
        return fit, 0
    variance, modes = np.linalg.eigh(fit.covariance)
    lost = modes[:, variance > (_UNKNOWN * prior) ** 2]
    values = fit.values - lost @ (lost.T @ fit.values)
    kept = np.where(variance > (_UNKNOWN * prior) ** 2, prior**2, variance)
    covariance = (modes * kept) @ modes.T
    return replace(fit, values=values, covariance=covariance), lost.shape[1]


def on_grid(
    fit: SmoothFit, shape: tuple[int, int], size: int = 48
) -> tuple[np.ndarray, np.ndarray]:
    """
    Evaluate a fit on the pixels.

    Parameters
    ----------
    fit : SmoothFit
        The fit.

    shape : tuple of int
        The shape of the detector.

    size : int, optional
        The number of points along each axis at which the uncertainty is
        calculated.

    Returns
    -------
    image : `~numpy.ndarray`
        The logarithm of the response, of mean 0.

    sigma : `~numpy.ndarray`
        Its standard deviation.
    """
    from numpy.polynomial.legendre import leggrid2d
    from scipy import ndimage

    if not fit.powers:
        return np.zeros(shape), np.zeros(shape)
    top = max(max(p) for p in fit.powers)
    matrix = np.zeros((top + 1, top + 1))
    for (i, j), value in zip(fit.powers, fit.values, strict=True):
        matrix[i, j] = value * np.sqrt((2 * i + 1) * (2 * j + 1))
    y, x = ((2 * np.arange(n) + 1 - n) / n for n in shape)
    image = leggrid2d(y, x, matrix)
    points = np.linspace(-1, 1, size)
    terms = legendre_terms(*np.meshgrid(points, points, indexing='ij'), fit.powers)
    variance = np.einsum('yxi,ij,yxj->yx', terms, fit.covariance, terms)
    grid = np.meshgrid(*((a + 1) / 2 * (size - 1) for a in (y, x)), indexing='ij')
    sigma = ndimage.map_coordinates(np.sqrt(variance), grid, order=1, mode='nearest')
    return image - image.mean(), sigma
