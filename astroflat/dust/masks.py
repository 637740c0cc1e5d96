# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Grow a mask, and turn it into weights that fall off smoothly.

The shadow of a speck is wider than the part of it that a detector marks.
`dilate_mask` adds a margin, and `feather_mask` makes the transition that lets
a correction fade out instead of ending in a step.
"""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.dust._distance import power_distance
from astroflat.dust._weights import mask_or_weights

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ['dilate_mask', 'feather_mask']

# Sums of two squares up to here fit into 16 bits, which are twice as fast.
_REACH_16_BIT = 180


def dilate_mask(
    mask: ArrayLike,
    radius: float | ArrayLike = 10,
    *,
    labels: ArrayLike | None = None,
    relative: float = 0.0,
    threshold: float | tuple[float, float] = 0.5,
) -> np.ndarray:
    """
    Grow a mask by a radius, the same one or one per object.

    Parameters
    ----------
    mask : array_like of bool or float
        The pixels to grow, ``(ny, nx)``. Floating-point values are
        probabilities or weights in [0, 1].

    radius : float or array_like, optional
        Pixels within this Euclidean distance of the mask are added. With
        ``labels`` it may be an array, a table column or a pixel Quantity
        with one radius per object, in the order of rising labels.

    labels : array_like of int, optional
        Numbers the objects, 0 for none, ``(ny, nx)``. Pixels of the mask
        without a label stay, but are not grown.

    relative : float, optional
        Adds this many times the equivalent radius ``sqrt(area / pi)`` of an
        object to its radius. Without ``labels``, objects are what touches by
        a side or a corner.

    threshold : float or tuple of two floats, optional
        How a floating-point mask becomes boolean: values of at least the
        threshold. With two, ``(low, high)``, an object reaches down to
        ``low`` where it somewhere attains ``high``.

    Returns
    -------
    mask : `~numpy.ndarray` of bool
        The grown mask.

    Raises
    ------
    ValueError
        If a radius is negative or not finite, the number of radii differs
        from the number of objects, or a mask does not hold what it should.

    See Also
    --------
    feather_mask : Make the edge of a mask soft.

    Notes
    -----
    The result with one radius is that of a binary dilation with the disc of
    all pixels whose centres are at most ``radius`` away.

    A margin that is much wider than the objects touches many good pixels:
    for specks of different sizes, ``radius=2, relative=0.5`` spares them.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat import dilate_mask
    >>> mask = np.zeros((5, 7), dtype=bool)
    >>> mask[2, 3] = True
    >>> dilate_mask(mask, radius=2).astype(int)
    array([[0, 0, 0, 1, 0, 0, 0],
           [0, 0, 1, 1, 1, 0, 0],
           [0, 1, 1, 1, 1, 1, 0],
           [0, 0, 1, 1, 1, 0, 0],
           [0, 0, 0, 1, 0, 0, 0]])
    """
    mask = _binary(mask_or_weights(mask), threshold)
    radius = _pixels(radius)
    if relative < 0 or not np.isfinite(relative):
        msg = f'relative must be a finite number of at least 0, not {relative!r}'
        raise ValueError(msg)
    if labels is None and relative == 0:
        if radius.ndim:
            msg = 'an array of radii needs labels, which say what object is which'
            raise ValueError(msg)
        return _grow(mask, _square(radius), float(radius))
    labels = _label(mask) if labels is None else _check_labels(labels, mask.shape)
    return _grow_objects(mask, labels, radius, relative)


def feather_mask(
    mask: ArrayLike, sigma: float = 3.0, *, reach: float = 3.0
) -> np.ndarray:
    """
    Return weights that are 1 on a mask and fall to exactly 0 around it.

    Parameters
    ----------
    mask : array_like of bool or float
        The mask, ``(ny, nx)``. Floating-point values are weights in [0, 1],
        and none is ever lowered.

    sigma : float, optional
        The width of the fall in pixels, as of a Gaussian; 0 for none.

    reach : float, optional
        The weights are exactly zero from ``reach * sigma`` pixels on.

    Returns
    -------
    weight : `~numpy.ndarray` of float32
        Weights in [0, 1], at least the mask everywhere.

    Raises
    ------
    ValueError
        If a mask has values outside [0, 1], for example 0 to 255.

    See Also
    --------
    dilate_mask : Add a margin of full weight first.

    Notes
    -----
    With the Euclidean distance d from the mask and ``R = reach * sigma``, a
    pixel gets the weight ``(1 - d**2 / R**2) ** (reach**2 / 2)``. It is a
    Gaussian of that sigma to second order, but ends at a finite distance,
    where several of its derivatives vanish too.

    A pixel of a soft mask counts as if it lay at the distance that its value
    stands for, and the largest of all weights is taken.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat import feather_mask
    >>> feather_mask(np.array([[1, 0, 0, 0, 0]]) > 0, sigma=1).round(3)
    array([[1.   , 0.589, 0.071, 0.   , 0.   ]], dtype=float32)
    """
    mask = mask_or_weights(mask)
    for name, value in (('sigma', sigma), ('reach', reach)):
        if not np.isfinite(value) or value < 0 or (name == 'reach' and value == 0):
            msg = f'{name} must be a finite positive number, not {value!r}'
            raise ValueError(msg)
    limit = float(reach * sigma)
    if limit == 0:
        return mask.astype(np.float32)
    power = 0.5 * reach**2
    if mask.dtype == bool:
        return _feather_binary(mask, limit, power)
    return _feather_soft(mask, limit, power)


def _feather_binary(mask: np.ndarray, limit: float, power: float) -> np.ndarray:
    """Look the weight up by the squared distance, an integer."""
    square = _squared_distance(mask, int(np.ceil(limit)))
    fall = 1.0 - np.arange(int(square.max()) + 1) / limit**2
    table = np.maximum(fall, 0.0) ** power
    return table.astype(np.float32)[square]


def _feather_soft(weight: np.ndarray, limit: float, power: float) -> np.ndarray:
    """Start from the distance that each weight stands for."""
    far = np.float32(limit**2)
    cost = np.full(weight.shape, far)
    given = weight > 0
    cost[given] = far * (1.0 - weight[given] ** (1.0 / power))
    square = power_distance(cost, int(np.ceil(limit)), far)
    result = weight.astype(np.float32)
    near = square < far
    fall = (1.0 - square[near] / far) ** np.float32(power)
    # Rounding must not lower a weight.
    result[near] = np.maximum(result[near], fall)
    return result


def _grow_objects(
    mask: np.ndarray, labels: np.ndarray, radius: np.ndarray, relative: float
) -> np.ndarray:
    """Grow every object by its own radius."""
    area = np.bincount(labels[mask])
    area[:1] = 0
    names = np.flatnonzero(area)
    if radius.ndim and radius.size != names.size:
        msg = (
            f'there are {radius.size} radii for {names.size} labelled objects '
            'of the mask; pass one for each, in the order of rising labels'
        )
        raise ValueError(msg)
    each = radius + relative * np.sqrt(area[names] / np.pi)
    square = np.full(area.size, -1)
    square[names] = _square(each)
    return mask | _grow(mask, square[labels[mask]], each.max(initial=0))


def _grow(mask: np.ndarray, square: np.ndarray, radius: float) -> np.ndarray:
    """Grow every pixel of a mask to the root of its own integer, none if -1."""
    reach = int(np.floor(radius))
    if reach == 0 or not mask.any():
        return mask.copy()
    largest = int(square.max())
    far = largest + 1
    cost = np.full(mask.shape, far, dtype=_integer(reach))
    cost[mask] = largest - square
    return power_distance(cost, reach, far) < far


def _squared_distance(mask: np.ndarray, reach: int) -> np.ndarray:
    """Return squared distances to a mask, exact up to the reach."""
    far = reach**2
    cost = np.full(mask.shape, far, dtype=_integer(reach))
    cost[mask] = 0
    return power_distance(cost, reach, far)


def _integer(reach: int) -> type:
    """Return the smallest type that holds what is added up within a reach."""
    return np.uint16 if reach <= _REACH_16_BIT else np.int64


def _square(radius: np.ndarray) -> np.ndarray:
    """
    Return the largest squared distance, an integer, within a radius.

    Comparing roots instead of squares keeps radii like ``sqrt(3)`` exact.
    """
    square = np.floor(np.asarray(radius, dtype=float) ** 2).astype(np.int64)
    return square + (np.sqrt(square + 1.0) <= radius) - (np.sqrt(square) > radius)


def _binary(mask: np.ndarray, threshold: float | tuple[float, float]) -> np.ndarray:
    """Turn weights into a mask."""
    if mask.dtype == bool:
        return mask
    low, high = (
        (threshold, threshold) if isinstance(threshold, numbers.Real) else threshold
    )
    if not 0 < low <= high <= 1:
        msg = f'threshold must be 0 < low <= high <= 1, not {threshold!r}'
        raise ValueError(msg)
    if low == high:
        return mask >= low
    wide = mask >= low
    labels = _label(wide)
    kept = np.zeros(int(labels.max()) + 1, dtype=bool)
    kept[labels[mask >= high]] = True
    kept[0] = False
    return kept[labels]


def _label(mask: np.ndarray) -> np.ndarray:
    """Give objects that touch by a side or a corner one number each."""
    from scipy.ndimage import label

    return label(mask, np.ones((3, 3)))[0]


def _check_labels(labels: ArrayLike, shape: tuple[int, int]) -> np.ndarray:
    """Return a label image as an array."""
    # A photutils SegmentationImage keeps its array in an attribute.
    if not isinstance(labels, np.ndarray):
        labels = getattr(labels, 'data', labels)
    labels = np.asarray(labels)
    if labels.dtype.kind not in 'iu' or labels.shape != shape or labels.min() < 0:
        msg = (
            f'labels must be integers of at least 0 in the shape {shape} of the '
            f'mask, not {labels.dtype} of shape {labels.shape}'
        )
        raise ValueError(msg)
    return labels


def _pixels(radius: Any) -> np.ndarray:
    """Return radii in pixels as a plain array."""
    unit = getattr(radius, 'unit', None)
    if unit is not None:
        from astropy import units as u

        radius = u.Quantity(radius).to_value(u.pix)
    radius = np.asarray(radius, dtype=float)
    if radius.ndim > 1 or not np.isfinite(radius).all() or (radius < 0).any():
        msg = f'radius must be finite and at least 0, one or one per object: {radius}'
        raise ValueError(msg)
    return radius
