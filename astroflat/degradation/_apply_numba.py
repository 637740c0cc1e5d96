# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""One fused pass over a band of rows, compiled by numba."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from astroflat.degradation._apply import Field

__all__ = ['divide_band']

_KINDS = {None: 0, 'std': 1, 'var': 2, 'ivar': 3}


@njit(cache=True, nogil=True, error_model='numpy')
def _fused(
    data,
    flat,
    flat_unc,
    flat_squared,
    flat_mask,
    gradient,
    gradient_unc,
    gradient_squared,
    gradient_mask,
    mask,
    uncertainty,
    kind,
    min_value,
    out,
    out_unc,
    out_mask,
):  # pragma: no cover - compiled
    # Arguments that are None are pruned at compile time, so that every
    # combination is a loop of its own without tests inside.
    one = out.dtype.type(1)
    for i in range(data.size):
        f = flat[i]
        bad = not (f >= min_value)
        if flat_mask is not None:
            bad |= flat_mask[i]
        f = one if bad else f
        if mask is not None:
            bad |= mask[i]
        if gradient_mask is not None:
            bad |= gradient_mask[i]
        out_mask[i] = bad
        s = data[i]
        if gradient is not None:
            s -= gradient[i]
        s /= f
        out[i] = s
        if uncertainty is not None:
            known = flat_unc is not None or gradient_unc is not None
            u = uncertainty[i]
            extra = u - u
            if flat_unc is not None:
                t = flat_unc[i]
                extra = s * s * (t if flat_squared else t * t)
            if gradient_unc is not None:
                t = gradient_unc[i]
                t = t if gradient_squared else t * t
                if flat_unc is not None:
                    extra += t
                else:
                    extra = t
            if kind == 1:
                out_unc[i] = np.sqrt(u * u + extra) / f if known else u / f
            else:
                v = one / u if kind == 3 else u
                v = (v + extra) / (f * f) if known else v / (f * f)
                out_unc[i] = one / v if kind == 3 else v


def divide_band(
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
    """
    Correct a band of rows in one pass over the memory.

    Parameters
    ----------
    data : `~numpy.ndarray`
        The rows of the image.

    flat, gradient : Field
        The rows of the fields, in the shape of the data.

    mask, uncertainty : `~numpy.ndarray` or None
        The rows of the image's mask and uncertainty.

    kind : {'std', 'var', 'ivar'} or None
        The kind of the uncertainty.

    min_value : float
        The smallest flat that is divided by.

    out, out_unc, out_mask : `~numpy.ndarray`
        Where the results are written.
    """
    _fused(
        data.ravel(),
        *_parts(flat, data.shape),
        *_parts(gradient, data.shape),
        _line(mask, data.shape),
        _line(uncertainty, data.shape),
        _KINDS[kind],
        min_value,
        out.reshape(-1),
        None if out_unc is None else out_unc.reshape(-1),
        out_mask.reshape(-1),
    )


def _parts(field: Field | None, shape: tuple[int, ...]) -> tuple:
    """Return value, uncertainty, whether it is a variance, and mask."""
    if field is None:
        return None, None, False, None
    value, uncertainty, mask = (
        _line(a, shape) for a in (field.value, field.uncertainty, field.mask)
    )
    return value, uncertainty, field.squared, mask


def _line(array: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return an array as one line of the size of the data."""
    return None if array is None else np.broadcast_to(array, shape).ravel()
