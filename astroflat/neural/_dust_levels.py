# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Dust of one frame, from coarse to fine.

The network of the dust knows shadows of 2 to 40 cells. Large frames are binned
until they are as small as the frames of its training; what is found there is
divided out, and finer bins show what is smaller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.neural._cells import (
    BLOCK,
    bin_mean,
    frame_level,
    noise_channel,
    sorted_groups,
    stretch,
)
from astroflat.neural._smooth import enlarge
from astroflat.neural._strips import per_strip
from astroflat.neural._symmetry import N_WAYS, turn, turn_back
from astroflat.neural.tiles import apply_tiled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from astroflat.neural.runtime import Session

__all__ = ['DustField', 'bin_factors', 'find_dust', 'select_objects']

_LARGEST = 512
# Pixels up to which the dust is looked for without binning.
_FINEST = 8_000_000
# Turning the frame eight ways costs eight times as much: done on small bins only.
_TURNED = _LARGEST**2
# What fills a tenth of the frame has to be more significant: clouds do, too.
_LIMITS = {'min_chance': 0.95, 'min_significance': 1.5, 'max_area': 0.1}
# How much more, and the number of times the largest area beyond which nothing is dust.
# On simulated frames set apart for this all such objects above 1.1 times were dust,
# those below 1 were not; a lunar sea and a field of stars of Spitzer reach 1.2.
_SURE, _LARGE = 1.35, 8.0
# Cells beyond the edge of an object in which the network still dims.
_MARGIN = 2


@dataclass(frozen=True)
class DustField:
    """
    Dust of a frame.

    Parameters
    ----------
    log_flat : `~numpy.ndarray`
        log D on the pixels, exactly 0 off the dust.

    sigma : `~numpy.ndarray`
        Standard deviation of log D.

    n_objects : int
        Objects that were accepted.

    n_doubtful : int
        Objects that were seen but not accepted.
    """

    log_flat: np.ndarray
    sigma: np.ndarray
    n_objects: int
    n_doubtful: int


def bin_factors(shape: tuple[int, int]) -> list[int]:
    """
    Return the bins at which dust is looked for.

    Parameters
    ----------
    shape : tuple of int
        Shape of the frame.

    Returns
    -------
    list of int
        Powers of 2, from the one that makes the frame at most 512 wide to 1, or
        to 2 for frames of more than 8 million pixels: what is smaller than two
        bins there can hardly be told from a star's absence, and takes three
        quarters of the time.
    """
    factor = 1
    while max(shape) / factor > _LARGEST:
        factor *= 2
    factors = [factor >> i for i in range(factor.bit_length())]
    return factors[:-1] if shape[0] * shape[1] > _FINEST else factors


def find_dust(
    image: np.ndarray,
    bad: np.ndarray,
    session: Session,
    extra: dict[str, Any],
    *,
    halo: int,
) -> DustField:
    """
    Look for dust.

    Parameters
    ----------
    image : `~numpy.ndarray`
        A copy of the frame without its smooth fields; it is overwritten.

    bad : `~numpy.ndarray` of bool
        Its mask.

    session : `~astroflat.neural.Session`
        The network.

    extra : dict
        The numbers of its calibration: ``min_chance``, ``min_significance`` and
        ``sigma_scale``.

    halo : int
        How many cells the network looks to each side.

    Returns
    -------
    DustField
        The dust.
    """
    log_flat = np.zeros(image.shape, np.float32)
    variance = np.zeros(image.shape, np.float32)
    counts = np.zeros(2, int)
    limits = {
        name: float(extra.get(name, default)) for name, default in _LIMITS.items()
    }
    for i, factor in enumerate(bin_factors(image.shape)):
        found = _one_level(image, bad, session, factor, halo)
        if found is None:
            break
        value, sigma, logit = found
        sigma = sigma * np.float32(extra.get('sigma_scale', 1.0))
        objects, accepted, doubtful = select_objects(value, sigma, logit, **limits)
        counts += accepted, doubtful
        if i == 0:
            variance += _to_pixels(sigma**2, image.shape, factor)
        for box, step in _pieces(objects, image.shape, factor):
            log_flat[box] += step
            image[box] *= np.exp(-step)
        if i:
            for box, step in _pieces(sigma**2 * (objects != 0), image.shape, factor):
                variance[box] += step
    sigma = per_strip(np.sqrt, variance, out=variance)
    return DustField(log_flat, sigma, int(counts[0]), int(counts[1]))


def _one_level(
    image: np.ndarray, bad: np.ndarray, session: Session, factor: int, halo: int
) -> tuple[np.ndarray, ...] | None:
    """Run the network on bins; return its maps on 2 x 2 bins."""
    binned, holes = bin_mean(image, bad, factor)
    level = frame_level(binned[~holes])
    if not level > 0 or min(binned.shape) < 2 * BLOCK:
        return None
    pad = [(0, -size % BLOCK) for size in binned.shape]
    relative = np.pad(binned / np.float32(level) - 1, pad, mode='reflect')
    good = ~np.pad(holes, pad, mode='reflect')
    relative = np.where(good, relative, np.float32(0))
    n_ways = N_WAYS if binned.size <= _TURNED else 1
    out = None
    for way in range(n_ways):
        cells = _describe(turn(relative, way), turn(good, way))
        part = turn_back(_run(cells, session, halo), way) / np.float32(n_ways)
        out = part if out is None else out + part
    rows, columns = (-(-size // 2) for size in binned.shape)
    value, log_sigma, logit = out[:, :rows, :columns]
    return value, np.exp(np.clip(log_sigma, -12.0, 3.0)), logit


def _run(cells: np.ndarray, session: Session, halo: int) -> np.ndarray:
    """Run the network, in tiles where the frame is large."""
    return apply_tiled(
        lambda tiles: session.run({'cells': tiles})['dust'],
        cells,
        halo=halo,
        multiple=8,
        scale=2,
        out_channels=3,
    )


def _describe(relative: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Return the input of the network, ``(34, h, w)``."""
    image = stretch(relative.astype(np.float32, copy=False))
    h, w = (size // BLOCK for size in image.shape)
    blocks = image.reshape(h, BLOCK, w, BLOCK).transpose(1, 3, 0, 2)
    valid = good.reshape(h, BLOCK, w, BLOCK).mean(axis=(1, 3))
    groups = sorted_groups(image, BLOCK)
    seen = valid > 0
    out = np.empty((2 * BLOCK**2 + 2, h, w), np.float32)
    out[: BLOCK**2] = blocks.reshape(-1, h, w) * seen
    out[BLOCK**2 : -2] = groups * seen
    out[-2], out[-1] = valid, noise_channel(groups, valid)
    return out


def select_objects(
    value: np.ndarray,
    sigma: np.ndarray,
    logit: np.ndarray,
    *,
    min_chance: float,
    min_significance: float,
    max_area: float = 1.0,
) -> tuple[np.ndarray, int, int]:
    """
    Keep what is dust for sure.

    Parameters
    ----------
    value, sigma : `~numpy.ndarray`
        log D and its standard deviation.

    logit : `~numpy.ndarray`
        Log odds of dust being there.

    min_chance : float
        What the largest chance within an object has to reach.

    min_significance : float
        What the mean of value over sigma within it has to reach.

    max_area : float, optional
        Share of the frame beyond which an object has to be 1.35 times as
        significant; beyond 8 times as much nothing is dust.

    Returns
    -------
    value : `~numpy.ndarray`
        log D of the objects that are kept; exactly 0 elsewhere.

    accepted, doubtful : int
        Objects that are kept, and that are not.
    """
    from scipy import ndimage as ndi

    dark = (logit > 0) & (value < 0)
    labels, n = ndi.label(dark)
    if n == 0:
        return np.zeros_like(value), 0, 0
    index = np.arange(1, n + 1)
    chance = 1 / (1 + np.exp(-ndi.maximum(logit, labels, index)))
    significance = ndi.mean(-value / sigma, labels, index)
    area = ndi.sum(dark, labels, index) / dark.size
    keep = (chance > min_chance) & (significance > min_significance)
    sure = (area <= _LARGE * max_area) & (significance > _SURE * min_significance)
    keep &= (area <= max_area) | sure
    core = np.concatenate([[False], keep])[labels]
    region = ndi.binary_dilation(core, iterations=_MARGIN) & (core | ~dark)
    accepted = int(keep.sum())
    return np.where(region, np.minimum(value, 0), 0), accepted, n - accepted


def _to_pixels(field: np.ndarray, shape: tuple[int, int], factor: int) -> np.ndarray:
    """Interpolate a map on 2 x 2 bins to the pixels of the frame."""
    full = tuple(2 * factor * n for n in field.shape)
    return enlarge(field, full, order=1)[: shape[0], : shape[1]]


def _pieces(
    field: np.ndarray, shape: tuple[int, int], factor: int
) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    """Give what is not 0 of a map on 2 x 2 bins, in boxes of pixels."""
    from scipy import ndimage as ndi

    # Touching objects share a box, so that no pixel is in two of them.
    touched = ndi.binary_dilation(field != 0, np.ones((3, 3), bool))
    labels, _ = ndi.label(touched)
    size = 2 * factor
    for i, box in enumerate(ndi.find_objects(labels), start=1):
        part = np.where(labels[box] == i, field[box], 0)
        pixels = tuple(
            slice(size * s.start, min(size * s.stop, n))
            for s, n in zip(box, shape, strict=True)
        )
        step = enlarge(part, tuple(size * n for n in part.shape), order=1)
        rows, columns = (p.stop - p.start for p in pixels)
        yield pixels, step[:rows, :columns]
