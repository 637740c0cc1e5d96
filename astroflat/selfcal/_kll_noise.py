# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""How much samples scatter, by brightness, and what weight that gives them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ['NoiseModel', 'biweight']

_BINS = 24
_FEWEST = 50
# Samples whose noise is this many times the least count for nothing.
_FAINTEST = 0.06


@dataclass(frozen=True)
class NoiseModel:
    """
    The relative noise of a sample as a function of its brightness.

    Attributes
    ----------
    brightness : `~numpy.ndarray`
        Logarithms, increasing.

    sigma : `~numpy.ndarray`
        The noise there.
    """

    brightness: np.ndarray
    sigma: np.ndarray

    @classmethod
    def of(
        cls, residual: np.ndarray, brightness: np.ndarray, share: float
    ) -> NoiseModel:
        """
        Measure it by the median absolute deviation in bins of brightness.

        Parameters
        ----------
        residual : `~numpy.ndarray`
            What the model leaves, 1-D.

        brightness : `~numpy.ndarray`
            Logarithms of what it predicts.

        share : float
            The share of the noise that is left in residuals: the square root
            of degrees of freedom per sample.

        Returns
        -------
        noise : NoiseModel
            With at most 24 bins of equal numbers.
        """
        order = np.argsort(brightness)
        bins = max(1, min(_BINS, len(order) // _FEWEST))
        parts = np.array_split(order, bins)
        place = np.array([np.median(brightness[p]) for p in parts])
        sigma = [1.4826 * np.median(np.abs(residual[p])) / share for p in parts]
        # Noise-free data have none; weights need some.
        sigma = np.maximum(sigma, 1e-6)
        place, first = np.unique(place, return_index=True)
        return cls(place, sigma[first])

    @property
    def least(self) -> float:
        """The noise of the samples that count in full."""
        return float(self.sigma.min())

    def __call__(self, brightness: np.ndarray) -> np.ndarray:
        """
        Return the noise of samples.

        Parameters
        ----------
        brightness : `~numpy.ndarray`
            Logarithms.

        Returns
        -------
        sigma : `~numpy.ndarray`
            float32.
        """
        shape = np.shape(brightness)
        grid = np.linspace(self.brightness[0], self.brightness[-1], 512)
        table = np.interp(grid, self.brightness, self.sigma).astype(np.float32)
        span = max(float(grid[-1] - grid[0]), 1e-6)
        scale, shift = np.float32(511 / span), np.float32(grid[0])
        index = np.clip((np.ravel(brightness) - shift) * scale, 0, 511)
        return table[index.astype(np.int16)].reshape(shape)

    def weights(
        self, residual: np.ndarray, brightness: np.ndarray, clip: float
    ) -> np.ndarray:
        """
        Return the weights of samples.

        Parameters
        ----------
        residual, brightness : `~numpy.ndarray`
            Of the samples.

        clip : float
            Beyond so many standard deviations they count for nothing.

        Returns
        -------
        weights : `~numpy.ndarray`
            From 0 to 1, float32.
        """
        sigma = self(brightness)
        weights = np.square(np.float32(self.least) / sigma)
        weights[weights < _FAINTEST**2] = 0
        weights *= biweight(residual / (np.float32(clip) * sigma))
        return weights


def biweight(x: np.ndarray) -> np.ndarray:
    """
    Return Tukey's weights: 1 at 0, nothing beyond 1.

    Parameters
    ----------
    x : `~numpy.ndarray`
        Residuals in units of the limit.

    Returns
    -------
    weights : `~numpy.ndarray`
        Of the type of ``x``.
    """
    out = 1 - x * x
    np.maximum(out, 0, out=out)
    return out * out
