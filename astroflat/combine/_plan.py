# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Cutting the image into strips of rows that fit in the memory allowed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from astroflat.combine._columns import BLOCK_BYTES

__all__ = ['Plan', 'make_plan']

# Reading less of a frame at once costs more than it saves.
_READ_BYTES = 64 * 1024
# Strips per thread, so that all finish at about the same time.
_STRIPS = 4
# Space for the working blocks of a thread, in blocks: the widest are several
# times as large, and there are flags, distances and copies of them.
_BLOCKS = 48
# The same, per sample, where a block cannot be made narrower.
_NARROW_BYTES = 40 * 64
# Space per pixel of a strip: results of a thread before they are stored.
_PIXEL_BYTES = 128


@dataclass(frozen=True)
class Plan:
    """
    How to go through a stack.

    Attributes
    ----------
    bands : list of slice
        Rows that are processed together.

    threads : int
        How many bands are processed at the same time.

    block_bytes : int
        The size of the working block of a thread.
    """

    bands: list[slice]
    threads: int
    block_bytes: int

    @property
    def rows(self) -> int:
        """The number of rows of the largest band."""
        return max(band.stop - band.start for band in self.bands)


def make_plan(
    shape: tuple[int, ...],
    *,
    itemsize: int,
    sample_bytes: int,
    mem_limit: float,
    threads: int,
) -> Plan:
    """
    Cut an image into strips.

    Parameters
    ----------
    shape : tuple of int
        ``(n, ny, nx)`` or ``(n, ny, nx, 3)``.

    itemsize : int
        Bytes per sample in the file.

    sample_bytes : int
        Bytes of memory needed for every sample of a strip.

    mem_limit : float
        Bytes of memory allowed.

    threads : int
        The most threads.

    Returns
    -------
    plan : Plan
        Fewer threads than allowed where the memory is not enough for all.

    Raises
    ------
    ValueError
        If the memory is not enough for one row of all frames.
    """
    n, ny = shape[:2]
    across = math.prod(shape[2:])
    row_bytes = across * (n * sample_bytes + _PIXEL_BYTES)
    threads = max(1, min(threads, ny))
    rows = max(1, _READ_BYTES // (across * itemsize))
    rows = min(rows, max(1, ny // (threads * _STRIPS)))
    for used in range(threads, 0, -1):
        share = mem_limit / used
        block_bytes = int(min(BLOCK_BYTES, share / (2 * _BLOCKS)))
        fixed = max(_BLOCKS * block_bytes, _NARROW_BYTES * n)
        room = share - fixed
        if room >= row_bytes:
            rows = int(min(rows, room / row_bytes))
            bands = [slice(y, min(y + rows, ny)) for y in range(0, ny, rows)]
            return Plan(bands, min(used, len(bands)), block_bytes)
    msg = (
        f'mem_limit={mem_limit:g} bytes is too small: one row of {n} frames takes '
        f'{fixed + row_bytes:.3g} bytes; allow more, or combine a part of the image'
    )
    raise ValueError(msg)
