# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Closed forms of the fields that add light: sky gradients, moonlight, glows.

Every function takes pixel coordinates ``x`` and ``y`` that broadcast against
each other and against the parameters, and gives zero for zero amplitude.
"""

from __future__ import annotations

import math
from typing import Any

from astroflat.degradation._namespace import cos_sin, namespace

__all__ = ['amp_glow', 'linear_gradient', 'moonlight', 'quadratic_gradient']


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
    >>> value = moonlight(
    ...     50.0,
    ...     0.0,
    ...     amplitude=100.0,
    ...     x_0=50.0,
    ...     y_0=0.0,
    ...     separation=40.0,
    ...     theta=0.0,
    ...     scale=0.001,
    ... )
    >>> round(float(value), 6)
    100.0
    """
    xp = namespace(x, y, amplitude, separation)
    cos, sin = cos_sin(theta)
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
    >>> float(
    ...     amp_glow(
    ...         0.0,
    ...         7.0,
    ...         amplitude=3.0,
    ...         x_0=0.0,
    ...         y_0=0.0,
    ...         scale_x=10.0,
    ...         scale_y=float('inf'),
    ...     )
    ... )
    3.0
    """
    xp = namespace(x, y, amplitude, x_0)
    dx, dy = (x - x_0) / scale_x, (y - y_0) / scale_y
    return amplitude * xp.exp(-xp.sqrt(dx * dx + dy * dy))


def _scattering(rho: Any) -> Any:
    """Krisciunas and Schaefer's f(rho), rho in degrees."""
    cos, _ = cos_sin(rho * (math.pi / 180.0))
    return 10.0**5.36 * (1.06 + cos * cos) + 10.0 ** (6.15 - rho / 40.0)
