# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Equations for what stars have more than a profile, and how well they predict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.psf._remainder import (
    Remainder,
    place_terms,
    spline,
    unwarped,
    warped,
)

if TYPE_CHECKING:
    from astroflat.psf._remainder_stamps import Stamp
    from astroflat.psf.field import PSFField

__all__ = ['REACH', 'STEP', 'Problem']

#: Reach and distance of the knots in widths.
REACH, STEP = 4.0, 0.2
_LEAST_STEP, _MOST = 0.7, 30
# Stars that are needed for a remainder that changes over the image.
_ENOUGH = 8
# How large it may be over the profile, as standard deviations to choose from.
_SIZES = (0.1, 0.3, 1.0)
# How much less a change across the image is expected than a constant, and roughness.
_CHANGE, _SMOOTH = (1.0, 2.0, 2.0), 0.1
# Groups of stars that are predicted from the others.
_FOLDS = 6
# Pairs of terms, and where they are among the sums.
_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


class Problem:
    """
    Linear equations for the coefficients of a `Remainder`.

    Parameters
    ----------
    stamps : list of Stamp
        The stars, settled.

    field : PSFField
        Their profiles.
    """

    def __init__(self, stamps: list[Stamp], field: PSFField) -> None:
        self.field, self.step = field, max(STEP * field.fwhm, _LEAST_STEP)
        most = unwarped(2 * _MOST + 1)[_MOST, _MOST:]
        half = int(np.searchsorted(most, REACH * field.fwhm / self.step)) - 2
        self.n = 2 * half + 1
        knots = np.arange(self.n) - half
        self.inside = (np.hypot(knots[:, None], knots) <= half).ravel()
        self.prior = _prior(field.fwhm, self.step, self.n, self.inside)
        x, y = np.array([(stamp.x, stamp.y) for stamp in stamps]).T
        self.limits = tuple(float(v) for v in (x.min(), x.max(), y.min(), y.max()))
        self.places = np.array(
            [place_terms(s.x, s.y, field.shape, self.limits, 3) for s in stamps]
        )
        self.groups = np.arange(len(stamps)) % min(_FOLDS, len(stamps))
        self._add(stamps)

    def _add(self, stamps: list[Stamp]) -> None:
        """Add up the equations of each group of stars."""
        m, n_groups = int(self.inside.sum()), self.groups.max() + 1
        self.matrices = np.zeros((n_groups, len(_PAIRS), m, m))
        self.vectors = np.zeros((n_groups, 3, m))
        self.own: list[tuple[Any, np.ndarray, np.ndarray]] = []
        for stamp, place, k in zip(stamps, self.places, self.groups, strict=True):
            design = _design(stamp, self.step, self.inside)
            weight = stamp.weight.ravel()
            weighted = design.multiply(weight[:, None]).tocsr()
            matrix = (design.T @ weighted).toarray()
            vector = weighted.T @ stamp.residual.ravel()
            for total, (a, b) in zip(self.matrices[k], _PAIRS, strict=True):
                total += place[a] * place[b] * matrix
            self.vectors[k] += place[:, None] * vector
            self.own.append((design, weight, vector))

    def choose(self) -> tuple[int, float]:
        """
        Choose what predicts stars from others best.

        Returns
        -------
        n_terms : int
            1, or 3 if it changes over the image.

        size : float
            How large it may be over the profile.
        """
        terms = (1, 3) if len(self.own) >= _ENOUGH else (1,)
        choices = [(n, size) for n in terms for size in _SIZES]
        return max(choices, key=lambda choice: self.gains(*choice)[0].sum())

    def gains(self, n_terms: int, size: float) -> tuple[np.ndarray, np.ndarray]:
        """
        Predict each star from those of other groups.

        Parameters
        ----------
        n_terms : int
            1 or 3.

        size : float
            How large it may be over the profile.

        Returns
        -------
        gains : ndarray
            By how much chi² is less than that of the profile, for each star.

        powers : ndarray
            Chi² of what is predicted.
        """
        gains, powers = np.zeros(len(self.own)), np.zeros(len(self.own))
        for k in range(len(self.matrices)):
            found = self._solved(n_terms, size, without=k)
            for i in np.flatnonzero(self.groups == k):
                design, weight, vector = self.own[i]
                own = self.places[i, :n_terms] @ found
                powers[i] = weight @ (design @ own) ** 2
                gains[i] = 2 * own @ vector - powers[i]
        return gains, powers

    def solve(self, n_terms: int, size: float) -> Remainder:
        """
        Take all stars.

        Parameters
        ----------
        n_terms : int
            1 or 3.

        size : float
            How large it may be over the profile.

        Returns
        -------
        remainder : Remainder
            Without numbers.
        """
        coefficients = np.zeros((n_terms, self.n**2))
        coefficients[:, self.inside] = self._solved(n_terms, size)
        coefficients = coefficients.reshape(-1, self.n, self.n)
        return Remainder(self.step, coefficients, self.field.shape, self.limits, {})

    def _solved(
        self, n_terms: int, size: float, without: int | None = None
    ) -> np.ndarray:
        """Return the coefficients, a row for each term."""
        from scipy.linalg import cho_factor, cho_solve

        groups = [k for k in range(len(self.matrices)) if k != without]
        m = len(self.prior)
        matrix = np.zeros((n_terms, m, n_terms, m))
        for i, (a, b) in enumerate(_PAIRS):
            if b < n_terms:
                # Only this half is read.
                matrix[a, :, b] = sum(self.matrices[k, i] for k in groups)
            if a == b < n_terms:
                matrix[a, :, b] += _CHANGE[a] / size**2 * self.prior
        vector = self.vectors[groups, :n_terms].sum(axis=0).ravel()
        factor = cho_factor(
            matrix.reshape(n_terms * m, -1), overwrite_a=True, check_finite=False
        )
        return cho_solve(factor, vector, check_finite=False).reshape(n_terms, -1)


def _prior(fwhm: float, step: float, n: int, inside: np.ndarray) -> np.ndarray:
    """Return the inverse covariance of the coefficients for the size 1."""
    # Beyond a wide profile with wings there may be little.
    far = step * unwarped(n).ravel()[inside] / fwhm
    size = (1 + far**2) ** -2.5 + 0.003
    size *= 0.5 / fwhm**2
    rough = _roughness(n)[np.ix_(inside, inside)]
    matrix = np.eye(len(size)) + _SMOOTH * rough
    return matrix / size[:, None] / size


def _roughness(n: int) -> np.ndarray:
    """Return the sum of the squares of second differences as a matrix."""
    second = np.diff(np.eye(n), 2, axis=0)
    square = second.T @ second
    return np.kron(square, np.eye(n)) + np.kron(np.eye(n), square)


def _design(stamp: Stamp, step: float, inside: np.ndarray) -> Any:
    """Return the B-splines in the pixels of a star, a column for each."""
    from scipy import sparse

    n = round(len(inside) ** 0.5)
    v, u = warped(stamp.rows / step, stamp.columns / step)
    pixels, rows, columns, values = [], [], [], []
    for i in range(4):
        for j in range(4):
            row, column = (
                np.floor(v).astype(int) - 1 + i,
                np.floor(u).astype(int) - 1 + j,
            )
            value = spline(v - row) * spline(u - column)
            pixels.append(np.arange(len(v)))
            rows.append(row + n // 2)
            columns.append(column + n // 2)
            values.append(value)
    pixels, rows, columns, values = map(np.concatenate, (pixels, rows, columns, values))
    good = (np.minimum(rows, columns) >= 0) & (np.maximum(rows, columns) < n)
    index = np.full(n * n, -1)
    index[inside] = np.arange(np.count_nonzero(inside))
    knots = index[np.where(good, rows * n + columns, 0)]
    good &= knots >= 0
    return sparse.csr_matrix(
        (values[good], (pixels[good], knots[good])),
        shape=(len(v), np.count_nonzero(inside)),
    )
