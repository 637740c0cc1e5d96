# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
From a telescope and a particle to the shadow on the detector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ['MoteOptics', 'mote_from_optics']


@dataclass(frozen=True)
class MoteOptics:
    """
    A converging beam and the detector at its end.

    Parameters
    ----------
    f_ratio : float
        Focal ratio of the beam at the detector, 2 to 60.
    obstruction : float, optional
        Diameter of the central obstruction over that of the pupil; 0 for a
        refractor.
    pixel_size : float, optional
        Pixel pitch in micrometres.
    wavelength : float, optional
        Mean wavelength in micrometres.

    Examples
    --------
    >>> from astroflat.degradation import MoteOptics
    >>> optics = MoteOptics(f_ratio=8.0, obstruction=0.35, pixel_size=4.0)
    >>> optics.shadow_radius(20.0)  # a filter 20 mm before the detector
    312.5
    """

    f_ratio: float
    obstruction: float = 0.0
    pixel_size: float = 3.76
    wavelength: float = 0.55

    def __post_init__(self) -> None:
        """Refuse beams and pixels that cannot be."""
        for name in ('f_ratio', 'pixel_size', 'wavelength'):
            if not getattr(self, name) > 0:
                msg = f'{name} must be positive, not {getattr(self, name)}'
                raise ValueError(msg)
        if not 0 <= self.obstruction < 1:
            msg = f'obstruction must be in [0, 1), not {self.obstruction}'
            raise ValueError(msg)

    def shadow_radius(self, distance: float) -> float:
        """
        Return the radius of every shadow cast from one surface.

        Parameters
        ----------
        distance : float
            Distance of the surface from the detector in millimetres of air;
            divide glass by its refractive index.

        Returns
        -------
        float
            Radius in pixels: half the distance divided by the focal ratio.
        """
        return 500.0 * distance / self.f_ratio / self.pixel_size

    def edge_radius(self, distance: float, particle: float) -> float:
        """
        Return half the width of a shadow's soft edge.

        Parameters
        ----------
        distance : float
            Distance of the particle from the detector in millimetres.
        particle : float
            Diameter of the particle in micrometres.

        Returns
        -------
        float
            Radius in pixels: that of the particle and of the spread of the
            light it diffracts, ``wavelength * distance / diameter``, in
            quadrature.
        """
        spread = 0.5 * self.wavelength * 1000.0 * distance / particle
        return math.hypot(0.5 * particle, spread) / self.pixel_size


def mote_from_optics(
    optics: MoteOptics, *, distance: float, particle: float, opacity: float = 1.0
) -> dict[str, float]:
    r"""
    Parameters of the shadow of one particle.

    Parameters
    ----------
    optics : MoteOptics
        The beam and the detector.
    distance : float
        Distance of the particle from the detector in millimetres.
    particle : float
        Diameter of the particle in micrometres.
    opacity : float, optional
        Share of the light that the particle stops, 0 to 1.

    Returns
    -------
    dict
        ``depth``, ``radius``, ``edge`` and ``hole`` for
        `~astroflat.degradation.profiles.mote`.

    Notes
    -----
    The light lost is the area of the particle over that of the lit ring of
    the cone, :math:`p^2 / \bigl(4 R^2 (1 - h^2)\bigr)` with the diameter p of
    the particle, the radius R of the cone and the obstruction h. Diffraction
    spreads the shadow without changing its sum. A particle that is larger
    than the cone stops all the light in the middle of its shadow.

    Examples
    --------
    >>> from astroflat.degradation import MoteOptics
    >>> from astroflat.degradation.profiles import mote_from_optics
    >>> optics = MoteOptics(f_ratio=5.0, obstruction=0.3, pixel_size=4.0)
    >>> shadow = mote_from_optics(optics, distance=2.0, particle=60.0)
    >>> {name: round(value, 4) for name, value in shadow.items()}
    {'depth': 0.0247, 'radius': 50.0, 'edge': 7.8423, 'hole': 0.3}
    """
    for name, value in (('distance', distance), ('particle', particle)):
        if not value > 0:
            msg = f'{name} must be positive, not {value}'
            raise ValueError(msg)
    radius = optics.shadow_radius(distance)
    edge = optics.edge_radius(distance, particle)
    size = 0.5 * particle / optics.pixel_size
    lit = radius * radius * (1.0 - optics.obstruction**2)
    # `mote` covers the cone with a disc of `edge`: thin it to keep the light lost.
    covered = (size / edge * min(edge, radius)) ** 2
    return {
        'depth': opacity * covered / lit,
        'radius': radius,
        'edge': edge,
        'hole': optics.obstruction,
    }
