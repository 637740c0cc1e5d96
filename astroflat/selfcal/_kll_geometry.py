# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What offsets between frames can tell, and what they cannot."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from astroflat.selfcal._kll_precondition import symbol

__all__ = ['DitherGeometry', 'remove_modes', 'study_dithers']

# Spreads below this, in pixels rms, move the sky by nothing.
_STILL = 0.15
# A wave is not told if its noise alone makes up so much of that of all waves.
_UNTOLD = 0.05
_GRID = 1024
_CANDIDATES = 24
_MOST = 200


@dataclass(frozen=True)
class DitherGeometry:
    """
    What the offsets of frames determine.

    Attributes
    ----------
    spread : tuple of float
        The rms of the offsets along their main axis and across, in pixels.

    angle : float
        The direction of the main axis in degrees, from the x axis to the y
        axis.

    gain : float
        By how much the noise of a mean over frames grows on the average over
        all waves, because the sky has to be found too.

    modes : list of str
        The undetermined patterns, in words.

    kind : {'', 'still', 'line', 'lattice'}
        What is wrong.

    waves : list of tuple
        Wave vectors (ky, kx) in radians per pixel: all sums of multiples of
        them are undetermined.
    """

    spread: tuple[float, float]
    angle: float
    gain: float
    modes: list[str] = field(default_factory=list)
    kind: str = ''
    waves: list[tuple[float, float]] = field(default_factory=list)

    @property
    def degenerate(self) -> bool:
        """Whether anything is undetermined."""
        return bool(self.modes)


def study_dithers(
    offsets: np.ndarray,
    shape: tuple[int, int],
    *,
    groups: np.ndarray | None = None,
    uncertainty: float = 0.0,
) -> DitherGeometry:
    """
    Find what offsets cannot tell.

    Parameters
    ----------
    offsets : `~numpy.ndarray`
        ``(n, 2)``.

    shape : tuple of int
        Of a frame.

    groups : `~numpy.ndarray` of int, optional
        Frames with a sky of their own; offsets count within groups only.

    uncertainty : float, optional
        The error of an offset in pixels: what differs by less is the same.

    Returns
    -------
    geometry : DitherGeometry
        In numbers and words.
    """
    groups = np.zeros(len(offsets), dtype=int) if groups is None else groups
    parts = [offsets[groups == g] for g in np.unique(groups)]
    inner = np.concatenate([part - part.mean(axis=0) for part in parts])
    values, vectors = np.linalg.eigh(inner.T @ inner / len(inner))
    minor, major = np.sqrt(np.maximum(values, 0))
    along = vectors[:, 1]
    angle = math.degrees(math.atan2(along[0], along[1]))
    angle = 0.0 if abs(abs(angle % 180) - 180) < 1e-6 else angle % 180
    spread = (float(major), float(minor))
    least = max(_STILL, 2 * uncertainty)
    if major < least:
        mode = (
            f'everything: the offsets differ by {major:.2g} px rms, less than '
            f'{least:.2g} px'
        )
        return DitherGeometry(spread, angle, math.inf, [mode], 'still')
    if minor < least:
        mode = (
            f'stripes along {angle:.0f} deg (from x towards y): all offsets lie on a '
            f'line, {minor:.2g} px rms across it'
        )
        return DitherGeometry(spread, angle, math.inf, [mode], 'line')
    least = min(1 / (_UNTOLD * math.prod(shape)), _UNTOLD / 10)
    waves = _untold_waves(parts, uncertainty, least)
    modes = [_name_wave(wave) for wave in waves]
    gain = _noise_gain(parts, shape) if not modes else math.inf
    return DitherGeometry(spread, angle, gain, modes, 'lattice' if modes else '', waves)


def _share(parts: list[np.ndarray], ky: np.ndarray, kx: np.ndarray) -> np.ndarray:
    """Return how well waves are told by all groups together."""
    n = sum(len(part) for part in parts)
    return sum(len(part) / n * symbol(part, ky, kx) for part in parts)


def _noise_gain(parts: list[np.ndarray], shape: tuple[int, int]) -> float:
    """Return the mean growth of the noise over the waves of a frame."""
    # All long waves, and fewer of the short ones, which are alike.
    axes = [
        np.unique(np.geomspace(1, max(m - 1, 2), 200).astype(int)).astype(float)
        for m in shape
    ]
    sizes = [np.gradient(axis) for axis in axes]
    ky, kx = (np.pi * axis / m for axis, m in zip(axes, shape, strict=True))
    told = 0.5 * (_share(parts, ky, kx) + _share(parts, ky, -kx))
    floor = np.minimum(_parabola(parts, ky, kx), 1e-2)
    weight = np.outer(*sizes)
    return float(np.sqrt(np.sum(weight / np.maximum(told, floor)) / weight.sum()))


def _parabola(parts: list[np.ndarray], ky: np.ndarray, kx: np.ndarray) -> np.ndarray:
    """Return the symbol of long waves."""
    inner = np.concatenate([part - part.mean(axis=0) for part in parts])
    spread = inner.T @ inner / len(inner)
    return spread[0, 0] * ky[:, None] ** 2 + spread[1, 1] * kx**2


def _untold_waves(
    parts: list[np.ndarray], uncertainty: float, least: float
) -> list[tuple[float, float]]:
    """Return wave vectors other than 0 that shift all frames by whole periods."""
    reach = max(np.ptp(part, axis=0).max() for part in parts)
    # The minima are as wide as one period over the whole reach.
    size = int(np.clip(2 ** math.ceil(math.log2(8 * (reach + 1))), 64, _GRID))
    k = np.pi * (np.arange(size) / (size // 2) - 1)
    half = k[size // 2 :]
    share = _share(parts, half, k)
    far = np.hypot(half[:, None], k) > 2 * np.pi / (reach + 1)
    places = np.argwhere((share < 0.5) & far & (share <= _around(share)))
    low = np.round(share[tuple(places.T)], 1)
    length = np.hypot(half[places[:, 0]], k[places[:, 1]])
    places = places[np.lexsort((length, low))][:_CANDIDATES]
    found: list[np.ndarray] = []
    for j, i in places:
        wave = _refine(parts, np.array([half[j], k[i]]), k[1] - k[0])
        error = 4 * float(wave @ wave) * uncertainty**2
        value = float(_share(parts, wave[:1], wave[1:])[0, 0])
        if value < least + error and np.hypot(*wave) > np.pi / (reach + 1):
            found.append(wave)
    return [(float(ky), float(kx)) for ky, kx in _basis(found, np.pi / (reach + 1))]


def _basis(found: list[np.ndarray], near: float) -> list[np.ndarray]:
    """Return the shortest wave vector, and the shortest that is independent."""
    found = sorted(found, key=lambda wave: float(np.hypot(*wave)))
    if not found:
        return []
    first = found[0]
    unit = first / np.hypot(*first)
    for wave in found[1:]:
        if abs(wave[0] * unit[1] - wave[1] * unit[0]) > near:
            return [first, wave]
    return [first]


def _all_waves(basis: list[tuple[float, float]]) -> list[np.ndarray]:
    """Return all waves of a lattice that pixels can hold, each once."""
    if len(basis) == 1:
        wave = np.array(basis[0])
        many = math.ceil(math.sqrt(2) * math.pi / np.hypot(*wave))
        waves = [m * wave for m in range(1, many + 1)]
    else:
        b = np.array(basis)
        reach = math.ceil(math.sqrt(2) * math.pi * np.abs(np.linalg.inv(b)).sum())
        m = range(-reach, reach + 1)
        waves = [i * b[0] + j * b[1] for i in m for j in m if (i, j) > (0, 0)]
    near = 0.1 * min(np.hypot(*w) for w in basis)
    kept: list[np.ndarray] = []
    for wave in sorted(waves, key=lambda w: float(np.hypot(*w))):
        inside = np.abs(wave).max() <= np.pi + 1e-3
        if inside and all(_apart(wave, other) > near for other in kept):
            kept.append(wave)
        if len(kept) == _MOST:
            break
    return kept


def _around(share: np.ndarray) -> np.ndarray:
    """Return the least of the eight neighbours and the pixel."""
    from scipy.ndimage import minimum_filter

    return minimum_filter(share, 3, mode='nearest')


def _refine(parts: list[np.ndarray], wave: np.ndarray, step: float) -> np.ndarray:
    """Go down to the minimum beside a point of the grid."""
    from scipy.optimize import minimize

    done = minimize(
        lambda w: float(_share(parts, w[:1], w[1:])[0, 0]),
        wave,
        method='Nelder-Mead',
        options={
            'initial_simplex': wave + step / 2 * np.array([[0, 0], [1, 0], [0, 1]]),
            'xatol': 1e-4,
            'fatol': 1e-8,
        },
    )
    return done.x


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    """Return the distance of wave vectors, which mean the same up to 2 pi and sign."""
    distances = []
    for sign in (1, -1):
        d = a - sign * b
        d = d - 2 * np.pi * np.rint(d / (2 * np.pi))
        distances.append(np.hypot(*d))
    return min(distances)


def _name_wave(wave: tuple[float, float]) -> str:
    """Describe a wave by its period and direction."""
    length = 2 * math.pi / math.hypot(*wave)
    angle = math.degrees(math.atan2(wave[0], wave[1]))
    angle = round(angle) % 180
    return (
        f'waves of a period of {length:.3g} px along {angle} deg (from x towards '
        'y), and their overtones: all offsets differ by whole periods'
    )


def remove_modes(flat: np.ndarray, geometry: DitherGeometry) -> np.ndarray:
    """
    Return the part of an image that the offsets cannot tell from the sky.

    Parameters
    ----------
    flat : `~numpy.ndarray`
        The logarithm of a flat.

    geometry : DitherGeometry
        What is undetermined.

    Returns
    -------
    part : `~numpy.ndarray`
        To be subtracted. Zero if everything is determined.
    """
    if geometry.kind == 'still':
        return flat.copy()
    if geometry.kind == 'line':
        return _along_lines(flat, geometry.angle)
    part = np.zeros(flat.shape)
    if not geometry.waves:
        return part.astype(flat.dtype)
    y, x = np.ogrid[: flat.shape[0], : flat.shape[1]]
    left = flat - flat.mean(dtype=np.float64)
    for ky, kx in _all_waves(geometry.waves):
        for wave in (np.cos(ky * y + kx * x), np.sin(ky * y + kx * x)):
            power = float(np.sum(wave * wave))
            if power > 1e-3 * flat.size:
                part += float(np.sum(wave * left)) / power * wave
    return part.astype(flat.dtype)


def _along_lines(flat: np.ndarray, angle: float) -> np.ndarray:
    """Return the means along lines of a direction."""
    ny, nx = flat.shape
    a = math.radians(angle)
    y, x = np.mgrid[:ny, :nx]
    across = y * math.cos(a) - x * math.sin(a)
    across -= across.min()
    low = np.floor(across).astype(int)
    part = across - low
    bins = low.max() + 2
    weight = np.bincount(low.ravel(), (1 - part).ravel(), bins)
    weight += np.bincount(low.ravel() + 1, part.ravel(), bins)
    total = np.bincount(low.ravel(), ((1 - part) * flat).ravel(), bins)
    total += np.bincount(low.ravel() + 1, (part * flat).ravel(), bins)
    mean = total / np.maximum(weight, 1e-9)
    return ((1 - part) * mean[low] + part * mean[low + 1]).astype(flat.dtype)
