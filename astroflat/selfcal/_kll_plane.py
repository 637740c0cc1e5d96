# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The slope of the flat, which only the levels of the frames can tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from astroflat.selfcal._kll_fit import SkyFit

__all__ = ['Plane', 'fit_plane', 'fix_plane', 'in_step', 'take_plane']

# The rms of the plane through the logarithm of a usual flat.
_USUAL = 0.03
# Offsets that correlate this well with time drift.
_STEADY = 0.8
# Rows that are worked on at a time.
_ROWS = 64


@dataclass(frozen=True)
class Plane:
    """
    What the levels say about the slope of the flat.

    Attributes
    ----------
    slope : `~numpy.ndarray`
        (y, x) per pixel: what was added to the logarithm of the flat.

    covariance : `~numpy.ndarray`
        ``(2, 2)``: its uncertainty.

    scatter : float
        The rms of the levels beside it.

    total : `~numpy.ndarray`
        (y, x): the slope that the flat has then.
    """

    slope: np.ndarray
    covariance: np.ndarray
    scatter: float
    total: np.ndarray = field(default_factory=lambda: np.zeros(2))

    def add_to(self, variance: np.ndarray) -> np.ndarray:
        """
        Add the variance of the plane, in place.

        Parameters
        ----------
        variance : `~numpy.ndarray`
            ``(ny, nx)``, that of all else.

        Returns
        -------
        variance : `~numpy.ndarray`
            The same.
        """
        c = self.covariance
        ny, nx = variance.shape
        x = np.arange(nx) - (nx - 1) / 2
        along = c[1, 1] * x * x
        for y, row in zip(np.arange(ny) - (ny - 1) / 2, variance, strict=True):
            row += (c[0, 0] * y * y + 2 * c[0, 1] * y * x + along).astype(row.dtype)
        return variance

    def mean_variance(self, shape: tuple[int, int]) -> float:
        """
        Return the mean of the variance over a frame.

        Parameters
        ----------
        shape : tuple of int
            Of the frame.

        Returns
        -------
        variance : float
            Zero if the slope is known.
        """
        c = np.diag(self.covariance)
        return float(c @ [(m * m - 1) / 12 for m in shape])


def fix_plane(fit: SkyFit) -> Plane:
    """
    Give the flat the slope that makes levels independent of offsets, in place.

    A slope of the flat with the opposite slope of the sky changes the frames
    by constants, as levels do: only the levels can tell it.

    Parameters
    ----------
    fit : SkyFit
        The fit. Its flat and levels change.

    Returns
    -------
    plane : Plane
        The slope and how sure it is.
    """
    used = np.array([w.any() for w in fit.weights])
    groups = fit.layout.groups[used]
    offsets, levels = fit.offsets[used], fit.levels[used]
    for g in np.unique(groups):
        offsets[groups == g] -= offsets[groups == g].mean(axis=0)
        levels[groups == g] -= levels[groups == g].mean()
    freedom = len(levels) - len(np.unique(groups)) - 2
    normal = np.linalg.pinv(offsets.T @ offsets, rcond=1e-6)
    slope = normal @ offsets.T @ levels
    left = levels - offsets @ slope
    # Without degrees of freedom the scatter itself is all that is known.
    rest = left if freedom > 0 else levels
    variance = float(rest @ rest) / max(freedom, 1)
    covariance = variance * normal
    total = _slope_of(fit.flat, fit.seen) + slope
    if in_step(offsets @ total):
        # Extinction grows in step with a drift, too.
        covariance = covariance + np.outer(total, total)
    change, covariance = _believe(fit, slope, covariance)
    y, x = (np.arange(m) - (m - 1) / 2 for m in fit.flat.shape)
    fit.flat += (change[0] * y[:, None] + change[1] * x).astype(np.float32)
    fit.levels -= fit.offsets @ change
    total = total - slope + change
    return Plane(change, covariance, float(np.sqrt(variance)), total)


def _believe(
    fit: SkyFit, slope: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weigh a slope told by levels against that of usual flats, which is small."""
    size = np.array(fit.flat.shape)
    now = _slope_of(fit.flat, fit.seen)
    usual = np.diag(12 * (_USUAL / size) ** 2)
    gain = usual @ np.linalg.pinv(usual + covariance)
    return gain @ (now + slope) - now, (np.eye(2) - gain) @ usual


def in_step(moves: np.ndarray) -> bool:
    """
    Tell whether the frames move steadily.

    Parameters
    ----------
    moves : `~numpy.ndarray`
        ``(n,)``, in the order of time.

    Returns
    -------
    steady : bool
        Whether they correlate with time.
    """
    if np.ptp(moves) == 0:
        return False
    order = np.arange(len(moves))
    return bool(abs(np.corrcoef(order, moves)[0, 1]) > _STEADY)


def _slope_of(image: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the slope (y, x) of the plane through an image, per pixel."""
    half = np.maximum((np.array(image.shape) - 1) / 2, 1)
    return fit_plane(image, seen)[1:] / half


def fit_plane(image: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """
    Fit a plane to the pixels that are seen.

    Parameters
    ----------
    image : `~numpy.ndarray`
        ``(ny, nx)``, finite where seen.

    seen : `~numpy.ndarray` of bool
        ``(ny, nx)``.

    Returns
    -------
    plane : `~numpy.ndarray`
        Its value in the middle, and what it rises by from there to the last
        row and to the last column.
    """
    y, x = (np.linspace(-1, 1, m) if m > 1 else np.zeros(1) for m in image.shape)
    powers = np.stack([np.ones(len(x)), x, x * x], axis=1).astype(np.float32)
    normal, right = np.zeros((3, 3)), np.zeros(3)
    # Some rows at a time, for the sake of memory.
    for first in range(0, len(image), _ROWS):
        rows = slice(first, first + _ROWS)
        good = seen[rows].astype(np.float32)
        moments = (good @ powers).astype(np.float64)
        good *= image[rows]
        values = (good @ powers[:, :2]).astype(np.float64)
        v = y[rows]
        one, along, square = moments.T
        terms = [[one, v * one, along], [v * one, v * v * one, v * along]]
        terms.append([along, v * along, square])
        normal += np.sum(terms, axis=2)
        right += [values[:, 0].sum(), v @ values[:, 0], values[:, 1].sum()]
    return np.linalg.lstsq(normal, right, rcond=None)[0]


def take_plane(image: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """
    Subtract the plane through an image, in place.

    Parameters
    ----------
    image : `~numpy.ndarray`
        ``(ny, nx)``.

    seen : `~numpy.ndarray` of bool
        Where it counts.

    Returns
    -------
    image : `~numpy.ndarray`
        The same.
    """
    middle, down, right = fit_plane(image, seen)
    rise = (right * np.linspace(-1, 1, image.shape[1])).astype(image.dtype)
    for y, row in zip(np.linspace(-1, 1, len(image)), image, strict=True):
        row -= rise + image.dtype.type(middle + down * y)
    return image
