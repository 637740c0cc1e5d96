# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What the sky does during a night."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from astroflat.degradation._render import render_sum
from astroflat.degradation.fields import LinearGradient2D, QuadraticGradient2D

__all__ = ['SkyDrift']


@dataclass(frozen=True)
class SkyDrift:
    """
    Level, transparency and gradient of the sky, frame by frame.

    Parameters
    ----------
    level : ndarray
        Electrons per pixel, ``(n,)``.
    transparency : ndarray
        Factor on the light of the scene, ``(n,)``.
    plane : ndarray
        Slopes (y, x) of the gradient in units of the level per pixel,
        ``(n, 2)``.
    bend : ndarray
        Second-order coefficients (xx, xy, yy) in units of the level,
        ``(n, 3)``.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation._sky import SkyDrift
    >>> drift = SkyDrift.draw(
    ...     5,
    ...     level=800.0,
    ...     change=0.4,
    ...     gradient=0.1,
    ...     turn=90.0,
    ...     clouds=0.0,
    ...     shape=(40, 40),
    ...     rng=np.random.default_rng(1),
    ... )
    >>> drift.gradient(0, (40, 40)).shape
    (40, 40)
    """

    level: np.ndarray
    transparency: np.ndarray
    plane: np.ndarray
    bend: np.ndarray

    @classmethod
    def draw(
        cls,
        n: int,
        *,
        level: float,
        change: float,
        gradient: float,
        turn: float,
        clouds: float,
        shape: tuple[int, int],
        rng: np.random.Generator,
    ) -> SkyDrift:
        """
        Draw a night.

        Parameters
        ----------
        n : int
            Number of frames.
        level : float
            Mean level in electrons per pixel.
        change : float
            Relative change over the night, of random sign.
        gradient : float
            Gradient across the diagonal in units of the level.
        turn : float
            Degrees by which it turns, of random sense.
        clouds : float
            Standard deviation of the transparency.
        shape : tuple of int
            Shape of a frame.
        rng : `numpy.random.Generator`
            Source of random numbers.

        Returns
        -------
        SkyDrift
            The night.
        """
        time = np.linspace(-0.5, 0.5, n) if n > 1 else np.zeros(n)
        sign = rng.choice([-1.0, 1.0], 2)
        course = 1.0 + change * (sign[0] * time + 0.15 * np.sin(7.0 * time))
        course *= np.exp(0.02 * change * rng.standard_normal(n))
        transparency = np.clip(1.0 - clouds * np.abs(rng.standard_normal(n)), 0.05, 1)
        angle = rng.uniform(-math.pi, math.pi) + sign[1] * math.radians(turn) * time
        size = math.hypot(*shape)
        slope = gradient / size * (1.0 + 0.3 * np.sin(4.0 * time + angle[:1].sum()))
        bend = rng.uniform(-1.0, 1.0, 3) * 0.3 * gradient * (2.0 / size) ** 2
        return cls(
            level=level * np.clip(course, 0.05, None),
            transparency=transparency,
            plane=np.stack([slope * np.sin(angle), slope * np.cos(angle)], axis=1),
            bend=bend * (1.0 + time[:, None]),
        )

    def gradient(self, index: int, shape: tuple[int, int]) -> np.ndarray:
        """
        Evaluate the gradient of one frame.

        Parameters
        ----------
        index : int
            Number of the frame.
        shape : tuple of int
            Shape of the frame.

        Returns
        -------
        ndarray of float32
            Electrons per pixel, mean near 0.
        """
        level = float(self.level[index])
        middle = {'x_0': 0.5 * (shape[1] - 1), 'y_0': 0.5 * (shape[0] - 1)}
        slope_y, slope_x = level * self.plane[index]
        xx, xy, yy = level * self.bend[index]
        models = [
            LinearGradient2D(slope_x=slope_x, slope_y=slope_y, **middle),
            QuadraticGradient2D(xx=xx, xy=xy, yy=yy, **middle),
        ]
        return render_sum(models, shape)
