# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Galaxies: Sersic bodies, spiral arms, lanes of dust, and a far background."""

from __future__ import annotations

import math

import numpy as np

from astroflat.degradation import _textures as textures
from astroflat.degradation._scenes_sky import Plan, Stars, field_stars

__all__ = ['galaxies', 'sersic']


def sersic(radius: np.ndarray, *, r_e: float, n: float) -> np.ndarray:
    """
    Sersic profile, 1 at the effective radius.

    Parameters
    ----------
    radius : ndarray
        Elliptical radius in pixels.
    r_e : float
        Effective radius in pixels.
    n : float
        Index: 1 for an exponential disc, 4 for an elliptical galaxy.

    Returns
    -------
    ndarray
        Surface brightness.

    References
    ----------
    Ciotti, L. and Bertin, G. 1999, A&A 352, 447, for the coefficient b_n.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation._scenes_galaxies import sersic
    >>> float(sersic(np.array(5.0), r_e=5.0, n=2.5))
    1.0
    """
    b = 2.0 * n - 1.0 / 3.0 + 4.0 / (405.0 * n) + 46.0 / (25515.0 * n * n)
    return np.exp(-b * ((radius / r_e) ** (1.0 / n) - 1.0))


def galaxies(plan: Plan) -> tuple[np.ndarray, Stars]:
    """
    Draw one large galaxy and a background of small ones, with a few stars.

    Parameters
    ----------
    plan : Plan
        Canvas and exposure.

    Returns
    -------
    tuple
        Extended light in electrons and the stars.
    """
    rng, (ny, nx) = plan.rng, plan.shape
    light = np.zeros(plan.shape, np.float32)
    brightness = plan.brightness or plan.log_uniform(0.3, 2.0)
    stars = field_stars(plan, plan.log_uniform(200.0, 1500.0))
    draw = (_spiral, _edge_on, _elliptical)[rng.choice(3, p=[0.55, 0.25, 0.2])]
    place = 0.5 + rng.uniform(-0.15, 0.15, 2)
    light += brightness * draw(
        plan, place[0] * ny, place[1] * nx, rng.uniform(0.16, 0.32) * min(ny, nx)
    )
    for _ in range(int(rng.poisson(160e-6 * ny * nx))):
        _small(light, rng, plan.fwhm)
    return light * plan.level, stars


def _polar(
    plan: Plan, y_0: float, x_0: float, ratio: float, theta: float
) -> tuple[np.ndarray, np.ndarray]:
    """Radius and angle in the plane of an inclined disc."""
    y, x = textures._grid(plan.shape)
    dy, dx = y - y_0, x - x_0
    cos, sin = math.cos(theta), math.sin(theta)
    major, minor = dx * cos + dy * sin, (dy * cos - dx * sin) / ratio
    return np.hypot(major, minor), np.arctan2(minor, major)


def _spiral(plan: Plan, y_0: float, x_0: float, size: float) -> np.ndarray:
    """Inclined disc with log-spiral arms, knots, lanes and a bulge."""
    rng = plan.rng
    r, phi = _polar(
        plan, y_0, x_0, rng.uniform(0.35, 0.95), rng.uniform(-math.pi, math.pi)
    )
    stir = textures.power_law(plan.shape, slope=3.0, rng=rng, largest=0.7 * size)
    fine = textures.power_law(plan.shape, slope=2.2, rng=rng, largest=0.15 * size)
    pitch = math.tan(math.radians(rng.uniform(12.0, 24.0)))
    turn = phi - np.log(r / size + 0.05) / pitch + 0.35 * stir
    arms = np.exp(2.2 * (np.cos(2.0 * turn) - 1.0))
    arms = arms + 0.35 * np.exp(3.0 * (np.cos(4.0 * turn + 1.0) - 1.0))
    lane = np.exp(5.0 * (np.cos(2.0 * (turn + 0.35)) - 1.0))
    disc = sersic(r, r_e=0.62 * size, n=1.0)
    open_ = 1.0 - np.exp(-((r / (0.25 * size)) ** 2))
    knots = np.exp(1.1 * fine) * arms
    body = disc * (0.40 + open_ * (0.75 * arms + 0.35 * knots))
    depth = 1.3 * open_ * lane * np.exp(0.4 * fine) * np.exp(-r / (1.5 * size))
    bulge = 0.25 * sersic(r, r_e=0.13 * size, n=2.0)
    return body * np.exp(-depth) + bulge * 3.0


def _edge_on(plan: Plan, y_0: float, x_0: float, size: float) -> np.ndarray:
    """Disc seen from the side with a lane of dust through the middle."""
    rng = plan.rng
    theta = rng.uniform(-math.pi, math.pi)
    y, x = textures._grid(plan.shape)
    dy, dx = y - y_0, x - x_0
    along = dx * math.cos(theta) + dy * math.sin(theta)
    across = dy * math.cos(theta) - dx * math.sin(theta)
    across = across + 0.01 * size * np.sin(1.5 * along / size)
    thick = size * rng.uniform(0.05, 0.09)
    disc = np.exp(-np.abs(along) / (0.45 * size)) / np.cosh(across / thick) ** 2
    bulge = sersic(np.hypot(along, 1.5 * across) + 1.0, r_e=0.14 * size, n=2.0)
    fine = textures.power_law(plan.shape, slope=2.6, rng=rng, largest=0.25 * size)
    offset = across / (0.35 * thick) - 0.7
    depth = 2.2 * np.exp(-0.5 * offset**2 + 0.35 * fine)
    depth *= np.exp(-((along / (0.95 * size)) ** 4))
    return (1.6 * disc + 0.5 * bulge) * np.exp(-depth) * (1.0 + 0.05 * fine)


def _elliptical(plan: Plan, y_0: float, x_0: float, size: float) -> np.ndarray:
    """Smooth galaxy, at times with an old lane of dust like Centaurus A."""
    rng = plan.rng
    theta = rng.uniform(-math.pi, math.pi)
    r, phi = _polar(plan, y_0, x_0, rng.uniform(0.6, 1.0), theta)
    body = 0.5 * sersic(r + 0.5, r_e=0.5 * size, n=rng.uniform(2.5, 4.0))
    if rng.uniform() < 0.5:
        fine = textures.power_law(plan.shape, slope=2.8, rng=rng, largest=0.4 * size)
        across = r * np.sin(phi + 1.2) + 0.04 * size * fine
        lane = np.exp(-0.5 * (across / (0.07 * size)) ** 2 - (r / (0.9 * size)) ** 2)
        body = body * np.exp(-1.8 * lane * np.exp(0.3 * fine))
    return body


def _small(light: np.ndarray, rng: np.random.Generator, fwhm: float) -> None:
    """Add a faint galaxy of some pixels, on a box."""
    ny, nx = light.shape
    y_0, x_0 = rng.uniform(0, ny), rng.uniform(0, nx)
    r_e = fwhm * math.exp(rng.normal(0.1, 0.5))
    ratio, theta = rng.uniform(0.25, 1.0), rng.uniform(-math.pi, math.pi)
    index = 1.0 if rng.uniform() < 0.7 else 3.0
    peak = 0.03 * rng.uniform(0.05, 1.0) ** -0.8
    half = int(8 * r_e) + 2
    rows = slice(max(0, int(y_0) - half), min(ny, int(y_0) + half + 1))
    cols = slice(max(0, int(x_0) - half), min(nx, int(x_0) + half + 1))
    y, x = np.ogrid[rows, cols]
    cos, sin = math.cos(theta), math.sin(theta)
    major = (x - x_0) * cos + (y - y_0) * sin
    minor = ((y - y_0) * cos - (x - x_0) * sin) / ratio
    r = np.hypot(major, minor)
    light[rows, cols] += peak * sersic(r + 0.3, r_e=r_e, n=index)
