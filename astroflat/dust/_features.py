# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What an outline tells: how deep, how sharp, how closed, how sure.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from astroflat.dust._contours import GRID, Outlines, Pyramid, find_outlines

__all__ = ['Features', 'measure_candidates']

# Outlines are compared in so many sectors.
_SECTORS = 8
# The unrolled images of so many candidates are held at a time.
_BATCH = 500


@dataclass(frozen=True)
class Features:
    """
    Measurements of candidates, one array each.

    Parameters
    ----------
    step : `~numpy.ndarray`
        Mean step across the outline in units of the local scatter of steps.

    snr : `~numpy.ndarray`
        ``step`` times the root of the number of independent places on the
        outline: significance of the outline.

    closed : `~numpy.ndarray`
        Second weakest of the eight sectors of the outline, relative to the
        mean.

    ripple : `~numpy.ndarray`
        Scatter of the step along the outline, relative to its mean.

    uneven : `~numpy.ndarray`
        Scatter of the surroundings between sectors, relative to the depth.

    sharp : `~numpy.ndarray`
        Share of the depth that is reached within two pixels of the outline.

    rough : `~numpy.ndarray`
        Jumps of the outline between directions, relative to the radius.

    depth, rim, middle : `~numpy.ndarray`
        Drop of the logarithm of the light from the surroundings to the whole
        inside, to its outer part and to its centre; positive for the sign
        that was looked for.

    level : `~numpy.ndarray`
        Logarithm of the light around the object.

    inside : `~numpy.ndarray`
        Share of the outline within the image.

    x, y, radius : `~numpy.ndarray`
        Centre and equivalent radius of the outline in pixels.

    outline : `~numpy.ndarray`
        Distances of the outline from ``x_0, y_0`` in pixels, ``(n,
        directions)``.

    x_0, y_0 : `~numpy.ndarray`
        The centres that were looked at.

    profile : `~numpy.ndarray`
        Drop by distance from the centre in units of the outline, in the steps
        of ``PROFILE``, ``(n, len(PROFILE) - 1)``.
    """

    step: np.ndarray
    snr: np.ndarray
    closed: np.ndarray
    ripple: np.ndarray
    uneven: np.ndarray
    sharp: np.ndarray
    rough: np.ndarray
    depth: np.ndarray
    rim: np.ndarray
    middle: np.ndarray
    level: np.ndarray
    inside: np.ndarray
    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    outline: np.ndarray
    x_0: np.ndarray
    y_0: np.ndarray

    def __len__(self) -> int:
        return len(self.step)

    def take(self, rows: np.ndarray) -> Features:
        """
        Select candidates.

        Parameters
        ----------
        rows : array_like
            Indices or a boolean array.

        Returns
        -------
        features : Features
            Those of the chosen ones.
        """
        return Features(*(getattr(self, f.name)[rows] for f in fields(self)))


def measure_candidates(
    pyramid: Pyramid,
    sign: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    radius: np.ndarray,
    *,
    directions: int = 48,
) -> Features:
    """
    Trace and measure the outlines of candidates.

    Parameters
    ----------
    pyramid : Pyramid
        The image.

    sign, x, y, radius : `~numpy.ndarray`
        The candidates.

    directions : int, optional
        The number of directions of an outline, a multiple of 8.

    Returns
    -------
    features : Features
        In the order of the candidates.
    """
    n = len(x)
    blank = {
        f.name: np.zeros((n, directions) if f.name == 'outline' else n)
        for f in fields(Features)
    }
    levels = pyramid.level(radius)
    for level in np.unique(levels):
        chosen = np.nonzero(levels == level)[0]
        for rows in np.array_split(chosen, -(-len(chosen) // _BATCH)):
            part = sign[rows], x[rows], y[rows], radius[rows]
            outlines = find_outlines(pyramid, int(level), *part, directions=directions)
            for name, values in _measure(outlines, *part).items():
                blank[name][rows] = values
    return Features(**blank)


def _measure(
    o: Outlines, sign: np.ndarray, x: np.ndarray, y: np.ndarray, radius: np.ndarray
) -> dict[str, np.ndarray]:
    """Measure a batch of outlines."""
    found = {**_strength(o), **_contrast(o, sign), **_place(o, x, y, radius)}
    # Depth is compared with what it is the depth of.
    found['uneven'] = found['uneven'] / np.maximum(np.abs(found['rim']), 1e-6)
    found['sharp'] = found['sharp'] / np.maximum(found['rim'], 1e-6)
    return found


def _strength(o: Outlines) -> dict[str, np.ndarray]:
    """Measure the step along the outline."""
    n = np.maximum(o.inside.sum(1), 1)
    mean = (o.steps * o.inside).sum(1) / n
    safe = np.maximum(mean, 1e-9)
    sectors = o.inside.reshape(len(mean), _SECTORS, -1)
    seen = sectors.sum(2)
    height = (o.steps * o.inside).reshape(sectors.shape).sum(2) / np.maximum(seen, 1)
    # A sector outside the image says nothing.
    known = seen > 0.4 * sectors.shape[2]
    height = np.sort(np.where(known, height / safe[:, None], 1.0), axis=1)
    mean_radius = np.sqrt((o.radii**2).mean(1)) * o.scale
    length = 2 * np.pi * mean_radius * o.inside.mean(1)
    spread = np.sqrt((((o.steps - mean[:, None]) ** 2) * o.inside).sum(1) / n)
    return {
        'step': mean / o.noise,
        'snr': mean / o.noise * np.sqrt(np.maximum(length / 2, 1)),
        'closed': height[:, 1],
        'ripple': spread / safe,
        'rough': np.diff(o.radii, axis=1, append=o.radii[:, :1]).std(1),
        'inside': o.inside.mean(1),
    }


def _contrast(o: Outlines, sign: np.ndarray) -> dict[str, np.ndarray]:
    """Compare inside, edge and surroundings."""
    reach = GRID / o.radii[:, :, None]
    scale = o.scale[:, None, None]
    gap, width = np.maximum(0.06, 0.5 / scale), np.maximum(0.35, 2.5 / scale)
    beyond = (reach > 1 + gap) & (reach < 1 + gap + width) & o.known
    count = beyond.sum(2)
    around = (o.samples * beyond).sum(2) / np.maximum(count, 1)
    level = _median(around, count > 0)
    around = np.where(count > 0, around, level[:, None])
    sectors = around.reshape(len(level), _SECTORS, -1).mean(2)
    off = (GRID - o.radii[:, :, None]) * scale
    depth = sign * (level - _mean(o, reach < 1 - gap, area=True))
    outer = (reach > 0.62) & (reach < 1 - gap) & o.known
    rim = sign * (level - _mean(o, outer, area=True))
    near = _mean(o, (off > 0.4) & (off < 2.4))
    far = _mean(o, (off < -0.4) & (off > -2.4) & (reach > 0.15))
    return {
        'level': level,
        'depth': depth,
        # What is smaller than its edge is wide has no rim of its own.
        'rim': np.where(outer.any((1, 2)), rim, depth),
        'middle': sign * (level - _mean(o, reach < 0.28, area=True)),
        'uneven': sectors.std(1),
        'sharp': sign * (near - far),
    }


def _mean(o: Outlines, where: np.ndarray, *, area: bool = False) -> np.ndarray:
    """Average samples; by area, or with equal weights."""
    weight = (where & o.known) * (GRID if area else np.float32(1))
    return (o.samples * weight).sum((1, 2)) / np.maximum(weight.sum((1, 2)), 1e-6)


def _median(values: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Take the median of the good values of every row, 0 if there is none."""
    values = np.sort(np.where(good, values, np.inf), axis=1)
    n = good.sum(1)
    rows = np.arange(len(values))
    low, high = values[rows, np.maximum(n - 1, 0) // 2], values[rows, n // 2 * (n > 0)]
    middle = 0.5 * (low + np.where(n % 2, low, high))
    return np.where(n > 0, middle, 0.0)


def _place(
    o: Outlines, x: np.ndarray, y: np.ndarray, radius: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the centre of the area and the equivalent radius."""
    angle = 2 * np.pi * np.arange(o.radii.shape[1]) / o.radii.shape[1]
    square = (o.radii**2).sum(1)
    shift_x, shift_y = (
        2 / 3 * (o.radii**3 * turn).sum(1) / square
        for turn in (np.cos(angle), np.sin(angle))
    )
    return {
        'x': x + radius * shift_x,
        'y': y + radius * shift_y,
        'radius': radius * np.sqrt((o.radii**2).mean(1)),
        'outline': o.radii * radius[:, None],
        'x_0': x,
        'y_0': y,
    }
