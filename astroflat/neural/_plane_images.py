# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""F of a plane, its uncertainty and its confidence, and what the report says of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from astroflat.neural._strips import run_strips

if TYPE_CHECKING:
    from astroflat.neural._compose import PlaneFields

__all__ = ['PlaneImages', 'chance_right', 'write_plane']

# What "right" means for the confidence.
_RIGHT = 0.01
# The chance is x / sqrt(2 + x^2), and 0.6827 at one standard deviation.
_WINGS = 0.6827**-2 - 1.0


class PlaneImages(NamedTuple):
    """
    Images of a plane.

    Attributes
    ----------
    flat, sigma, confidence : `~numpy.ndarray`
        F, 1 where pixels are bad, its standard deviation, and the chance that it
        is right to 1 %.

    numbers : dict
        What the report says of the plane.
    """

    flat: np.ndarray
    sigma: np.ndarray
    confidence: np.ndarray
    numbers: dict[str, Any]


class _Sums(NamedTuple):
    """Sums over a strip."""

    log_flat: float
    log_squares: float
    variance: float
    dusty: int
    flat: float
    good: int


def chance_right(sigma: np.ndarray) -> np.ndarray:
    """
    Return the chance that F is right to 1 %.

    Parameters
    ----------
    sigma : `~numpy.ndarray`
        Standard deviation of F, relative.

    Returns
    -------
    `~numpy.ndarray`
        From 0 to 1.

    Notes
    -----
    For Student's distribution with two degrees of freedom, 68.27 % of which are
    within one standard deviation: the errors of F have such wings, where dust or a
    slope was not seen. Those of a normal distribution would say 0.98 where 0.91 are
    right.
    """
    return _RIGHT / np.sqrt(_RIGHT**2 + _WINGS * np.square(sigma))


def write_plane(plane: PlaneFields, bad: np.ndarray, power: float) -> PlaneImages:
    """
    Write a plane out.

    Parameters
    ----------
    plane : PlaneFields
        Its fields.

    bad : `~numpy.ndarray` of bool
        Its mask.

    power : float
        What log F is multiplied by: the frame is stretched by this power.

    Returns
    -------
    PlaneImages
        F has the mean 1 where anything smooth is corrected.
    """
    flat, sigma, confidence = (np.empty(plane.shape, np.float32) for _ in range(3))
    power = np.float32(power)

    def write(rows: slice) -> _Sums:
        log_flat, sigma[rows] = plane.log_rows(rows), plane.sigma_rows(rows)
        np.exp(power * log_flat, out=flat[rows])
        return _add_up(plane, rows, log_flat, sigma[rows], flat[rows], ~bad[rows])

    sums = _Sums(*map(sum, zip(*run_strips(write, plane.shape), strict=True)))
    mean = None
    if plane.gates[0] and sums.good:
        mean = np.float32(sums.flat / sums.good)

    def finish(rows: slice) -> None:
        if mean is not None:
            flat[rows] /= mean
        sigma[rows] *= power * flat[rows]
        confidence[rows] = chance_right(sigma[rows])
        # Where nothing is known.
        flat[rows][bad[rows]] = 1

    run_strips(finish, plane.shape)
    return PlaneImages(flat, sigma, confidence, _numbers(plane, sums))


def _add_up(
    plane: PlaneFields,
    rows: slice,
    log_flat: np.ndarray,
    sigma: np.ndarray,
    flat: np.ndarray,
    good: np.ndarray,
) -> _Sums:
    """Add up what means are made of."""
    dusty = 0 if plane.dust is None else plane.dust.log_rows.count(rows)
    return _Sums(
        float(log_flat.sum(dtype=float)),
        float(np.square(log_flat, dtype=float).sum()),
        float(np.square(sigma, dtype=float).sum()),
        dusty,
        float(flat.sum(dtype=float, where=good)),
        int(np.count_nonzero(good)),
    )


def _numbers(plane: PlaneFields, sums: _Sums) -> dict[str, Any]:
    """Return numbers by name, in per cent of the flat or of the sky."""
    smooth, dust, size = plane.smooth, plane.dust, math.prod(plane.shape)
    if smooth is None:
        return {'level': 0.0}
    spread = sums.log_squares / size - (sums.log_flat / size) ** 2
    change = 100 * math.sqrt(max(spread, 0.0))
    expected = 100 * math.sqrt(sums.variance / size)
    return {
        'level': smooth.level,
        'smooth_percent': 100 * float(smooth.log_flat.std()),
        'smooth_sigma_percent': 100 * _rms(smooth.sigma_flat),
        'smooth_applied': plane.gates[0],
        'gradient_percent': 100 * float(smooth.gradient.std()),
        'gradient_sigma_percent': 100 * _rms(smooth.sigma_gradient),
        'gradient_applied': plane.gates[1],
        'n_dust': dust.n_objects if dust else 0,
        'n_doubtful': dust.n_doubtful if dust else 0,
        'dust_area_percent': 100 * sums.dusty / size,
        'change_percent': change,
        'expected_percent': expected,
        'nothing_percent': float(np.hypot(change, expected)),
        'structure_percent': 100 * smooth.structure,
        'better_chance': smooth.better[0],
        'distance': smooth.distance,
    }


def _rms(values: np.ndarray) -> float:
    return math.sqrt(np.square(values, dtype=float).mean())
