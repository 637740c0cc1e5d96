# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Choose the stars whose shape can be trusted."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ['Candidate', 'Choice', 'choose_stars', 'find_peaks_in', 'saturation_of']

# What a stamp reaches, and where a neighbour spoils it, in widths.
_REACH, _TOO_CLOSE, _HIDE = 2.5, 2.4, 1.3
# A neighbour fainter than this part of the height does little.
_FAINT = 0.1
# Neighbours are looked for down to this signal-to-noise ratio.
_SEEN = 8.0
# Noise of the difference of two Gaussians, the second three times as wide.
_DIFFERENCE = math.sqrt(1 + 1 / 9 - 4 / 10)


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


def choose_stars(
    image: np.ndarray,
    bad: np.ndarray,
    *,
    full: np.ndarray,
    fwhm: float,
    min_snr: float,
    noise: float,
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

    min_snr : float
        Signal-to-noise ratio of a star, at least.

    noise : float
        Noise of the sky.

    Returns
    -------
    choice : Choice
        The stars, the brightest first.
    """
    from scipy.spatial import KDTree

    choice = Choice()
    places, heights = _peaks(image, bad, fwhm=fwhm, least=min(_SEEN, min_snr) * noise)
    if not len(places):
        return choice
    around = KDTree(places).query_ball_point(places, (_REACH + _HIDE) * fwhm)
    for index in np.argsort(-heights, kind='stable'):
        if heights[index] < min_snr * noise:
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


def find_peaks_in(
    image: np.ndarray, bad: np.ndarray, *, fwhm: float, noise: float
) -> np.ndarray:
    """
    Find all that is bright, stars or not.

    Parameters
    ----------
    image : ndarray
        The image.

    bad : ndarray of bool
        Pixels to ignore.

    fwhm : float
        Width of a star.

    noise : float
        Noise of the sky.

    Returns
    -------
    places : ndarray
        ``(n, 2)``: x and y.
    """
    return _peaks(image, bad, fwhm=fwhm, least=_SEEN * noise)[0]


def _peaks(
    image: np.ndarray, bad: np.ndarray, *, fwhm: float, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Find peaks in the filtered image: places (x, y) and heights."""
    import warnings

    from photutils.detection import find_peaks
    from scipy.ndimage import gaussian_filter

    sigma = fwhm / (2 * math.sqrt(2 * math.log(2)))
    # Two Gaussians take nebulae away. The scale keeps the noise of the sky.
    smooth = gaussian_filter(image, sigma) - gaussian_filter(image, 3 * sigma)
    smooth *= 2 * math.sqrt(math.pi) * sigma / _DIFFERENCE
    box = max(3, 2 * round(fwhm / 2) + 1)
    least = max(least, 1e-6 * float(smooth.max()))
    with warnings.catch_warnings():
        # photutils warns if it finds nothing, which is a result here.
        warnings.simplefilter('ignore')
        found = find_peaks(smooth, least, box_size=box, mask=bad)
    if found is None:
        return np.zeros((0, 2)), np.zeros(0)
    places = np.stack([found['x_peak'], found['y_peak']], axis=1).astype(np.float64)
    return places, np.asarray(found['peak_value'], dtype=np.float64)


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
