# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Boxes and polygons in JSON, checked number by number, drawn at full resolution.

The text comes from outside. Its size, the number of objects and vertices and
the area to be drawn are limited before anything is done with them.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from astroflat.genai._keys import clean_text
from astroflat.genai._prompts import KINDS
from astroflat.genai.errors import GeminiMalformedError

__all__ = ['Shape', 'draw_shapes', 'fill_polygon', 'parse_shapes']

_LONGEST_TEXT = 4 * 2**20
_MOST_OBJECTS = 5000
_MOST_VERTICES = 5000
_MOST_VERTICES_ALTOGETHER = 50_000
# The boxes of all objects together cover at most so many frames.
_MOST_FRAMES = 60
# Models overshoot the frame a little.
_SLACK = 20.0
_FULL = 1000.0
# Round things do not fill their box.
_ROUND = {'disc', 'donut', 'speck'}


@dataclass(frozen=True)
class Shape:
    """
    An object of the answer.

    Parameters
    ----------
    kind : str
        One of 'disc', 'donut', 'speck', 'fibre'.

    box : tuple of float
        ``ymin, xmin, ymax, xmax`` in thousandths of the frame.

    confidence : float
        From 0 to 1.

    polygon : `~numpy.ndarray` or None, optional
        The outline, ``(n, 2)``, y and x in thousandths of the frame.
    """

    kind: str
    box: tuple[float, float, float, float]
    confidence: float
    polygon: np.ndarray | None = None


def parse_shapes(text: str) -> list[Shape]:
    """
    Read the answer and check it against the schema.

    Parameters
    ----------
    text : str
        JSON, maybe in a Markdown fence.

    Returns
    -------
    shapes : list of Shape
        The objects.

    Raises
    ------
    GeminiMalformedError
        With the place and the value of what is wrong.
    """
    if len(text) > _LONGEST_TEXT:
        _complain(f'{len(text)} characters are more than any list of dust takes')
    try:
        content = json.loads(_bare(text), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        start = clean_text(text, longest=60)
        msg = f'the answer is not JSON: {clean_text(error, longest=100)}: {start!r}'
        raise GeminiMalformedError(msg) from None
    objects = content.get('objects') if isinstance(content, dict) else None
    if not isinstance(objects, list):
        _complain('it has no list "objects"')
    if len(objects) > _MOST_OBJECTS:
        _complain(f'{len(objects)} objects; {_MOST_OBJECTS} is the limit')
    shapes = [_shape(item, f'objects[{i}]') for i, item in enumerate(objects)]
    vertices = sum(0 if s.polygon is None else len(s.polygon) for s in shapes)
    if vertices > _MOST_VERTICES_ALTOGETHER:
        _complain(f'{vertices} vertices; {_MOST_VERTICES_ALTOGETHER} is the limit')
    return shapes


def _bare(text: str) -> str:
    """Take the fence off that models put around JSON."""
    text = text.strip()
    if text.startswith('```') and text.endswith('```'):
        text = text[3:-3].removeprefix('json')
    return text


def _no_constant(name: str) -> NoReturn:
    msg = f'{name} is no coordinate'
    raise ValueError(msg)


def _complain(text: str) -> NoReturn:
    msg = f'the answer does not fit the schema: {text}'
    raise GeminiMalformedError(msg)


def _shape(item: Any, where: str) -> Shape:
    """Read one object."""
    if not isinstance(item, dict):
        _complain(f'{where} is no object')
    kind = item.get('kind')
    if kind not in KINDS:
        _complain(f'{where}.kind is {clean_text(repr(kind), longest=40)}')
    box = item.get('box_2d')
    if not isinstance(box, list) or len(box) != 4:
        _complain(f'{where}.box_2d is not [ymin, xmin, ymax, xmax]')
    box = tuple(_coordinate(v, f'{where}.box_2d[{i}]') for i, v in enumerate(box))
    if not (box[0] <= box[2] and box[1] <= box[3]):
        _complain(f'{where}.box_2d is {list(box)}: the minima exceed the maxima')
    confidence = _number(item.get('confidence', 1.0), f'{where}.confidence')
    if not 0 <= confidence <= 1:
        _complain(f'{where}.confidence is {confidence:g}, not 0 to 1')
    polygon = item.get('polygon')
    if polygon is not None and polygon != []:
        polygon = _polygon(polygon, f'{where}.polygon')
    else:
        polygon = None
    return Shape(kind, box, confidence, polygon)


def _polygon(vertices: Any, where: str) -> np.ndarray:
    """Read an outline."""
    if not isinstance(vertices, list) or not 3 <= len(vertices) <= _MOST_VERTICES:
        _complain(f'{where} is no list of 3 to {_MOST_VERTICES} points')
    points = []
    for i, point in enumerate(vertices):
        if not isinstance(point, list) or len(point) != 2:
            _complain(f'{where}[{i}] is not [y, x]')
        points.append([_coordinate(v, f'{where}[{i}]') for v in point])
    return np.array(points)


def _number(value: Any, where: str) -> float:
    """Read a finite number; True is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        _complain(f'{where} is {clean_text(repr(value), longest=40)}, not a number')
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        _complain(f'{where} is not finite')
    return number


def _coordinate(value: Any, where: str) -> float:
    """Read a coordinate, from 0 to 1000 with a little slack."""
    number = _number(value, where)
    if not -_SLACK <= number <= _FULL + _SLACK:
        _complain(f'{where} is {number:g}, outside 0 to 1000')
    return min(max(number, 0.0), _FULL)


def draw_shapes(shapes: list[Shape], shape: tuple[int, int]) -> np.ndarray:
    """
    Draw objects on a frame.

    Parameters
    ----------
    shapes : list of Shape
        The objects.

    shape : tuple of int
        The frame, ``(ny, nx)``.

    Returns
    -------
    probability : `~numpy.ndarray` of float32
        The confidence of the surest object on each pixel, 0 off them. A
        round object without an outline is the ellipse in its box, and each
        has at least one pixel.

    Raises
    ------
    GeminiMalformedError
        If the boxes of all objects cover the frame many times over.
    """
    probability = np.zeros(shape, dtype=np.float32)
    outlines = [_outline(s) for s in shapes]
    area = sum(float(np.ptp(o[:, 0]) * np.ptp(o[:, 1])) for o in outlines)
    if area > _MOST_FRAMES * _FULL**2:
        _complain(f'its objects cover the frame {area / _FULL**2:.0f} times over')
    for item, outline in zip(shapes, outlines, strict=True):
        # The edges of the frame are at -0.5 and n - 0.5.
        points = outline * (np.array(shape) / _FULL) - 0.5
        box, inside = fill_polygon(points, shape)
        view = probability[box]
        view[inside] = np.maximum(view[inside], np.float32(item.confidence))
        y, x = (
            int(np.clip(round(c), 0, n - 1))
            for c, n in zip((points.min(0) + points.max(0)) / 2, shape, strict=True)
        )
        if not inside.any():
            probability[y, x] = max(probability[y, x], np.float32(item.confidence))
    return probability


def _outline(item: Shape) -> np.ndarray:
    """Return the outline of an object."""
    if item.polygon is not None:
        return item.polygon
    y0, x0, y1, x1 = item.box
    if item.kind in _ROUND:
        angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        centre = np.array([y0 + y1, x0 + x1]) / 2
        return centre + np.stack(
            [(y1 - y0) / 2 * np.sin(angle), (x1 - x0) / 2 * np.cos(angle)], axis=-1
        )
    return np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]])


def fill_polygon(
    points: np.ndarray, shape: tuple[int, int]
) -> tuple[tuple[slice, slice], np.ndarray]:
    """
    Find the pixels whose centres are inside a polygon, by the even-odd rule.

    Parameters
    ----------
    points : `~numpy.ndarray`
        The vertices, ``(n, 2)``, y and x in pixels.

    shape : tuple of int
        The frame, ``(ny, nx)``.

    Returns
    -------
    box : tuple of slice
        The part of the frame that holds it.

    inside : `~numpy.ndarray` of bool
        The pixels in it, in that part.

    Notes
    -----
    Each edge toggles, in every row that it crosses, all pixels to its right.
    The time grows with the rows that the edges cross and the area of the
    box, not with their product.
    """
    lower = np.clip(np.ceil(points.min(0)), 0, shape).astype(int)
    upper = np.clip(np.floor(points.max(0)) + 1, lower, shape).astype(int)
    box = tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))
    ny, nx = upper - lower
    toggled = np.zeros((ny, nx + 1), dtype=bool)
    ends = np.roll(points, -1, axis=0)
    for (y0, x0), (y1, x1) in zip(points, ends, strict=True):
        first, last = (int(np.ceil(v)) for v in sorted((y0, y1)))
        rows = np.arange(max(first, lower[0]), min(last, upper[0]))
        if not rows.size:
            continue
        cross = np.ceil(x0 + (rows - y0) * ((x1 - x0) / (y1 - y0)))
        columns = np.clip(cross - lower[1], 0, nx).astype(int)
        toggled[rows - lower[0], columns] ^= True
    return box, np.logical_xor.accumulate(toggled, axis=1)[:, :nx]
