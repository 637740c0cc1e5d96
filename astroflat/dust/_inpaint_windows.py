# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Take a mask of holes apart into pieces that can be filled one by one."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ['Box', 'Hole', 'cells', 'grow_box', 'holes', 'inner_box']

Box = tuple[slice, slice]

#: A hole longer than this many depths, and pixels, is filled in cells.
CELL_DEPTHS, CELL_PIXELS = 4, 32


class Hole(NamedTuple):
    """
    Pixels that belong together.

    Attributes
    ----------
    box : tuple of two slices
        The bounding box in the frame.

    member : `~numpy.ndarray` of bool
        The pixels of the hole in the box.
    """

    box: Box
    member: np.ndarray

    @property
    def depth(self) -> float:
        """The largest distance of a pixel of the hole from its edge."""
        from scipy.ndimage import distance_transform_edt

        return float(distance_transform_edt(np.pad(self.member, 1)).max())


def holes(mask: np.ndarray) -> Iterator[Hole]:
    """
    Yield the holes of a mask.

    Parameters
    ----------
    mask : `~numpy.ndarray` of bool
        The pixels to fill.

    Yields
    ------
    hole : Hole
        Pixels with less than two good pixels between them are one hole,
        because a biharmonic stencil couples them.
    """
    from scipy.ndimage import find_objects, label, maximum_filter

    if not mask.any():
        return
    square = np.ones((3, 3))
    labels, _ = label(maximum_filter(mask, 3, mode='constant'), square)
    labels[~mask] = 0
    for number, box in enumerate(find_objects(labels), start=1):
        yield Hole(box, labels[box] == number)


def grow_box(box: Box, margin: int, shape: tuple[int, int]) -> Box:
    """
    Return a box with a margin, cut off at the edges of the frame.

    Parameters
    ----------
    box : tuple of two slices
        The box.

    margin : int
        The margin in pixels.

    shape : tuple of int
        The shape of the frame.

    Returns
    -------
    box : tuple of two slices
        The larger box.
    """
    return tuple(
        slice(max(part.start - margin, 0), min(part.stop + margin, length))
        for part, length in zip(box, shape, strict=True)
    )


def inner_box(box: Box, outer: Box) -> Box:
    """
    Return a box in the coordinates of a larger one.

    Parameters
    ----------
    box, outer : tuple of two slices
        The box and the box around it, in the frame.

    Returns
    -------
    inner : tuple of two slices
        The box as seen from the corner of ``outer``.
    """
    return tuple(
        slice(part.start - around.start, part.stop - around.start)
        for part, around in zip(box, outer, strict=True)
    )


def cells(hole: Hole, depth: float) -> Iterator[tuple[Hole, np.ndarray]]:
    """
    Cut a hole that is much longer than deep into overlapping cells.

    Parameters
    ----------
    hole : Hole
        The hole.

    depth : float
        Its depth.

    Yields
    ------
    cell : Hole
        A part of the hole, its box in the frame.

    weight : `~numpy.ndarray`
        Positive weights of the cell's box, to average the cells with.
    """
    side = int(max(CELL_DEPTHS * depth, CELL_PIXELS))
    parts = [_cut(length, side) for length in hole.member.shape]
    for y, wy in parts[0]:
        for x, wx in parts[1]:
            member = hole.member[y, x]
            if member.any():
                box = _shift(y, hole.box[0].start), _shift(x, hole.box[1].start)
                yield Hole(box, member), wy[:, None] * wx


def _cut(length: int, side: int) -> list[tuple[slice, np.ndarray]]:
    """Return overlapping intervals with weights that fall towards their ends."""
    if length <= 2 * side:
        return [(slice(0, length), np.ones(length))]
    count = -(-length // side)
    edges = np.linspace(0, length, count + 1).round().astype(int)
    lap = side // 4
    intervals = []
    for start, stop in pairwise(edges):
        part = slice(max(start - lap, 0), min(stop + lap, length))
        place = np.arange(part.start, part.stop) + 0.5
        rise = np.minimum(place - (start - lap), (stop + lap) - place) / (2 * lap)
        intervals.append((part, np.clip(rise, 1e-3, 1.0)))
    return intervals


def _shift(part: slice, offset: int) -> slice:
    return slice(part.start + offset, part.stop + offset)
