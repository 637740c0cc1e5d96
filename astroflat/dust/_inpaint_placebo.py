# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How wrong is an inpainting method here? Hide good pixels from it and look.

Copies of the holes are put beside them on good pixels, filled by the same
method, and compared with what is really there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from astroflat.dust._inpaint_covariance import pixel_noise
from astroflat.dust._inpaint_windows import Hole, grow_box, holes

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ['placebo_sigma']

#: Errors are averaged in this many zones from the edge to the middle.
ZONES = 4

#: Copies per class of sizes, and per hole.
COPIES_PER_CLASS, COPIES_PER_HOLE = 64, 8

#: The share of the local scatter below which no error is believed.
LEAST = 0.02


class _Site(NamedTuple):
    """A hole or its copy with what sets the scale of its errors."""

    hole: Hole
    depth: np.ndarray
    size: int
    scatter: float


def placebo_sigma(
    data: np.ndarray, mask: np.ndarray, fill: Callable, *, seed: int = 0
) -> np.ndarray:
    """
    Return the standard deviation of a fill inside the holes.

    Parameters
    ----------
    data : `~numpy.ndarray`
        The image, NaN where it must not be used.

    mask : `~numpy.ndarray` of bool
        The pixels that are filled.

    fill : callable
        ``fill(data, mask)`` returns the filled image; it is called once.

    seed : int, optional
        Of the places of the copies.

    Returns
    -------
    sigma : `~numpy.ndarray`
        NaN outside the holes.

    Notes
    -----
    The squared error, less the noise of the pixels compared with, is averaged
    over copies of like size, in zones of the depth in the hole, in units of
    the local scatter around the hole, which is multiplied back. A hole size
    without a copy takes the next; without any copy at all, the local scatter
    itself is the answer. Errors that are lost in the noise are overstated.
    """
    sites = [_site(data, hole) for hole in holes(mask)]
    copies, hidden = _place(data, sites, np.random.default_rng(seed))
    shares = _shares(data, copies, hidden, fill) if copies else {}
    sigma = np.full(mask.shape, np.nan, dtype=data.dtype)
    for site in sites:
        share = shares[min(shares, key=lambda s: abs(s - site.size))] if shares else 1.0
        if shares:
            share = np.sqrt(share[_zones(site.depth)])
        inside = site.hole.member
        sigma[site.hole.box][inside] = site.scatter * share
    return sigma


def _site(data: np.ndarray, hole: Hole) -> _Site:
    """Measure a hole: depth of each pixel, class of size, scatter around."""
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(np.pad(hole.member, 1))[1:-1, 1:-1][hole.member]
    size = int(np.log2(depth.max()) * 2)
    margin = int(np.clip(depth.max(), 6, 64))
    around = data[grow_box(hole.box, margin, data.shape)].astype(float)
    y, x = np.nonzero(np.isfinite(around))
    if y.size < 8:
        return _Site(hole, depth, size, float(np.nanstd(data)))
    values = around[y, x]
    basis = np.stack([np.ones(y.size), y, x], axis=-1)
    rest = values - basis @ np.linalg.lstsq(basis, values, rcond=None)[0]
    return _Site(hole, depth, size, float(rest.std()))


def _zones(depth: np.ndarray) -> np.ndarray:
    """Return the zone of each pixel by its depth relative to the deepest."""
    return np.minimum((ZONES * depth / depth.max()).astype(int), ZONES - 1)


def _place(
    data: np.ndarray, sites: list[_Site], rng: np.random.Generator
) -> tuple[list[_Site], np.ndarray]:
    """Find good pixels near the holes that copies of them fit on."""
    hidden = np.zeros(data.shape, dtype=bool)
    copies, count = [], {}
    for index in rng.permutation(len(sites)):
        site = sites[index]
        for angle in rng.permutation(COPIES_PER_HOLE):
            if count.get(site.size, 0) >= COPIES_PER_CLASS:
                break
            hole = _shifted(site.hole, 2 * np.pi * angle / COPIES_PER_HOLE, data.shape)
            if hole is None or not _free(data, hidden, hole):
                continue
            copies.append(_site(data, hole))
            hidden[hole.box] |= hole.member
            count[site.size] = count.get(site.size, 0) + 1
    return copies, hidden


def _shifted(hole: Hole, angle: float, shape: tuple[int, int]) -> Hole | None:
    """Return a copy of a hole beside it, None if that leaves the frame."""
    size = np.array(hole.member.shape)
    step = np.round((size + 0.5 * size.max() + 6) * [np.sin(angle), np.cos(angle)])
    box = tuple(
        slice(part.start + int(by), part.stop + int(by))
        for part, by in zip(hole.box, step, strict=True)
    )
    inside = all(
        part.start >= 0 and part.stop <= length
        for part, length in zip(box, shape, strict=True)
    )
    return Hole(box, hole.member) if inside else None


def _free(data: np.ndarray, hidden: np.ndarray, hole: Hole) -> bool:
    """Tell whether a copy lies on good pixels, apart from other copies."""
    box = grow_box(hole.box, 3, data.shape)
    return bool(
        np.isfinite(data[hole.box][hole.member]).all() and not hidden[box].any()
    )


def _shares(
    data: np.ndarray, copies: list[_Site], hidden: np.ndarray, fill: Callable
) -> dict[int, np.ndarray]:
    """Return the mean squared errors by class and zone, in units of the scatter."""
    filled = fill(np.where(hidden, data.dtype.type(np.nan), data), hidden)
    found: dict[int, list] = {}
    for copy in copies:
        box, member = copy.hole.box, copy.hole.member
        wide = grow_box(box, 16, data.shape)
        noise = pixel_noise(data[wide], np.isfinite(data[wide]))
        error = (filled[box] - data[box])[member].astype(float)
        good = np.isfinite(error)
        if good.any() and copy.scatter > 0:
            zone = _zones(copy.depth)[good]
            error = error[good] / copy.scatter
            found.setdefault(copy.size, []).append(
                _excess(error, zone, noise / copy.scatter)
            )
    return {size: _profile(np.array(excess)) for size, excess in found.items()}


def _excess(error: np.ndarray, zone: np.ndarray, noise: float) -> np.ndarray:
    """
    Return squared errors less the noise: summed by zone, counted, of the mean.

    The errors of a good fill are much smaller than the noise of the pixels
    that it is compared with, and lost in it. Its mean over the hole is not.
    """
    sums = np.bincount(zone, error**2 - noise**2, ZONES)
    mean = error.mean() ** 2 - noise**2 / error.size
    return np.stack([sums, np.bincount(zone, minlength=ZONES), np.full(ZONES, mean)])


def _profile(excess: np.ndarray) -> np.ndarray:
    """
    Return the mean of each zone; empty zones take the mean of all.

    What the noise leaves uncertain is given to the error, not to the method.
    """
    total, count, _ = excess.sum(axis=0)
    mean = np.full(ZONES, total.sum() / count.sum())
    mean[count > 0] = total[count > 0] / count[count > 0]
    of_holes = excess[:, 2, 0]
    least = max(of_holes.mean(), 0) + of_holes.std() / np.sqrt(of_holes.size)
    return np.maximum(mean, max(least, LEAST**2))
