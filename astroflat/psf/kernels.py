# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Images of a point in closed form: unit sum, integrated over pixels.

All kernels are centred on the middle of the array, to a fraction of a pixel, also
where the number of pixels is even.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.psf._shapes import inverse_of, place_in_grid, size_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ['defocus_kernel', 'gaussian_kernel', 'moffat_kernel', 'motion_kernel']

Size = int | tuple[int, int] | None


def moffat_kernel(
    fwhm: float,
    *,
    beta: float = 3.0,
    ellipticity: float = 0.0,
    theta: float = 0.0,
    size: Size = None,
    offset: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """
    Make a star with wings: an elliptical Moffat profile.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum in pixels, the geometric mean of those along
        the axes, before the pixels blur it.

    beta : float, optional
        Exponent, above 1. 2.5 to 4.5 is seen; large ones approach a Gaussian.

    ellipticity : float, optional
        ``1 - b/a`` of the axes, 0 to below 1.

    theta : float, optional
        Angle of the long axis in degrees, from +x to +y.

    size : int or tuple of int, optional
        Shape of the array; by default odd, with a reach of four times the
        longer width.

    offset : tuple of float, optional
        Displacement (dx, dy) from the middle of the array in pixels.

    Returns
    -------
    kernel : ndarray of float64
        Sum 1.

    Raises
    ------
    ValueError
        If an argument is out of range.

    References
    ----------
    Moffat, A. F. J. 1969, A&A 3, 455

    Examples
    --------
    >>> from astroflat.psf import moffat_kernel
    >>> kernel = moffat_kernel(3.0)
    >>> kernel.shape, round(float(kernel.sum()), 12)
    ((25, 25), 1.0)
    """
    _check_ellipse(fwhm, ellipticity)
    if not 1 < beta < math.inf:
        msg = f'beta must be above 1, or light is infinite, and finite, not {beta!r}'
        raise ValueError(msg)
    xx, xy, yy = inverse_of(fwhm, ellipticity, theta)
    # At half of the maximum the argument of the power must be 2^(1/beta).
    scale = 4 * (2 ** (1 / beta) - 1)

    def _profile(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        square = scale * (xx * x * x + 2 * xy * x * y + yy * y * y)
        return (1 + square) ** -beta

    reach = 4 * fwhm / math.sqrt(1 - ellipticity)
    return _integrate(_profile, size_of(size, reach), offset, fwhm * (1 - ellipticity))


def gaussian_kernel(
    fwhm: float,
    *,
    ellipticity: float = 0.0,
    theta: float = 0.0,
    size: Size = None,
    offset: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """
    Make an elliptical Gaussian.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum in pixels, the geometric mean of those along
        the axes, before the pixels blur it.

    ellipticity : float, optional
        ``1 - b/a`` of the axes, 0 to below 1.

    theta : float, optional
        Angle of the long axis in degrees, from +x to +y.

    size : int or tuple of int, optional
        Shape of the array; by default odd, with a reach of twice the longer
        width.

    offset : tuple of float, optional
        Displacement (dx, dy) from the middle of the array in pixels.

    Returns
    -------
    kernel : ndarray of float64
        Sum 1.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> from astroflat.psf import gaussian_kernel
    >>> kernel = gaussian_kernel(2.0, size=(4, 5))
    >>> round(float(kernel[1, 2] / kernel[1, 1]), 2)
    1.85
    """
    _check_ellipse(fwhm, ellipticity)
    xx, xy, yy = inverse_of(fwhm, ellipticity, theta)

    def _profile(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.exp2(-4 * (xx * x * x + 2 * xy * x * y + yy * y * y))

    reach = 2 * fwhm / math.sqrt(1 - ellipticity)
    return _integrate(_profile, size_of(size, reach), offset, fwhm * (1 - ellipticity))


def defocus_kernel(
    diameter: float,
    *,
    obstruction: float = 0.0,
    size: Size = None,
    offset: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """
    Make the image of a point far out of focus: a disc, or a ring.

    Parameters
    ----------
    diameter : float
        Diameter of the disc in pixels.

    obstruction : float, optional
        Diameter of the central obstruction over that of the pupil, 0 to below 1.

    size : int or tuple of int, optional
        Shape of the array; by default odd, so that the disc fits.

    offset : tuple of float, optional
        Displacement (dx, dy) from the middle of the array in pixels.

    Returns
    -------
    kernel : ndarray of float64
        Sum 1. Each pixel has the part of the area that lies in it, exactly.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> from astroflat.psf import defocus_kernel
    >>> ring = defocus_kernel(20.0, obstruction=0.4)
    >>> ring.shape, float(ring[11, 11])
    ((23, 23), 0.0)
    """
    from photutils.geometry import circular_overlap_grid

    _check_positive('diameter', diameter)
    if not 0 <= obstruction < 1:
        msg = f'obstruction must be in [0, 1), not {obstruction!r}'
        raise ValueError(msg)
    ny, nx = shape = size_of(size, diameter / 2 + 0.5)
    edges = (
        -nx / 2 - offset[0],
        nx / 2 - offset[0],
        -ny / 2 - offset[1],
        ny / 2 - offset[1],
    )
    radius = diameter / 2
    kernel = circular_overlap_grid(*edges, nx, ny, radius, 1, 1)
    if obstruction > 0:
        kernel -= circular_overlap_grid(*edges, nx, ny, radius * obstruction, 1, 1)
    return _normalise(kernel, shape)


def motion_kernel(
    length: float,
    *,
    angle: float = 0.0,
    size: Size = None,
    offset: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """
    Make the trail of a point that moves straight and evenly.

    Parameters
    ----------
    length : float
        Length of the trail in pixels; 0 is a point.

    angle : float, optional
        Direction in degrees, from +x to +y.

    size : int or tuple of int, optional
        Shape of the array; by default odd, so that the trail fits.

    offset : tuple of float, optional
        Displacement (dx, dy) from the middle of the array in pixels.

    Returns
    -------
    kernel : ndarray of float64
        Sum 1. Each pixel has the part of the length that lies in it, exactly.

    Raises
    ------
    ValueError
        If the length is negative, or a number is not finite.

    Examples
    --------
    >>> from astroflat.psf import motion_kernel
    >>> motion_kernel(2.0, size=(1, 3))
    array([[0.25, 0.5 , 0.25]])
    """
    if not (0 <= length < math.inf and math.isfinite(angle)):
        msg = (
            'length must not be negative, and both length and angle finite, but they '
            f'are {length!r} and {angle!r}'
        )
        raise ValueError(msg)
    shape = ny, nx = size_of(size, length / 2 + 0.5)
    step = length * np.array([math.sin(math.radians(angle)), _cos(angle)])
    start = np.array([ny / 2 + offset[1], nx / 2 + offset[0]]) - step / 2
    # Where the trail passes from one pixel to the next, as parts of its length.
    cuts = [np.array([0.0, 1.0])]
    for first, change in zip(start, step, strict=True):
        if abs(change) > 1e-9:
            lines = np.arange(math.ceil(min(first, first + change)), ny + nx + 2)
            cuts.append((lines - first) / change)
    parts = np.concatenate(cuts)
    parts = np.unique(parts[(parts >= 0) & (parts <= 1)])
    middles = (parts[1:] + parts[:-1]) / 2
    rows, columns = (np.floor(start[i] + middles * step[i]).astype(int) for i in (0, 1))
    kernel = np.zeros(shape)
    inside = (rows >= 0) & (rows < ny) & (columns >= 0) & (columns < nx)
    np.add.at(kernel, (rows[inside], columns[inside]), np.diff(parts)[inside])
    return _normalise(kernel, shape)


def _cos(angle: float) -> float:
    """Return the cosine of an angle in degrees, exactly 0 for a right angle."""
    return math.sin(math.radians(90 - angle))


def _check_positive(name: str, value: float) -> None:
    """Refuse what is not a positive number."""
    if not 0 < value < math.inf:
        msg = f'{name} must be positive and finite, not {value!r}'
        raise ValueError(msg)


def _check_ellipse(fwhm: float, ellipticity: float) -> None:
    """Refuse widths and ellipticities that cannot be."""
    _check_positive('fwhm', fwhm)
    if not 0 <= ellipticity < 1:
        msg = f'ellipticity must be in [0, 1), not {ellipticity!r}'
        raise ValueError(msg)


def _integrate(
    profile: Callable[[np.ndarray, np.ndarray], np.ndarray],
    shape: tuple[int, int],
    offset: tuple[float, float],
    width: float,
) -> np.ndarray:
    """Integrate a profile over pixels by Gauss-Legendre quadrature."""
    # Four nodes are exact to 3e-6 of the peak for a width of 1.5 pixels; narrower
    # profiles have the pixel cut into pieces first.
    pieces = max(1, math.ceil(1.5 / width))
    nodes, weights = np.polynomial.legendre.leggauss(4)
    places = (np.arange(pieces)[:, None] + (nodes + 1) / 2).ravel() / pieces - 0.5
    weights = np.tile(weights / 2 / pieces, pieces)
    y, x = place_in_grid(shape, offset)
    kernel = np.zeros(shape)
    for dy, wy in zip(places, weights, strict=True):
        for dx, wx in zip(places, weights, strict=True):
            kernel += wy * wx * profile(y + dy, x + dx)
    return _normalise(kernel, shape)


def _normalise(kernel: np.ndarray, shape: tuple[int, int]) -> Any:
    """Bring a kernel to the sum 1."""
    total = kernel.sum()
    if not total > 0:
        msg = f'no light falls into a kernel of {shape}; use a larger size or offset 0'
        raise ValueError(msg)
    return kernel / total
