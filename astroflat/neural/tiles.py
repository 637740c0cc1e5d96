# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A network over a frame of any size, tile by tile, as if it were done at once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from astroflat.neural._tile_plan import as_scale, check_counts, plan_tiles, round_up
from astroflat.neural._tile_store import (
    TileStore,
    cut_tiles,
    group_tiles,
    tile_origins,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from fractions import Fraction


__all__ = ['apply_tiled', 'choose_tile', 'overlap_cost', 'tile_memory']

# What the halos may cost by default, and the smallest default tile.
_COST = 1.35
_SMALLEST = 512


def apply_tiled(
    function: Callable[..., np.ndarray],
    array: np.ndarray,
    *,
    tile: int | None = None,
    halo: int = 0,
    multiple: int = 1,
    batch: int = 1,
    out_channels: int | None = None,
    scale: float | Fraction = 1,
    blend: bool = False,
    with_origin: bool = False,
    out: np.ndarray | None = None,
    progress: bool | Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """
    Apply a function to a frame, tile by tile.

    Parameters
    ----------
    function : callable
        Takes a float32 array ``(batch, channels, rows, columns)`` and returns
        ``(batch, out_channels, rows * scale, columns * scale)``.

    array : `~numpy.ndarray`
        ``(channels, rows, columns)``. Anything that can be sliced, such as a
        `numpy.memmap`; tiles are converted to float32 one by one.

    tile : int, optional
        The largest side of the part of a tile that is kept, in pixels. By
        default, what `choose_tile` says.

    halo : int, optional
        The pixels around it that the function has to see: as far as a pixel of
        its output looks.

    multiple : int, optional
        The sides of its input must be multiples of this number. Tiles begin at
        multiples of it too, so that the cells of a network that reduces the
        resolution are the same as in the whole frame.

    batch : int, optional
        How many tiles the function gets at once. All have one size.

    out_channels : int, optional
        The channels that the function returns, if it should be checked.

    scale : float or `fractions.Fraction`, optional
        Pixels of output for each pixel of input along one axis, such as 0.25.

    blend : bool, optional
        Blend the tiles where they overlap instead of cutting them. For functions
        that look further than the halo: there are no seams, but the result is not
        that of the whole frame.

    with_origin : bool, optional
        Call ``function(tiles, origins)``, where ``origins`` holds row and column of
        the first pixel of each tile, for functions that depend on the position.

    out : `~numpy.ndarray`, optional
        Where to write the result.

    progress : bool or callable, optional
        True shows a bar; a function is called with the number of tiles that are
        done and the number of all.

    Returns
    -------
    result : `~numpy.ndarray`
        float32 ``(out_channels, ceil(rows * scale), ceil(columns * scale))``.

    Raises
    ------
    ValueError
        If an argument is out of range, or if the function returns another shape.

    Notes
    -----
    Each kept pixel has ``halo`` real neighbours on all sides, or the border of the
    frame where the frame ends. Only where its size is not a multiple is it continued
    by at most ``multiple - 1`` mirrored pixels, at the last row and column, which is
    what the function would get for the whole frame as well. So a function that looks
    no further than the halo gives the same as on the whole frame, and a constant
    stays constant. Beside ``array`` and the result, `tile_memory` is used.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.neural import apply_tiled
    >>> frame = np.ones((1, 100, 150), np.float32)
    >>> apply_tiled(lambda tiles: 2 * tiles, frame, tile=32, halo=8).shape
    (1, 100, 150)
    """
    if array.ndim != 3:
        msg = f'array has the shape {array.shape}; it must be (channels, rows, columns)'
        raise ValueError(msg)
    check_counts(batch=batch)
    tile = choose_tile(halo=halo, multiple=multiple) if tile is None else tile
    plan = plan_tiles(array.shape, tile=tile, halo=halo, multiple=multiple)
    scale = as_scale(scale, multiple)
    store = TileStore(plan, scale, blend=blend, channels=out_channels, out=out)
    for group in group_tiles(plan, batch, progress):
        tiles = cut_tiles(plan, array, group)
        if with_origin:
            result = function(tiles, tile_origins(plan, group))
        else:
            result = function(tiles)
        store.add(group, np.asarray(result))
    return store.out


def choose_tile(
    *,
    halo: int,
    multiple: int = 1,
    cost: float = _COST,
    memory: float | None = None,
    bytes_per_pixel: float = 0,
) -> int:
    """
    Return the side of tiles whose halos cost no more than this.

    Parameters
    ----------
    halo : int
        The pixels around a tile that the network has to see.

    multiple : int, optional
        The sides of its input must be multiples of this number.

    cost : float, optional
        The pixels that the network may see for each pixel of the frame, for frames
        of any size; what a frame lacks to a multiple comes on top.

    memory : float, optional
        The bytes that the network may use for one tile. They go before the cost.

    bytes_per_pixel : float, optional
        The bytes that it uses for each pixel of its input.

    Returns
    -------
    tile : int
        The side of the part that is kept: a multiple, at least 512 unless the memory
        forbids it.

    Raises
    ------
    ValueError
        If ``cost`` is not above 1, or if the memory does not suffice for any tile.

    Examples
    --------
    >>> from astroflat.neural import choose_tile
    >>> choose_tile(halo=64, multiple=16)
    896
    """
    check_counts(halo=halo, multiple=multiple)
    if not cost > 1:
        msg = f'cost={cost!r}; halos always cost something: give more than 1'
        raise ValueError(msg)
    halo = round_up(halo, multiple)
    # Rounding to multiples adds at most one multiple to each tile but one.
    side = max((2 * halo + multiple) / (math.sqrt(cost) - 1), _SMALLEST)
    tile = round_up(side, multiple)
    if memory is not None and bytes_per_pixel > 0:
        most = math.isqrt(int(memory / bytes_per_pixel)) - 2 * halo
        tile = min(tile, most // multiple * multiple)
        if tile < multiple:
            msg = (
                f'memory={memory:g} bytes do not suffice for a tile with a halo of '
                f'{halo} pixels at {bytes_per_pixel:g} bytes for each pixel'
            )
            raise ValueError(msg)
    return tile


def overlap_cost(
    shape: tuple[int, ...], *, halo: int, tile: int | None = None, multiple: int = 1
) -> float:
    """
    Return the pixels that a network sees, for each pixel of the frame.

    Parameters
    ----------
    shape : tuple of int
        The shape of the frame; the last two axes count.

    halo : int
        The pixels around a tile that the network has to see.

    tile : int, optional
        As in `apply_tiled`.

    multiple : int, optional
        The sides of its input must be multiples of this number.

    Returns
    -------
    cost : float
        At least 1.

    Examples
    --------
    >>> from astroflat.neural import overlap_cost
    >>> round(overlap_cost((4000, 6000), halo=64, multiple=16), 2)
    1.3
    """
    tile = choose_tile(halo=halo, multiple=multiple) if tile is None else tile
    return plan_tiles(shape, tile=tile, halo=halo, multiple=multiple).cost


def tile_memory(
    shape: tuple[int, ...],
    *,
    halo: int,
    tile: int | None = None,
    multiple: int = 1,
    batch: int = 1,
    channels: int = 1,
    out_channels: int = 1,
    scale: float | Fraction = 1,
    bytes_per_pixel: float = 0,
) -> int:
    """
    Return the memory that `apply_tiled` uses beside its input and its result.

    Parameters
    ----------
    shape : tuple of int
        The shape of the frame; the last two axes count.

    halo, tile, multiple, batch
        As in `apply_tiled`.

    channels : int, optional
        The channels of the frame.

    out_channels, scale
        As in `apply_tiled`.

    bytes_per_pixel : float, optional
        The bytes that the network uses for each pixel of its input.

    Returns
    -------
    size : int
        Bytes. It grows with the tile, not with the frame.

    Examples
    --------
    >>> from astroflat.neural import tile_memory
    >>> tile_memory((4000, 6000), halo=0, tile=1000, channels=2, bytes_per_pixel=100)
    112000000
    """
    tile = choose_tile(halo=halo, multiple=multiple) if tile is None else tile
    plan = plan_tiles(shape, tile=tile, halo=halo, multiple=multiple)
    batch = min(batch, len(plan))
    results = out_channels * float(as_scale(scale, multiple)) ** 2
    pixels = batch * plan.rows.window * plan.columns.window
    return math.ceil(pixels * (4 * channels + 4 * results + bytes_per_pixel))
