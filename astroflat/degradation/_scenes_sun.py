# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The Sun: granulation, a sunspot, and an active region in H-alpha.

Functions return brightness relative to the quiet Sun, float32.
"""

from __future__ import annotations

import math

import numpy as np

from astroflat.degradation import _textures as textures

__all__ = ['active_region', 'granulation', 'sunspot']


def granulation(
    shape: tuple[int, int],
    *,
    rng: np.random.Generator,
    scale: float = 14.0,
    contrast: float = 0.09,
) -> np.ndarray:
    """
    Draw granules: bright cells of gas rising, dark lanes where it sinks.

    Parameters
    ----------
    shape : tuple of int
        Shape of the image.
    rng : `numpy.random.Generator`
        Source of random numbers.
    scale : float, optional
        Mean size of a granule in pixels (about 1.3 arcsec on the sky).
    contrast : float, optional
        Standard deviation of the relative brightness.

    Returns
    -------
    ndarray of float32
        Brightness, mean 1.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation._scenes_sun import granulation
    >>> quiet = granulation((64, 64), rng=np.random.default_rng(1))
    >>> bool(abs(quiet.mean() - 1) < 1e-4), bool(abs(quiet.std() - 0.09) < 1e-4)
    (True, True)
    """
    from scipy.ndimage import gaussian_filter

    parts = textures.cells(shape, scale=scale, rng=rng, spread=0.55, wobble=0.13)
    lane = 0.17 * scale
    # Granules are brightest at their rims, where the flow turns over, and
    # large ones have begun to darken in the middle.
    body = 1.0 - np.exp(-((parts.border / lane) ** 2))
    body *= 1.0 + 0.10 * np.tanh(2.0 * (parts.radius / scale - 0.25))
    body *= 1.0 + 0.10 * parts.value
    grain = textures.power_law(shape, slope=2.5, rng=rng, largest=scale, smallest=2.0)
    body += 0.10 * grain
    body = gaussian_filter(body, 0.06 * scale)
    body += 0.12 * textures.power_law(shape, slope=3.0, rng=rng, largest=6.0 * scale)
    body -= body.mean(dtype=np.float64)
    return (1.0 + contrast / body.std() * body).astype(np.float32)


def sunspot(
    shape: tuple[int, int], *, rng: np.random.Generator, scale: float = 14.0
) -> np.ndarray:
    """
    Draw spots with umbra and penumbra among granules.

    Parameters
    ----------
    shape : tuple of int
        Shape of the image.
    rng : `numpy.random.Generator`
        Source of random numbers.
    scale : float, optional
        Mean size of a granule in pixels.

    Returns
    -------
    ndarray of float32
        Brightness relative to the quiet Sun: about 0.75 in the penumbra and
        0.2 in the umbra.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation._scenes_sun import sunspot
    >>> spot = sunspot((128, 128), rng=np.random.default_rng(1))
    >>> bool(spot.min() < 0.5 < np.median(spot))
    True
    """
    image = granulation(shape, rng=rng, scale=scale)
    size = min(shape)
    spots = [(0.5, 0.5, rng.uniform(0.16, 0.24))]
    spots += [(*rng.uniform(0.15, 0.85, 2), rng.uniform(0.03, 0.09)) for _ in range(3)]
    level, field_y, field_x = _spot_field(shape, spots, rng)
    noise = rng.standard_normal(shape, dtype=np.float32)
    threads = textures.streaks(noise, (field_y, field_x), length=int(0.04 * size) + 4)
    # The border follows the threads: each ends where it likes.
    level = level + 0.10 * threads * (np.abs(level - 1.0) < 0.6)
    dots = textures.power_law(shape, slope=2.0, rng=rng, largest=scale, smallest=3.0)
    umbra = 0.17 + 0.025 * dots
    penumbra = 0.74 + 0.10 * threads
    inner = _step(level, 1.9, 2.15)
    outer = _step(level, 0.93, 1.07)
    image = image * (1.0 - outer) + penumbra * outer
    return (image * (1.0 - inner) + umbra * inner).astype(np.float32)


def active_region(
    shape: tuple[int, int], *, rng: np.random.Generator, scale: float = 9.0
) -> np.ndarray:
    """
    Draw an active region in H-alpha: spots, plage, fibrils, filament, ribbons.

    Parameters
    ----------
    shape : tuple of int
        Shape of the image.
    rng : `numpy.random.Generator`
        Source of random numbers.
    scale : float, optional
        Width of a fibril with its gap in pixels.

    Returns
    -------
    ndarray of float32
        Brightness relative to the quiet chromosphere, 0.2 to about 2.

    Notes
    -----
    The magnetic field is the potential field of a few charges below the
    surface. Fibrils follow its horizontal part, plage lies where it is
    strong, spots where it is strongest; the dark filament lies along the
    line between the polarities and the flare ribbons to both sides of it.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation._scenes_sun import active_region
    >>> region = active_region((96, 128), rng=np.random.default_rng(1))
    >>> bool(region.max() > 1.3), bool(region.min() > 0.1)
    (True, True)
    """
    from scipy.ndimage import gaussian_filter

    vertical, field_y, field_x = _dipole_field(shape, rng)
    noise = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 0.17 * scale)
    vector = (field_y, field_x)
    fibrils = textures.streaks(noise, vector, length=int(2.5 * scale))
    strength = np.hypot(np.hypot(field_y, field_x), vertical)
    strength /= np.percentile(strength, 99.0)
    patches = textures.power_law(shape, slope=2.6, rng=rng, largest=8 * scale)
    mottle = textures.power_law(
        shape, slope=2.0, rng=rng, largest=3 * scale, smallest=0.4 * scale
    )
    plage = _step(np.abs(vertical) + 0.10 * patches + 0.05 * mottle, 0.22, 0.7)
    calm = 1.0 - _step(strength, 0.05, 0.5)
    image = 0.88 + (0.12 - 0.06 * calm) * fibrils
    image = image + 0.09 * calm * mottle + 0.04 * patches
    image = image + plage * (0.33 + 0.12 * mottle - 0.05 * fibrils)
    soft = textures.power_law(
        shape, slope=3.0, rng=rng, largest=8 * scale, smallest=2.0 * scale
    )
    filament, ribbon = _flare(vertical, fibrils, soft, scale)
    image = image * (1.0 - 0.55 * filament) + 0.75 * ribbon * (1.0 + 0.2 * mottle)
    penumbra = _step(np.abs(vertical) + 0.02 * fibrils, 0.86, 0.92)
    umbra = _step(np.abs(vertical) + 0.01 * mottle, 1.0, 1.12)
    image = image * (1.0 - penumbra) + (0.62 + 0.10 * fibrils) * penumbra
    image = image * (1.0 - umbra) + (0.25 + 0.02 * mottle) * umbra
    return np.clip(image, 0.15, None).astype(np.float32)


def _flare(
    vertical: np.ndarray,
    fibrils: np.ndarray,
    soft: np.ndarray,
    scale: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Dark filament on the neutral line and bright ribbons beside it, 0 to 1."""
    slope = np.hypot(*np.gradient(vertical)) + 1e-6
    # Distance from the neutral line in pixels, to first order.
    distance = vertical / slope + 0.8 * scale * soft
    y, x = textures._grid(vertical.shape)
    ny, nx = vertical.shape
    rho = np.hypot((x - 0.5 * nx) / nx, (y - 0.5 * ny) / ny)
    window = 1.0 - _step(rho + 0.05 * soft, 0.20, 0.34)
    width = 0.7 * scale * (1.0 + 0.3 * soft)
    filament = np.exp(-((distance / width) ** 2)) * window
    near = 1.0 - _step(rho + 0.05 * soft, 0.12, 0.26)
    offset = np.abs(distance) - (3.0 + 0.8 * soft) * scale
    ribbon = np.exp(-((offset / (0.8 * scale)) ** 2)) * near
    return filament * (1.0 + 0.12 * fibrils), ribbon * (0.85 + 0.15 * fibrils)


def _dipole_field(
    shape: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Field (vertical, y, x) of opposite charges below the surface."""
    y, x = textures._grid(shape)
    ny, nx = shape
    size = float(min(shape))
    angle = rng.uniform(-0.4, 0.4)
    arm = rng.uniform(0.17, 0.22) * size
    middle = np.array([0.5 * ny, 0.5 * nx])
    axis = np.array([math.sin(angle), math.cos(angle)])
    charges = [
        (*(middle + arm * axis), 1.0, 0.10 * size),
        (*(middle - arm * axis), -1.0, 0.11 * size),
    ]
    for sign in (1.0, -1.0, 1.0, -1.0, 1.0, -1.0):
        place = middle + sign * rng.uniform(0.6, 1.7) * arm * axis
        place += rng.normal(0.0, 0.16 * size, 2)
        charges.append((*place, sign * rng.uniform(0.05, 0.22), 0.05 * size))
    field = np.zeros((3, *shape), np.float32)
    for y_0, x_0, charge, depth in charges:
        cube = ((y - y_0) ** 2 + (x - x_0) ** 2 + depth**2) ** 1.5
        strength = charge * (0.1 * size) ** 2 / cube
        field += strength * np.stack(
            [np.full(shape, depth, np.float32), y - y_0, x - x_0]
        )
    # The sheared field of a region before a flare runs along the neutral line.
    shear = 0.5 * np.exp(-((field[0] / 0.25) ** 2))
    cross = np.stack([field[2], -field[1]])
    return field[0], field[1] + shear * cross[0], field[2] + shear * cross[1]


def _spot_field(
    shape: tuple[int, int],
    spots: list[tuple[float, float, float]],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Level (1 at the outer border, 2 at the umbra's) and direction of threads."""
    y, x = textures._grid(shape)
    ny, nx = shape
    size = min(shape)
    bend = textures.power_law(shape, slope=3.5, rng=rng, largest=0.25 * size)
    level = np.zeros(shape, np.float32)
    field = np.zeros((2, *shape), np.float32)
    for fy, fx, radius in spots:
        dy, dx = y - fy * ny, x - fx * nx
        rho = np.hypot(dy, dx) / (radius * size) * (1.0 + 0.14 * bend)
        own = np.clip(3.05 - 2.05 * rho, 0.0, None)
        # Small spots are pores: no penumbra.
        own = own if radius > 0.07 else 2.6 * _step(own, 0.9, 1.9)
        level = np.maximum(level, own)
        weight = 1.0 / (rho**3 + 0.05)
        field += weight * np.stack([dy, dx]) / (np.hypot(dy, dx) + 1e-3)
    return level, field[0] + 0.15 * bend, field[1] - 0.15 * bend


def _step(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """Smooth step from 0 at ``low`` to 1 at ``high``."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
