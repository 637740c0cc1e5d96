# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Motes as models of astropy, with derivatives and a bounding box."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from astropy.modeling import Parameter

from astroflat.degradation import _profiles_dust as dust
from astroflat.degradation._fields_base import ShadowModel
from astroflat.degradation._optics import MoteOptics, mote_from_optics
from astroflat.degradation._profiles_vignetting import circle_overlap, overlap_slopes

__all__ = ['DustMote2D']


class DustMote2D(ShadowModel):
    """
    Shadow of a particle out of focus: a donut, or a disc without a hole.

    Parameters
    ----------
    depth : float
        Light lost in the dark ring.
    x_0, y_0 : float
        Centre in pixels.
    radius : float
        Radius of the shadow in pixels, to the middle of the soft edge.
    edge : float
        Half the width of the soft edge in pixels.
    hole : float
        Diameter of the hole over that of the shadow.
    hole_x, hole_y : float
        Shift of the hole in pixels; fixed in fits unless freed.
    tilt_x, tilt_y : float
        Relative change of the depth over one radius; fixed in fits unless
        freed.

    See Also
    --------
    astroflat.degradation.profiles.mote : The formula.

    Examples
    --------
    >>> from astroflat.degradation.fields import DustMote2D
    >>> mote = DustMote2D(depth=0.1, x_0=20, y_0=20, radius=8, edge=1, hole=0.4)
    >>> round(float(mote(26, 20)), 6), float(mote(40, 20))
    (0.9, 1.0)
    """

    depth = Parameter(default=0.05)
    x_0 = Parameter(default=0.0)
    y_0 = Parameter(default=0.0)
    radius = Parameter(default=20.0, bounds=(0.5, None))
    edge = Parameter(default=4.0, bounds=(0.1, None))
    hole = Parameter(default=0.0, bounds=(0.0, 0.95))
    hole_x = Parameter(default=0.0, fixed=True)
    hole_y = Parameter(default=0.0, fixed=True)
    tilt_x = Parameter(default=0.0, fixed=True)
    tilt_y = Parameter(default=0.0, fixed=True)

    @classmethod
    def from_optics(
        cls,
        optics: MoteOptics,
        *,
        distance: float,
        particle: float,
        opacity: float = 1.0,
        **place: float,
    ) -> Self:
        """
        Make the shadow of a particle of known size and distance.

        Parameters
        ----------
        optics : MoteOptics
            The beam and the detector.
        distance : float
            Distance of the particle from the detector in millimetres.
        particle : float
            Diameter of the particle in micrometres.
        opacity : float, optional
            Share of the light that the particle stops.
        **place : float
            ``x_0``, ``y_0`` and other parameters that do not follow from the
            optics.

        Returns
        -------
        DustMote2D
            The model.

        Examples
        --------
        >>> from astroflat.degradation import MoteOptics
        >>> from astroflat.degradation.fields import DustMote2D
        >>> mote = DustMote2D.from_optics(
        ...     MoteOptics(f_ratio=10, pixel_size=5),
        ...     distance=3,
        ...     particle=50,
        ...     x_0=9,
        ...     y_0=9,
        ... )
        >>> float(mote.radius.value)
        30.0
        """
        shadow = mote_from_optics(
            optics, distance=distance, particle=particle, opacity=opacity
        )
        return cls(**shadow, **place)

    @property
    def reach(self) -> float:
        """Distance from the centre in pixels beyond which nothing is lost."""
        return float(self.radius.value + self.edge.value)

    @staticmethod
    def evaluate(
        x: Any,
        y: Any,
        depth: Any,
        x_0: Any,
        y_0: Any,
        radius: Any,
        edge: Any,
        hole: Any,
        hole_x: Any,
        hole_y: Any,
        tilt_x: Any,
        tilt_y: Any,
    ) -> Any:
        """Return the transmission at pixel coordinates."""
        return dust.mote(
            x,
            y,
            depth=depth,
            x_0=x_0,
            y_0=y_0,
            radius=radius,
            edge=edge,
            hole=hole,
            hole_x=hole_x,
            hole_y=hole_y,
            tilt_x=tilt_x,
            tilt_y=tilt_y,
        )

    @staticmethod
    def fit_deriv(
        x: Any,
        y: Any,
        depth: Any,
        x_0: Any,
        y_0: Any,
        radius: Any,
        edge: Any,
        hole: Any,
        hole_x: Any,
        hole_y: Any,
        tilt_x: Any,
        tilt_y: Any,
    ) -> list[Any]:
        """Return the partial derivatives, for an edge within the radius."""
        dx, dy = x - x_0, y - y_0
        full = _disc(dx, dy, radius, edge)
        void = _disc(dx - hole_x, dy - hole_y, hole * radius, edge)
        area = full['area'] - void['area']
        light = 1.0 + (tilt_x * dx + tilt_y * dy) / radius
        norm = -depth / (math.pi * edge * edge)
        common = norm * light
        tilt = norm * area / radius
        shift_x = common * (full['x'] - void['x'])
        shift_y = common * (full['y'] - void['y'])
        return [
            -area * light / (math.pi * edge * edge),
            -shift_x - tilt * tilt_x,
            -shift_y - tilt * tilt_y,
            common * (full['radius'] - hole * void['radius'])
            - tilt * (tilt_x * dx + tilt_y * dy) / radius,
            common * (full['edge'] - void['edge'] - 2.0 * area / edge),
            -common * radius * void['radius'],
            common * void['x'],
            common * void['y'],
            tilt * dx,
            tilt * dy,
        ]


def _disc(dx: Any, dy: Any, radius: Any, edge: Any) -> dict[str, Any]:
    """Area of a disc of the pupil under the particle, with its slopes."""
    distance = np.sqrt(dx * dx + dy * dy)
    chord, arc, other = overlap_slopes(distance, radius, edge)
    per_pixel = -chord / np.maximum(distance, 1e-9)
    return {
        'area': circle_overlap(distance, radius, other=edge),
        'x': per_pixel * dx,
        'y': per_pixel * dy,
        'radius': arc,
        'edge': other,
    }
