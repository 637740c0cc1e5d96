# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The sky between its pixels as frames see it, and the transpose of that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from astroflat.selfcal._kll_layout import taps

if TYPE_CHECKING:
    from astroflat.selfcal._kll_layout import Interpolation, SkyLayout

__all__ = ['FrameTaps', 'absolute', 'frame_taps', 'look', 'spread', 'tap_tables']

# The neighbours of a point along y and along x: (row or column, weight).
FrameTaps = list[list[tuple[int, np.float32]]]


def frame_taps(
    layout: SkyLayout, offsets: np.ndarray, interpolation: Interpolation
) -> list[FrameTaps]:
    """
    Return which pixels of the sky the first pixel of each frame sees.

    Parameters
    ----------
    layout : SkyLayout
        Where the skies are.

    offsets : `~numpy.ndarray`
        ``(n, 2)``.

    interpolation : {'nearest', 'linear', 'cubic'}
        How the sky is interpolated.

    Returns
    -------
    taps : list
        One for each frame.
    """
    place = layout.place(offsets)
    whole = np.floor(place).astype(int)
    return [
        [
            [(b + i, np.float32(c)) for i, c in taps(f, interpolation).items()]
            for b, f in zip(base, part, strict=True)
        ]
        for base, part in zip(whole, place - whole, strict=True)
    ]


def absolute(frame: FrameTaps) -> FrameTaps:
    """
    Return taps with the absolute values of their weights.

    Parameters
    ----------
    frame : list
        The taps of a frame.

    Returns
    -------
    taps : list
        For sums of weights.
    """
    return [[(i, abs(c)) for i, c in along] for along in frame]


def look(
    frame: FrameTaps, nx: int, sky: np.ndarray, first: int, last: int
) -> np.ndarray:
    """
    Return rows of the sky as a frame sees them.

    Parameters
    ----------
    frame : list
        The taps of the frame.

    nx : int
        Its columns.

    sky : `~numpy.ndarray`
        The sky.

    first, last : int
        The first row of the frame, and the one after the last.

    Returns
    -------
    rows : `~numpy.ndarray`
        ``(last - first, nx)`` float32.
    """
    in_y, in_x = frame
    left = in_x[0][0]
    columns = slice(left, in_x[-1][0] + nx)
    rows = _blend([sky[first + i : last + i, columns] for i, _ in in_y], in_y)
    return _blend([rows[:, i - left : i - left + nx] for i, _ in in_x], in_x)


def spread(frame: FrameTaps, rows: np.ndarray, first: int, out: np.ndarray) -> None:
    """
    Add what a frame holds to a band of the sky: the transpose of `look`.

    Parameters
    ----------
    frame : list
        The taps of the frame.

    rows : `~numpy.ndarray`
        Rows of the frame.

    first : int
        The row of ``out``, which may be negative, that the first of them
        goes to by a tap of zero.

    out : `~numpy.ndarray`
        A band of the sky, changed in place; rows outside are left out.
    """
    in_y, in_x = frame
    ny, nx = rows.shape
    left = in_x[0][0]
    if len(in_x) > 1:
        wide = np.zeros((ny, nx + in_x[-1][0] - left), dtype=np.float32)
        work = np.empty_like(rows)
        for i, c in in_x:
            wide[:, i - left : i - left + nx] += np.multiply(rows, c, out=work)
        rows = wide
    columns = slice(left, left + rows.shape[1])
    work = np.empty_like(rows)
    for j, c in in_y:
        start, stop = max(0, first + j), min(len(out), first + j + ny)
        if start < stop:
            part = rows[start - first - j : stop - first - j]
            if len(in_y) > 1:
                part = np.multiply(part, c, out=work[: len(part)])
            out[start:stop, columns] += part


def tap_tables(
    frames: list[FrameTaps],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Return taps as numba wants them.

    Parameters
    ----------
    frames : list
        The taps of all frames.

    Returns
    -------
    base, many, share : `~numpy.ndarray`
        The first pixel, the number, and the weights, along y and along x.
    """
    n = len(frames)
    base, many = np.zeros((n, 2), np.int64), np.zeros((n, 2), np.int64)
    share = np.zeros((n, 2, 4), np.float32)
    for k, frame in enumerate(frames):
        for axis, along in enumerate(frame):
            base[k, axis], many[k, axis] = along[0][0], len(along)
            share[k, axis, : len(along)] = [c for _, c in along]
    return base, many, share


def _blend(parts: list[np.ndarray], weights: list) -> np.ndarray:
    """Return the weighted sum of views of the same shape."""
    if len(parts) == 1:
        return parts[0]
    out = parts[0] * weights[0][1]
    work = np.empty_like(out)
    for part, (_, c) in zip(parts[1:], weights[1:], strict=True):
        np.multiply(part, c, out=work)
        out += work
    return out
