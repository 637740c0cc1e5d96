# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""How well offsets explain frames as a sky that moves and a pattern that stays."""

from __future__ import annotations

import numpy as np

__all__ = ['unexplained']

# Of waves that offsets do not tell apart, neither part gets more than its share.
_RIDGE = 0.05


def unexplained(waves: np.ndarray, offsets: np.ndarray, size: tuple[int, int]) -> float:
    """
    Return the share of the power of frames that no sky and no pattern explain.

    Parameters
    ----------
    waves : `~numpy.ndarray` of complex
        ``(n, ny, nx // 2 + 1)``, the real Fourier transforms of the frames.

    offsets : `~numpy.ndarray`
        ``(n, 2)``, in pixels of the transformed frames.

    size : tuple of int
        ``(ny, nx)``.

    Returns
    -------
    share : float
        From 0 to 1, of waves weighted by the inverse root of their power.

    Notes
    -----
    For given offsets sky and pattern of every wave are the solution of a linear
    problem of two unknowns. Where the offsets are wrong, stars are double and what
    is left is large: this is what a correlation of two frames cannot know.
    """
    y = np.fft.fftfreq(size[0])[:, None]
    x = np.fft.rfftfreq(size[1])
    together = np.zeros(waves.shape[1:], complex)
    sky, power = np.zeros_like(together), np.zeros(waves.shape[1:])
    for wave, (dy, dx) in zip(waves, offsets, strict=True):
        turn = np.exp(-2j * np.pi * (y * dy + x * dx))
        together += turn / len(waves)
        sky += turn.conj() * wave / len(waves)
        power += np.abs(wave) ** 2 / len(waves)
    still = waves.mean(axis=0)
    full = 1 + _RIDGE
    scale = full**2 - np.abs(together) ** 2
    pattern = (full * still - together * sky) / scale
    sky = (full * sky - together.conj() * still) / scale
    left = np.zeros_like(power)
    for wave, (dy, dx) in zip(waves, offsets, strict=True):
        turn = np.exp(-2j * np.pi * (y * dy + x * dx))
        left += np.abs(wave - pattern - turn * sky) ** 2 / len(waves)
    weight = 1 / np.sqrt(power + 1e-3 * power.mean() + 1e-30)
    return float((weight * left).sum() / max((weight * power).sum(), 1e-30))
