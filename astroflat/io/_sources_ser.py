# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A SER video as the source of a stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from astroflat.io._ser_header import ticks_to_iso
from astroflat.io._sources import FrameSource
from astroflat.io.ser import SERFile

__all__ = ['SERSource', 'ser_header']


class SERSource(FrameSource):
    """
    The frames of a SER video.

    Parameters
    ----------
    video : SERFile
        The open video.

    owned : bool, optional
        Whether closing the source closes the video.
    """

    def __init__(self, video: SERFile, *, owned: bool = True) -> None:
        self.video = video
        self.n = len(video)
        self.frame_shape = video.shape[1:]
        self.dtype = video.dtype
        self.name = video.path.name
        self.color = video.color
        self._owned = owned

    def read_frame(self, i: int, start: int, out: np.ndarray) -> None:
        """Fill ``out`` with rows of frame ``i`` from row ``start``."""
        self.video.read_rows(start, start + out.shape[0], out[None], frames=[i])

    def read(self, frames: Sequence[int], start: int, out: np.ndarray) -> None:
        """Fill ``out[k]`` with rows of frame ``frames[k]``."""
        self.video.read_rows(start, start + out.shape[1], out, frames=frames)

    def view(self) -> np.ndarray | None:
        """Return all samples ``(n, ...)`` without a copy, or None."""
        flat = self.video.flat_view()
        return None if flat is None else flat.reshape(self.n, *self.frame_shape)

    def header(self, i: int) -> Mapping:
        """Return the metadata of a frame."""
        return ser_header(self.video, i)

    def times(self, frames: Sequence[int]) -> Any:
        """Return the times of frames, or None."""
        times = self.video.times
        return None if times is None else times[np.asarray(frames, dtype=int)]

    def close(self) -> None:
        """Close files."""
        if self._owned:
            self.video.close()


def ser_header(video: SERFile, frame: int | None = None) -> dict[str, Any]:
    """
    Return what a SER header says in FITS keywords.

    Parameters
    ----------
    video : SERFile
        The video.

    frame : int, optional
        The frame whose time is DATE-OBS; the start of the video by default.

    Returns
    -------
    header : dict
        Keywords of at most 8 characters and plain values.
    """
    header: dict[str, Any] = {}
    names = {
        'OBSERVER': video.observer,
        'INSTRUME': video.instrument,
        'TELESCOP': video.telescope,
    }
    header.update({key: value for key, value in names.items() if value})
    if video.color not in ('mono', 'RGB'):
        header['BAYERPAT'] = video.color
    header['BITDEPTH'] = video.bit_depth
    header['SERORDER'] = video.byteorder
    ticks = video.header.utc_ticks
    if frame is not None:
        header['SERFRAME'] = frame
        trailer = video.timestamps
        if trailer is not None and ticks_to_iso(trailer[frame]):
            ticks = trailer[frame]
    if date := ticks_to_iso(ticks):
        header['DATE-OBS'] = date
        header['TIMESYS'] = 'UTC'
    return header
