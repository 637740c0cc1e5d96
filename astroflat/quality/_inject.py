# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Artificial stars, and free places for them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ['add_star', 'draw_places', 'flux_of_snr', 'matched_filter', 'star_profile']

_SIGMA = 1 / (2 * math.sqrt(2 * math.log(2)))


def star_profile(
    psf: Any, fwhm: float, place: tuple[float, float]
) -> tuple[np.ndarray, tuple[int, int]]:
    """
    Return a star of unit flux and where its first pixel lies.

    Parameters
    ----------
    psf : array_like or None
        The image of a star, in the middle of the array; `None` for a Gaussian
        of the given width.

    fwhm : float
        The full width at half maximum in pixels.

    place : tuple of float
        The place (y, x) of the star.

    Returns
    -------
    profile : `~numpy.ndarray`
        The light in each pixel, with the sum 1.

    corner : tuple of int
        The row and column of its first pixel.
    """
    centre = tuple(int(np.rint(p)) for p in place)
    offset = tuple(p - c for p, c in zip(place, centre, strict=True))
    if psf is None:
        axes = [_gaussian(fwhm * _SIGMA, d) for d in offset]
        profile = np.outer(*axes)
    else:
        from scipy.ndimage import shift

        padded = np.pad(np.asarray(psf, dtype=np.float64), 2)
        # The middle of an even number of pixels is where two of them meet.
        offset = tuple(
            d + (n % 2 == 0) / 2 for d, n in zip(offset, padded.shape, strict=True)
        )
        profile = shift(padded, offset, order=3, mode='constant')
    profile /= profile.sum()
    corner = tuple(c - n // 2 for c, n in zip(centre, profile.shape, strict=True))
    return profile, corner


def _gaussian(sigma: float, offset: float) -> np.ndarray:
    """Integrate a Gaussian over pixels, along one axis."""
    from scipy.special import erf

    reach = math.ceil(5 * sigma) + 1
    edges = np.arange(-reach - 0.5, reach + 1) - offset
    return np.diff(erf(edges / (sigma * math.sqrt(2)))) / 2


def add_star(
    image: np.ndarray, profile: np.ndarray, corner: tuple[int, int], flux: float
) -> None:
    """
    Add a star to an image, in place.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The image, changed.

    profile : `~numpy.ndarray`
        The star, of unit flux.

    corner : tuple of int
        Where its first pixel lies; what is outside the image is lost.

    flux : float
        The flux.
    """
    start = [max(0, -c) for c in corner]
    stop = [
        min(n, size - c)
        for n, size, c in zip(profile.shape, image.shape, corner, strict=True)
    ]
    if start[0] >= stop[0] or start[1] >= stop[1]:
        return
    inner = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    outer = tuple(
        slice(c + a, c + b) for c, a, b in zip(corner, start, stop, strict=True)
    )
    image[outer] += (flux * profile[inner]).astype(image.dtype)


def flux_of_snr(snr: float, noise: float, psf: Any, fwhm: float) -> float:
    """
    Return the flux of a star of a given signal-to-noise ratio.

    Parameters
    ----------
    snr : float
        The signal-to-noise ratio of a fit of the known profile.

    noise : float
        The noise per pixel.

    psf : array_like or None
        The image of a star; `None` for a Gaussian.

    fwhm : float
        The full width at half maximum in pixels.

    Returns
    -------
    flux : float
        ``snr * noise / sqrt(sum(profile^2))``.
    """
    profile, _ = star_profile(psf, fwhm, (0.0, 0.0))
    return snr * noise / math.sqrt(float((profile**2).sum()))


def draw_places(
    taken: np.ndarray,
    n: int,
    *,
    distance: float,
    rng: np.random.Generator,
    attempts: int = 60,
) -> np.ndarray:
    """
    Draw places that are free and apart from each other.

    Parameters
    ----------
    taken : `~numpy.ndarray` of bool
        True where the centre of a star may not lie.

    n : int
        The number of places.

    distance : float
        The smallest distance of two places.

    rng : `~numpy.random.Generator`
        The random numbers.

    attempts : int, optional
        How many draws each place may take on average.

    Returns
    -------
    places : `~numpy.ndarray`
        ``(m, 2)`` with y and x, at random fractions of a pixel; ``m <= n``,
        fewer if the image has no room.
    """
    rows, columns = np.nonzero(~taken)
    places = np.empty((0, 2))
    if not rows.size:
        return places
    for _ in range(n * attempts):
        k = rng.integers(rows.size)
        place = np.array([rows[k], columns[k]]) + rng.uniform(-0.5, 0.5, 2)
        if not (np.hypot(*(places - place).T) < distance).any():
            places = np.vstack([places, place])
            if len(places) == n:
                break
    return places


def matched_filter(
    image: np.ndarray,
    places: np.ndarray,
    *,
    psf: Any,
    fwhm: float,
) -> np.ndarray:
    """
    Fit a star of the known profile on a constant background at given places.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The image, finite.

    places : `~numpy.ndarray`
        ``(n, 2)`` with y and x.

    psf : array_like or None
        The image of a star; `None` for a Gaussian.

    fwhm : float
        The full width at half maximum in pixels.

    Returns
    -------
    fluxes : `~numpy.ndarray`
        The best flux at each place, in least squares; NaN where the profile
        leaves the image.
    """
    fluxes = np.full(len(places), np.nan)
    ny, nx = image.shape
    for i, place in enumerate(places):
        profile, (y, x) = star_profile(psf, fwhm, tuple(place))
        h, w = profile.shape
        if y < 0 or x < 0 or y + h > ny or x + w > nx:
            continue
        weight = profile - profile.mean()
        stamp = image[y : y + h, x : x + w].astype(np.float64)
        fluxes[i] = float((stamp * weight).sum() / (weight**2).sum())
    return fluxes
