# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Specks and fibres as models of astropy, with bounding boxes."""

from __future__ import annotations

import math
from typing import Any

from astropy.modeling import Parameter

from astroflat.degradation import _profiles_dust as dust
from astroflat.degradation._fields_base import ShadowModel

__all__ = ['DustFiber2D', 'DustSpeck2D']


class DustSpeck2D(ShadowModel):
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


class DustFiber2D(ShadowModel):
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
