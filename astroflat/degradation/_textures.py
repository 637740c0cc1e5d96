# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Random textures that skies are made of.

Power-law noise for gas, cells for convection, streaks for magnetic fibrils.
All give float32 arrays and take their random numbers from a generator.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ['Cells', 'cells', 'power_law', 'ridges', 'streaks', 'warp']


class Cells(NamedTuple):
    """
    Partition of a plane into cells around random seeds.

    Parameters
    ----------
    border : ndarray of float32
        Distance to the border of the cell in pixels.
    radius : ndarray of float32
        Distance to the seed of the cell in pixels.
    value : ndarray of float32
        Random number of the cell, normal.
    """

    border: np.ndarray
    radius: np.ndarray
    value: np.ndarray


def power_law(
    shape: tuple[int, int],
    *,
    slope: float,
    rng: np.random.Generator,
    largest: float | None = None,
    smallest: float = 0.0,
) -> np.ndarray:
    """
    Draw a Gaussian field whose power falls as a power of the frequency.

    Parameters
    ----------
    shape : tuple of int
        Shape of the field.
    slope : float
        Power is proportional to ``k**-slope``; 2.5 to 3.5 for interstellar
        clouds.
    rng : `numpy.random.Generator`
        Source of random numbers.
    largest : float, optional
        Wavelength in pixels above which the spectrum is flat. By default the
        size of the field.
    smallest : float, optional
        Structure below this size in pixels is smoothed away.

    Returns
    -------
    ndarray of float32
        Mean 0, standard deviation 1.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation._textures import power_law
    >>> field = power_law((50, 60), slope=3.0, rng=np.random.default_rng(1))
    >>> field.shape, bool(abs(field.std() - 1) < 1e-5)
    ((50, 60), True)
    """
    from scipy import fft

    # A margin keeps the two ends of the periodic field out of each other's sight.
    ny, nx = (fft.next_fast_len(int(1.25 * size) + 16, real=True) for size in shape)
    noise = fft.rfft2(rng.standard_normal((ny, nx), dtype=np.float32))
    square = (fft.fftfreq(ny)[:, None] ** 2 + fft.rfftfreq(nx) ** 2).astype(np.float32)
    knee = 1.0 / (largest or max(shape))
    noise *= (square + knee**2) ** (-0.25 * slope)
    if smallest:
        noise *= np.exp(-2.0 * (0.425 * smallest * np.pi) ** 2 * square)
    field = fft.irfft2(noise, s=(ny, nx))[: shape[0], : shape[1]]
    return _standardise(field)


def ridges(
    shape: tuple[int, int],
    *,
    slope: float,
    rng: np.random.Generator,
    sharpness: float = 3.0,
    largest: float | None = None,
) -> np.ndarray:
    """
    Draw a network of filaments: where a power-law field crosses zero.

    Parameters
    ----------
    shape : tuple of int
        Shape of the field.
    slope : float
        As for `power_law`.
    rng : `numpy.random.Generator`
        Source of random numbers.
    sharpness : float, optional
        Inverse width of the filaments.
    largest : float, optional
        As for `power_law`.

    Returns
    -------
    ndarray of float32
        Values from 0 to 1, 1 on the ridges.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation._textures import ridges
    >>> net = ridges((40, 40), slope=3.0, rng=np.random.default_rng(1))
    >>> bool(net.min() >= 0), bool(net.max() <= 1)
    (True, True)
    """
    field = power_law(shape, slope=slope, rng=rng, largest=largest)
    return 1.0 / (1.0 + (sharpness * field) ** 2)


def warp(
    field: np.ndarray, *, amplitude: float, scale: float, rng: np.random.Generator
) -> np.ndarray:
    """
    Stir a field by random displacements, which turns blobs into wisps.

    Parameters
    ----------
    field : ndarray
        Field to stir.
    amplitude : float
        Standard deviation of the displacements in pixels.
    scale : float
        Largest size of the eddies in pixels.
    rng : `numpy.random.Generator`
        Source of random numbers.

    Returns
    -------
    ndarray of float32
        Stirred field of the same shape.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation._textures import warp
    >>> plane = np.ones((20, 30), dtype=np.float32)
    >>> stirred = warp(plane, amplitude=3, scale=10, rng=np.random.default_rng(1))
    >>> bool(np.allclose(stirred, 1))
    True
    """
    from scipy.ndimage import map_coordinates

    y, x = _grid(field.shape)
    dy, dx = (
        amplitude * power_law(field.shape, slope=4.0, rng=rng, largest=scale)
        for _ in range(2)
    )
    stirred = map_coordinates(
        np.asarray(field, np.float32), [y + dy, x + dx], order=1, mode='reflect'
    )
    return stirred.astype(np.float32, copy=False)


def cells(
    shape: tuple[int, int],
    *,
    scale: float,
    rng: np.random.Generator,
    spread: float = 0.35,
    wobble: float = 0.12,
) -> Cells:
    """
    Divide a plane into cells of uneven size with bent borders.

    Parameters
    ----------
    shape : tuple of int
        Shape of the plane.
    scale : float
        Mean distance of the seeds in pixels.
    rng : `numpy.random.Generator`
        Source of random numbers.
    spread : float, optional
        Unevenness of the sizes, 0 for nearly equal cells.
    wobble : float, optional
        Bend of the borders in units of ``scale``.

    Returns
    -------
    Cells
        Distance to the border, distance to the seed, and a number per cell.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation._textures import cells
    >>> parts = cells((30, 40), scale=8, rng=np.random.default_rng(1))
    >>> parts.border.shape, bool(parts.border.min() >= 0)
    ((30, 40), True)
    """
    y, x = _grid(shape)
    if wobble:
        bend = {'slope': 2.5, 'rng': rng, 'largest': 2.0 * scale, 'smallest': 2.0}
        y = y + wobble * scale * power_law(shape, **bend)
        x = x + wobble * scale * power_law(shape, **bend)
    # Two cells of margin for the neighbours and one for the wobble.
    ncell = [int(np.ceil(size / scale)) + 8 for size in shape]
    jitter = rng.uniform(-0.45, 0.45, (2, *ncell)).astype(np.float32)
    seed_y = (np.arange(ncell[0])[:, None] + jitter[0] - 3.5) * scale
    seed_x = (np.arange(ncell[1])[None] + jitter[1] - 3.5) * scale
    # Every other row is moved by half a cell: no rows and columns to be seen.
    seed_x = seed_x + 0.5 * scale * (np.arange(ncell[0])[:, None] % 2)
    weight = spread * scale**2 * rng.uniform(-0.5, 0.5, ncell)
    value = rng.standard_normal(ncell)
    seeds = np.stack([seed_y, seed_x, weight, value]).astype(np.float32)
    out = Cells(*(np.empty(shape, np.float32) for _ in range(3)))
    step = max(1, 2**18 // shape[1])
    for start in range(0, shape[0], step):
        rows = slice(start, min(start + step, shape[0]))
        _nearest_cells(y[rows], x[rows], seeds, scale, Cells(*(a[rows] for a in out)))
    return out


def streaks(
    noise: np.ndarray, vector: tuple[np.ndarray, np.ndarray], *, length: int
) -> np.ndarray:
    """
    Smear noise along the lines of a vector field.

    Parameters
    ----------
    noise : ndarray of float32
        White or fine-grained noise.
    vector : tuple of ndarray
        Components (y, x) of the field; only the direction matters.
    length : int
        Pixels to smear to either side.

    Returns
    -------
    ndarray of float32
        Streaks, mean 0 and standard deviation 1.

    References
    ----------
    Cabral, B. and Leedom, L. C. 1993, Imaging vector fields using line
    integral convolution, SIGGRAPH 93, https://doi.org/10.1145/166117.166151

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation._textures import streaks
    >>> noise = np.random.default_rng(1).standard_normal((32, 32), np.float32)
    >>> along = np.ones((32, 32), np.float32)
    >>> rows = streaks(noise, (0 * along, along), length=10)
    >>> bool(np.diff(rows, axis=1).std() < np.diff(rows, axis=0).std())
    True
    """
    norm = np.hypot(*vector) + 1e-12
    step_y, step_x = ((part / norm).astype(np.float32).ravel() for part in vector)
    flat, (ny, nx) = noise.ravel(), noise.shape
    total = noise.astype(np.float32).copy()
    for sign in (-1.0, 1.0):
        y, x = (np.array(axis) for axis in np.broadcast_arrays(*_grid(noise.shape)))
        index = np.arange(flat.size).reshape(noise.shape)
        for _ in range(length):
            y += sign * step_y[index]
            x += sign * step_x[index]
            np.clip(y, 0, ny - 1, out=y)
            np.clip(x, 0, nx - 1, out=x)
            index = np.rint(y).astype(np.intp) * nx + np.rint(x).astype(np.intp)
            total += flat[index]
    return _standardise(total)


def _nearest_cells(
    y: np.ndarray, x: np.ndarray, seeds: np.ndarray, scale: float, out: Cells
) -> None:
    """Fill ``out`` from the two seeds that win each pixel."""
    row, col = (np.floor(axis / scale + 4.0).astype(np.intp) for axis in (y, x))
    np.clip(row, 2, seeds.shape[1] - 3, out=row)
    np.clip(col, 2, seeds.shape[2] - 3, out=col)
    best = np.full((2, *y.shape), np.inf, np.float32)
    place = np.zeros((2, 2, *y.shape), np.float32)
    for dj in (-2, -1, 0, 1, 2):
        for di in (-2, -1, 0, 1, 2):
            near = seeds[:, row + dj, col + di]
            dy, dx = y - near[0], x - near[1]
            score = dy * dy + dx * dx - near[2]
            first = score < best[0]
            second = ~first & (score < best[1])
            best[1] = np.where(first, best[0], np.where(second, score, best[1]))
            place[1] = np.where(first, place[0], np.where(second, near[:2], place[1]))
            best[0] = np.where(first, score, best[0])
            place[0] = np.where(first, near[:2], place[0])
            out.value[first] = near[3][first]
    gap = np.hypot(*(place[1] - place[0]))
    out.border[...] = 0.5 * (best[1] - best[0]) / np.maximum(gap, 1e-3)
    out.radius[...] = np.hypot(y - place[0, 0], x - place[0, 1])


def _grid(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (y, x) as float32 grids."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return y.astype(np.float32), x.astype(np.float32)


def _standardise(field: np.ndarray) -> np.ndarray:
    """Shift and scale a field to mean 0 and standard deviation 1."""
    spread = field.std(dtype=np.float64)
    out = (field - field.mean(dtype=np.float64)) / (spread if spread > 0 else 1.0)
    return out.astype(np.float32, copy=False)
