# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The 178-byte header of a SER video and its clock."""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from astroflat._exceptions import SERError

if TYPE_CHECKING:
    from astropy.time import Time

__all__ = [
    'COLORS',
    'HEADER_SIZE',
    'SERHeader',
    'ticks_to_iso',
    'ticks_to_time',
    'time_to_ticks',
]

HEADER_SIZE = 178
_MAGIC = b'LUCAM-RECORDER'
# Magic, LuID, ColorID, LittleEndian, width, height, depth, frames, three
# names, local and universal time.
_LAYOUT = struct.Struct('<14s7i40s40s40s2q')

# The colour identifiers of the format; the letters are the 2 x 2 cell read
# row by row from the upper left.
COLORS = {
    0: 'mono',
    8: 'RGGB',
    9: 'GRBG',
    10: 'GBRG',
    11: 'BGGR',
    16: 'CYYM',
    17: 'YCMY',
    18: 'YMCY',
    19: 'MYYC',
    100: 'RGB',
    101: 'BGR',
}

# 100 ns since 0001-01-01, days of 86400 s, proleptic Gregorian calendar.
_TICKS_PER_DAY = 864_000_000_000
_FIRST_DAY = np.datetime64('0001-01-01', 'D')
_LAST_TICK = int((np.datetime64('9999-12-31', 'D') - _FIRST_DAY).astype(int) + 1)
_LAST_TICK *= _TICKS_PER_DAY


@dataclass(frozen=True)
class SERHeader:
    """
    The fields of a SER header, as they stand in the file.

    Parameters
    ----------
    width, height : int
        Pixels of a frame.

    bit_depth : int
        Significant bits per sample, 1 to 16.

    frame_count : int
        Frames that the header promises.

    color_id : int
        0 mono, 8-11 Bayer, 16-19 CMY, 100 RGB, 101 BGR.

    little_endian : int
        The byte-order flag. Its meaning is disputed, see `SERFile`.

    observer, instrument, telescope : str
        Names, at most 40 bytes each.

    local_ticks, utc_ticks : int
        Start of the recording in units of 100 ns since 0001-01-01.

    lu_id : int
        Identifier of the Lumenera camera series; 0 in almost every file.

    Examples
    --------
    >>> from astroflat.io import SERHeader
    >>> header = SERHeader(width=640, height=480, bit_depth=12, frame_count=100)
    >>> len(header.pack()), header.frame_bytes, header.color
    (178, 614400, 'mono')
    """

    width: int
    height: int
    bit_depth: int
    frame_count: int
    color_id: int = 0
    little_endian: int = 0
    observer: str = ''
    instrument: str = ''
    telescope: str = ''
    local_ticks: int = 0
    utc_ticks: int = 0
    lu_id: int = 0

    @classmethod
    def unpack(cls, block: bytes, name: str) -> SERHeader:
        """
        Read and check a header.

        Parameters
        ----------
        block : bytes
            The first 178 bytes of the file.

        name : str
            The name of the file, for the error message.

        Returns
        -------
        header : SERHeader
            The fields; everything but the frame count is plausible.

        Raises
        ------
        SERError
            If this is not a SER header or a field makes no sense.
        """
        if not block.startswith(_MAGIC):
            msg = (
                f'{name!r} is not a SER video: it does not start with '
                f'{_MAGIC.decode()!r}'
            )
            raise SERError(msg)
        if len(block) < HEADER_SIZE:
            msg = (
                f'{name!r} is truncated: a SER header has {HEADER_SIZE} bytes, '
                f'the file has {len(block)}'
            )
            raise SERError(msg)
        (_, lu_id, color_id, little, width, height, depth, count, *rest) = (
            _LAYOUT.unpack_from(block)
        )
        header = cls(
            width=width,
            height=height,
            bit_depth=depth,
            frame_count=count,
            color_id=color_id,
            little_endian=little,
            observer=_text(rest[0]),
            instrument=_text(rest[1]),
            telescope=_text(rest[2]),
            local_ticks=rest[3],
            utc_ticks=rest[4],
            lu_id=lu_id,
        )
        header._check(name)
        return header

    def pack(self) -> bytes:
        """
        Return the header as bytes.

        Returns
        -------
        block : bytes
            178 bytes.
        """
        return _LAYOUT.pack(
            _MAGIC,
            self.lu_id,
            self.color_id,
            self.little_endian,
            self.width,
            self.height,
            self.bit_depth,
            self.frame_count,
            _field(self.observer, 'observer'),
            _field(self.instrument, 'instrument'),
            _field(self.telescope, 'telescope'),
            self.local_ticks,
            self.utc_ticks,
        )

    @property
    def color(self) -> str:
        """'mono', a 2 x 2 colour pattern, 'RGB' or 'BGR'."""
        return COLORS[self.color_id]

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """The shape of a frame, ``(ny, nx)`` or ``(ny, nx, 3)``."""
        planes = (3,) if self.color_id >= 100 else ()
        return (self.height, self.width, *planes)

    @property
    def dtype(self) -> np.dtype:
        """The native type of the samples, uint8 or uint16."""
        return np.dtype(np.uint8 if self.bit_depth <= 8 else np.uint16)

    @property
    def frame_bytes(self) -> int:
        """The bytes of one frame."""
        return int(np.prod(self.frame_shape, dtype=object)) * self.dtype.itemsize

    def replace(self, **changes: Any) -> SERHeader:
        """
        Return a copy with some fields changed.

        Parameters
        ----------
        **changes
            The new values.

        Returns
        -------
        header : SERHeader
            The copy.
        """
        return replace(self, **changes)

    def _check(self, name: str) -> None:
        """Raise if a field makes it impossible to find a frame."""
        if self.width < 1 or self.height < 1:
            problem = f'frames of {self.width} x {self.height} pixels'
        elif not 1 <= self.bit_depth <= 16:
            problem = f'{self.bit_depth} bits per sample; 1 to 16 exist'
        elif self.color_id not in COLORS:
            problem = f'the colour identifier {self.color_id}; known are ' + ', '.join(
                map(str, COLORS)
            )
        elif self.frame_count < 0:
            problem = f'{self.frame_count} frames'
        else:
            return
        msg = f'the SER header of {name!r} is damaged: it claims {problem}'
        raise SERError(msg)


def _text(field: bytes) -> str:
    """Return a fixed-width string, which may end in NUL or in blanks."""
    # Programs write ASCII, UTF-8 or the code page of the machine.
    text = field.split(b'\0', 1)[0]
    try:
        return text.decode('utf-8').strip()
    except UnicodeDecodeError:
        return text.decode('latin-1').strip()


def _field(text: str, name: str) -> bytes:
    """Return a string as the 40 bytes of the header."""
    raw = text.encode('utf-8')
    if len(raw) > 40:
        msg = f'{name} has {len(raw)} bytes, a SER header holds 40; shorten {text!r}'
        raise ValueError(msg)
    return raw.ljust(40, b'\0')


def ticks_to_iso(ticks: int) -> str | None:
    """
    Write a time stamp as text.

    Parameters
    ----------
    ticks : int
        Units of 100 ns since 0001-01-01T00:00:00.

    Returns
    -------
    text : str or None
        ISO 8601 with seven decimals; `None` if it is no date.
    """
    if not 0 < ticks < _LAST_TICK:
        return None
    days, rest = divmod(int(ticks), _TICKS_PER_DAY)
    seconds, fraction = divmod(rest, 10_000_000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    day = _FIRST_DAY + np.timedelta64(days, 'D')
    return f'{day}T{hour:02d}:{minute:02d}:{second:02d}.{fraction:07d}'


def ticks_to_time(ticks: Any, *, scale: Literal['utc', 'local'] = 'utc') -> Time:
    """
    Convert the time stamps of a SER video.

    Parameters
    ----------
    ticks : int or array_like of int
        Units of 100 ns since 0001-01-01T00:00:00. Values that are not a date
        (zero, negative, after the year 9999) come out masked.

    scale : {'utc', 'local'}, optional
        The time scale that the ticks count.

    Returns
    -------
    time : `~astropy.time.Time`
        Exact to the tick.

    Examples
    --------
    >>> from astroflat.io import ticks_to_time
    >>> time = ticks_to_time(637134336001234567)
    >>> time.precision = 7
    >>> print(time.isot)
    2020-01-01T00:00:00.1234567
    """
    import erfa
    from astropy.time import Time

    ticks = np.asarray(ticks, dtype=np.int64)
    bad = (ticks <= 0) | (ticks >= _LAST_TICK)
    good = np.where(bad, 630_822_816_000_000_000, ticks)  # J2000.0, any valid date
    days, rest = np.divmod(good, _TICKS_PER_DAY)
    dates = _FIRST_DAY + days.astype('timedelta64[D]')
    years = dates.astype('datetime64[Y]')
    months = dates.astype('datetime64[M]')
    minutes, rest = np.divmod(rest, 600_000_000)
    hours, minutes = np.divmod(minutes, 60)
    with warnings.catch_warnings():
        # "Dubious year": before 1960 and after the leap-second table.
        warnings.simplefilter('ignore', erfa.ErfaWarning)
        jd1, jd2 = erfa.dtf2d(
            # Days that end in a leap second are longer, in UTC only.
            'UTC' if scale == 'utc' else 'TAI',
            years.astype(int) + 1970,
            (months - years).astype(int) + 1,
            (dates - months).astype(int) + 1,
            hours.astype(np.intc),
            minutes.astype(np.intc),
            rest * 1e-7,
        )
        time = Time(jd1, jd2, format='jd', scale=scale)
        time.format = 'isot'
    if bad.any():
        time[bad] = np.ma.masked
    return time


def time_to_ticks(time: Any) -> np.ndarray:
    """
    Convert times to the time stamps of a SER video.

    Parameters
    ----------
    time : `~astropy.time.Time`, datetime-like or ISO strings
        What `~astropy.time.Time` accepts. All scales but ``local`` are
        converted to UTC. Masked elements become 0, which means "unknown".

    Returns
    -------
    ticks : `~numpy.ndarray` of int64
        Units of 100 ns since 0001-01-01, rounded to the nearest.

    Examples
    --------
    >>> from astroflat.io import time_to_ticks
    >>> time_to_ticks('2020-01-01T00:00:00.1234567')
    array(637134336001234567)
    """
    import erfa
    from astropy.time import Time

    time = Time(time)
    local = time.scale == 'local'
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', erfa.ErfaWarning)
        time = time if local else time.utc
        bad = np.asarray(time.mask)
        jd1 = np.where(bad, 2451544.5, np.asarray(time.jd1))
        jd2 = np.where(bad, 0.0, np.asarray(time.jd2))
        year, month, day, clock = erfa.d2dtf('TAI' if local else 'UTC', 7, jd1, jd2)
    months = (np.asarray(year) - 1970) * 12 + np.asarray(month) - 1
    dates = months.astype('datetime64[M]').astype('datetime64[D]')
    dates = dates + (day - 1).astype('timedelta64[D]')
    ticks = (dates - _FIRST_DAY).astype(np.int64) * _TICKS_PER_DAY
    ticks += clock['h'].astype(np.int64) * 36_000_000_000
    ticks += clock['m'].astype(np.int64) * 600_000_000
    ticks += clock['s'].astype(np.int64) * 10_000_000 + clock['f']
    return np.where(bad, 0, ticks)
