# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
SER videos: uncompressed frames of planetary, lunar and solar cameras.

The format is a header of 178 bytes, the frames one after the other with rows
from the upper left, and one time stamp per frame at the end.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from astroflat._exceptions import AstroflatWarning, SERError
from astroflat.io._bytes import FileReader, check_out, raw_bytes
from astroflat.io._ser_header import (
    COLORS,
    HEADER_SIZE,
    SERHeader,
    ticks_to_time,
    time_to_ticks,
)
from astroflat.io._ser_order import ByteOrderEvidence, decide_byteorder
from astroflat.io._ser_write import write_ser

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from astropy.time import Time

__all__ = [
    'ByteOrderEvidence',
    'SERFile',
    'SERHeader',
    'ticks_to_time',
    'time_to_ticks',
    'write_ser',
]

# Rows of each of three frames that are looked at to tell the byte order.
_SAMPLE_ROWS = 96


class SERFile:
    """
    A SER video, read frame by frame or row by row.

    Parameters
    ----------
    path : str or path-like
        The video.

    byteorder : {'auto', 'little', 'big'}, optional
        The byte order of samples of 9 to 16 bits. The default decides from
        the samples, because the flag in the header is used with both
        meanings; see `byteorder_evidence`.

    color : str, optional
        Replaces the colour of the header: 'mono' or one of the 2 x 2
        patterns ('RGGB', ...), or 'RGB' or 'BGR' for videos with three
        planes. Capture programs often record the wrong pattern.

    partial : bool, optional
        Whether to read what there is of a video whose size and header
        disagree, with a warning. The default raises.

    Raises
    ------
    astroflat.io.SERError
        If the file is no SER video, its header is damaged, or its size
        disagrees with its header and ``partial`` is `False`.

    Notes
    -----
    Samples of 1 to 8 bits are uint8, those of 9 to 16 bits uint16 in native
    byte order; they are returned as stored, not scaled to the full range.
    BGR comes out as RGB. Reading is safe from several threads.

    The length of the file is checked against the header before anything is
    allocated. Bytes after the last frame that cannot be time stamps are
    ignored with a warning.

    Examples
    --------
    >>> import numpy as np, os, tempfile
    >>> from astroflat.io import SERFile, write_ser
    >>> path = os.path.join(tempfile.mkdtemp(), 'sun.ser')
    >>> frames = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    >>> write_ser(path, frames, observer='G. E. Hale', bit_depth=12)
    >>> with SERFile(path) as video:
    ...     print(video.shape, video.dtype, video.observer)
    ...     print(video[1][0])
    (2, 3, 4) uint16 G. E. Hale
    [12 13 14 15]
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        byteorder: Literal['auto', 'little', 'big'] = 'auto',
        color: str | None = None,
        partial: bool = False,
    ) -> None:
        if byteorder not in ('auto', 'little', 'big'):
            msg = f"byteorder must be 'auto', 'little' or 'big', not {byteorder!r}"
            raise ValueError(msg)
        self.path = Path(path)
        self._reader = FileReader(self.path)
        try:
            name = self.path.name
            block = self._reader.read(HEADER_SIZE, 0)
            header = _with_color(SERHeader.unpack(block, name), color)
            self._n, self._trailer = _count_frames(
                header, self._reader.size, name, partial=partial
            )
            self.header = header
            self.byteorder_evidence = self._decide(byteorder)
        except BaseException:
            self._reader.close()
            raise
        self._stored = self.dtype.newbyteorder(self.byteorder)
        self._data: np.ndarray | None = None
        self._ticks: np.ndarray | None = None

    def __repr__(self) -> str:
        n, ny, nx = self.shape[:3]
        return (
            f'<SERFile {self.path.name!r}: {n} x {ny} x {nx} {self.color}, '
            f'{self.bit_depth} bit>'
        )

    def __enter__(self) -> SERFile:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, item: int | slice) -> np.ndarray:
        if isinstance(item, slice):
            return self._read(range(*item.indices(self._n)), 0, self.header.height)
        index = int(item)
        if not -self._n <= index < self._n:
            msg = f'frame {index} of {self.path.name!r}, which has {self._n} frames'
            raise IndexError(msg)
        return self._read([index % self._n], 0, self.header.height)[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(self._n))

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, ny, nx)``, or ``(n, ny, nx, 3)`` for RGB and BGR."""
        return (self._n, *self.header.frame_shape)

    @property
    def dtype(self) -> np.dtype:
        """The native type of the samples, uint8 or uint16."""
        return self.header.dtype

    @property
    def color(self) -> str:
        """'mono', 'RGB', or a 2 x 2 colour pattern such as 'RGGB'."""
        color = self.header.color
        return 'RGB' if color == 'BGR' else color

    @property
    def bit_depth(self) -> int:
        """The significant bits per sample according to the header."""
        return self.header.bit_depth

    @property
    def observer(self) -> str:
        """The name of the observer."""
        return self.header.observer

    @property
    def instrument(self) -> str:
        """The name of the camera."""
        return self.header.instrument

    @property
    def telescope(self) -> str:
        """The name of the telescope."""
        return self.header.telescope

    @property
    def byteorder(self) -> Literal['little', 'big']:
        """The byte order in which the samples are read."""
        return self.byteorder_evidence.order

    @property
    def timestamps(self) -> np.ndarray | None:
        """The trailer: int64 units of 100 ns since 0001-01-01, or None."""
        n = min(self._n, self._trailer // 8)
        if n == 0:
            return None
        if self._ticks is not None:
            return self._ticks
        raw = self._reader.read(8 * n, self._offset(self._n))
        ticks = np.zeros(self._n, dtype=np.int64)
        ticks[:n] = np.frombuffer(raw, dtype='<i8')
        # Kept: the header of every frame asks for its own.
        ticks.flags.writeable = False
        self._ticks = ticks
        return ticks

    @property
    def times(self) -> Time | None:
        """
        The UTC time of each frame, exact to 100 ns, or None.

        Entries of the trailer that are no date are masked. Without a trailer
        there are no times; nothing is interpolated from the header.
        """
        ticks = self.timestamps
        if ticks is None or not (ticks > 0).any():
            return None
        return ticks_to_time(ticks)

    @property
    def start_utc(self) -> Time | None:
        """The start of the recording in UTC from the header, or None."""
        return _scalar_time(self.header.utc_ticks, 'utc')

    @property
    def start_local(self) -> Time | None:
        """The start of the recording on the local clock (scale 'local'), or None."""
        return _scalar_time(self.header.local_ticks, 'local')

    @property
    def data(self) -> np.ndarray:
        """The frames as a read-only memory map, in the stored byte order."""
        if self._data is None:
            self._data = np.memmap(
                self.path,
                dtype=self._stored,
                mode='r',
                offset=HEADER_SIZE,
                shape=self.shape,
            )
        return self._data

    def read_rows(
        self,
        start: int,
        stop: int,
        out: np.ndarray | None = None,
        *,
        frames: Sequence[int] | None = None,
    ) -> np.ndarray:
        """
        Read the same rows of all frames.

        Parameters
        ----------
        start, stop : int
            The first row, and the one after the last.

        out : `~numpy.ndarray`, optional
            Where to put them, C-contiguous and of the right shape and type;
            nothing else is allocated then.

        frames : sequence of int, optional
            The frames to read; all by default.

        Returns
        -------
        rows : `~numpy.ndarray`
            ``(n, stop - start, nx)``, or with a last axis of 3, native.
        """
        return self._read(
            range(self._n) if frames is None else frames, start, stop, out
        )

    def flat_view(self) -> np.ndarray | None:
        """
        Return all samples without a copy.

        Returns
        -------
        samples : `~numpy.ndarray` or None
            A read-only view ``(n, samples per frame)`` of the memory map;
            `None` where the samples must be swapped or reordered first.
        """
        if not self._stored.isnative or self.header.color == 'BGR':
            return None
        return np.asarray(self.data).reshape(self._n, -1)

    def close(self) -> None:
        """Close the file; frames already read stay valid."""
        self._data = None
        self._reader.close()

    def _offset(self, frame: int, row: int = 0) -> int:
        """Return the position of a row of a frame."""
        row_bytes = self.header.frame_bytes // self.header.height
        return HEADER_SIZE + frame * self.header.frame_bytes + row * row_bytes

    def _read(
        self,
        frames: Sequence[int],
        start: int,
        stop: int,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Read rows of some frames, native and RGB."""
        shape = (len(frames), stop - start, *self.header.frame_shape[1:])
        out = check_out(out, shape, self.dtype)
        self._fill(frames, start, out)
        if not self._stored.isnative:
            # In place: NumPy converts between byte orders many times faster
            # than `byteswap` does.
            np.copyto(out, out.view(self._stored))
        if self.header.color == 'BGR':
            out[..., 0], out[..., 2] = out[..., 2], out[..., 0].copy()
        return out

    def _fill(self, frames: Sequence[int], start: int, out: np.ndarray) -> None:
        """Read the bytes of rows as they are stored."""
        target = raw_bytes(out)
        size = len(target) // max(1, len(frames))
        offset = self._offset(0, start)
        step = self.header.frame_bytes
        readinto = self._reader.readinto
        for k, frame in enumerate(frames):
            readinto(target[k * size : (k + 1) * size], offset + frame * step)

    def _decide(self, byteorder: str) -> ByteOrderEvidence:
        """Find the byte order of the samples."""
        flag = self.header.little_endian
        declared = 'big' if flag else 'little'
        if byteorder != 'auto':
            reason = f"byteorder='{byteorder}' was given"
            return ByteOrderEvidence(byteorder, declared, 'override', reason)
        if self.dtype.itemsize == 1:
            reason = 'samples of one byte have no byte order'
            return ByteOrderEvidence(sys.byteorder, declared, 'flag', reason)
        planes = 3 if self.header.color_id >= 100 else 1
        return decide_byteorder(
            self._sample_rows().reshape(-1, self.header.width * planes),
            bit_depth=self.bit_depth,
            flag=flag,
            # The neighbour of the same colour.
            step=1 if self.color in ('mono', 'RGB') else 2,
            planes=planes,
        )

    def _sample_rows(self) -> np.ndarray:
        """Read rows from the first, middle and last frame, as stored."""
        ny = self.header.height
        rows = min(ny, _SAMPLE_ROWS)
        # The middle of the frame is where the object is.
        start = (ny - rows) // 2
        frames = sorted({0, (self._n - 1) // 2, self._n - 1})
        samples = np.empty(
            (len(frames), rows, *self.header.frame_shape[1:]), self.dtype
        )
        self._fill(frames, start, samples)
        return samples


def _with_color(header: SERHeader, color: str | None) -> SERHeader:
    """Replace the colour of a header."""
    if color is None:
        return header
    codes = {name: code for code, name in COLORS.items()}
    code = codes.get(color, -1)
    if code < 0 or (code >= 100) != (header.color_id >= 100):
        planes = 'three planes' if header.color_id >= 100 else 'one plane'
        allowed = [
            n for n, c in codes.items() if (c >= 100) == (header.color_id >= 100)
        ]
        msg = f'color={color!r}, but the video has {planes}; possible are {allowed}'
        raise ValueError(msg)
    return header.replace(color_id=code)


def _scalar_time(ticks: int, scale: Literal['utc', 'local']) -> Time | None:
    """Return a time of the header, or None if it was not set."""
    time = ticks_to_time(ticks, scale=scale)
    return None if time.masked else time


def _count_frames(
    header: SERHeader, size: int, name: str, *, partial: bool
) -> tuple[int, int]:
    """Return how many frames can be read and how many bytes of trailer follow."""
    body = size - HEADER_SIZE
    n, frame = header.frame_count, header.frame_bytes
    rest = body - n * frame
    if n > 0 and rest in (0, 8 * n):
        return n, rest
    if n > 0 and 0 < rest < frame:
        _warn(
            f'{name!r} has {rest} bytes after its last frame, where 0 or {8 * n} '
            'bytes of time stamps belong; what cannot be a time stamp is ignored'
        )
        return n, min(8 * n, rest - rest % 8)
    found, trailer = _frames_found(body, n, frame)
    msg = (
        f'the header of {name!r} promises {n} frames of {frame} bytes, but the '
        f'file has {body} bytes after the header: {found} complete frames'
    )
    if found < 1:
        msg += '; there is nothing to read'
        raise SERError(msg)
    if not partial:
        msg += '; pass partial=True to read them'
        raise SERError(msg)
    _warn(f'{msg}; reading {found}')
    return found, trailer


def _frames_found(body: int, promised: int, frame: int) -> tuple[int, int]:
    """Return the complete frames of a file with a wrong count, and the trailer."""
    if body % frame == 0:
        return body // frame, 0
    if body % (frame + 8) == 0:
        n = body // (frame + 8)
        return n, 8 * n
    found = body // frame
    return (min(found, promised) if promised else found), 0


def _warn(message: str) -> None:
    # The caller of SERFile(...): _warn, _count_frames, __init__, caller.
    warnings.warn(message, AstroflatWarning, stacklevel=4)
