# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The Moon near the terminator: craters, highlands, maria."""

from __future__ import annotations

import math

import numpy as np

from astroflat.degradation import _textures as textures

__all__ = ['moon']


def moon(shape: tuple[int, int], *, rng: np.random.Generator) -> np.ndarray:
    """
    Draw lunar terrain under a low Sun.

    Parameters
    ----------
    shape : tuple of int
        Shape of the image.
    rng : `numpy.random.Generator`
        Source of random numbers.

    Returns
    -------
    ndarray of float32
        Brightness, mean 1.

    Notes
    -----
    Heights are power-law noise and craters whose number grows as the inverse
    square of their size; brightness is that of a Lommel-Seeliger surface with
    shadows cast along the rows, times an albedo that is low in the maria.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation._scenes_moon import moon
    >>> image = moon((64, 64), rng=np.random.default_rng(1))
    >>> bool(abs(image.mean() - 1) < 1e-4)
    True
    """
    size = min(shape)
    mare = textures.power_law(shape, slope=4.2, rng=rng, largest=0.8 * max(shape))
    mare = _step(mare, 0.0, 0.5)
    height = _terrain(shape, rng, mare)
    elevation = math.radians(rng.uniform(18.0, 38.0))
    light = _shade(height, elevation)
    albedo = 1.0 - 0.42 * mare
    albedo *= 1.0 + 0.06 * textures.power_law(
        shape, slope=2.4, rng=rng, largest=0.2 * size
    )
    image = light * np.clip(albedo, 0.2, None)
    # The Sun rises along the rows: the mean brightness follows.
    image *= np.linspace(0.8, 1.2, shape[1], dtype=np.float32)
    if rng.uniform() < 0.5:
        image = image[:, ::-1]
    return (image / image.mean(dtype=np.float64)).astype(np.float32)


def _terrain(
    shape: tuple[int, int], rng: np.random.Generator, mare: np.ndarray
) -> np.ndarray:
    """Heights in pixels."""
    size = min(shape)
    rough = textures.power_law(shape, slope=3.9, rng=rng, largest=0.4 * size)
    fine = textures.power_law(
        shape, slope=3.0, rng=rng, largest=0.08 * size, smallest=3.0
    )
    height = (0.006 * size * rough + 0.0003 * size * fine) * (1.0 - 0.85 * mare)
    area = shape[0] * shape[1] / size**2
    n = int(rng.poisson(2600 * area))
    low, high = 0.0035 * size, 0.15 * size
    radius = np.sort(rng.uniform(high**-2.0, low**-2.0, n) ** -0.5)[::-1]
    y, x = rng.uniform(0, shape[0], n), rng.uniform(0, shape[1], n)
    worn, keep = rng.uniform(0.2, 1.0, n), rng.uniform(0.0, 1.0, n)
    for y_0, x_0, r, depth, chance in zip(y, x, radius, worn, keep, strict=True):
        # Lava has buried the old craters of the maria.
        on_mare = mare[min(int(y_0), shape[0] - 1), min(int(x_0), shape[1] - 1)]
        if chance > 0.75 * on_mare:
            _crater(height, float(y_0), float(x_0), float(r), float(depth))
    return height


def _crater(height: np.ndarray, y_0: float, x_0: float, r: float, depth: float) -> None:
    """Dig a crater: bowl or flat floor, rim, blanket, and a peak if large."""
    ny, nx = height.shape
    reach = 2.6 * r + 1.0
    rows = slice(max(0, int(y_0 - reach)), min(ny, int(y_0 + reach) + 1))
    cols = slice(max(0, int(x_0 - reach)), min(nx, int(x_0 + reach) + 1))
    y, x = np.ogrid[rows, cols]
    wave = np.arctan2(y - y_0, x - x_0)
    uneven = 1.0 + 0.03 * np.sin(3 * wave + x_0) + 0.012 * np.sin(7 * wave + y_0)
    rho = np.hypot(y - y_0, x - x_0) / (r * uneven)
    large = r > 0.05 * min(ny, nx)
    floor = -0.20 if large else -0.34
    bowl = np.maximum(floor, -0.38 + 0.43 * rho**2)
    rim = 0.05 * np.clip(rho, 1.0, None) ** -3.0
    profile = np.where(rho < 1.0, bowl, rim * (1.0 - _step(rho, 1.6, 2.5)))
    if large:
        profile += 0.13 * np.exp(-((rho / 0.14) ** 2))
        # A new crater wipes out what was there before it.
        inside = 1.0 - _step(rho, 0.8, 1.1)
        old = height[rows, cols]
        level = float((old * inside).sum() / max(float(inside.sum()), 1e-6))
        old += 0.8 * inside * (level - old)
    height[rows, cols] += (depth * r * profile).astype(np.float32)


def _shade(height: np.ndarray, elevation: float) -> np.ndarray:
    """Brightness of terrain lit along the rows from the left."""
    slope_y, slope_x = np.gradient(height)
    tangent = math.tan(elevation)
    normal = np.sqrt(1.0 + slope_x**2 + slope_y**2)
    incidence = (math.sin(elevation) - math.cos(elevation) * slope_x) / normal
    incidence = np.clip(incidence, 0.0, None)
    light = 2.0 * incidence / (incidence + 1.0 / normal)
    # A point is in shadow if a ray from it towards the Sun meets the ground.
    ray = height + tangent * np.arange(height.shape[1], dtype=np.float32)
    horizon = np.maximum.accumulate(ray, axis=1)
    shadow = _step(horizon - ray, 0.0, 1.0)
    return light * (1.0 - 0.96 * shadow) + 0.01


def _step(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """Smooth step from 0 at ``low`` to 1 at ``high``."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
