# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The clock of SER videos."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st

from astroflat.io import ticks_to_time, time_to_ticks
from astroflat.io._ser_header import ticks_to_iso

# The format has no time zones.
FIRST = dt.datetime(1, 1, 1)  # noqa: DTZ001
MODERN = st.integers(
    dt.date(1972, 1, 1).toordinal() - 1,
    dt.date(2025, 1, 1).toordinal() - 1,
)


@given(days=MODERN, rest=st.integers(0, 864_000_000_000 - 1))
def test_round_trip(days, rest):
    """Every tick survives the way to Time and back, also on leap-second days."""
    ticks = days * 864_000_000_000 + rest
    for scale in ('utc', 'local'):
        time = ticks_to_time(ticks, scale=scale)
        assert time.scale == scale
        assert int(time_to_ticks(time)) == ticks


@given(days=MODERN, micro=st.integers(0, 86_400_000_000 - 1))
def test_against_datetime(days, micro):
    """The calendar is that of datetime."""
    date = FIRST + dt.timedelta(days=days, microseconds=micro)
    time = ticks_to_time(days * 864_000_000_000 + micro * 10)
    assert time.to_datetime() == date
    text = ticks_to_iso(days * 864_000_000_000 + micro * 10)
    assert text == f'{date:%Y-%m-%dT%H:%M:%S.%f}0'


def test_leap_second():
    """The last second before a leap second is not stretched; 60 rolls over."""
    ticks = time_to_ticks(['2016-12-31T23:59:59.5', '2017-01-01T00:00:00'])
    assert ticks[1] - ticks[0] == 5_000_000
    back = ticks_to_time(ticks)
    assert back[0].isot == '2016-12-31T23:59:59.500'
    inside = time_to_ticks('2016-12-31T23:59:60.25')
    assert inside - ticks[1] == 2_500_000


def test_shapes_and_masks():
    """Scalars stay scalars; zero is unknown in both directions."""
    assert ticks_to_time(637134336000000000).shape == ()
    assert bool(ticks_to_time(0).mask)
    time = ticks_to_time([[0, 637134336000000000]])
    assert time.shape == (1, 2)
    np.testing.assert_array_equal(time_to_ticks(time), [[0, 637134336000000000]])


def test_other_scales():
    """TAI and TT are converted to UTC."""
    utc = Time('2020-01-01T00:00:00', scale='utc')
    expected = 637134336000000000
    assert time_to_ticks(utc.tai) == time_to_ticks(utc.tt) == expected


@pytest.mark.parametrize('year', ['1600-02-29', '1800-06-01', '9999-12-31'])
def test_far_years(year):
    """The whole range of the format works without warnings."""
    ticks = time_to_ticks(Time(year, scale='local'))
    assert ticks_to_time(ticks, scale='local').isot[:10] == year
    assert time_to_ticks(ticks_to_time(ticks)) == ticks
