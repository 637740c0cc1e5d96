# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Universal kriging of one hole from the pixels around it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from astroflat.dust._inpaint_covariance import (
    Covariance,
    candidates,
    pixel_noise,
    semivariogram,
)

__all__ = ['krige', 'ring_width']

#: The hole is resolved by this many blocks along its radius.
BLOCKS_PER_RADIUS = 8

#: Blocks double in size every so many blocks.
GROWTH = 1.5

#: More points than this are merged into larger blocks.
MAX_POINTS = 600

#: Pixels this many robust deviations off the trend, and alone, are spikes.
SPIKE = 5.0


class _Points(NamedTuple):
    """Means of the known pixels over blocks that grow with the distance."""

    y: np.ndarray
    x: np.ndarray
    value: np.ndarray
    count: np.ndarray
    size: np.ndarray
    terms: np.ndarray


def ring_width(depth: float) -> int:
    """
    Return how far around a hole pixels are used.

    Parameters
    ----------
    depth : float
        The largest distance of a pixel of the hole from its edge.

    Returns
    -------
    width : int
        In pixels: twice the depth, at least 32 and at most 128.
    """
    return int(np.clip(np.ceil(2 * depth), 32, 128))


def krige(
    data: np.ndarray,
    target: np.ndarray,
    known: np.ndarray,
    *,
    ring: int,
    degree: int = 2,
    smooth_terms: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """
    Predict the noise-free values of the pixels of a hole.

    Parameters
    ----------
    data : `~numpy.ndarray`
        A window around the hole, float64.

    target, known : `~numpy.ndarray` of bool
        The pixels to predict and the pixels to learn from.

    ring : int
        How far from the hole pixels are used.

    degree : int, optional
        The degree of the polynomial trend.

    smooth_terms : bool, optional
        Whether to add a Gaussian process to the trend.

    Returns
    -------
    values, sigma : `~numpy.ndarray`
        The prediction and its standard deviation for the pixels of
        ``target`` in C order; NaN if nothing is known.
    """
    from scipy.ndimage import distance_transform_edt as edt

    depth = float(edt(np.pad(target, 1)).max())
    distance = edt(~target)
    known = known & (distance <= ring)
    degree = _affordable(degree, int(known.sum()))
    if degree < 0:
        return np.full((2, int(target.sum())), np.nan)
    # Of order one, so that nothing below depends on the unit of the image.
    level = float(np.abs(data[known]).mean()) or 1.0
    data = np.where(known, data / level, 0.0)
    trend = _Trend(target, ring + depth, degree)
    known = known & ~_spikes(data, known, trend)
    block = max(1, round(depth / BLOCKS_PER_RADIUS))
    points = _gather(data, known, distance, block, trend)
    trend.orthogonalise(points.terms)
    distances = _distances(points.y, points.x, points)
    fits = [
        _Fit(points, covariance, distances, trend)
        for covariance in _covariances(data, target, known, smooth_terms=smooth_terms)
    ]
    best = max(fits, key=lambda fit: fit.evidence)
    values, sigma = _predict_pixels(best, target, block)
    return level * values, level * sigma


class _Trend:
    """Polynomials of the position relative to a hole."""

    def __init__(self, target: np.ndarray, scale: float, degree: int) -> None:
        self.centre = [float(part.mean()) for part in np.nonzero(target)]
        self.scale = float(scale)
        self.powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
        self.mixing = np.eye(len(self.powers))

    def __call__(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the terms at some places, one column each."""
        y, x = (y - self.centre[0]) / self.scale, (x - self.centre[1]) / self.scale
        return np.stack([y**i * x**j for i, j in self.powers], axis=-1) @ self.mixing

    def orthogonalise(self, terms: np.ndarray) -> None:
        """Mix the terms so that they are orthogonal, and drop undetermined ones."""
        _, size, axes = np.linalg.svd(terms, full_matrices=False)
        used = size > 1e-6 * size[0]
        self.mixing = axes[used].T / size[used]


class _Fit:
    """A Gaussian process with a polynomial trend, conditioned on points."""

    def __init__(
        self,
        points: _Points,
        covariance: Covariance,
        distances: np.ndarray,
        trend: _Trend,
    ) -> None:
        from scipy.linalg import cholesky, solve_triangular

        self.points, self.covariance, self.trend = points, covariance, trend
        matrix = covariance.between(distances, points.size, points.size)
        matrix[np.diag_indices_from(matrix)] += covariance.noise / points.count
        self.lower = cholesky(matrix, lower=True, check_finite=False)
        self.basis = self._whiten(points.terms @ trend.mixing)
        values = self._whiten(points.value)
        q, r = np.linalg.qr(self.basis)
        self.inverse = solve_triangular(r, np.eye(len(r)))
        self.coefficients = self.inverse @ (q.T @ values)
        self.rest = values - self.basis @ self.coefficients
        self.freedom = max(1, len(values) - len(r))
        self.scale = float(self.rest @ self.rest) / self.freedom
        self.evidence = self._evidence(r)

    def _evidence(self, r: np.ndarray) -> float:
        """Return the restricted log likelihood less one per smooth term."""
        determinants = (
            np.log(np.diag(self.lower)).sum() + np.log(np.abs(np.diag(r))).sum()
        )
        tiny = np.finfo(float).tiny
        likelihood = -0.5 * self.freedom * np.log(self.scale + tiny) - determinants
        return likelihood - 2 * len(self.covariance.sills)

    def _whiten(self, values: np.ndarray) -> np.ndarray:
        from scipy.linalg import solve_triangular

        return solve_triangular(self.lower, values, lower=True, check_finite=False)

    def predict(self, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the values and variances, without the noise, at some places."""
        p = self.points
        distance = _distances(y, x, p)
        cross = self.covariance.between(distance, np.ones(len(y), dtype=int), p.size)
        weights = self._whiten(cross.T)
        basis = self.trend(y, x)
        values = basis @ self.coefficients + weights.T @ self.rest
        lever = (basis - weights.T @ self.basis) @ self.inverse
        variance = self.covariance.sill - (weights**2).sum(0) + (lever**2).sum(1)
        return values, np.maximum(variance, 0) * self.scale


def _predict_pixels(
    fit: _Fit, target: np.ndarray, block: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return values and standard deviations of the pixels of a hole."""
    y, x = np.nonzero(target)
    if block == 1:
        values, variance = fit.predict(y, x)
        return values, np.sqrt(variance)
    # Nothing finer than the blocks can be predicted: nodes are enough.
    from scipy.interpolate import RectBivariateSpline

    rows = np.arange(y.min() - block, y.max() + 2 * block, block, dtype=float)
    columns = np.arange(x.min() - block, x.max() + 2 * block, block, dtype=float)
    grid = np.meshgrid(rows, columns, indexing='ij')
    nodes = grid[0].ravel(), grid[1].ravel()
    values, variance = fit.predict(*nodes)
    shape = grid[0].shape
    smooth = RectBivariateSpline(rows, columns, values.reshape(shape))
    sigma = np.sqrt(variance).reshape(shape)
    linear = RectBivariateSpline(rows, columns, sigma, kx=1, ky=1)
    return smooth(y, x, grid=False), linear(y, x, grid=False)


def _distances(y: np.ndarray, x: np.ndarray, points: _Points) -> np.ndarray:
    """Return the distances of places, one row each, from all points."""
    square = (y[:, None] - points.y) ** 2
    square += (x[:, None] - points.x) ** 2
    # Several times faster than hypot, whose care for overflow is not needed.
    return np.sqrt(square, out=square)


def _affordable(degree: int, n_known: int) -> int:
    """Return the highest degree that the known pixels can carry, -1 for none."""
    while degree >= 0 and n_known < 2 * (degree + 1) * (degree + 2):
        degree -= 1
    return degree


def _spikes(data: np.ndarray, known: np.ndarray, trend: _Trend) -> np.ndarray:
    """Return lone pixels that are far off a robustly fitted trend."""
    from scipy.ndimage import binary_opening

    terms, values = trend(*np.nonzero(known)), data[known]
    weight = np.ones(values.size)
    for _ in range(6):
        rest = values - terms @ _least_squares(terms, values, weight)
        # Rounding must not pass for structure where the fit is perfect.
        limit = SPIKE * 1.4826 * np.median(np.abs(rest)) + 1e-12
        new = np.clip(1 - (rest / limit) ** 2, 0, 1) ** 2
        if np.abs(new - weight).max() < 0.01:
            break
        weight = new
    far = np.zeros(data.shape, dtype=bool)
    far[known] = np.abs(rest) > limit
    return far & ~binary_opening(far, np.ones((2, 2))) if far.any() else far


def _least_squares(
    terms: np.ndarray, values: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """Solve the normal equations of a few terms of order one."""
    weighted = (terms * weight[:, None]).T
    ridge = 1e-12 * values.size * np.eye(terms.shape[1])
    return np.linalg.solve(weighted @ terms + ridge, weighted @ values)


def _gather(
    data: np.ndarray,
    known: np.ndarray,
    distance: np.ndarray,
    block: int,
    trend: _Trend,
) -> _Points:
    """Average the known pixels over blocks that double with the distance."""
    y, x = np.nonzero(known)
    far = distance[known] - 1
    while True:
        band = np.log2(1 + far / (GROWTH * block)).astype(np.int64)
        size = block << band
        key = (band << 48) | ((y // size) << 24) | (x // size)
        first, index = np.unique(key, return_index=True, return_inverse=True)[1:]
        if len(first) <= MAX_POINTS:
            break
        block += max(1, block // 3)
    count = np.bincount(index)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(index, values) / count

    # Curved terms are averaged like the pixels, not taken at the mean place.
    terms = np.stack([mean(term) for term in trend(y, x).T], axis=-1)
    return _Points(mean(y), mean(x), mean(data[known]), count, size[first], terms)


def _covariances(
    data: np.ndarray, target: np.ndarray, known: np.ndarray, *, smooth_terms: bool
) -> list[Covariance]:
    """Return the covariances to choose from; white noise is always one."""
    # A surface without any noise would make the matrix singular.
    noise = max(pixel_noise(data, known) ** 2, 1e-14)
    longest = 0.5 * max(known.shape)
    # A curved trend would take most of a texture's long waves with it. What a
    # plane leaves of a curved trend does no harm: the likelihood knows better.
    plane = _Trend(target, max(known.shape), 1)
    terms, values = plane(*np.nonzero(known)), data[known]
    residual = np.zeros(data.shape)
    fit = _least_squares(terms, values, np.ones(values.size))
    residual[known] = values - terms @ fit
    lags = semivariogram(residual, known, longest)
    if not lags[0].size:
        return [Covariance(noise)]
    found = candidates(*lags, noise=noise)
    return found if smooth_terms else found[:1]
