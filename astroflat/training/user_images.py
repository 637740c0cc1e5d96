# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Skies out of the user's own images."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ['OwnImages', 'as_sky', 'list_images']

_SUFFIXES = ('.fits', '.fit', '.fts', '.fz', '.tif', '.tiff', '.png', '.jpg', '.jpeg')
# A sky fainter than this many times its noise has been subtracted; it gets one.
_SUBTRACTED, _SKY = 10.0, 30.0
_TOP = 6e4
# Images that are kept read.
_KEPT = 32


def list_images(folder: Path | str) -> list[Path]:
    """
    Find the images in a folder and the folders within.

    Parameters
    ----------
    folder : path-like
        The folder.

    Returns
    -------
    list of Path
        FITS, TIFF, PNG and JPEG files, sorted.

    Raises
    ------
    ValueError
        If there is none.
    """
    files = sorted(Path(folder).rglob('*')) if Path(folder).is_dir() else []
    found = [p for p in files if p.is_file() and _is_image(p)]
    if not found:
        msg = f'images: there is no FITS, TIFF, PNG or JPEG file in {str(folder)!r}'
        raise ValueError(msg)
    return found


def _is_image(path: Path) -> bool:
    name = path.name.lower()
    return name.removesuffix('.gz').endswith(_SUFFIXES)


def as_sky(image: np.ndarray) -> np.ndarray:
    """
    Divide an image by the level of its sky.

    Parameters
    ----------
    image : `~numpy.ndarray`
        Linear light, ``(ny, nx)``; what is not finite becomes sky.

    Returns
    -------
    `~numpy.ndarray`
        float32, in units of the sky level, less 1. An image whose sky was
        subtracted gets a sky of thirty times its noise.

    Raises
    ------
    ValueError
        If the image is constant.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.training.user_images import as_sky
    >>> image = np.random.default_rng(1).normal(500.0, 10.0, (64, 64))
    >>> sky = as_sky(image)
    >>> bool(abs(np.median(sky)) < 1e-6), round(float(sky.std()), 2)
    (True, 0.02)
    """
    image = np.array(image, dtype=np.float64)
    good = np.isfinite(image)
    level = np.median(image[good]) if good.any() else 0.0
    image[~good] = level
    # Neighbours differ by noise only, more or less.
    noise = 1.048 * np.median(np.abs(np.diff(image, axis=1)))
    if level < _SUBTRACTED * noise or not level > 0:
        added = _SKY * noise - level
        image, level = image + added, level + added
    if not level > 0:
        msg = 'the image is constant, there is no sky in it'
        raise ValueError(msg)
    return (image / level - 1.0).astype(np.float32)


class OwnImages:
    """
    Draw pieces of images as skies, for an `~astroflat.training.pools.ArrayPool`.

    The images are taken as linear and flat: a defect of theirs that is left is
    learned as sky.

    Parameters
    ----------
    folder : path-like
        Folder with FITS, TIFF, PNG or JPEG files. Of colour images one channel
        is taken at a time.
    """

    def __init__(self, folder: Path | str) -> None:
        self.paths = list_images(folder)
        self._read: dict[Path, np.ndarray] = {}

    def __call__(self, rng: np.random.Generator, size: int) -> dict[str, np.ndarray]:
        """
        Cut out a square, binned at random.

        Parameters
        ----------
        rng : `numpy.random.Generator`
            Source of random numbers.
        size : int
            Side of the square in pixels.

        Returns
        -------
        dict
            ``night``, float16, in units of the sky, less 1.

        Raises
        ------
        ValueError
            If no image can be used.

        Notes
        -----
        An image that cannot be read, or is smaller than the square, is left out
        with a warning.
        """
        while True:
            path = self.paths[rng.integers(len(self.paths))]
            try:
                planes = self._open(path)
                return {'night': _cut(planes[rng.integers(len(planes))], rng, size)}
            except (OSError, ValueError) as error:
                self._leave_out(path, error)

    def _leave_out(self, path: Path, error: Exception) -> None:
        """Warn of an image, and give up after the last."""
        from astroflat import AstroflatWarning

        self.paths.remove(path)
        if not self.paths:
            msg = f'no image can be used; the last, {path.name}: {error}'
            raise ValueError(msg) from error
        warnings.warn(f'left out {path.name}: {error}', AstroflatWarning, stacklevel=3)

    def _open(self, path: Path) -> np.ndarray:
        """Read the planes of an image, ``(n, ny, nx)``."""
        if path not in self._read:
            from astroflat.io import read_image

            if len(self._read) >= _KEPT:
                self._read.pop(next(iter(self._read)))
            self._read[path] = _planes(read_image(path).data)
        return self._read[path]


def _cut(image: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    """Cut a square out of an image and bin it, both at random."""
    largest = min(image.shape) // size
    if largest < 1:
        msg = f'it has {image.shape} pixels, at least {size} are needed'
        raise ValueError(msg)
    factor = int(rng.integers(1, largest + 1))
    side = size * factor
    y, x = (int(rng.integers(n - side + 1)) for n in image.shape)
    cut = image[y : y + side, x : x + side]
    cut = cut.reshape(size, factor, size, factor).mean(axis=(1, 3))
    return np.clip(as_sky(cut), -1.0, _TOP).astype(np.float16)


def _planes(data: Any) -> np.ndarray:
    """Put the channels of an image first."""
    data = np.asarray(data)
    if data.ndim == 3 and data.shape[-1] in (3, 4):
        data = np.moveaxis(data[..., :3], -1, 0)
    if data.ndim == 2:
        data = data[None]
    if data.ndim != 3:
        msg = f'the shape {data.shape} is not that of an image'
        raise ValueError(msg)
    return data
