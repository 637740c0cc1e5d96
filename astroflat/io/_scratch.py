# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Scratch files: samples that had to be decoded, decoded once.

They have no name and are gone when they are closed.
"""

from __future__ import annotations

import os
import tempfile
import threading
from typing import TYPE_CHECKING, Any

from astroflat._exceptions import ImageFormatError
from astroflat.io._bytes import FileReader, fill, raw_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

__all__ = ['LazyScratch', 'Resources', 'Scratch', 'Section']


class Scratch:
    """
    A file without a name, gone when it is closed.

    Parameters
    ----------
    name : str
        What is in it, for error messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        # Without a buffer, which could go stale beside positional reads.
        self._file = tempfile.TemporaryFile(  # noqa: SIM115
            prefix='astroflat-', buffering=0
        )
        self._lock = threading.Lock()
        self.size = 0

    def append(self, data: memoryview | bytes) -> int:
        """
        Write bytes at the end.

        Parameters
        ----------
        data : bytes-like
            The bytes.

        Returns
        -------
        offset : int
            Where they begin.

        Raises
        ------
        OSError
            If the disk is full; the message names the folder.
        """
        with self._lock:
            offset = self.size
            try:
                self._file.seek(offset)
                rest = memoryview(data)
                while rest:
                    rest = rest[self._file.write(rest) :]
            except OSError as error:
                msg = (
                    f'cannot spool {self.name!r} to {tempfile.gettempdir()!r}: '
                    f'{error.strerror}; set TMPDIR to a folder with more space'
                )
                raise OSError(error.errno, msg) from error
            self.size = offset + len(data)
        return offset

    def readinto(self, buffer: memoryview, offset: int) -> None:
        """
        Fill a buffer.

        Parameters
        ----------
        buffer : memoryview
            Writable bytes.

        offset : int
            The position in the file.
        """
        fill(self._file.fileno(), buffer, offset, self._lock, self.name)

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

    def fileno(self) -> int:
        """
        Return the descriptor.

        Returns
        -------
        fd : int
            The descriptor.
        """
        return self._file.fileno()

    def close(self) -> None:
        """Remove the file."""
        self._file.close()


class Section:
    """
    A part of a scratch file that reads like a file of its own.

    Parameters
    ----------
    scratch : Scratch
        The file.

    start, size : int
        The part.

    name : str
        What is in it.
    """

    def __init__(self, scratch: Scratch, start: int, size: int, name: str) -> None:
        self.name = name
        self.size = size
        self._scratch = scratch
        self._start = start

    def readinto(self, buffer: memoryview, offset: int) -> None:
        """
        Fill a buffer.

        Parameters
        ----------
        buffer : memoryview
            Writable bytes.

        offset : int
            The position in the part.
        """
        self._scratch.readinto(buffer, self._start + offset)

    def read(self, size: int, offset: int) -> bytes:
        """
        Return bytes; fewer than asked for at the end of the part.

        Parameters
        ----------
        size, offset : int
            The number of bytes and their position.

        Returns
        -------
        data : bytes
            What there is.
        """
        return self._scratch.read(min(size, self.size - offset), self._start + offset)


class Resources:
    """
    What a stack must close in the end: files, and one scratch file.

    All decoded frames of a stack share one scratch file, so that a stack of
    a thousand compressed files needs one descriptor for them.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.closers: list[Any] = []
        self._scratch: Scratch | None = None

    @property
    def scratch(self) -> Scratch:
        """The scratch file, made when it is first needed."""
        if self._scratch is None:
            self._scratch = Scratch(self.name)
            self.closers.append(self._scratch)
        return self._scratch

    def open(self, path: str | os.PathLike) -> FileReader:
        """
        Open a file.

        Parameters
        ----------
        path : str or path-like
            The file.

        Returns
        -------
        reader : FileReader
            It is closed with the rest.
        """
        reader = FileReader(path)
        self.closers.append(reader)
        return reader

    def close(self) -> None:
        """Close all."""
        for closer in self.closers:
            closer.close()


class LazyScratch:
    """
    One decoded frame in a scratch file, decoded when it is first read.

    Parameters
    ----------
    scratch : Scratch
        The file, shared by the frames of a stack.

    decode : callable
        Returns the samples, a C-contiguous array.

    size : int
        The bytes that it will have.

    name : str
        The name of the frame, for error messages.
    """

    def __init__(
        self,
        scratch: Scratch,
        decode: Callable[[], np.ndarray],
        size: int,
        name: str,
    ) -> None:
        self.name = name
        self.size = size
        self._scratch = scratch
        self._decode = decode
        self._lock = threading.Lock()
        self._offset: int | None = None

    def readinto(self, buffer: memoryview, offset: int) -> None:
        """
        Fill a buffer, decoding the frame if nobody has yet.

        Parameters
        ----------
        buffer : memoryview
            Writable bytes.

        offset : int
            The position in the frame.
        """
        with self._lock:
            if self._offset is None:
                self._offset = self._spool()
        self._scratch.readinto(buffer, self._offset + offset)

    def _spool(self) -> int:
        data = raw_bytes(self._decode())
        if len(data) != self.size:
            msg = (
                f'{self.name!r} decodes to {len(data)} bytes, '
                f'its header promises {self.size}'
            )
            raise ImageFormatError(msg)
        return self._scratch.append(data)
