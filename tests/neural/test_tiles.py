# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the tiles: the same as the whole frame, for any size."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from astroflat.neural import (
    Session,
    apply_tiled,
    choose_tile,
    overlap_cost,
    tile_memory,
)
from astroflat.neural._tile_plan import plan_tiles

RNG = np.random.default_rng(4)
SIDES = st.integers(1, 90)


def box(radius):
    """Return a function: the mean of a square, with zeros beyond the frame."""

    def function(tiles):
        side = 2 * radius + 1
        pad = [(0, 0), (0, 0), (radius, radius), (radius, radius)]
        windows = sliding_window_view(np.pad(tiles, pad), (side, side), axis=(2, 3))
        return windows.mean(axis=(-2, -1), dtype=np.float64)

    return function


def cells(side, *, grow):
    """Return a function: the mean of cells, as cells or grown to pixels again."""

    def function(tiles):
        b, c, ny, nx = tiles.shape
        assert ny % side == nx % side == 0
        blocks = tiles.reshape(b, c, ny // side, side, nx // side, side)
        means = blocks.mean(axis=(3, 5), dtype=np.float64)
        return means.repeat(side, axis=2).repeat(side, axis=3) if grow else means

    return function


def whole(function, frame, multiple, scale=1):
    """Apply a function to the whole frame, mirrored to the next multiple."""
    ny, nx = frame.shape[1:]
    pad = [(0, 0), (0, -ny % multiple), (0, -nx % multiple)]
    result = function(np.pad(frame, pad, mode='reflect')[None])[0]
    return result[:, : -int(-ny * scale // 1), : -int(-nx * scale // 1)]


@settings(max_examples=60)
@given(
    ny=SIDES,
    nx=SIDES,
    radius=st.integers(0, 5),
    spare=st.integers(0, 3),
    multiple=st.sampled_from([1, 2, 3, 8]),
    tile=st.integers(1, 40),
    batch=st.integers(1, 5),
)
def test_tiled_is_untiled(ny, nx, radius, spare, multiple, tile, batch):
    """Any frame in any tiles gives what the whole frame gives."""
    frame = RNG.standard_normal((2, ny, nx)).astype(np.float32)
    options = {'tile': tile, 'halo': radius + spare, 'multiple': multiple}
    found = apply_tiled(box(radius), frame, batch=batch, **options)
    assert (found.dtype, found.shape) == (np.float32, frame.shape)
    expected = whole(box(radius), frame, multiple)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@settings(max_examples=40)
@given(
    ny=SIDES,
    nx=SIDES,
    side=st.sampled_from([2, 4, 8]),
    tile=st.integers(1, 40),
    halo=st.integers(0, 9),
    grow=st.booleans(),
)
def test_cells_stay_where_they_are(ny, nx, side, tile, halo, grow):
    """Tiles begin where cells do, also where the result has the size of cells."""
    frame = RNG.standard_normal((1, ny, nx)).astype(np.float32)
    scale = 1 if grow else 1 / side
    function = cells(side, grow=grow)
    options = {'tile': tile, 'halo': halo, 'multiple': side, 'scale': scale}
    found = apply_tiled(function, frame, **options)
    expected = whole(function, frame, side, Fraction(1, 1 if grow else side))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@given(ny=SIDES, nx=SIDES, tile=st.integers(2, 40), halo=st.integers(0, 9))
def test_finer_result(ny, nx, tile, halo):
    """The result may be finer than the frame."""
    frame = RNG.standard_normal((1, ny, nx)).astype(np.float32)

    def function(tiles):
        return tiles.repeat(3, axis=2).repeat(3, axis=3)

    found = apply_tiled(function, frame, tile=tile, halo=halo, scale=3)
    np.testing.assert_array_equal(found, function(frame[None])[0])


@given(
    ny=SIDES,
    nx=SIDES,
    tile=st.integers(1, 40),
    halo=st.integers(0, 9),
    multiple=st.sampled_from([1, 4]),
    scale=st.sampled_from([1, 0.25, 2]),
    blend=st.booleans(),
)
def test_constant_stays(ny, nx, tile, halo, multiple, scale, blend):
    """A constant is a constant in every pixel, borders included."""
    frame = np.full((1, ny, nx), 1.2345, np.float32)
    multiple = 4 if scale < 1 else multiple

    def function(tiles):
        b, _, h, w = tiles.shape
        return np.full((b, 2, int(h * scale), int(w * scale)), tiles.flat[0])

    options = {'tile': tile, 'halo': halo, 'multiple': multiple, 'scale': scale}
    found = apply_tiled(function, frame, blend=blend, **options)
    assert found.shape == (2, -int(-ny * scale // 1), -int(-nx * scale // 1))
    # Weights in float32 add up to 1 within some units of the last place.
    limit = 2e-6 if blend else 1e-6
    assert np.abs(found / np.float32(1.2345) - 1).max() <= limit


@settings(max_examples=100)
@given(
    size=st.integers(1, 3000),
    tile=st.integers(1, 700),
    halo=st.integers(0, 200),
    multiple=st.integers(1, 64),
)
def test_plan(size, tile, halo, multiple):
    """Tiles cover the axis, each kept pixel sees its halo, none is too large."""
    axis = plan_tiles((size, 1), tile=tile, halo=halo, multiple=multiple).rows
    starts, edges = np.array(axis.starts), np.array(axis.edges)
    assert axis.padded % multiple == 0 <= axis.padded - size < multiple
    assert not (starts % multiple).any()
    assert not (edges % multiple).any()
    assert (starts[0], starts[-1] + axis.window) == (0, axis.padded)
    assert (edges[0], edges[-1]) == (0, axis.padded)
    assert (np.diff(edges) > 0).all()
    assert (edges[1:-1] - starts[1:] >= halo).all()
    assert (starts[:-1] + axis.window - edges[1:-1] >= halo).all()
    up = -(-halo // multiple) * multiple
    most = max(tile // multiple, 1) * multiple + 2 * up
    assert axis.window <= max(most, 0) or len(starts) == 1
    assert axis.window % multiple == 0


@settings(max_examples=100)
@given(size=st.integers(1, 2000), tile=st.integers(1, 300), halo=st.integers(0, 200))
def test_weights(size, tile, halo):
    """Weights are positive and add up to one everywhere."""
    axis = plan_tiles((size, 1), tile=tile, halo=halo, multiple=4).rows
    total = np.zeros(axis.padded)
    for start, weight in zip(axis.starts, axis.weights(Fraction(1)), strict=True):
        assert len(weight) == axis.window
        assert weight.min() > 0
        total[start : start + axis.window] += weight
    np.testing.assert_allclose(total, 1, rtol=1e-14)


@settings(max_examples=200)
@given(
    ny=st.integers(16, 20000),
    nx=st.integers(16, 20000),
    halo=st.integers(0, 300),
    multiple=st.sampled_from([1, 4, 16, 32, 48]),
)
def test_overlap_cost(ny, nx, halo, multiple):
    """By default halos cost at most 35 %, whatever the size of the frame."""
    cost = overlap_cost((ny, nx), halo=halo, multiple=multiple)
    padded = -(-ny // multiple) * -(-nx // multiple) * multiple**2
    assert cost * ny * nx / padded <= 1.35


def test_blend_has_no_seams():
    """Tiles that disagree are joined smoothly; cut ones are not."""
    frame = np.zeros((1, 100, 100), np.float32)

    def biased(tiles, origins):
        return tiles + origins.sum(axis=1)[:, None, None, None] / 100

    options = {'tile': 30, 'halo': 10, 'with_origin': True}
    cut, blended = (
        apply_tiled(biased, frame, blend=blend, **options) for blend in (False, True)
    )
    step = [np.abs(np.diff(image[0], axis=1)).max() for image in (cut, blended)]
    assert step[0] == pytest.approx(0.27)
    assert step[1] < 0.27 / 15
    assert cut.max() == pytest.approx(blended.max())


def test_origins():
    """Functions of the position get absolute positions."""
    frame = np.zeros((1, 50, 70), np.float32)

    def function(tiles, origins):
        y, x = np.indices(tiles.shape[-2:])
        planes = [np.stack([y + oy, x + ox]) for oy, ox in origins]
        return np.stack(planes)

    found = apply_tiled(function, frame, tile=16, halo=4, batch=3, with_origin=True)
    np.testing.assert_array_equal(found, np.indices((50, 70)))


@pytest.mark.parametrize('batch', [1, 4])
def test_network(make_net, batch):
    """A network in batches of tiles gives what it gives for the frame."""
    layers = (
        ('Conv', 6, 3),
        ('Relu',),
        ('AveragePool', 4),
        ('Conv', 6, 3),
        ('Relu',),
        ('ConvTranspose', 6, 4),
        ('Conv', 3, 3),
    )
    session = Session(make_net(layers, channels=2))
    seen = []

    def function(tiles):
        seen.append(tiles.shape)
        return session.run(tiles)['y']

    frame = 1000 + RNG.standard_normal((2, 203, 301)).astype(np.float32)
    found = apply_tiled(function, frame, tile=64, halo=12, multiple=4, batch=batch)
    expected = whole(function, frame, 4)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    assert len({shape[1:] for shape in seen[:-1]}) == 1
    assert max(shape[0] for shape in seen) == batch


def test_a_short_halo_is_seen():
    """The test can fail: a halo that is too short changes the result."""
    frame = RNG.standard_normal((1, 80, 80)).astype(np.float32)
    found = apply_tiled(box(4), frame, tile=20, halo=3)
    assert np.abs(found - whole(box(4), frame, 1)).max() > 1e-3


def test_large_frame():
    """A frame of 400 Mpx costs the memory of its tiles; slices are converted."""
    frame = np.broadcast_to(np.uint16(7), (1, 20000, 20000))
    seen = []

    def function(tiles):
        seen.append(tiles.nbytes)
        assert tiles.dtype == np.float32
        return tiles[..., ::16, ::16]

    options = {'tile': 2000, 'halo': 32, 'multiple': 16, 'scale': 1 / 16}
    found = apply_tiled(function, frame, **options)
    assert found.shape == (1, 1250, 1250)
    assert (found == 7).all()
    del options['scale']
    stated = tile_memory(frame.shape, out_channels=0, **options)
    assert max(seen) == stated <= 4 * 2064**2


@pytest.mark.parametrize('side', [16, 17, 255, 257, 1023])
def test_default_tile(side):
    """The default tile does for small frames and for large ones."""
    frame = RNG.standard_normal((1, side, side)).astype(np.float32)
    found = apply_tiled(box(2), frame, halo=2, multiple=16)
    np.testing.assert_allclose(found, whole(box(2), frame, 16), atol=1e-6)


def test_input_stays():
    """Neither the frame nor an earlier result is written to."""
    frame = RNG.standard_normal((1, 40, 40)).astype(np.float32)
    before = frame.copy()

    def function(tiles):
        tiles *= 2
        return tiles

    found = apply_tiled(function, frame, tile=10, halo=3)
    np.testing.assert_array_equal(frame, before)
    np.testing.assert_array_equal(found, 2 * before)


def test_nan_stays_local():
    """A NaN reaches as far as the function takes it."""
    frame = np.ones((1, 60, 60), np.float32)
    frame[0, 30, 30] = np.nan
    found = apply_tiled(box(2), frame, tile=16, halo=2)
    assert np.isnan(found).sum() == 25


@pytest.mark.parametrize('blend', [False, True])
def test_out(blend):
    """The result goes where it is wanted, whatever was there."""
    frame = RNG.standard_normal((1, 40, 50)).astype(np.float32)
    out = np.full((1, 40, 50), 9, np.float32)
    options = {'tile': 16, 'halo': 4, 'blend': blend}
    assert apply_tiled(box(1), frame, out=out, **options) is out
    np.testing.assert_array_equal(out, apply_tiled(box(1), frame, **options))


def test_progress(capsys):
    """A function is told how far it is; a bar goes to standard error."""
    frame = np.ones((1, 60, 60), np.float32)
    calls = []

    def progress(done, total):
        calls.append((done, total))

    apply_tiled(box(1), frame, tile=20, halo=1, batch=2, progress=progress)
    assert calls == [(2, 9), (4, 9), (6, 9), (8, 9), (9, 9)]
    apply_tiled(box(1), frame, tile=20, halo=1, progress=True)
    assert capsys.readouterr().out == ''


FRAME = np.ones((1, 30, 30), np.float32)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'array': FRAME[0]}, r'array has the shape \(30, 30\)'),
        ({'array': FRAME[:, :0]}, 'no pixels'),
        ({'tile': 0}, 'tile=0'),
        ({'tile': 2.5}, 'tile=2.5'),
        ({'halo': -1}, 'halo=-1'),
        ({'multiple': 0}, 'multiple=0'),
        ({'batch': 0}, 'batch=0'),
        ({'scale': 0.25}, 'scale=0.25'),
        ({'scale': -1}, 'scale=-1'),
        ({'scale': 2}, r'returned the shape \(1, 1, 30, 30\) instead of \(1, 1, 60'),
        ({'out_channels': 2}, r'instead of \(1, 2, 30, 30\)'),
        ({'function': lambda tiles: tiles[0]}, 'returned the shape'),
        ({'out': np.ones((1, 30, 31))}, r'out has the shape \(1, 30, 31\)'),
    ],
)
def test_wrong_arguments(options, words):
    """What is wrong is named."""
    function = options.pop('function', lambda tiles: tiles)
    array = options.pop('array', FRAME)
    with pytest.raises(ValueError, match=words):
        apply_tiled(function, array, **options)


def test_choose_tile():
    """Tiles are as large as the cost demands and as the memory allows."""
    for halo in (8, 64, 200):
        for cost in (1.1, 1.35, 2.0):
            tile = choose_tile(halo=halo, multiple=8, cost=cost)
            assert tile == 512 or ((tile + 2 * halo) / tile) ** 2 <= cost
    assert choose_tile(halo=0) == 512
    small = choose_tile(halo=32, multiple=16, memory=1e8, bytes_per_pixel=1000)
    assert (small + 64) ** 2 * 1000 <= 1e8 < (small + 80) ** 2 * 1000
    with pytest.raises(ValueError, match='do not suffice'):
        choose_tile(halo=500, memory=1e8, bytes_per_pixel=1000)
    with pytest.raises(ValueError, match='cost=1'):
        choose_tile(halo=10, cost=1)


def test_memory_is_of_the_tile():
    """The stated memory does not grow with the frame, but with the batch."""
    options = {'halo': 64, 'multiple': 16, 'channels': 4, 'bytes_per_pixel': 200}
    sizes = [tile_memory((n, n), **options) for n in (3000, 10000, 20000)]
    window = choose_tile(halo=64, multiple=16) + 128
    assert max(sizes) <= window**2 * (4 * 4 + 4 + 200)
    two = tile_memory((3000, 3000), batch=2, **options)
    assert two == 2 * sizes[0]
    assert tile_memory((100, 100), batch=9, **options) < sizes[0]
