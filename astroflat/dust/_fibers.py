# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Fibres: long, thin, bent shadows, which no outline around a centre fits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from astroflat.dust._judgement import line_odds
from astroflat.dust._lines import line_significance, longest_path, recentre, straighten
from astroflat.dust._scatter import BlockMap
from astroflat.dust._shadows import Shadow

__all__ = ['Line', 'find_fibers', 'find_lines']

# Pixels are linked down to the first; somewhere a line must reach the second.
_LOW, _HIGH = 3.2, 5.5
# The strokes of a deep shadow reach beyond it, with this share of their height.
_SHADE, _SHADE_REACH = 0.3, 21
# Length in pixels; width in pixels.
_LENGTH, _WIDTH = 9.0, 8.0
# Beside a deep shadow its surroundings look bright: bright lines must be surer.
_BRIGHT = 3.0
# Strokes of noise make chains, the wider the longer.
_STRONG, _THIN, _STRONG_WIDE = 4.3, 5.0, 5.5
# Length over width, at least.
_ELONGATION = 3.2
# A line ends where its drop has sunk to this share.
_END = 0.35
# Where its flanks are, in pixels beyond its edge.
_FLANK = (1.5, 5.0)
_REACH = 14
# Lines this close to the border that rise no more than so much, in pixels or as
# a share of their length, are no fibres.
_BORDER, _RISE, _SLOPE = 10, 3.0, 0.08
# The largest radius of a ring, and how deep the rest of it is, at least.
_RING, _RING_DROP = 150.0, 0.25
_EIGHT = np.ones((3, 3), bool)


@dataclass
class Line:
    """
    A line that was pulled straight, and what it looks like.

    Parameters
    ----------
    path : `~numpy.ndarray`
        Its points, ``(n, 2)`` as (y, x).

    width, drop, level : float
        Width in pixels; drop of the logarithm of the light on it; the
        logarithm around it. Drops are positive for the sign looked for.

    strength : float
        Significance of the strokes along it, mean.

    closed : float
        Share of the line along which it stands out on both flanks.

    sharp : float
        Share of its drop that is reached within two pixels.

    even : float
        Scatter of the drop along the line over its mean.
    """

    path: np.ndarray
    width: float
    drop: float
    level: float
    strength: float
    closed: float
    sharp: float
    even: float

    @property
    def length(self) -> float:
        """Length in pixels."""
        return float(np.hypot(*np.diff(self.path, axis=0).T).sum()) + 1


def find_fibers(
    white: np.ndarray,
    data: np.ndarray,
    noise: BlockMap,
    *,
    signs: tuple[int, ...] = (1,),
    floor: float = 0.0,
    least_odds: float = 0.0,
    least_drop: Callable[[float, float, float], float] | None = None,
    workers: int = 1,
) -> list[Shadow]:
    """
    Find long thin shadows.

    Parameters
    ----------
    white : `~numpy.ndarray`
        The whitened image.

    data : `~numpy.ndarray` of float32
        The logarithm of the light.

    noise : BlockMap
        White noise per pixel of ``data``.

    signs : tuple of int, optional
        +1 for dark, -1 for bright lines.

    floor : float, optional
        The least noise per pixel.

    least_odds : float, optional
        The least logarithm of the odds.

    least_drop : callable, optional
        Gives the least drop for the level and the place y, x.

    workers : int, optional
        Threads of the transforms.

    Returns
    -------
    fibers : list of Shadow
        What was found.
    """
    fibers = []
    for sign, line in find_lines(white, data, signs, floor=floor, workers=workers):
        odds = line_odds(line)
        if line.length < max(_LENGTH, _ELONGATION * line.width):
            continue
        if line.strength < _least_strength(line, data.shape):
            continue
        if least_drop is not None:
            least = least_drop(sign * line.level, *line.path.mean(axis=0))
            if line.drop < least:
                continue
        if odds <= least_odds + (_BRIGHT if sign < 0 else 0):
            continue
        if not (_hugs_border(line.path, data.shape) or _is_ring(line, sign, data)):
            fibers.append(_as_shadow(line, sign, odds, data, noise))
    return fibers


def find_lines(
    white: np.ndarray,
    data: np.ndarray,
    signs: tuple[int, ...],
    *,
    floor: float = 0.0,
    workers: int = 1,
) -> list[tuple[int, Line]]:
    """
    Find whatever is longer than wide, and measure it.

    Parameters
    ----------
    white : `~numpy.ndarray`
        The whitened image.

    data : `~numpy.ndarray` of float32
        The logarithm of the light.

    signs : tuple of int
        +1 for dark, -1 for bright lines.

    floor : float, optional
        The least noise per pixel.

    workers : int, optional
        Threads of the transforms.

    Returns
    -------
    lines : list of tuple
        Sign and `Line`.
    """
    from scipy.ndimage import find_objects, label, maximum_filter

    lines = []
    dark, bright = line_significance(white, floor=floor, workers=workers)
    for sign, strokes in ((1, dark), (-1, bright)):
        if sign not in signs:
            continue
        least = _SHADE * maximum_filter(strokes, _SHADE_REACH, mode='nearest')
        parts, n = label(strokes > np.maximum(least, _LOW), structure=_EIGHT)
        strong = np.zeros(n + 1, bool)
        strong[parts[strokes > _HIGH]] = True
        boxes = find_objects(parts)
        for number in np.nonzero(strong[1:])[0] + 1:
            box = boxes[number - 1]
            if np.hypot(*(part.stop - part.start for part in box)) < _LENGTH:
                continue
            line = _pull(parts[box] == number, box, strokes, data, sign)
            if line is not None:
                lines.append((sign, line))
    return lines


def _pull(
    mask: np.ndarray,
    box: tuple[slice, slice],
    strokes: np.ndarray,
    data: np.ndarray,
    sign: int,
) -> Line | None:
    """Pull a region straight and measure it, if it is longer than wide."""
    from scipy.ndimage import binary_fill_holes, uniform_filter1d

    if binary_fill_holes(mask).sum() > 1.6 * mask.sum():
        return None
    path = longest_path(mask) + [part.start for part in box]
    if len(path) < 0.7 * _LENGTH:
        return None
    strip = sign * straighten(data, path, _REACH)
    middle = 2 * _REACH
    width = _width(np.median(strip, axis=0)[middle - 12 : middle + 13])
    away = np.abs(np.arange(len(strip[0])) - middle) / 2
    flank = (away > width / 2 + _FLANK[0]) & (away < width / 2 + _FLANK[1])
    core = np.mean(strip[:, away <= max(width / 2 - 0.5, 0.5)], axis=1)
    left, right = (
        np.median(strip[:, flank & side], axis=1)
        for side in (np.arange(len(flank)) < middle, np.arange(len(flank)) > middle)
    )
    drop = uniform_filter1d((left + right) / 2 - core, 5, mode='nearest')
    keep = _longest_run(drop > _END * np.quantile(drop, 0.7))
    path, strip, drop = path[keep], strip[keep], drop[keep]
    if len(path) < 0.5 * _LENGTH or width > _WIDTH or not drop.mean() > 0:
        return None
    mean = float(drop.mean())
    edge = np.minimum(left, right)[keep] - core[keep]
    near = np.mean(strip[:, (away > width / 2) & (away < width / 2 + 2)])
    inner = np.mean(strip[:, away < max(width / 2, 0.6)])
    y, x = np.rint(path).astype(int).T
    # The odds know lines as they were found: noise has darkest places, too.
    better = np.clip(recentre(path, strip), 0, np.array(data.shape) - 1)
    profile = np.median(sign * straighten(data, better, _REACH), axis=0)
    return Line(
        path=better,
        width=min(width, _width(profile[middle - 12 : middle + 13])),
        drop=mean,
        level=sign * float(np.mean((left + right)[keep]) / 2),
        strength=float(strokes[y, x].mean()),
        closed=float(np.mean(uniform_filter1d(edge, 9, mode='nearest') > 0.3 * mean)),
        sharp=float((near - inner) / mean),
        even=float(np.std(drop) / mean),
    )


def _width(profile: np.ndarray) -> float:
    """Return the full width at half the drop, of samples every half pixel."""
    n = len(profile) // 2
    low = np.min(profile[n - 2 : n + 3])
    level = np.median(np.concatenate([profile[:6], profile[-6:]]))
    dark = profile < (low + level) / 2
    start = n + int(np.argmin(profile[n - 2 : n + 3])) - 2
    left = start - int(np.argmin(np.append(dark[start::-1], False)))
    right = start + int(np.argmin(np.append(dark[start:], False)))
    return max(1.0, (right - left - 1) / 2)


def _longest_run(good: np.ndarray) -> slice:
    """Return the longest stretch of a line without a break."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], good.astype(int), [0]])))
    if not len(edges):
        return slice(0, 0)
    first, last = edges[::2], edges[1::2]
    k = int(np.argmax(last - first))
    return slice(int(first[k]), int(last[k]))


def _least_strength(line: Line, shape: tuple[int, int]) -> float:
    """Return how strong a line has to be on the mean."""
    least = _STRONG if line.width <= _THIN else _STRONG_WIDE
    away = [
        np.median(np.minimum(place, n - 1 - place))
        for place, n in zip(line.path.T, shape, strict=True)
    ]
    # Noise that is mirrored at the border is counted twice.
    return 1.5 * least if min(away) < _BORDER else least


def _hugs_border(path: np.ndarray, shape: tuple[int, int]) -> bool:
    """Tell whether a line is a border effect of the detector: a row or a column."""
    for place, n in zip(path.T, shape, strict=True):
        close = np.minimum(place, n - 1 - place).max() < _BORDER
        if close and np.ptp(place) < max(_RISE, _SLOPE * len(path)):
            return True
    return False


def _is_ring(line: Line, sign: int, data: np.ndarray) -> bool:
    """Tell whether a line is a part of a ring, the shadow of a donut."""
    from scipy.ndimage import map_coordinates

    y, x = (line.path - line.path.mean(axis=0)).T
    if len(y) < 5:
        return False
    terms = np.stack([2 * y, 2 * x, np.ones_like(y)], axis=1)
    y_0, x_0, rest = np.linalg.lstsq(terms, y**2 + x**2, rcond=None)[0]
    radius = float(np.sqrt(max(rest + y_0**2 + x_0**2, 0.0)))
    if not 1.5 * line.width < radius < _RING:
        return False
    taken = np.unwrap(np.arctan2(y - y_0, x - x_0))
    low, high = taken.min(), taken.max()
    if high - low < np.pi / 4:
        return False
    margin = line.width / radius
    angle = np.linspace(high + margin, low + 2 * np.pi - margin, 48)
    if angle[0] > angle[-1]:
        return True
    off = line.width + 2.0
    core, inner, outer = (
        sign
        * map_coordinates(
            data,
            [
                line.path[:, 0].mean() + y_0 + r * np.sin(angle),
                line.path[:, 1].mean() + x_0 + r * np.cos(angle),
            ],
            order=1,
            mode='nearest',
        )
        for r in (radius, max(radius - off, 0.0), radius + off)
    )
    drop = np.median(np.minimum(inner, outer) - core)
    return bool(drop > _RING_DROP * line.drop)


def _as_shadow(
    line: Line, sign: int, odds: float, data: np.ndarray, noise: BlockMap
) -> Shadow:
    """Turn a line into an object with pixels."""
    from scipy.ndimage import distance_transform_edt

    margin = line.width / 2 + 4
    box = tuple(
        slice(max(0, int(place.min() - margin)), min(n, int(place.max() + margin) + 2))
        for place, n in zip(line.path.T, data.shape, strict=True)
    )
    # Points of the path are closer than a pixel, or nearly so.
    steps = np.arange(0, len(line.path) - 0.99, 0.5)
    whole = np.arange(len(line.path))
    off = np.ones([part.stop - part.start for part in box], bool)
    y, x = (np.interp(steps, whole, place) for place in line.path.T)
    inside = [
        np.clip(np.rint(place).astype(int), part.start, part.stop - 1) - part.start
        for place, part in zip((y, x), box, strict=True)
    ]
    off[tuple(inside)] = False
    away = distance_transform_edt(off)
    mask = away <= line.width / 2
    footprint = away <= line.width / 2 + 1.5
    drop = sign * (line.level - data[box])
    area = int(mask.sum())
    middle = line.path.mean(axis=0)
    snr = line.drop / float(noise.at(*middle[:, None])[0]) * np.sqrt(area)
    return Shadow(
        sign=sign,
        x=float(middle[1]),
        y=float(middle[0]),
        radius=float(np.sqrt(area / np.pi)),
        drop=line.drop,
        level=line.level,
        odds=odds,
        snr=float(snr),
        box=box,
        mask=mask,
        footprint=footprint,
        model=np.where(footprint, np.clip(drop, 0, None), 0).astype(np.float32),
        around=away <= line.width / 2 + 3,
        length=line.length,
        width=line.width,
    )
