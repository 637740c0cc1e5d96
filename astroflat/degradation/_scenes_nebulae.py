# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Nebulae that fill the frame: glowing gas, lit dust, and dust before stars.

Functions return brightness in units of the sky and the optical depth of the
dust before what lies behind, both float32.
"""

from __future__ import annotations

import math

import numpy as np

from astroflat.degradation import _textures as textures

__all__ = ['dark_nebula', 'emission_nebula', 'reflection_nebula']


def emission_nebula(
    shape: tuple[int, int],
    *,
    rng: np.random.Generator,
    brightness: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """
    Draw ionised gas with bright fronts and lanes of dust before it.

    Parameters
    ----------
    shape : tuple of int
        Shape of the image.
    rng : `numpy.random.Generator`
        Source of random numbers.
    brightness : float, optional
        Median brightness of the nebula in units of the sky.

    Returns
    -------
    tuple of ndarray
        Brightness and optical depth.

    Notes
    -----
    Density is log-normal with a power-law spectrum, as in supersonic
    turbulence; emission goes with its square, the ionising light falls off
    from a star near the middle, and filaments are where a second field
    crosses zero.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation._scenes_nebulae import emission_nebula
    >>> light, depth = emission_nebula((64, 64), rng=np.random.default_rng(1))
    >>> bool(light.min() > 0), bool(depth.min() >= 0)
    (True, True)
    """
    size = max(shape)
    clouds = _stirred(shape, slope=3.4, rng=rng)
    fine = textures.power_law(shape, slope=2.9, rng=rng, largest=0.15 * size)
    fronts = textures.warp(
        textures.ridges(shape, slope=3.6, rng=rng, sharpness=4.0),
        amplitude=0.02 * size,
        scale=0.3 * size,
        rng=rng,
    )
    density = np.exp(0.50 * clouds + 0.14 * fine + 0.30 * fronts)
    light = density**2 / _falloff(shape, rng, core=0.35)
    depth = _lanes(shape, rng, depth=rng.uniform(1.2, 2.8))
    light *= 0.08 + 0.92 * np.exp(-depth)
    light *= brightness / np.median(light)
    return light.astype(np.float32), depth


def reflection_nebula(
    shape: tuple[int, int],
    *,
    rng: np.random.Generator,
    brightness: float = 0.3,
) -> tuple[np.ndarray, np.ndarray]:
    """
    Draw smooth wisps of dust lit by a few stars.

    Parameters
    ----------
    shape : tuple of int
        Shape of the image.
    rng : `numpy.random.Generator`
        Source of random numbers.
    brightness : float, optional
        Median brightness of the nebula in units of the sky.

    Returns
    -------
    tuple of ndarray
        Brightness and optical depth.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation._scenes_nebulae import reflection_nebula
    >>> light, _ = reflection_nebula((64, 64), rng=np.random.default_rng(1))
    >>> bool(abs(np.median(light) - 0.3) < 1e-3)
    True
    """
    size = max(shape)
    dust = np.exp(0.6 * _stirred(shape, slope=3.8, rng=rng))
    # Dust aligned by the field: fine parallel striae, as in the Pleiades.
    wind = [textures.power_law(shape, slope=4.5, rng=rng) for _ in range(2)]
    angle = rng.uniform(-math.pi, math.pi)
    field = (math.sin(angle) + 0.3 * wind[0], math.cos(angle) + 0.3 * wind[1])
    noise = textures.power_law(shape, slope=1.5, rng=rng, largest=0.05 * size)
    striae = textures.streaks(noise, field, length=max(6, int(0.05 * size)))
    light = np.zeros(shape, np.float32)
    for _ in range(int(rng.integers(2, 6))):
        power = math.exp(rng.normal(0.0, 0.7))
        light += power / _falloff(shape, rng, core=rng.uniform(0.08, 0.2), spread=0.4)
    light *= dust * np.clip(1.0 + 0.05 * striae, 0.2, None)
    depth = (0.25 * dust / dust.mean()).astype(np.float32)
    light *= brightness / np.median(light)
    return light, depth


def dark_nebula(
    shape: tuple[int, int],
    *,
    rng: np.random.Generator,
    brightness: float = 0.25,
) -> tuple[np.ndarray, np.ndarray]:
    """
    Draw clouds of dust before the glow of the Milky Way.

    Parameters
    ----------
    shape : tuple of int
        Shape of the image.
    rng : `numpy.random.Generator`
        Source of random numbers.
    brightness : float, optional
        Brightness of the unobscured glow in units of the sky.

    Returns
    -------
    tuple of ndarray
        Brightness and optical depth, which also dims the stars behind.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation._scenes_nebulae import dark_nebula
    >>> light, depth = dark_nebula((64, 64), rng=np.random.default_rng(1))
    >>> bool(depth.max() > 1)
    True
    """
    clouds = _stirred(shape, slope=3.2, rng=rng)
    arms = _lanes(shape, rng, depth=1.0)
    column = 0.9 * clouds + 2.0 * arms
    column = column - np.percentile(column, 62.0)
    spread = max(float(np.percentile(column, 98.0)), 1e-3)
    depth = np.log1p(np.exp(4.0 * column / spread)) * rng.uniform(0.7, 1.2)
    glow = textures.power_law(shape, slope=3.5, rng=rng)
    light = brightness * np.exp(0.15 * glow) * np.exp(-depth)
    # Even dark dust scatters a little starlight at its rims.
    light += 0.10 * brightness * depth * np.exp(-0.7 * depth)
    return light.astype(np.float32), depth.astype(np.float32)


def _stirred(
    shape: tuple[int, int], *, slope: float, rng: np.random.Generator
) -> np.ndarray:
    """Power-law field stirred on the largest scales, standardised."""
    size = max(shape)
    field = textures.power_law(shape, slope=slope, rng=rng)
    return textures.warp(field, amplitude=0.04 * size, scale=0.5 * size, rng=rng)


def _lanes(
    shape: tuple[int, int], rng: np.random.Generator, *, depth: float
) -> np.ndarray:
    """Optical depth of wispy lanes that come and go."""
    size = max(shape)
    net = textures.ridges(shape, slope=3.3, rng=rng, sharpness=3.5)
    net = textures.warp(net, amplitude=0.03 * size, scale=0.25 * size, rng=rng)
    where = textures.power_law(shape, slope=3.5, rng=rng, largest=0.6 * size)
    fine = textures.power_law(shape, slope=2.7, rng=rng, largest=0.1 * size)
    amount = np.clip(0.35 + 0.6 * where, 0.0, None) * np.exp(0.25 * fine)
    return (depth * net * amount).astype(np.float32)


def _falloff(
    shape: tuple[int, int],
    rng: np.random.Generator,
    *,
    core: float,
    spread: float = 0.2,
) -> np.ndarray:
    """Squared distance from a star near the middle, in cores, plus one."""
    ny, nx = shape
    y, x = np.ogrid[:ny, :nx]
    place = 0.5 + rng.uniform(-spread, spread, 2)
    scale = core * max(shape)
    square = ((y - place[0] * ny) ** 2 + (x - place[1] * nx) ** 2) / scale**2
    return (1.0 + square).astype(np.float32)
