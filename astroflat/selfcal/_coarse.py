# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Flat, sky, gradients and scene together, on the coarse grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg

from astroflat.selfcal._added import Added
from astroflat.selfcal._coarse_result import CoarseResult
from astroflat.selfcal._evidence import compare_models
from astroflat.selfcal._normal import TERMS, normal_equations
from astroflat.selfcal._prior import (
    LOCAL,
    coherence,
    flat_covariance,
    gradient_basis,
    gradient_precision,
    jump_share,
)
from astroflat.selfcal._scene import Scene
from astroflat.selfcal._start import first_guess, lower_half

if TYPE_CHECKING:
    from astroflat.selfcal._coarse_result import Extra
    from astroflat.selfcal._grid import Grid

__all__ = ['CoarseFit']

_ITERATIONS = 9
# Errors of the model itself: of levels, where the scene is rough, where bright.
_FLOOR, _ROUGH, _BRIGHT = 0.001, 0.5, 0.05
_HALVINGS = 5
# Precision of the levels: hardly known, and known.
_UNSURE, _SURE = 4.0, 1e6


class CoarseFit:
    """
    A least-squares fit of ``I = F (sky + scene) + gradient``.

    Parameters
    ----------
    grid : Grid
        The cells.

    values, counts : `~numpy.ndarray`
        ``(n, cells)``: medians of the cells, and of how many pixels.

    noise : `~numpy.ndarray`
        ``(n,)``, noise of one pixel relative to the level of its frame.

    offsets : `~numpy.ndarray` or None
        Of the frames.

    exposures : `~numpy.ndarray`
        ``(n,)``, to which the light of the scene is proportional.

    times : `~numpy.ndarray` or None, optional
        When they were taken; one after the other by default.

    extra : Extra or None, optional
        What to find besides, see there.
    """

    def __init__(
        self,
        grid: Grid,
        values: np.ndarray,
        counts: np.ndarray,
        noise: np.ndarray,
        offsets: np.ndarray | None,
        exposures: np.ndarray,
        times: np.ndarray | None = None,
        extra: Extra | None = None,
    ) -> None:
        self.grid = grid
        self.n, self.cells = values.shape
        self.scale = np.nanmedian(values, axis=1)
        self.data = values / self.scale[:, None]
        few = max(4, 0.15 * np.median(counts.max(axis=1)))
        self.known = np.isfinite(self.data) & (counts >= few)
        self.data = np.where(self.known, self.data, 1.0)
        variance = (1.2533 * noise[:, None]) ** 2 / np.maximum(counts, 1)
        self.variance = variance + _FLOOR**2
        x, y = grid.xy
        self.basis = np.stack(gradient_basis(x, y), axis=1)
        self.basis = self.basis - self.basis.mean(axis=0)
        self.scene = None
        if offsets is not None:
            gain = exposures / self.scale
            self.scene = Scene.empty(grid, offsets, gain / np.median(gain))
        self.flat, self.strength = first_guess(self.data, self.known, x, y)
        self.most = 1.5 * self.strength
        ratio = np.where(self.known, self.data / np.exp(self.flat), np.nan)
        self.sky = lower_half(ratio)
        self.terms = np.zeros((self.n, TERMS))
        self.local = np.full(self.cells, 0.01**2)
        self.robust = np.ones((self.n, self.cells))
        self.doubt = 0.02
        self.chi = 1.0
        times = np.arange(self.n) if times is None else times
        seen = np.where(self.known, self.data, np.nan)
        self.together = coherence(times, jump_share(seen, self.basis, times))
        self.added, self.expected = None, None
        self.multiplicative = extra is None or extra.multiplicative
        if extra is not None:
            self._prepare(extra)

    def _prepare(self, extra: Extra) -> None:
        """Set up what is added to all frames, and levels known beforehand."""
        if extra.levels is not None:
            self.expected = extra.levels / self.scale
            self.expected = self.expected / np.median(self.expected)
        if extra.additive:
            gain = extra.exposure * (np.median(self.scale) / self.scale)
            self.added = Added.empty(self.grid, gain, constant=extra.levels is not None)
        if not self.multiplicative:
            self.flat, self.strength, self.most = 0 * self.flat, 0.0, 0.0

    def run(self) -> CoarseResult:
        """
        Fit.

        Returns
        -------
        result : CoarseResult
            The fields.
        """
        for step in range(_ITERATIONS):
            factor, size = self._step(step)
            if self.added is not None and step % 2:
                self.added.learn(self._covariance(factor, size, self.split()[3]))
            if step % 3 == 2:
                covariance = self._covariance(factor, size)
                variance = np.trace(covariance) / self.cells - covariance.mean()
                self.doubt = float(np.sqrt(max(variance, 0)))
        numbers = {
            'chi': self.chi,
            'strength': self.strength,
            'object_share': 0.0 if self.scene is None else self.scene.share,
            'sky_scatter': 0.0 if self.scene is None else self.scene.scatter,
        }
        return CoarseResult(
            self.flat.reshape(self.grid.cells),
            covariance,
            self.sky * self.scale,
            self.terms,
            self.scale,
            self.scene,
            numbers,
            self.added,
            self._gradient_sigma(factor, size),
            self._tests(),
        )

    def _covariance(self, factor: tuple, size: int, start: int = 0) -> np.ndarray:
        """Return the posterior covariance of one number per cell."""
        unit = np.eye(size, self.cells, -start)
        solved = linalg.cho_solve(factor, unit, check_finite=False)
        return solved[start : start + self.cells]

    def _gradient_sigma(self, factor: tuple, size: int) -> np.ndarray:
        """Return the uncertainty of what is added to a mean frame."""
        third, fourth = self.split()[2:]
        share = self.scale / self.scale.sum()
        rows = np.zeros((size, self.cells))
        for k in range(self.n):
            rows[third + TERMS * k : third + TERMS * (k + 1)] = share[k] * self.basis.T
        if self.added is not None:
            rows[fourth:] += (share @ self.added.gain) * np.eye(self.cells)
            rows[fourth:] -= (share @ self.added.gain) / self.cells
        solved = linalg.cho_solve(factor, rows, check_finite=False)
        return np.sqrt((rows * solved).sum(axis=0)) * self.scale.mean()

    def _tests(self) -> dict[str, float]:
        """Compare models with and without the fields, where the fit has all."""
        if self.added is None or not self.multiplicative:
            return {}
        light = self._light()
        weights = self._weights(light) * self.robust
        gain, residual = np.exp(self.flat), self._residual(light)
        matrix, vector = normal_equations(self, light, gain, residual, weights)
        prior = np.zeros_like(matrix)
        self._add_priors(prior, np.zeros(len(vector)), start=False)
        return compare_models(
            matrix,
            vector + matrix @ self._parameters(),
            prior,
            {
                'multiplicative': slice(self.split()[3], len(vector)),
                'additive': slice(0, self.cells),
            },
            int(self.known.sum()),
        )

    def _parameters(self) -> np.ndarray:
        """Return all numbers as one vector, levels less what is expected."""
        parts = [self.flat]
        if self.scene is not None:
            parts.append(self.scene.values[self.scene.used])
        parts += [self.sky - self._expected(), self.terms.ravel()]
        if self.added is not None:
            parts.append(self.added.values)
        return np.concatenate(parts)

    def _expected(self) -> np.ndarray:
        """Return the levels as they are known without the frames."""
        if self.expected is None:
            return np.ones(self.n)
        factor = (self.expected @ self.sky) / (self.expected @ self.expected)
        return factor * self.expected

    def _light(self) -> np.ndarray:
        """Return sky and scene of every cell of every frame."""
        light = np.repeat(self.sky[:, None], self.cells, axis=1)
        return light if self.scene is None else light + self.scene.light()

    def _residual(self, light: np.ndarray) -> np.ndarray:
        model = np.exp(self.flat) * light + self.terms @ self.basis.T
        if self.added is not None:
            model += self.added.light()
        return self.data - model

    def _weights(self, light: np.ndarray) -> np.ndarray:
        """Return inverse variances, model errors included."""
        variance = self.variance
        if self.scene is not None:
            rough = self.scene.roughness()
            bright = (light - self.sky[:, None]) / light
            extra = (_ROUGH * rough) ** 2 + (_BRIGHT * bright) ** 2
            variance = variance + np.exp(2 * self.flat) * extra
        return self.known / variance

    def _step(self, step: int) -> tuple[tuple, int]:
        """Solve the normal equations once."""
        light = self._light()
        residual = self._residual(light)
        gain = np.exp(self.flat)
        if self.scene is not None:
            weights = self.known / self.variance
            self.scene.weigh(residual / gain, weights, self.doubt)
        weights = self._weights(light)
        matrix, vector = normal_equations(
            self, light, gain, residual, weights * self.robust
        )
        priors = self._add_priors(matrix, vector, start=step < 2)
        factor = linalg.cho_factor(
            matrix, lower=True, overwrite_a=True, check_finite=False
        )
        change = linalg.cho_solve(factor, vector, check_finite=False)
        # No step that leaves the range where the exponential is nearly linear.
        change *= min(1.0, 0.3 / max(np.abs(change[: self.cells]).max(), 1e-12))
        self._search(change, weights * self.robust, priors)
        self._reweigh(weights, priors[0])
        return factor, len(vector)

    def split(self) -> tuple[int, int, int, int]:
        """Return where scene, sky, gradients and what is added begin."""
        first = self.cells
        second = first + (0 if self.scene is None else len(self.scene.used))
        third = second + self.n
        return first, second, third, third + TERMS * self.n

    def _add_priors(
        self, matrix: np.ndarray, vector: np.ndarray, *, start: bool
    ) -> tuple:
        """Add what is known beforehand; return the precisions of F and G."""
        first, second, third, fourth = self.split()
        x, y = self.grid.xy
        if self.multiplicative:
            covariance = flat_covariance(x, y, self.strength) + np.diag(self.local)
        else:
            covariance = 1e-10 * np.eye(self.cells)
        precision = linalg.inv(covariance, overwrite_a=True, check_finite=False)
        matrix[: self.cells, : self.cells] += precision
        vector[: self.cells] -= precision @ self.flat
        if self.scene is not None:
            index = np.arange(first, second)
            matrix[index, index] += 1 / self.scene.prior
            vector[index] -= self.scene.values[self.scene.used] / self.scene.prior
        index = np.arange(second, third)
        matrix[index, index] += self._sureness
        vector[index] -= self._sureness * (self.sky - self._expected())
        gradients = gradient_precision(self.terms, self.together, start=start)
        for j, inverse in enumerate(gradients):
            index = third + j + TERMS * np.arange(self.n)
            matrix[np.ix_(index, index)] += inverse
            vector[index] -= inverse @ self.terms[:, j]
        priors = [precision, gradients]
        if self.added is not None:
            priors.append(self.added.precision())
            matrix[fourth:, fourth:] += priors[2]
            vector[fourth:] -= priors[2] @ self.added.values
        return tuple(priors)

    @property
    def _sureness(self) -> float:
        """The precision of levels known beforehand, where they are."""
        return _UNSURE if self.expected is None else _SURE

    def _cost(self, weights: np.ndarray, priors: tuple) -> float:
        """Return the sum that is minimised."""
        cost = (weights * self._residual(self._light()) ** 2).sum()
        cost += self.flat @ priors[0] @ self.flat
        cost += self._sureness * ((self.sky - self._expected()) ** 2).sum()
        for j, inverse in enumerate(priors[1]):
            cost += self.terms[:, j] @ inverse @ self.terms[:, j]
        if self.scene is not None:
            values = self.scene.values[self.scene.used]
            cost += (values**2 / self.scene.prior).sum()
        if self.added is not None:
            cost += self.added.values @ priors[2] @ self.added.values
        return float(cost)

    def _search(self, change: np.ndarray, weights: np.ndarray, priors: tuple) -> None:
        """Go as far along a step as the sum gets smaller."""
        cost = self._cost(weights, priors)
        self._apply(change)
        for _ in range(_HALVINGS):
            if self._cost(weights, priors) < cost:
                break
            change = 0.5 * change
            self._apply(-change)
        self._normalise()

    def _apply(self, change: np.ndarray) -> None:
        """Take a step."""
        first, second, third, fourth = self.split()
        self.flat = self.flat + change[: self.cells]
        self.sky = self.sky + change[second:third]
        self.terms = self.terms + change[third:fourth].reshape(self.n, TERMS)
        if self.added is not None:
            self.added.values = self.added.values + change[fourth:]
        if self.scene is not None:
            self.scene.change(change[first:second])

    def _normalise(self) -> None:
        """Bring the mean of the logarithm of the flat to 0."""
        factor = float(np.exp(self.flat.mean()))
        self.flat = self.flat - self.flat.mean()
        self.sky = self.sky * factor
        if self.scene is not None:
            self.scene.values = self.scene.values * factor

    def _reweigh(self, weights: np.ndarray, precision: np.ndarray) -> None:
        """Find outliers, local departures of the flat, and its strength."""
        z = self._residual(self._light()) * np.sqrt(weights)
        middle = np.median(np.abs(z[self.known])) if self.known.any() else 0.0
        self.chi = max(1.4826 * float(middle), 1.0)
        self.robust = 1 / (1 + (z / (3 * self.chi)) ** 2) / self.chi**2
        if not self.multiplicative:
            return
        local = (self.local * (precision @ self.flat)) ** 2
        from scipy.ndimage import gaussian_filter

        smooth = gaussian_filter(local.reshape(self.grid.cells), 1, mode='nearest')
        self.local = np.maximum(smooth.ravel(), LOCAL**2)
        x, y = self.grid.xy
        terms = np.stack([np.ones_like(x), x, y, x**2 + y**2], axis=1)
        found = abs(float(np.linalg.lstsq(terms, self.flat, rcond=None)[0][3]))
        self.strength = min(max(found, 0.01), max(self.most, 0.01))
