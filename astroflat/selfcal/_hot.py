# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Hot pixels: bright, alone, and at the same place in all frames."""

from __future__ import annotations

import threading

import numpy as np

__all__ = ['HotPixels']

# How many standard deviations above its neighbours, in which share of the frames.
_BRIGHT, _MOST = 6.0, 0.7


class HotPixels:
    """
    Count where single pixels are bright.

    Parameters
    ----------
    shape : tuple of int
        Shape of a frame.

    Notes
    -----
    Where the registered frames are added up, a hot pixel makes a trail of as many
    bright points as there are frames. Taken for a star, with the margin of one, it
    hides a place of the detector in all frames, and dust with it.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.count = np.zeros(shape, np.uint16)
        self.frames = 0
        self._lock = threading.Lock()

    def add(self, frame: np.ndarray, noise: float) -> None:
        """
        Look at a frame.

        Parameters
        ----------
        frame : `~numpy.ndarray`
            ``(ny, nx)``, NaN where bad.

        noise : float
            Of a pixel, in its unit.
        """
        alone = np.zeros(frame.shape, bool)
        inner = frame[1:-1, 1:-1] - np.float32(_BRIGHT * noise)
        alone[1:-1, 1:-1] = inner > frame[:-2, 1:-1]
        for beside in (frame[2:, 1:-1], frame[1:-1, :-2], frame[1:-1, 2:]):
            alone[1:-1, 1:-1] &= inner > beside
        with self._lock:
            self.count += alone
            self.frames += 1

    def found(self) -> np.ndarray:
        """
        Return the hot pixels.

        Returns
        -------
        hot : `~numpy.ndarray` of bool
            True where a pixel was bright and alone in most frames.
        """
        return self.count >= max(_MOST * self.frames, 3)
