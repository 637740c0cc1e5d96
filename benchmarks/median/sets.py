# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The frames that are combined: made once, kept in a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FULL = ((40, 2048, 'u2'), (100, 2048, 'u2'), (500, 1024, 'u2'), (500, 1024, 'u1'))
QUICK = ((20, 512, 'u2'), (60, 256, 'u1'))


@dataclass(frozen=True)
class FrameSet:
    """
    Frames of one size and type, as a video and as files.

    Attributes
    ----------
    n, side : int
        The number of frames, and their width and height.

    dtype : str
        'u1' or 'u2'.

    folder : `pathlib.Path`
        Where they are.
    """

    n: int
    side: int
    dtype: str
    folder: Path

    @property
    def name(self) -> str:
        """Name in the tables."""
        return f'{self.n} x {self.side}^2 uint{8 * int(self.dtype[1])}'

    @property
    def ser(self) -> Path:
        """The video."""
        return self.folder / 'video.ser'

    @property
    def fits(self) -> list[Path]:
        """The files; named as Siril wants the files of a sequence."""
        return [self.folder / f'frame_{i + 1:05d}.fits' for i in range(self.n)]

    @property
    def size(self) -> int:
        """Bytes of samples."""
        return self.n * self.side**2 * int(self.dtype[1])

    def files(self, kind: str) -> list[Path]:
        """Return the files of a kind."""
        return [self.ser] if kind == 'ser' else self.fits

    def frames(self):
        """Yield the frames: a vignetted field with noise, never twice the same."""
        rng = np.random.default_rng(self.n + self.side)
        y, x = np.mgrid[-1 : 1 : self.side * 1j, -1 : 1 : self.side * 1j]
        level, noise = (20000, 140) if self.dtype == 'u2' else (120, 4)
        field = (level * (1 - 0.25 * (x * x + y * y))).astype(np.float32)
        pool = rng.standard_normal((2 * self.side,) * 2, dtype=np.float32) * noise
        for i in range(self.n):
            a, b = rng.integers(0, self.side, 2)
            drawn = pool[a : a + self.side, b : b + self.side]
            yield np.round(field + drawn * (1 if i % 2 else -1)).astype(self.dtype)

    def make(self) -> None:
        """Write what is not there yet, and the exact median."""
        from astropy.io import fits

        from astroflat.io import write_ser

        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.ser.exists():
            write_ser(self.ser, self.frames())
        for path, frame in zip(self.fits, self.frames(), strict=True):
            if not path.exists():
                fits.PrimaryHDU(frame).writeto(path)
        if not self.truth.exists():
            np.save(self.truth, self._median())

    @property
    def truth(self) -> Path:
        """The median by numpy."""
        return self.folder / 'truth.npy'

    def _median(self) -> np.ndarray:
        """Compute the median by numpy, a few rows at a time."""
        from astroflat.io import open_frames

        with open_frames(self.ser) as stack:
            bands = [
                np.median(stack.read_rows(y, min(y + 32, self.side)), axis=0)
                for y in range(0, self.side, 32)
            ]
        return np.concatenate(bands).astype(np.float32)


def drop_cache(paths: list[Path]) -> None:
    """
    Ask the system to forget files, so that they are read from the disk.

    Parameters
    ----------
    paths : list of `pathlib.Path`
        The files.
    """
    for path in paths:
        with path.open('rb') as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def warm_cache(paths: list[Path]) -> None:
    """
    Read files, so that they are in memory.

    Parameters
    ----------
    paths : list of `pathlib.Path`
        The files.
    """
    buffer = bytearray(1 << 20)
    for path in paths:
        with path.open('rb', buffering=0) as file:
            while file.readinto(buffer):
                pass
