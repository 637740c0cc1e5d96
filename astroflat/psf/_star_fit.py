# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Fit an elliptical Moffat profile, integrated over pixels, to one star."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from astroflat.psf._shapes import ellipse_of, inverse_of

__all__ = ['StarFit', 'fit_star']

# The inverse of the exponent: 0 is a Gaussian, 1 has infinite light.
_MIN_INDEX, _MAX_INDEX = 0.02, 0.9
_LN2 = math.log(2)


class StarFit(NamedTuple):
    """
    What a fit found.

    Attributes
    ----------
    x, y : float
        Place in the stamp in pixels.

    fwhm, ellipticity, theta : float
        Size and shape as in `~astroflat.psf.moffat_kernel`.

    beta : float
        Exponent.

    peak : float
        Height above the sky before the pixels blur it.

    sky : float
        Level around the star.

    fwhm_err : float
        Standard deviation of ``fwhm``, from the residuals.

    misfit : float
        Rms of the residuals over the height.
    """

    x: float
    y: float
    fwhm: float
    ellipticity: float
    theta: float
    beta: float
    peak: float
    sky: float
    fwhm_err: float
    misfit: float

    @property
    def flux(self) -> float:
        """Sum of the profile to infinity."""
        width = 4 * (2 ** (1 / self.beta) - 1)
        return math.pi * self.fwhm**2 / width / (self.beta - 1) * self.peak


class _Problem:
    """Residuals and derivatives of a stamp, for a given number of nodes."""

    def __init__(self, stamp: np.ndarray, good: np.ndarray, nodes: int) -> None:
        points, weights = np.polynomial.legendre.leggauss(nodes)
        y, x = np.nonzero(good)
        grid = [(a, b) for a in range(nodes) for b in range(nodes)]
        self.y = np.stack([y + points[a] / 2 for a, _ in grid])
        self.x = np.stack([x + points[b] / 2 for _, b in grid])
        self.weights = np.array([weights[a] * weights[b] / 4 for a, b in grid])
        self.values = stamp[good].astype(np.float64)

    def profile(self, p: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the profile of unit height and what its derivatives need."""
        index = min(max(p[7], _MIN_INDEX), _MAX_INDEX)
        dx, dy = self.x - p[1], self.y - p[2]
        u = 4 * (p[3] * dx * dx + 2 * p[4] * dx * dy + p[5] * dy * dy)
        base = np.maximum(1 + (2**index - 1) * u, 1e-3)
        return base ** (-1 / index), base, u, dx, dy

    def residuals(self, p: np.ndarray) -> np.ndarray:
        """Return model minus data."""
        return p[0] * (self.weights @ self.profile(p)[0]) + p[6] - self.values

    def derivatives(self, p: np.ndarray) -> np.ndarray:
        """Return the derivatives of the residuals, one column per parameter."""
        shape, base, u, dx, dy = self.profile(p)
        index = min(max(p[7], _MIN_INDEX), _MAX_INDEX)
        slope = 4 * p[0] * -(2**index - 1) / index * shape / base
        tail = np.log(base) / index**2 - _LN2 * 2**index * u / (index * base)
        parts = (
            shape,
            -2 * slope * (p[3] * dx + p[4] * dy),
            -2 * slope * (p[4] * dx + p[5] * dy),
            slope * dx * dx,
            2 * slope * dx * dy,
            slope * dy * dy,
            np.ones_like(shape),
            p[0] * shape * tail,
        )
        return np.stack([self.weights @ part for part in parts], axis=1)


def fit_star(
    stamp: np.ndarray,
    *,
    fwhm: float,
    beta: float | None = None,
    good: np.ndarray | None = None,
    place: tuple[float, float] | None = None,
) -> StarFit | None:
    """
    Fit a star in a stamp.

    Parameters
    ----------
    stamp : ndarray
        Pixels around the star, ``(ny, nx)``.

    fwhm : float
        First guess of the width.

    beta : float, optional
        Exponent to keep; by default it is fitted.

    good : ndarray of bool, optional
        Pixels to use.

    place : tuple of float, optional
        First guess of (x, y); by default the middle.

    Returns
    -------
    fit : StarFit or None
        `None` if there is no star that the profile fits.
    """
    from scipy.optimize import least_squares

    good = np.isfinite(stamp) if good is None else good & np.isfinite(stamp)
    if np.count_nonzero(good) < 12:
        return None
    problem = _Problem(stamp, good, 3 if fwhm < 2.5 else 2)
    start = _start(problem, stamp, fwhm, 3.0 if beta is None else beta, place)
    free = np.arange(8 if beta is None else 7)

    def full(p: np.ndarray) -> np.ndarray:
        return np.concatenate([p, start[p.size :]])

    found = least_squares(
        lambda p: problem.residuals(full(p)),
        start[free],
        jac=lambda p: problem.derivatives(full(p))[:, free],
        method='lm',
        x_scale=_scales(start)[free],
        max_nfev=60,
    )
    return _read(full(found.x), found, stamp.shape) if found.success else None


def _start(
    problem: _Problem,
    stamp: np.ndarray,
    fwhm: float,
    beta: float,
    place: tuple[float, float] | None,
) -> np.ndarray:
    """Return the first guess of all parameters."""
    middle = ((stamp.shape[1] - 1) / 2, (stamp.shape[0] - 1) / 2)
    sky = float(np.percentile(problem.values, 20))
    peak = float(problem.values.max()) - sky
    xx, xy, yy = inverse_of(fwhm, 0.0, 0.0)
    return np.array([peak, *(place or middle), xx, xy, yy, sky, 1 / beta])


def _scales(start: np.ndarray) -> np.ndarray:
    """Return by how much each parameter may be expected to change."""
    height = max(abs(start[0]), 1e-30)
    width = start[3]
    return np.array([height, 1, 1, width, width, width, height, 0.3])


def _read(p: np.ndarray, found: Any, shape: tuple[int, ...]) -> StarFit | None:
    """Return the result in the terms of a user, if it is a star in the stamp."""
    determinant = p[3] * p[5] - p[4] ** 2
    inside = 0 <= p[1] <= shape[1] - 1 and 0 <= p[2] <= shape[0] - 1
    if not (p[0] > 0 and determinant > 0 and p[3] > 0 and inside):
        return None
    fwhm, ellipticity, theta = ellipse_of(
        p[5] / determinant, -p[4] / determinant, p[3] / determinant
    )
    if not fwhm < 2 * max(shape):
        return None
    spread = found.fun.std()
    index = min(max(float(p[7]), _MIN_INDEX), _MAX_INDEX)
    return StarFit(
        float(p[1]),
        float(p[2]),
        float(fwhm),
        float(ellipticity),
        float(theta),
        1 / index,
        float(p[0]),
        float(p[6]),
        _width_error(p, found, float(fwhm), float(spread)),
        float(spread / p[0]),
    )


def _width_error(p: np.ndarray, found: Any, fwhm: float, spread: float) -> float:
    """Return the standard deviation of the width."""
    try:
        inverse = np.linalg.inv(found.jac.T @ found.jac)
    except np.linalg.LinAlgError:
        return math.nan
    # The width is the determinant of the inverse matrix to the power -1/4.
    slope = np.zeros(inverse.shape[0])
    determinant = p[3] * p[5] - p[4] ** 2
    slope[3:6] = -fwhm / 4 / determinant * np.array([p[5], -2 * p[4], p[3]])
    variance = spread**2 * float(slope @ inverse @ slope)
    return math.sqrt(variance) if variance >= 0 else math.nan
