# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""One fused pass over the memory, compiled by numba."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from astroflat.degradation._apply import Field

__all__ = ['divide_line']


@njit(cache=True, nogil=True, error_model='numpy')
def _fused(  # noqa: C901 - every branch is decided at compile time
    data,
    flat,
    flat_std,
    flat_var,
    flat_mask,
    gradient,
    gradient_std,
    gradient_var,
    gradient_mask,
    mask,
    std,
    var,
    ivar,
    min_value,
    out,
    out_unc,
    out_mask,
):  # pragma: no cover - compiled
    # Arguments that are None are pruned at compile time, so that every
    # combination is a loop of its own without tests inside, and vectorised.
    one = out.dtype.type(1)
    n_masked = 0
    for i in range(data.size):
        f = flat[i]
        bad = not (f >= min_value)
        if flat_mask is not None:
            bad |= flat_mask[i]
        f = one if bad else f
        if gradient_mask is not None:
            bad |= gradient_mask[i]
        if mask is not None:
            n_masked += bad & (not mask[i])
            bad |= mask[i]
        else:
            n_masked += bad
        out_mask[i] = bad
        s = data[i]
        if gradient is not None:
            s -= gradient[i]
        s /= f
        out[i] = s
        # Without a field of known uncertainty no root and no sum is needed.
        extra = s - s
        known = False
        if flat_std is not None:
            extra = s * s * (flat_std[i] * flat_std[i])
            known = True
        if flat_var is not None:
            extra = s * s * flat_var[i]
            known = True
        if gradient_std is not None:
            t = gradient_std[i] * gradient_std[i]
            extra = extra + t if known else t
            known = True
        if gradient_var is not None:
            t = gradient_var[i]
            extra = extra + t if known else t
            known = True
        if std is not None:
            u = std[i]
            out_unc[i] = np.sqrt(u * u + extra) / f if known else u / f
        if var is not None:
            v = var[i]
            out_unc[i] = (v + extra) / (f * f) if known else v / (f * f)
        if ivar is not None:
            v = one / ivar[i]
            v = (v + extra) / (f * f) if known else v / (f * f)
            out_unc[i] = one / v
    return n_masked


def divide_line(
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
    """
    Correct a line of pixels in one pass over the memory.

    Parameters
    ----------
    data : `~numpy.ndarray`
        The pixels, one-dimensional.

    flat, gradient : Field
        The fields of the same size.

    mask, uncertainty : `~numpy.ndarray` or None
        The mask and the uncertainty of the image.

    out, out_unc, out_mask : `~numpy.ndarray`
        Where the results are written.

    kind : {'std', 'var', 'ivar'} or None
        The kind of the uncertainty.

    min_value : float
        The smallest flat that is divided by.

    Returns
    -------
    n_masked : int
        The number of pixels that only the fields have masked.
    """
    kinds = ('std', 'var', 'ivar')
    return _fused(
        data,
        *_parts(flat),
        *_parts(gradient),
        mask,
        *(uncertainty if kind == k else None for k in kinds),
        min_value,
        out,
        out_unc,
        out_mask,
    )


def _parts(field: Field | None) -> tuple:
    """Return value, standard deviation or variance, and mask."""
    if field is None:
        return None, None, None, None
    std = None if field.squared else field.uncertainty
    var = field.uncertainty if field.squared else None
    return field.value, std, var, field.mask
