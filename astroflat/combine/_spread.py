# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Standard deviations, and the uncertainties that follow from them."""

from __future__ import annotations

import math

import numpy as np

__all__ = ['MAD_TO_SIGMA', 'from_mad', 'from_squares', 'uncertainty']

# The median absolute deviation of a normal distribution is sigma / 1.4826.
MAD_TO_SIGMA = 1.482602218505602
# The median of many normal samples varies this much more than their mean.
_MEDIAN_FACTOR = math.sqrt(math.pi / 2)
# A value rounded to an integer has at least this standard deviation.
_ROUNDING = math.sqrt(1 / 12)
# What makes 1.4826 MAD of 0 to 9 normal samples unbiased.
_FEW = np.array(
    [np.nan, np.nan, 1.196, 1.495, 1.363, 1.206, 1.200, 1.140, 1.129, 1.107]
)


def from_mad(mad: np.ndarray, count: np.ndarray) -> np.ndarray:
    """
    Estimate standard deviations from median absolute deviations.

    Parameters
    ----------
    mad : `~numpy.ndarray` of float64
        The median absolute deviations.

    count : `~numpy.ndarray` of int
        The number of samples of each.

    Returns
    -------
    sigma : `~numpy.ndarray` of float64
        NaN for fewer than two samples.

    Notes
    -----
    1.4826 MAD is too small by a third for three samples and by 8 % for ten;
    the factors of [1]_ correct that.

    References
    ----------
    .. [1] Croux, C., & Rousseeuw, P. J. 1992, in Computational Statistics, ed.
       Y. Dodge & J. Whittaker (Heidelberg: Physica), 411,
       https://doi.org/10.1007/978-3-662-26811-7_58
    """
    factor = count / (count - 0.8)
    factor = np.where(count < len(_FEW), _FEW[np.minimum(count, 9)], factor)
    with np.errstate(invalid='ignore'):
        return MAD_TO_SIGMA * factor * mad


def from_squares(squares: np.ndarray, count: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """
    Estimate standard deviations from sums of squared distances from the mean.

    Parameters
    ----------
    squares : `~numpy.ndarray` of float64
        The sums.

    count : `~numpy.ndarray` of int
        The number of samples of each.

    dtype : `numpy.dtype`
        The type of the samples.

    Returns
    -------
    sigma : `~numpy.ndarray` of float64
        NaN for fewer than two samples, and where floating-point samples are
        all equal. Integers have at least the error of rounding, 0.29.
    """
    with np.errstate(invalid='ignore', divide='ignore'):
        sigma = np.sqrt(squares / (count - 1))
    sigma[count < 2] = np.nan
    if dtype.kind == 'f':
        sigma[sigma == 0] = np.nan
        return sigma
    return np.maximum(sigma, _ROUNDING)


def uncertainty(sigma: np.ndarray, count: np.ndarray, method: str) -> np.ndarray:
    """
    Return the standard deviation of medians or means.

    Parameters
    ----------
    sigma : `~numpy.ndarray` of float64
        That of a single sample.

    count : `~numpy.ndarray` of int
        The number of samples.

    method : {'median', 'mean'}
        What they were combined to.

    Returns
    -------
    sigma : `~numpy.ndarray` of float64
        1.2533 or 1 times the standard deviation over the square root of the
        number.
    """
    factor = _MEDIAN_FACTOR if method == 'median' else 1.0
    with np.errstate(divide='ignore', invalid='ignore'):
        return factor * sigma / np.sqrt(count)
