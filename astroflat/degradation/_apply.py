# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The arithmetic of ``I = S * F + G`` on plain arrays, both ways.

NumPy works through the image in bands of rows that fit the cache; numba, when
it is installed and the image is large enough to pay for its start, through a
few long pieces in a single pass. Both do so on threads and give the same bits.
"""

from __future__ import annotations

import importlib.util
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from astroflat._arrays import n_threads as count_threads
from astroflat._arrays import row_chunks

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ['Field', 'correct_arrays', 'degrade_arrays']

# Importing numba costs about half a second: what NumPy needs for 200 Mpx.
_NUMBA_PIXELS = 100_000_000
# Small enough for the cache, large enough that threads seldom wait for the GIL;
# compiled code is called once for a piece.
_BAND_BYTES = 2**20
_PIECE_BYTES = 2**22


@dataclass(frozen=True)
class Field:
    """
    A field ready for arithmetic.

    Attributes
    ----------
    value : `~numpy.ndarray` or scalar
        In the type of the data; an array has the shape of the data, or one
        that broadcasts to it.

    uncertainty : `~numpy.ndarray` or None
        The standard deviation or variance of an array.

    mask : `~numpy.ndarray` of bool or None
        True where the field is not known.

    squared : bool
        Whether the uncertainty is a variance.
    """

    value: np.ndarray | np.floating
    uncertainty: np.ndarray | None = None
    mask: np.ndarray | None = None
    squared: bool = False

    def map(self, function: Callable) -> Field:
        """Return the field with a function applied to its arrays."""
        parts = (self.value, self.uncertainty, self.mask)
        return Field(*(function(part) for part in parts), self.squared)

    def variance(self, factor: np.ndarray | None = None) -> np.ndarray | None:
        """Return the variance of the field times a factor."""
        if self.uncertainty is None:
            return None
        u = self.uncertainty
        variance = u if self.squared else u * u
        return variance if factor is None else factor * factor * variance


def correct_arrays(
    data: np.ndarray,
    flat: Field,
    gradient: Field | None,
    *,
    mask: np.ndarray | None = None,
    uncertainty: np.ndarray | None = None,
    kind: str | None = None,
    min_value: float = 0.05,
    n_threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, int]:
    """
    Return ``(data - gradient) / flat`` with its uncertainty and mask.

    Parameters
    ----------
    data : `~numpy.ndarray`
        The image, float32 or float64.

    flat, gradient : Field
        The fields.

    mask : `~numpy.ndarray` of bool, optional
        The mask of the image.

    uncertainty : `~numpy.ndarray`, optional
        The uncertainty of the image, of the ``kind`` 'std', 'var' or 'ivar'.

    min_value : float, optional
        Where the flat is smaller, the pixel is masked and not divided.

    n_threads : int, optional
        The number of threads.

    Returns
    -------
    result, uncertainty, mask : `~numpy.ndarray` or None
        New arrays. The mask is None if there was none and none is needed.

    n_masked : int
        The number of pixels that only the fields have masked.
    """
    out = np.empty(data.shape, data.dtype)
    out_unc = None if uncertainty is None else np.empty(data.shape, data.dtype)
    out_mask = np.empty(data.shape, bool)
    arrays = data, flat, gradient, mask, uncertainty, out, out_unc, out_mask
    divide = _compiled(data, flat, gradient)
    if divide is not None:
        arrays = [_line(a) for a in arrays]
    limit = data.dtype.type(min_value)

    def work(rows: slice) -> int:
        with np.errstate(all='ignore'):
            parts = [_rows(a, rows) for a in arrays]
            return (divide or _divide_band)(*parts, kind=kind, min_value=limit)

    size = _BAND_BYTES if divide is None else _PIECE_BYTES
    n_masked = sum(_run(work, arrays[0], n_threads, size))
    needed = mask is not None or n_masked > 0
    return out, out_unc, out_mask if needed else None, n_masked


def degrade_arrays(
    data: np.ndarray,
    flat: Field,
    gradient: Field | None,
    *,
    mask: np.ndarray | None = None,
    uncertainty: np.ndarray | None = None,
    kind: str | None = None,
    n_threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """
    Return ``data * flat + gradient`` with its uncertainty and mask.

    Parameters and returns are those of `correct_arrays`, without the number.
    """
    out = np.empty(data.shape, data.dtype)
    out_unc = None if uncertainty is None else np.empty(data.shape, data.dtype)

    def work(rows: slice) -> None:
        f, g, s = (_rows(a, rows) for a in (flat, gradient, data))
        with np.errstate(all='ignore'):
            np.multiply(s, f.value, out=out[rows])
            if g is not None:
                out[rows] += g.value
            if uncertainty is not None:
                extra = _sum(
                    f.variance(s),
                    None if g is None else g.variance(),
                )
                scale = np.abs(f.value)
                _propagate(uncertainty[rows], kind, extra, out_unc[rows], scale=scale)

    _run(work, data, n_threads, _BAND_BYTES)
    masks = [mask, flat.mask, None if gradient is None else gradient.mask]
    return out, out_unc, _or(masks, data.shape)


def _compiled(data: np.ndarray, flat: Field, gradient: Field | None) -> Callable | None:
    """Return the compiled function if there is one and it is worth it."""
    fields = [f for f in (flat, gradient) if f is not None]
    whole = all(np.shape(f.value) == data.shape for f in fields)
    started = 'numba' in sys.modules
    worth = started or data.size >= _NUMBA_PIXELS
    if whole and worth and importlib.util.find_spec('numba') is not None:
        from astroflat.degradation._apply_numba import divide_line

        return divide_line
    return None


def _divide_band(
    data: np.ndarray,
    flat: Field,
    gradient: Field | None,
    mask: np.ndarray | None,
    uncertainty: np.ndarray | None,
    out: np.ndarray,
    out_unc: np.ndarray | None,
    out_mask: np.ndarray,
    *,
    kind: str | None,
    min_value: np.floating,
) -> int:
    """Correct a band of rows with NumPy; return how many pixels it masks."""
    f = flat.value
    good = f >= min_value
    if flat.mask is not None:
        good = good & ~flat.mask
    # A pixel that must not be divided is divided by one.
    divisor = f if np.all(good) else np.where(good, f, data.dtype.type(1))
    n_masked = _join_masks(None if divisor is f else good, gradient, mask, out_mask)
    if gradient is None:
        np.divide(data, divisor, out=out)
    else:
        np.subtract(data, gradient.value, out=out)
        np.divide(out, divisor, out=out)
    if uncertainty is None:
        return n_masked
    extra = _sum(
        flat.variance(out),
        None if gradient is None else gradient.variance(),
    )
    _propagate(uncertainty, kind, extra, out_unc, divisor=divisor)
    return n_masked


def _join_masks(
    good_flat: np.ndarray | None,
    gradient: Field | None,
    mask: np.ndarray | None,
    out: np.ndarray,
) -> int:
    """Write the union of the masks; return how many pixels the fields add."""
    if good_flat is None and (gradient is None or gradient.mask is None):
        out[...] = False if mask is None else mask
        return 0
    out[...] = False if good_flat is None else ~good_flat
    if gradient is not None and gradient.mask is not None:
        out |= gradient.mask
    if mask is None:
        return int(np.count_nonzero(out))
    out |= mask
    return int(np.count_nonzero(out)) - int(np.count_nonzero(mask))


def _propagate(
    uncertainty: np.ndarray,
    kind: str | None,
    extra: np.ndarray | None,
    out: np.ndarray,
    *,
    scale: np.ndarray | None = None,
    divisor: np.ndarray | None = None,
) -> None:
    """
    Scale an uncertainty and add a variance, in its own kind.

    With a ``divisor``, the sum is divided by it; ``extra`` is then inside the
    quotient. With a ``scale``, ``extra`` is added to the product.
    """
    if kind == 'std':
        _propagate_std(uncertainty, extra, out, scale, divisor)
        return
    variance = 1 / uncertainty if kind == 'ivar' else uncertainty
    if divisor is not None:
        if extra is not None:
            variance = np.add(variance, extra, out=out)
        np.divide(variance, divisor * divisor, out=out)
    else:
        np.multiply(variance, scale * scale, out=out)
        if extra is not None:
            out += extra
    if kind == 'ivar':
        np.divide(1, out, out=out)


def _propagate_std(
    uncertainty: np.ndarray,
    extra: np.ndarray | None,
    out: np.ndarray,
    scale: np.ndarray | None,
    divisor: np.ndarray | None,
) -> None:
    """Do the same for standard deviations: no root where none is needed."""
    if extra is None and divisor is not None:
        np.divide(uncertainty, divisor, out=out)
    elif extra is None:
        np.multiply(uncertainty, scale, out=out)
    elif divisor is not None:
        np.sqrt(uncertainty * uncertainty + extra, out=out)
        out /= divisor
    else:
        scaled = uncertainty * scale
        np.sqrt(scaled * scaled + extra, out=out)


def _run(work: Callable, data: np.ndarray, n_threads: int | None, size: int) -> list:
    """Call a function for every band of about a size in bytes, on threads."""
    width = int(np.prod(data.shape[1:], dtype=int))
    bands = row_chunks(data.shape[0], width, data.itemsize, size)
    threads = min(count_threads(n_threads), len(bands))
    if threads == 1:
        return [work(rows) for rows in bands]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, bands))


def _rows(
    array: np.ndarray | np.floating | Field | None, rows: slice
) -> np.ndarray | np.floating | Field | None:
    """Return the rows of an array or field; scalars and None stay as they are."""
    if isinstance(array, Field):
        return array.map(lambda part: _rows(part, rows))
    return array[rows] if isinstance(array, np.ndarray) and array.ndim else array


def _line(array: np.ndarray | Field | None) -> np.ndarray | Field | None:
    """Return a contiguous array or a field of such as one line, without a copy."""
    if isinstance(array, Field):
        return array.map(_line)
    return None if array is None else array.reshape(-1)


def _sum(*terms: np.ndarray | None) -> np.ndarray | None:
    """Return the sum of the terms that are known."""
    known = [t for t in terms if t is not None]
    return sum(known[1:], known[0]) if known else None


def _or(masks: list, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the union of the masks that exist, broadcast to a shape."""
    known = [m for m in masks if m is not None]
    if not known:
        return None
    union = np.zeros(shape, bool)
    for mask in known:
        union |= mask
    return union
