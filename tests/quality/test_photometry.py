# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of flux bias and scatter against known ratios."""

from __future__ import annotations

import math

import numpy as np
import pytest
from astropy.table import Table

from astroflat.quality import flux_scatter


def pairs(ratio, true=None):
    """Return pairs of fluxes with given ratios."""
    ratio = np.asarray(ratio, dtype=float)
    true = np.full(ratio.size, 100.0) if true is None else np.asarray(true, float)
    return Table({'flux': ratio * true, 'flux_reference': true})


def test_by_hand():
    """Median 1.02, absolute deviations 0.01, 0.02 and 0.03 about it."""
    result = flux_scatter(pairs([1.01, 1.02, 1.05, 1.00, 1.03]))
    assert result['n_pairs'] == 5
    assert result['flux_bias_percent'] == pytest.approx(2)
    assert result['flux_scatter_percent'] == pytest.approx(1.4826)
    assert result['flux_bias_mmag'] == pytest.approx(2500 * math.log10(1.02))
    assert result['flux_total_percent'] == pytest.approx(2.2)
    assert math.isnan(result['flux_trend_percent_per_mag'])


def test_the_intervals_hold_the_truth():
    """Both kinds of intervals hold the true values about as often as they say."""
    rng = np.random.default_rng(0)
    for kind in ('analytic', 'bootstrap'):
        hits = np.zeros(2)
        for _ in range(60):
            table = pairs(rng.normal(0.99, 0.05, 80))
            result = flux_scatter(table, interval=kind, n_bootstrap=200)
            for k, (name, true) in enumerate((('bias', -1.0), ('scatter', 5.0))):
                low = result[f'flux_{name}_percent_low']
                hits[k] += low < true < result[f'flux_{name}_percent_high']
        assert (hits >= 51).all(), (kind, hits)


def test_same_seed_same_interval():
    """The resampling is reproducible."""
    table = pairs(np.random.default_rng(0).normal(1, 0.1, 30))
    assert flux_scatter(table) == flux_scatter(table)
    assert flux_scatter(table, rng=1) != flux_scatter(table, rng=2)


def test_trend_with_magnitude():
    """Faint stars that lose 2 % per magnitude show, bright ones or not."""
    magnitude = np.linspace(0, 5, 60)
    true = 10 ** (-0.4 * magnitude) * 1e5
    result = flux_scatter(pairs(1 - 0.02 * magnitude, true))
    assert result['flux_trend_percent_per_mag'] == pytest.approx(-2, rel=1e-6)
    flat = flux_scatter(pairs(np.full(60, 0.9), true))
    assert flat['flux_trend_percent_per_mag'] == pytest.approx(0, abs=1e-9)


def test_outliers_do_not_move_it():
    """Ten per cent of blends are counted, and change little."""
    rng = np.random.default_rng(1)
    ratio = rng.normal(1, 0.01, 200)
    ratio[:20] = 2
    result = flux_scatter(pairs(ratio))
    assert abs(result['flux_bias_percent']) < 0.4
    assert result['flux_scatter_percent'] == pytest.approx(1.1, abs=0.3)
    assert result['n_outliers'] == 20


def test_free_scale():
    """Fluxes in other units have no bias, and the same relative scatter."""
    rng = np.random.default_rng(2)
    ratio = rng.normal(1, 0.03, 100)
    result = flux_scatter(pairs(250 * ratio), free_scale=True)
    assert result['flux_bias_percent'] == pytest.approx(0, abs=1e-9)
    expected = flux_scatter(pairs(ratio / np.median(ratio)))
    assert result['flux_scatter_percent'] == pytest.approx(
        expected['flux_scatter_percent']
    )


@pytest.mark.parametrize('n', [0, 1, 2])
@pytest.mark.parametrize('interval', ['analytic', 'bootstrap'])
def test_few_pairs(n, interval):
    """Too few pairs give NaN, not an error."""
    result = flux_scatter(pairs(np.full(n, 1.1)), interval=interval)
    assert result['n_pairs'] == n
    assert math.isnan(result['flux_bias_percent']) == (n == 0)
    assert math.isnan(result['flux_scatter_percent']) == (n < 2)


def test_useless_fluxes_are_left_out():
    """NaN and references that are not positive are no pairs."""
    table = Table(
        {'flux': [1.0, np.nan, 2.0, 3.0], 'flux_reference': [1.0, 1.0, 0.0, np.nan]}
    )
    assert flux_scatter(table)['n_pairs'] == 1
    with pytest.raises(ValueError, match='interval'):
        flux_scatter(table, interval='guess')
    with pytest.raises(ValueError, match='confidence'):
        flux_scatter(table, confidence=95)
