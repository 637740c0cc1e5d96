# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What the coarse fit expects in every pixel of every frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from astroflat.selfcal._prior import gradient_basis

if TYPE_CHECKING:
    from astroflat.selfcal._coarse_result import CoarseResult
    from astroflat.selfcal._grid import Grid

__all__ = ['Light']


@dataclass(frozen=True)
class Light:
    """
    The coarse fit, interpolated to pixels.

    Parameters
    ----------
    grid : Grid
        The cells.

    fit : CoarseResult
        The fields.
    """

    grid: Grid
    fit: CoarseResult

    def flat(self, rows: slice | None = None) -> np.ndarray:
        """
        Return the smooth flat.

        Parameters
        ----------
        rows : slice, optional
            The rows wanted.

        Returns
        -------
        flat : `~numpy.ndarray` of float32
            ``(rows, nx)``.
        """
        return np.exp(self.grid.enlarge(self.fit.log_flat, rows))

    def sky(self, i: int, rows: slice) -> np.ndarray | np.float32:
        """
        Return the light that falls through the flat.

        Parameters
        ----------
        i : int
            The frame.

        rows : slice
            The rows wanted.

        Returns
        -------
        light : `~numpy.ndarray` or number
            Sky, and scene if there is one, in the unit of the frames.
        """
        level = np.float32(self.fit.sky[i])
        scene = self.fit.scene
        if scene is None:
            return level
        values = (scene.gain[i] * self.fit.scale[i]) * scene.values
        values = values.reshape(scene.shape)
        return level + self.grid.enlarge(values, rows, start=tuple(scene.corner[i]))

    def gradient(self, i: int | None, rows: slice | None = None) -> np.ndarray:
        """
        Return the light that is added to a frame.

        Parameters
        ----------
        i : int or None
            The frame; None is the mean of all.

        rows : slice, optional
            The rows wanted.

        Returns
        -------
        gradient : `~numpy.ndarray` of float32
            In the unit of the frames. The polynomials have the mean 0, because
            a constant belongs to the level of the sky.
        """
        rows = rows or slice(0, self.grid.shape[0])
        terms = self.fit.terms * self.fit.scale[:, None]
        terms = terms.mean(axis=0) if i is None else terms[i]
        x, y = self.grid.pixel_xy(rows)
        middle = [np.mean(term) for term in gradient_basis(*self.grid.xy)]
        total = np.zeros((rows.stop - rows.start, self.grid.shape[1]))
        for value, term, level in zip(terms, gradient_basis(x, y), middle, strict=True):
            total += value * (term - level)
        added = self.fit.added
        if added is not None:
            gains = added.gain * self.fit.scale
            gain = gains.mean() if i is None else gains[i]
            values = (gain * added.values).reshape(self.grid.cells)
            total += self.grid.enlarge(values, rows)
        return total.astype(np.float32)
