# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Where the light of large objects ends."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

__all__ = ['grow_generously', 'grow_to_the_end']

# Radius in pixels from which an object may have a halo worth looking for.
_LARGE = 25.0
# The generous margin, in units of the radius of an object and in pixels.
_MARGIN, _FURTHEST = 1.5, 300.0
# Light that need not be masked, as a fraction of the sky.
_FAINT = 0.0005
# More than this share of the frame is never masked by margins.
_MOST = 0.5
_BINS = 16


def grow_generously(mask: np.ndarray) -> np.ndarray:
    """
    Give every large object a margin as wide as itself.

    Parameters
    ----------
    mask : `~numpy.ndarray` of bool
        Objects.

    Returns
    -------
    mask : `~numpy.ndarray` of bool
        What is inside of a ring is part of the object. As it was, where most of
        the frame would be hidden.
    """
    result = mask.copy()
    for box, part, radius in _large(mask):
        away = ndimage.distance_transform_edt(~part)
        result[box] |= away <= min(_MARGIN * radius, _FURTHEST)
    return result if result.mean() < max(_MOST, mask.mean()) else mask


def grow_to_the_end(
    mask: np.ndarray, image: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """
    Grow every large object to where its light cannot be seen any more.

    Parameters
    ----------
    mask : `~numpy.ndarray` of bool
        Objects.

    image : `~numpy.ndarray`
        Light over that of the sky, less 1, with no background subtracted that
        could hold a halo.

    weight : `~numpy.ndarray`
        Its inverse variance, 0 where nothing is known.

    Returns
    -------
    mask : `~numpy.ndarray` of bool
        With a margin for each of them.

    Notes
    -----
    The median of all pixels at one distance from an object, off all others,
    falls to a constant. Dust under a part of it does not move a median.
    """
    result = mask.copy()
    known = (weight > 0) & ~mask
    for box, part, radius in _large(mask, 2.0):
        away = ndimage.distance_transform_edt(~part)
        end = _end(image[box], weight[box], known[box], away, radius)
        result[box] |= away <= end
    return result if result.mean() < max(_MOST, mask.mean()) else mask


def _large(mask: np.ndarray, reach: float = 1.0) -> list[tuple]:
    """Return window, shape without holes, and radius of large objects."""
    labels, n = ndimage.label(mask)
    if not n:
        return []
    area = np.bincount(labels.ravel(), minlength=n + 1)[1:]
    found = []
    for k, box in enumerate(ndimage.find_objects(labels)):
        radius = float(np.sqrt(area[k] / np.pi))
        extent = [s.stop - s.start for s in box]
        if radius < _LARGE or min(extent) > _MOST * min(mask.shape):
            continue
        # A ring is as large as what is inside of it.
        radius = max(radius, 0.25 * sum(extent) if min(extent) > radius else 0.0)
        wide = int(np.ceil(min(reach * _MARGIN * radius, _FURTHEST))) + 2
        box = tuple(
            slice(max(0, s.start - wide), min(m, s.stop + wide))
            for s, m in zip(box, mask.shape, strict=True)
        )
        part = ndimage.binary_fill_holes(labels[box] == k + 1)
        found.append((box, part, radius))
    return found


def _end(
    image: np.ndarray,
    weight: np.ndarray,
    known: np.ndarray,
    away: np.ndarray,
    radius: float,
) -> float:
    """Return the distance at which the light of an object has ended."""
    reach = min(2.0 * _MARGIN * radius, _FURTHEST)
    step = max(reach / _BINS, 1.0)
    values, errors = [], []
    bins = (away / step).astype(int)
    for k in range(int(reach / step)):
        ring = known & (bins == k) & (away > 0)
        if ring.sum() < 12:
            values.append(np.nan)
            errors.append(np.inf)
            continue
        values.append(float(np.median(image[ring])))
        errors.append(1.2533 / float(np.sqrt(weight[ring].sum())))
    values, errors = np.array(values), np.array(errors)
    seen = np.isfinite(values)
    if seen.sum() < 4:
        return 0.0
    far = float(np.median(values[seen][-max(3, seen.sum() // 4) :]))
    bright = seen & (values - far > np.maximum(3 * errors, _FAINT))
    # Light further out than a gap belongs to something else.
    dark = np.flatnonzero(seen & ~bright)
    return step * float(dark[0] if dark.size else len(values))
