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
    'jump_share',
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


def coherence(times: np.ndarray, jumps: float = 0.0) -> np.ndarray:
    """
    Return how much gradients of frames are alike that are taken one after another.

    Parameters
    ----------
    times : `~numpy.ndarray`
        ``(n,)``, in any unit.

    jumps : float, optional
        Which share of their variance jumps from frame to frame, see
        `jump_share`.

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
    share = max(jumps, _JITTER)
    return (1 - share) * smooth + share * np.eye(len(times))


def jump_share(data: np.ndarray, basis: np.ndarray, times: np.ndarray) -> float:
    """
    Return which share of the variance of gradients jumps from frame to frame.

    Parameters
    ----------
    data : `~numpy.ndarray`
        ``(n, cells)``, relative to the levels, NaN where unknown.

    basis : `~numpy.ndarray`
        ``(cells, 5)``, terms of a gradient, of mean 0.

    times : `~numpy.ndarray`
        ``(n,)``.

    Returns
    -------
    share : float
        From 0 to 1. The flat is in all frames alike, so that slopes relative to
        the median frame are those of the sky. What a frame has that the two beside
        it have not has jumped.
    """
    if len(data) < 5:
        return 0.0
    seen = np.isfinite(data).any(axis=0)
    data, basis = data[:, seen], basis[seen]
    ratio = data / np.nanmedian(data, axis=0)
    slopes = np.array([_slopes(row, basis) for row in ratio])[np.argsort(times)]
    alone = slopes[1:-1] - 0.5 * (slopes[:-2] + slopes[2:])
    jumps = np.median(np.abs(alone)) * 1.4826 / np.sqrt(1.5)
    spread = np.std(slopes, axis=0)
    return float(min(jumps**2 / max(np.mean(spread**2), 1e-12), 1.0))


def _slopes(row: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Fit a plane, leaving out outliers."""
    good = np.isfinite(row)
    terms = np.column_stack([np.ones(len(row)), basis[:, :2]])
    for _ in range(3):
        fit = np.linalg.lstsq(terms[good], row[good], rcond=None)[0]
        left = np.abs(row - terms @ fit)
        good = left < 4 * 1.4826 * np.median(left[good]) + 1e-9
    return fit[1:]


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
