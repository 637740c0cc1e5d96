# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Closed outlines around candidates.

The image is unrolled around a candidate into angle and radius. There an
outline is a path from one end to the other that ends where it began, and the
best one, the one with the strongest step from the inside to the outside
everywhere along it, is found exactly by dynamic programming. It follows
irregular specks as well as circles, on any background, and where there is no
closed outline it is weak or broken: that is what tells dust from texture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from astroflat.dust._scatter import BlockMap, block_scatter
from astroflat.dust._whitening import pool

__all__ = ['GRID', 'Outlines', 'Pyramid', 'find_outlines', 'make_pyramid']

#: Radii of the samples in units of the radius of the candidate.
GRID = np.linspace(0.04, 2.24, 56, dtype=np.float32)
_STEP = float(GRID[1] - GRID[0])
# The outline lies between these.
_LOW, _HIGH = (int(np.searchsorted(GRID, q)) for q in (0.4, 1.7))
# Half-width of the step that is looked for: pixels, and share of the radius.
_STEP_PIXELS, _STEP_SHARE = 1.3, 0.1
# What a jump of one sample between two directions costs, in units of scatter.
_STIFFNESS = 0.15
_JUMPS = (-3, -2, -1, 1, 2, 3)
# No single strong edge may carry an outline, nor a single gap break it.
_CLIP = (-3.0, 6.0)
# Levels are chosen so that radii are 8 to 16 of their pixels.
_LARGE = 16.0


@dataclass(frozen=True)
class Pyramid:
    """
    An image at several sizes, with the scatter of its steps.

    Parameters
    ----------
    images : tuple of `~numpy.ndarray`
        The image, pooled by 1, 2, 4 ...

    scatters : tuple of BlockMap
        The scatter of the step between neighbouring pairs of pixels.
    """

    images: tuple[np.ndarray, ...]
    scatters: tuple[BlockMap, ...]

    def level(self, radius: np.ndarray) -> np.ndarray:
        """
        Return the level at which outlines of some radii are measured.

        Parameters
        ----------
        radius : array_like
            Radii in pixels.

        Returns
        -------
        level : `~numpy.ndarray` of int
            Indices into ``images``.
        """
        octave = np.floor(np.log2(np.maximum(radius, _LARGE) / (_LARGE / 2)))
        level = np.where(np.asarray(radius) < _LARGE, 0, octave)
        return np.minimum(level.astype(int), len(self.images) - 1)

    def noise(self, x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """
        Return the scatter of steps that outlines are compared with.

        Parameters
        ----------
        x, y, radius : `~numpy.ndarray`
            Places and radii in pixels of the full image.

        Returns
        -------
        noise : `~numpy.ndarray`
            The scatter at the level of each radius.
        """
        noise, levels = np.ones(len(x)), self.level(radius)
        for level in np.unique(levels):
            rows = levels == level
            noise[rows] = self.scatters[level].at(
                y[rows] / 2**level, x[rows] / 2**level
            )
        return noise

    def replace(self, image: np.ndarray) -> Pyramid:
        """
        Take another image, but keep the scatter of the steps.

        Parameters
        ----------
        image : `~numpy.ndarray` of float32
            An image of the same shape.

        Returns
        -------
        pyramid : Pyramid
            The new pyramid.
        """
        images = [image]
        while len(images) < len(self.images):
            images.append(pool(images[-1]))
        return Pyramid(tuple(images), self.scatters)


@dataclass(frozen=True)
class Outlines:
    """
    The best outline around each of some candidates.

    Parameters
    ----------
    radii : `~numpy.ndarray`
        Distance of the outline in units of the radius of the candidate, in
        evenly spaced directions from +x towards +y, ``(n, directions)``.

    steps : `~numpy.ndarray`
        Height of the step there: outside minus inside, for dark objects.

    inside : `~numpy.ndarray` of bool
        Whether the outline lies within the image there.

    samples : `~numpy.ndarray`
        The unrolled image, ``(n, directions, len(GRID))``.

    known : `~numpy.ndarray` of bool
        Whether the samples lie within the image.

    noise : `~numpy.ndarray`
        Local scatter of the steps, ``(n,)``.

    scale : `~numpy.ndarray`
        Radius of the candidates in pixels of the level that was looked at.
    """

    radii: np.ndarray
    steps: np.ndarray
    inside: np.ndarray
    samples: np.ndarray
    known: np.ndarray
    noise: np.ndarray
    scale: np.ndarray


def make_pyramid(image: np.ndarray, largest: float, *, floor: float = 0.0) -> Pyramid:
    """
    Prepare an image for `find_outlines`.

    Parameters
    ----------
    image : `~numpy.ndarray` of float32
        The logarithm of the light, finite everywhere.

    largest : float
        The largest radius in pixels.

    floor : float, optional
        The least scatter of a step.

    Returns
    -------
    pyramid : Pyramid
        The image at all sizes that are needed.
    """
    images = [image]
    while _LARGE * 2 ** (len(images) - 1) < 1.5 * largest:
        images.append(pool(images[-1]))
    scatters = [_step_scatter(image, floor) for image in images]
    return Pyramid(tuple(images), tuple(scatters))


def _step_scatter(image: np.ndarray, floor: float) -> BlockMap:
    """Measure the scatter of steps in both directions."""
    from scipy.ndimage import correlate1d

    kernel = np.array([1, 1, -1, -1], np.float32) / 2
    parts = []
    for axis in (0, 1):
        steps = correlate1d(image, kernel, axis, mode='nearest')
        _, scatter = block_scatter(steps, 24, step=2)
        parts.append(scatter.values)
    values = np.sqrt((parts[0] ** 2 + parts[1] ** 2) / 2)
    tiny = np.finfo(np.float32).tiny
    return BlockMap(np.maximum(values, max(floor, tiny)), image.shape)


def find_outlines(
    pyramid: Pyramid,
    level: int,
    sign: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    radius: np.ndarray,
    *,
    directions: int = 48,
) -> Outlines:
    """
    Find the best closed outline around each candidate.

    Parameters
    ----------
    pyramid : Pyramid
        The image.

    level : int
        The level to look at.

    sign : `~numpy.ndarray`
        +1 for dark, -1 for bright.

    x, y, radius : `~numpy.ndarray`
        Positions and radii in pixels of the full image.

    directions : int, optional
        The number of directions, a multiple of 8.

    Returns
    -------
    outlines : Outlines
        One for each candidate.
    """
    image, scale = pyramid.images[level], radius / 2**level
    samples, known = _unroll(image, level, x, y, scale, directions)
    noise = pyramid.scatters[level].at(y / 2**level, x / 2**level)
    steps = _steps(samples, scale) * (sign[:, None, None] * known)
    gain = steps[:, :, _LOW:_HIGH] / noise[:, None, None]
    path = _best_path(np.clip(gain, *_CLIP).astype(np.float32)) + _LOW
    along = np.take_along_axis
    return Outlines(
        radii=GRID[path],
        steps=along(steps, path[:, :, None], 2)[:, :, 0],
        inside=along(known, path[:, :, None], 2)[:, :, 0],
        samples=samples,
        known=known,
        noise=noise,
        scale=scale,
    )


def _unroll(
    image: np.ndarray,
    level: int,
    x: np.ndarray,
    y: np.ndarray,
    scale: np.ndarray,
    directions: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Sample an image on circles around the candidates."""
    from scipy.ndimage import map_coordinates

    angle = 2 * np.pi * np.arange(directions) / directions
    rays = [
        ((centre + 0.5) / 2**level - 0.5)[:, None, None]
        + (scale[:, None] * GRID)[:, None, :] * turn(angle)[:, None]
        for centre, turn in ((y, np.sin), (x, np.cos))
    ]
    known = np.ones(rays[0].shape, bool)
    for ray, n in zip(rays, image.shape, strict=True):
        known &= (ray > -0.5) & (ray < n - 0.5)
    samples = map_coordinates(image, rays, order=1, mode='nearest', output=np.float32)
    return samples, known


def _steps(samples: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Mean of what lies just outside minus mean of what lies just inside."""
    n = len(GRID)
    half = np.maximum(_STEP_PIXELS / scale, _STEP_SHARE) / _STEP
    half = np.clip(np.round(half), 1, 12).astype(int)
    level = samples.mean((1, 2), keepdims=True)
    total = np.zeros((*samples.shape[:2], n + 1), np.float32)
    np.cumsum(samples - level, axis=2, out=total[:, :, 1:])
    steps = np.zeros_like(samples)
    at = np.arange(1, n - 1)
    for width in np.unique(half):
        rows = np.nonzero(half == width)[0]
        low, high = np.maximum(at - width, 0), np.minimum(at + width, n)
        part = total[rows]
        here = part[:, :, at]
        outer = (part[:, :, high] - here) / (high - at).astype(np.float32)
        inner = (here - part[:, :, low]) / (at - low).astype(np.float32)
        steps[rows, :, 1:-1] = outer - inner
    return steps


def _best_path(gain: np.ndarray) -> np.ndarray:
    """
    Find the closed path with the highest sum of gains, by dynamic programming.

    Parameters
    ----------
    gain : `~numpy.ndarray` of float32
        What every sample is worth, ``(n, directions, samples)``.

    Returns
    -------
    path : `~numpy.ndarray` of int
        The sample in each direction, ``(n, directions)``.

    Notes
    -----
    One and a half turns are made and the middle turn is kept, whose ends
    then meet but for rare cases.
    """
    n, directions, samples = gain.shape
    turns = directions * 3 // 2
    best = gain[:, 0].copy()
    moves = np.zeros((turns, n, samples), np.int8)
    for t in range(1, turns):
        best, moves[t] = _advance(best)
        best += gain[:, t % directions]
    at = best.argmax(axis=1)
    first = (turns - directions) // 2
    path = np.empty((n, directions), np.intp)
    rows = np.arange(n)
    for t in range(turns - 1, -1, -1):
        if first <= t < first + directions:
            path[:, t % directions] = at
        at = at + moves[t, rows, at]
    return path


def _advance(total: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move on by one direction: the best total, and where it came from."""
    best, move = total.copy(), np.zeros(total.shape, np.int8)
    for jump in _JUMPS:
        price = np.float32(_STIFFNESS * jump * jump)
        to, start = (
            (np.s_[:, jump:], np.s_[:, :-jump])
            if jump > 0
            else (np.s_[:, :jump], np.s_[:, -jump:])
        )
        other = total[start] - price
        better = other > best[to]
        best[to][better] = other[better]
        move[to][better] = -jump
    return best, move
