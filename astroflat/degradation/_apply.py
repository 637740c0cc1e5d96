# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The arithmetic of ``I = S * F + G`` on plain arrays, both ways.

The image is worked through in bands of rows that fit the cache, on threads;
the same band is computed by NumPy, or by numba when it is installed and the
image is large enough to pay for its start. Both give the same bits.
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
_BAND_BYTES = 2**18


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

    def band(self, rows: slice) -> Field:
        """Return the rows of a band."""
        parts = (self.value, self.uncertainty, self.mask)
        return Field(*(_rows(a, rows) for a in parts), self.squared)

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
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
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
    """
    out = np.empty(data.shape, data.dtype)
    out_unc = None if uncertainty is None else np.empty(data.shape, data.dtype)
    out_mask = np.empty(data.shape, bool)
    divide = _divider(data, flat, gradient)

    def work(rows: slice) -> bool:
        with np.errstate(all='ignore'):
            divide(
                data[rows],
                flat.band(rows),
                None if gradient is None else gradient.band(rows),
                _rows(mask, rows),
                _rows(uncertainty, rows),
                kind,
                data.dtype.type(min_value),
                out[rows],
                _rows(out_unc, rows),
                out_mask[rows],
            )
        return bool(out_mask[rows].any())

    flagged = _run(work, data, n_threads)
    needed = mask is not None or any(flagged)
    return out, out_unc, out_mask if needed else None


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

    Parameters and returns are those of `correct_arrays`.
    """
    out = np.empty(data.shape, data.dtype)
    out_unc = None if uncertainty is None else np.empty(data.shape, data.dtype)

    def work(rows: slice) -> None:
        f, s = flat.band(rows), data[rows]
        g = None if gradient is None else gradient.band(rows)
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
                _propagate(uncertainty[rows], kind, scale, extra, out_unc[rows])

    _run(work, data, n_threads)
    masks = [mask, flat.mask, None if gradient is None else gradient.mask]
    return out, out_unc, _or(masks, data.shape)


def _divider(
    data: np.ndarray,
    flat: Field,
    gradient: Field | None,
) -> Callable:
    """Choose the implementation of a band."""
    fields = [f for f in (flat, gradient) if f is not None]
    whole = all(np.shape(f.value) == data.shape for f in fields)
    started = 'numba' in sys.modules
    worth = started or data.size >= _NUMBA_PIXELS
    if whole and worth and importlib.util.find_spec('numba') is not None:
        from astroflat.degradation._apply_numba import divide_band

        return divide_band
    return _divide_band


def _divide_band(
    data: np.ndarray,
    flat: Field,
    gradient: Field | None,
    mask: np.ndarray | None,
    uncertainty: np.ndarray | None,
    kind: str | None,
    min_value: np.floating,
    out: np.ndarray,
    out_unc: np.ndarray | None,
    out_mask: np.ndarray,
) -> None:
    """Correct a band of rows with NumPy."""
    f = flat.value
    bad_flat = ~(f >= min_value)
    if flat.mask is not None:
        bad_flat = bad_flat | flat.mask
    out_mask[...] = bad_flat
    if mask is not None:
        out_mask |= mask
    if gradient is not None and gradient.mask is not None:
        out_mask |= gradient.mask
    # A pixel that must not be divided is divided by one.
    divisor = np.where(bad_flat, data.dtype.type(1), f) if np.any(bad_flat) else f
    if gradient is None:
        np.divide(data, divisor, out=out)
    else:
        np.subtract(data, gradient.value, out=out)
        np.divide(out, divisor, out=out)
    if uncertainty is None:
        return
    extra = _sum(
        flat.variance(out),
        None if gradient is None else gradient.variance(),
    )
    _propagate(uncertainty, kind, 1 / divisor, extra, out_unc, divisor)


def _propagate(
    uncertainty: np.ndarray,
    kind: str | None,
    scale: np.ndarray,
    extra: np.ndarray | None,
    out: np.ndarray,
    divisor: np.ndarray | None = None,
) -> None:
    """
    Scale an uncertainty and add a variance, in its own kind.

    With a ``divisor``, the sum is divided by it instead of multiplied by
    ``scale``; ``extra`` is then inside the quotient.
    """
    if kind == 'std':
        _propagate_std(uncertainty, scale, extra, out, divisor)
        return
    variance = 1 / uncertainty if kind == 'ivar' else uncertainty
    if divisor is not None:
        total = variance if extra is None else variance + extra
        np.divide(total, divisor * divisor, out=out)
    else:
        np.multiply(variance, scale * scale, out=out)
        if extra is not None:
            out += extra
    if kind == 'ivar':
        np.divide(1, out, out=out)


def _propagate_std(
    uncertainty: np.ndarray,
    scale: np.ndarray,
    extra: np.ndarray | None,
    out: np.ndarray,
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


def _run(work: Callable, data: np.ndarray, n_threads: int | None) -> list:
    """Call a function for every band of rows, on threads."""
    width = int(np.prod(data.shape[1:], dtype=int))
    bands = row_chunks(data.shape[0], width, data.itemsize, _BAND_BYTES)
    threads = min(count_threads(n_threads), len(bands))
    if threads == 1:
        return [work(rows) for rows in bands]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, bands))


def _rows(
    array: np.ndarray | np.floating | None, rows: slice
) -> np.ndarray | np.floating | None:
    """Return the rows of an array; scalars and None stay what they are."""
    return array[rows] if isinstance(array, np.ndarray) and array.ndim else array


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
