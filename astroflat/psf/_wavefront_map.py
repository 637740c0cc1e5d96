# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Aberrations as polynomials of the place, with signs that no single star tells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from astroflat.psf._smooth import _powers, n_terms
from astroflat.psf.zernikes import is_even

__all__ = ['CoefficientMap', 'fit_coefficients']

# What polynomials do not follow, in waves; a star farther off does not count.
_FLOOR, _CLIP, _LEAST = 0.01, 4.5, 0.05
_ROUNDS = 30
_DIRECTIONS, _CUTS = 8, (-0.4, -0.2, 0.0, 0.2, 0.4)


@dataclass(frozen=True)
class CoefficientMap:
    """
    Coefficients of the wavefront as functions of the place.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the image.

    terms : tuple of int
        Numbers in the order of Noll.

    degree : int
        Of the polynomials.

    values : ndarray
        ``(n_terms(degree), len(terms))``.

    covariances : ndarray
        Of them, one for each term.
    """

    shape: tuple[int, int]
    terms: tuple[int, ...]
    degree: int
    values: np.ndarray
    covariances: np.ndarray

    def array_at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the coefficients at places, the terms along the last axis."""
        return _powers(x, y, self.shape, degree=self.degree) @ self.values

    def errors_at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return their standard deviations."""
        powers = _powers(x, y, self.shape, degree=self.degree)
        square = np.einsum('...i,kij,...j->...k', powers, self.covariances, powers)
        return np.sqrt(np.maximum(square, 0))

    def at(self, x: float, y: float) -> dict[int, float]:
        """Return the coefficients at one place by their numbers."""
        values = self.array_at(np.asarray(x), np.asarray(y))
        return dict(zip(self.terms, values.tolist(), strict=True))

    def mirrored(self) -> CoefficientMap:
        """Return the same with the other sign of all even terms."""
        from dataclasses import replace

        signs = np.array([-1 if is_even(j) else 1 for j in self.terms])
        return replace(self, values=self.values * signs)


def fit_coefficients(
    x: np.ndarray,
    y: np.ndarray,
    values: np.ndarray,
    errors: np.ndarray,
    *,
    terms: tuple[int, ...],
    shape: tuple[int, int],
    degree: int,
) -> tuple[CoefficientMap, np.ndarray, np.ndarray]:
    """
    Fit polynomials, and choose the sign of each star that fits its neighbours.

    Parameters
    ----------
    x, y : ndarray
        Places of the stars.

    values, errors : ndarray
        Coefficients ``(n_stars, n_terms)`` and standard deviations.

    terms : tuple of int
        Numbers in the order of Noll.

    shape : tuple of int
        ``(ny, nx)`` of the image.

    degree : int
        Of the polynomials.

    Returns
    -------
    found : CoefficientMap
        The mean of the first even term is not negative.

    signs : ndarray
        1 or -1 for each star.

    used : ndarray of bool
        Stars that are not far off.

    Notes
    -----
    Signs are flipped until none fits better, from many first guesses: all alike, or
    changing along a line across the image, as they do where a tilted detector
    passes through the focus.
    """
    even = np.array([is_even(j) for j in terms])
    powers = _powers(x, y, shape, degree=degree)
    weights = 1 / (errors**2 + _FLOOR**2)
    best = min(
        (_alternate(powers, values, weights, even, s) for s in _guesses(x, y, shape)),
        key=lambda found: found[0],
    )
    signs = best[1]
    turned = np.where(even, signs[:, None] * values, values)
    used, solution, covariances = _robust(powers, turned, weights)
    found = CoefficientMap(shape, terms, degree, solution, covariances)
    if even.any():
        first = int(np.flatnonzero(even)[0])
        if (turned[used, first] * weights[used, first]).sum() < 0:
            found, signs = found.mirrored(), -signs
    return found, signs, used


def _guesses(x: np.ndarray, y: np.ndarray, shape: tuple[int, int]) -> list[np.ndarray]:
    """Return first guesses of the signs."""
    half = max(shape) / 2
    u, v = (x - (shape[1] - 1) / 2) / half, (y - (shape[0] - 1) / 2) / half
    found = [np.ones(len(x))]
    for angle in np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS:
        along = u * np.cos(angle) + v * np.sin(angle)
        found += [np.where(along > cut, 1.0, -1.0) for cut in _CUTS]
    radius = np.hypot(u, v)
    found += [np.where(radius > cut, 1.0, -1.0) for cut in (0.3, 0.5, 0.7)]
    return found


def _alternate(
    powers: np.ndarray,
    values: np.ndarray,
    weights: np.ndarray,
    even: np.ndarray,
    signs: np.ndarray,
) -> tuple[float, np.ndarray]:
    """Fit and flip until nothing changes; return the misfit and the signs."""
    for _ in range(_ROUNDS):
        turned = np.where(even, signs[:, None] * values, values)
        model = powers @ _solve(powers, turned, weights)[0]
        costs = [
            (weights * (np.where(even, s * values, values) - model) ** 2).sum(axis=1)
            for s in (1, -1)
        ]
        new = np.where(costs[0] <= costs[1], 1.0, -1.0)
        if np.array_equal(new, signs):
            break
        signs = new
    # No star counts for more than one that is far off.
    cost = np.minimum(np.minimum(*costs), _CLIP**2 * values.shape[1]).sum()
    return float(cost), signs


def _solve(
    powers: np.ndarray, values: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Solve weighted least squares, term by term."""
    solution, covariances = [], []
    for k in range(values.shape[1]):
        normal = powers.T @ (weights[:, k, None] * powers)
        inverse = np.linalg.pinv(normal)
        solution.append(inverse @ (powers.T @ (weights[:, k] * values[:, k])))
        covariances.append(inverse)
    return np.stack(solution, axis=1), np.stack(covariances)


def _robust(
    powers: np.ndarray, values: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leave out stars that are far off; return who stays, and the solution."""
    used = np.ones(len(values), bool)
    least = max(3, powers.shape[1])
    for _ in range(6):
        solution, covariances = _solve(powers[used], values[used], weights[used])
        pulls = np.sqrt(weights) * (values - powers @ solution)
        spread = np.maximum(1.4826 * np.median(np.abs(pulls[used]), axis=0), 0.5)
        new = (np.abs(pulls) < _CLIP * spread).all(axis=1)
        if new.sum() < least or np.array_equal(new, used):
            break
        used = new
    free = max(1, used.sum() - powers.shape[1])
    # What the polynomials leave says how much of the floor was needed.
    scale = max(float(np.mean((pulls[used] ** 2).sum(axis=0) / free)), _LEAST)
    return used, solution, covariances * scale


def degree_for(n: int, wanted: int) -> int:
    """
    Return the degree that so many stars allow.

    Parameters
    ----------
    n : int
        Stars.

    wanted : int
        The degree to have.

    Returns
    -------
    degree : int
        At most ``wanted``; -1 if there are fewer than three stars.
    """
    allowed = [d for d in range(wanted + 1) if n >= max(3, 2 * n_terms(d))]
    return max(allowed, default=-1)
