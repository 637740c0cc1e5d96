# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What the network of the dust sees of a frame at one bin, and what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from astroflat.neural._cells import (
    BLOCK,
    frame_level,
    noise_channel,
    sorted_groups,
    stretch,
)
from astroflat.neural._strips import per_strip, run_strips
from astroflat.neural._symmetry import N_WAYS, turn, turn_back
from astroflat.neural._tile_plan import round_up
from astroflat.neural.tiles import apply_tiled, choose_tile

if TYPE_CHECKING:
    from astroflat.neural._bins import Bins
    from astroflat.neural.runtime import Session

__all__ = ['run_level']

# Turning the frame eight ways costs eight times as much: done on small bins only.
_TURNED = 512**2
# The sides of the input of the network are multiples of this number of cells.
_MULTIPLE = 8


def run_level(
    bins: Bins, session: Session, factor: int, halo: int
) -> tuple[np.ndarray, ...] | None:
    """
    Run the network on a frame in bins.

    Parameters
    ----------
    bins : Bins
        The frame without its smooth fields.

    session : `~astroflat.neural.Session`
        The network.

    factor : int
        Pixels along a bin.

    halo : int
        How many cells the network looks to each side.

    Returns
    -------
    tuple of `~numpy.ndarray` or None
        log D, its standard deviation and the log odds of dust, on 2 x 2 bins;
        None without light, or for less than two cells.
    """
    binned, holes = bins.at(factor)
    level = frame_level(binned if holes is None else binned[~holes])
    if not level > 0 or min(binned.shape) < 2 * BLOCK:
        return None
    relative = per_strip(lambda part: part / np.float32(level) - 1, binned)
    good = None
    if holes is not None:
        relative[holes] = 0
        good = _continued(~holes)
    relative = _continued(relative)
    n_ways = N_WAYS if binned.size <= _TURNED else 1
    out = None
    for way in range(n_ways):
        image, mask = turn(relative, way), None if good is None else turn(good, way)
        cells = _describe(image, mask)
        part = turn_back(_run(cells, image.shape, session, halo), way) / np.float32(
            n_ways
        )
        out = part if out is None else out + part
    rows, columns = (-(-size // 2) for size in binned.shape)
    value, log_sigma, logit = out[:, :rows, :columns]
    return value, np.exp(np.clip(log_sigma, -12.0, 3.0)), logit


def _continued(image: np.ndarray) -> np.ndarray:
    """Mirror an image at its far borders, to whole cells."""
    pad = [(0, -size % BLOCK) for size in image.shape]
    return np.pad(image, pad, mode='reflect') if np.any(pad) else image


def _run(
    cells: np.ndarray, shape: tuple[int, int], session: Session, halo: int
) -> np.ndarray:
    """Run the network, in tiles where the frame is large; return 2 x 2 bins."""
    tile = choose_tile(halo=halo, multiple=_MULTIPLE)
    if max(cells.shape[1:]) <= tile:
        found = session.run({'cells': cells[None]})['dust'][0]
    else:
        found = apply_tiled(
            lambda tiles: session.run({'cells': tiles})['dust'],
            cells,
            tile=tile,
            halo=halo,
            multiple=_MULTIPLE,
            scale=2,
            out_channels=3,
        )
    return found[:, : shape[0] // 2, : shape[1] // 2]


def _describe(relative: np.ndarray, good: np.ndarray | None) -> np.ndarray:
    """Return the input of the network, 34 channels of cells, mirrored to multiples."""
    h, w = (size // BLOCK for size in relative.shape)
    sides = [round_up(n, _MULTIPLE) for n in (h, w)]
    out = np.empty((2 * BLOCK**2 + 2, *sides), np.float32)

    def fill(rows: slice) -> None:
        pixels = slice(BLOCK * rows.start, BLOCK * rows.stop)
        part, cells = stretch(relative[pixels]), out[:, rows, :w]
        for i in range(BLOCK**2):
            cells[i] = part[i // BLOCK :: BLOCK, i % BLOCK :: BLOCK]
        cells[BLOCK**2 : -2] = sorted_groups(part, BLOCK)
        cells[-2] = 1
        if good is not None:
            share = good[pixels].reshape(-1, BLOCK, w, BLOCK).mean(axis=(1, 3))
            cells[:-2] *= share > 0
            cells[-2] = share

    run_strips(fill, (h, w * BLOCK**2))
    out[-1, :h, :w] = noise_channel(out[BLOCK**2 : -2, :h, :w], out[-2, :h, :w])
    out[:, h:, :w] = out[:, _mirrored(h, sides[0]), :w]
    out[:, :, w:] = out[:, :, _mirrored(w, sides[1])]
    return out


def _mirrored(size: int, padded: int) -> np.ndarray:
    """Return which cells stand behind the last one."""
    period = max(2 * size - 2, 1)
    cells = np.arange(size, padded) % period
    return np.minimum(cells, period - cells)
