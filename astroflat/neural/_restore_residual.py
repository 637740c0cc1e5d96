# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What a network leaves beside noise, found in the residual at several scales."""

from __future__ import annotations

import numpy as np

__all__ = ['significant']

# Spline of the third degree, as in the starlet transform.
_SPLINE = np.array([1.0, 4.0, 6.0, 4.0, 1.0], np.float32) / 16.0
# Standard deviation of the coefficients of white noise at each scale.
_NOISE = (0.8907, 0.2007, 0.0856, 0.0413)
# Coefficients over so many standard deviations begin to count, and count in full.
_COUNTS = (3.5, 5.0)


def significant(residual: np.ndarray) -> np.ndarray:
    """
    Return the part of a residual that is not noise.

    Parameters
    ----------
    residual : ndarray
        Differences in standard deviations of the noise, ``(ny, nx)`` float32.

    Returns
    -------
    ndarray of float32
        Sum of the significant coefficients.

    Notes
    -----
    Significant residuals of the starlet transform keep a deconvolution from noise, as
    in Starck, J.-L. and Murtagh, F. 1994, A&A 288, 342.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.neural._restore_residual import significant
    >>> residual = np.zeros((64, 64), np.float32)
    >>> residual[32, 32] = 40.0
    >>> bool(abs(significant(residual)[32, 32] - 40.0) < 4.0)
    True
    """
    found = np.zeros_like(residual)
    smooth = residual
    low, high = _COUNTS
    for scale, noise in enumerate(_NOISE):
        smoother = _smooth(smooth, 2**scale)
        detail = smooth - smoother
        weight = np.abs(detail) / np.float32(noise)
        weight -= low
        weight /= high - low
        np.clip(weight, 0.0, 1.0, out=weight)
        found += weight * detail
        smooth = smoother
    return found


def _smooth(values: np.ndarray, step: int) -> np.ndarray:
    """Smooth by the spline with holes."""
    from scipy.ndimage import correlate1d

    kernel = np.zeros(4 * step + 1, np.float32)
    kernel[::step] = _SPLINE
    for axis in (0, 1):
        values = correlate1d(values, kernel, axis=axis, mode='reflect')
    return values
