# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Light that a detector adds to every frame, on the coarse grid."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg

if TYPE_CHECKING:
    from astroflat.selfcal._grid import Grid

__all__ = ['Added']

# Lengths of the light, in units of half of the diagonal, and their shares.
_LENGTHS = ((0.5, 1.0), (0.15, 0.3))
# How large it is before any frame is seen, and the least it can become.
_START, _LEAST, _MOST = 0.03, 1e-4, 1.0
# Of the constant, where the light of the sky is known.
_CONSTANT = 1.0


@dataclass
class Added:
    """
    What is added, in units of the level of a typical frame.

    Parameters
    ----------
    gain : `~numpy.ndarray`
        ``(n,)``, how much of it a frame has, in units of its own level.

    usual, inverse : `~numpy.ndarray`
        Prior covariance for an amplitude of 1, and its inverse.

    constant : float
        Prior standard deviation of its mean; tiny where a constant cannot be told
        from light.

    values : `~numpy.ndarray`
        One value per cell.

    amplitude : float
        Expected rms.
    """

    gain: np.ndarray
    usual: np.ndarray
    inverse: np.ndarray
    constant: float
    values: np.ndarray = field(default_factory=lambda: np.zeros(0))
    amplitude: float = _START

    @classmethod
    def empty(cls, grid: Grid, gain: np.ndarray, *, constant: bool) -> Added:
        """
        Prepare for a grid.

        Parameters
        ----------
        grid : Grid
            Cells of a frame.

        gain : `~numpy.ndarray`
            ``(n,)``.

        constant : bool
            Whether frames tell a constant from light.

        Returns
        -------
        added : Added
            Nothing yet.
        """
        x, y = grid.xy
        distance = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2
        usual = sum(
            share**2 * np.exp(-0.5 * distance / length**2) for length, share in _LENGTHS
        )
        # The mean has a prior of its own.
        usual = usual - usual.mean(axis=0) - usual.mean(axis=1)[:, None] + usual.mean()
        usual += 1e-4 * np.eye(len(x))
        mean = _CONSTANT if constant else 1e-3
        return cls(gain, usual, linalg.inv(usual), mean, np.zeros(len(x)))

    def light(self) -> np.ndarray:
        """Return what is added to every cell of every frame."""
        return self.gain[:, None] * self.values

    def precision(self) -> np.ndarray:
        """Return the inverse of the prior covariance."""
        covariance = self.amplitude**2 * self.usual + self.constant**2
        return linalg.inv(covariance, overwrite_a=True, check_finite=False)

    def learn(self, covariance: np.ndarray) -> None:
        """
        Find the amplitude under which what was found is most likely.

        Parameters
        ----------
        covariance : `~numpy.ndarray`
            Posterior covariance of the cells.

        Notes
        -----
        The fixed point of the evidence [1]_: the power of what was found over
        the number of well determined numbers.

        References
        ----------
        .. [1] MacKay, D. J. C. 1992, Neural Computation, 4, 415,
           https://doi.org/10.1162/neco.1992.4.3.415
        """
        centred = self.values - self.values.mean()
        power = float(centred @ self.inverse @ centred)
        # The mean has a prior of its own.
        rows = covariance.mean(axis=0)
        covariance = covariance - rows - rows[:, None] + rows.mean()
        lost = float((self.inverse * covariance).sum())
        known = max(len(centred) - 1 - lost / self.amplitude**2, 1e-3)
        found = float(np.sqrt(power / known))
        self.amplitude = float(np.clip(found, _LEAST, _MOST))
