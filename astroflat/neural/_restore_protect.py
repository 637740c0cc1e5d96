# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Where a restored frame keeps what it was made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.neural._local_level import fill_bad

if TYPE_CHECKING:
    from astroflat.neural._restore_plane import Found

__all__ = ['check_protect', 'protection']

_NAMES = ('bright', 'flat')
# Smoothed height over the noise between which bright places begin to be kept.
_BRIGHT = (20.0, 60.0)
# Smoothed variance of what is restored over that of the noise, between which
# structures begin.
_FLAT = (0.1, 0.5)


def check_protect(protect: Any, shape: tuple[int, ...]) -> None:
    """
    Refuse what does not say what to keep.

    Parameters
    ----------
    protect : str, array_like or None
        What to keep.
    shape : tuple of int
        Rows and columns of the frame.

    Raises
    ------
    ValueError
        If it is another name, or an array of another shape or range.
    """
    if protect is None:
        return
    if isinstance(protect, str):
        if protect not in _NAMES:
            msg = f'protect must be one of {_NAMES} or an array, not {protect!r}'
            raise ValueError(msg)
        return
    weight = np.asarray(protect, dtype=np.float32)
    if weight.shape != shape or not (weight >= 0).all() or not (weight <= 1).all():
        msg = (
            f'protect has the shape {weight.shape}; it must be {shape}, with True or 1 '
            'where the frame is kept, and nothing out of 0 to 1'
        )
        raise ValueError(msg)


def protection(
    protect: Any,
    data: np.ndarray,
    bad: np.ndarray,
    full: np.ndarray,
    found: Found,
    fwhm: float,
) -> np.ndarray:
    """
    Return how much of the frame is kept.

    Parameters
    ----------
    protect : str, array_like or None
        What to keep.
    data : ndarray
        Plane.
    bad, full : ndarray of bool
        Bad and saturated pixels; around the latter the plane is kept too.
    found : Found
        What was found for the plane.
    fwhm : float
        Width of its stars.

    Returns
    -------
    ndarray of float32
        0 for the restored plane, 1 for the plane itself.
    """
    keep = np.zeros(data.shape, np.float32)
    if isinstance(protect, str):
        keep = _by_name(protect, fill_bad(data.astype(np.float32), bad), found)
    elif protect is not None:
        keep = np.array(protect, dtype=np.float32)
    if full.any():
        keep = np.maximum(keep, _around(full, fwhm))
    keep[bad | found.spikes] = 1.0
    return keep


def _around(full: np.ndarray, fwhm: float) -> np.ndarray:
    """1 on saturated pixels, falling to 0 within the width of a star."""
    from scipy.ndimage import distance_transform_edt

    far = distance_transform_edt(~full)
    return np.clip(1.0 - far / (1.0 + fwhm), 0.0, 1.0).astype(np.float32)


def _by_name(protect: str, data: np.ndarray, found: Found) -> np.ndarray:
    """Weights from the light of the plane, or from its structure."""
    from scipy.ndimage import gaussian_filter

    if protect == 'bright':
        height = gaussian_filter(data - np.median(data), 2.0) / found.sigma
        low, high = _BRIGHT
        return np.clip((height - low) / (high - low), 0.0, 1.0).astype(np.float32)
    restored = data + found.change
    detail = restored - gaussian_filter(restored, 4.0)
    height = gaussian_filter(np.square(detail / found.sigma), 4.0)
    low, high = _FLAT
    return 1.0 - np.clip((height - low) / (high - low), 0.0, 1.0).astype(np.float32)
