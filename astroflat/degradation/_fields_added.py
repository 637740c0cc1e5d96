# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Gradients and glows as models of astropy, with derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.modeling import Parameter

from astroflat.degradation import _profiles_added as added
from astroflat.degradation._fields_base import PixelModel

__all__ = ['AmpGlow2D', 'LinearGradient2D', 'Moonlight2D', 'QuadraticGradient2D']


class LinearGradient2D(PixelModel):
    """
    Plane added to the image.

    Parameters
    ----------
    constant : float
        Value at the reference pixel.
    slope_x, slope_y : float
        Change per pixel.
    x_0, y_0 : float
        Reference pixel; fixed in fits.

    See Also
    --------
    astroflat.degradation.profiles.linear_gradient : The formula.

    Examples
    --------
    >>> from astroflat.degradation.fields import LinearGradient2D
    >>> float(LinearGradient2D(constant=1, slope_x=0.5, slope_y=0)(4, 9))
    3.0
    """

    constant = Parameter(default=0.0)
    slope_x = Parameter(default=0.0)
    slope_y = Parameter(default=0.0)
    x_0 = Parameter(default=0.0, fixed=True)
    y_0 = Parameter(default=0.0, fixed=True)

    @staticmethod
    def evaluate(
        x: Any, y: Any, constant: Any, slope_x: Any, slope_y: Any, x_0: Any, y_0: Any
    ) -> Any:
        """Return the added signal at pixel coordinates."""
        return constant + added.linear_gradient(
            x, y, slope_x=slope_x, slope_y=slope_y, x_0=x_0, y_0=y_0
        )

    @staticmethod
    def fit_deriv(
        x: Any, y: Any, constant: Any, slope_x: Any, slope_y: Any, x_0: Any, y_0: Any
    ) -> list[Any]:
        """Return the partial derivatives for the parameters."""
        one = np.ones_like((x + y) * (1.0 + 0.0 * constant))
        return [one, (x - x_0) * one, (y - y_0) * one, -slope_x * one, -slope_y * one]


class QuadraticGradient2D(PixelModel):
    """
    Purely quadratic surface added to the image.

    Parameters
    ----------
    xx, xy, yy : float
        Coefficients of the second-order terms.
    x_0, y_0 : float
        Reference pixel; fixed in fits.

    See Also
    --------
    astroflat.degradation.profiles.quadratic_gradient : The formula.

    Examples
    --------
    >>> from astroflat.degradation.fields import QuadraticGradient2D
    >>> float(QuadraticGradient2D(xx=1, xy=0, yy=2)(2, 1))
    6.0
    """

    xx = Parameter(default=0.0)
    xy = Parameter(default=0.0)
    yy = Parameter(default=0.0)
    x_0 = Parameter(default=0.0, fixed=True)
    y_0 = Parameter(default=0.0, fixed=True)

    @staticmethod
    def evaluate(x: Any, y: Any, xx: Any, xy: Any, yy: Any, x_0: Any, y_0: Any) -> Any:
        """Return the added signal at pixel coordinates."""
        return added.quadratic_gradient(x, y, xx=xx, xy=xy, yy=yy, x_0=x_0, y_0=y_0)

    @staticmethod
    def fit_deriv(
        x: Any, y: Any, xx: Any, xy: Any, yy: Any, x_0: Any, y_0: Any
    ) -> list[Any]:
        """Return the partial derivatives for the parameters."""
        dx, dy = x - x_0, y - y_0
        return [
            dx * dx,
            dx * dy,
            dy * dy,
            -2.0 * xx * dx - xy * dy,
            -2.0 * yy * dy - xy * dx,
        ]


class Moonlight2D(PixelModel):
    """
    Scattered moonlight added to the image, brighter towards the Moon.

    Parameters
    ----------
    amplitude : float
        Brightness at the reference pixel.
    x_0, y_0 : float
        Reference pixel; fixed in fits.
    separation : float
        Angle between Moon and reference pixel in degrees.
    theta : float
        Direction of the Moon on the detector in radians.
    scale : float
        Degrees per pixel; fixed in fits.

    See Also
    --------
    astroflat.degradation.profiles.moonlight : The formula.

    Examples
    --------
    >>> from astroflat.degradation.fields import Moonlight2D
    >>> moon = Moonlight2D(amplitude=2, separation=30, theta=0, scale=0.001)
    >>> bool(moon(100, 0) > moon(0, 0) > moon(-100, 0))
    True
    """

    amplitude = Parameter(default=1.0)
    x_0 = Parameter(default=0.0, fixed=True)
    y_0 = Parameter(default=0.0, fixed=True)
    separation = Parameter(default=60.0, bounds=(0.5, 180.0))
    theta = Parameter(default=0.0)
    scale = Parameter(default=0.0003, fixed=True)

    @staticmethod
    def evaluate(
        x: Any,
        y: Any,
        amplitude: Any,
        x_0: Any,
        y_0: Any,
        separation: Any,
        theta: Any,
        scale: Any,
    ) -> Any:
        """Return the added signal at pixel coordinates."""
        return added.moonlight(
            x,
            y,
            amplitude=amplitude,
            x_0=x_0,
            y_0=y_0,
            separation=separation,
            theta=theta,
            scale=scale,
        )


class AmpGlow2D(PixelModel):
    """
    Amplifier glow added to the image, from a corner, an edge or a point.

    Parameters
    ----------
    amplitude : float
        Brightness at the source.
    x_0, y_0 : float
        Source in pixels.
    scale_x, scale_y : float
        Pixels over which the glow falls to 1/e; infinite along an edge.

    See Also
    --------
    astroflat.degradation.profiles.amp_glow : The formula.

    Examples
    --------
    >>> from astroflat.degradation.fields import AmpGlow2D
    >>> float(AmpGlow2D(amplitude=5, x_0=0, y_0=0, scale_x=9, scale_y=9)(0, 0))
    5.0
    """

    amplitude = Parameter(default=1.0)
    x_0 = Parameter(default=0.0)
    y_0 = Parameter(default=0.0)
    scale_x = Parameter(default=100.0, bounds=(1e-3, None))
    scale_y = Parameter(default=100.0, bounds=(1e-3, None))

    @staticmethod
    def evaluate(
        x: Any, y: Any, amplitude: Any, x_0: Any, y_0: Any, scale_x: Any, scale_y: Any
    ) -> Any:
        """Return the added signal at pixel coordinates."""
        return added.amp_glow(
            x,
            y,
            amplitude=amplitude,
            x_0=x_0,
            y_0=y_0,
            scale_x=scale_x,
            scale_y=scale_y,
        )

    @staticmethod
    def fit_deriv(
        x: Any, y: Any, amplitude: Any, x_0: Any, y_0: Any, scale_x: Any, scale_y: Any
    ) -> list[Any]:
        """Return the partial derivatives for the parameters."""
        u, v = (x - x_0) / scale_x, (y - y_0) / scale_y
        rho = np.sqrt(u * u + v * v)
        shape = np.exp(-rho)
        per_rho = amplitude * shape / np.maximum(rho, 1e-12)
        return [
            shape,
            per_rho * u / scale_x,
            per_rho * v / scale_y,
            per_rho * u * u / scale_x,
            per_rho * v * v / scale_y,
        ]
