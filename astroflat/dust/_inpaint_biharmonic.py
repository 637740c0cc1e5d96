# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Biharmonic inpainting of many holes at once, on a mosaic of their crops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from astroflat.dust._inpaint_covariance import pixel_noise
from astroflat.dust._inpaint_windows import grow_box, holes, inner_box

if TYPE_CHECKING:
    from collections.abc import Iterator

    from astroflat.dust._inpaint_windows import Box, Hole

__all__ = ['fill_biharmonic']

#: Half the width of the biharmonic stencil.
STENCIL = 2

#: Widths tried for smoothing the pixels around a hole.
RING_SIGMAS = (1.0, 2.0, 4.0)

#: A mosaic is closed when it has this many pixels: the sparse solver takes
#: more than its share of time and memory for larger ones.
MOSAIC_PIXELS = 100_000


class _Crop(NamedTuple):
    """A hole with its surroundings, and where it touches the frame's edge."""

    hole: Hole
    values: np.ndarray
    unknown: np.ndarray
    known: np.ndarray
    inner: Box
    touches: tuple[tuple[bool, bool], tuple[bool, bool]]


def fill_biharmonic(
    data: np.ndarray, mask: np.ndarray, ring_sigma: float | Literal['auto']
) -> np.ndarray:
    """
    Fill the holes of an image with surfaces of zero bilaplacian.

    Parameters
    ----------
    data : `~numpy.ndarray`
        The image, NaN where it must not be used.

    mask : `~numpy.ndarray` of bool
        The pixels to fill.

    ring_sigma : float or 'auto'
        The smoothing of the pixels around a hole.

    Returns
    -------
    filled : `~numpy.ndarray`
        The values in the holes; NaN elsewhere and where nothing is known.

    Notes
    -----
    `skimage.restoration.inpaint_biharmonic` works on whole images: what it
    does per image pixel costs more than the holes, and region by region the
    overhead of a call dominates. So the holes are cut out with the margin
    that their equations need, put side by side, and solved in few calls.
    """
    sigmas = RING_SIGMAS if ring_sigma == 'auto' else (float(ring_sigma),)
    margin = 2 * STENCIL + int(np.ceil(3 * max(sigmas)))
    filled = np.full(data.shape, np.nan, dtype=data.dtype)
    crops = [_cut_out(data, hole, margin) for hole in holes(mask)]
    crops = [crop for crop in crops if crop.known.any()]
    for batch in _batches(sorted(crops, key=lambda crop: crop.values.shape[0])):
        places, shape = _shelves(batch)
        values, unknown, known = _mosaic(batch, places, shape)
        values = _smooth_ring(values, unknown, known, sigmas)
        solved = _solve(values, unknown, batch[0].touches)
        for crop, place in zip(batch, places, strict=True):
            member = crop.hole.member
            filled[crop.hole.box][member] = solved[place][crop.inner][member]
    return filled


def _cut_out(data: np.ndarray, hole: Hole, margin: int) -> _Crop:
    """Cut a hole out with its surroundings."""
    box = grow_box(hole.box, margin, data.shape)
    inner = inner_box(hole.box, box)
    values = data[box].astype(float)
    member = np.zeros(values.shape, dtype=bool)
    member[inner] = hole.member
    known = np.isfinite(values) & ~member
    unknown = member
    if known.any() and not (known | member).all():
        values, unknown = _substitute(values, known, member)
    values[member] = 0.0
    touches = tuple(
        (part.start < STENCIL, part.stop > length - STENCIL)
        for part, length in zip(hole.box, data.shape, strict=True)
    )
    crop = _Crop(hole, values, unknown, known, inner, touches)
    return crop if np.any(touches) else _fill_margin(crop, box, margin)


def _substitute(
    values: np.ndarray, known: np.ndarray, member: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """
    Replace bad pixels around a hole.

    Those beside the hole are unknowns too. Those farther off only bound
    these, and the nearest good value is enough for them.
    """
    from scipy.ndimage import distance_transform_edt

    near = distance_transform_edt(~member) <= 2 * STENCIL
    index = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return values[tuple(index)], ~known & near


def _fill_margin(crop: _Crop, box: Box, margin: int) -> _Crop:
    """Give a crop that ends at the frame's edge its full margin."""
    pads = [
        (margin - (part.start - outer.start), margin - (outer.stop - part.stop))
        for part, outer in zip(crop.hole.box, box, strict=True)
    ]
    if not np.any(pads):
        return crop
    arrays = (np.pad(part, pads) for part in crop[1:4])
    inner = tuple(slice(margin, margin + length) for length in crop.hole.member.shape)
    return _Crop(crop.hole, *arrays, inner, crop.touches)


def _batches(crops: list[_Crop]) -> Iterator[list[_Crop]]:
    """Yield as many crops at a time as fit on a mosaic."""
    batch, pixels = [], 0
    for crop in crops:
        if np.any(crop.touches):
            # The equations at the edge are scikit-image's, who must see it.
            yield [crop]
            continue
        if batch and pixels + crop.values.size > MOSAIC_PIXELS:
            yield batch
            batch, pixels = [], 0
        batch.append(crop)
        pixels += crop.values.size
    if batch:
        yield batch


def _shelves(crops: list[_Crop]) -> tuple[list[Box], tuple[int, int]]:
    """Place crops sorted by height in rows of about a square mosaic."""
    if len(crops) == 1:
        shape = crops[0].values.shape
        return [tuple(slice(0, length) for length in shape)], shape
    total = sum(crop.values.size for crop in crops)
    width = max(int(np.sqrt(total)), *(crop.values.shape[1] for crop in crops))
    places, y, x, shelf = [], 0, 0, 0
    for crop in crops:
        height, length = crop.values.shape
        if x + length > width:
            y, x, shelf = y + shelf, 0, 0
        places.append((slice(y, y + height), slice(x, x + length)))
        x += length
        shelf = max(shelf, height)
    return places, (y + shelf, width)


def _mosaic(
    crops: list[_Crop], places: list[Box], shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Put values, unknown and known pixels of the crops in their places."""
    parts = np.zeros(shape), np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for crop, place in zip(crops, places, strict=True):
        for whole, part in zip(parts, crop[1:4], strict=True):
            whole[place] = part
    return parts


def _solve(values: np.ndarray, unknown: np.ndarray, touches: tuple) -> np.ndarray:
    """Call scikit-image without its clipping to the range of the known."""
    from skimage.restoration import inpaint_biharmonic

    free = [(axis, end) for axis in (0, 1) for end in (1, 0) if not touches[axis][end]]
    if not free:
        # The hole is as large as the frame: there is no place for the limits.
        return inpaint_biharmonic(values, unknown)
    axis, end = free[0]
    low, high = values.min(), values.max()
    room = 1e3 * (high - low) + 1.0
    # Two rows beyond the margin of the hole, so that no equation sees them.
    shape = list(values.shape)
    shape[axis] = 2
    limits = np.full(shape, low - room)
    limits[(slice(None),) * axis + (1,)] = high + room
    nothing = np.zeros(shape, dtype=bool)
    order = slice(None, None, 1 if end else -1)
    padded = np.concatenate([values, limits][order], axis=axis)
    holes_of = np.concatenate([unknown, nothing][order], axis=axis)
    solved = inpaint_biharmonic(padded, holes_of)
    cut = slice(0, -2) if end else slice(2, None)
    return solved[(slice(None),) * axis + (cut,)]


def _smooth_ring(
    values: np.ndarray,
    unknown: np.ndarray,
    known: np.ndarray,
    sigmas: tuple[float, ...],
) -> np.ndarray:
    """
    Replace the pixels that bound the holes by local straight planes.

    The width is the one with the least expected error, by Mallows' estimate
    from the residuals, the leverage and the noise; none is a candidate.
    """
    from scipy.ndimage import binary_dilation

    if max(sigmas) == 0:
        return values
    ring = binary_dilation(unknown, np.ones((3, 3)), iterations=STENCIL) & known
    variance = pixel_noise(values, known) ** 2
    best, result = variance, values
    for sigma in sigmas:
        fit, leverage = _local_plane(values, known, ring, sigma)
        risk = np.mean((fit - values[ring]) ** 2 - variance * (1 - 2 * leverage))
        if len(sigmas) == 1 or risk < best:
            best, result = risk, values.copy()
            result[ring] = fit
    return result


def _local_plane(
    values: np.ndarray, known: np.ndarray, ring: np.ndarray, sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a plane around every pixel of a ring with Gaussian weights."""
    from scipy.ndimage import correlate1d

    radius = int(np.ceil(3 * sigma))
    offset = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offset / sigma) ** 2)
    powers = [kernel, kernel * offset, kernel * offset**2]

    def moment(image: np.ndarray, i: int, j: int) -> np.ndarray:
        columns = correlate1d(image, powers[i], axis=0, mode='constant')
        return correlate1d(columns, powers[j], axis=1, mode='constant')[ring]

    weight, image = known.astype(float), np.where(known, values, 0.0)
    orders = [(0, 0), (1, 0), (0, 1)]
    matrix = np.empty((int(ring.sum()), 3, 3))
    for a, (i, j) in enumerate(orders):
        for b, (k, m) in enumerate(orders[a:], start=a):
            matrix[:, a, b] = matrix[:, b, a] = moment(weight, i + k, j + m)
    right = np.stack([moment(image, i, j) for i, j in orders], axis=-1)
    matrix[:, range(3), range(3)] += 1e-9 * matrix[:, :1, 0]
    inverse = np.linalg.inv(matrix)[:, 0]
    return (inverse * right).sum(-1), inverse[:, 0]
