# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Whether fluxes are preserved: bias and scatter, with confidence intervals."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from astropy.table import Table

from astroflat._report import to_mmag

__all__ = ['flux_scatter']

# The standard errors of median and scaled median absolute deviation of a
# normal sample, in units of its scatter over the root of its size.
_MEDIAN_ERROR = math.sqrt(math.pi / 2)
_SCALE_ERROR = 1.1664
# The noise of the reference makes a slope by itself, 1/variance of the magnitudes
# strong: over less than this range it is all there is.
_MIN_RANGE = 2.0


def flux_scatter(
    pairs: Any,
    *,
    free_scale: bool = False,
    confidence: float = 0.95,
    interval: Literal['bootstrap', 'analytic'] = 'bootstrap',
    n_bootstrap: int = 1000,
    rng: np.random.Generator | int | None = 0,
) -> dict[str, float]:
    """
    Compare fluxes with those of the reference.

    Parameters
    ----------
    pairs : SourceMatch or `~astropy.table.Table`
        What `match_sources` returns, or a table with columns ``flux`` and
        ``flux_reference``.

    free_scale : bool, optional
        Whether to divide by the median ratio first, for fluxes in other
        units or apertures; the bias is then 0 by definition.

    confidence : float, optional
        The probability that an interval holds the true value.

    interval : {'bootstrap', 'analytic'}, optional
        Intervals from resampled pairs, or from the theory of normal errors.

    n_bootstrap : int, optional
        How often the pairs are resampled.

    rng : `numpy.random.Generator` or int, optional
        The random numbers of the resampling.

    Returns
    -------
    result : dict of float
        ``n_pairs``; ``flux_bias_percent``, the median of ``flux /
        flux_reference - 1``; ``flux_scatter_percent``, 1.4826 times its
        median absolute deviation; each with ``_low`` and ``_high`` and in
        ``_mmag``; ``flux_total_percent``, the same of the summed fluxes;
        ``flux_trend_percent_per_mag``, the robust slope of the ratio with
        magnitude (positive if faint stars gain), with ``_low`` and ``_high``,
        NaN if the stars span less than 2 magnitudes;
        ``n_outliers``, pairs off by more than five times the scatter. NaN
        where there are too few pairs.

    Notes
    -----
    Pairs without a positive reference flux are left out. Median and median
    absolute deviation are not moved by blends and variable stars. The slope
    is that of Theil and Sen.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import Table
    >>> from astroflat.quality import flux_scatter
    >>> true = np.linspace(100, 1000, 50)
    >>> result = flux_scatter(Table({'flux': 0.98 * true, 'flux_reference': true}))
    >>> round(result['flux_bias_percent'], 6)
    -2.0
    """
    if interval not in ('bootstrap', 'analytic'):
        msg = f"interval must be 'bootstrap' or 'analytic', not {interval!r}"
        raise ValueError(msg)
    if not 0 < confidence < 1:
        msg = f'confidence must be between 0 and 1, not {confidence!r}'
        raise ValueError(msg)
    flux, true = _fluxes(pairs)
    ratio = flux / true
    if free_scale and ratio.size:
        ratio, flux = ratio / np.median(ratio), flux / np.median(ratio)
    if interval == 'bootstrap':
        limits = _bootstrap(ratio, confidence, n_bootstrap, np.random.default_rng(rng))
    else:
        limits = _analytic(ratio, confidence)
    bias, scatter = _robust(ratio)
    result = {'n_pairs': int(ratio.size)}
    for name, value, (low, high) in zip(
        ('flux_bias', 'flux_scatter'), (bias, scatter), limits, strict=True
    ):
        result[f'{name}_percent'] = 100 * value
        result[f'{name}_percent_low'] = 100 * low
        result[f'{name}_percent_high'] = 100 * high
        result[f'{name}_mmag'] = to_mmag(value) if value > -1 else math.nan
    result['flux_total_percent'] = (
        100 * float(flux.sum() / true.sum() - 1) if ratio.size else math.nan
    )
    result |= _trend(ratio, true, confidence)
    off = np.abs(ratio - 1 - bias)
    result['n_outliers'] = int(np.count_nonzero(off > 5 * max(scatter, 1e-9)))
    return result


def _fluxes(pairs: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the fluxes of pairs that can be compared."""
    table = pairs if isinstance(pairs, Table) else pairs.pairs
    flux = np.asarray(table['flux'], dtype=np.float64)
    true = np.asarray(table['flux_reference'], dtype=np.float64)
    good = np.isfinite(flux) & np.isfinite(true) & (true > 0)
    return flux[good], true[good]


def _robust(ratio: np.ndarray) -> tuple[float, float]:
    """Return the median of the ratio less 1, and its robust scatter."""
    if not ratio.size:
        return math.nan, math.nan
    middle = np.median(ratio)
    scatter = 1.4826 * np.median(np.abs(ratio - middle))
    return float(middle - 1), float(scatter) if ratio.size > 1 else math.nan


def _analytic(
    ratio: np.ndarray, confidence: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the intervals of bias and scatter for normal errors."""
    from scipy.special import ndtri

    bias, scatter = _robust(ratio)
    error = float(ndtri(0.5 + 0.5 * confidence)) * scatter / math.sqrt(ratio.size or 1)
    wide, narrow = _MEDIAN_ERROR * error, _SCALE_ERROR * error
    # np.maximum keeps NaN, max does not.
    lowest = float(np.maximum(scatter - narrow, 0.0))
    return (bias - wide, bias + wide), (lowest, scatter + narrow)


def _bootstrap(
    ratio: np.ndarray, confidence: float, n: int, rng: np.random.Generator
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the intervals of bias and scatter from resampled pairs."""
    if ratio.size < 2:
        return ((math.nan, math.nan),) * 2
    samples = np.empty((n, 2))
    for i in range(n):
        samples[i] = _robust(ratio[rng.integers(0, ratio.size, ratio.size)])
    tail = 50 * (1 - confidence)
    low, high = np.percentile(samples, [tail, 100 - tail], axis=0)
    return (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))


def _trend(ratio: np.ndarray, true: np.ndarray, confidence: float) -> dict[str, float]:
    """Return how the ratio changes with magnitude."""
    names = [f'flux_trend_percent_per_mag{s}' for s in ('', '_low', '_high')]
    magnitude = -2.5 * np.log10(true)
    if ratio.size < 5 or np.ptp(np.percentile(magnitude, (5, 95))) < _MIN_RANGE:
        return dict.fromkeys(names, math.nan)
    from scipy.stats import theilslopes

    # The slope compares all pairs of pairs: a thousand are plenty.
    step = -(-ratio.size // 1000)
    slope, _, low, high = theilslopes(
        ratio[::step], magnitude[::step], alpha=confidence
    )
    return dict(zip(names, (100 * float(v) for v in (slope, low, high)), strict=True))
