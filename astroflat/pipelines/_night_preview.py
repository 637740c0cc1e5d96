# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Small pictures of the lights of a group before and after, and of their flat."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.pipelines._night_masters import read_master
from astroflat.pipelines._night_overscan import prepare

if TYPE_CHECKING:
    from collections.abc import Iterable

    from astropy.nddata import CCDData

    from astroflat.pipelines._night_files import NightFile
    from astroflat.pipelines._night_groups import GroupPlan
    from astroflat.pipelines._night_job import NightJob

__all__ = ['make_preview', 'reduce', 'unevenness']

# The longer side of a picture, and how many lights it is the median of.
_SIDE = 72
_LIGHTS = 9


def make_preview(job: NightJob, group: GroupPlan) -> dict[str, Any] | None:
    """
    Reduce the lights of a group, before and after the flat.

    Parameters
    ----------
    job : NightJob
        The job.

    group : GroupPlan
        The group.

    Returns
    -------
    preview : dict or None
        ``before``, ``after`` and ``flat`` as nested lists, and how uneven the
        first two are in percent; None if nothing was written, or no light has a
        level.
    """
    step = max(1, len(group.sample) // _LIGHTS)
    files = [f for f in group.sample[::step][:_LIGHTS] if f.name in job.records]
    settled = job.settled.get(group.key)
    if not files or settled is None:
        return None
    paths = job.offset_paths(group.sample_offset)
    # Before a run is finished its masters are there, whoever made them.
    if any(p is not None and not os.path.exists(p) for p in paths):  # noqa: PTH110
        return None
    bias, dark = (None if p is None else read_master(p).data for p in paths)
    offset = (0 if bias is None else bias) + (
        0 if dark is None else group.sample_offset.scale * dark
    )
    before = _median(_raw(job, f).data - offset for f in files)
    after = _median(
        read_master(job.store.folder / job.plan.outputs(f, job.options)['calibrated'])
        for f in files
    )
    if before is None or after is None:
        return None
    preview = {
        'n_lights': len(files),
        'before': _listed(before),
        'after': _listed(after),
        'uneven_before_percent': unevenness(before),
        'uneven_after_percent': unevenness(after),
    }
    if 'flat' in settled.files:
        preview['flat'] = _listed(reduce(read_master(settled.files['flat']).data))
    return preview


def _raw(job: NightJob, file: NightFile) -> CCDData:
    """Return a light before anything but the overscan was taken off."""
    image = read_master(job.folder / file.name)
    return prepare(image, file.sections) if file.sections else image


def _median(images: Iterable[Any]) -> np.ndarray | None:
    """Return the median of reduced images, each divided by its level, if it has one."""
    small = []
    with warnings.catch_warnings():
        # Blocks that are bad everywhere stay NaN.
        warnings.filterwarnings('ignore', 'All-NaN|Mean of empty', RuntimeWarning)
        for image in images:
            data = np.asarray(getattr(image, 'data', image), np.float64)
            reduced = reduce(data)
            level = np.nanmedian(reduced)
            if level > 0:
                small.append(reduced / level)
        return np.nanmedian(small, axis=0) if small else None


def reduce(image: np.ndarray, side: int = _SIDE) -> np.ndarray:
    """
    Return the medians of square blocks of an image.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The image, ``(ny, nx)``.

    side : int, optional
        The longer side of the result in blocks, at most.

    Returns
    -------
    small : `~numpy.ndarray`
        What does not fill a block at the upper and right edges is left out.
    """
    block = max(1, -(-max(image.shape) // side))
    ny, nx = (n // block for n in image.shape)
    cut = image[: ny * block, : nx * block].reshape(ny, block, nx, block)
    return np.median(cut.swapaxes(1, 2).reshape(ny, nx, -1), axis=-1)


def unevenness(small: np.ndarray) -> float:
    """
    Return the robust scatter of a reduced image.

    Parameters
    ----------
    small : `~numpy.ndarray`
        The image, of median 1.

    Returns
    -------
    percent : float
        1.4826 times the median absolute deviation, in percent.
    """
    middle = np.nanmedian(small)
    return float(148.26 * np.nanmedian(np.abs(small - middle)) / middle)


def _listed(small: np.ndarray) -> list[list[float | None]]:
    """Return an image as JSON knows it, in few digits."""
    rounded = np.round(small.astype(np.float64), 5)
    return [[v if np.isfinite(v) else None for v in row] for row in rounded.tolist()]
