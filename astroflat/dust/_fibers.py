# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Fibres: long, thin, bent shadows, which no outline around a centre fits.
"""

from __future__ import annotations

import numpy as np

from astroflat.dust._judgement import line_odds
from astroflat.dust._scatter import BlockMap, block_scatter
from astroflat.dust._shadows import Shadow

__all__ = ['find_fibers']

# Pixels are linked down to the first; somewhere a line must reach the second.
_LOW, _HIGH = 2.5, 5.0
# Pixels, pixels, and length over width.
_LENGTH, _WIDTH, _ELONGATION = 10.0, 10.0, 3.5
_MARGIN = 6
# Lines this close to the border and along it are no fibres.
_BORDER = 10
_EIGHT = np.ones((3, 3), bool)


def find_fibers(
    white: np.ndarray,
    data: np.ndarray,
    noise: BlockMap,
    *,
    signs: tuple[int, ...] = (1, -1),
    floor: float = 0.0,
    least_odds: float = 0.0,
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

    Returns
    -------
    fibers : list of Shadow
        What was found.
    """
    from scipy.ndimage import find_objects, gaussian_filter, label, maximum

    smooth = -gaussian_filter(white, 0.8)
    level, scatter = block_scatter(smooth, 64, step=2, floor=floor)
    smooth -= level.full()
    smooth /= np.maximum(scatter.full(), np.finfo(np.float32).tiny)
    fibers = []
    for sign in signs:
        parts, n = label(sign * smooth > _LOW, structure=_EIGHT)
        if n == 0:
            continue
        peaks = maximum(sign * smooth, parts, np.arange(1, n + 1))
        for number, box in enumerate(find_objects(parts), start=1):
            size = np.hypot(*(part.stop - part.start for part in box))
            if peaks[number - 1] < _HIGH or size < _LENGTH:
                continue
            wide = _widen(box, data.shape)
            mask = parts[wide] == number
            if _hugs_border(mask, wide, data.shape):
                continue
            fiber = _describe(mask, wide, sign * smooth[wide], data, noise, sign)
            if fiber is not None and fiber.odds > least_odds:
                fibers.append(fiber)
    return fibers


def _widen(box: tuple[slice, slice], shape: tuple[int, int]) -> tuple[slice, slice]:
    """Add a margin to a box."""
    return tuple(
        slice(max(0, part.start - _MARGIN), min(n, part.stop + _MARGIN))
        for part, n in zip(box, shape, strict=True)
    )


def _hugs_border(
    mask: np.ndarray, box: tuple[slice, slice], shape: tuple[int, int]
) -> bool:
    """Tell whether a line is a border effect of the detector: a row or a column."""
    near = np.zeros(mask.shape, bool)
    for axis, (part, n) in enumerate(zip(box, shape, strict=True)):
        place = np.arange(part.start, part.stop)
        close = np.minimum(place, n - 1 - place) < _BORDER
        near |= close[:, None] if axis == 0 else close
    return np.count_nonzero(mask & near) > 0.7 * np.count_nonzero(mask)


def _size(mask: np.ndarray) -> tuple[float, float]:
    """Return length and width of a line."""
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    # Pixels of a strip are on average a quarter of its width from its edge.
    width = max(1.0, 4 * float(depth[mask].mean()) - 1)
    return float(mask.sum()) / width, width


def _describe(
    mask: np.ndarray,
    box: tuple[slice, slice],
    strength: np.ndarray,
    data: np.ndarray,
    noise: BlockMap,
    sign: int,
) -> Shadow | None:
    """Measure a line, if it is one."""
    from scipy.ndimage import binary_fill_holes, distance_transform_edt

    # The outline of a speck is a line too, but a closed one.
    mask = binary_fill_holes(mask)
    length, width = _size(mask)
    if length < max(_LENGTH, _ELONGATION * width) or width > _WIDTH:
        return None
    light = sign * data[box]
    away = distance_transform_edt(~mask)
    flank, near = (away > 1.6) & (away < 4.5), (away > 1) & (away < 2.6)
    core, level = float(light[mask].mean()), float(np.median(light[flank]))
    drop = level - core
    if drop <= 0:
        return None
    closed = float((light[flank] - core > 0.4 * drop).mean())
    sharp = (float(light[near].mean()) - core) / drop
    odds = line_odds(length / width, float(strength[mask].mean()), closed, sharp)
    y, x = (
        float(pixels.mean()) + part.start
        for pixels, part in zip(np.nonzero(mask), box, strict=True)
    )
    footprint = away < 1.5
    model = np.where(footprint, np.clip(level - light, 0, None), 0)
    snr = drop / float(noise.at([y], [x])[0]) * np.sqrt(mask.sum())
    return Shadow(
        sign=sign,
        x=x,
        y=y,
        radius=float(np.sqrt(mask.sum() / np.pi)),
        drop=drop,
        level=sign * level,
        odds=odds,
        snr=float(snr),
        box=box,
        mask=mask,
        footprint=footprint,
        model=model.astype(np.float32),
        length=length,
        width=width,
    )
