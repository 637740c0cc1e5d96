# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Boxes and polygons: read strictly, drawn exactly, in bounded time.
"""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astroflat.genai import GeminiMalformedError
from astroflat.genai._prompts import SHAPES_SCHEMA
from astroflat.genai._shapes import Shape, draw_shapes, fill_polygon, parse_shapes


def one(**changes):
    """Return the text of an answer with one object."""
    item = {'kind': 'disc', 'box_2d': [1, 2, 3, 4], 'confidence': 0.5} | changes
    return json.dumps({'objects': [item]})


def test_recorded_answer():
    """The shape in which models answer, with and without the fence."""
    text = """{"objects": [
      {"kind": "donut", "box_2d": [105, 220, 143, 248], "confidence": 0.95},
      {"kind": "fibre", "box_2d": [500, 500, 600, 700], "confidence": 0.4,
       "polygon": [[500, 500], [502, 500], [600, 698.5], [598, 700]]}
    ]}"""
    for wrapped in (text, f'```json\n{text}\n```', f'\n```\n{text}```\n'):
        first, second = parse_shapes(wrapped)
        assert first == Shape('donut', (105.0, 220.0, 143.0, 248.0), 0.95)
        assert second.polygon[2].tolist() == [600.0, 698.5]


def test_no_dust():
    """No object is an answer too."""
    assert parse_shapes('{"objects": []}') == []
    assert not draw_shapes([], (5, 7)).any()


HOSTILE = {
    'prose': 'There is no dust.',
    'number': '3',
    'list': '[]',
    'nothing': '{}',
    'null objects': '{"objects": null}',
    'not objects': '{"objects": [3]}',
    'kind': one(kind='../../etc/passwd'),
    'kind type': one(kind=['disc']),
    'box short': one(box_2d=[1, 2, 3]),
    'box text': one(box_2d=['1', '2', '3', '4']),
    'box bool': one(box_2d=[True, 2, 3, 4]),
    'box null': one(box_2d=None),
    'box swapped': one(box_2d=[3, 2, 1, 4]),
    'negative': one(box_2d=[-500, 0, 10, 10]),
    'pixels': one(box_2d=[100, 200, 1500, 3000]),
    'nan': '{"objects": [{"kind": "disc", "box_2d": [NaN, 1, 2, 3]}]}',
    'infinity': '{"objects": [{"kind": "disc", "box_2d": [-Infinity, 1, 2, 3]}]}',
    '1e999': '{"objects": [{"kind": "disc", "box_2d": [0, 1, 1e999, 3]}]}',
    'huge integer': '{"objects": [{"kind": "disc", "box_2d": [0, 1, 1'
    + '0' * 4000
    + ', 3]}]}',
    'longer integer': '{"objects": [{"kind": "disc", "box_2d": [0, 1, 1'
    + '0' * 9000
    + ', 3]}]}',
    'confidence': one(confidence=7),
    'confidence text': one(confidence='high'),
    'two points': one(polygon=[[1, 1], [2, 2]]),
    'point of three': one(polygon=[[1, 1], [2, 2], [3, 3, 3]]),
    'polygon text': one(polygon='M 0 0 L 1 1 Z'),
    'polygon flat': one(polygon=[1, 2, 3, 4, 5, 6]),
    'vertices': one(polygon=[[i % 7, i % 11] for i in range(6000)]),
    'objects': json.dumps(
        {'objects': [{'kind': 'disc', 'box_2d': [1, 2, 3, 4]}] * 5001}
    ),
    'deep': '{"objects": ' + '[' * 100_000,
    'long': ' ' * 5_000_000 + '{"objects": []}',
    'cut off': one()[:-10],
}


@pytest.mark.parametrize('kind', HOSTILE)
def test_hostile(kind):
    """Anything else is refused with a short, printable reason, at once."""
    start = time.monotonic()
    with pytest.raises(GeminiMalformedError) as info:
        parse_shapes(HOSTILE[kind])
    assert time.monotonic() - start < 3
    assert str(info.value).isprintable()
    assert len(str(info.value)) < 300


def test_many_vertices_altogether():
    """Many polygons, each just small enough, are too many."""
    polygon = [[i % 900, (7 * i) % 900] for i in range(4999)]
    item = {'kind': 'disc', 'box_2d': [0, 0, 9, 9], 'polygon': polygon}
    with pytest.raises(GeminiMalformedError, match='vertices'):
        parse_shapes(json.dumps({'objects': [item] * 11}))


def test_giant_objects():
    """Objects that cover the frame many times over are not even drawn."""
    shapes = [Shape('fibre', (0.0, 0.0, 1000.0, 1000.0), 0.5)] * 61
    start = time.monotonic()
    with pytest.raises(GeminiMalformedError, match='times over'):
        draw_shapes(shapes, (4000, 6000))
    assert time.monotonic() - start < 2


def test_worst_polygon_is_quick():
    """The most vertices allowed, crossing every row, on a large frame."""
    n = 5000
    zigzag = np.stack(
        [np.where(np.arange(n) % 2, 1000.0, 0.0), np.linspace(0, 1000, n)], axis=-1
    )
    start = time.monotonic()
    drawn = draw_shapes([Shape('fibre', (0, 0, 1000, 1000), 1.0, zigzag)], (1500, 2000))
    assert time.monotonic() - start < 10
    assert 0.3 < drawn.mean() < 0.7


def test_slack():
    """A little over the edge is the edge."""
    (shape,) = parse_shapes(one(box_2d=[-3, 0, 10, 1012]))
    assert shape.box == (0.0, 0.0, 10.0, 1000.0)


@given(
    st.lists(st.tuples(st.floats(-30, 50), st.floats(-30, 60)), min_size=3, max_size=12)
)
def test_polygon_against_skimage(points):
    """The pixels are those of an independent test of points in polygons."""
    from skimage.measure import points_in_poly

    # Vertices off the grid: on an edge, both answers are right.
    points = np.round(np.array(points), 2) + 0.0031
    shape = (20, 30)
    box, inside = fill_polygon(points, shape)
    drawn = np.zeros(shape, dtype=bool)
    drawn[box] = inside
    grid = np.argwhere(np.ones(shape, dtype=bool)).astype(float)
    # Not every rounded polygon stays clear of every centre.
    near = edge_distance(grid, points) < 1e-6
    expected = points_in_poly(grid, points)
    assert ((drawn.ravel() == expected) | near).all()


def edge_distance(grid, points):
    """Return the distance of each point to the nearest edge."""
    nearest = np.full(len(grid), np.inf)
    for a, b in zip(points, np.roll(points, -1, axis=0), strict=True):
        along = b - a
        t = np.clip(((grid - a) @ along) / max(along @ along, 1e-30), 0, 1)
        nearest = np.minimum(nearest, np.hypot(*(grid - a - t[:, None] * along).T))
    return nearest


def test_ellipse():
    """A round object is the ellipse in its box, at full resolution."""
    ny, nx = 400, 1000
    drawn = draw_shapes([Shape('disc', (250, 300, 500, 360), 0.75)], (ny, nx))
    y, x = np.mgrid[:ny, :nx] + 0.5
    inside = ((y - 150) / 50) ** 2 + ((x - 330) / 30) ** 2 < 1
    assert np.isclose(drawn.max(), 0.75)
    assert abs((drawn > 0).sum() / inside.sum() - 1) < 0.01
    # 64 chords cut off 1.2 thousandths of the radius.
    assert ((drawn > 0) != inside).sum() < 40


def test_rectangle_and_pixel_edges():
    """The edges of the frame are the edges of its outer pixels."""
    whole = draw_shapes([Shape('fibre', (0, 0, 1000, 1000), 1.0)], (7, 9))
    assert (whole == 1).all()
    half = draw_shapes([Shape('fibre', (0, 0, 1000, 500), 1.0)], (4, 10))
    assert (half[:, :5] == 1).all()
    assert not half[:, 5:].any()


@pytest.mark.parametrize(
    'box', [(500, 500, 500, 500), (0, 0, 0, 0), (999, 1000, 1000, 1000)]
)
def test_smallest_object(box):
    """An object smaller than a pixel is one pixel."""
    assert draw_shapes([Shape('speck', box, 1.0)], (11, 13)).sum() == 1


def test_surest_counts():
    """Where objects overlap, the surer one counts."""
    a = Shape('fibre', (0, 0, 600, 1000), 0.3)
    b = Shape('fibre', (400, 0, 1000, 1000), 0.9)
    for order in ([a, b], [b, a]):
        drawn = draw_shapes(order, (10, 2))
        assert np.allclose(drawn[:, 0], [0.3] * 4 + [0.9] * 6)


def test_schema_is_of_the_subset():
    """The schema uses only what the service knows, and describes the reader."""
    allowed = {
        'type', 'properties', 'items', 'enum', 'minimum', 'maximum', 'minItems',
        'maxItems', 'required',
    }  # fmt: skip

    def check(node):
        assert set(node) <= allowed
        for child in node.get('properties', {}).values():
            check(child)
        if 'items' in node:
            check(node['items'])

    check(SHAPES_SCHEMA)
    item = SHAPES_SCHEMA['properties']['objects']['items']
    assert item['required'] == ['kind', 'box_2d', 'confidence']
    parse_shapes(one(kind=item['properties']['kind']['enum'][-1]))
