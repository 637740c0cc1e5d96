# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Mono, colour and Bayer images as a list of mono planes, and back."""

from __future__ import annotations

import numpy as np

__all__ = ['join_planes', 'mean_plane', 'split_planes']


def split_planes(image: np.ndarray, color: str) -> list[np.ndarray]:
    """
    Split an image so that no plane mixes colours.

    Parameters
    ----------
    image : `~numpy.ndarray`
        ``(ny, nx)``, or ``(ny, nx, 3)`` for 'RGB'.

    color : str
        'mono', 'RGB', or a Bayer or CMY pattern of four letters.

    Returns
    -------
    planes : list of `~numpy.ndarray`
        One plane, three, or four of half the size.

    Raises
    ------
    ValueError
        If a Bayer image has an odd number of rows or columns.
    """
    if image.ndim == 3:
        return [np.ascontiguousarray(image[..., i]) for i in range(image.shape[2])]
    if color in ('mono', 'RGB', None):
        return [image]
    if image.shape[0] % 2 or image.shape[1] % 2:
        msg = f'a {color} image must have even sides, not {image.shape}; crop it'
        raise ValueError(msg)
    return [np.ascontiguousarray(image[j::2, i::2]) for j in (0, 1) for i in (0, 1)]


def join_planes(planes: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """
    Join planes to the image they came from.

    Parameters
    ----------
    planes : list of `~numpy.ndarray`
        As returned by `split_planes`; a single plane serves all.

    shape : tuple of int
        The shape of the image.

    Returns
    -------
    image : `~numpy.ndarray`
        The image.
    """
    if len(shape) == 3:
        return np.stack([planes[i % len(planes)] for i in range(shape[2])], axis=-1)
    if planes[0].shape == shape:
        return planes[0]
    image = np.empty(shape, planes[0].dtype)
    for i in range(4):
        image[i // 2 :: 2, i % 2 :: 2] = planes[i % len(planes)]
    return image


def mean_plane(planes: list[np.ndarray]) -> np.ndarray:
    """
    Return the mean of the planes, each scaled by its median.

    Parameters
    ----------
    planes : list of `~numpy.ndarray`
        As returned by `split_planes`.

    Returns
    -------
    plane : `~numpy.ndarray`
        A single plane is returned as it is.
    """
    if len(planes) == 1:
        return planes[0]
    levels = [np.nanmedian(p) for p in planes]
    return sum(p / (v if v > 0 else 1) for p, v in zip(planes, levels, strict=True)) / (
        len(planes)
    )
