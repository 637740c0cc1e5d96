# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Put stars, clusters, galaxies and nebulae together to skies of one kind."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from astroflat.degradation import _scenes_nebulae as nebulae
from astroflat.degradation._scenes_stars import cluster_places, star_fluxes

__all__ = ['SKIES', 'Plan', 'Stars']


@dataclass(frozen=True)
class Plan:
    """
    What a builder of skies needs.

    Parameters
    ----------
    shape : tuple of int
        Shape of the canvas.
    rng : `numpy.random.Generator`
        Source of random numbers.
    level : float
        Electrons per pixel of the sky.
    fwhm : float
        Width of the stars in pixels.
    density : float or None
        Field stars per million pixels.
    brightness : float or None
        Brightness of the extended light in units of the sky.
    """

    shape: tuple[int, int]
    rng: np.random.Generator
    level: float
    fwhm: float
    density: float | None = None
    brightness: float | None = None

    @property
    def noise(self) -> float:
        """Noise of the sky under a star in electrons."""
        return math.sqrt(2.0 * math.pi * (self.fwhm / 1.7) ** 2 * (self.level + 25.0))

    def log_uniform(self, low: float, high: float) -> float:
        """Draw a positive number whose logarithm is uniform."""
        return math.exp(self.rng.uniform(math.log(low), math.log(high)))


@dataclass
class Stars:
    """
    Stars on a canvas, gathered population by population.

    Parameters
    ----------
    x, y, flux : list of ndarray
        Places on the canvas in pixels and fluxes in electrons.
    """

    x: list = field(default_factory=list)
    y: list = field(default_factory=list)
    flux: list = field(default_factory=list)

    def add(self, x: np.ndarray, y: np.ndarray, flux: np.ndarray) -> None:
        """Add a population."""
        self.x.append(x)
        self.y.append(y)
        self.flux.append(flux)

    def table(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Join the populations: x, y and flux."""
        if not self.x:
            return (np.zeros(0),) * 3
        return tuple(np.concatenate(part) for part in (self.x, self.y, self.flux))


def field_stars(plan: Plan, density: float, *, slope: float = 0.7) -> Stars:
    """
    Draw stars all over the canvas.

    Parameters
    ----------
    plan : Plan
        Canvas and exposure.
    density : float
        Stars per million pixels, unless the plan asks for another.
    slope : float, optional
        Slope of the number counts.

    Returns
    -------
    Stars
        The stars.
    """
    ny, nx = plan.shape
    density = density if plan.density is None else plan.density
    n = int(plan.rng.poisson(density * 1e-6 * ny * nx))
    stars = Stars()
    stars.add(
        plan.rng.uniform(-0.5, nx - 0.5, n),
        plan.rng.uniform(-0.5, ny - 0.5, n),
        star_fluxes(
            n,
            faintest=2.0 * plan.noise,
            brightest=2e5 * plan.noise,
            slope=slope,
            rng=plan.rng,
        ),
    )
    return stars


def starfield(plan: Plan) -> tuple[np.ndarray | float, Stars]:
    """Draw stars and the faint glow of those too faint to be seen."""
    return 0.0, field_stars(plan, plan.log_uniform(800.0, 5000.0))


def open_cluster(plan: Plan) -> tuple[np.ndarray | float, Stars]:
    """Draw some hundred bright stars loosely gathered over a star field."""
    stars = field_stars(plan, plan.log_uniform(800.0, 3000.0))
    n, size = int(plan.rng.integers(80, 300)), min(plan.shape)
    x, y = cluster_places(
        n, core=size * plan.rng.uniform(0.06, 0.15), edge=0.7 * size, rng=plan.rng
    )
    flux = star_fluxes(
        n,
        faintest=10 * plan.noise,
        brightest=4e4 * plan.noise,
        slope=0.45,
        rng=plan.rng,
    )
    stars.add(*_near_middle(plan, x, y), flux)
    return 0.0, stars


def globular_cluster(plan: Plan) -> tuple[np.ndarray | float, Stars]:
    """Draw ten thousand stars around a dense core, in a star field."""
    stars = field_stars(plan, plan.log_uniform(400.0, 1500.0))
    n, size = int(plan.rng.integers(6000, 16000)), min(plan.shape)
    x, y = cluster_places(
        n, core=size * plan.rng.uniform(0.02, 0.05), edge=0.65 * size, rng=plan.rng
    )
    flux = star_fluxes(
        n,
        faintest=0.8 * plan.noise,
        brightest=800 * plan.noise,
        slope=1.1,
        rng=plan.rng,
    )
    stars.add(*_near_middle(plan, x, y), flux)
    return 0.0, stars


def emission_nebula(plan: Plan) -> tuple[np.ndarray | float, Stars]:
    """Draw glowing gas over the whole canvas with stars in and behind it."""
    brightness = plan.brightness or plan.log_uniform(0.15, 1.5)
    light, depth = nebulae.emission_nebula(
        plan.shape, rng=plan.rng, brightness=brightness
    )
    stars = field_stars(plan, plan.log_uniform(1000.0, 5000.0))
    return light * plan.level, _dim(stars, 0.5 * depth)


def reflection_nebula(plan: Plan) -> tuple[np.ndarray | float, Stars]:
    """Draw dust lit by bright stars over the whole canvas."""
    brightness = plan.brightness or plan.log_uniform(0.1, 0.5)
    light, depth = nebulae.reflection_nebula(
        plan.shape, rng=plan.rng, brightness=brightness
    )
    stars = field_stars(plan, plan.log_uniform(600.0, 2500.0))
    return light * plan.level, _dim(stars, depth)


def dark_nebula(plan: Plan) -> tuple[np.ndarray | float, Stars]:
    """Draw dust before a dense field of stars and the glow of the rest."""
    brightness = plan.brightness or plan.log_uniform(0.1, 0.6)
    light, depth = nebulae.dark_nebula(plan.shape, rng=plan.rng, brightness=brightness)
    stars = _dim(field_stars(plan, plan.log_uniform(8e3, 2.5e4), slope=0.9), depth)
    return light * plan.level, stars


def _near_middle(
    plan: Plan, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Move offsets from a centre to a random centre near the middle."""
    ny, nx = plan.shape
    place = 0.5 + plan.rng.uniform(-0.12, 0.12, 2)
    return x + place[0] * nx, y + place[1] * ny


def _dim(stars: Stars, depth: np.ndarray) -> Stars:
    """Dim stars by the dust at their place; one in five is before it."""
    ny, nx = depth.shape
    for x, y, flux in zip(stars.x, stars.y, stars.flux, strict=True):
        row = np.clip(np.rint(y), 0, ny - 1).astype(int)
        column = np.clip(np.rint(x), 0, nx - 1).astype(int)
        # Whether a star is in front follows from its place, which is random.
        behind = (x * 16.0) % 1.0 > 0.2
        flux *= np.where(behind, np.exp(-depth[row, column]), 1.0)
    return stars


SKIES = {
    'starfield': starfield,
    'open_cluster': open_cluster,
    'globular_cluster': globular_cluster,
    'emission_nebula': emission_nebula,
    'reflection_nebula': reflection_nebula,
    'dark_nebula': dark_nebula,
}
