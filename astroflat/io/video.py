# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Frames of AVI, MP4, MOV and similar videos, through PyAV.

PyAV is installed with the extra ``video`` and imported when it is needed.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._exceptions import AstroflatWarning, ImageFormatError
from astroflat.io.bayer import is_mosaic

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ['VideoReader']

_LOSSLESS = frozenset(
    {
        'rawvideo', 'ffv1', 'ffvhuff', 'huffyuv', 'utvideo', 'png', 'magicyuv',
        'lagarith', 'tiff', 'bmp', 'v210', 'r210', 'zlib', 'mszh', 'qtrle',
    }
)  # fmt: skip


class VideoReader:
    """
    The frames of a video file, decoded one after the other.

    Parameters
    ----------
    path : str or path-like
        The video.

    color : str, optional
        'mono' turns colour into luminance, 'RGB' is kept; a 2 x 2 pattern
        names the mosaic of a mono video. The default keeps what there is.

    partial : bool, optional
        Whether to keep the frames before the place where decoding fails, with
        a warning. The default raises.

    Raises
    ------
    ImportError
        If PyAV is not installed.

    astroflat.io.ImageFormatError
        If the file cannot be decoded.

    Notes
    -----
    Grey and mosaic samples are returned as stored, uint8 or uint16. Colour
    is converted to RGB, uint8 or, of more than 8 bits, uint16. A codec that
    loses information is named in a warning: its samples are no longer
    proportional to the light, and a flat made of them is an approximation.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        color: str | None = None,
        partial: bool = False,
    ) -> None:
        self.path = Path(path)
        self._partial = partial
        self._av = _import_av()
        try:
            with self._av.open(str(self.path)) as container:
                stream = self._stream(container)
                self.codec = stream.codec_context.name
                self.format = stream.codec_context.pix_fmt or ''
                self.promised = stream.frames
        except self._av.error.FFmpegError as error:
            raise self._failure(error) from error
        self._color = color
        self._neutral = False

    @property
    def color(self) -> str:
        """'mono', 'RGB' or a 2 x 2 pattern."""
        if self._color is not None:
            return self._color
        if self.format.startswith('bayer_'):
            pattern = self.format.removeprefix('bayer_')[:4].upper()
            return pattern if is_mosaic(pattern) else 'mono'
        if self.format.startswith('gray') or self._neutral:
            return 'mono'
        return 'RGB'

    def __iter__(self) -> Iterator[np.ndarray]:
        if self.codec not in _LOSSLESS:
            msg = (
                f'{self.path.name!r} is compressed with {self.codec}, which does not '
                'keep the samples of the sensor; record SER for flats'
            )
            warnings.warn(msg, AstroflatWarning, stacklevel=2)
        n = 0
        try:
            with self._av.open(str(self.path)) as container:
                for frame in container.decode(self._stream(container)):
                    yield self._samples(frame, first=n == 0)
                    n += 1
        except self._av.error.FFmpegError as error:
            failure = self._failure(error)
            if n == 0 or not self._partial:
                raise failure from error
            msg = f'{failure}; {n} frames were read'
            warnings.warn(msg, AstroflatWarning, stacklevel=2)
            return
        if n < self.promised:
            msg = (
                f'{self.path.name!r} promises {self.promised} frames, '
                f'{n} could be decoded'
            )
            warnings.warn(msg, AstroflatWarning, stacklevel=2)

    def _stream(self, container: Any) -> Any:
        if not container.streams.video:
            msg = f'{self.path.name!r} has no video stream'
            raise ImageFormatError(msg)
        return container.streams.video[0]

    def _samples(self, frame: Any, *, first: bool) -> np.ndarray:
        """Return the samples of a decoded frame."""
        name = frame.format.name
        if name.startswith(('gray', 'bayer_')) and 'f' not in name.split('y')[-1]:
            return _plane(frame, name)
        deep = max(c.bits for c in frame.format.components) > 8
        rgb = frame.to_ndarray(format='rgb48le' if deep else 'rgb24')
        if first and name == 'pal8' and self._color is None:
            # Cameras write grey as a palette of 256 greys.
            self._neutral = bool((rgb == rgb[..., :1]).all())
        if self._neutral:
            return np.ascontiguousarray(rgb[..., 0])
        if self._color not in (None, 'RGB'):
            return frame.to_ndarray(format='gray16le' if deep else 'gray')
        return rgb

    def _failure(self, error: Exception) -> ImageFormatError:
        # Without the folder that FFmpeg puts into its messages.
        reason = getattr(error, 'strerror', None) or type(error).__name__
        msg = f'{self.path.name!r} cannot be decoded as video: {reason}'
        return ImageFormatError(msg)


def _plane(frame: Any, name: str) -> np.ndarray:
    """Return the single plane of a frame, without the padding of its rows."""
    wide = max(c.bits for c in frame.format.components) > 8
    dtype = np.dtype(('>u2' if name.endswith('be') else '<u2') if wide else 'u1')
    plane = frame.planes[0]
    rows = np.frombuffer(plane, dtype).reshape(frame.height, -1)
    # A copy: the decoder reuses its memory.
    return np.array(rows[:, : frame.width], dtype=dtype.newbyteorder('='))


def _import_av() -> Any:
    try:
        import av
        import av.error
    except ImportError as error:
        msg = (
            "reading this video needs PyAV; install it with 'pip install "
            "astroflat[video]', or record SER"
        )
        raise ImportError(msg) from error
    return av
