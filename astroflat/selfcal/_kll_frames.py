# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Calibrated frames by bands of rows, one colour at a time."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from astroflat.combine._request import Request

__all__ = [
    'Frames',
    'MergedFrames',
    'Plane',
    'merge_frames',
    'planes_of',
    'scratch_array',
]


@dataclass(frozen=True)
class Plane:
    """
    The pixels of one colour.

    Attributes
    ----------
    first : tuple of int
        The row and column of the first.

    step : int
        From one to the next, along both axes: 2 in a Bayer pattern.

    channel : int or None
        Of colour frames.
    """

    first: tuple[int, int] = (0, 0)
    step: int = 1
    channel: int | None = None

    def cut(self, image: np.ndarray) -> np.ndarray:
        """
        Return the pixels of this colour.

        Parameters
        ----------
        image : `~numpy.ndarray`
            ``(..., ny, nx)``, or ``(..., ny, nx, 3)`` of colour frames, or
            ``(ny, nx)`` of all their colours.

        Returns
        -------
        plane : `~numpy.ndarray`
            A view.
        """
        if self.channel is not None:
            # A plane, such as a mask, holds for all colours.
            return image if image.ndim == 2 else image[..., self.channel]
        if self.step == 1:
            return image
        j, i = self.first
        return image[..., j :: self.step, i :: self.step]


def planes_of(shape: tuple[int, ...], color: str) -> list[Plane]:
    """
    Return the colours of frames.

    Parameters
    ----------
    shape : tuple of int
        Of a frame.

    color : str
        As in `FrameStack`.

    Returns
    -------
    planes : list of Plane
        One, three or four.

    Raises
    ------
    ValueError
        If a Bayer image has an odd number of rows or columns.
    """
    if len(shape) == 3:
        return [Plane(channel=c) for c in range(shape[2])]
    if color in ('mono', 'RGB'):
        return [Plane()]
    if shape[0] % 2 or shape[1] % 2:
        msg = f'{color} frames must have even sides, not {shape}; crop them'
        raise ValueError(msg)
    return [Plane((j, i), 2) for j in (0, 1) for i in (0, 1)]


class Frames:
    """
    The frames of a stack in one colour, calibrated when they are read.

    Parameters
    ----------
    request : Request
        The stack, bias and dark.

    plane : Plane
        The colour.

    mask : `~numpy.ndarray` of bool or None
        Of a frame: True marks pixels that are bad in all of them.
    """

    def __init__(
        self, request: Request, plane: Plane, mask: np.ndarray | None = None
    ) -> None:
        from astroflat.combine._calibration import Calibration

        self._stack = request.stack
        given = request.planes()
        self._calibration = Calibration.of(
            request.stack.shape,
            offset=given['bias'],
            dark=given['dark'],
            dark_factors=given['dark_factors'],
        )
        self._plane = plane
        self._masks = [m for m in (mask, request.bad) if m is not None]
        bits = request.stack.bit_depth
        self._full = 2**bits - 1 if request.stack.dtype.kind == 'u' else None
        ny, nx = request.stack.shape[1:3]
        step = plane.step
        self.shape = (len(request.stack), ny // step, nx // step)

    def __len__(self) -> int:
        return self.shape[0]

    def rows(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """
        Return rows of all frames.

        Parameters
        ----------
        first, last : int
            The first row, and the one after the last.

        Returns
        -------
        values : `~numpy.ndarray`
            ``(n, last - first, nx)`` float32.

        bad : `~numpy.ndarray` of bool
            Masked, saturated, or no number.
        """
        step = self._plane.step
        return self._read(self._stack, slice(first * step, last * step))

    def frame(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """
        Return one frame.

        Parameters
        ----------
        k : int
            Which.

        Returns
        -------
        values, bad : `~numpy.ndarray`
            ``(ny, nx)``, as in `rows`.
        """
        one = self._stack[k : k + 1]
        values, bad = self._read(one, slice(0, self._stack.shape[1]), k)
        return values[0], bad[0]

    def _read(
        self, stack: Any, rows: slice, k: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read rows of a stack and calibrate them."""
        raw = stack.read_rows(rows.start, rows.stop)
        bad = stack.mask_rows(rows.start, rows.stop)
        bad = np.zeros(raw.shape, dtype=bool) if bad is None else bad
        if self._full is not None:
            bad |= raw >= self._full
        calibration = self._calibration
        if k is not None and calibration.dark_factors is not None:
            factors = calibration.dark_factors[k : k + 1]
            calibration = replace(calibration, dark_factors=factors)
        values = self._plane.cut(calibration.apply(raw, rows, np.dtype(np.float32)))
        bad = self._plane.cut(bad)
        bad = bad | ~np.isfinite(values)
        for mask in self._masks:
            bad |= self._plane.cut(mask[rows])
        return np.ascontiguousarray(values), bad


def scratch_array(shape: tuple[int, ...], dtype: type, limit: float) -> np.ndarray:
    """
    Return zeros in memory, or in a file without a name.

    Parameters
    ----------
    shape : tuple of int
        The shape.

    dtype : type
        The type.

    limit : float
        The most bytes in memory.

    Returns
    -------
    array : `~numpy.ndarray`
        Zeros.
    """
    if np.prod(shape, dtype=float) * np.dtype(dtype).itemsize <= limit:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile(prefix='astroflat-') as file:
        return np.memmap(file, dtype=dtype, mode='w+', shape=shape)


class MergedFrames:
    """
    Means of frames, in memory.

    Parameters
    ----------
    values : `~numpy.ndarray`
        ``(n, ny, nx)`` float32, NaN where there is none.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.shape = values.shape

    def __len__(self) -> int:
        return self.shape[0]

    def rows(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """
        Return rows of all means.

        Parameters
        ----------
        first, last : int
            The first row, and the one after the last.

        Returns
        -------
        values, bad : `~numpy.ndarray`
            As in `Frames.rows`.
        """
        values = self.values[:, first:last]
        return values, ~np.isfinite(values)

    def frame(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """
        Return one mean.

        Parameters
        ----------
        k : int
            Which.

        Returns
        -------
        values, bad : `~numpy.ndarray`
            ``(ny, nx)``.
        """
        return self.values[k], ~np.isfinite(self.values[k])


def merge_frames(
    frames: Frames,
    labels: np.ndarray,
    each: Callable | None = None,
    *,
    mem_limit: float = np.inf,
) -> MergedFrames:
    """
    Average the frames of each label.

    Parameters
    ----------
    frames : Frames
        The frames, read once, one at a time.

    labels : `~numpy.ndarray` of int
        ``(n,)``, from 0 without gaps.

    each : callable, optional
        Called with the number of every frame that was read.

    mem_limit : float, optional
        Larger means lie in a scratch file, in bytes.

    Returns
    -------
    merged : MergedFrames
        A pixel is NaN where any of its frames is bad in more than half.
    """
    many = int(labels.max()) + 1
    shape = (many, *frames.shape[1:])
    total = scratch_array(shape, np.float32, mem_limit)
    count = scratch_array(shape, np.uint16, mem_limit)
    for k in range(len(frames)):
        values, bad = frames.frame(k)
        total[labels[k]] += np.where(bad, 0, values)
        count[labels[k]] += ~bad
        if each is not None:
            each(k)
    needed = (np.bincount(labels) + 1) // 2
    with np.errstate(invalid='ignore', divide='ignore'):
        total /= count
    total[count < needed[:, None, None]] = np.nan
    return MergedFrames(total)
