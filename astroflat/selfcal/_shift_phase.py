# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""First offsets by correlation, with what stays on the detector removed."""

from __future__ import annotations

import math

import numpy as np

from astroflat.selfcal._shift_model import unexplained
from astroflat.selfcal._shift_prepare import high_pass, window

__all__ = ['Correlator', 'first_offsets']

_SIZE = 256
# A peak this many standard deviations high is believed.
_SURE = 15.0
# If more than this share of the peaks is not, perhaps nothing moves.
_MANY = 0.4
# Offsets of frames as they are win if they leave less than this share of what
# the offsets of frames less their mean leave; so many frames are looked at.
_BETTER, _LOOKED_AT = 0.95, 24


class Correlator:
    """
    Correlations of frames, padded so that they do not wrap around.

    Parameters
    ----------
    shape : tuple of int
        Of a frame.

    max_shift : float
        The largest offset looked for.
    """

    def __init__(self, shape: tuple[int, int], max_shift: float) -> None:
        from scipy.fft import next_fast_len

        self.size = tuple(next_fast_len(2 * m, real=True) for m in shape)
        y, x = (np.fft.fftfreq(m, 1 / m) for m in self.size)
        far = np.maximum(np.abs(y)[:, None], np.abs(x)) > max_shift
        # Of frames that hardly overlap, the correlation is chance.
        overlap = np.outer(
            *(
                np.maximum(m - np.abs(a), 0) / m
                for m, a in zip(shape, (y, x), strict=True)
            )
        )
        self._allowed = ~far & (overlap > 0.1)
        self._gain = (1 / np.sqrt(np.maximum(overlap, 0.1))).astype(np.float32)
        self._axes = (y, x)

    def transform(self, fine: np.ndarray) -> np.ndarray:
        """
        Transform a frame.

        Parameters
        ----------
        fine : `~numpy.ndarray`
            What `high_pass` returns.

        Returns
        -------
        waves : `~numpy.ndarray`
            Complex.
        """
        from scipy.fft import rfft2

        return rfft2(fine, self.size)

    def peak(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, float]:
        """
        Find by how much one frame is shifted against another.

        Parameters
        ----------
        a, b : `~numpy.ndarray`
            What `transform` returns.

        Returns
        -------
        offset : `~numpy.ndarray`
            (dy, dx): what is at (y, x) in b is at (y + dy, x + dx) in a.

        height : float
            Of the peak, in standard deviations of the correlation.
        """
        from scipy.fft import irfft2

        cross = a * b.conj()
        # Half way to phase correlation: sharper peaks, little noise.
        power = np.abs(cross)
        cross /= np.sqrt(power + 1e-3 * power.mean() + 1e-30)
        surface = irfft2(cross, self.size)
        surface *= self._gain
        scatter = float(surface[self._allowed].std())
        surface = np.where(self._allowed, surface, -np.inf)
        j, i = np.unravel_index(int(np.argmax(surface)), surface.shape)
        offset = [
            axis[m] + _vertex(np.roll(line, 1 - m)[:3])
            for axis, m, line in zip(
                self._axes, (j, i), (surface[:, i], surface[j]), strict=True
            )
        ]
        return np.array(offset), float(surface[j, i]) / max(scatter, 1e-30)


def _vertex(values: np.ndarray) -> float:
    """Return the place of the maximum of a parabola through three points."""
    left, middle, right = values
    bend = left - 2 * middle + right
    if not (np.isfinite(bend) and bend < 0):
        return 0.0
    return float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5))


def first_offsets(
    logs: np.ndarray,
    reference: int,
    max_shift: float,
    start: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """
    Find the offsets of all frames to about a pixel.

    Parameters
    ----------
    logs : `~numpy.ndarray`
        ``(n, ny, nx)``, as `prepare` returns.

    reference : int
        The frame whose offset is zero.

    max_shift : float
        The largest offset between two frames.

    start : `~numpy.ndarray`, optional
        ``(n, 2)``, what is said beforehand: taken unless the correlations explain
        the frames better.

    Returns
    -------
    offsets : `~numpy.ndarray`
        ``(n, 2)``.

    heights : `~numpy.ndarray`
        ``(n,)``: how far the peaks stand out, in standard deviations; infinite
        where ``start`` is taken.
    """
    step = max(1, math.ceil(max(logs.shape[1:]) / _SIZE))
    ny, nx = (m // step for m in logs.shape[1:])
    sigma = max(4.0, max(ny, nx) / 24)
    fine = np.stack([high_pass(_shrink(a, step), sigma) for a in logs])
    correlator = Correlator((ny, nx), max_shift / step)
    fade = window((ny, nx))
    offsets, heights = _correlate(fine, fade, correlator, reference)
    if start is not None:
        given = start / step
        # A header may hold where the telescope was sent, or be copied.
        if not _explains_more(offsets, given, fine, fade, correlator):
            offsets, heights = given, np.full(len(fine), np.inf)
    return offsets * step, heights


def _correlate(
    fine: np.ndarray, fade: np.ndarray, correlator: Correlator, reference: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return offsets and heights from correlations, in pixels of these images."""
    # Of two frames, what is left has no sign: there the mean stays.
    still = fine.mean(axis=0) if len(fine) > 2 else np.zeros_like(fine[0])
    offsets, heights = _chain(fine, still, fade, correlator, reference)
    others = np.delete(heights, reference)
    if len(fine) > 2 and np.mean(others < _SURE) > _MANY:
        plain = _if_still(fine, fade, correlator, reference)
        if plain is not None:
            return np.zeros_like(offsets), plain
    if len(fine) > 2:
        # The mean holds stars that hardly move, and leaves their ghosts.
        other = _chain(fine, np.zeros_like(still), fade, correlator, reference)
        if _explains_more(other[0], offsets, fine, fade, correlator):
            offsets, heights = other
    return offsets, heights


def _chain(
    fine: np.ndarray,
    still: np.ndarray,
    fade: np.ndarray,
    correlator: Correlator,
    reference: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Correlate all frames with the reference, or with those before them."""

    def waves(k: int) -> np.ndarray:
        return correlator.transform((fine[k] - still) * fade)

    first = waves(reference)
    offsets, heights = np.zeros((len(fine), 2)), np.full(len(fine), np.inf)
    for order in (range(reference + 1, len(fine)), range(reference - 1, -1, -1)):
        before, last = first, reference
        for k in order:
            here = waves(k)
            offsets[k], heights[k] = correlator.peak(here, first)
            along, height = correlator.peak(here, before)
            # Frames that follow each other overlap more.
            if heights[k] < _SURE and height > 1.3 * heights[k]:
                offsets[k] = offsets[last] + along
                heights[k] = min(height, heights[last])
            before, last = here, k
    return offsets, heights


def _explains_more(
    new: np.ndarray,
    old: np.ndarray,
    fine: np.ndarray,
    fade: np.ndarray,
    correlator: Correlator,
) -> bool:
    """Return whether other offsets are clearly better."""
    if np.abs(new - old).max() < 1:
        return False
    step = math.ceil(len(fine) / _LOOKED_AT)
    waves = np.stack([correlator.transform(image * fade) for image in fine[::step]])
    left = [unexplained(waves, o[::step], correlator.size) for o in (new, old)]
    return left[0] < _BETTER * left[1]


def _if_still(
    fine: np.ndarray, fade: np.ndarray, correlator: Correlator, reference: int
) -> np.ndarray | None:
    """Return the heights of peaks if all frames are alike as they are."""
    first = correlator.transform(fine[reference] * fade)
    heights = np.full(len(fine), np.inf)
    for k, image in enumerate(fine):
        if k != reference:
            move, heights[k] = correlator.peak(
                correlator.transform(image * fade), first
            )
            if np.abs(move).max() > 1 or heights[k] < _SURE:
                return None
    return heights


def _shrink(logs: np.ndarray, step: int) -> np.ndarray:
    """Average blocks, leaving bad pixels out."""
    if step == 1:
        return logs
    ny, nx = (m // step for m in logs.shape)
    blocks = logs[: ny * step, : nx * step].reshape(ny, step, nx, step)
    good = np.isfinite(blocks)
    count = good.sum(axis=(1, 3))
    total = np.where(good, blocks, 0).sum(axis=(1, 3))
    return np.where(2 * count > step**2, total / np.maximum(count, 1), np.nan)
