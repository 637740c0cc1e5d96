# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Suppress the texture of a scene, scale by scale and place by place.

A matched filter in noise that is not white weights every spatial frequency
with the inverse of the noise power. Here the noise is the scene: granules,
fibrils and terrain have much power on large scales and, blurred by the air
and the telescope, little on small ones, where the hard edges of dust are.
Dividing each band of a Laplacian pyramid by its own local power brings the
outlines of dust out of the texture. On a flat in white noise the weights are
all equal and the image comes back as it was.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from astroflat.dust._scatter import BlockMap, block_scatter

__all__ = ['fill_holes', 'halve', 'pool', 'whiten']

_KERNEL = np.array([1, 4, 6, 4, 1], np.float32) / 16
_BLOCK = 16


def pool(image: np.ndarray) -> np.ndarray:
    """
    Average blocks of 2 x 2 pixels.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The image; a last odd row or column is averaged with itself.

    Returns
    -------
    image : `~numpy.ndarray`
        The image at half the size, rounded up. Pixel ``i`` of it is centred
        on ``2 * i + 0.5`` of the input.
    """
    ny, nx = image.shape
    if ny % 2 or nx % 2:
        image = np.pad(image, ((0, ny % 2), (0, nx % 2)), mode='edge')
    rows = image[::2] + image[1::2]
    return (rows[:, ::2] + rows[:, 1::2]) * np.float32(0.25)


def halve(image: np.ndarray) -> np.ndarray:
    """
    Smooth an image and take every second pixel.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The image.

    Returns
    -------
    image : `~numpy.ndarray`
        The image at half the size, rounded up. Pixel ``i`` of it is centred
        on ``2 * i`` of the input.
    """
    from scipy.ndimage import correlate1d

    rows = correlate1d(image, _KERNEL, 0, mode='reflect')[::2]
    return correlate1d(rows, _KERNEL, 1, mode='reflect')[:, ::2]


def _double(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Undo `halve` as far as possible: interpolate smoothly."""
    from scipy.ndimage import correlate1d

    rows = np.zeros((image.shape[0], shape[1]), image.dtype)
    rows[:, ::2] = image
    rows = correlate1d(rows, 2 * _KERNEL, 1, mode='mirror')
    result = np.zeros(shape, image.dtype)
    result[::2] = rows
    return correlate1d(result, 2 * _KERNEL, 0, mode='mirror')


def _bands(image: np.ndarray, levels: int) -> list[np.ndarray]:
    """Split an image into the bands of a Laplacian pyramid; drop the rest."""
    bands = []
    for _ in range(levels):
        small = halve(image)
        bands.append(image - _double(small, image.shape))
        image = small
    return bands


@lru_cache(maxsize=4)
def _white_scatter(levels: int) -> tuple[float, ...]:
    """Return the scatter of the bands of white noise of unit variance."""
    noise = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    first = [float(band.std()) for band in _bands(noise, min(levels, 4))]
    # From there on every octave has a quarter of the variance of the last.
    return tuple(first + [first[-1] / 2**k for k in range(1, levels - len(first) + 1)])


def whiten(
    image: np.ndarray, levels: int = 6, *, floor: float = 0.0
) -> tuple[np.ndarray, float]:
    """
    Weight every band of an image with its inverse local power.

    Parameters
    ----------
    image : `~numpy.ndarray` of float32
        The image, finite everywhere.

    levels : int, optional
        The number of bands; larger scales than ``2**levels`` are dropped.

    floor : float, optional
        The least noise per pixel.

    Returns
    -------
    white : `~numpy.ndarray` of float32
        The weighted image, in units of the input: its finest band has the
        weight one.

    redness : float
        How many times stronger than white noise of the same finest band the
        strongest of the bands is; about 1 without a texture.
    """
    bands = _bands(image, levels)
    scales = []
    for level, (band, unit) in enumerate(
        zip(bands, _white_scatter(levels), strict=True)
    ):
        block = _BLOCK if level else 4 * _BLOCK
        _, scatter = block_scatter(
            band, block, step=1 if level else 2, calm=level > 1, floor=floor * unit
        )
        scales.append(scatter.values / unit)
    unit = max(float(np.median(scales[0])), np.finfo(np.float32).tiny)
    white = np.zeros((1, 1), np.float32)
    for band, scale in zip(bands[::-1], scales[::-1], strict=True):
        # No band may count more than white noise would let it.
        weight = (unit / np.maximum(scale, 0.7 * unit)) ** 2
        low = _double(white, band.shape) if white.size > 1 else 0
        white = low + band * BlockMap(weight, band.shape).full()
    return white, max(float(np.median(scale)) for scale in scales) / unit


def fill_holes(image: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """
    Fill bad pixels smoothly from the good ones around them.

    Parameters
    ----------
    image : `~numpy.ndarray` of float32
        The image.

    bad : `~numpy.ndarray` of bool
        The pixels to fill; their values are not looked at.

    Returns
    -------
    image : `~numpy.ndarray`
        A copy with values that let filters pass, not more.
    """
    weight = (~bad).astype(np.float32)
    levels = [(np.where(bad, 0, image), weight)]
    while min(levels[-1][0].shape) > 2 and not (levels[-1][1] > 0.05).all():
        levels.append(tuple(halve(part) for part in levels[-1]))
    value, weight = levels[-1]
    total = max(float(weight.sum()), np.finfo(np.float32).tiny)
    mean = float(value.sum()) / total
    filled = np.where(weight > 1e-3, value / np.maximum(weight, 1e-3), mean)
    for value, weight in levels[-2::-1]:
        filled = value + (1 - weight) * _double(filled, value.shape)
    return filled
