# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Choose the stars whose shape can be trusted."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ['Candidate', 'Choice', 'choose_stars', 'guess_width', 'saturation_of']

# What a stamp reaches, and where a neighbour spoils it, in widths.
_REACH, _TOO_CLOSE, _HIDE = 2.5, 2.4, 1.3
# A neighbour fainter than this part of the height does little.
_FAINT = 0.1
_GUESS_SIDE = 1536


@dataclass(frozen=True)
class Candidate:
    """
    A star to fit.

    Parameters
    ----------
    x, y : float
        Place of the first pixel of the stamp.

    stamp : ndarray
        Pixels.

    good : ndarray of bool
        Those to use.

    place : tuple of float
        Where the star is in the stamp.

    full : ndarray of bool
        Saturated pixels.
    """

    x: int
    y: int
    stamp: np.ndarray
    good: np.ndarray
    place: tuple[float, float]
    full: np.ndarray


@dataclass
class Choice:
    """
    The stars to fit, and why others are not among them.

    Parameters
    ----------
    stars : list of Candidate
        The brightest first.

    refused : Counter
        How many were left out for which reason.
    """

    stars: list[Candidate] = field(default_factory=list)
    refused: Counter = field(default_factory=Counter)


def saturation_of(meta: Any) -> float | None:
    """
    Return the saturation level that a header names.

    Parameters
    ----------
    meta : dict-like
        The header.

    Returns
    -------
    level : float or None
        `None` if there is no number.
    """
    for name in ('SATURATE', 'SATURATA', 'SATLEVEL', 'DATAMAX'):
        value = meta.get(name) if hasattr(meta, 'get') else None
        if isinstance(value, (int, float)) and 0 < value < math.inf:
            return float(value)
    return None


def guess_width(image: np.ndarray, bad: np.ndarray) -> float:
    """
    Guess how wide the stars are, from the middle of the image first.

    Parameters
    ----------
    image : ndarray
        The image.

    bad : ndarray of bool
        Pixels to ignore; stars with any of them do not count.

    Returns
    -------
    fwhm : float
        In pixels; 3 if nothing is found.
    """
    from astroflat.quality import measure_fwhm

    starts = [max(0, (n - _GUESS_SIDE) // 2) for n in image.shape]
    cut = tuple(slice(start, start + _GUESS_SIDE) for start in starts)
    parts = [cut] if image[cut].shape == image.shape else [cut, (slice(None),) * 2]
    for part in parts:
        width = measure_fwhm(image[part], mask=bad[part])
        if math.isfinite(width):
            return width
    return 3.0


def choose_stars(
    image: np.ndarray,
    bad: np.ndarray,
    *,
    full: np.ndarray,
    fwhm: float,
    nsigma: float,
) -> Choice:
    """
    Find stars and leave out those that cannot be measured.

    Parameters
    ----------
    image : ndarray
        The image.

    bad : ndarray of bool
        Pixels to ignore.

    full : ndarray of bool
        Saturated pixels.

    fwhm : float
        Width of a star.

    nsigma : float
        Height of a star over the noise of the sky, at least.

    Returns
    -------
    choice : Choice
        The stars, the brightest first.
    """
    from scipy.spatial import KDTree

    from astroflat.quality import DetectionSettings, find_sources

    settings = DetectionSettings(fwhm=fwhm, nsigma=5, border=2)
    sources = find_sources(image, settings=settings, mask=bad)
    choice = Choice()
    if not len(sources):
        return choice
    places = np.stack([sources['x'], sources['y']], axis=1).astype(np.float64)
    heights = np.asarray(sources['strength'], dtype=np.float64)
    least = nsigma / 5 * float(sources.meta['threshold'])
    around = KDTree(places).query_ball_point(places, (_REACH + _HIDE) * fwhm)
    for index in np.argsort(-heights, kind='stable'):
        if heights[index] < least:
            break
        others = [i for i in around[index] if i != index]
        near = [i for i in others if heights[i] > _FAINT * heights[index]]
        gaps = np.hypot(*(places[near] - places[index]).T)
        if (gaps < _TOO_CLOSE * fwhm).any():
            choice.refused['close to another'] += 1
            continue
        star = _cut((image, bad, full), places[index], places[near], fwhm)
        reason = _reason(star, fwhm)
        if reason:
            choice.refused[reason] += 1
        else:
            choice.stars.append(star)
    return choice


def _cut(
    planes: tuple[np.ndarray, np.ndarray, np.ndarray],
    place: np.ndarray,
    others: np.ndarray,
    fwhm: float,
) -> Candidate | None:
    """Cut a star out; pixels near other stars do not count."""
    image, bad, full = planes
    reach = max(4, math.ceil(_REACH * fwhm))
    x, y = (round(float(value)) for value in place)
    left, bottom = x - reach, y - reach
    stop = (bottom + 2 * reach + 1, left + 2 * reach + 1)
    if min(left, bottom) < 0 or stop[0] > image.shape[0] or stop[1] > image.shape[1]:
        return None
    cut = (slice(bottom, stop[0]), slice(left, stop[1]))
    good = ~bad[cut]
    rows, columns = np.ogrid[bottom : stop[0], left : stop[1]]
    for ox, oy in others:
        good &= np.hypot(rows - oy, columns - ox) > _HIDE * fwhm
    middle = (float(place[0]) - left, float(place[1]) - bottom)
    return Candidate(left, bottom, image[cut], good, middle, full[cut])


def _reason(star: Candidate | None, fwhm: float) -> str:
    """Say why a star cannot be measured; nothing if it can."""
    if star is None:
        return 'at the edge'
    rows, columns = np.indices(star.stamp.shape)
    distance = np.hypot(rows - star.place[1], columns - star.place[0])
    inner = distance < max(1.5, fwhm)
    if star.full[inner].any():
        return 'saturated'
    if not star.good[inner].all():
        return 'masked'
    core = star.stamp[inner]
    peak = float(core.max())
    height = peak - float(np.median(star.stamp[star.good]))
    flat = np.count_nonzero(core > peak - 0.03 * height)
    # A round top of a star has 0.04 fwhm² pixels in the upper 3 %.
    if flat > 3 + 0.15 * fwhm * fwhm:
        return 'flat-topped'
    # Hot pixels stand alone: what is next to the peak has far less.
    rank = np.sort(core, axis=None)[-3] - (peak - height)
    return 'sharper than a star' if rank < 0.15 * height else ''
