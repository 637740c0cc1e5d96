# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""How wrong the flat may be: noise through the solver, and two halves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from astroflat.selfcal._kll_geometry import study_dithers

if TYPE_CHECKING:
    from astroflat.selfcal._kll_fit import SkyFit

__all__ = ['FlatError', 'Plane', 'estimate_error', 'fix_plane']

# Noise of unit variance is followed to this rms error.
_LOOSE = 0.05
# Scale on which variances are averaged, as a share of the frame.
_LOCAL = 1 / 12
_BLOCK = 16
# The rms of the plane through the logarithm of a usual flat.
_USUAL = 0.03
# Offsets that correlate this well with time drift.
_STEADY = 0.8
# Iterations that are enough to know an error.
_MOST = 60


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

    def variance(self, shape: tuple[int, int]) -> np.ndarray:
        """
        Return the variance of the plane at every pixel.

        Parameters
        ----------
        shape : tuple of int
            Of a frame.

        Returns
        -------
        variance : `~numpy.ndarray`
            Zero in the middle.
        """
        y, x = (np.arange(m) - (m - 1) / 2 for m in shape)
        c = self.covariance
        return (
            c[0, 0] * (y * y)[:, None] + c[1, 1] * x * x + 2 * c[0, 1] * np.outer(y, x)
        )


@dataclass(frozen=True)
class FlatError:
    """
    The uncertainty of the logarithm of a flat.

    Attributes
    ----------
    variance : `~numpy.ndarray`
        ``(ny, nx)``, without that of the plane and of undetermined patterns.

    noise : float
        The relative noise of a sample.

    split : float or None
        The difference of two halves of the frames in units of what noise
        explains; None if the halves cannot stand alone.

    large : float
        What noise does not explain on large scales, rms.

    iterations : int
        How many it took.
    """

    variance: np.ndarray
    noise: float
    split: float | None = None
    large: float = 0.0
    iterations: int = 0
    notes: list[str] = field(default_factory=list)


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
    if _in_step(offsets @ total):
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


def _in_step(moves: np.ndarray) -> bool:
    """Tell whether the frames move steadily."""
    if np.ptp(moves) == 0:
        return False
    order = np.arange(len(moves))
    return bool(abs(np.corrcoef(order, moves)[0, 1]) > _STEADY)


def _slope_of(image: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the slope (y, x) of the plane through an image, per pixel."""
    difference = image - _off_plane(image, seen)
    down = difference[-1, 0] - difference[0, 0]
    right = difference[0, -1] - difference[0, 0]
    return np.array([down, right]) / np.maximum(np.array(image.shape) - 1, 1)


def estimate_error(fit: SkyFit, rng: np.random.Generator) -> FlatError:
    """
    Follow noise through the solver, and compare two halves of the frames.

    Parameters
    ----------
    fit : SkyFit
        The finished fit. Its residuals are used up.

    rng : `numpy.random.Generator`
        Source of the noise.

    Returns
    -------
    error : FlatError
        Per pixel.
    """
    operator = fit.operator()
    rest = _sum_of_squares(fit)
    halves = _halves(fit)
    apart, count = _difference(fit, halves, _LOOSE * fit.noise.least)
    _fill_with_noise(fit, rng)
    solved, probe = fit.solve(operator, fit.residual, _LOOSE, max_iterations=_MOST)
    fit.subtract(operator, solved, probe)
    probe = _off_plane(probe, fit.seen)
    told = _local(_sum_of_squares(fit), fit.seen)
    kept = _kept_share(fit.options.clip)
    noise = _local(rest, fit.seen) / np.maximum(told, 1e-12) / kept
    share = np.maximum(operator.total / 255, 1e-3)
    growth = _local(np.where(fit.seen, probe**2 * share, 0), fit.seen)
    variance = noise * np.maximum(growth, 1) / share
    sigma = float(np.sqrt(np.median(noise[fit.seen])))
    expected, more = _difference(fit, halves, _LOOSE)
    total = solved.iterations + count + more
    if apart is None or expected is None:
        return FlatError(variance, sigma, None, 0.0, total)
    fine, large = _compare(apart, expected, sigma, fit.seen)
    variance = variance * max(1.0, fine) ** 2 + large**2
    return FlatError(variance, sigma, fine, large, total)


def _halves(fit: SkyFit) -> list[slice]:
    """Return every other frame, if they can stand alone."""
    halves = [slice(0, None, 2), slice(1, None, 2)]
    for half in halves:
        groups = fit.layout.groups[half]
        alone = np.bincount(groups).max(initial=0) < 3
        if (
            alone
            or study_dithers(
                fit.offsets[half], fit.flat.shape, groups=groups
            ).degenerate
        ):
            return []
    return halves


def _difference(
    fit: SkyFit, halves: list[slice], tolerance: float
) -> tuple[np.ndarray | None, int]:
    """Return half the difference of the flats of two halves."""
    flats, count = [], 0
    for half in halves:
        operator = fit.operator(half)
        solved, flat = fit.solve(
            operator, fit.residual[half], tolerance, half, max_iterations=_MOST
        )
        flats.append(np.where(operator.total > 0, flat, np.nan))
        count += solved.iterations
    if not flats:
        return None, 0
    return (flats[0] - flats[1]) / 2, count


def _compare(
    apart: np.ndarray, expected: np.ndarray, sigma: float, seen: np.ndarray
) -> tuple[float, float]:
    """Return the ratio of the differences, and what is left on large scales."""
    good = seen & np.isfinite(apart) & np.isfinite(expected)
    if not good.any():
        return 1.0, 0.0
    apart, expected = (
        _off_plane(np.where(good, a, 0), good) for a in (apart, expected)
    )
    smooth = [_blocks(a, good) for a in (apart, expected)]
    fine = _robust((apart - smooth[0])[good]) / max(
        sigma * _robust((expected - smooth[1])[good]), 1e-12
    )
    excess = np.var(smooth[0][good]) - (max(fine, 1) * sigma) ** 2 * np.var(
        smooth[1][good]
    )
    return float(fine), float(np.sqrt(max(excess, 0)))


def _robust(values: np.ndarray) -> float:
    return float(1.4826 * np.median(np.abs(values)))


def _blocks(image: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Return what is left of an image on scales beyond a block."""
    from scipy.ndimage import gaussian_filter

    weight = gaussian_filter(good.astype(np.float32), _BLOCK / 2)
    smooth = gaussian_filter(np.where(good, image, 0), _BLOCK / 2)
    return smooth / np.maximum(weight, 1e-3)


def _fill_with_noise(fit: SkyFit, rng: np.random.Generator) -> None:
    """Put noise of the variance that the weights imply in place of residuals."""
    for k, weights in enumerate(fit.weights):
        noise = rng.standard_normal(weights.shape, dtype=np.float32)
        noise *= np.sqrt(255 / np.maximum(weights, 1, dtype=np.float32))
        fit.residual[k] = noise * (weights > 0)


def _sum_of_squares(fit: SkyFit) -> np.ndarray:
    """Return the weighted sum of the squares of the residuals over the frames."""
    total = np.zeros(fit.flat.shape, dtype=np.float32)
    for residual, weights in zip(fit.residual, fit.weights, strict=True):
        left = residual.astype(np.float32)
        total += left * left * weights
    return total


def _local(image: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the mean of the surroundings."""
    from scipy.ndimage import gaussian_filter

    sigma = [max(4.0, m * _LOCAL) for m in image.shape]
    weight = gaussian_filter(seen.astype(np.float32), sigma, mode='constant')
    smooth = gaussian_filter(np.where(seen, image, 0), sigma, mode='constant')
    return smooth / np.maximum(weight, 1e-6)


def _off_plane(image: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return an image minus the plane through it, which only levels can tell."""
    ny, nx = image.shape
    y, x = np.linspace(-1, 1, ny)[:, None], np.linspace(-1, 1, nx)
    terms = [np.ones(image.shape), y * np.ones(nx), x * np.ones((ny, 1))]
    normal = [[np.sum(a * b * seen) for b in terms] for a in terms]
    right = [np.sum(a * image * seen) for a in terms]
    fit = np.linalg.lstsq(np.array(normal), np.array(right), rcond=None)[0]
    return image - sum(c * t for c, t in zip(fit, terms, strict=True))


def _kept_share(clip: float | None) -> float:
    """Return what robust weights leave of the sum of squares of normal noise."""
    if clip is None:
        return 1.0
    t = clip**-2.0
    return 1 - 6 * t + 15 * t * t
