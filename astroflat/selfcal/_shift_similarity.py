# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Offset, rotation and scale between lists of positions: from WCS and stars."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ['Similarity', 'fit_similarity', 'match_stars', 'rotation_vote', 'wcs_pairs']


_TIMES = 6
# The median of chi squared of one degree of freedom.
_MEDIAN = 0.4549


@dataclass(frozen=True)
class Similarity:
    """
    How the sky of one frame lies on another.

    Attributes
    ----------
    offset : `~numpy.ndarray`
        (dy, dx) at the centre of the frame.

    error : float
        One standard deviation of it, in pixels.

    rotation : float
        In radians, from x towards y.

    rotation_error : float
        One standard deviation of it, and of the scale.

    scale : float
        1 for the same.

    share : float
        The share of positions that take part.
    """

    offset: np.ndarray
    error: float
    rotation: float
    rotation_error: float
    scale: float
    share: float


def fit_similarity(
    here: np.ndarray,
    there: np.ndarray,
    centre: np.ndarray,
    share: float = 1.0,
    *,
    error: np.ndarray | None = None,
) -> Similarity:
    """
    Fit offset, rotation and scale to pairs of positions, leaving out outliers.

    Parameters
    ----------
    here, there : `~numpy.ndarray`
        ``(m, 2)``, (y, x) in the frame and in the reference.

    centre : `~numpy.ndarray`
        (y, x) that the frame turns about.

    share : float, optional
        Handed on.

    error : `~numpy.ndarray`, optional
        ``(m,)``, of the positions, by which they are weighted; all alike by
        default. How large they are is learnt from the scatter, and what all have
        in common beside them.

    Returns
    -------
    similarity : Similarity
        The fit. Its errors hold where neighbours err alike.
    """
    p, q = there - centre, here - centre
    zero, one = np.zeros(len(p)), np.ones(len(p))
    # q = (1 + s) p + rotation x p + offset, to be exact with a = s cos, b = s sin.
    matrix = np.concatenate(
        [
            np.stack([p[:, 0], p[:, 1], one, zero], axis=1),
            np.stack([p[:, 1], -p[:, 0], zero, one], axis=1),
        ]
    )
    right = np.concatenate([q[:, 0], q[:, 1]])
    error = np.zeros(len(p)) if error is None else error
    square = np.tile(error**2, 2)
    weight = np.ones(len(right))
    for _ in range(_TIMES):
        root = np.sqrt(weight)
        fit, *_ = np.linalg.lstsq(matrix * root[:, None], right * root, rcond=None)
        left = right - matrix @ fit
        variance = _scatter(left, square)
        weight = np.where(left**2 < 16 * variance, variance.min() / variance, 0)
    covariance = _covariance(matrix, left, weight, _cells(p))
    return Similarity(
        fit[2:],
        float(np.sqrt(max(covariance[2, 2], covariance[3, 3]))),
        math.atan2(fit[1], fit[0]),
        float(np.sqrt(covariance[1, 1])),
        math.hypot(fit[0], fit[1]),
        share,
    )


def _scatter(left: np.ndarray, square: np.ndarray) -> np.ndarray:
    """Return the variance of residuals: a part in common, and that of each."""
    usual = float(np.median(left**2)) / _MEDIAN + 1e-12
    known = float(np.median(left**2 / np.maximum(square, 1e-12))) / _MEDIAN
    if known <= 1:
        return np.maximum(known * square, 1e-12)
    low, high = 0.0, usual
    for _ in range(40):
        middle = (low + high) / 2
        more = np.median(left**2 / (middle + square)) > _MEDIAN
        low, high = (middle, high) if more else (low, middle)
    return high + square


def _cells(p: np.ndarray) -> np.ndarray:
    """Return in which of nine parts of the field positions are."""
    order = np.argsort(np.argsort(p, axis=0, kind='stable'), axis=0, kind='stable')
    third = np.minimum(3 * order // max(len(p), 1), 2)
    return 3 * third[:, 0] + third[:, 1]


def _covariance(
    matrix: np.ndarray, left: np.ndarray, weight: np.ndarray, cells: np.ndarray
) -> np.ndarray:
    """Return the larger of two covariances: of single stars, and of cells of them."""
    inverse = np.linalg.pinv(matrix.T @ (weight[:, None] * matrix))
    used = int((weight > 0).sum())
    freedom = max(used - 4, 1)
    variance = float((weight * left) @ left) / freedom
    score = (matrix * (weight * left)[:, None]).T
    label = np.tile(cells, 2) + 9 * (np.arange(len(left)) >= len(left) // 2)
    sums = np.stack([np.bincount(label, row, minlength=18) for row in score])
    blocks = inverse @ (sums @ sums.T) @ inverse * used / freedom
    return np.where(
        np.diagonal(blocks) > np.diagonal(variance * inverse),
        blocks,
        variance * inverse,
    )


def wcs_pairs(
    own: Any, reference: Any, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """
    Return where a grid of the reference is in another frame.

    Parameters
    ----------
    own, reference : WCS
        Celestial.

    shape : tuple of int
        Of a frame.

    Returns
    -------
    here, there : `~numpy.ndarray`
        ``(25, 2)``, (y, x).
    """
    grids = np.meshgrid(*(np.linspace(0, m - 1, 5) for m in shape), indexing='ij')
    there = np.stack([g.ravel() for g in grids], axis=1)
    sky = reference.pixel_to_world(there[:, 1], there[:, 0])
    x, y = own.world_to_pixel(sky)
    return np.stack([y, x], axis=1), there


def match_stars(
    here: np.ndarray, there: np.ndarray, offset: np.ndarray, radius: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """
    Pair the stars of two lists, given the offset between them.

    Parameters
    ----------
    here, there : `~numpy.ndarray`
        ``(m, 2)``, (y, x).

    offset : `~numpy.ndarray`
        (dy, dx) from there to here.

    radius : float, optional
        The largest distance.

    Returns
    -------
    i, j : `~numpy.ndarray` of int
        Pairs; each star at most once.
    """
    from scipy.spatial import cKDTree

    distance, j = cKDTree(there).query(here - offset, distance_upper_bound=radius)
    i = np.flatnonzero(np.isfinite(distance))
    order = np.argsort(distance[i], kind='stable')
    i = i[order]
    _, first = np.unique(j[i], return_index=True)
    i = np.sort(i[first])
    return i, j[i]


def rotation_vote(here: np.ndarray, there: np.ndarray, centre: np.ndarray) -> float:
    """
    Find by which angle most differences of positions agree.

    Parameters
    ----------
    here, there : `~numpy.ndarray`
        ``(m, 2)``, the brightest first.

    centre : `~numpy.ndarray`
        (y, x).

    Returns
    -------
    angle : float
        In degrees, from x towards y; NaN if none stands out.
    """
    a, b = here[:25] - centre, there[:25] - centre
    votes = []
    # Over 25 stars a degree is a few pixels at the most.
    angles = np.arange(-180, 180, 0.5)
    for angle in np.radians(angles):
        c, s = math.cos(angle), math.sin(angle)
        turned = b @ np.array([[c, -s], [s, c]])
        differences = (a[:, None] - turned[None]).reshape(-1, 2)
        keys = np.round(differences / 4).astype(int)
        votes.append(np.unique(keys, axis=0, return_counts=True)[1].max(initial=0))
    votes = np.array(votes)
    best = int(np.argmax(votes))
    if len(votes) == 0 or votes[best] < max(5, 1.8 * np.median(votes)):
        return math.nan
    return float(angles[best])
