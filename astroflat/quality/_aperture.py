# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Sums in circles above the median of a ring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table

if TYPE_CHECKING:
    from photutils.aperture import CircularAperture

__all__ = ['measure_fluxes']


def measure_fluxes(
    image: np.ndarray,
    x: Any,
    y: Any,
    *,
    radius: float,
    annulus: tuple[float, float],
    mask: np.ndarray | None = None,
    gain: float | None = None,
) -> Table:
    """
    Measure fluxes at given places.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The image, ``(ny, nx)``.

    x, y : array_like
        The places in pixels.

    radius : float
        The radius of the aperture.

    annulus : tuple of float
        The radii of the ring of the local background.

    mask : `~numpy.ndarray` of bool, optional
        True marks bad pixels.

    gain : float, optional
        Electrons per unit of the image, for the photon noise of the source.

    Returns
    -------
    fluxes : `~astropy.table.Table`
        ``flux``, ``flux_err``, ``background`` (per pixel). All are NaN where
        the aperture holds a bad pixel or leaves the image, or less than a
        quarter of the ring is good.

    Notes
    -----
    The variance is that of the pixels of the ring (from their median absolute
    deviation) times the area, plus that of the median of the ring times the
    area squared, plus the photon noise of the source if the gain is known.
    """
    places = np.column_stack([np.asarray(x, float), np.asarray(y, float)])
    if not len(places):
        return Table(np.empty((0, 3)), names=('flux', 'flux_err', 'background'))
    bad = ~np.isfinite(image) if mask is None else mask | ~np.isfinite(image)
    clean = np.where(bad, 0, image).astype(np.float64)
    total, area = _sums(clean, bad, places, radius)
    level, scale, n_ring = _ring(clean, bad, places, annulus)
    flux = total - area * level
    variance = area * scale**2 * (1 + area * 0.5 * np.pi / np.maximum(n_ring, 1))
    if gain is not None:
        variance = variance + np.maximum(flux, 0) / gain
    lost = ~np.isfinite(flux)
    level = np.where(lost, np.nan, level)
    error = np.where(lost, np.nan, np.sqrt(variance))
    return Table([flux, error, level], names=('flux', 'flux_err', 'background'))


def _sums(
    clean: np.ndarray, bad: np.ndarray, places: np.ndarray, radius: float
) -> tuple[np.ndarray, float]:
    """Return the sums in the circles, NaN where they are not whole, and the area."""
    from photutils.aperture import CircularAperture

    circles = CircularAperture(places, r=radius)
    total, n_bad = (_in_circles(circles, a) for a in (clean, bad.astype(np.float64)))
    lost = n_bad > 0
    ny, nx = clean.shape
    low, high = places - radius, places + radius
    lost |= (low < -0.5).any(axis=1) | (high > np.array([nx, ny]) - 0.5).any(axis=1)
    return np.where(lost, np.nan, total), float(np.pi * radius**2)


def _in_circles(circles: CircularAperture, image: np.ndarray) -> np.ndarray:
    """Return the sums in circles by the interface that photutils has."""
    try:
        from photutils.aperture import AperturePhotometry
    except ImportError:
        # Before photutils 3.1, where this method is deprecated.
        return np.atleast_1d(circles.do_photometry(image)[0]).astype(float)
    return np.atleast_1d(AperturePhotometry(image, circles).flux).astype(float)


def _ring(
    clean: np.ndarray, bad: np.ndarray, places: np.ndarray, annulus: tuple[float, float]
) -> tuple[np.ndarray, ...]:
    """Return the median, the scatter and the number of the good pixels of rings."""
    ny, nx = clean.shape
    reach = int(np.ceil(annulus[1]))
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    near = np.hypot(dy, dx) <= annulus[1] + 1
    dy, dx = dy[near], dx[near]
    level, scale = np.full((2, len(places)), np.nan)
    n_good = np.zeros(len(places))
    for i, (x, y) in enumerate(places):
        row, column = int(np.rint(y)) + dy, int(np.rint(x)) + dx
        distance = np.hypot(row - y, column - x)
        ring = (distance >= annulus[0]) & (distance < annulus[1])
        inside = ring & (row >= 0) & (row < ny) & (column >= 0) & (column < nx)
        row, column = row[inside], column[inside]
        values = clean[row, column][~bad[row, column]]
        n_good[i] = values.size
        if values.size >= max(0.25 * ring.sum(), 1):
            level[i] = np.median(values)
            scale[i] = 1.4826 * np.median(np.abs(values - level[i]))
    return level, scale, n_good
