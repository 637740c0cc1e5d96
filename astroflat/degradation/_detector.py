# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What a detector adds: dark current, hot pixels, cosmic rays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from astroflat.degradation._cameras import Camera, get_camera

__all__ = ['SensorPattern', 'add_cosmic_rays']


@dataclass(frozen=True)
class SensorPattern:
    """
    What a detector adds in the same place of every frame.

    Parameters
    ----------
    dark_rate : ndarray of float32
        Dark current of every pixel in electrons per second, with hot pixels.
    hot : ndarray of bool
        True for the hot pixels.

    Examples
    --------
    >>> from astroflat.degradation import SensorPattern
    >>> pattern = SensorPattern.draw((100, 100), camera='dslr', rng=1)
    >>> int(pattern.hot.sum())
    10
    """

    dark_rate: np.ndarray
    hot: np.ndarray

    @classmethod
    def draw(
        cls,
        shape: tuple[int, int],
        *,
        camera: Camera | str = 'cmos',
        rng: np.random.Generator | int | None = None,
    ) -> SensorPattern:
        """
        Draw the dark current of a detector.

        Parameters
        ----------
        shape : tuple of int
            Shape of the detector.
        camera : Camera or str, optional
            Camera or its name.
        rng : `numpy.random.Generator`, int or None, optional
            Source of random numbers.

        Returns
        -------
        SensorPattern
            Log-normal dark current (a spread of 0.3) and hot pixels of 20 to
            2000 times the median.
        """
        camera, rng = get_camera(camera), np.random.default_rng(rng)
        rate = np.exp(0.3 * rng.standard_normal(shape, dtype=np.float32))
        rate *= np.float32(camera.dark_current)
        n = round(camera.hot_fraction * rate.size)
        place = rng.choice(rate.size, size=n, replace=False, shuffle=False)
        rate.ravel()[place] *= np.exp(rng.uniform(math.log(20), math.log(2000), n))
        hot = np.zeros(shape, dtype=bool)
        hot.ravel()[place] = True
        return cls(dark_rate=rate, hot=hot)


def add_cosmic_rays(
    electrons: np.ndarray, n: int, *, rng: np.random.Generator
) -> np.ndarray:
    """
    Add cosmic rays to an image, in place.

    Parameters
    ----------
    electrons : ndarray of float32
        Electrons, changed.
    n : int
        Number of cosmic rays.
    rng : `numpy.random.Generator`
        Source of random numbers.

    Returns
    -------
    ndarray of bool
        True where a cosmic ray was added.

    Notes
    -----
    A ray crosses the detector at a random angle and leaves its charge, 500 to
    30000 electrons, along a straight track of 1 to some 40 pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation.sensor import add_cosmic_rays
    >>> image = np.zeros((60, 60), dtype=np.float32)
    >>> hit = add_cosmic_rays(image, 5, rng=np.random.default_rng(1))
    >>> bool(np.array_equal(hit, image > 0))
    True
    """
    hit = np.zeros(electrons.shape, dtype=bool)
    ny, nx = electrons.shape
    for _ in range(n):
        # Isotropic rays through a thin plate: many short tracks, few long.
        length = min(1.0 + 1.5 * abs(math.tan(rng.uniform(0.0, 1.54))), 40.0)
        charge = math.exp(rng.uniform(math.log(500.0), math.log(30000.0)))
        angle = rng.uniform(0.0, 2.0 * math.pi)
        place = rng.uniform(-0.5, (ny - 0.5, nx - 0.5))
        along = np.arange(0.0, length, 0.25)
        y = np.rint(place[0] + along * math.sin(angle)).astype(int)
        x = np.rint(place[1] + along * math.cos(angle)).astype(int)
        inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
        y, x = y[inside], x[inside]
        np.add.at(electrons, (y, x), np.float32(charge / along.size))
        hit[y, x] = True
    return hit
