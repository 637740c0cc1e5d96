# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""How wrong the flat may be: noise through the solver, and two halves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from astroflat.selfcal._kll_geometry import study_dithers
from astroflat.selfcal._kll_local import enlarge, local_mean
from astroflat.selfcal._kll_plane import take_plane

if TYPE_CHECKING:
    from astroflat.selfcal._kll_fit import SkyFit

__all__ = ['FlatError', 'estimate_error']

# Noise of unit variance is followed to this rms error.
_LOOSE = 0.05
# Scale on which variances are averaged, as a share of the frame.
_LOCAL = 1 / 12
_BLOCK = 16
# Iterations that are enough to know an error.
_MOST = 60
# Rows that are worked on at a time.
_ROWS = 64


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
    shape = fit.flat.shape
    around = [max(4.0, m * _LOCAL) for m in shape]
    rest = local_mean(_sum_of_squares(fit), fit.seen, around)
    halves = _halves(fit)
    apart, count = _difference(fit, halves, _LOOSE * fit.noise.least)
    _fill_with_noise(fit, rng)
    expected, more = _difference(fit, halves, _LOOSE)
    operator = fit.operator()
    sky = np.zeros(operator.sky_shape, dtype=np.float32)
    solved, probe = fit.solve(
        operator, fit.residual, _LOOSE, max_iterations=_MOST, into=sky
    )
    fit.subtract(operator, sky, solved.levels, probe)
    total = solved.iterations + count + more
    del sky
    take_plane(probe, fit.seen)
    told = local_mean(_sum_of_squares(fit), fit.seen, around)
    share = operator.total
    share /= 255
    np.maximum(share, 1e-3, out=share)
    np.square(probe, out=probe)
    probe *= share
    probe[~fit.seen] = 0
    growth = local_mean(probe, fit.seen, around)
    noise = rest / np.maximum(told, 1e-12) / _kept_share(fit.options.clip)
    sigma = float(np.sqrt(np.median(enlarge(noise, shape)[fit.seen])))
    variance = enlarge(noise * np.maximum(growth, 1), shape)
    variance /= share
    if apart is None or expected is None:
        return FlatError(variance, sigma, None, 0.0, total)
    fine, large = _compare(apart, expected, sigma)
    variance *= np.float32(max(1.0, fine) ** 2)
    variance += np.float32(large**2)
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
) -> tuple[tuple[float, float] | None, int]:
    """Return how half the difference of two halves scatters: fine, and large."""
    flats, count = [], 0
    good = fit.seen.copy()
    for half in halves:
        operator = fit.operator(half)
        solved, flat = fit.solve(
            operator, fit.residual[half], tolerance, half, max_iterations=_MOST
        )
        good &= operator.total > 0
        # Small numbers, kept in little memory while the other half is at work.
        flats.append(flat if flats else flat.astype(np.float16))
        count += solved.iterations
        del operator, solved, flat
    if not flats or not good.any():
        return None, count
    apart = flats.pop()
    apart -= flats.pop()
    apart *= np.float32(-0.5)
    apart[~good] = 0
    take_plane(apart, good)
    smooth = enlarge(local_mean(apart, good, [_BLOCK / 2] * 2), apart.shape)
    apart -= smooth
    return (_robust(apart[good]), float(np.var(smooth[good], dtype=np.float64))), count


def _compare(
    apart: tuple[float, float], expected: tuple[float, float], sigma: float
) -> tuple[float, float]:
    """Return the ratio of the differences, and what is left on large scales."""
    fine = apart[0] / max(sigma * expected[0], 1e-12)
    excess = apart[1] - (max(fine, 1) * sigma) ** 2 * expected[1]
    return float(fine), float(np.sqrt(max(excess, 0)))


def _robust(values: np.ndarray) -> float:
    return float(1.4826 * np.median(np.abs(values)))


def _fill_with_noise(fit: SkyFit, rng: np.random.Generator) -> None:
    """Put noise of the variance that the weights imply in place of residuals."""
    scale = np.sqrt(255 / np.maximum(np.arange(256, dtype=np.float32), 1))
    scale[0] = 0
    for k, weights in enumerate(fit.weights):
        for first in range(0, len(weights), _ROWS):
            part = weights[first : first + _ROWS]
            noise = rng.standard_normal(part.shape, dtype=np.float32)
            fit.residual[k, first : first + _ROWS] = noise * scale[part]


def _sum_of_squares(fit: SkyFit) -> np.ndarray:
    """Return the weighted sum of the squares of the residuals over the frames."""
    total = np.zeros(fit.flat.shape, dtype=np.float32)
    for residual, weights in zip(fit.residual, fit.weights, strict=True):
        for first in range(0, len(total), _ROWS):
            rows = slice(first, first + _ROWS)
            left = residual[rows].astype(np.float32)
            total[rows] += left * left * weights[rows]
    total[~fit.seen] = 0
    return total


def _kept_share(clip: float | None) -> float:
    """Return what robust weights leave of the sum of squares of normal noise."""
    if clip is None:
        return 1.0
    t = clip**-2.0
    return 1 - 6 * t + 15 * t * t
