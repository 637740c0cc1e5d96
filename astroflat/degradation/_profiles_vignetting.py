# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Closed forms of vignetting: a transmission, 1 where nothing is lost.

Every function takes pixel coordinates ``x`` and ``y`` that broadcast against
each other and against the parameters.
"""

from __future__ import annotations

import math
from typing import Any

from astroflat.degradation._namespace import cos_sin, namespace

__all__ = [
    'circle_overlap',
    'elliptical_radius',
    'mechanical_vignetting',
    'natural_vignetting',
    'overlap_slopes',
    'radial_vignetting',
]


def circle_overlap(distance: Any, radius: Any, *, other: Any) -> Any:
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
    >>> area = circle_overlap(np.array([0.0, 1.0, 5.0]), 2.0, other=1.0)
    >>> (area / np.pi).round(6)
    array([1., 1., 0.])
    """
    xp = namespace(distance, radius, other)
    chord, alpha, beta, _ = _half_angles(xp, distance, radius, other)
    return radius * radius * alpha + other * other * beta - 0.5 * chord


def overlap_slopes(distance: Any, radius: Any, other: Any) -> tuple[Any, Any, Any]:
    """
    Give the derivatives of `circle_overlap`, apart from the sign of the first.

    Parameters
    ----------
    distance, radius, other : array_like
        As for `circle_overlap`.

    Returns
    -------
    tuple of arrays
        Length of the common chord (the area shrinks by it per unit of
        distance), and the arcs of both circles inside the other (the area
        grows by them per unit of radius).

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation._profiles_vignetting import overlap_slopes
    >>> chord, arc, other = overlap_slopes(np.array([0.5]), 2.0, 1.0)
    >>> float(chord[0]), float(arc[0]), round(float(other[0] / np.pi), 6)
    (0.0, 0.0, 2.0)
    """
    xp = namespace(distance, radius, other)
    chord, alpha, beta, distance = _half_angles(xp, distance, radius, other)
    return chord / distance, 2.0 * radius * alpha, 2.0 * other * beta


def elliptical_radius(
    x: Any,
    y: Any,
    *,
    x_0: Any,
    y_0: Any,
    ellipticity: Any = 0.0,
    theta: Any = 0.0,
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
    >>> float(elliptical_radius(0.0, 3.0, x_0=0.0, y_0=0.0, ellipticity=0.5))
    6.0
    """
    xp = namespace(x, y, x_0, y_0, ellipticity, theta)
    dx, dy = x - x_0, y - y_0
    if _is_zero(ellipticity):
        return xp.sqrt(dx * dx + dy * dy)
    cos, sin = cos_sin(theta)
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
    >>> value = radial_vignetting(
    ...     100.0, 0.0, amplitude=0.3, x_0=0.0, y_0=0.0, radius=200.0, power=2.0
    ... )
    >>> float(value)
    0.925
    """
    r = elliptical_radius(x, y, x_0=x_0, y_0=y_0, ellipticity=ellipticity, theta=theta)
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
    r = elliptical_radius(x, y, x_0=x_0, y_0=y_0, ellipticity=ellipticity, theta=theta)
    xp = namespace(r, scale, stop)
    smaller = xp.clip(stop + 0.0 * r, None, 1.0)
    return circle_overlap(r / scale, 1.0, other=stop) / (math.pi * smaller * smaller)


def _half_angles(
    xp: Any, distance: Any, radius: Any, other: Any
) -> tuple[Any, Any, Any, Any]:
    """Chord times distance, half opening angles, and the distance used."""
    total, difference = radius + other, radius - other
    # Two equal circles with one centre have no segments: step off it a little.
    distance = xp.clip(distance / total, 1e-9, None) * total
    square, power = distance * distance, total * difference
    heron = (total * total - square) * (square - difference * difference)
    chord = xp.sqrt(xp.clip(heron, 0.0, None))
    # The arc tangent stays accurate for touching circles, the arc cosine not.
    alpha = xp.arctan2(chord, square + power)
    beta = xp.arctan2(chord, square - power)
    return chord, alpha, beta, distance


def _is_zero(value: Any) -> bool:
    """Whether ``value`` is the plain number zero, so that work can be saved."""
    return isinstance(value, (int, float)) and value == 0
