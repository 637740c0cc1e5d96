# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The bend of the flat, as far as frames with gradients of their own leave it open.

A gradient of the sky that differs from frame to frame is no part of the model.
As far as it goes with the offsets, a bend of the flat with the opposite bend of
the sky looks the same: what is left over for each frame says how large that may
be by chance.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from astroflat.selfcal._kll_local import sum_cells
from astroflat.selfcal._kll_plane import in_step

if TYPE_CHECKING:
    from astroflat.selfcal._kll_fit import SkyFit

__all__ = ['Bend', 'fix_bend']

# The rms of the terms y^2, x^2 and xy of usual flats.
_USUAL = (0.05, 0.05, 0.02)
# The rms of these terms over a frame, coordinates from -1 to 1, mean 0.
_RMS = np.array([np.sqrt(4 / 45), np.sqrt(4 / 45), 1 / 3])
# A drift in step with time may hide gradients this many times those left over.
_HIDDEN = 10.0
_CELLS = 12
_ROWS = 64


@dataclass(frozen=True)
class Bend:
    """
    The part of a flat that goes with the square of the coordinates.

    Attributes
    ----------
    sigma : `~numpy.ndarray`
        One standard deviation of the terms y^2, x^2 and xy of the logarithm of
        the flat, coordinates from -1 to 1.

    total : `~numpy.ndarray`
        The terms themselves.
    """

    sigma: np.ndarray = field(default_factory=lambda: np.zeros(3))
    total: np.ndarray = field(default_factory=lambda: np.zeros(3))

    @property
    def rms(self) -> float:
        """The rms over the frame of what the terms may be wrong by."""
        return float(np.linalg.norm(self.sigma * _RMS))

    @property
    def size(self) -> float:
        """The rms over the frame of the terms."""
        return float(np.linalg.norm(self.total * _RMS))

    def add_to(self, variance: np.ndarray) -> np.ndarray:
        """
        Add the variance, in place.

        Parameters
        ----------
        variance : `~numpy.ndarray`
            ``(ny, nx)``, that of all else.

        Returns
        -------
        variance : `~numpy.ndarray`
            The same.
        """
        if self.sigma.any():
            add_terms(variance, self.sigma**2, squares=True)
        return variance


def fix_bend(fit: SkyFit) -> Bend:
    """
    Weigh the bend of a flat against that of usual ones, in place.

    Parameters
    ----------
    fit : SkyFit
        The fit. Its flat changes if gradients leave the bend open.

    Returns
    -------
    bend : Bend
        The terms and how sure they are.
    """
    total = _terms(fit.flat, fit.seen)
    variance = _variance(fit)
    usual = (np.array(_USUAL) / _RMS) ** 2
    gain = usual / (usual + variance)
    if not (variance > 0).any():
        return Bend(np.zeros(3), total)
    add_terms(fit.flat, (gain - 1) * total)
    return Bend(np.sqrt(gain * variance), gain * total)


def _variance(fit: SkyFit) -> np.ndarray:
    """Return the variance of the terms that gradients of the frames leave."""
    used = np.array([w.any() for w in fit.weights])
    groups, offsets = fit.layout.groups[used], fit.offsets[used]
    slopes, noise = _slopes(fit, np.flatnonzero(used))
    for g in np.unique(groups):
        for values in (offsets, slopes):
            values[groups == g] -= values[groups == g].mean(axis=0)
    freedom = max(len(slopes) - len(np.unique(groups)) - 2, 1)
    excess = np.maximum(np.sum(slopes**2, axis=0) / freedom - noise, 0)
    if any(in_step(along) for along in offsets.T):
        excess *= _HIDDEN**2
    told = np.diag(np.linalg.pinv(offsets.T @ offsets, rcond=1e-6))
    half = (np.array(fit.flat.shape) - 1) / 2
    down, right = excess * half[0] ** 2 * told[0], excess * half[1] ** 2 * told[1]
    # Each slope against each offset; the two mixed ones tell the same.
    mixed = 1 / np.sum(1 / np.maximum([down[1], right[0]], 1e-30))
    return np.array([down[0] / 4, right[1] / 4, mixed])


def _slopes(fit: SkyFit, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the slopes (y, x) left in frames, over half a frame, and their noise."""
    found, noise = np.zeros((len(frames), 2)), np.zeros((len(frames), 2))
    for i, k in enumerate(frames):
        left, weight = _binned(fit.residual[k], fit.weights[k])
        y, x = (np.broadcast_to(a, weight.shape) for a in _axes(weight.shape))
        terms = np.stack([np.ones(weight.shape), y, x]).reshape(3, -1)
        inverse = np.linalg.pinv((terms * weight.ravel()) @ terms.T, rcond=1e-9)
        found[i] = (inverse @ (terms @ left.ravel()))[1:]
        noise[i] = np.diag(inverse)[1:] * fit.noise.least**2
    return found, noise.mean(axis=0)


def _binned(residual: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return weighted sums of residuals, and of weights from 0 to 1, in cells."""
    number = [min(m, _CELLS) for m in residual.shape]
    product = np.empty(residual.shape, dtype=np.float32)
    for first in range(0, len(product), _ROWS):
        rows = slice(first, first + _ROWS)
        np.multiply(residual[rows], weights[rows], out=product[rows], dtype=np.float32)
    return sum_cells(product, number) / 255, sum_cells(weights, number) / 255


def _terms(flat: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the terms y^2, x^2 and xy of an image."""
    number = [min(m, _CELLS) for m in flat.shape]
    total = sum_cells(np.where(seen, flat, np.float32(0)), number)
    weight = sum_cells(seen, number)
    y, x = (np.broadcast_to(a, weight.shape) for a in _axes(weight.shape))
    terms = np.stack([np.ones(weight.shape), y, x, y * y, x * x, y * x]).reshape(6, -1)
    normal = (terms * weight.ravel()) @ terms.T
    return (np.linalg.pinv(normal, rcond=1e-9) @ (terms @ total.ravel()))[3:]


def _axes(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres of cells, from -1 to 1."""
    y, x = ((2 * np.arange(m) + 1) / m - 1 for m in shape)
    return y[:, None], x[None]


def add_terms(image: np.ndarray, terms: np.ndarray, *, squares: bool = False) -> None:
    """
    Add terms of mean 0 to an image, in place.

    Parameters
    ----------
    image : `~numpy.ndarray`
        ``(ny, nx)``.

    terms : `~numpy.ndarray`
        Of y^2, x^2 and xy.

    squares : bool, optional
        Whether the squares of the functions are meant, for variances.
    """
    power = 2 if squares else 1
    y, x = (np.linspace(-1, 1, m) if m > 1 else np.zeros(1) for m in image.shape)
    along = terms[1] * (x * x - 1 / 3) ** power
    across = x**power
    for v, row in zip(y, image, strict=True):
        own = terms[0] * (v * v - 1 / 3) ** power
        row += (own + along + terms[2] * v**power * across).astype(row.dtype)
