# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Shadows: what was found, as pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ['Shadow', 'edge_step', 'fill_region', 'outline_reach', 'trace_shadow']

# Bins of the distance from the centre in units of the outline.
_BINS = np.concatenate([np.arange(0, 0.9, 0.06), np.arange(0.9, 1.61, 0.07)])
_CENTRES = np.append((_BINS[:-1] + _BINS[1:]) / 2, _BINS[-1] + 0.03)
# Where the shadow has faded to this share of its depth it ends.
_FADED = 0.06
# Fewer pixels do not tell whether a shadow is deeper on one side.
_LEAN_PIXELS = 60
# Half the width of the seam of which the pixels are taken as they are.
_BAND_PIXELS, _BAND = 2.0, 0.08
# The pixels of a hard speck: below half of its depth, and their seam.
_HALF, _SEAM, _SEAM_NOISE, _SEAM_PIXELS = 0.5, 0.12, 3.0, 3
# A region this many times larger than the outline has leaked.
_LEAK = 4.0
_EIGHT = np.ones((3, 3), bool)


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

    middle : float
        Drop in the centre over that near the edge.

    uneven : float
        Scatter of the radius of the outline over its mean: 0 for a circle.

    around : `~numpy.ndarray` of bool or None
        Where other objects wait until this one is taken out.

    length, width : float
        Of a fibre, in pixels; 0 for others.

    depth : float
        Share of the light that is missing; negative for bright objects.
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
    middle: float = 1.0
    uneven: float = 0.0
    around: np.ndarray | None = None
    length: float = 0.0
    width: float = 0.0
    depth: float = 0.0


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
) -> tuple[np.ndarray, np.ndarray]:
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
    model *= _lean(drop, model, reach < 0.9)
    model[reach > end] = 0
    scale = max(float(np.sqrt((reach <= 1).sum() / np.pi)), 0.5)
    # A median by distance says little where all changes within a pixel.
    seam = np.abs(reach - 1) * scale < max(_BAND_PIXELS, _BAND * scale)
    model[seam] = np.clip(drop[seam], -0.25 * rim, 1.25 * rim)
    limit = float(np.clip(end, 1.0, 1.0 + max(0.25, 2 / scale)))
    return model, reach <= limit


def _lean(drop: np.ndarray, model: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Fit how a shadow deepens from one side to the other; return the factor."""
    y, x = (
        (c - c[inside].mean()) / max(float(c[inside].std()), 1.0) if inside.any() else c
        for c in np.indices(drop.shape, dtype=np.float32)
    )
    good = inside & (np.abs(drop - model) <= np.abs(model))
    weight = model[good]
    if len(weight) < _LEAN_PIXELS:
        return np.ones_like(drop)
    slopes = np.stack([x[good], y[good]], axis=1) * weight[:, None]
    rest = drop[good] - weight
    lean = np.linalg.lstsq(slopes.T @ slopes, slopes.T @ rest, rcond=None)[0]
    return np.clip(1 + lean[0] * x + lean[1] * y, 0.2, 2.0)


def edge_step(data: np.ndarray, outline: np.ndarray, x: float, y: float) -> float:
    """
    Measure the step across an outline within two pixels.

    Parameters
    ----------
    data : `~numpy.ndarray`
        The logarithm of the light.

    outline : `~numpy.ndarray`
        Distances from the centre in evenly spaced directions.

    x, y : float
        The centre.

    Returns
    -------
    step : float
        Median over the directions of outside minus inside, where the outline
        may be off by two pixels in each.
    """
    from scipy.ndimage import map_coordinates

    angle = 2 * np.pi * np.arange(len(outline)) / len(outline)
    away = outline[:, None] + np.arange(-4.0, 5.0)
    rays = [y + away * np.sin(angle)[:, None], x + away * np.cos(angle)[:, None]]
    known = np.ones(away.shape, bool)
    for ray, n in zip(rays, data.shape, strict=True):
        known &= (ray >= 0) & (ray <= n - 1)
    values = map_coordinates(data, rays, order=1, mode='nearest')
    # Pairs of pixels two apart: the step of a sharp edge is all between them.
    steps = (values[:, 3:] - values[:, :-3])[known.all(axis=1)]
    if not len(steps):
        return 0.0
    best = np.argmax(np.abs(steps), axis=1)
    return float(np.median(steps[np.arange(len(steps)), best]))


def fill_region(
    data: np.ndarray,
    place: tuple[float, float, float],
    sign: int,
    level: float,
    drop: float,
    noise: float,
) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray, np.ndarray] | None:
    """
    Find the pixels of a hard speck, whatever its shape.

    Parameters
    ----------
    data : `~numpy.ndarray`
        The logarithm of the light.

    place : tuple of float
        Centre x, y and radius of its outline.

    sign : int
        +1 dark, -1 bright.

    level : float
        Logarithm of the light around it.

    drop : float
        Its drop.

    noise : float
        Scatter of the pixels around it.

    Returns
    -------
    region : tuple or None
        Box, mask (what drops by half), footprint (with the seam) and model
        (the drop in the footprint); None if there is no such region, or it is
        not separated from what is around it.
    """
    from scipy.ndimage import binary_dilation, binary_fill_holes, label

    x, y, radius = place
    size = 3 * radius + 6
    box = tuple(
        slice(max(0, int(np.ceil(c - size))), min(n, int(c + size) + 1))
        for c, n in zip((y, x), data.shape, strict=True)
    )
    dy, dx = (
        np.arange(part.start, part.stop) - c
        for part, c in zip(box, (y, x), strict=True)
    )
    near = np.hypot(dy[:, None], dx) <= max(radius, 1.0)
    for _ in range(2):
        depth = sign * (level - data[box])
        parts, n = label(depth > _HALF * drop, structure=_EIGHT)
        counts = np.bincount(parts[near], minlength=n + 1)[1:]
        if not counts.any():
            return None
        mask = binary_fill_holes(parts == counts.argmax() + 1)
        most = _LEAK * np.pi * max(radius, 2.5) ** 2
        if mask.sum() > most or _cut(mask, box, data.shape):
            return None
        # The surroundings of a small outline may be the skirts of the speck.
        off = ~binary_dilation(mask, _EIGHT, iterations=_SEAM_PIXELS)
        if off.any():
            level = float(np.median(data[box][off]))
    depth = sign * (level - data[box])
    seam = depth > max(_SEAM * drop, _SEAM_NOISE * noise)
    seam &= binary_dilation(mask, _EIGHT, iterations=_SEAM_PIXELS)
    parts, _ = label(seam | mask, structure=_EIGHT)
    footprint = np.isin(parts, np.unique(parts[mask])) | binary_dilation(mask)
    return box, mask, footprint, np.where(footprint, depth, 0).astype(np.float32)


def _cut(mask: np.ndarray, box: tuple[slice, slice], shape: tuple[int, int]) -> bool:
    """Tell whether a region reaches an edge of its box within the image."""
    for axis, (part, n) in enumerate(zip(box, shape, strict=True)):
        lines = mask.any(axis=1 - axis)
        if (part.start > 0 and lines[0]) or (part.stop < n and lines[-1]):
            return True
    return False
