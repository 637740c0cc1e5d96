# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Turbulence in short exposures: local motions and a changing blur."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from astroflat.degradation._scene import Scene

__all__ = ['Seeing']

# Nodes of the displacement field across a frame: a few isoplanatic patches.
_NODES = (7, 9)


@dataclass(frozen=True)
class Seeing:
    """
    Motions of the patches of a frame in time.

    Parameters
    ----------
    nodes : ndarray
        Displacements (dy, dx) in pixels on a coarse grid, ``(n, 2, ky, kx)``.
    blur : ndarray
        Weight of the blurred image in every frame, 0 to 1, ``(n,)``.
    strength : float
        Standard deviation of the motions in pixels; 0 is perfect air.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation._seeing import Seeing
    >>> air = Seeing.draw(50, (40, 50), strength=1.0, rng=np.random.default_rng(1))
    >>> air.nodes.shape
    (50, 2, 7, 9)
    """

    nodes: np.ndarray
    blur: np.ndarray
    strength: float

    @classmethod
    def draw(
        cls,
        n: int,
        shape: tuple[int, int],  # noqa: ARG003
        *,
        strength: float,
        rng: np.random.Generator,
    ) -> Seeing:
        """
        Draw the motions of a video.

        Parameters
        ----------
        n : int
            Number of frames.
        shape : tuple of int
            Shape of a frame.
        strength : float
            Standard deviation of the motions in pixels.
        rng : `numpy.random.Generator`
            Source of random numbers.

        Returns
        -------
        Seeing
            Motions that are correlated over about three frames.
        """
        if strength < 0:
            msg = f'seeing must not be negative, but is {strength}'
            raise ValueError(msg)
        noise = rng.standard_normal((n, 2, *_NODES))
        blur = rng.standard_normal(n)
        memory = 0.7
        for index in range(1, n):
            fresh = (1.0 - memory**2) ** 0.5
            noise[index] = memory * noise[index - 1] + fresh * noise[index]
            blur[index] = 0.9 * blur[index - 1] + 0.19**0.5 * blur[index]
        weight = np.clip(0.5 + 0.3 * blur, 0.0, 1.0) * min(1.0, strength)
        return cls(nodes=strength * noise, blur=weight, strength=strength)

    def look(self, scene: Scene, shift: tuple[float, float], index: int) -> np.ndarray:
        """
        Render a scene through the air of one frame.

        Parameters
        ----------
        scene : Scene
            The sky.
        shift : tuple of float
            Shift (dy, dx) of the frame.
        index : int
            Number of the frame.

        Returns
        -------
        ndarray of float32
            Electrons per pixel.
        """
        image = scene.render(shift)
        if self.strength == 0:
            return image
        from scipy.ndimage import gaussian_filter

        image = _displace(image, self.nodes[index])
        weight = np.float32(self.blur[index])
        soft = gaussian_filter(
            image, 0.8 + 0.8 * min(self.strength, 3.0), mode='nearest'
        )
        image += weight * (soft - image)
        return image


def _displace(image: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Move an image by displacements given on a coarse grid."""
    from scipy.ndimage import map_coordinates, zoom

    ny, nx = image.shape
    factor = (ny / nodes.shape[1], nx / nodes.shape[2])
    field = np.stack(
        [
            zoom(part, factor, order=3, grid_mode=True, mode='nearest')
            for part in nodes.astype(np.float32)
        ]
    )[:, :ny, :nx]
    y, x = np.ogrid[:ny, :nx]
    place = np.stack([y + field[0], x + field[1]])
    return map_coordinates(image, place, order=3, mode='mirror', output=np.float32)
