# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Writing SER videos, frame by frame."""

from __future__ import annotations

import os
import warnings
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from astroflat._exceptions import AstroflatWarning, SERError
from astroflat._files import atomic_path
from astroflat.io._bytes import raw_bytes
from astroflat.io._ser_header import COLORS, HEADER_SIZE, SERHeader, time_to_ticks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

__all__ = ['write_ser']


def write_ser(
    path: str | os.PathLike,
    frames: Any,
    *,
    color: str | None = None,
    bit_depth: int | None = None,
    observer: str | None = None,
    instrument: str | None = None,
    telescope: str | None = None,
    times: Any = None,
    start_local: Any = None,
    byteorder: Literal['little', 'big'] = 'little',
    flag: Literal['common', 'standard'] = 'common',
    rounding: bool = False,
    overwrite: bool = False,
) -> None:
    """
    Write a SER video.

    Parameters
    ----------
    path : str or path-like
        The file to write. It appears when it is complete.

    frames : iterable of array_like, `FrameStack`, `SERFile` or path
        Frames of one shape, ``(ny, nx)``, or ``(ny, nx, 3)`` in the order
        RGB; arrays, `~astropy.nddata.CCDData` or an array ``(n, ny, nx)``.
        An iterator is consumed one frame at a time.

    color : str, optional
        'mono', a 2 x 2 pattern such as 'RGGB', 'RGB', or 'BGR' (the same,
        stored in the reverse order). The default is that of ``frames``, or
        'mono' or 'RGB' by their shape.

    bit_depth : int, optional
        Significant bits per sample, 1 to 16. Up to 8 are stored in one byte,
        more in two. The default is that of the SER video that the frames
        come from, else 8 for types of one byte, and 16 otherwise.

    observer, instrument, telescope : str, optional
        Names, at most 40 bytes of UTF-8; by default those of ``frames``.

    times : `~astropy.time.Time`, optional
        The time of each frame, written as UTC. The default is that of
        ``frames`` where it has one; `False` writes none.

    start_local : `~astropy.time.Time`, optional
        The start on the local clock, with scale 'local'. The default repeats
        the UTC time of the first frame.

    byteorder : {'little', 'big'}, optional
        The byte order of samples of two bytes.

    flag : {'common', 'standard'}, optional
        How to set the byte-order flag of the header. Most programs, Siril
        among them, take 0 for little-endian ('common', the default). The
        text of the format says 1 ('standard').

    rounding : bool, optional
        Whether floating-point frames are rounded to the nearest integer.
        Samples that do not fit ``bit_depth`` are then clipped, with a warning
        that counts them. The default refuses such frames.

    overwrite : bool, optional
        Whether an existing file may be replaced.

    Raises
    ------
    astroflat.io.SERError
        If there is no frame, or a frame cannot be stored.

    ValueError
        If an option makes no sense.

    Examples
    --------
    >>> import numpy as np, os, tempfile
    >>> from astroflat.io import SERFile, write_ser
    >>> path = os.path.join(tempfile.mkdtemp(), 'moon.ser')
    >>> write_ser(path, (np.full((4, 6), i, dtype='u1') for i in range(3)))
    >>> with SERFile(path) as video:
    ...     video.shape, video[2].max()
    ((3, 4, 6), np.uint8(2))
    """
    _check_options(byteorder, flag, color)
    names = {'observer': observer, 'instrument': instrument, 'telescope': telescope}
    with ExitStack() as context:
        source, items = _open(frames, context)
        if times is None:
            times = _fact(source, 'times')
        known = times is not None and times is not False
        ticks = time_to_ticks(times).ravel() if known else None
        temporary = context.enter_context(atomic_path(path, overwrite=overwrite))
        first, items = _peek(items)
        header = _header(
            first,
            color=color or _fact(source, 'color'),
            bit_depth=bit_depth or _depth(source),
            little_endian=int((byteorder == 'little') == (flag == 'standard')),
            **{
                which: (_fact(source, which) or '') if given is None else given
                for which, given in names.items()
            },
        )
        samples = _Samples(header, byteorder, rounding=rounding)
        with temporary.open('wb') as stream:
            stream.write(bytes(HEADER_SIZE))
            header = header.replace(frame_count=_write_frames(stream, items, samples))
            header = _write_times(stream, header, ticks, start_local)
            stream.seek(0)
            stream.write(header.pack())
    samples.report()


class _Samples:
    """Convert frames to the samples of one video."""

    def __init__(self, header: SERHeader, byteorder: str, *, rounding: bool) -> None:
        self.header = header
        self.rounding = rounding
        self.clipped = 0
        self.total = 0
        self._stored = header.dtype.newbyteorder(byteorder)
        self._limit = 2**header.bit_depth - 1

    def __call__(self, frame: np.ndarray, index: int) -> np.ndarray:
        """Return a frame as it is stored."""
        if frame.shape != self.header.frame_shape:
            msg = (
                f'frame {index} has the shape {frame.shape}, '
                f'the first one has {self.header.frame_shape}'
            )
            raise SERError(msg)
        if frame.dtype.kind == 'f':
            frame = self._round(frame, index)
        elif frame.dtype.kind not in 'biu':
            msg = f'frame {index} is of type {frame.dtype}; SER stores integers'
            raise SERError(msg)
        low, high = int(frame.min()), int(frame.max())
        if low < 0 or high > self._limit:
            msg = (
                f'frame {index} has samples from {low} to {high}, but '
                f'bit_depth={self.header.bit_depth} stores 0 to {self._limit}'
            )
            raise SERError(msg)
        if self.header.color == 'BGR':
            frame = frame[..., ::-1]
        return np.ascontiguousarray(frame, dtype=self._stored)

    def report(self) -> None:
        """Warn if anything was clipped."""
        if self.clipped:
            msg = (
                f'{self.clipped} of {self.total} samples did not fit '
                f'0 to {self._limit} and were clipped'
            )
            warnings.warn(msg, AstroflatWarning, stacklevel=3)

    def _round(self, frame: np.ndarray, index: int) -> np.ndarray:
        if not self.rounding:
            msg = (
                f'frame {index} is floating point, SER stores integers; '
                'pass rounding=True to round it'
            )
            raise SERError(msg)
        if not np.isfinite(frame).all():
            msg = f'frame {index} has samples that are not finite; fill them first'
            raise SERError(msg)
        rounded = np.rint(frame)
        self.clipped += int(((rounded < 0) | (rounded > self._limit)).sum())
        self.total += frame.size
        return np.clip(rounded, 0, self._limit).astype(self.header.dtype)


def _check_options(byteorder: str, flag: str, color: str | None) -> None:
    """Raise if an option has a value that does not exist."""
    if byteorder not in ('little', 'big') or flag not in ('common', 'standard'):
        msg = (
            "byteorder must be 'little' or 'big' and flag 'common' or 'standard', "
            f'not {byteorder!r} and {flag!r}'
        )
        raise ValueError(msg)
    if color is not None and color not in COLORS.values():
        msg = f'color must be one of {list(COLORS.values())}, not {color!r}'
        raise ValueError(msg)


def _fact(source: Any, which: str) -> Any:
    """Return what the frames, or the SER video that they come from, know."""
    value = getattr(source, which, None)
    if value is None:
        value = getattr(getattr(source, 'video', None), which, None)
    return value


def _depth(source: Any) -> int | None:
    """Return the bits that the source states, if SER has as many."""
    depth = _fact(source, 'bit_depth')
    return depth if depth is not None and depth <= 16 else None


def _open(frames: Any, context: ExitStack) -> tuple[Any, Iterable]:
    """Return the object that may know colour and times, and the frames."""
    listed = isinstance(frames, (list, tuple)) and len(frames) > 0
    if isinstance(frames[0] if listed else frames, (str, os.PathLike)):
        from astroflat.io.frames import open_frames

        frames = context.enter_context(open_frames(frames))
    if hasattr(frames, 'uncertainty') or getattr(frames, 'ndim', 3) == 2:
        array = _array(frames)
        return None, array[None] if array.ndim == 2 else array
    return frames, frames


def _array(frame: Any) -> np.ndarray:
    """Return the plain samples of an array, CCDData or Quantity."""
    data = frame.data if hasattr(frame, 'uncertainty') else frame
    return np.asarray(getattr(data, 'value', data))


def _peek(items: Iterable) -> tuple[np.ndarray, Iterator]:
    """Return the first frame, and an iterator that still yields it."""
    iterator = iter(items)
    try:
        first = _array(next(iterator))
    except StopIteration:
        msg = 'there are no frames to write'
        raise SERError(msg) from None

    def chain() -> Iterator[np.ndarray]:
        yield first
        for item in iterator:
            yield _array(item)

    return first, chain()


def _header(
    first: np.ndarray, *, color: str | None, bit_depth: int | None, **fields: Any
) -> SERHeader:
    """Return the header that the first frame and the options ask for."""
    rgb = first.ndim == 3 and first.shape[2] == 3
    if not (rgb or first.ndim == 2) or first.size == 0:
        msg = f'frames must be (ny, nx) or (ny, nx, 3), not {first.shape}'
        raise SERError(msg)
    color = color or ('RGB' if rgb else 'mono')
    if rgb != (color in ('RGB', 'BGR')):
        msg = f'color={color!r} does not go with frames of shape {first.shape}'
        raise ValueError(msg)
    if bit_depth is None:
        bit_depth = 8 if first.dtype.itemsize == 1 else 16
    if not 1 <= bit_depth <= 16:
        msg = f'bit_depth must be 1 to 16, not {bit_depth}'
        raise ValueError(msg)
    return SERHeader(
        width=first.shape[1],
        height=first.shape[0],
        bit_depth=bit_depth,
        frame_count=0,
        color_id=next(code for code, name in COLORS.items() if name == color),
        **fields,
    )


def _write_frames(stream: BinaryIO, items: Iterator, samples: _Samples) -> int:
    """Write all frames and return their number."""
    n = 0
    for n, frame in enumerate(items, start=1):
        stream.write(raw_bytes(samples(frame, n - 1)))
    return n


def _write_times(
    stream: BinaryIO, header: SERHeader, ticks: np.ndarray | None, start_local: Any
) -> SERHeader:
    """Write the trailer and return the header with the start times."""
    if ticks is not None and len(ticks) != header.frame_count:
        msg = f'times has {len(ticks)} elements, there are {header.frame_count} frames'
        raise ValueError(msg)
    utc = 0 if ticks is None else int(ticks[0])
    local = utc if start_local is None else int(time_to_ticks(start_local))
    if ticks is not None:
        stream.write(ticks.astype('<i8').tobytes())
    return header.replace(utc_ticks=utc, local_ticks=local)
