# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Vignetting as models of astropy, with derivatives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from astropy.modeling import Parameter

from astroflat.degradation import _profiles_vignetting as vignetting
from astroflat.degradation._fields_base import PixelModel

__all__ = [
    'MechanicalVignetting2D',
    'NaturalVignetting2D',
    'Vignetting2D',
]


class Vignetting2D(PixelModel):
    """
    Vignetting as a power of the radius, off-centre and elliptical if need be.

    Parameters
    ----------
    amplitude : float
        Loss at ``radius``; negative brightens.
    x_0, y_0 : float
        Optical axis in pixels.
    radius : float
        Radius in pixels at which ``amplitude`` is lost. Fixed in fits, where
        it cannot be told from ``amplitude``.
    power : float
        Steepness.
    ellipticity, theta : float
        ``1 - b/a`` of the contours and direction of a in radians. Fixed in
        fits unless freed.

    See Also
    --------
    astroflat.degradation.profiles.radial_vignetting : The formula.

    Examples
    --------
    >>> from astroflat.degradation.fields import Vignetting2D
    >>> model = Vignetting2D(amplitude=0.4, x_0=50, y_0=50, radius=100, power=2)
    >>> round(float(model(100, 50)), 6)
    0.9
    """

    amplitude = Parameter(default=0.2)
    x_0 = Parameter(default=0.0)
    y_0 = Parameter(default=0.0)
    radius = Parameter(default=1000.0, fixed=True)
    power = Parameter(default=2.0, bounds=(0.5, 12.0))
    ellipticity = Parameter(default=0.0, bounds=(-1.0, 0.9), fixed=True)
    theta = Parameter(default=0.0, fixed=True)

    @staticmethod
    def evaluate(
        x: Any,
        y: Any,
        amplitude: Any,
        x_0: Any,
        y_0: Any,
        radius: Any,
        power: Any,
        ellipticity: Any,
        theta: Any,
    ) -> Any:
        """Return the transmission at pixel coordinates."""
        return vignetting.radial_vignetting(
            x,
            y,
            amplitude=amplitude,
            x_0=x_0,
            y_0=y_0,
            radius=radius,
            power=power,
            ellipticity=ellipticity,
            theta=theta,
        )

    @staticmethod
    def fit_deriv(
        x: Any,
        y: Any,
        amplitude: Any,
        x_0: Any,
        y_0: Any,
        radius: Any,
        power: Any,
        ellipticity: Any,
        theta: Any,
    ) -> list[Any]:
        """Return the partial derivatives for the parameters."""
        square, slopes = _square_slopes(x, y, x_0, y_0, ellipticity, theta)
        square = np.maximum(square, 1e-12 * radius**2)
        shape = (square / radius**2) ** (0.5 * power)
        by_square = -0.5 * amplitude * power * shape / square
        return [
            -shape,
            by_square * slopes[0],
            by_square * slopes[1],
            amplitude * power * shape / radius,
            -0.5 * amplitude * shape * np.log(square / radius**2),
            by_square * slopes[2],
            by_square * slopes[3],
        ]


class NaturalVignetting2D(PixelModel):
    """
    Natural vignetting: the fourth power of the cosine of the field angle.

    Parameters
    ----------
    x_0, y_0 : float
        Optical axis in pixels.
    focal_length : float
        Distance of the exit pupil in pixels.

    See Also
    --------
    astroflat.degradation.profiles.natural_vignetting : The formula.

    Examples
    --------
    >>> from astroflat.degradation.fields import NaturalVignetting2D
    >>> float(NaturalVignetting2D(x_0=0, y_0=0, focal_length=100)(100, 0))
    0.25
    """

    x_0 = Parameter(default=0.0)
    y_0 = Parameter(default=0.0)
    focal_length = Parameter(default=10000.0)

    @staticmethod
    def evaluate(x: Any, y: Any, x_0: Any, y_0: Any, focal_length: Any) -> Any:
        """Return the transmission at pixel coordinates."""
        return vignetting.natural_vignetting(
            x, y, x_0=x_0, y_0=y_0, focal_length=focal_length
        )

    @staticmethod
    def fit_deriv(x: Any, y: Any, x_0: Any, y_0: Any, focal_length: Any) -> list[Any]:
        """Return the partial derivatives for the parameters."""
        dx, dy = x - x_0, y - y_0
        square = dx * dx + dy * dy
        by_square = -2.0 / focal_length**2 / (1.0 + square / focal_length**2) ** 3
        return [
            -2.0 * dx * by_square,
            -2.0 * dy * by_square,
            -2.0 * square / focal_length * by_square,
        ]


class MechanicalVignetting2D(PixelModel):
    """
    Share of the pupil left open by a second stop.

    Parameters
    ----------
    x_0, y_0 : float
        Place in pixels from which pupil and stop are concentric.
    scale : float
        Pixels that move the stop by one radius of the pupil.
    stop : float
        Radius of the stop in radii of the pupil.
    ellipticity, theta : float
        ``1 - b/a`` of the contours and direction of a in radians. Fixed in
        fits unless freed.

    See Also
    --------
    astroflat.degradation.profiles.mechanical_vignetting : The formula.

    Examples
    --------
    >>> from astroflat.degradation.fields import MechanicalVignetting2D
    >>> model = MechanicalVignetting2D(x_0=0, y_0=0, scale=1000, stop=1.3)
    >>> round(float(model(250, 0)), 6)
    1.0
    """

    x_0 = Parameter(default=0.0)
    y_0 = Parameter(default=0.0)
    scale = Parameter(default=4000.0)
    stop = Parameter(default=1.0, bounds=(0.05, None))
    ellipticity = Parameter(default=0.0, bounds=(-1.0, 0.9), fixed=True)
    theta = Parameter(default=0.0, fixed=True)

    @staticmethod
    def evaluate(
        x: Any,
        y: Any,
        x_0: Any,
        y_0: Any,
        scale: Any,
        stop: Any,
        ellipticity: Any,
        theta: Any,
    ) -> Any:
        """Return the transmission at pixel coordinates."""
        return vignetting.mechanical_vignetting(
            x,
            y,
            x_0=x_0,
            y_0=y_0,
            scale=scale,
            stop=stop,
            ellipticity=ellipticity,
            theta=theta,
        )

    @staticmethod
    def fit_deriv(
        x: Any,
        y: Any,
        x_0: Any,
        y_0: Any,
        scale: Any,
        stop: Any,
        ellipticity: Any,
        theta: Any,
    ) -> list[Any]:
        """Return the partial derivatives for the parameters."""
        square, slopes = _square_slopes(x, y, x_0, y_0, ellipticity, theta)
        distance = np.sqrt(np.maximum(square, 1e-12 * scale**2)) / scale
        norm = math.pi * np.minimum(stop, 1.0) ** 2
        chord, _, arc = vignetting.overlap_slopes(distance, 1.0, stop)
        by_square = -0.5 * chord / norm / (distance * scale**2)
        by_stop = arc / norm
        area = vignetting.circle_overlap(distance, 1.0, other=stop)
        by_stop = by_stop - np.where(stop < 1.0, 2.0 * area / (norm * stop), 0.0)
        return [
            by_square * slopes[0],
            by_square * slopes[1],
            chord * distance / scale / norm,
            by_stop,
            by_square * slopes[2],
            by_square * slopes[3],
        ]


def _square_slopes(
    x: Any, y: Any, x_0: Any, y_0: Any, ellipticity: Any, theta: Any
) -> tuple[Any, tuple[Any, Any, Any, Any]]:
    """Squared elliptical radius and its slopes in centre, ellipticity, theta."""
    cos, sin = np.cos(theta), np.sin(theta)
    dx, dy = x - x_0, y - y_0
    major, minor = dx * cos + dy * sin, dy * cos - dx * sin
    stretch = 1.0 / (1.0 - ellipticity) ** 2
    slopes = (
        -2.0 * (major * cos - minor * sin * stretch),
        -2.0 * (major * sin + minor * cos * stretch),
        2.0 * minor * minor * stretch / (1.0 - ellipticity),
        2.0 * major * minor * (1.0 - stretch),
    )
    return major * major + minor * minor * stretch, slopes
