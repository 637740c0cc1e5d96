# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Where a fit of aberrations starts: what the second moments of a star tell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from astroflat.psf.optics import Telescope

__all__ = ['Moments', 'measure_moments', 'starts']

# Light below this part of the peak is not told from the sky.
_EDGE = 0.12
_TO_SIGMA = 2.3548
# Defocus (waves) that a round star at the limit of the air starts from.
_LEAST = 0.06
# Coma makes a star wide as well: with so much of it, less of the rest is left.
_COMA, _REST = 0.25, 0.7


@dataclass(frozen=True)
class Moments:
    """
    Place and second moments of a star.

    Parameters
    ----------
    x, y : float
        From the middle of the stamp in pixels.

    matrix : ndarray
        Second moments ``[[xx, xy], [xy, yy]]`` in pixels².

    skew : tuple of float
        Direction of the tail (x, y), of length 1.

    flux, sky : float
        Light of the star, and level around it.
    """

    x: float
    y: float
    matrix: np.ndarray
    skew: tuple[float, float]
    flux: float
    sky: float


def measure_moments(stamp: np.ndarray, good: np.ndarray) -> Moments | None:
    """
    Measure the moments of what is bright in a stamp.

    Parameters
    ----------
    stamp : ndarray
        Pixels.

    good : ndarray of bool
        Those to use.

    Returns
    -------
    moments : Moments or None
        None if nothing is bright.
    """
    from scipy.ndimage import gaussian_filter, label

    ny, nx = stamp.shape
    edge = np.ones(stamp.shape, bool)
    edge[2:-2, 2:-2] = False
    sky = float(np.median(stamp[edge & good])) if (edge & good).any() else 0.0
    light = np.where(good, stamp - sky, 0.0)
    smooth = gaussian_filter(light, 1.0)
    labels, _ = label(smooth > _EDGE * smooth.max())
    middle = labels[ny // 4 : ny - ny // 4, nx // 4 : nx - nx // 4]
    sizes = np.bincount(middle.ravel(), minlength=2)
    if smooth.max() <= 0 or sizes[1:].max() == 0:
        return None
    weight = np.where(labels == 1 + int(np.argmax(sizes[1:])), np.maximum(light, 0), 0)
    flux = float(weight.sum())
    if flux <= 0:
        return None
    y, x = np.mgrid[:ny, :nx]
    x0, y0 = float((weight * x).sum() / flux), float((weight * y).sum() / flux)
    dx, dy = x - x0, y - y0
    xx, xy, yy = ((weight * a).sum() / flux for a in (dx * dx, dx * dy, dy * dy))
    tail = [float((weight * a * (dx * dx + dy * dy)).sum()) for a in (dx, dy)]
    length = math.hypot(*tail) or 1.0
    return Moments(
        x0 - (nx - 1) / 2,
        y0 - (ny - 1) / 2,
        np.array([[xx, xy], [xy, yy]]),
        (tail[0] / length, tail[1] / length),
        flux,
        sky,
    )


def starts(
    moments: Moments, telescope: Telescope, seeing: float
) -> list[dict[int, float]]:
    """
    Return the aberrations that would make these moments, by geometry.

    Parameters
    ----------
    moments : Moments
        Those of the star.

    telescope : Telescope
        The telescope.

    seeing : float
        In arcseconds.

    Returns
    -------
    starts : list of dict
        Defocus and astigmatism in waves, with all signs that moments cannot tell
        apart but the common one of both, which no image tells; and each with some
        coma along the tail.

    Notes
    -----
    A ray is off by the gradient of the wavefront, ``2 M r`` for its quadratic part
    ``r M r``. So the moments are ``M²`` times those of the pupil.
    """
    natural = seeing / telescope.pixel_scale / _TO_SIGMA
    core = 0.45 * telescope.resolution
    left = moments.matrix - (natural**2 + core**2 + 1 / 12) * np.eye(2)
    values, axes = np.linalg.eigh(left)
    size = 2 * telescope.resolution * math.sqrt(1 + telescope.obstruction**2)
    least = 2 * math.sqrt(3) * _LEAST
    low, high = (max(math.sqrt(max(v, 0.0)) / size, least) for v in values)
    found = []
    for sign in (1, -1):
        matrix = axes @ np.diag([sign * low, high]) @ axes.T
        found.append(
            {
                4: float((matrix[0, 0] + matrix[1, 1]) / (4 * math.sqrt(3))),
                5: float(matrix[0, 1] / math.sqrt(6)),
                6: float((matrix[0, 0] - matrix[1, 1]) / (2 * math.sqrt(6))),
            }
        )
    coma = {7: _COMA * moments.skew[1], 8: _COMA * moments.skew[0]}
    with_coma = [{j: _REST * v for j, v in one.items()} | coma for one in found]
    return found + with_coma
