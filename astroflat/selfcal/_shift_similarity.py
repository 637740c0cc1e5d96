# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Offset, rotation and scale between lists of positions: from WCS and stars."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ['Similarity', 'fit_similarity', 'match_stars', 'rotation_vote', 'wcs_pairs']


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
    here: np.ndarray, there: np.ndarray, centre: np.ndarray, share: float = 1.0
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

    Returns
    -------
    similarity : Similarity
        The fit.
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
    keep = np.ones(len(right), dtype=bool)
    for _ in range(4):
        fit, *_ = np.linalg.lstsq(matrix[keep], right[keep], rcond=None)
        left = right - matrix @ fit
        scale = 1.4826 * float(np.median(np.abs(left[keep]))) + 1e-6
        keep = np.abs(left) < 4 * scale
    freedom = max(int(keep.sum()) - 4, 1)
    variance = float(left[keep] @ left[keep]) / freedom
    covariance = variance * np.linalg.pinv(matrix[keep].T @ matrix[keep])
    return Similarity(
        fit[2:],
        float(np.sqrt(covariance[2, 2])),
        math.atan2(fit[1], fit[0]),
        float(np.sqrt(covariance[1, 1])),
        math.hypot(fit[0], fit[1]),
        share,
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
