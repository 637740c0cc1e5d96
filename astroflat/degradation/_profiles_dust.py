# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Closed forms of dust: the shadows of motes, specks and fibres.

All are transmissions, exactly 1 outside a finite outline, so that a field of
many shadows can be evaluated shadow by shadow on small boxes without loss.
"""

from __future__ import annotations

import math
from typing import Any

from astroflat.degradation._namespace import cos_sin, namespace
from astroflat.degradation._profiles_vignetting import circle_overlap

__all__ = ['fiber', 'mote', 'smooth_step', 'speck']


def smooth_step(t: Any) -> Any:
    """
    Step from 0 (``t <= 0``) to 1 (``t >= 1``) with a continuous slope.

    Parameters
    ----------
    t : array_like
        Position in the transition.

    Returns
    -------
    array
        ``3 t**2 - 2 t**3`` inside the transition.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation.profiles import smooth_step
    >>> smooth_step(np.array([-1.0, 0.5, 2.0]))
    array([0. , 0.5, 1. ])
    """
    t = namespace(t).clip(t, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def mote(
    x: Any,
    y: Any,
    *,
    depth: Any,
    x_0: Any,
    y_0: Any,
    radius: Any,
    edge: Any,
    hole: Any = 0.0,
    hole_x: Any = 0.0,
    hole_y: Any = 0.0,
    tilt_x: Any = 0.0,
    tilt_y: Any = 0.0,
) -> Any:
    r"""
    Shadow of a particle in a converging beam: a donut, or a disc.

    A pixel sees the pupil through a cone. Where the cone passes the particle
    it is a disc of the pupil's shape, with a dark middle if the pupil has a
    central obstruction; the light lost is the part of that disc covered by
    the particle. Moving the pixel moves the cone, so the shadow is the pupil
    smeared by the particle.

    Parameters
    ----------
    x, y : array_like
        Pixel coordinates.
    depth : float or array_like
        Light lost in the dark ring, 0 to 1. It is reached where the ring is
        wider than ``2 * edge``; a narrower ring stays shallower.
    x_0, y_0 : float or array_like
        Centre in pixels.
    radius : float or array_like
        Radius of the cone at the particle, in pixels: distance to the
        detector divided by twice the focal ratio.
    edge : float or array_like
        Radius of the particle with the diffraction at it, in pixels: half the
        width of the soft edge.
    hole : float or array_like
        Central obstruction, the diameter of the hole over that of the shadow.
        0 gives a disc.
    hole_x, hole_y : float or array_like
        Shift of the hole in pixels; off the axis the obstruction and the
        pupil, being in different planes, are seen against each other.
    tilt_x, tilt_y : float or array_like
        Uneven lighting of the ring: relative change of the depth over one
        ``radius``.

    Returns
    -------
    array
        Transmission, exactly 1 farther than ``radius + edge`` from the centre
        (and in the hole of a donut, if it is wider than the edge).

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation.profiles import mote
    >>> x = np.array([0.0, 7.0, 30.0])
    >>> donut = mote(
    ...     x, 0.0, depth=0.1, x_0=0.0, y_0=0.0, radius=10.0, edge=2.0, hole=0.4
    ... )
    >>> donut.round(6)
    array([1. , 0.9, 1. ])
    """
    xp = namespace(x, y, depth, x_0, radius)
    dx, dy = x - x_0, y - y_0
    shade = circle_overlap(xp.sqrt(dx * dx + dy * dy), radius, other=edge)
    if not (isinstance(hole, (int, float)) and hole == 0):
        hx, hy = dx - hole_x, dy - hole_y
        inner = circle_overlap(xp.sqrt(hx * hx + hy * hy), hole * radius, other=edge)
        shade = shade - inner
    # A hole that is shifted over the rim must not turn into a bright sickle.
    shade = xp.clip(shade, 0.0, None)
    light = 1.0 + (tilt_x * dx + tilt_y * dy) / radius
    particle = xp.clip(edge + 0.0 * shade, None, radius)
    return 1.0 - depth * light * shade / (math.pi * particle * particle)


def speck(
    x: Any,
    y: Any,
    *,
    depth: Any,
    x_0: Any,
    y_0: Any,
    a: Any,
    b: Any,
    theta: Any = 0.0,
    edge: Any = 1.0,
    cos_3: Any = 0.0,
    sin_3: Any = 0.0,
    cos_5: Any = 0.0,
    sin_5: Any = 0.0,
    rim: Any = 0.0,
) -> Any:
    r"""
    Hard speck nearly in focus: dark, irregular, with a sharp outline.

    Parameters
    ----------
    x, y : array_like
        Pixel coordinates.
    depth : float or array_like
        Light lost inside, 0 to 1.
    x_0, y_0 : float or array_like
        Centre in pixels.
    a, b : float or array_like
        Semi-axes in pixels.
    theta : float or array_like
        Direction of ``a`` in radians, from +x towards +y.
    edge : float or array_like
        Width of the outline in pixels, centred on the semi-axes.
    cos_3, sin_3, cos_5, sin_5 : float or array_like
        Lobes of the outline, relative to its radius: harmonics 3 and 5 of the
        angle in the frame of the ellipse.
    rim : float or array_like
        Height of the bright diffraction fringe around the outline.

    Returns
    -------
    array
        Transmission, exactly 1 beyond the outline and its fringe.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation.profiles import speck
    >>> speck(
    ...     np.array([0.0, 5.0, 20.0]), 0.0, depth=0.6, x_0=0.0, y_0=0.0, a=5.0, b=3.0
    ... )
    array([0.4, 0.7, 1. ])
    """
    xp = namespace(x, y, depth, x_0, a)
    cos, sin = cos_sin(theta)
    dx, dy = x - x_0, y - y_0
    u, v = (dx * cos + dy * sin) / a, (dy * cos - dx * sin) / b
    rho = xp.sqrt(u * u + v * v)
    # In the very centre any direction will do, but it needs one.
    c, s = (u + 1e-9) / (rho + 1e-9), v / (rho + 1e-9)
    c2, s2 = c * c, s * s
    outline = 1.0 + cos_3 * c * (4.0 * c2 - 3.0) + sin_3 * s * (3.0 - 4.0 * s2)
    outline = outline + cos_5 * c * (16.0 * c2 * c2 - 20.0 * c2 + 5.0)
    outline = outline + sin_5 * s * (16.0 * s2 * s2 - 20.0 * s2 + 5.0)
    # Pixels per unit of rho along this direction turn the excess into pixels.
    pixels = xp.sqrt((a * c) ** 2 + (b * s) ** 2)
    inside = (outline - rho) * pixels / edge
    fringe = 4.0 * smooth_step(inside + 2.5) * (1.0 - smooth_step(inside + 1.5))
    fringe = fringe * smooth_step(0.5 - inside)
    return 1.0 - depth * smooth_step(inside + 0.5) + 0.25 * rim * fringe


def fiber(
    x: Any,
    y: Any,
    *,
    depth: Any,
    x_0: Any,
    y_0: Any,
    length: Any,
    width: Any,
    theta: Any = 0.0,
    curvature: Any = 0.0,
    edge: Any = 1.0,
) -> Any:
    """
    Shadow of a hair or textile fibre: a bent line of finite width.

    Parameters
    ----------
    x, y : array_like
        Pixel coordinates.
    depth : float or array_like
        Light lost on the line, 0 to 1.
    x_0, y_0 : float or array_like
        Middle of the fibre in pixels.
    length, width : float or array_like
        Length along the chord and full width in pixels.
    theta : float or array_like
        Direction of the chord in radians, from +x towards +y.
    curvature : float or array_like
        Inverse radius of the bend in the middle, per pixel.
    edge : float or array_like
        Width of the soft outline in pixels, centred on the outline.

    Returns
    -------
    array
        Transmission, exactly 1 away from the line.

    Notes
    -----
    The line is a parabola; the distance from it is taken to first order,
    which is exact on the line and for a straight fibre.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation.profiles import fiber
    >>> fiber(
    ...     np.array([0.0, 40.0, 90.0]),
    ...     0.0,
    ...     depth=0.5,
    ...     x_0=0.0,
    ...     y_0=0.0,
    ...     length=100.0,
    ...     width=4.0,
    ... )
    array([0.5, 0.5, 1. ])
    """
    xp = namespace(x, y, depth, x_0, length)
    cos, sin = cos_sin(theta)
    dx, dy = x - x_0, y - y_0
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    bend = curvature * along
    offset = across - 0.5 * bend * along
    distance = xp.abs(offset) / xp.sqrt(1.0 + bend * bend)
    body = smooth_step((0.5 * width - distance) / edge + 0.5)
    ends = smooth_step((0.5 * length - xp.abs(along)) / edge + 0.5)
    return 1.0 - depth * body * ends
