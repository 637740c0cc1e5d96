# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Where the skies of the frames are, and how they are interpolated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ['Interpolation', 'SkyLayout', 'taps']

Interpolation = Literal['nearest', 'linear', 'cubic']

# An offset this close to whole pixels is one.
_WHOLE = 1e-4
# Pixels of sky beside those seen: for the taps, and for offsets that change.
_MARGIN = 3


def taps(fraction: float, interpolation: Interpolation) -> dict[int, float]:
    """
    Return the weights of the neighbours of a point between two pixels.

    Parameters
    ----------
    fraction : float
        Its distance from pixel 0, from 0 to 1.

    interpolation : {'nearest', 'linear', 'cubic'}
        'cubic' is the kernel of Keys (1981), doi:10.1109/TASSP.1981.1163711.

    Returns
    -------
    weights : dict
        Weights by pixel; their sum is 1.
    """
    t = fraction
    if interpolation == 'nearest':
        return {int(t >= 0.5): 1.0}
    if t < _WHOLE:
        return {0: 1.0}
    if t > 1 - _WHOLE:
        return {1: 1.0}
    if interpolation == 'linear':
        return {0: 1 - t, 1: t}
    return {
        -1: ((-0.5 * t + 1.0) * t - 0.5) * t,
        0: (1.5 * t - 2.5) * t * t + 1.0,
        1: ((-1.5 * t + 2.0) * t + 0.5) * t,
        2: (0.5 * t - 0.5) * t * t,
    }


@dataclass(frozen=True)
class SkyLayout:
    """
    Where the sky of each group of frames lies in one array.

    Attributes
    ----------
    shape : tuple of int
        Of a frame.

    groups : `~numpy.ndarray` of int
        ``(n,)``: frames of one group see one sky.

    origins : `~numpy.ndarray`
        ``(number of groups, 2)``: the place of the first pixel of its sky.

    block : tuple of int
        The shape of a sky. They lie below each other.
    """

    shape: tuple[int, int]
    groups: np.ndarray
    origins: np.ndarray
    block: tuple[int, int]

    @classmethod
    def of(
        cls, shape: tuple[int, int], offsets: np.ndarray, groups: np.ndarray
    ) -> SkyLayout:
        """
        Make room for all frames.

        Parameters
        ----------
        shape : tuple of int
            Of a frame.

        offsets : `~numpy.ndarray`
            ``(n, 2)``.

        groups : `~numpy.ndarray` of int
            ``(n,)``, from 0 without gaps.

        Returns
        -------
        layout : SkyLayout
            With some room for offsets that are refined later.
        """
        from scipy.fft import next_fast_len

        place = -np.asarray(offsets, dtype=np.float64)
        many = range(int(groups.max()) + 1)
        origins = np.array(
            [np.floor(place[groups == g].min(axis=0)) - _MARGIN for g in many]
        )
        reach = np.ceil((place - origins[groups]).max(axis=0)).astype(int) + _MARGIN
        # Waves of these lengths are fast.
        ny, nx = (
            next_fast_len(m + int(r), real=True)
            for m, r in zip(shape, reach, strict=True)
        )
        return cls(shape, groups, origins, (ny, nx))

    def place(self, offsets: np.ndarray) -> np.ndarray:
        """
        Return where in the array the first pixel of each frame is.

        Parameters
        ----------
        offsets : `~numpy.ndarray`
            ``(n, 2)``.

        Returns
        -------
        place : `~numpy.ndarray`
            ``(n, 2)``, row and column.
        """
        place = -np.asarray(offsets, dtype=np.float64) - self.origins[self.groups]
        place[:, 0] += self.groups * self.block[0]
        return place

    def part(self, chosen: np.ndarray) -> SkyLayout:
        """
        Return the layout for some of the frames.

        Parameters
        ----------
        chosen : `~numpy.ndarray` of int
            The frames.

        Returns
        -------
        layout : SkyLayout
            Of the same array.
        """
        return SkyLayout(self.shape, self.groups[chosen], self.origins, self.block)
