# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The masters of a night: bias, dark, flat, and the noise of the camera."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.pipelines._night_store import read_json, write_json, write_master

if TYPE_CHECKING:
    from astropy.nddata import CCDData

__all__ = [
    'FlatTask',
    'MasterTask',
    'NoiseTask',
    'is_mosaic',
    'make_flat_master',
    'make_master',
    'measure_noise',
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


@dataclass(frozen=True)
class NoiseTask:
    """
    A camera whose gain and read noise are to be measured.

    Parameters
    ----------
    flats, biases : tuple of str
        Two of each; or no flats, for the read noise alone.

    output : str
        The file to write.

    gain : float or None
        Electrons per adu, if the header says it.

    strip : tuple of str
        A raw frame and the section of its overscan, in place of bias frames; the
        level of the flats is then above their own overscan.
    """

    flats: tuple[str, ...]
    biases: tuple[str, ...]
    output: str
    gain: float | None = None
    strip: tuple[str, ...] = ()


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


@dataclass(frozen=True)
class Noise:
    """
    The noise of a camera.

    Parameters
    ----------
    gain : float or None
        Electrons per adu.

    readnoise : float or None
        Electrons.

    words : list of str
        Where they come from.
    """

    gain: float | None = None
    readnoise: float | None = None
    words: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: str | None) -> Noise:
        """
        Read what `measure_noise` wrote.

        Parameters
        ----------
        path : str or None
            The file.

        Returns
        -------
        noise : Noise
            Nothing is known without a file.
        """
        return cls() if path is None else cls(**read_json(path))


def measure_noise(task: NoiseTask) -> None:
    """
    Measure gain and read noise from two flats and two bias frames.

    Parameters
    ----------
    task : NoiseTask
        What to do.

    Notes
    -----
    The variance of the difference of two flats, each divided by its level
    above the bias, is ``(1 / m1 + 1 / m2) / gain`` beside the read noise.
    Differences of neighbouring pixels are taken of it, so that a gradient or a
    turning twilight does not count, and the scatter is robust, so that stars
    do not.
    """
    if Path(task.output).exists():
        return
    from astroflat.io.images import read_ccd

    bias = [read_ccd(f).data.astype(np.float64) for f in task.biases]
    ron = _strip_noise(*task.strip) if task.strip else _pair_noise(bias)
    source = 'the overscan' if task.strip else 'two bias frames'
    gain, words = task.gain, []
    if gain is not None:
        words.append(f'gain {gain:.4g} e/adu by the header')
    elif len(task.flats) == 2:
        level = 0.0 if task.strip else 0.5 * (bias[0] + bias[1])
        images = [read_ccd(f) for f in task.flats]
        # Of a mosaic one colour: its pixels share a level.
        step = 2 if is_mosaic(images[0]) else 1
        flats = [(i.data - level)[::step, ::step] for i in images]
        gain = _gain(flats, ron)
        if gain is not None:
            known = 'the overscan' if task.strip else 'two bias'
            words.append(f'gain {gain:.4g} e/adu, measured from two flats and {known}')
    readnoise = None if gain is None else float(ron * gain)
    if readnoise is not None:
        words.append(f'read noise {readnoise:.3g} e, measured from {source}')
    write_json(task.output, {'gain': gain, 'readnoise': readnoise, 'words': words})


def _pair_noise(bias: list[np.ndarray]) -> float:
    """Return the noise of one of two bias frames, of which the pattern cancels."""
    return _scatter_of_counts(bias[0] - bias[1]) / np.sqrt(2)


def _strip_noise(path: str, section: str) -> float:
    """Return the noise of an overscan, without its level in each row or column."""
    from astroflat.io.images import read_ccd
    from astroflat.pipelines._night_overscan import _slices

    raw = read_ccd(path).data
    strip = raw[_slices(section, raw.shape)].astype(np.float64)
    return _scatter_of_counts(strip if len(strip) >= strip.shape[1] else strip.T)


def _gain(flats: list[np.ndarray], ron: float) -> float | None:
    """Return electrons per adu, None if the flats do not tell."""
    means = [float(np.median(f)) for f in flats]
    if min(means) <= 0:
        return None
    variance = _scatter(flats[0] / means[0] - flats[1] / means[1]) ** 2
    variance -= ron**2 * sum(m**-2 for m in means)
    gain = sum(1 / m for m in means) / variance if variance > 0 else np.inf
    return float(gain) if 1e-3 < gain < 1e3 else None


def _scatter(image: np.ndarray) -> float:
    """Return the noise of an image, robust, without what is smooth in it."""
    from astropy.stats import mad_std

    return float(mad_std(image[:, 1::2] - image[:, :-1:2]) / np.sqrt(2))


def _scatter_of_counts(image: np.ndarray) -> float:
    """Return the same of whole numbers, of whose steps a median would know little."""
    steps = image[:, 1::2] - image[:, :-1:2]
    rough = _scatter(image) * np.sqrt(2)
    good = steps[np.abs(steps - np.median(steps)) <= 4 * max(rough, 1.0)]
    return float(np.std(good) / np.sqrt(2))
