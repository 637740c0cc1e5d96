# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Synthetic skies: star fields, clusters, galaxies, nebulae, Sun and Moon."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import QTable

from astroflat.degradation._kinds import SCENE_KINDS, SceneKind
from astroflat.degradation._scene import Scene
from astroflat.degradation._scenes_galaxies import galaxies
from astroflat.degradation._scenes_moon import moon
from astroflat.degradation._scenes_sky import SKIES, Plan, Stars
from astroflat.degradation._scenes_stars import PointSpread
from astroflat.degradation._scenes_sun import active_region, granulation, sunspot

__all__ = ['SCENE_KINDS', 'Scene', 'SceneKind', 'draw_scene', 'make_scene']

_NIGHT = {**SKIES, 'galaxies': galaxies}
_DAY = {
    'granulation': granulation,
    'sunspot': sunspot,
    'active_region': active_region,
    'moon': moon,
}


def make_scene(
    shape: tuple[int, int],
    *,
    kind: SceneKind = 'starfield',
    rng: np.random.Generator | int | None = None,
    **options: Any,
) -> np.ndarray:
    """
    Make an image of a synthetic sky, without noise.

    Parameters
    ----------
    shape : tuple of int
        Shape of the image, ``(ny, nx)``.
    kind : str, optional
        What it shows, one of `SCENE_KINDS`.
    rng : `numpy.random.Generator`, int or None, optional
        Source of random numbers. The same seed gives the same image.
    **options
        See `draw_scene`, which also gives the catalogue of the stars.

    Returns
    -------
    ndarray of float32
        Electrons per pixel.

    Examples
    --------
    >>> from astroflat.degradation import make_scene
    >>> image = make_scene((64, 80), kind='emission_nebula', rng=1, level=500)
    >>> image.shape, bool(image.min() >= 500)
    ((64, 80), True)
    """
    return draw_scene(shape, kind=kind, rng=rng, **options).render()


def draw_scene(
    shape: tuple[int, int],
    *,
    kind: SceneKind = 'starfield',
    rng: np.random.Generator | int | None = None,
    level: float = 1000.0,
    fwhm: float = 3.0,
    margin: int = 0,
    density: float | None = None,
    brightness: float | None = None,
    aberration: float | None = None,
    image: Any = None,
) -> Scene:
    """
    Draw a synthetic sky that can be rendered at many offsets.

    Parameters
    ----------
    shape : tuple of int
        Shape of a frame, ``(ny, nx)``.
    kind : str, optional
        What it shows, one of `SCENE_KINDS`.
    rng : `numpy.random.Generator`, int or None, optional
        Source of random numbers.
    level : float, optional
        Electrons per pixel: of the sky at night, of the mean Sun or Moon, of
        the median of an image.
    fwhm : float, optional
        Full width at half maximum of the stars in pixels, and the blur of
        everything else.
    margin : int, optional
        Largest offset in pixels at which the scene will be rendered.
    density : float, optional
        Field stars per million pixels; random by default.
    brightness : float, optional
        Brightness of nebulae and galaxies in units of the sky; random by
        default.
    aberration : float, optional
        Growth and elongation of the stars in the corners, 0 for perfect
        optics; random up to 0.25 by default.
    image : array_like, CCDData or path, optional
        The user's own picture, for the kind ``'image'``. It is scaled to
        ``level``, repeated by mirroring where it is too small, and cut in the
        middle where it is too large.

    Returns
    -------
    Scene
        The sky, with the catalogue of its stars.

    Raises
    ------
    ValueError
        If an argument is out of range, or an image is missing.

    Notes
    -----
    Stars are Moffat profiles sampled at the pixel centres, so ``fwhm`` should
    be at least 1.5 pixels. They are put at their exact places at every
    offset; extended light is interpolated by cubic splines.

    Examples
    --------
    >>> from astroflat.degradation import draw_scene
    >>> scene = draw_scene((60, 80), kind='open_cluster', rng=1)
    >>> scene.sources.colnames
    ['x', 'y', 'flux']
    """
    rng = np.random.default_rng(rng)
    _check(kind, image, level, fwhm, margin)
    shape = _check_shape(shape, kind)
    canvas = tuple(size + 2 * margin for size in shape)
    if aberration is None:
        aberration = 0.25 * rng.uniform()
    psf = _spread(shape, fwhm, aberration, rng)
    night = kind in _NIGHT
    stars = Stars()
    if night:
        plan = Plan(canvas, rng, level, fwhm, density, brightness)
        diffuse, stars = _NIGHT[kind](plan)
    elif kind == 'image':
        diffuse = _own_image(image, canvas, level)
    else:
        diffuse = level * _DAY[kind](canvas, rng=rng)
    if kind != 'image':
        diffuse = _blur(diffuse, canvas, fwhm)
    return Scene(
        kind=kind,
        shape=shape,
        level=float(level),
        background=float(level) if night else 0.0,
        diffuse=diffuse,
        sources=_catalogue(stars, margin),
        psf=psf,
        margin=int(margin),
    )


def _spread(
    shape: tuple[int, int], fwhm: float, aberration: float, rng: np.random.Generator
) -> PointSpread:
    """Draw the image of a star: its wings, and how it changes over the field."""
    ny, nx = shape
    size = 0.5 * float(np.hypot(ny, nx))
    shift = 0.2 * size * rng.uniform(-1.0, 1.0, 2)
    return PointSpread(
        fwhm=fwhm,
        beta=rng.uniform(2.6, 4.0),
        growth=aberration,
        ellipticity=aberration,
        x_0=0.5 * (nx - 1) + shift[0],
        y_0=0.5 * (ny - 1) + shift[1],
        size=size,
    )


def _blur(
    diffuse: np.ndarray | float, canvas: tuple[int, int], fwhm: float
) -> np.ndarray:
    """Blur extended light as the stars are, on an array of the canvas."""
    if np.ndim(diffuse) == 0:
        return np.full(canvas, diffuse, dtype=np.float32)
    from scipy.ndimage import gaussian_filter

    diffuse = np.asarray(diffuse, dtype=np.float32)
    return gaussian_filter(diffuse, fwhm / 2.3548, mode='nearest', truncate=3.5)


def _own_image(image: Any, canvas: tuple[int, int], level: float) -> np.ndarray:
    """Fit a picture to the canvas and scale its median to ``level``."""
    from astroflat._nddata import unpack

    if isinstance(image, (str, os.PathLike)):
        frame = unpack(image, name='image', ndim=(2, 3))
    else:
        frame = unpack(
            np.asarray(image) if isinstance(image, list) else image,
            name='image',
            ndim=(2, 3),
        )
    data = frame.data if frame.data.ndim == 2 else frame.data.mean(axis=2)
    median = float(np.nanmedian(data))
    if not median > 0:
        msg = (
            f'image has the median {median}; add its sky or pedestal, '
            'a scene has to be positive'
        )
        raise ValueError(msg)
    data = np.where(np.isfinite(data), data, median) * (level / median)
    for axis, size in enumerate(canvas):
        start = (data.shape[axis] - size) // 2
        period = max(1, 2 * data.shape[axis] - 2)
        index = np.abs(start + np.arange(size)) % period
        index = np.where(index < data.shape[axis], index, period - index)
        data = np.take(data, index, axis)
    return data.astype(np.float32)


def _catalogue(stars: Stars, margin: int) -> QTable:
    """Table of the stars in pixels of the frame, brightest first."""
    x, y, flux = stars.table()
    order = np.argsort(-flux, kind='stable')
    table = QTable()
    table['x'] = (x[order] - margin) * u.pix
    table['y'] = (y[order] - margin) * u.pix
    table['flux'] = flux[order] * u.electron
    return table


def _check_shape(shape: tuple[int, int], kind: str) -> tuple[int, int]:
    """Return a shape as whole numbers, or raise if no texture fits it."""
    least = 1 if kind == 'image' else 8
    if np.shape(shape) != (2,) or min(shape) < least:
        msg = f'shape must be (ny, nx) with at least {least} pixels each, not {shape!r}'
        raise ValueError(msg)
    return int(shape[0]), int(shape[1])


def _check(kind: str, image: Any, level: float, fwhm: float, margin: int) -> None:
    """Raise for options that cannot be."""
    if kind not in SCENE_KINDS:
        msg = f'kind must be one of {", ".join(SCENE_KINDS)}, not {kind!r}'
        raise ValueError(msg)
    if (kind == 'image') != (image is not None):
        msg = "kind='image' and image= go together; one of them is missing"
        raise ValueError(msg)
    for name, value in (('level', level), ('fwhm', fwhm)):
        if not value > 0:
            msg = f'{name} must be positive, not {value}'
            raise ValueError(msg)
    if margin < 0 or margin != int(margin):
        msg = f'margin must be a whole number of pixels, not {margin}'
        raise ValueError(msg)
