# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Images as they lie in a file, read by bands of rows into native samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from astroflat._exceptions import ImageFormatError
from astroflat.io._bytes import raw_bytes

__all__ = ['Plane', 'SampleRule']


@dataclass(frozen=True)
class SampleRule:
    """
    How stored samples become native ones.

    Attributes
    ----------
    stored : `numpy.dtype`
        The type in the file, with its byte order.

    dtype : `numpy.dtype`
        The native type that comes out.

    flip : bool
        Whether the highest bit is inverted: unsigned integers stored as
        signed ones with an offset of half the range, or the reverse.

    scale, zero : float
        ``value = scale * stored + zero``, where the type changes to floating
        point; else 1 and 0.

    blank : int or None
        The stored integer that means "no value".
    """

    stored: np.dtype
    dtype: np.dtype
    flip: bool = False
    scale: float = 1.0
    zero: float = 0.0
    blank: int | None = None

    @property
    def scaled(self) -> bool:
        """Whether samples are multiplied, not only renamed."""
        return self.scale != 1.0 or self.zero != 0.0

    @property
    def masks(self) -> bool:
        """Whether there is a stored value that must be masked."""
        # Scaled samples are floating point and become NaN instead.
        return self.blank is not None and not self.scaled

    def finish(self, out: np.ndarray) -> None:
        """
        Turn stored samples into native ones, in place.

        Parameters
        ----------
        out : `~numpy.ndarray`
            The bytes of the file, in an array of the native type.
        """
        if not self.stored.isnative:
            # Onto itself: many times faster than `numpy.ndarray.byteswap`.
            native = out.view(self.stored.newbyteorder('='))
            np.copyto(native, native.view(self.stored))
        if self.flip:
            bits = out.view(np.dtype(f'u{out.itemsize}'))
            bits ^= bits.dtype.type(1 << (8 * out.itemsize - 1))

    def convert(self, raw: np.ndarray) -> np.ndarray:
        """
        Return scaled samples.

        Parameters
        ----------
        raw : `~numpy.ndarray`
            The stored samples, in the stored type.

        Returns
        -------
        values : `~numpy.ndarray`
            Of the native type, in which they are computed, as
            `astropy.io.fits` does; NaN where the stored sample is blank.
        """
        values = raw.astype(self.dtype)
        if self.scale != 1:
            values *= self.dtype.type(self.scale)
        if self.zero != 0:
            values += self.dtype.type(self.zero)
        if self.blank is not None:
            values[raw == self.blank] = np.nan
        return values


@dataclass(frozen=True)
class Plane:
    """
    One image in a file.

    Attributes
    ----------
    reader : object
        Has ``readinto(buffer, offset)``.

    offset : int
        Where the samples begin.

    rule : SampleRule
        What they are.

    shape : tuple of int
        ``(ny, nx)`` or ``(ny, nx, 3)``.

    planar : bool
        Whether the colours are stored one after the other.
    """

    reader: Any
    offset: int
    rule: SampleRule
    shape: tuple[int, ...]
    planar: bool = False

    @property
    def nbytes(self) -> int:
        """The bytes that the image takes in the file."""
        return count_bytes(self.shape, self.rule.stored)

    def check(self, size: int, name: str) -> None:
        """
        Raise if the file is too short.

        Parameters
        ----------
        size : int
            The bytes of the file.

        name : str
            Its name.
        """
        if self.offset + self.nbytes > size:
            msg = (
                f'{name!r} is truncated: its header promises {self.nbytes} bytes '
                f'of samples, it has {max(0, size - self.offset)}'
            )
            raise ImageFormatError(msg)

    def read(self, start: int, out: np.ndarray) -> None:
        """
        Read rows.

        Parameters
        ----------
        start : int
            The first row.

        out : `~numpy.ndarray`
            As many rows as are wanted, native and C-contiguous.
        """
        if self.planar:
            ny, nx, planes = self.shape
            band = np.empty(out.shape[:2], out.dtype)
            for k in range(planes):
                self._band(k * ny * nx + start * nx, band)
                out[..., k] = band
        else:
            self._band(start * int(np.prod(self.shape[1:])), out)

    def blank(self, start: int, out: np.ndarray) -> None:
        """
        Mark the rows' samples that have no value.

        Parameters
        ----------
        start : int
            The first row.

        out : `~numpy.ndarray` of bool
            As many rows as are wanted; True is added where a sample is blank.
        """
        if not self.rule.masks:
            return
        samples = np.empty(out.shape, self.rule.dtype)
        self.read(start, samples)
        # The blank value is compared in the form that the samples come out.
        blank = np.array([self.rule.blank]).astype(self.rule.stored.newbyteorder('='))
        if self.rule.flip:
            rule = SampleRule(blank.dtype, self.rule.dtype, flip=True)
            blank = blank.view(self.rule.dtype)
            rule.finish(blank)
        out |= samples == blank[0]

    def _band(self, first: int, out: np.ndarray) -> None:
        """Read consecutive samples from one place."""
        offset = self.offset + first * self.rule.stored.itemsize
        if self.rule.scaled:
            raw = np.empty(out.shape, self.rule.stored)
            self.reader.readinto(raw_bytes(raw), offset)
            out[...] = self.rule.convert(raw)
        else:
            self.reader.readinto(raw_bytes(out), offset)
            self.rule.finish(out)


def count_bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """Return the bytes of an array, in integers that cannot overflow."""
    count = dtype.itemsize
    for length in shape:
        count *= length
    return count
