# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Closed forms of the fields that vary slowly over a frame.

Vignetting multiplies (value 1 where nothing is lost), gradients and glows add.
Every function takes pixel coordinates ``x`` and ``y`` that broadcast against
each other and against the parameters.
"""

from __future__ import annotations

import math
from typing import Any

from astroflat.degradation._namespace import namespace

__all__ = [
    'amp_glow',
    'circle_overlap',
    'elliptical_radius',
    'linear_gradient',
    'mechanical_vignetting',
    'moonlight',
    'natural_vignetting',
    'quadratic_gradient',
    'radial_vignetting',
]

# Keeps the quotients of `circle_overlap` finite for coincident centres and empty
# circles; the clipping that follows makes its size irrelevant.
_TINY = 1e-12


def circle_overlap(distance: Any, radius: Any, other: Any) -> Any:
    r"""
    Area common to two circles.

    Parameters
    ----------
    distance : array_like
        Distance of the centres, not negative.
    radius, other : float or array_like
        The two radii, not negative.

    Returns
    -------
    array
        The area, in the squared unit of the radii: 0 for separate circles,
        the whole smaller circle where one lies inside the other.

    Notes
    -----
    :math:`A = R^2\alpha + r^2\beta - \frac12\sqrt{(-d+r+R)(d+r-R)(d-r+R)(d+r+R)}`
    with the half opening angles :math:`\alpha, \beta` of the two circular
    segments. Its derivatives are simple, too: minus the common chord for the
    distance, and the arc inside the other circle for each radius.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation.profiles import circle_overlap
    >>> area = circle_overlap(np.array([0.0, 1.0, 5.0]), 2.0, 1.0)
    >>> (area / np.pi).round(6)
    array([1., 1., 0.])
    """
    xp = namespace(distance, radius, other)
    square = distance * distance
    cos_a = (square + radius * radius - other * other) / (
        2.0 * distance * radius + _TINY
    )
    cos_b = (square + other * other - radius * radius) / (
        2.0 * distance * other + _TINY
    )
    alpha = xp.arccos(xp.clip(cos_a, -1.0, 1.0))
    beta = xp.arccos(xp.clip(cos_b, -1.0, 1.0))
    total, difference = radius + other, radius - other
    heron = (total * total - square) * (square - difference * difference)
    kite = 0.5 * xp.sqrt(xp.clip(heron, 0.0, None))
    return radius * radius * alpha + other * other * beta - kite


def elliptical_radius(
    x: Any, y: Any, x_0: Any, y_0: Any, *, ellipticity: Any = 0.0, theta: Any = 0.0
) -> Any:
    """
    Distance from a centre, stretched along the minor axis of an ellipse.

    Parameters
    ----------
    x, y : array_like
        Pixel coordinates.
    x_0, y_0 : float or array_like
        Centre in pixels.
    ellipticity : float or array_like
        ``1 - b/a`` of the lines of equal radius, 0 for circles.
    theta : float or array_like
        Direction of the major axis in radians, from +x towards +y.

    Returns
    -------
    array
        Radius in pixels, measured along the major axis.

    Examples
    --------
    >>> from astroflat.degradation.profiles import elliptical_radius
    >>> float(elliptical_radius(0.0, 3.0, 0.0, 0.0, ellipticity=0.5))
    6.0
    """
    xp = namespace(x, y, x_0, y_0, ellipticity, theta)
    dx, dy = x - x_0, y - y_0
    if _is_zero(ellipticity):
        return xp.sqrt(dx * dx + dy * dy)
    cos, sin = _cos_sin(theta)
    major = dx * cos + dy * sin
    minor = (dy * cos - dx * sin) / (1.0 - ellipticity)
    return xp.sqrt(major * major + minor * minor)


def radial_vignetting(
    x: Any,
    y: Any,
    *,
    amplitude: Any,
    x_0: Any,
    y_0: Any,
    radius: Any,
    power: Any = 2.0,
    ellipticity: Any = 0.0,
    theta: Any = 0.0,
) -> Any:
    """
    Vignetting as a power of the radius: ``1 - amplitude * (r / radius)**power``.

    Parameters
    ----------
    x, y : array_like
        Pixel coordinates.
    amplitude : float or array_like
        Loss at ``radius``; negative brightens.
    x_0, y_0 : float or array_like
        Optical axis in pixels; it need not be the centre of the frame.
    radius : float or array_like
        Radius in pixels at which ``amplitude`` is lost.
    power : float or array_like
        Steepness: 2 for a mild lens, 4 and more for a sharp stop.
    ellipticity, theta : float or array_like
        Shape of the contours, see `elliptical_radius`.

    Returns
    -------
    array
        Transmission, 1 at the optical axis.

    Examples
    --------
    >>> from astroflat.degradation.profiles import radial_vignetting
    >>> value = radial_vignetting(100.0, 0.0, amplitude=0.3, x_0=0.0, y_0=0.0,
    ...                           radius=200.0, power=2.0)
    >>> float(value)
    0.925
    """
    r = elliptical_radius(x, y, x_0, y_0, ellipticity=ellipticity, theta=theta)
    return 1.0 - amplitude * (r / radius) ** power


def natural_vignetting(x: Any, y: Any, *, x_0: Any, y_0: Any, focal_length: Any) -> Any:
    r"""
    Natural vignetting of a flat detector: the fourth power of a cosine.

    Parameters
    ----------
    x, y : array_like
        Pixel coordinates.
    x_0, y_0 : float or array_like
        Optical axis in pixels.
    focal_length : float or array_like
        Distance of the exit pupil in pixels.

    Returns
    -------
    array
        :math:`\cos^4\arctan(r/f) = (1 + r^2/f^2)^{-2}`, 1 on the axis.

    Examples
    --------
    >>> from astroflat.degradation.profiles import natural_vignetting
    >>> float(natural_vignetting(500.0, 0.0, x_0=0.0, y_0=0.0, focal_length=500.0))
    0.25
    """
    dx, dy = (x - x_0) / focal_length, (y - y_0) / focal_length
    secant = 1.0 + dx * dx + dy * dy
    return 1.0 / (secant * secant)


def mechanical_vignetting(
    x: Any,
    y: Any,
    *,
    x_0: Any,
    y_0: Any,
    scale: Any,
    stop: Any = 1.0,
    ellipticity: Any = 0.0,
    theta: Any = 0.0,
) -> Any:
    """
    Share of the pupil left open by a second stop, the cat's-eye of a lens.

    Seen from a point off the axis, a tube, filter holder or lens rim slides
    across the pupil. The transmission is the area that two circles have in
    common.

    Parameters
    ----------
    x, y : array_like
        Pixel coordinates.
    x_0, y_0 : float or array_like
        Place in pixels from which the two circles are seen concentric.
    scale : float or array_like
        Pixels off that place that move the stop by one radius of the pupil.
    stop : float or array_like
        Radius of the stop in radii of the pupil. Above 1 the centre of the
        frame is free of vignetting up to ``(stop - 1) * scale`` pixels.
    ellipticity, theta : float or array_like
        Shape of the contours, see `elliptical_radius`.

    Returns
    -------
    array
        Transmission, 1 where the smaller circle lies in the larger.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation.profiles import mechanical_vignetting
    >>> x = np.array([0.0, 200.0, 2200.0])
    >>> mechanical_vignetting(x, 0.0, x_0=0.0, y_0=0.0, scale=1000.0, stop=1.2)
    array([1., 1., 0.])
    """
    r = elliptical_radius(x, y, x_0, y_0, ellipticity=ellipticity, theta=theta)
    xp = namespace(r, scale, stop)
    smaller = xp.clip(stop + 0.0 * r, None, 1.0)
    return circle_overlap(r / scale, 1.0, stop) / (math.pi * smaller * smaller)


def linear_gradient(
    x: Any, y: Any, *, slope_x: Any, slope_y: Any, x_0: Any = 0.0, y_0: Any = 0.0
) -> Any:
    """
    Plane through zero at a reference pixel.

    Parameters
    ----------
    x, y : array_like
        Pixel coordinates.
    slope_x, slope_y : float or array_like
        Change per pixel, of any sign.
    x_0, y_0 : float or array_like
        Reference pixel.

    Returns
    -------
    array
        ``slope_x * (x - x_0) + slope_y * (y - y_0)``.

    Examples
    --------
    >>> from astroflat.degradation.profiles import linear_gradient
    >>> linear_gradient(30.0, 10.0, slope_x=0.5, slope_y=-1.0)
    5.0
    """
    return slope_x * (x - x_0) + slope_y * (y - y_0)


def quadratic_gradient(
    x: Any, y: Any, *, xx: Any, xy: Any, yy: Any, x_0: Any = 0.0, y_0: Any = 0.0
) -> Any:
    """
    Purely quadratic surface about a reference pixel.

    Parameters
    ----------
    x, y : array_like
        Pixel coordinates.
    xx, xy, yy : float or array_like
        Coefficients of the three second-order terms.
    x_0, y_0 : float or array_like
        Reference pixel.

    Returns
    -------
    array
        ``xx * dx**2 + xy * dx * dy + yy * dy**2``.

    Examples
    --------
    >>> from astroflat.degradation.profiles import quadratic_gradient
    >>> quadratic_gradient(3.0, 2.0, xx=1.0, xy=1.0, yy=-1.0)
    11.0
    """
    dx, dy = x - x_0, y - y_0
    return dx * (xx * dx + xy * dy) + yy * dy * dy


def moonlight(
    x: Any,
    y: Any,
    *,
    amplitude: Any,
    x_0: Any,
    y_0: Any,
    separation: Any,
    theta: Any,
    scale: Any,
) -> Any:
    r"""
    Moonlight scattered by the air, brighter towards the Moon.

    Parameters
    ----------
    x, y : array_like
        Pixel coordinates.
    amplitude : float or array_like
        Brightness at the reference pixel.
    x_0, y_0 : float or array_like
        Reference pixel.
    separation : float or array_like
        Angle between Moon and reference pixel in degrees.
    theta : float or array_like
        Direction of the Moon on the detector in radians, from +x towards +y.
    scale : float or array_like
        Degrees per pixel.

    Returns
    -------
    array
        Brightness, in the unit of ``amplitude``.

    Notes
    -----
    The scattering function is that of Krisciunas and Schaefer, the sum of
    Rayleigh and Mie scattering,
    :math:`f = 10^{5.36}(1.06 + \cos^2\rho) + 10^{6.15 - \rho/40}`, with the
    separation :math:`\rho` of each pixel on a plane sky, which is good enough
    for frames of some degrees.

    References
    ----------
    Krisciunas, K. and Schaefer, B. E. 1991, PASP 103, 1033,
    https://doi.org/10.1086/132921

    Examples
    --------
    >>> from astroflat.degradation.profiles import moonlight
    >>> value = moonlight(50.0, 0.0, amplitude=100.0, x_0=50.0, y_0=0.0,
    ...                   separation=40.0, theta=0.0, scale=0.001)
    >>> round(float(value), 6)
    100.0
    """
    xp = namespace(x, y, amplitude, separation)
    cos, sin = _cos_sin(theta)
    dx, dy = (x - x_0) * scale, (y - y_0) * scale
    towards = separation - (dx * cos + dy * sin)
    across = dy * cos - dx * sin
    rho = xp.sqrt(towards * towards + across * across)
    return amplitude * _scattering(rho) / _scattering(separation)


def amp_glow(
    x: Any, y: Any, *, amplitude: Any, x_0: Any, y_0: Any, scale_x: Any, scale_y: Any
) -> Any:
    """
    Amplifier glow that falls off exponentially from a point or an edge.

    Parameters
    ----------
    x, y : array_like
        Pixel coordinates.
    amplitude : float or array_like
        Brightness at the source.
    x_0, y_0 : float or array_like
        Source in pixels, commonly a corner or the middle of an edge.
    scale_x, scale_y : float or array_like
        Length in pixels over which the glow falls to 1/e. An infinite
        ``scale_y`` makes a glow along the whole left or right edge.

    Returns
    -------
    array
        Added signal, in the unit of ``amplitude``.

    Examples
    --------
    >>> from astroflat.degradation.profiles import amp_glow
    >>> float(amp_glow(0.0, 7.0, amplitude=3.0, x_0=0.0, y_0=0.0,
    ...                scale_x=10.0, scale_y=float('inf')))
    3.0
    """
    xp = namespace(x, y, amplitude, x_0)
    dx, dy = (x - x_0) / scale_x, (y - y_0) / scale_y
    return amplitude * xp.exp(-xp.sqrt(dx * dx + dy * dy))


def _scattering(rho: Any) -> Any:
    """Krisciunas and Schaefer's f(rho), rho in degrees."""
    cos, _ = _cos_sin(rho * (math.pi / 180.0))
    return 10.0**5.36 * (1.06 + cos * cos) + 10.0 ** (6.15 - rho / 40.0)


def _cos_sin(angle: Any) -> tuple[Any, Any]:
    """Cosine and sine of a number or an array of any namespace."""
    if isinstance(angle, (int, float)):
        return math.cos(angle), math.sin(angle)
    xp = namespace(angle)
    return xp.cos(angle), xp.sin(angle)


def _is_zero(value: Any) -> bool:
    """Whether ``value`` is the plain number zero, so that work can be saved."""
    return isinstance(value, (int, float)) and value == 0
