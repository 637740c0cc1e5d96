# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Shadows: what was found, as pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ['Shadow', 'outline_reach', 'overlap', 'trace_shadow']

# Bins of the distance from the centre in units of the outline.
_BINS = np.concatenate([np.arange(0, 0.9, 0.1), np.arange(0.9, 1.61, 0.07)])
_CENTRES = np.append((_BINS[:-1] + _BINS[1:]) / 2, _BINS[-1] + 0.03)
# Where the shadow has faded to this share of its depth it ends.
_FADED = 0.06


@dataclass
class Shadow:
    """
    One object that takes light away, or adds some.

    Parameters
    ----------
    sign : int
        +1 dark, -1 bright.

    x, y, radius : float
        Centre and equivalent radius of the outline in pixels.

    drop : float
        Drop of the logarithm of the light, positive for both signs.

    level : float
        Logarithm of the light around it.

    odds : float
        Logarithm of the odds that it is dust.

    snr : float
        Significance of the outline.

    box : tuple of slice
        Where ``mask`` lies in the image.

    mask : `~numpy.ndarray` of bool
        The inside of the outline.

    footprint : `~numpy.ndarray` of bool
        ``mask`` and the soft edge around it.

    model : `~numpy.ndarray` of float32
        The drop of every pixel, as far as it is modelled.

    profile : `~numpy.ndarray`
        Mean drop from the centre outwards, in units of ``drop``; empty for a
        fibre.

    ripple, rough : float
        Scatter of the step along the outline, and jumps of its radius.

    length, width : float
        Of a fibre, in pixels; 0 for others.
    """

    sign: int
    x: float
    y: float
    radius: float
    drop: float
    level: float
    odds: float
    snr: float
    box: tuple[slice, slice]
    mask: np.ndarray
    footprint: np.ndarray
    model: np.ndarray
    profile: np.ndarray
    ripple: float = 0.0
    rough: float = 0.0
    length: float = 0.0
    width: float = 0.0


def outline_reach(
    outline: np.ndarray, x: float, y: float, shape: tuple[int, int]
) -> tuple[tuple[slice, slice], np.ndarray]:
    """
    Return how far out pixels lie, in units of an outline.

    Parameters
    ----------
    outline : `~numpy.ndarray`
        Distances from the centre in evenly spaced directions.

    x, y : float
        The centre.

    shape : tuple of int
        The shape of the image.

    Returns
    -------
    box : tuple of slice
        A part of the image that holds the outline with a margin.

    reach : `~numpy.ndarray` of float32
        0 in the centre, 1 on the outline.
    """
    size = 1.6 * float(outline.max()) + 3
    box = tuple(
        slice(max(0, min(n, int(c - size))), max(0, min(n, int(c + size) + 2)))
        for c, n in zip((y, x), shape, strict=True)
    )
    dy, dx = (
        np.arange(part.start, part.stop, dtype=np.float32) - np.float32(c)
        for part, c in zip(box, (y, x), strict=True)
    )
    turn = len(outline) / (2 * np.pi)
    angle = np.arctan2(dy[:, None], dx) * np.float32(turn) % len(outline)
    first = angle.astype(np.intp) % len(outline)
    share = angle - first
    ring = outline.astype(np.float32)
    radius = ring[first] * (1 - share) + ring[(first + 1) % len(ring)] * share
    return box, np.hypot(dy[:, None], dx) / np.maximum(radius, np.float32(0.3))


def trace_shadow(
    data: np.ndarray,
    reach: np.ndarray,
    box: tuple[slice, slice],
    sign: int,
    level: float,
    rim: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Measure a shadow from its centre to beyond its edge.

    Parameters
    ----------
    data : `~numpy.ndarray`
        The logarithm of the light.

    reach : `~numpy.ndarray`
        As given by `outline_reach`.

    box : tuple of slice
        Where ``reach`` lies.

    sign : int
        +1 dark, -1 bright.

    level : float
        Logarithm of the light around the shadow.

    rim : float
        Drop near the edge.

    Returns
    -------
    model : `~numpy.ndarray` of float32
        Drop of every pixel of the box: the median of what is equally far out.

    footprint : `~numpy.ndarray` of bool
        Where the shadow has not faded.

    profile : `~numpy.ndarray`
        The medians within the outline, from the centre outwards.
    """
    drop = sign * (level - data[box])
    bins = np.searchsorted(_BINS, reach.ravel(), side='right') - 1
    order = np.argsort(bins, kind='stable')
    edges = np.searchsorted(bins[order], np.arange(len(_BINS) + 1))
    values = drop.ravel()[order]
    profile = np.zeros(len(_BINS))
    for k in range(len(_BINS)):
        part = values[edges[k] : edges[k + 1]]
        profile[k] = np.median(part) if part.size else profile[max(k - 1, 0)]
    faded = (_CENTRES > 1) & (profile < _FADED * max(rim, 1e-9))
    end = _CENTRES[np.argmax(faded)] if faded.any() else _CENTRES[-1]
    model = np.interp(reach, _CENTRES, profile).astype(np.float32)
    model[reach > end] = 0
    scale = max(float(np.sqrt((reach <= 1).sum() / np.pi)), 0.5)
    limit = float(np.clip(end, 1.0, 1.0 + max(0.25, 2 / scale)))
    return model, reach <= limit, profile[_CENTRES < 1]


def overlap(one: Shadow, other: Shadow) -> float:
    """
    Return the common area of two shadows over the area of both.

    Parameters
    ----------
    one, other : Shadow
        The shadows.

    Returns
    -------
    overlap : float
        Between 0 and 1.
    """
    rows, columns = (
        slice(max(a.start, b.start), min(a.stop, b.stop))
        for a, b in zip(one.box, other.box, strict=True)
    )
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return 0.0
    parts = [
        s.mask[
            rows.start - s.box[0].start : rows.stop - s.box[0].start,
            columns.start - s.box[1].start : columns.stop - s.box[1].start,
        ]
        for s in (one, other)
    ]
    common = np.count_nonzero(parts[0] & parts[1])
    return common / (np.count_nonzero(one.mask) + np.count_nonzero(other.mask) - common)
