# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Turbulence in short exposures: local motions and a changing blur."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from astroflat.degradation._scene import Scene, shift_canvas

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
    >>> air = Seeing.draw(50, strength=1.0, rng=np.random.default_rng(1))
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

    def soften(self, scene: Scene) -> np.ndarray:
        """
        Blur the extended light of a scene, once for all frames.

        Parameters
        ----------
        scene : Scene
            The sky.

        Returns
        -------
        ndarray of float32
            B-spline coefficients of the blurred canvas.
        """
        from scipy.ndimage import gaussian_filter

        return gaussian_filter(scene.coefficients, self._sigma, mode='mirror')

    def look(
        self, scene: Scene, soft: np.ndarray, shift: tuple[float, float], index: int
    ) -> np.ndarray:
        """
        Render a scene through the air of one frame.

        Parameters
        ----------
        scene : Scene
            The sky.
        soft : ndarray of float32
            What `soften` returned for it.
        shift : tuple of float
            Shift (dy, dx) of the frame.
        index : int
            Number of the frame.

        Returns
        -------
        ndarray of float32
            Electrons per pixel.
        """
        weight = np.float32(self.blur[index])
        if len(scene.sources):
            # Stars are drawn at their places, so they are blurred afterwards.
            from scipy.ndimage import gaussian_filter

            image = scene.render(shift)
            image += weight * (gaussian_filter(image, self._sigma) - image)
        else:
            canvas = scene.coefficients + weight * (soft - scene.coefficients)
            start = (scene.margin - shift[0], scene.margin - shift[1])
            image = shift_canvas(canvas, start, scene.shape)
            image += np.float32(scene.background)
        return _displace(image, self.nodes[index])

    @property
    def _sigma(self) -> float:
        """Standard deviation of the strongest blur in pixels."""
        return 0.8 + 0.8 * min(self.strength, 3.0)


def _displace(image: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Move an image by displacements given on a coarse grid."""
    from scipy.ndimage import map_coordinates

    ny, nx = image.shape
    rows, cols = _weights(ny, nodes.shape[1]), _weights(nx, nodes.shape[2])
    # For products this small the threads of a BLAS cost more than the sum.
    partial = np.einsum('dkl,xl->dkx', nodes.astype(np.float32), cols)
    place = np.einsum('yk,dkx->dyx', rows, partial)
    place[0] += np.arange(ny, dtype=np.float32)[:, None]
    place[1] += np.arange(nx, dtype=np.float32)
    # Linear interpolation blurs a little, unevenly, as the air does.
    return map_coordinates(image, place, order=1, mode='nearest', output=np.float32)


def _weights(size: int, n: int) -> np.ndarray:
    """Bell-shaped weights of ``n`` nodes along an axis, of unit square sum."""
    place = np.linspace(0.0, n - 1.0, size)[:, None] - np.arange(n)
    bell = np.exp(-0.5 * (place / 0.7) ** 2)
    bell /= np.sqrt((bell**2).sum(axis=1, keepdims=True))
    return bell.astype(np.float32)
