# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Gain and read noise of the camera of a night, from its own frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from astroflat.pipelines._night_masters import is_mosaic
from astroflat.pipelines._night_store import read_json, write_json

__all__ = ['Noise', 'NoiseTask', 'measure_noise']


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

    readnoise : float or None
        Electrons, if the header says it and nothing measures it.
    """

    flats: tuple[str, ...]
    biases: tuple[str, ...]
    output: str
    gain: float | None = None
    strip: tuple[str, ...] = ()
    readnoise: float | None = None


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

    if task.readnoise is not None:
        write_json(task.output, _by_header(task.gain, task.readnoise))
        return
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


def _by_header(gain: float, readnoise: float) -> dict[str, Any]:
    """Return what the header tells, for a camera of which no frames tell it."""
    words = [
        f'gain {gain:.4g} e/adu by the header',
        f'read noise {readnoise:.3g} e by the header',
    ]
    return {'gain': gain, 'readnoise': readnoise, 'words': words}


def _pair_noise(bias: list[np.ndarray]) -> float:
    """Return the noise of one of two bias frames, of which the pattern cancels."""
    return _scatter_of_counts(bias[0] - bias[1]) / np.sqrt(2)


def _strip_noise(path: str, section: str) -> float:
    """Return the noise of an overscan, without its level in each row or column."""
    from astroflat.io.images import read_ccd
    from astroflat.pipelines._night_sections import section_slices

    raw = read_ccd(path).data
    strip = raw[section_slices(section, raw.shape)].astype(np.float64)
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
