# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Full resolution: what all frames have in common beyond the coarse fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from astroflat.selfcal._light import Light
    from astroflat.selfcal._night import Night
    from astroflat.selfcal._objects import ObjectMask

__all__ = ['Fine', 'combine_fine', 'robust_mean', 'two_halves']

# Beyond this many sigma a sample counts less and less.
_KNEE = 3.0


@dataclass(frozen=True)
class Fine:
    """
    The ratio of frames and coarse fit, combined over the frames.

    Parameters
    ----------
    ratio : `~numpy.ndarray` of float32
        NaN where no frame shows the sky.

    weight : `~numpy.ndarray` of float32
        Sum of the inverse variances expected.

    scatter : `~numpy.ndarray` of float32
        Variance found over variance expected.

    count : `~numpy.ndarray` of int32
        Frames that show the sky.

    halves : tuple of `~numpy.ndarray`
        The ratio of each half of the frames.
    """

    ratio: np.ndarray
    weight: np.ndarray
    scatter: np.ndarray
    count: np.ndarray
    halves: tuple[np.ndarray, np.ndarray]


def combine_fine(
    night: Night,
    light: Light,
    objects: ObjectMask,
    noise: np.ndarray,
    *,
    half: np.ndarray,
    mem_limit: float,
    client: Any = None,
    progress: Callable | None = None,
) -> Fine:
    """
    Combine all frames band by band.

    Parameters
    ----------
    night : Night
        The frames.

    light : Light
        The coarse fit.

    objects : ObjectMask
        What is left out.

    noise : `~numpy.ndarray`
        ``(n,)``, noise of a pixel relative to the level.

    half : `~numpy.ndarray` of bool
        ``(n,)``, which frames are in the second half.

    mem_limit : float
        Bytes for the bands.

    client : `dask.distributed.Client`, optional
        Where to combine the samples that are read here.

    progress : callable, optional
        Called with the number of rows done and of all rows.

    Returns
    -------
    fine : Fine
        The same whatever the bands.
    """
    shape = night.shape
    planes = [np.empty(shape, np.float32) for _ in range(5)]
    count = np.empty(shape, np.int32)
    done = [0]

    def store(rows: slice, result: tuple) -> None:
        for plane, values in zip(planes, result[:5], strict=True):
            plane[rows] = values
        count[rows] = result[5]
        done[0] += rows.stop - rows.start
        if progress is not None:
            progress(done[0], shape[0])

    def work(rows: slice) -> None:
        store(
            rows,
            robust_mean(*_samples(night, light, objects, rows), noise, half),
        )

    bands = night.bands(mem_limit)
    if client is None:
        night.each(work, bands)
    else:
        for rows in bands:
            samples = _samples(night, light, objects, rows)
            future = client.submit(robust_mean, *samples, noise, half, pure=False)
            store(rows, future.result())
    return Fine(planes[0], planes[1], planes[2], count, (planes[3], planes[4]))


def two_halves(n: int, offsets: np.ndarray | None) -> np.ndarray:
    """
    Split frames so that what moves with the sky differs between the halves.

    Parameters
    ----------
    n : int
        The number of frames.

    offsets : `~numpy.ndarray` or None
        Of the frames.

    Returns
    -------
    half : `~numpy.ndarray` of bool
        By position along the direction of the largest dithers; every second
        frame without offsets.
    """
    if offsets is None or np.ptp(offsets, axis=0).max() < 0.5:
        return np.arange(n) % 2 == 1
    centred = offsets - offsets.mean(axis=0)
    along = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
    half = np.zeros(n, bool)
    half[np.argsort(along, kind='stable')[n // 2 :]] = True
    return half


def _samples(
    night: Night,
    light: Light,
    objects: ObjectMask,
    rows: slice,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ratios of some rows, NaN at objects, and the flat there."""
    samples = night.rows(rows)
    flat = light.flat(rows)
    for i, frame in enumerate(samples):
        frame -= light.gradient(i, rows)
        frame /= flat * light.sky(i, rows)
        frame[objects.rows(i, rows)] = np.nan
    return samples, flat


def robust_mean(
    samples: np.ndarray, flat: np.ndarray, noise: np.ndarray, half: np.ndarray
) -> tuple[np.ndarray, ...]:
    """
    Combine samples of pixels along the first axis.

    Parameters
    ----------
    samples : `~numpy.ndarray` of float32
        ``(n, rows, nx)``; NaN is ignored.

    flat : `~numpy.ndarray`
        ``(rows, nx)``; the noise goes with the root of its inverse.

    noise : `~numpy.ndarray`
        ``(n,)``.

    half : `~numpy.ndarray` of bool
        ``(n,)``.

    Returns
    -------
    ratio, weight, scatter, first, second : `~numpy.ndarray` of float32
        See `Fine`; scatter is NaN for less than two samples.

    count : `~numpy.ndarray` of int32
        Samples.
    """
    known = np.isfinite(samples)
    count = known.sum(axis=0, dtype=np.int32)
    middle = _median(samples, count)
    inverse = (1 / np.asarray(noise, float) ** 2).astype(np.float32)[:, None, None]
    inverse = inverse * flat
    square = np.where(known, samples - middle, 0) ** 2 * inverse
    soft = np.minimum(1, _KNEE**2 / np.maximum(square, 1e-30))
    weights = np.where(known, inverse * soft, 0)
    values = np.where(known, samples, 0)
    ratio, total = _mean(values, weights)
    spread = np.where(known, values - ratio, 0) ** 2 * inverse
    spread = np.minimum(spread, _KNEE**2).sum(axis=0)
    scatter = np.where(count > 1, spread / np.maximum(count - 1, 1), np.nan)
    halves = [_mean(values[h], weights[h])[0] for h in (~half, half)]
    return ratio, total, scatter.astype(np.float32), *halves, count


def _mean(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return weighted mean, NaN without samples, and sum of the weights."""
    total = weights.sum(axis=0)
    safe = np.where(total > 0, total, 1)
    mean = np.where(total > 0, (values * weights).sum(axis=0) / safe, np.nan)
    return mean.astype(np.float32), total


def _median(samples: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return the median along the first axis, NaN ignored."""
    ordered = np.sort(samples, axis=0)
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(samples) - 1)
    pick = np.take_along_axis
    return 0.5 * (pick(ordered, low[None], 0)[0] + pick(ordered, high[None], 0)[0])
