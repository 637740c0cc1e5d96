# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The masters of a night: bias, dark and flat."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.pipelines._night_store import write_json, write_master

if TYPE_CHECKING:
    from astropy.nddata import CCDData

__all__ = [
    'FlatTask',
    'MasterTask',
    'is_mosaic',
    'make_flat_master',
    'make_master',
    'read_master',
]

# Raw levels of a flat above this fraction of the range are not linear.
_FULL = 0.92
# The dark holds the bias if its level is above this fraction of that of the bias.
_HOLDS = 0.5
# Pixels that a level or a noise is measured from.
_SAMPLE = 1_000_000


@dataclass(frozen=True)
class MasterTask:
    """
    A bias or a dark to be made.

    Parameters
    ----------
    files : tuple of str
        The frames.

    output : str
        The file to write.

    bias : str or None, optional
        A master to subtract, if the frames hold it.
    """

    files: tuple[str, ...]
    output: str
    bias: str | None = None


@dataclass(frozen=True)
class FlatTask:
    """
    A master flat to be made.

    Parameters
    ----------
    files : tuple of str
        The frames.

    output : str
        The file to write; the words go beside it.

    bias, dark : str or None
        Masters.

    scales : tuple of float
        What the dark is multiplied by for each frame.

    full : float or None
        The largest value a pixel can have.

    ready : bool
        Whether it is a master already.
    """

    files: tuple[str, ...]
    output: str
    bias: str | None = None
    dark: str | None = None
    scales: tuple[float, ...] = ()
    full: float | None = None
    ready: bool = False


def make_master(task: MasterTask) -> None:
    """
    Combine bias or dark frames to their median, unless that was done.

    Parameters
    ----------
    task : MasterTask
        What to do.
    """
    if Path(task.output).exists():
        return
    master = _median(task.files)
    if task.bias is not None:
        master = _without_bias(master, read_master(task.bias))
    write_master(task.output, master)


def _median(files: tuple[str, ...], **options: Any) -> CCDData:
    """Return the median of frames; the uncertainty of one is unknown."""
    from astroflat.combine import median_flat
    from astroflat.io.images import read_ccd

    if len(files) == 1 and not options:
        single = read_ccd(files[0])
        single.data = np.asarray(single.data, np.float32)
        return single
    master = median_flat([Path(f) for f in files], **options)
    if len(files) == 1:
        master.uncertainty = None
    master.flags = None
    return master


def _without_bias(dark: CCDData, bias: CCDData) -> CCDData:
    """Subtract the bias from a dark, if it is in there."""
    import ccdproc

    levels = [abs(float(np.nanmedian(_thin(c.data)))) for c in (dark, bias)]
    if levels[0] < _HOLDS * levels[1]:
        return dark
    return ccdproc.subtract_bias(dark, bias, add_keyword=None)


def _thin(data: np.ndarray) -> np.ndarray:
    """Return at most a million pixels, evenly spaced."""
    step = max(1, int(np.ceil(np.sqrt(data.size / _SAMPLE))))
    return data[::step, ::step]


def read_master(path: str | None) -> CCDData | None:
    """
    Read a master.

    Parameters
    ----------
    path : str or None
        The file.

    Returns
    -------
    master : `~astropy.nddata.CCDData` or None
        None without a file.
    """
    from astroflat.io.images import read_ccd

    return None if path is None else read_ccd(path)


def make_flat_master(task: FlatTask) -> None:
    """
    Combine flats to a full flat of mean 1, unless that was done.

    Parameters
    ----------
    task : FlatTask
        What to do. Frames that are saturated are left out.
    """
    note = Path(task.output).with_suffix('.json')
    if note.exists():
        return
    words, doubts = [], []
    offsets = [read_master(path) for path in (task.bias, task.dark)]
    if task.ready:
        image = _median(task.files)
    else:
        files, scales, levels = _usable(task, words)
        image = _median(
            files,
            bias=offsets[0],
            dark=offsets[1],
            dark_scale=list(scales) if task.dark else False,
            scale='median',
        )
        words.append(f'levels of {min(levels):.0f} to {max(levels):.0f} adu')
        if len(files) < 3:
            doubts.append(
                f'{len(files)} flats: stars and cosmic rays are not rejected by a '
                'median of fewer than three'
            )
    solution = _as_solution(image)
    noise = _noise_percent(solution.flat)
    if noise is not None:
        words.append(f'noise of {noise:.2g} % per pixel')
        if noise > 1:
            doubts.append(
                f'the flats are faint: their noise is {noise:.2g} % per pixel'
            )
    write_master(task.output, solution.flat)
    write_json(note, {'words': words, 'doubts': doubts})


def _usable(
    task: FlatTask, words: list[str]
) -> tuple[tuple[str, ...], tuple[float, ...], list[float]]:
    """Leave saturated flats out, unless all are."""
    from astroflat.io.images import read_ccd

    levels = [float(np.nanmedian(_thin(read_ccd(f).data))) for f in task.files]
    scales = task.scales or (1.0,) * len(task.files)
    rows = list(range(len(levels)))
    if task.full is not None:
        rows = [i for i in rows if levels[i] < _FULL * task.full]
        left = len(levels) - len(rows)
        if left:
            words.append(f'{left} of {len(levels)} flats left out: saturated')
        if not rows:
            msg = (
                f'all {len(levels)} flats are saturated: median levels of '
                f'{min(levels):.0f} adu and more of {task.full:.0f} adu'
            )
            raise ValueError(msg)
    return (
        tuple(task.files[i] for i in rows),
        tuple(scales[i] for i in rows),
        [levels[i] for i in rows],
    )


def _as_solution(image: CCDData) -> Any:
    """Return a full flat of an image, without an uncertainty that is unknown."""
    from astroflat.solution import FlatSolution

    solution = FlatSolution.from_image(_grey(image), method='flats')
    flat = solution.flat
    unknown = flat.uncertainty is None or not np.isfinite(flat.uncertainty.array).any()
    if unknown and flat.uncertainty is not None:
        flat.uncertainty = None
    return replace(solution, flat=flat)


def _grey(image: CCDData) -> CCDData:
    """Bring the colours of a mosaic to one level: twilight is blue, a flat is not."""
    from astropy.nddata import StdDevUncertainty

    from astroflat.pipelines._planes import join_planes, split_planes

    if not is_mosaic(image):
        return image
    planes = split_planes(image.data, str(image.meta['BAYERPAT']))
    levels = [np.full(p.shape, np.nanmean(p), np.float32) for p in planes]
    level = join_planes(levels, image.shape)
    grey = image.copy()
    grey.data = image.data / level
    if image.uncertainty is not None:
        grey.uncertainty = StdDevUncertainty(image.uncertainty.array / level)
    return grey


def is_mosaic(image: CCDData) -> bool:
    """
    Tell whether the pixels of an image have different colours.

    Parameters
    ----------
    image : `~astropy.nddata.CCDData`
        The image.

    Returns
    -------
    mosaic : bool
        Whether its header names a pattern of four letters.
    """
    pattern = str(image.meta.get('BAYERPAT', '') or '').strip()
    return image.data.ndim == 2 and len(pattern) == 4


def _noise_percent(flat: CCDData) -> float | None:
    """Return the noise of a flat per pixel."""
    if flat.uncertainty is None:
        return None
    return 100 * float(np.nanmedian(_thin(flat.uncertainty.array / flat.data)))
