# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Motes, specks and fibres as models of astropy, with bounding boxes."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from astropy.modeling import Parameter

from astroflat.degradation import _profiles_dust as dust
from astroflat.degradation._fields_base import PixelModel
from astroflat.degradation._optics import MoteOptics, mote_from_optics
from astroflat.degradation._profiles_vignetting import circle_overlap, overlap_slopes

__all__ = ['DustFiber2D', 'DustMote2D', 'DustSpeck2D']


class DustMote2D(PixelModel):
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

    @property
    def bounding_box(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Box outside which the model is exactly 1: ``((y0, y1), (x0, x1))``."""
        return _box(self, self.reach)


class DustSpeck2D(PixelModel):
    """
    Hard speck nearly in focus.

    Parameters
    ----------
    depth : float
        Light lost inside.
    x_0, y_0 : float
        Centre in pixels.
    a, b : float
        Semi-axes in pixels.
    theta : float
        Direction of ``a`` in radians.
    edge : float
        Width of the outline in pixels.
    cos_3, sin_3, cos_5, sin_5 : float
        Lobes of the outline; fixed in fits unless freed.
    rim : float
        Height of the bright fringe; fixed in fits unless freed.

    See Also
    --------
    astroflat.degradation.profiles.speck : The formula.

    Examples
    --------
    >>> from astroflat.degradation.fields import DustSpeck2D
    >>> float(DustSpeck2D(depth=0.75, a=6, b=3)(0, 0))
    0.25
    """

    depth = Parameter(default=0.5)
    x_0 = Parameter(default=0.0)
    y_0 = Parameter(default=0.0)
    a = Parameter(default=4.0, bounds=(0.1, None))
    b = Parameter(default=4.0, bounds=(0.1, None))
    theta = Parameter(default=0.0)
    edge = Parameter(default=1.0, bounds=(0.1, None))
    cos_3 = Parameter(default=0.0, fixed=True)
    sin_3 = Parameter(default=0.0, fixed=True)
    cos_5 = Parameter(default=0.0, fixed=True)
    sin_5 = Parameter(default=0.0, fixed=True)
    rim = Parameter(default=0.0, fixed=True)

    @property
    def reach(self) -> float:
        """Distance from the centre in pixels beyond which nothing is lost."""
        lobes = math.hypot(self.cos_3.value, self.sin_3.value)
        lobes += math.hypot(self.cos_5.value, self.sin_5.value)
        axis = max(self.a.value, self.b.value)
        # The width of the outline is measured along the radius: see `speck`.
        stretch = axis / min(self.a.value, self.b.value)
        width = (2.5 if self.rim.value else 0.5) * self.edge.value * stretch
        return float(axis * (1.0 + lobes) + width)

    @staticmethod
    def evaluate(
        x: Any,
        y: Any,
        depth: Any,
        x_0: Any,
        y_0: Any,
        a: Any,
        b: Any,
        theta: Any,
        edge: Any,
        cos_3: Any,
        sin_3: Any,
        cos_5: Any,
        sin_5: Any,
        rim: Any,
    ) -> Any:
        """Return the transmission at pixel coordinates."""
        return dust.speck(
            x,
            y,
            depth=depth,
            x_0=x_0,
            y_0=y_0,
            a=a,
            b=b,
            theta=theta,
            edge=edge,
            cos_3=cos_3,
            sin_3=sin_3,
            cos_5=cos_5,
            sin_5=sin_5,
            rim=rim,
        )

    @property
    def bounding_box(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Box outside which the model is exactly 1: ``((y0, y1), (x0, x1))``."""
        return _box(self, self.reach)


class DustFiber2D(PixelModel):
    """
    Shadow of a hair or textile fibre.

    Parameters
    ----------
    depth : float
        Light lost on the line.
    x_0, y_0 : float
        Middle in pixels.
    length, width : float
        Length along the chord and full width in pixels.
    theta : float
        Direction of the chord in radians.
    curvature : float
        Inverse radius of the bend, per pixel.
    edge : float
        Width of the soft outline in pixels.

    See Also
    --------
    astroflat.degradation.profiles.fiber : The formula.

    Examples
    --------
    >>> from astroflat.degradation.fields import DustFiber2D
    >>> fibre = DustFiber2D(depth=0.5, length=40, width=4, curvature=0.01)
    >>> float(fibre(0, 0))
    0.5
    """

    depth = Parameter(default=0.2)
    x_0 = Parameter(default=0.0)
    y_0 = Parameter(default=0.0)
    length = Parameter(default=60.0, bounds=(1.0, None))
    width = Parameter(default=4.0, bounds=(0.1, None))
    theta = Parameter(default=0.0)
    curvature = Parameter(default=0.0)
    edge = Parameter(default=1.0, bounds=(0.1, None))

    @property
    def reach(self) -> float:
        """Distance from the middle in pixels beyond which nothing is lost."""
        half = 0.5 * (self.length.value + self.edge.value)
        bend = abs(self.curvature.value) * half
        # The distance from the parabola is divided by hypot(1, bend).
        across = 0.5 * (self.width.value + self.edge.value) * math.hypot(1.0, bend)
        return float(math.hypot(half, 0.5 * bend * half + across))

    @staticmethod
    def evaluate(
        x: Any,
        y: Any,
        depth: Any,
        x_0: Any,
        y_0: Any,
        length: Any,
        width: Any,
        theta: Any,
        curvature: Any,
        edge: Any,
    ) -> Any:
        """Return the transmission at pixel coordinates."""
        return dust.fiber(
            x,
            y,
            depth=depth,
            x_0=x_0,
            y_0=y_0,
            length=length,
            width=width,
            theta=theta,
            curvature=curvature,
            edge=edge,
        )

    @property
    def bounding_box(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Box outside which the model is exactly 1: ``((y0, y1), (x0, x1))``."""
        return _box(self, self.reach)


def _box(model: PixelModel, reach: float) -> tuple:
    """Square of half-width ``reach`` around the centre of a model."""
    x, y = float(model.x_0.value), float(model.y_0.value)
    return (y - reach, y + reach), (x - reach, x + reach)


def _disc(dx: Any, dy: Any, radius: Any, edge: Any) -> dict[str, Any]:
    """Area of a disc of the pupil under the particle, with its slopes."""
    distance = np.sqrt(dx * dx + dy * dy)
    chord, arc, other = overlap_slopes(distance, radius, edge)
    per_pixel = -chord / np.maximum(distance, 1e-9)
    return {
        'area': circle_overlap(distance, radius, edge),
        'x': per_pixel * dx,
        'y': per_pixel * dy,
        'radius': arc,
        'edge': other,
    }
