# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What a flat and the light of the sky look like before a frame is seen.

The numbers here are assumptions. Where the frames decide they do not matter;
where the frames cannot decide, the uncertainty of the result comes from them.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    'LOCAL',
    'coherence',
    'flat_covariance',
    'gradient_basis',
    'gradient_precision',
]

#: The smallest local departure of the flat from a smooth one, as a fraction.
LOCAL = 0.003

# Lengths of smooth departures, in units of half of the diagonal.
_LONG, _SHORT = 0.25, 0.08
# How long a gradient stays what it is, as a share of the night; and what jumps.
_DRIFT, _JITTER = 0.25, 0.003


def flat_covariance(x: np.ndarray, y: np.ndarray, strength: float) -> np.ndarray:
    """
    Return the prior covariance of the logarithm of a flat, without its dust.

    Parameters
    ----------
    x, y : `~numpy.ndarray`
        Coordinates of the cells, 1 at a corner.

    strength : float
        Loss of light at a corner by vignetting.

    Returns
    -------
    covariance : `~numpy.ndarray`
        Vignetting of any strength around the middle; a tilt and an
        ellipticity in proportion to it, because they come from its centre
        being off by some 15 % of the half-diagonal; smooth departures.
    """
    r2 = x**2 + y**2
    odd = 0.15 * strength + 0.003
    terms = [
        (r2 - r2.mean(), 0.4),
        (r2**2 - (r2**2).mean(), 0.25),
        (r2**3 - (r2**3).mean(), 0.15),
        (x**2 - y**2, odd),
        (2 * x * y, odd),
        (x, odd),
        (y, odd),
        (r2 * x, odd),
        (r2 * y, odd),
    ]
    basis = np.stack([size * term for term, size in terms])
    distance = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2
    covariance = basis.T @ basis
    for size, length in (
        (0.006 + 0.10 * strength, _LONG),
        (0.009 + 0.03 * strength, _SHORT),
    ):
        covariance += size**2 * np.exp(-0.5 * distance / length**2)
    return covariance


def gradient_basis(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """
    Return the terms of the light that is added to a frame.

    Parameters
    ----------
    x, y : `~numpy.ndarray`
        Coordinates, 1 at a corner.

    Returns
    -------
    terms : list of `~numpy.ndarray`
        Two of first and three of second degree.
    """
    return [x + 0 * y, y + 0 * x, x**2 + 0 * y, y**2 + 0 * x, x * y]


def coherence(times: np.ndarray) -> np.ndarray:
    """
    Return how much gradients of frames are alike that are taken one after another.

    Parameters
    ----------
    times : `~numpy.ndarray`
        ``(n,)``, in any unit.

    Returns
    -------
    correlation : `~numpy.ndarray`
        ``(n, n)``. A gradient drifts during the night, as the level of the sky
        does; were it taken to change at random, its drift would be explained by
        that of the level, and split into flat and added light.
    """
    span = max(float(np.ptp(times)), 1e-9)
    apart = (times[:, None] - times) / span
    smooth = np.exp(-0.5 * (apart / _DRIFT) ** 2)
    return (1 - _JITTER) * smooth + _JITTER * np.eye(len(times))


def gradient_precision(
    terms: np.ndarray, together: np.ndarray, *, start: bool
) -> list[np.ndarray]:
    """
    Return the prior precision of the gradients of all frames, term by term.

    Parameters
    ----------
    terms : `~numpy.ndarray`
        ``(n, 5)``, the gradients as they are known.

    together : `~numpy.ndarray`
        See `coherence`.

    start : bool
        Whether they are not known yet.

    Returns
    -------
    precision : list of `~numpy.ndarray`
        ``(n, n)``. What all frames have in common is about three times as
        large as the differences between them.
    """
    n = len(terms)
    spread = np.std(terms, axis=0)
    usual = 1.4826 * np.median(np.abs(terms - np.median(terms, axis=0)), axis=0)
    first, second = _pooled(spread)
    # One frame in twilight says nothing about what the others share.
    shared, bent = _pooled(usual)
    result = []
    for k in range(terms.shape[1]):
        if start:
            common = single = 0.01 if k < 2 else 0.002
        elif k < 2:
            common, single = 3 * shared + 0.003, first
        else:
            common, single = min(3 * bent, shared) + 0.001, second
        covariance = common**2 * np.ones((n, n)) + single**2 * together
        result.append(np.linalg.inv(covariance))
    return result


def _pooled(spread: np.ndarray) -> tuple[float, float]:
    """Return the typical size of terms of first and of second degree."""
    first = max(float(np.sqrt(np.mean(spread[:2] ** 2))), 0.001)
    return first, max(float(np.sqrt(np.mean(spread[2:] ** 2))), 0.0005)
