# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Flat, sky, gradients and scene together, on the coarse grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg

from astroflat.selfcal._prior import (
    LOCAL,
    flat_covariance,
    gradient_basis,
    gradient_precision,
)
from astroflat.selfcal._scene import Scene
from astroflat.selfcal._start import first_guess, lower_half

if TYPE_CHECKING:
    from astroflat.selfcal._grid import Grid

__all__ = ['CoarseFit', 'CoarseResult']

_ITERATIONS = 9
# Errors of the model itself: of levels, where the scene is rough, where bright.
_FLOOR, _ROUGH, _BRIGHT = 0.001, 0.5, 0.05
_TERMS = 5
_HALVINGS = 5


@dataclass(frozen=True)
class CoarseResult:
    """
    Fields of large scale.

    Parameters
    ----------
    log_flat : `~numpy.ndarray`
        On the grid, mean 0.

    covariance : `~numpy.ndarray`
        Of its cells, one after the other.

    sky : `~numpy.ndarray`
        ``(n,)``, level of the sky in the unit of the frames.

    terms : `~numpy.ndarray`
        ``(n, 5)``, gradient of each frame, see `gradient_basis`, in units of
        ``scale``.

    scale : `~numpy.ndarray`
        ``(n,)``, the median level of each frame.

    scene : Scene or None
        Light that moves with the sky.

    numbers : dict
        ``chi`` (residual over noise), ``object_share`` (of the sky),
        ``sky_scatter`` (relative, of what passes for sky) and ``strength``.
    """

    log_flat: np.ndarray
    covariance: np.ndarray
    sky: np.ndarray
    terms: np.ndarray
    scale: np.ndarray
    scene: Scene | None
    numbers: dict[str, float]


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
    """

    def __init__(
        self,
        grid: Grid,
        values: np.ndarray,
        counts: np.ndarray,
        noise: np.ndarray,
        offsets: np.ndarray | None,
        exposures: np.ndarray,
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
        self.terms = np.zeros((self.n, _TERMS))
        self.local = np.full(self.cells, 0.01**2)
        self.robust = np.ones((self.n, self.cells))
        self.doubt = 0.02
        self.chi = 1.0

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
        )

    def _covariance(self, factor: tuple, size: int) -> np.ndarray:
        """Return the posterior covariance of the logarithm of the flat."""
        unit = np.eye(size, self.cells)
        return linalg.cho_solve(factor, unit, check_finite=False)[: self.cells]

    def _light(self) -> np.ndarray:
        """Return sky and scene of every cell of every frame."""
        light = np.repeat(self.sky[:, None], self.cells, axis=1)
        return light if self.scene is None else light + self.scene.light()

    def _residual(self, light: np.ndarray) -> np.ndarray:
        model = np.exp(self.flat) * light + self.terms @ self.basis.T
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
        matrix, vector = self._normal(light, gain, residual, weights * self.robust)
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

    def _split(self) -> tuple[int, int, int]:
        """Return where the unknowns of scene, sky and gradients begin."""
        scene = 0 if self.scene is None else len(self.scene.used)
        return self.cells, self.cells + scene, self.cells + scene + self.n

    def _normal(
        self,
        light: np.ndarray,
        gain: np.ndarray,
        residual: np.ndarray,
        weights: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the normal equations of the data."""
        first, second, third = self._split()
        size = third + _TERMS * self.n
        matrix, vector = np.zeros((size, size)), np.zeros(size)
        slope = gain * light
        own = np.arange(self.cells)
        matrix[own, own] = (slope**2 * weights).sum(axis=0)
        vector[: self.cells] = (slope * weights * residual).sum(axis=0)
        tail = np.concatenate([gain[:, None], self.basis], axis=1)
        for k in range(self.n):
            w = weights[k]
            index = [second + k, *(third + _TERMS * k + np.arange(_TERMS))]
            weighted = w[:, None] * tail
            matrix[: self.cells, index] = slope[k][:, None] * weighted
            matrix[np.ix_(index, index)] = tail.T @ weighted
            vector[index] = weighted.T @ residual[k]
            if self.scene is not None:
                rows = self.scene.rows(k).multiply(gain[:, None]).tocsr()
                matrix[first:second, index] = rows.T @ weighted
                vector[first:second] += rows.T @ (w * residual[k])
        if self.scene is not None:
            across, inside = self.scene.products(gain, slope, weights)
            matrix[: self.cells, first:second] = across
            matrix[first:second, first:second] = inside
            matrix[first:second, : self.cells] = across.T
        matrix[second:, :second] = matrix[:second, second:].T
        return matrix, vector

    def _add_priors(
        self, matrix: np.ndarray, vector: np.ndarray, *, start: bool
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Add what is known beforehand; return the precisions of F and G."""
        first, second, third = self._split()
        x, y = self.grid.xy
        covariance = flat_covariance(x, y, self.strength) + np.diag(self.local)
        precision = linalg.inv(covariance, overwrite_a=True, check_finite=False)
        matrix[: self.cells, : self.cells] += precision
        vector[: self.cells] -= precision @ self.flat
        if self.scene is not None:
            index = np.arange(first, second)
            matrix[index, index] += 1 / self.scene.prior
            vector[index] -= self.scene.values[self.scene.used] / self.scene.prior
        index = np.arange(second, third)
        matrix[index, index] += 4.0
        vector[index] -= 4.0 * (self.sky - 1)
        gradients = gradient_precision(self.terms, start=start)
        for j, inverse in enumerate(gradients):
            index = third + j + _TERMS * np.arange(self.n)
            matrix[np.ix_(index, index)] += inverse
            vector[index] -= inverse @ self.terms[:, j]
        return precision, gradients

    def _cost(self, weights: np.ndarray, priors: tuple) -> float:
        """Return the sum that is minimised."""
        cost = (weights * self._residual(self._light()) ** 2).sum()
        cost += self.flat @ priors[0] @ self.flat + 4.0 * ((self.sky - 1) ** 2).sum()
        for j, inverse in enumerate(priors[1]):
            cost += self.terms[:, j] @ inverse @ self.terms[:, j]
        if self.scene is not None:
            values = self.scene.values[self.scene.used]
            cost += (values**2 / self.scene.prior).sum()
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
        first, second, third = self._split()
        self.flat = self.flat + change[: self.cells]
        self.sky = self.sky + change[second:third]
        self.terms = self.terms + change[third:].reshape(self.n, _TERMS)
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
        local = (self.local * (precision @ self.flat)) ** 2
        from scipy.ndimage import gaussian_filter

        smooth = gaussian_filter(local.reshape(self.grid.cells), 1, mode='nearest')
        self.local = np.maximum(smooth.ravel(), LOCAL**2)
        x, y = self.grid.xy
        terms = np.stack([np.ones_like(x), x, y, x**2 + y**2], axis=1)
        found = abs(float(np.linalg.lstsq(terms, self.flat, rcond=None)[0][3]))
        self.strength = min(max(found, 0.01), max(self.most, 0.01))
