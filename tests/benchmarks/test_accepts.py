# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The count of accepted flats that are right."""

from __future__ import annotations

import pytest
from scipy.stats import binom

from benchmarks import accepts


def record(total, stated=1.0, verdict='accept'):
    """Return a result as the runner does."""
    return {'scores': {'total': total}, 'stated': stated, 'verdict': verdict}


@pytest.mark.parametrize(('right', 'n'), [(0, 7), (9, 9), (18, 20)])
def test_interval(right, n):
    """At its ends, what was seen or more extreme has a chance of 2.5 %."""
    low, high = (share / 100 for share in accepts.interval(right, n))
    assert low <= right / n <= high
    if right:
        assert binom.sf(right - 1, n, low) == pytest.approx(0.025)
    if right < n:
        assert binom.cdf(right, n, high) == pytest.approx(0.025)


def test_right_is_as_stated_and_better_than_nothing():
    """Two standard deviations, and no more than doing nothing leaves."""
    idle = record(3.0)
    assert accepts.is_right(record(1.9), idle)
    assert not accepts.is_right(record(2.1), idle)
    assert not accepts.is_right(record(3.1, stated=5.0), idle)


def test_table_counts_by_verdict():
    """Every verdict has a row of its own; failures have none."""
    records = {(k, 'nothing'): record(3.0) for k in 'abcd'}
    records['a', 'sky_flat'] = record(1.0)
    records['b', 'sky_flat'] = record(2.5)
    records['c', 'sky_flat'] = record(2.5, verdict='weak')
    records['d', 'sky_flat'] = {'scores': None, 'status': 'failed'}
    rows = accepts.table(records)
    found = [(row['verdict'], row['nights'], row['right']) for row in rows]
    assert found == [('accept', 2, 1), ('weak', 1, 0)]
    assert rows[0]['residual %'] == 1.75


def test_nights_are_always_the_same():
    """Descriptions depend on nothing, and the first are the same of more."""
    assert accepts.nights(12)[:5] == accepts.nights(5)
    assert len({entry['seed'] for entry in accepts.nights(80)}) == 80
