# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Measure what stars have more than a Moffat profile, and whether it is there."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.psf._remainder import Remainder, place_terms, spline_basis
from astroflat.psf._remainder_stamps import Stamp, cut_stamps, settle

if TYPE_CHECKING:
    from astroflat.psf.field import PSFField

__all__ = ['fit_remainder']

# Reach and distance of the knots in widths, and the least distance in pixels.
_REACH, _STEP, _LEAST_STEP = 2.2, 0.2, 0.7
# Stars that are needed, and for a remainder that changes over the image.
_FEW, _ENOUGH = 5, 8
# How large it may be over the profile, as standard deviations to choose from.
_SIZES = (0.1, 0.3, 1.0)
# Groups of stars that are predicted from the others.
_FOLDS = 6
_ROUNDS = 3
# How much less a change across the image is expected than a constant, and roughness.
_CHANGE, _SMOOTH = (1.0, 2.0, 2.0), 0.1
# It is taken for real if stars are predicted from others better than by the profile,
# by so many standard deviations of the noise, in total, and so large a part of them;
# and if it moves so much of the light.
_SURE, _SHARE, _PART = 6.0, 0.8, 0.01


def fit_remainder(
    data: np.ndarray, bad: np.ndarray, field: PSFField, noise: float
) -> Remainder | None:
    """
    Measure what the stars of a field have more than its profile.

    Parameters
    ----------
    data : ndarray
        The image less its background.

    bad : ndarray of bool
        Pixels to ignore, saturated ones too.

    field : PSFField
        The profiles.

    noise : float
        Noise of the sky.

    Returns
    -------
    remainder : Remainder or None
        `None` where there are few stars, or where it predicts none of them better.
    """
    from astroflat.psf._star_choice import find_peaks_in

    reach = (_REACH + 2 * _STEP) * field.fwhm + 2
    others = find_peaks_in(data, bad, fwhm=field.fwhm, noise=noise)
    stamps = cut_stamps(data, bad, field, others, noise, reach)
    if len(stamps) < _FEW:
        return None
    remainder, choice = None, None
    for _ in range(_ROUNDS):
        for stamp in stamps:
            settle(stamp, field.beta, remainder)
        _learn_spread(stamps)
        problem = Problem.of(stamps, field)
        choice = choice or problem.choose()
        remainder = problem.solve(choice)
    numbers = problem.test(choice)
    if numbers is None:
        return None
    numbers |= describe(remainder, field)
    if numbers['remainder_percent'] < 100 * _PART:
        return None
    return replace(remainder, numbers=numbers)


def _learn_spread(stamps: list[Stamp]) -> None:
    """Find how much the stars differ, as a part of their light."""
    shares = []
    for stamp in stamps:
        light = stamp.model * stamp.flux
        core = stamp.good & (stamp.model > 0.3 * stamp.model.max())
        left = stamp.values - stamp.sky - light
        if core.any():
            excess = np.median(left[core] ** 2 / light[core] ** 2) / 0.455
            shares.append(excess - np.median(stamp.noise**2 / light[core] ** 2))
    spread = math.sqrt(max(float(np.median(shares)), 0.01**2)) if shares else 0.05
    for stamp in stamps:
        stamp.spread = min(spread, 0.3)


@dataclass
class Problem:
    """
    Normal equations of each star.

    Parameters
    ----------
    field : PSFField
        The profiles.
    step : float
        Distance of the knots in pixels.
    n : int
        Knots along an axis.
    inside : ndarray of bool
        Those that are used.
    matrices, vectors : list of ndarray
        Of each star.
    places : ndarray
        1, x and y of each star.
    limits : tuple of float
        What they cover.
    """

    field: Any
    step: float
    n: int
    inside: np.ndarray
    matrices: list[np.ndarray]
    vectors: list[np.ndarray]
    places: np.ndarray
    limits: tuple[float, float, float, float]
    made: dict[Any, Any] = dataclass_field(default_factory=dict)

    @cached_property
    def prior(self) -> np.ndarray:
        """Inverse covariance of the coefficients for the size 1."""
        return self._prior()

    @classmethod
    def of(cls, stamps: list[Stamp], field: PSFField) -> Problem:
        """Set up the equations."""
        step = max(_STEP * field.fwhm, _LEAST_STEP)
        half = max(round(_REACH * field.fwhm / step), 4)
        n = 2 * half + 1
        knots = np.arange(n) - half
        inside = (np.hypot(knots[:, None], knots) <= half).ravel()
        parts = [_normal(stamp, step, n, inside) for stamp in stamps]
        x, y = np.array([(stamp.x, stamp.y) for stamp in stamps]).T
        limits = tuple(float(v) for v in (x.min(), x.max(), y.min(), y.max()))
        places = np.array(
            [place_terms(s.x, s.y, field.shape, limits, 3) for s in stamps]
        )
        matrices, vectors = zip(*parts, strict=True)
        return cls(
            field, step, n, inside, list(matrices), list(vectors), places, limits
        )

    def choose(self) -> tuple[int, float]:
        """Return the terms and the size that predict stars from others best."""
        terms = (1, 3) if len(self.matrices) >= _ENOUGH else (1,)
        choices = [(n, size) for n in terms for size in _SIZES]
        return max(choices, key=lambda choice: self._gains(*choice)[0].sum())

    def test(self, choice: tuple[int, float]) -> dict[str, Any] | None:
        """Return how sure it is, or nothing if it is not sure enough."""
        gains, powers = self._gains(*choice)
        # The gain of a star that has nothing of it has this standard deviation.
        sure = gains.sum() / (2 * math.sqrt(powers.sum()) + 1e-30)
        share = np.mean(gains > 0)
        if sure < _SURE or share < _SHARE:
            return None
        return {
            'n_measured': len(gains),
            'remainder_degree': 0 if choice[0] == 1 else 1,
            'remainder_sigma': float(sure),
        }

    def solve(self, choice: tuple[int, float]) -> Remainder:
        """Return what all stars give."""
        found = self._solved(self._sums(choice[0]), *choice)
        coefficients = np.zeros((choice[0], self.n**2))
        coefficients[:, self.inside] = found
        coefficients = coefficients.reshape(-1, self.n, self.n)
        return Remainder(self.step, coefficients, self.field.shape, self.limits, {})

    def _gains(self, n_terms: int, size: float) -> tuple[np.ndarray, np.ndarray]:
        """Return by how much stars are predicted better, and how much is predicted."""
        n_stars = len(self.matrices)
        groups = np.arange(n_stars) % min(_FOLDS, n_stars)
        gains, powers = np.zeros(n_stars), np.zeros(n_stars)
        total = self._sums(n_terms)
        for k in range(groups.max() + 1):
            inside = np.flatnonzero(groups == k)
            without = self._sums(n_terms, inside)
            rest = tuple(a - b for a, b in zip(total, without, strict=True))
            found = self._solved(rest, n_terms, size)
            for i in inside:
                own = self.places[i, :n_terms] @ found
                powers[i] = own @ self.matrices[i] @ own
                gains[i] = 2 * own @ self.vectors[i] - powers[i]
        return gains, powers

    def _sums(self, n_terms: int, stars: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the sums of the equations of some stars, by default of all."""
        key = n_terms, None if stars is None else tuple(stars)
        if key not in self.made:
            m = int(self.inside.sum())
            matrix = np.zeros((n_terms, m, n_terms, m))
            vector = np.zeros((n_terms, m))
            for i in range(len(self.matrices)) if stars is None else stars:
                place = self.places[i, :n_terms]
                for a, b in itertools.product(range(n_terms), repeat=2):
                    matrix[a, :, b] += place[a] * place[b] * self.matrices[i]
                vector += place[:, None] * self.vectors[i]
            self.made[key] = matrix.reshape(n_terms * m, -1), vector.ravel()
        return self.made[key]

    def _solved(
        self, sums: tuple[np.ndarray, np.ndarray], n_terms: int, size: float
    ) -> np.ndarray:
        """Return the coefficients, a row for each term."""
        from scipy.linalg import solve

        weights = np.diag(_CHANGE[:n_terms]) / size**2
        matrix = sums[0] + np.kron(weights, self.prior)
        return solve(matrix, sums[1], assume_a='pos').reshape(n_terms, -1)

    def _prior(self) -> np.ndarray:
        """Return the inverse covariance of the coefficients for the size 1."""
        from astroflat.psf.kernels import moffat_kernel

        size = moffat_kernel(1.3 * self.field.fwhm / self.step, beta=2.5, size=self.n)
        size *= (self.field.fwhm / self.step) ** 2 / self.field.fwhm**2
        size = (size + 0.01 * size.max()).ravel()[self.inside]
        rough = _roughness(self.n)[np.ix_(self.inside, self.inside)]
        matrix = np.eye(len(size)) + _SMOOTH * rough
        return matrix / size[:, None] / size


def _roughness(n: int) -> np.ndarray:
    """Return the sum of the squares of second differences as a matrix."""
    second = np.diff(np.eye(n), 2, axis=0)
    square = second.T @ second
    return np.kron(square, np.eye(n)) + np.kron(np.eye(n), square)


def _normal(
    stamp: Stamp, step: float, n: int, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the normal matrix and vector of a star."""
    from scipy import sparse

    basis = [
        sparse.csr_matrix(spline_basis(values / step, n))
        for values in (stamp.rows, stamp.columns)
    ]
    design = sparse.kron(*basis, format='csc')[:, np.flatnonzero(inside)].tocsr()
    weight = stamp.weight.ravel()
    weighted = design.multiply(weight[:, None]).tocsr()
    matrix = (design.T @ weighted).toarray()
    return matrix, weighted.T @ stamp.residual.ravel()


def describe(remainder: Remainder, field: PSFField) -> dict[str, float]:
    """
    Say how large a remainder is, as medians over stars of the field.

    Parameters
    ----------
    remainder : Remainder
        What is added to the profiles.

    field : PSFField
        The profiles.

    Returns
    -------
    numbers : dict
        ``remainder_percent``, the light that is elsewhere than in the profile, and
        ``asymmetry_percent``, that which is elsewhere if the star is turned by 180
        degrees, in per cent of all.
    """
    stars = field.table[np.asarray(field.table['used'], dtype=bool)][:20]
    full = field.with_remainder(remainder)
    rows = []
    for x, y in zip(np.asarray(stars['x']), np.asarray(stars['y']), strict=True):
        kernel = full.kernel_at(x, y)
        moved = np.abs(kernel - field.kernel_at(x, y, size=kernel.shape))
        turned = np.abs(kernel - kernel[::-1, ::-1])
        rows.append((50 * moved.sum(), 50 * turned.sum()))
    moved, turned = np.median(rows, axis=0)
    return {'remainder_percent': float(moved), 'asymmetry_percent': float(turned)}
