# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Objects in the sky: found where all frames are added up, masked in each."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from astroflat.selfcal._grid import Grid
from astroflat.selfcal._halos import grow_generously, grow_to_the_end

if TYPE_CHECKING:
    from astroflat.selfcal._night import Night

__all__ = ['STARS', 'ObjectMask', 'find_objects', 'places']

# Sizes of what is looked for: stars, their halos, small galaxies and filaments.
_SIZES = (0.8, 2.0, 5.0)
#: Where glow may not be taken for an object.
STARS = _SIZES[:1]
# Structure of the background that is left to the fields, in pixels.
_BACKGROUND = 12


@dataclass(frozen=True)
class ObjectMask:
    """
    Where there are objects, in the sky or frame by frame.

    Parameters
    ----------
    planes : list of `~numpy.ndarray` of bool
        One for the whole sky, or one per frame.

    corner : `~numpy.ndarray` of int
        ``(n, 2)``, where each frame begins in its plane.

    shape : tuple of int
        Shape of a frame.
    """

    planes: list[np.ndarray]
    corner: np.ndarray
    shape: tuple[int, int]

    def rows(self, i: int, rows: slice) -> np.ndarray:
        """
        Return the mask of some rows of a frame.

        Parameters
        ----------
        i : int
            The frame.

        rows : slice
            With start and stop.

        Returns
        -------
        mask : `~numpy.ndarray` of bool
            A view.
        """
        plane = self.planes[i if len(self.planes) > 1 else 0]
        y, x = self.corner[i]
        return plane[y + rows.start : y + rows.stop, x : x + self.shape[1]]

    def frame(self, i: int) -> np.ndarray:
        """
        Return the mask of a frame.

        Parameters
        ----------
        i : int
            The frame.

        Returns
        -------
        mask : `~numpy.ndarray` of bool
            A view.
        """
        return self.rows(i, slice(0, self.shape[0]))


def places(
    offsets: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, tuple[int, int]]:
    """
    Place frames in a plane that holds them all, to whole pixels.

    Parameters
    ----------
    offsets : `~numpy.ndarray`
        ``(n, 2)``.

    shape : tuple of int
        Shape of a frame.

    Returns
    -------
    corner : `~numpy.ndarray` of int
        Where each frame begins.

    plane : tuple of int
        Shape of the plane.
    """
    whole = np.rint(offsets).astype(int)
    corner = whole.max(axis=0) - whole
    plane = tuple(int(n) for n in np.array(shape) + corner.max(axis=0))
    return corner, plane


def find_objects(
    night: Night,
    model: np.ndarray | None,
    *,
    nsigma: float,
    growth: float,
    sizes: tuple[float, ...] = _SIZES,
) -> ObjectMask:
    """
    Find compact objects in the sum of the registered frames.

    Parameters
    ----------
    night : Night
        The frames.

    model : `~numpy.ndarray` or None
        The flat as known so far.

    nsigma : float
        How far above the noise.

    growth : float
        How far beyond what is found, in pixels.

    sizes : tuple of float, optional
        Smoothing of what is looked for, in pixels.

    Returns
    -------
    mask : ObjectMask
        Objects with a margin that grows with their size.
    """

    def one(i: int) -> tuple[np.ndarray, np.ndarray, float]:
        return _detail(night.read(i), model)

    if night.offsets is None:
        corner = np.zeros((night.n, 2), int)

        def single(i: int) -> np.ndarray:
            image, _, noise = one(i)
            known = np.isfinite(image)
            image = np.where(known, image, 0)
            return _detect(image, np.where(known, noise**-2, 0), nsigma, growth, sizes)

        return ObjectMask(night.each(single, range(night.n)), corner, night.shape)
    corner, plane = places(night.offsets, night.shape)
    total, weight = np.zeros(plane, np.float32), np.zeros(plane, np.float32)
    smooth = np.zeros(plane, np.float32)
    lock = threading.Lock()
    parts: dict[int, tuple] = {}
    turn = [0]

    def add(i: int) -> None:
        parts[i] = one(i)
        # In the order of the frames, so that rounding is always the same.
        with lock:
            while turn[0] in parts:
                k = turn[0]
                image, base, noise = parts.pop(k)
                known = np.isfinite(image)
                y, x = corner[k]
                window = np.s_[y : y + night.shape[0], x : x + night.shape[1]]
                total[window] += np.where(known, image, 0) * np.float32(noise**-2)
                smooth[window] += np.where(known, base, 0) * np.float32(noise**-2)
                weight[window] += known * np.float32(noise**-2)
                turn[0] += 1

    night.each(add, range(night.n))
    image = np.divide(total, weight, out=total, where=weight > 0)
    mask = _detect(image, weight, nsigma, growth, sizes)
    if model is None:
        mask = grow_generously(mask)
    else:
        image += np.divide(smooth, weight, out=smooth, where=weight > 0)
        mask = grow_to_the_end(mask, image, weight)
    return ObjectMask([mask], corner, night.shape)


def _detail(
    frame: np.ndarray, model: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return a frame over its background, less 1, that less 1, and its noise."""
    if model is not None:
        frame = frame / model
    mesh = Grid(frame.shape, max(2 * _BACKGROUND, max(frame.shape) // 40))
    median = ndimage.median_filter(_filled(mesh.medians(frame)[0]), 3, mode='nearest')
    level = max(float(np.median(median)), 1e-30)
    smooth = mesh.enlarge(median)
    image = (frame - smooth) / level
    values = image[:: max(1, frame.shape[0] // 1000)].ravel()
    values = values[np.isfinite(values)]
    noise = 1.4826 * float(np.median(np.abs(values - np.median(values))))
    noise = max(noise, 1e-6)
    # Cold pixels and cosmic rays must not weigh more than any object.
    return np.clip(image, -5 * noise, None), smooth / np.float32(level) - 1, noise


def _filled(cells: np.ndarray) -> np.ndarray:
    """Fill cells without a value from the nearest one."""
    bad = ~np.isfinite(cells)
    if not bad.any() or bad.all():
        return np.where(bad, 0.0, cells)
    nearest = ndimage.distance_transform_edt(
        bad, return_distances=False, return_indices=True
    )
    return cells[tuple(nearest)]


def _detect(
    image: np.ndarray,
    weight: np.ndarray,
    nsigma: float,
    growth: float,
    sizes: tuple[float, ...],
) -> np.ndarray:
    """Return where an image stands above its noise at any size, and around."""
    from astroflat.dust import dilate_mask

    seen = weight > 0
    mask = np.zeros(image.shape, bool)
    for size in sizes:
        share = ndimage.gaussian_filter(seen.astype(np.float32), size)
        smooth = ndimage.gaussian_filter(image, size) / np.maximum(share, 0.1)
        noise = 1 / (np.sqrt(np.maximum(weight, 1e-30)) * 2 * np.sqrt(np.pi) * size)
        z = np.where(seen, smooth / noise, 0)
        sample = z[seen][:: max(1, int(seen.sum() // 500_000))]
        middle = float(np.median(sample)) if sample.size else 0.0
        below = middle - sample[sample < middle]
        # Structure that is no noise, below as above, raises the threshold.
        scale = max(1.4826 * float(np.median(below)) if below.size else 1.0, 1.0)
        hit = (z - middle > nsigma * scale) & seen
        if hit.any():
            mask |= dilate_mask(hit, radius=growth + size)
    return mask
