# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Reading bytes of a file at a position, from many threads.

A reader has one method, ``readinto(buffer, offset)``. It keeps no position,
so that threads need no lock, and it fills the buffer or raises.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import numpy as np

from astroflat._exceptions import ImageFormatError

__all__ = ['FileReader', 'check_out', 'fill', 'raw_bytes']

_O_BINARY = getattr(os, 'O_BINARY', 0)
# Views of empty arrays cannot be cast.
_NOTHING = memoryview(bytearray())
_HAS_PREADV = hasattr(os, 'preadv')


def raw_bytes(array: np.ndarray) -> memoryview:
    """Return the bytes of a C-contiguous array, without a copy."""
    return memoryview(array.reshape(-1)).cast('B') if array.size else _NOTHING


def check_out(
    out: np.ndarray | None, shape: tuple[int, ...], dtype: np.dtype
) -> np.ndarray:
    """Return the array to read into: a new one, or the caller's if it fits."""
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
        msg = (
            f'out must be C-contiguous {np.dtype(dtype)} of shape {shape}, '
            f'not {out.dtype} of shape {out.shape}'
        )
        raise ValueError(msg)
    return out


class _Budget:
    """
    Count the descriptors that readers keep open.

    A stack of 3000 files must not use up what the process may open; the
    files beyond the budget are opened anew at each reading.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used = 0

    def take(self) -> bool:
        """Whether one more descriptor may be kept open."""
        with self._lock:
            allowed = self._used < self._limit()
            self._used += allowed
        return allowed

    def give(self) -> None:
        """Return one descriptor."""
        with self._lock:
            self._used -= 1

    @staticmethod
    def _limit() -> int:
        try:
            import resource
        except ImportError:
            # Windows: 8192 per process, far from the default of 512 streams.
            return 2048
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return max(16, soft - 256) if soft > 0 else 4096


_BUDGET = _Budget()


class FileReader:
    """
    Positional reading of one file.

    Parameters
    ----------
    path : str or path-like
        The file. It is opened at once and stays open until `close`, unless
        the process is short of descriptors.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._fd: int | None = self._open()
        self.size = os.fstat(self._fd).st_size
        self._kept = _BUDGET.take()
        if not self._kept:
            os.close(self._fd)
            self._fd = None

    @property
    def name(self) -> str:
        """The name of the file, without its folder."""
        return self.path.name

    def readinto(self, buffer: memoryview, offset: int) -> None:
        """
        Fill a buffer.

        Parameters
        ----------
        buffer : memoryview
            Writable bytes.

        offset : int
            The position in the file.

        Raises
        ------
        ImageFormatError
            If the file ends before the buffer is full.
        """
        fd = self._fd
        if fd is not None:
            # Called once per frame and band: the common case without detours.
            if not _HAS_PREADV or os.preadv(fd, (buffer,), offset) != len(buffer):
                fill(fd, buffer, offset, self._lock, self.name)
            return
        if self._kept:
            msg = f'{self.name!r} is closed; open the frames again'
            raise ValueError(msg)
        fd = self._open()
        try:
            fill(fd, buffer, offset, self._lock, self.name)
        finally:
            os.close(fd)

    def read(self, size: int, offset: int) -> bytes:
        """
        Return bytes; fewer than asked for at the end of the file.

        Parameters
        ----------
        size, offset : int
            The number of bytes and their position.

        Returns
        -------
        data : bytes
            What there is.
        """
        data = bytearray(max(0, min(size, self.size - offset)))
        if data:
            self.readinto(memoryview(data), offset)
        return bytes(data)

    def fileno(self) -> int | None:
        """
        Return the descriptor.

        Returns
        -------
        fd : int or None
            `None` if the file is not kept open.
        """
        return self._fd

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)
            _BUDGET.give()

    def __del__(self) -> None:
        # Not at the end of the interpreter, when modules are half gone.
        with contextlib.suppress(Exception):
            self.close()

    def _open(self) -> int:
        return os.open(self.path, os.O_RDONLY | _O_BINARY)


def fill(
    fd: int, buffer: memoryview, offset: int, lock: threading.Lock, name: str
) -> None:
    """Fill a buffer from a descriptor, or raise."""
    done = 0
    while done < len(buffer):
        if _HAS_PREADV:
            n = os.preadv(fd, [buffer[done:]], offset + done)
        else:
            # Windows has no positional read.
            with lock:
                os.lseek(fd, offset + done, os.SEEK_SET)
                chunk = os.read(fd, len(buffer) - done)
            n = len(chunk)
            buffer[done : done + n] = chunk
        if n == 0:
            msg = (
                f'{name!r} ends {len(buffer) - done} bytes too early; '
                'it is truncated, or was changed while it was read'
            )
            raise ImageFormatError(msg)
        done += n
