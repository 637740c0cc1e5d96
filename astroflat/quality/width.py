# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""How wide the stars of an image are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from astroflat._nddata import unpack
from astroflat.quality.detection import DetectionSettings, find_sources

__all__ = ['measure_fwhm']

_ZOOM = 4
# The third brightest of nine pixels over the brightest: 0.3 for a star of
# 1.5 pixels, next to nothing for a hot pixel or a hot column.
_HOT = 0.2
_GUESSES = (3.0, 6.0, 12.0)


def measure_fwhm(
    image: Any,
    *,
    mask: Any = None,
    saturation: float | None = None,
    n_stars: int = 40,
) -> float:
    """
    Measure the full width at half maximum of the stars of an image.

    Parameters
    ----------
    image : CCDData, array_like or path
        The image, ``(ny, nx)``.

    mask : array_like of bool, optional
        True marks pixels to ignore.

    saturation : float, optional
        Stars with a pixel above this are left out.

    n_stars : int, optional
        How many of the brightest stars are measured.

    Returns
    -------
    fwhm : float
        In pixels: the median diameter of the circles that are as large as
        the area above half of the height. NaN if there are fewer than three
        stars.

    Notes
    -----
    No shape is assumed. Hot pixels are left out. The area is counted in an
    interpolated image, which widens stars narrower than 2 pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.quality import measure_fwhm
    >>> y, x = np.mgrid[:90, :90]
    >>> image = np.random.default_rng(0).normal(100, 1, (90, 90))
    >>> for place in (20, 45, 70):
    ...     square = (x - place) ** 2 + (y - place) ** 2
    ...     image += 500 * np.exp(-4 * np.log(2) * square / 4.5**2)
    >>> print(round(measure_fwhm(image), 1))
    4.5
    """
    frame = unpack(image, name='image', mask=mask)
    width = math.nan
    for guess in _GUESSES:
        measured = _measure(frame.data, frame.bad, guess, saturation, n_stars)
        if math.isnan(measured):
            continue
        width = measured
        # A kernel much narrower than the stars breaks them into pieces.
        if width < 1.6 * guess:
            break
    return width


def _measure(
    image: np.ndarray,
    bad: np.ndarray,
    guess: float,
    saturation: float | None,
    n_stars: int,
) -> float:
    """Return the median width of stars found with a guess of it."""
    settings = DetectionSettings(
        fwhm=guess, nsigma=10, method='segmentation', n_pixels=5
    )
    stars = find_sources(image, settings=settings, mask=bad)
    reach = math.ceil(3 * guess)
    widths = []
    for x, y in zip(stars['x'], stars['y'], strict=True):
        row, column = round(float(y)), round(float(x))
        cut = (
            slice(row - reach, row + reach + 1),
            slice(column - reach, column + reach + 1),
        )
        stamp = image[cut].astype(np.float64)
        whole = stamp.shape == (2 * reach + 1,) * 2 and min(row, column) >= reach
        if not whole or bad[cut].any():
            continue
        if saturation is None or stamp.max() < saturation:
            widths.append(_width(stamp))
        if len(widths) == n_stars:
            break
    widths = [width for width in widths if np.isfinite(width)]
    return float(np.median(widths)) if len(widths) >= 3 else math.nan


def _width(stamp: np.ndarray) -> float:
    """Return the width of the star in the middle of a stamp."""
    from scipy.ndimage import label, zoom

    edge = np.concatenate([stamp[0], stamp[-1], stamp[:, 0], stamp[:, -1]])
    stamp = stamp - np.median(edge)
    centre = stamp.shape[0] // 2
    core = np.sort(stamp[centre - 1 : centre + 2, centre - 1 : centre + 2], axis=None)
    if core[-3] < _HOT * core[-1]:
        return math.nan
    # The places of the pixels of the interpolated stamp span the same range.
    n = (stamp.shape[0] - 1) * _ZOOM + 1
    fine = zoom(stamp, n / stamp.shape[0], order=3)
    middle = n // 2
    near = slice(middle - 2 * _ZOOM, middle + 2 * _ZOOM + 1)
    height = float(fine[near, near].max())
    if not height > 0:
        return math.nan
    groups, _ = label(fine > height / 2)
    peak = np.unravel_index(np.argmax(fine[near, near]), fine[near, near].shape)
    own = groups[near, near][peak]
    edges = (groups[0], groups[-1], groups[:, 0], groups[:, -1])
    if own in np.concatenate(edges):
        # It reaches the edge: not a star, or one wider than the stamp.
        return math.nan
    return 2 * math.sqrt(np.count_nonzero(groups == own) / math.pi) / _ZOOM
