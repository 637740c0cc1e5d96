# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The least squares behind a fit of aberrations to one star."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.psf.zernikes import ZernikeFit, is_even

if TYPE_CHECKING:
    from astroflat.psf._wavefront import Wavefront
    from astroflat.psf._wavefront_start import Moments
    from astroflat.psf.optics import Telescope

__all__ = ['Problem']

# Coefficients (waves) and seeing (arcseconds) beyond which no fit goes.
_MOST, _SEEING = 3.0, (0.2, 20.0)
# Fits that differ by more (waves) are two, if chi-square tells them apart by less.
_APART, _RIVAL = 0.02, 9.0


class Problem:
    """
    One star and what is fitted to it.

    Parameters
    ----------
    telescope : Telescope
        The telescope.

    terms : tuple of int
        What is fitted.

    data : ndarray
        Pixels.

    good : ndarray of bool
        Those to use.

    sigma : array_like or None
        Standard deviations.

    seeing : float or None
        None if it is fitted.
    """

    def __init__(
        self,
        telescope: Telescope,
        terms: tuple[int, ...],
        data: np.ndarray,
        good: np.ndarray,
        sigma: Any,
        seeing: float | None,
    ) -> None:
        self.telescope, self.terms = telescope, terms
        self.data, self.good, self.seeing = data, good, seeing
        self.known = sigma is not None
        errors = np.broadcast_to(1.0 if sigma is None else sigma, data.shape)[good]
        if not (errors > 0).all():
            msg = 'sigma must be positive'
            raise ValueError(msg)
        self.weight = 1 / np.asarray(errors, np.float64)
        self.values = data[good]

    def solve(
        self, start: dict[int, float] | None = None, *, n_starts: int = 4
    ) -> ZernikeFit:
        """
        Fit from several starts, and return the best fit.

        Parameters
        ----------
        start : dict, optional
            The only start.

        n_starts : int, optional
            How many to try, if that is not given.

        Returns
        -------
        fit : ZernikeFit
            The fit.
        """
        from astroflat.psf._wavefront_start import measure_moments, starts

        moments = measure_moments(np.where(self.good, self.data, 0.0), self.good)
        if moments is None:
            msg = 'there is no star in the stamp: nothing is brighter than its edge'
            raise ValueError(msg)
        seeing = self._first_seeing(moments)
        tries = [start] if start else starts(moments, self.telescope, seeing)[:n_starts]
        results = [self._descend(t, moments, seeing) for t in self._distinct(tries)]
        best = min(results, key=lambda r: r[0].cost)
        return self._pack(*best, self._rival(best[0], [r[0] for r in results]))

    def _distinct(self, tries: list[dict[int, float]]) -> list[dict[int, float]]:
        """Leave out what differs only in terms that are not fitted."""
        seen = {tuple(t.get(j, 0.0) for j in self.terms): t for t in tries}
        return list(seen.values())

    def _rival(self, best: Any, results: list[Any]) -> dict[int, float]:
        """Return the coefficients of another minimum that is nearly as deep."""
        k = len(self.terms)
        even = np.array([-1.0 if is_even(j) else 1.0 for j in self.terms])
        unit = 1.0 if self.known else 2 * best.cost / max(1, len(self.values) - k)
        for found in sorted(results, key=lambda r: r.cost):
            apart = min(
                np.abs(found.x[:k] * signs - best.x[:k]).max() for signs in (1, even)
            )
            if apart > _APART and 2 * (found.cost - best.cost) < _RIVAL * unit:
                return dict(zip(self.terms, found.x[:k].tolist(), strict=True))
        return {}

    def _first_seeing(self, moments: Moments) -> float:
        """Return the seeing that is known, or somewhat less than the width."""
        if self.seeing is not None:
            return self.seeing
        narrow = math.sqrt(max(np.linalg.eigvalsh(moments.matrix)[0], 0.2))
        width = 0.7 * 2.355 * narrow * self.telescope.pixel_scale
        return float(np.clip(width, 1.5 * _SEEING[0], 0.7 * _SEEING[1]))

    def _descend(
        self, start: dict[int, float], moments: Moments, seeing: float
    ) -> tuple[Any, Wavefront]:
        """Fit from one start; return what SciPy found, and the model."""
        from scipy.optimize import least_squares

        from astroflat.psf._wavefront import Wavefront

        first = [start.get(j, 0.0) for j in self.terms]
        room = {j: abs(v) + 0.1 for j, v in zip(self.terms, first, strict=True)}
        model = Wavefront(self.telescope, self.terms, self.data.shape, room)
        place = [moments.x, moments.y, moments.flux, moments.sky]
        free = [*first, *place] + ([] if self.seeing is not None else [seeing])
        k = len(self.terms)
        reach = max(self.data.shape) / 2
        span = max(float(np.ptp(self.values)), 1e-30)
        lower = [-_MOST] * k + [-reach, -reach, 0.0, -np.inf]
        upper = [_MOST] * k + [reach, reach, np.inf, np.inf]
        if self.seeing is None:
            lower, upper = [*lower, _SEEING[0]], [*upper, _SEEING[1]]
        scale = [0.1] * k + [0.3, 0.3, max(moments.flux, 1e-30) / 10, span / 100]
        scale += [] if self.seeing is not None else [0.2]
        cache = _Cache(self, model)
        found = least_squares(
            cache.residuals,
            np.clip(free, np.array(lower) + 1e-9, np.array(upper) - 1e-9),
            cache.derivatives,
            bounds=(lower, upper),
            x_scale=scale,
            ftol=1e-7,
            xtol=1e-6,
            gtol=1e-10,
            max_nfev=60,
        )
        return found, model

    def _pack(
        self, found: Any, model: Wavefront, rival: dict[int, float]
    ) -> ZernikeFit:
        """Return a solution with its errors."""
        k, p = len(self.terms), found.x
        free = max(1, len(self.values) - len(p))
        chi2 = 2 * found.cost / free
        inverse = np.linalg.pinv(found.jac.T @ found.jac)
        covariance = inverse * (max(1.0, chi2) if self.known else chi2)
        sigma = np.sqrt(np.maximum(np.diag(covariance), 0))
        height = p[k + 2] * model(p[:k], (p[k], p[k + 1]), self._seeing(p))[0].max()
        residuals = found.fun / self.weight
        ny, nx = self.data.shape
        fit = ZernikeFit(
            dict(zip(self.terms, p[:k].tolist(), strict=True)),
            dict(zip(self.terms, sigma[:k].tolist(), strict=True)),
            float(p[k] + (nx - 1) / 2),
            float(p[k + 1] + (ny - 1) / 2),
            float(p[k + 2]),
            float(p[k + 3]),
            self._seeing(p),
            0.0 if self.seeing is not None else float(sigma[-1]),
            float(np.sqrt(np.mean(residuals**2)) / max(height, 1e-30)),
            chi2 if self.known else 1.0,
            covariance[:k, :k],
            rival,
        )
        even = {j: v for j, v in fit.coefficients.items() if is_even(j)}
        largest = max(even, key=lambda j: abs(even[j])) if even else None
        return fit.mirrored() if even and even[largest] < 0 else fit

    def _seeing(self, p: np.ndarray) -> float:
        """Return the seeing, fitted or given."""
        return self.seeing if self.seeing is not None else float(p[-1])


class _Cache:
    """Residuals and derivatives, which come from one calculation."""

    def __init__(self, problem: Problem, model: Wavefront) -> None:
        self.problem, self.model = problem, model
        self._p, self._both = None, None

    def residuals(self, p: np.ndarray) -> np.ndarray:
        """Return (model - data) / sigma."""
        return self._at(p)[0]

    def derivatives(self, p: np.ndarray) -> np.ndarray:
        """Return their derivatives, one column per parameter."""
        return self._at(p)[1]

    def _at(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._p is None or not np.array_equal(p, self._p):
            self._p, self._both = p.copy(), self._calculate(p)
        return self._both

    def _calculate(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        problem, k = self.problem, len(self.problem.terms)
        image, parts = self.model(p[:k], (p[k], p[k + 1]), problem._seeing(p))
        flat = image[problem.good]
        columns = parts[:, problem.good] * p[k + 2]
        rows = [*columns[:-1], flat, np.ones_like(flat)]
        if problem.seeing is None:
            rows.append(columns[-1])
        residuals = (p[k + 2] * flat + p[k + 3] - problem.values) * problem.weight
        return residuals, (np.stack(rows) * problem.weight).T
