# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Stars: number counts, clusters, and their images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ['PointSpread', 'add_stars', 'cluster_places', 'star_fluxes']


@dataclass(frozen=True)
class PointSpread:
    """
    Image of a star: an elliptical Moffat profile that changes over the field.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum at the best place, in pixels.
    beta : float, optional
        Moffat index; small for strong wings.
    growth : float, optional
        Relative growth of the width from the best place to one ``size``
        farther out.
    ellipticity : float, optional
        ``1 - b/a`` at one ``size`` from the best place, where stars are
        drawn out away from it.
    x_0, y_0 : float, optional
        Best place in pixels.
    size : float, optional
        Unit of distance in pixels, commonly half the diagonal.
    """

    fwhm: float
    beta: float = 3.0
    growth: float = 0.0
    ellipticity: float = 0.0
    x_0: float = 0.0
    y_0: float = 0.0
    size: float = 1.0

    def axes(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """
        Give the shape of the stars at some places.

        Parameters
        ----------
        x, y : ndarray
            Places in pixels.

        Returns
        -------
        tuple of ndarray
            Half widths along and across the radius in units of the Moffat
            core, and cosine and sine of the radius.
        """
        dx, dy = (x - self.x_0) / self.size, (y - self.y_0) / self.size
        rho = np.hypot(dx, dy)
        core = 0.5 * self.fwhm / math.sqrt(2.0 ** (1.0 / self.beta) - 1.0)
        width = core * (1.0 + self.growth * rho**2)
        stretch = np.sqrt(1.0 - np.minimum(self.ellipticity * rho, 0.6))
        unit = np.maximum(rho, 1e-9)
        return width / stretch, width * stretch, dx / unit, dy / unit


def star_fluxes(
    n: int,
    *,
    faintest: float,
    brightest: float,
    rng: np.random.Generator,
    slope: float = 0.7,
) -> np.ndarray:
    """
    Draw fluxes from number counts that follow a power law.

    Parameters
    ----------
    n : int
        Number of stars.
    faintest, brightest : float
        Limits of the fluxes.
    rng : `numpy.random.Generator`
        Source of random numbers.
    slope : float, optional
        Number brighter than f is proportional to ``f**-slope``. 1.5 is a
        uniform population without end, 0.5 to 0.8 is seen in the Galaxy.

    Returns
    -------
    ndarray
        Fluxes, unsorted.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation._scenes_stars import star_fluxes
    >>> flux = star_fluxes(
    ...     1000, faintest=10, brightest=1e5, rng=np.random.default_rng(1)
    ... )
    >>> bool(flux.min() >= 10), bool(flux.max() <= 1e5)
    (True, True)
    """
    low, high = faintest**-slope, brightest**-slope
    return rng.uniform(high, low, n) ** (-1.0 / slope)


def cluster_places(
    n: int,
    *,
    core: float,
    edge: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """
    Draw places of the stars of a cluster about its centre.

    Parameters
    ----------
    n : int
        Number of stars.
    core : float
        Radius in pixels within which the surface density is nearly constant.
    edge : float
        Radius in pixels beyond which there are no stars.
    rng : `numpy.random.Generator`
        Source of random numbers.

    Returns
    -------
    tuple of ndarray
        Offsets (x, y) in pixels.

    Notes
    -----
    The surface density falls as ``(1 + (r / core)**2)**-1``, the inner part
    of a King profile; its inverse distribution function is closed.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation._scenes_stars import cluster_places
    >>> x, y = cluster_places(500, core=10, edge=90, rng=np.random.default_rng(1))
    >>> bool(np.hypot(x, y).max() <= 90)
    True
    """
    share = rng.uniform(0.0, 1.0, n)
    radius = core * np.sqrt((1.0 + (edge / core) ** 2) ** share - 1.0)
    angle = rng.uniform(0.0, 2.0 * math.pi, n)
    return radius * np.cos(angle), radius * np.sin(angle)


def add_stars(
    image: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    flux: np.ndarray,
    *,
    psf: PointSpread,
    floor: float,
) -> None:
    """
    Add stars to an image, in place.

    Parameters
    ----------
    image : ndarray of float32
        Image that gets the stars.
    x, y : ndarray
        Places in pixels; they need not lie on the image.
    flux : ndarray
        Total fluxes.
    psf : PointSpread
        Shape of the stars.
    floor : float
        Wings fainter than this are cut off.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation._scenes_stars import PointSpread, add_stars
    >>> image = np.zeros((201, 201), dtype=np.float32)
    >>> place = np.array([100.0])
    >>> add_stars(
    ...     image,
    ...     place,
    ...     place,
    ...     np.array([1000.0]),
    ...     psf=PointSpread(fwhm=4.0, beta=4.0),
    ...     floor=1e-4,
    ... )
    >>> bool(abs(image.sum() - 1000) < 1)
    True
    """
    if np.size(flux) == 0:
        return
    major, minor, cos, sin = psf.axes(x, y)
    peak = flux * (psf.beta - 1.0) / (math.pi * major * minor)
    reach = np.maximum(peak / floor, 1.0) ** (0.5 / psf.beta) * major
    half = np.clip(np.ceil(reach), 2, 600).astype(int)
    # Boxes grow in steps of about a quarter, so that stars share their arrays.
    half = np.ceil(1.25 ** np.ceil(np.log(half) / math.log(1.25))).astype(int)
    ny, nx = image.shape
    seen = (x > -half) & (x < nx + half) & (y > -half) & (y < ny + half)
    stars = np.stack([x, y, peak, major, minor, cos, sin])
    for size in np.unique(half[seen]):
        chosen = stars[:, seen & (half == size)]
        step = max(1, 2**20 // (2 * size + 1) ** 2)
        for start in range(0, chosen.shape[1], step):
            _add_stamps(image, chosen[:, start : start + step], int(size), psf.beta)


def _add_stamps(image: np.ndarray, stars: np.ndarray, half: int, beta: float) -> None:
    """Add stars that share the half-width of their boxes."""
    peak, major, minor, cos, sin = stars[2:, :, None, None].astype(np.float32)
    x_0, y_0 = np.rint(stars[0]).astype(int), np.rint(stars[1]).astype(int)
    grid = np.arange(-half, half + 1)
    dx = (grid + (x_0 - stars[0])[:, None]).astype(np.float32)[:, None, :]
    dy = (grid + (y_0 - stars[1])[:, None]).astype(np.float32)[:, :, None]
    along, across = (dx * cos + dy * sin) / major, (dy * cos - dx * sin) / minor
    stamps = peak * (1.0 + along * along + across * across) ** np.float32(-beta)
    for stamp, col, row in zip(stamps, x_0 - half, y_0 - half, strict=True):
        _paste(image, stamp, row, col)


def _paste(image: np.ndarray, stamp: np.ndarray, row: int, col: int) -> None:
    """Add a stamp whose lower left corner is at (row, col)."""
    (ny, nx), (sy, sx) = image.shape, stamp.shape
    top, bottom = max(0, row), min(ny, row + sy)
    left, right = max(0, col), min(nx, col + sx)
    if top < bottom and left < right:
        part = stamp[top - row : bottom - row, left - col : right - col]
        image[top:bottom, left:right] += part
