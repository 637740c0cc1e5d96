# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Fractions of counts, with their uncertainty."""

from __future__ import annotations

import math

__all__ = ['harmonic_mean', 'interval', 'percent', 'rate']


def interval(k: int, n: int, confidence: float) -> tuple[float, float]:
    """
    Return the Wilson interval of a fraction.

    Parameters
    ----------
    k, n : int
        The number of successes, and of trials.

    confidence : float
        The probability that the interval holds the true fraction.

    Returns
    -------
    low, high : float
        NaN without a trial.
    """
    if n == 0:
        return math.nan, math.nan
    from astropy.stats import binom_conf_interval

    low, high = binom_conf_interval(k, n, confidence_level=confidence)
    return float(low), float(high)


def harmonic_mean(completeness: float, purity: float) -> float:
    """
    Return F1 of completeness and purity.

    Parameters
    ----------
    completeness, purity : float
        Fractions; an undefined one (NaN) counts as 0 beside the other.

    Returns
    -------
    f1 : float
        NaN if both are undefined.
    """
    if math.isnan(completeness) and math.isnan(purity):
        return math.nan
    values = [0.0 if math.isnan(v) else v for v in (completeness, purity)]
    return 2 * values[0] * values[1] / sum(values) if sum(values) else 0.0


def percent(k: int, n: int) -> tuple[float, float]:
    """
    Return a fraction in per cent and how much of it may be chance.

    Parameters
    ----------
    k, n : int
        The number of successes, and of trials.

    Returns
    -------
    value, margin : float
        The fraction, and its distance to the lower end of the 95 % interval;
        0 without a trial.
    """
    if n == 0:
        return 0.0, 0.0
    return 100 * k / n, 100 * (k / n - interval(k, n, 0.95)[0])


def rate(k: int, n: int) -> tuple[float, float]:
    """
    Return a count of what should not be there, in per cent, and its error.

    Parameters
    ----------
    k : int
        The number of cases.

    n : int
        The number that they are compared with.

    Returns
    -------
    value, error : float
        The rate and its Poisson error: a single case is no more than chance.
    """
    scale = 100 / max(n, 1)
    return scale * k, scale * math.sqrt(k)
