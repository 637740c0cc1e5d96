# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A sky that can be looked at again from a slightly different direction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from astropy.table import QTable

from astroflat.degradation._scenes_stars import PointSpread, add_stars

__all__ = ['Scene', 'shift_canvas']


@dataclass(frozen=True)
class Scene:
    """
    Light that arrives at the detector, before flat and gradient.

    Parameters
    ----------
    kind : str
        What it shows, one of `~astroflat.degradation.SCENE_KINDS`.
    shape : tuple of int
        Shape of a frame, ``(ny, nx)``.
    level : float
        Electrons per pixel of the sky, or of the mean Sun or Moon.
    background : float
        Electrons per pixel of the uniform sky that `render` adds: ``level``
        at night, 0 for the Sun and the Moon.
    diffuse : ndarray of float32
        Extended light in electrons, larger than a frame by ``margin`` pixels
        on every side.
    sources : `~astropy.table.QTable`
        Stars: ``x``, ``y`` in pixels of the frame without offset and ``flux``
        in electrons.
    psf : PointSpread
        Image of a star at a place of the detector.
    margin : int
        Largest offset in pixels.

    Examples
    --------
    >>> from astroflat.degradation import draw_scene
    >>> scene = draw_scene((40, 50), kind='starfield', rng=3, margin=4)
    >>> scene.render().shape, scene.diffuse.shape
    ((40, 50), (48, 58))
    """

    kind: str
    shape: tuple[int, int]
    level: float
    background: float
    diffuse: np.ndarray
    sources: QTable
    psf: PointSpread
    margin: int = 0

    def render(
        self,
        offset: tuple[float, float] = (0.0, 0.0),
        *,
        background: float | None = None,
        transparency: float = 1.0,
    ) -> np.ndarray:
        """
        Look at the scene.

        Parameters
        ----------
        offset : tuple of float, optional
            Shift (dy, dx) of the scene on the detector in pixels: what is at
            (y, x) without offset appears at (y + dy, x + dx).
        background : float, optional
            Electrons per pixel of the sky in place of ``self.background``.
        transparency : float, optional
            Factor on everything but the sky.

        Returns
        -------
        ndarray of float32
            Electrons per pixel that arrive, ``(ny, nx)``.

        Raises
        ------
        ValueError
            If the offset is larger than the margin.

        Examples
        --------
        >>> import numpy as np
        >>> from astroflat.degradation import draw_scene
        >>> scene = draw_scene((40, 50), kind='moon', rng=3, margin=4)
        >>> moved = scene.render((2, 0))
        >>> bool(np.array_equal(moved[2:], scene.render()[:-2]))
        True
        """
        dy, dx = (float(value) for value in offset)
        if max(abs(dy), abs(dx)) > self.margin:
            msg = (
                f'offset {(dy, dx)} is larger than the margin of {self.margin} pixels; '
                'draw the scene with a larger margin'
            )
            raise ValueError(msg)
        image = self._shifted(dy, dx)
        if transparency != 1.0:
            image *= np.float32(transparency)
        image += np.float32(self.background if background is None else background)
        add_stars(
            image,
            self.sources['x'].value + dx,
            self.sources['y'].value + dy,
            self.sources['flux'].value * transparency,
            psf=self.psf,
            # A hundredth of the noise of the sky: invisible even in a stack.
            floor=0.01 * max(self.level, 1.0) ** 0.5,
        )
        return image

    @cached_property
    def coefficients(self) -> np.ndarray:
        """B-spline coefficients of the extended light, on the canvas."""
        from scipy.ndimage import spline_filter

        return spline_filter(self.diffuse, order=3, output=np.float32, mode='mirror')

    def _shifted(self, dy: float, dx: float) -> np.ndarray:
        """Return the extended light of a frame at an offset, a new array."""
        whole = dy == round(dy) and dx == round(dx)
        canvas = self.diffuse if whole else self.coefficients
        start = (self.margin - dy, self.margin - dx)
        return shift_canvas(canvas, start, self.shape)


def shift_canvas(
    canvas: np.ndarray, start: tuple[float, float], shape: tuple[int, int]
) -> np.ndarray:
    """
    Cut a frame out of a larger image, at a fraction of a pixel if need be.

    Parameters
    ----------
    canvas : ndarray
        Image for whole starts, its cubic B-spline coefficients for others.
    start : tuple of float
        Place (y, x) of the frame's first pixel on the canvas.
    shape : tuple of int
        Shape of the frame.

    Returns
    -------
    ndarray
        The frame, a new array; the canvas is extended by mirroring.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation._scene import shift_canvas
    >>> shift_canvas(np.arange(5.0)[None], (0, 2), (1, 3))
    array([[2., 3., 4.]])
    """
    out = canvas
    for axis in (0, 1):
        out = _take(out, start[axis], shape[axis], axis)
    return out.copy() if np.may_share_memory(out, canvas) else out


def _take(array: np.ndarray, start: float, size: int, axis: int) -> np.ndarray:
    """Cut ``size`` samples from ``start`` on along an axis."""
    whole = int(np.floor(start))
    u = start - whole
    if u == 0.0:
        return _samples(array, whole, size, axis)
    v = 1.0 - u
    weights = (
        v**3 / 6.0,
        (4.0 + 3.0 * u * u * (u - 2.0)) / 6.0,
        (4.0 + 3.0 * v * v * (v - 2.0)) / 6.0,
        u**3 / 6.0,
    )
    total = 0.0
    for step, weight in enumerate(weights, start=whole - 1):
        total = total + _samples(array, step, size, axis) * np.float32(weight)
    return total


def _samples(array: np.ndarray, start: int, size: int, axis: int) -> np.ndarray:
    """Return samples along an axis, mirrored beyond its ends."""
    if start >= 0 and start + size <= array.shape[axis]:
        return (
            array[start : start + size] if axis == 0 else array[:, start : start + size]
        )
    return np.take(array, _mirror(start + np.arange(size), array.shape[axis]), axis)


def _mirror(index: np.ndarray, size: int) -> np.ndarray:
    """Reflect indices about the centres of the first and last sample."""
    period = max(1, 2 * size - 2)
    index = np.abs(index) % period
    return np.where(index < size, index, period - index)
