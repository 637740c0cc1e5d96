# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A smooth function of the place through scattered values, outliers left out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

__all__ = ['SmoothMap', 'fit_map', 'n_terms']

_CLIP, _LEAST = 4.0, 0.03
# How far off a star may count, over the median of all.
_WORST = 0.3
# A cell with fewer stars leans on the polynomial.
_SHRINK = 3.0


def n_terms(degree: int) -> int:
    """
    Return how many coefficients a polynomial in two variables has.

    Parameters
    ----------
    degree : int
        Its total degree.

    Returns
    -------
    n : int
        Number of coefficients.
    """
    return (degree + 1) * (degree + 2) // 2


@dataclass(frozen=True)
class SmoothMap:
    """
    Several quantities as functions of the place.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the image.

    degree : int
        Total degree of the polynomials.

    coefficients : ndarray
        ``(n_terms, n_quantities)``.

    covariance : ndarray
        Of the coefficients for residuals of unit variance.

    scatter : ndarray
        Standard deviation of the residuals of each quantity.

    limits : tuple of float
        ``x0, x1, y0, y1``: what the stars cover. Places outside take the value
        of the nearest edge, because polynomials run away there.

    grid : ndarray or None
        What is added in cells, ``(n_quantities, ny, nx)``.

    counts : ndarray or None
        Stars in the cells, ``(ny, nx)``.

    prediction : float
        Mean square error with which the first quantity of a star is predicted from
        all others.

    floor, ceiling : float
        What the first quantity is held between.
    """

    shape: tuple[int, int]
    degree: int
    coefficients: np.ndarray
    covariance: np.ndarray
    scatter: np.ndarray
    limits: tuple[float, float, float, float]
    grid: np.ndarray | None = None
    counts: np.ndarray | None = None
    prediction: float = 0.0
    floor: float = -np.inf
    ceiling: float = np.inf

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the quantities at some places, with the quantity first."""
        values = self._terms(x, y) @ self.coefficients
        result = np.moveaxis(values, -1, 0)
        if self.grid is not None:
            cells = [self._in_cells(plane, x, y) for plane in self.grid]
            result = result + np.stack(cells)
        # Where there are few stars, a polynomial may leave what was measured.
        factor = np.clip(result[0], self.floor, self.ceiling) / result[0]
        return np.where(factor > 0, result * factor, self._nothing(result))

    def _nothing(self, result: np.ndarray) -> np.ndarray:
        """Return the smallest value of the first quantity, and 0 for the others."""
        held = np.zeros_like(result)
        held[0] = self.floor
        return held

    def error(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the standard deviations of the quantities, quantity first."""
        terms = self._terms(x, y)
        factor = np.einsum('...i,ij,...j->...', terms, self.covariance, terms)
        if self.counts is not None:
            factor = factor + self._in_cells(1 / (self.counts + _SHRINK), x, y)
        return self.scatter.reshape(-1, *(1,) * factor.ndim) * np.sqrt(factor)

    def _terms(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the products of powers of the place."""
        x0, x1, y0, y1 = self.limits
        return _powers(
            np.clip(x, x0, x1), np.clip(y, y0, y1), self.shape, degree=self.degree
        )

    def _in_cells(self, plane: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Interpolate between the middles of the cells."""
        from scipy.ndimage import map_coordinates

        places = [
            (np.asarray(value, dtype=np.float64) + 0.5) / side * n - 0.5
            for value, side, n in zip((y, x), self.shape, plane.shape, strict=True)
        ]
        places = np.stack(np.broadcast_arrays(*places))
        flat = places.reshape(2, -1)
        values = map_coordinates(plane, flat, order=1, mode='nearest')
        return values.reshape(places.shape[1:])


def fit_map(
    x: np.ndarray,
    y: np.ndarray,
    values: np.ndarray,
    *,
    weights: np.ndarray,
    shape: tuple[int, int],
    degree: int,
    grid: tuple[int, int] | None = None,
) -> tuple[SmoothMap, np.ndarray]:
    """
    Fit quantities as smooth functions of the place.

    Parameters
    ----------
    x, y : ndarray
        Places of the stars.

    values : ndarray
        ``(n_stars, n_quantities)``.

    weights : ndarray
        Weights of the stars.

    shape : tuple of int
        ``(ny, nx)`` of the image.

    degree : int
        Total degree of the polynomials.

    grid : tuple of int, optional
        Cells along y and x, in which what the polynomials leave is averaged.

    Returns
    -------
    smooth : SmoothMap
        The functions.

    used : ndarray of bool
        The stars that are not outliers.
    """
    terms = _powers(x, y, shape, degree=degree)
    used = _in_bulk(values)
    for _ in range(8):
        coefficients, covariance = _solve(terms[used], values[used], weights[used])
        left = values - terms @ coefficients
        # The median does not see the outliers that the mean follows. What is less
        # off than the smooth function may be itself is none.
        spread = 1.4826 * np.median(np.abs(left[used]), axis=0)
        spread = np.maximum(spread, _LEAST * float(np.median(values[:, 0])))
        keep = (np.abs(left) <= _CLIP * spread).all(axis=1)
        if keep.sum() < max(terms.shape[1] + 1, 0.5 * len(x)) or (keep == used).all():
            break
        used = keep
    smooth = SmoothMap(
        shape,
        degree,
        coefficients,
        covariance,
        _scatter(left[used], weights[used], terms.shape[1]),
        (x[used].min(), x[used].max(), y[used].min(), y[used].max()),
        prediction=_press(
            terms,
            left[:, 0],
            weights,
            covariance,
            used,
            _WORST * float(np.median(values[:, 0])),
        ),
        floor=0.8 * values[used, 0].min(),
        ceiling=1.25 * values[used, 0].max(),
    )
    if grid is None:
        return smooth, used
    return _with_cells(smooth, x[used], y[used], left[used], grid), used


def _powers(
    x: np.ndarray, y: np.ndarray, shape: tuple[int, int], *, degree: int
) -> np.ndarray:
    """Return the powers of the place, -1 to 1 along the longer side."""
    half = max(shape) / 2
    u = (np.asarray(x, dtype=np.float64) - (shape[1] - 1) / 2) / half
    v = (np.asarray(y, dtype=np.float64) - (shape[0] - 1) / 2) / half
    u, v = np.broadcast_arrays(u, v)
    pairs = [(i, n - i) for n in range(degree + 1) for i in range(n + 1)]
    return np.stack([u**i * v**j for i, j in pairs], axis=-1)


def _in_bulk(values: np.ndarray) -> np.ndarray:
    """Tell which stars are not far from all others, whatever their place."""
    first = values[:, 0]
    middle = np.median(first)
    spread = 1.4826 * np.median(np.abs(first - middle)) + 0.05 * abs(middle)
    return np.abs(first - middle) <= 6 * spread


def _press(
    terms: np.ndarray,
    left: np.ndarray,
    weights: np.ndarray,
    covariance: np.ndarray,
    used: np.ndarray,
    worst: float,
) -> float:
    """Return how far off stars are predicted by a fit without them, mean square."""
    relative = weights / weights[used].mean()
    leverage = relative * np.einsum('ni,ij,nj->n', terms, covariance, terms)
    off = np.where(used, left / np.maximum(1 - leverage, 1e-3), left)
    # Stars that were left out count too, or a fit that leaves out what it does not
    # follow would seem the best; but none counts more than this.
    share = np.minimum(relative, 4)
    square = np.minimum(off**2, worst**2)
    return float((share * square).sum() / share.sum())


def _solve(
    terms: np.ndarray, values: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Solve weighted least squares; weights have the mean 1."""
    root = np.sqrt(weights / weights.mean())[:, None]
    inverse = np.linalg.pinv(root * terms)
    return inverse @ (root * values), inverse @ inverse.T


def _scatter(left: np.ndarray, weights: np.ndarray, n: int) -> np.ndarray:
    """Return the standard deviation of residuals for the mean weight."""
    square = (weights / weights.mean())[:, None] * left**2
    return np.sqrt(square.sum(axis=0) / max(len(left) - n, 1))


def _with_cells(
    smooth: SmoothMap,
    x: np.ndarray,
    y: np.ndarray,
    left: np.ndarray,
    grid: tuple[int, int],
) -> SmoothMap:
    """Add the means of the residuals in cells, drawn to 0 where stars are few."""
    rows, columns = (
        np.clip(((value + 0.5) / side * n).astype(int), 0, n - 1)
        for value, side, n in zip((y, x), smooth.shape, grid, strict=True)
    )
    counts, sums = np.zeros(grid), np.zeros((left.shape[1], *grid))
    np.add.at(counts, (rows, columns), 1)
    for plane, column in zip(sums, left.T, strict=True):
        np.add.at(plane, (rows, columns), column)
    return replace(smooth, grid=sums / (counts + _SHRINK), counts=counts)
