# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Gain and read noise: from arguments, the header, or the frame itself.

A frame holds its own photon transfer curve: the scatter between neighbouring
pixels against their level.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.neural._stabilise import NoiseModel

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ['FoundNoise', 'find_noise', 'header_value', 'photon_transfer']

_BOX = 16
# Read noise in electrons that stands for noise without any photons: a gain so
# large that the Poisson part does not count.
_ONLY_READNOISE = 1000.0
_READNOISES = ('RDNOISE', 'READNOIS', 'ENOISE')


@dataclass(frozen=True)
class FoundNoise:
    """
    A noise model, and where its numbers come from.

    Parameters
    ----------
    model : NoiseModel
        The model.
    source : str
        'argument', 'header' or 'frame' for the gain.
    """

    model: NoiseModel
    source: str


def find_noise(
    data: np.ndarray,
    bad: np.ndarray,
    *,
    meta: Mapping[str, Any] | None = None,
    gain: float | None = None,
    readnoise: float | None = None,
    offset: float | None = None,
    is_electron: bool = False,
) -> FoundNoise:
    """
    Find the noise model of an image.

    Parameters
    ----------
    data : ndarray
        Image ``(ny, nx)``.
    bad : ndarray of bool
        Pixels to leave out.
    meta : mapping, optional
        Header.
    gain : float, optional
        Electrons per unit of the data.
    readnoise : float, optional
        Electrons.
    offset : float, optional
        Value without light.
    is_electron : bool, optional
        Whether the unit of the data is the electron.

    Returns
    -------
    FoundNoise
        The model. What is not given or in the header is chosen such that the
        noise of the sky is that of the frame.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    source = 'argument'
    if gain is None:
        gain, source = (1.0, 'unit') if is_electron else (_gain_of(meta), 'header')
    if readnoise is None:
        readnoise = header_value(meta, _READNOISES)
    if gain is not None and readnoise is not None and offset is not None:
        return FoundNoise(NoiseModel(gain, readnoise, offset), source)
    levels, variances, weights = photon_transfer(data, bad)
    if gain is None:
        slope, source = _slope(levels, variances, weights), 'frame'
        if slope is None:
            return FoundNoise(_without_photons(levels, variances), source)
        gain = 1.0 / slope
    # Variance of a pixel at zero, extrapolated from the dark half of the frame.
    dark = weights * (levels <= _weighted_median(levels, weights))
    zero = _weighted_median(variances - levels / gain, dark)
    return FoundNoise(_complete(gain, readnoise, offset, zero), source)


def _complete(
    gain: float, readnoise: float | None, offset: float | None, zero: float
) -> NoiseModel:
    """Choose what is missing so that ``readnoise**2/gain**2 - offset/gain = zero``."""
    if offset is not None:
        square = gain**2 * zero + gain * offset
        return NoiseModel(gain, max(square, 0.0) ** 0.5, offset)
    if readnoise is not None:
        return NoiseModel(gain, readnoise, readnoise**2 / gain - gain * zero)
    if zero >= 0:
        return NoiseModel(gain, gain * zero**0.5, 0.0)
    return NoiseModel(gain, 0.0, -gain * zero)


def photon_transfer(
    data: np.ndarray, bad: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Measure the noise of a frame against its level.

    Parameters
    ----------
    data : ndarray
        Image ``(ny, nx)``, at least 16 pixels on each side.
    bad : ndarray of bool
        Pixels to leave out.

    Returns
    -------
    tuple of ndarray
        Level, variance and number of boxes of up to 24 steps in level.

    Raises
    ------
    ValueError
        If the image is too small or too few pixels are good.

    Notes
    -----
    The scatter is that of the difference operator of Immerkaer (1996, Computer
    Vision and Image Understanding 64, 300), which no plane changes, by its
    median in boxes of 16 pixels. Structure only adds to it, so of each step
    in level the lower part of the boxes counts.
    """
    rows = _boxes(data, bad)
    if len(rows[0]) < 4:
        msg = (
            'the image is too small to find its noise, or too much of it is masked; '
            'give gain=, readnoise= and offset='
        )
        raise ValueError(msg)
    levels, variances = rows
    order = np.argsort(levels)
    groups = np.array_split(order, min(24, max(1, len(order) // 12)))
    # The 40th percentile of what scatters by 12 % is low by 3 %.
    found = [
        (np.median(levels[g]), 1.03 * np.quantile(variances[g], 0.4), len(g))
        for g in groups
    ]
    return tuple(np.array(found, dtype=np.float64).T)


def _boxes(data: np.ndarray, bad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Level and variance of the boxes that have enough good pixels."""
    ny, nx = (size // _BOX * _BOX for size in data.shape)
    if not nx:
        return np.zeros(0), np.zeros(0)
    stride = max(1, int((ny * nx / 4e6) ** 0.5))
    levels, variances = [], []
    for start in range(0, ny - _BOX + 1, _BOX * stride):
        strip = _strip(data, bad, start, nx)
        difference = _laplacian(strip)
        cells = [
            part.reshape(len(part), -1, _BOX).swapaxes(0, 1).reshape(nx // _BOX, -1)
            for part in (strip, difference)
        ]
        good = np.isfinite(cells[1]).mean(axis=1) > 0.6
        if good.any():
            levels.append(_medians(cells[0][good]))
            variances.append((1.4826 * _medians(np.abs(cells[1][good]))) ** 2)
    if not levels:
        return np.zeros(0), np.zeros(0)
    return np.concatenate(levels), np.concatenate(variances)


def _medians(cells: np.ndarray) -> np.ndarray:
    """Medians of rows without NaN; by sorting, which puts these last."""
    count = np.isfinite(cells).sum(axis=1)
    ordered = np.sort(cells, axis=1)
    row = np.arange(len(cells))
    return 0.5 * (ordered[row, (count - 1) // 2] + ordered[row, count // 2])


def _strip(data: np.ndarray, bad: np.ndarray, start: int, nx: int) -> np.ndarray:
    """Rows of boxes with NaN for bad pixels."""
    rows = slice(start, start + _BOX)
    return np.where(bad[rows, :nx], np.nan, data[rows, :nx]).astype(np.float64)


def _laplacian(strip: np.ndarray) -> np.ndarray:
    """Differences of differences, with the standard deviation of the pixels."""
    across = strip[:, :-2] - 2.0 * strip[:, 1:-1] + strip[:, 2:]
    both = across[:-2] - 2.0 * across[1:-1] + across[2:]
    result = np.full(strip.shape, np.nan)
    result[1:-1, 1:-1] = both / 6.0
    return result


def _slope(
    levels: np.ndarray, variances: np.ndarray, weights: np.ndarray
) -> float | None:
    """Variance per level, or None if the frame does not tell."""
    if len(levels) < 3 or not np.all(variances > 0):
        return None
    # Errors of medians of the variance: some percent, less for many boxes.
    w = weights / variances**2
    mean = np.average(levels, weights=w)
    spread = np.average((levels - mean) ** 2, weights=w)
    if not spread > 0:
        return None
    slope = np.average((levels - mean) * variances, weights=w) / spread
    error = 0.15 / np.sqrt(w.sum() * spread)
    return float(slope) if slope > 4.0 * error else None


def _without_photons(levels: np.ndarray, variances: np.ndarray) -> NoiseModel:
    """Noise that does not depend on the light."""
    sigma = float(np.median(variances)) ** 0.5
    if not sigma > 0:
        # Without any noise nothing is taken for it.
        sigma = max(1e-6 * float(np.abs(levels).max()), 1e-30)
    gain = _ONLY_READNOISE / sigma
    return NoiseModel(gain, _ONLY_READNOISE, float(levels.min()))


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """Median of values that count more or less."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, 0.5 * total[-1])])


def header_value(
    meta: Mapping[str, Any] | None, names: tuple[str, ...], *, most: float = 1e6
) -> float | None:
    """
    Return a positive number of a header.

    Parameters
    ----------
    meta : mapping or None
        Header.
    names : tuple of str
        Keywords in the order of preference.
    most : float, optional
        From here on it is no such number.

    Returns
    -------
    float or None
        The number; None if there is none that is positive.
    """
    for name in names:
        value = None if meta is None else meta.get(name)
        if isinstance(value, Real) and 0 < value < most:
            return float(value)
    return None


def _gain_of(meta: Mapping[str, Any] | None) -> float | None:
    """
    Electrons per ADU of a header.

    ``GAIN`` of many cameras is the position of a knob: it counts only as a
    fraction or with a unit in its comment.
    """
    gain = header_value(meta, ('EGAIN',))
    if gain is not None:
        return gain
    gain = header_value(meta, ('GAIN',))
    comment = str(getattr(meta, 'comments', {'GAIN': ''})['GAIN']) if gain else ''
    says = any(word in comment.lower() for word in ('elec', 'e-', 'e/'))
    return (
        gain if gain is not None and (says or gain != int(gain) or gain <= 3) else None
    )
