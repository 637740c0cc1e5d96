# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Arithmetic on large frames, a few rows at a time and on all processors."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

__all__ = [
    'count_threads',
    'median',
    'per_strip',
    'run_strips',
    'total',
    'wide_strips',
]

# Pixels of a strip: what fits a cache beside its results; more where strips have to
# see some rows of their neighbours.
_PIXELS, _WIDE_PIXELS = 2**18, 2**21
# Values from which a median is bracketed first, and how many of them tell where.
_MANY, _PROBES = 2**17, 2**12


def count_threads() -> int:
    """
    Return how many processors this process may use.

    Returns
    -------
    int
        At least 1.
    """
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:
        return os.cpu_count() or 1


def run_strips(
    function: Callable[[slice], Any],
    shape: tuple[int, ...],
    *,
    multiple: int = 1,
    pixels: int | None = None,
) -> list[Any]:
    """
    Call a function for strips of rows, on threads if there are many.

    Parameters
    ----------
    function : callable
        Takes a slice of rows.

    shape : tuple of int
        Shape of the frame; its first number counts the rows.

    multiple : int, optional
        What the first row of each strip has to be a multiple of.

    pixels : int or None, optional
        About how many pixels a strip has.

    Returns
    -------
    list
        What the function returned, in the order of the strips. Which strips
        there are does not depend on the number of threads.
    """
    rows, row = shape[0], max(1, int(np.prod(shape[1:])))
    step = multiple * max(1, round((pixels or _PIXELS) / row / multiple))
    strips = [slice(i, min(i + step, rows)) for i in range(0, rows, step)]
    threads = min(count_threads(), len(strips))
    if threads <= 1:
        return [function(strip) for strip in strips]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, strips))


def per_strip(
    function: Callable[..., np.ndarray],
    *arrays: np.ndarray,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """
    Compute an array from others, pixel by pixel.

    Parameters
    ----------
    function : callable
        Takes the same rows of all arrays.

    *arrays : `~numpy.ndarray`
        Arrays of one shape.

    out : `~numpy.ndarray` or None, optional
        Where to write; a new float32 array by default.

    Returns
    -------
    `~numpy.ndarray`
        The result.
    """
    result = np.empty(arrays[0].shape, np.float32) if out is None else out

    def compute(rows: slice) -> None:
        result[rows] = function(*(array[rows] for array in arrays))

    run_strips(compute, result.shape)
    return result


def wide_strips(
    function: Callable[..., np.ndarray],
    *arrays: np.ndarray,
    reach: int,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """
    Compute an array from others, each pixel from its surroundings.

    Parameters
    ----------
    function : callable
        Takes the same rows of all arrays and returns as many.

    *arrays : `~numpy.ndarray`
        Arrays of one shape.

    reach : int
        How many rows up and down a pixel of the result looks.

    out : `~numpy.ndarray` or None, optional
        Where to write, none of the arrays; a new float32 array by default.

    Returns
    -------
    `~numpy.ndarray`
        What the function gives for the whole arrays.
    """
    result = np.empty(arrays[0].shape, np.float32) if out is None else out

    def compute(rows: slice) -> None:
        window = slice(max(rows.start - reach, 0), rows.stop + reach)
        inner = slice(rows.start - window.start, rows.stop - window.start)
        result[rows] = function(*(array[window] for array in arrays))[inner]

    run_strips(compute, result.shape, pixels=_WIDE_PIXELS)
    return result


def total(values: np.ndarray) -> float:
    """
    Add values up in double precision.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Any shape.

    Returns
    -------
    float
        Their sum.
    """
    sums = run_strips(lambda rows: values[rows].sum(dtype=float), values.shape)
    return float(sum(sums))


def median(values: np.ndarray) -> float:
    """
    Return the exact median of many values.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Any shape, finite, not empty.

    Returns
    -------
    float
        What `numpy.median` returns. Only what lies near the median of a sample is
        sorted.
    """
    if values.size < _MANY:
        return float(np.median(values))
    sample = np.sort(values.ravel()[:: max(1, values.size // _PROBES)])
    low, high = sample[[int(0.45 * len(sample)), int(0.55 * len(sample))]]

    def look(rows: slice) -> tuple[int, np.ndarray]:
        part = values[rows]
        below = part < low
        return np.count_nonzero(below), part[~below & (part <= high)]

    counts, inside = zip(*run_strips(look, values.shape), strict=True)
    first, near = sum(counts), np.concatenate(inside)
    places = [(values.size - 1) // 2 - first, values.size // 2 - first]
    # Outside when the sample was unlucky.
    if places[0] < 0 or places[1] >= near.size:
        return float(np.median(values))
    middle = np.partition(near, places)[places]
    return float(middle.mean())
