# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Frames for networks, taken apart."""

from __future__ import annotations

from typing import Any

from astroflat._nddata import Frame, unpack

__all__ = ['is_mosaic', 'unpack_frame']

# Colours and a clear filter; more along the last axis are columns.
_COLOURS = 4


def unpack_frame(image: Any, *, name: str, mask: Any = None) -> Frame:
    """
    Take a frame in one or several colours apart.

    Parameters
    ----------
    image : CCDData, NDData, Quantity, masked array, array_like or path
        The frame.
    name : str
        The name of the argument, for error messages.
    mask : array_like of bool, optional
        A further mask.

    Returns
    -------
    Frame
        Its parts.

    Raises
    ------
    ValueError
        If it is a stack of frames, or has its colours first.
    """
    frame = unpack(image, name=name, mask=mask, ndim=(2, 3))
    if frame.data.ndim == 3 and frame.shape[2] > _COLOURS:
        msg = (
            f'{name} has the shape {frame.shape}; colours come last, (ny, nx, 3): '
            'astroflat.io.read_ccd reads them so, np.moveaxis(data, 0, -1) brings '
            'them there. Give the frames of a stack one by one'
        )
        raise ValueError(msg)
    return frame


def is_mosaic(frame: Frame, names: tuple[str, ...] = ('BAYERPAT',)) -> bool:
    """
    Tell whether a frame is a mosaic of colours.

    Parameters
    ----------
    frame : Frame
        The frame.
    names : tuple of str, optional
        Keywords that may say so.

    Returns
    -------
    bool
        Whether one of them has a pattern. Cameras without colours write other
        words there, such as 'NONE'.
    """
    from astroflat.io import BAYER_PATTERNS

    words = (str(frame.meta.get(name) or '').strip().upper() for name in names)
    return frame.data.ndim == 2 and any(word in BAYER_PATTERNS for word in words)
