# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Motes over many nights, with known histories."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable
from astropy.time import Time

import astroflat as af
from astroflat.dust import DustDetection
from astroflat.selfcal import track_motes

PLACES = np.array([[20, 30], [70, 160], [120, 60], [150, 190], [40, 110]], float)
RADII = np.array([8.0, 12, 9, 15, 7])
MOVE = np.array([14.0, -22.0])
DEPTHS = np.array([0.05, 0.04, 0.08, 0.03, 0.06])


def catalogue(places=PLACES, radii=RADII, depths=DEPTHS, *, seed=0, snr=100.0):
    """Return a catalogue as of a detection."""
    rng = np.random.default_rng(seed)
    n = len(places)
    places = places + rng.normal(0, 0.3, places.shape)
    table = QTable()
    table['x'], table['y'] = places[:, 1] * u.pix, places[:, 0] * u.pix
    table['radius'] = radii[:n] * rng.normal(1, 0.03, n) * u.pix
    table['depth'] = depths[:n] * rng.normal(1, 0.03, n)
    table['snr'] = np.full(n, snr)
    table['probability'] = np.full(n, 0.9)
    return table


def statuses(table, night):
    """Return the status of each mote of a night."""
    rows = table[table['night'] == night]
    return {int(r['mote']): str(r['status']) for r in rows}


def test_nothing_happens():
    """The same motes, night after night, give no alarm."""
    table = track_motes([catalogue(seed=s) for s in range(6)])
    assert len(table) == 30
    assert not table['alarm'].any()
    assert set(table['status'][table['night'] > 0]) == {'same'}


def test_new_gone_and_back():
    """Motes come, leave, and come back under their old number."""
    more = np.vstack([PLACES, [[100, 120]]])
    nights = [
        catalogue(seed=1),
        catalogue(more, np.append(RADII, 10), np.append(DEPTHS, 0.05), seed=2),
        catalogue(PLACES[1:], RADII[1:], DEPTHS[1:], seed=3),
        catalogue(seed=4),
    ]
    table = track_motes(nights)
    assert statuses(table, 1) == dict.fromkeys(range(5), 'same') | {5: 'new'}
    assert statuses(table, 2)[0] == 'gone'
    assert statuses(table, 2)[5] == 'gone'
    assert statuses(table, 3)[0] == 'same'
    assert 5 not in statuses(table, 3)
    assert list(table['mote'][table['alarm']]) == [5]


def test_filter_not_back_in_place():
    """A shift of all motes is told as such, not as five motes that moved."""
    table = track_motes([catalogue(seed=1), catalogue(PLACES + MOVE, seed=2)])
    assert statuses(table, 1) == dict.fromkeys(range(5), 'same')
    np.testing.assert_allclose(table.meta['shifts'][1], [14, -22], atol=0.7)
    assert np.abs(table['dx'].value).max() < 1.5


def test_one_mote_moved():
    """One mote that moved keeps its number and raises an alarm."""
    places = PLACES.copy()
    places[2] += [25, 10]
    table = track_motes([catalogue(seed=1), catalogue(places, seed=2)])
    assert statuses(table, 1) == dict.fromkeys(range(5), 'same') | {2: 'moved'}
    row = table[(table['mote'] == 2) & (table['night'] == 1)][0]
    assert row['dy'].value == pytest.approx(25, abs=1.5)
    assert row['dx'].value == pytest.approx(10, abs=1.5)
    assert row['alarm']


def test_growth():
    """Slow growth adds up; growth within the errors does not count."""
    nights = []
    for k in range(6):
        depths = DEPTHS.copy()
        depths[1] *= 1 + 0.12 * k
        nights.append(catalogue(depths=depths, seed=k))
    table = track_motes(nights)
    grown = table[table['status'] == 'grown']
    assert set(grown['mote']) == {1}
    assert grown['night'].min() in (2, 3, 4)
    assert (grown['growth'] > 0.3).all()
    for night in nights:
        night['snr'] = 4.0
    assert not track_motes(nights)['alarm'].any()


def test_distance():
    """The diameter of a shadow is the distance over the f-number."""
    table = track_motes([catalogue()], focal_ratio=5.0, pixel_size=3.76)
    expected = 2 * table['radius'].value * 3.76e-3 * 5
    np.testing.assert_allclose(table['distance'].to_value(u.mm), expected)
    assert np.isnan(track_motes([catalogue()])['distance']).all()
    with pytest.raises(ValueError, match='focal_ratio'):
        track_motes([catalogue()], focal_ratio=-5, pixel_size=3 * u.um)


def test_ecsv(tmp_path):
    """The table survives ECSV with units, times and metadata."""
    times = Time(['2025-01-01', '2025-02-01'])
    table = track_motes([catalogue(seed=1), catalogue(seed=2)], times)
    table.write(tmp_path / 'motes.ecsv')
    back = QTable.read(tmp_path / 'motes.ecsv')
    assert back.colnames == table.colnames
    assert back['x'].unit == u.pix
    np.testing.assert_allclose(back['x'].value, table['x'].value)
    assert (back['time'] == table['time']).all()
    assert back.meta['shifts'] == table.meta['shifts']
    assert (back['status'] == table['status']).all()
    named = track_motes([catalogue(seed=1), catalogue(seed=2)], ['a', 'b'])
    assert set(named['time']) == {'a', 'b'}


def test_detections():
    """What detect_dust returns can be given as it is; empty nights too."""
    y, x = np.mgrid[:120, :150]
    rng = np.random.default_rng(0)
    flats = [
        np.where(np.hypot(x - 60, y - 50) < 9, 0.93, 1) * rng.normal(1, 0.004, x.shape)
        for _ in range(2)
    ]
    table = track_motes([af.detect_dust(flat) for flat in flats])
    assert list(table['status']) == ['first', 'same']
    empty = DustDetection.from_mask(np.zeros((10, 10), bool))
    assert len(track_motes([empty, empty])) == 0


def test_errors():
    """Arguments that make no sense are refused."""
    with pytest.raises(ValueError, match='times has'):
        track_motes([catalogue()], [1, 2])
    with pytest.raises(ValueError, match='tolerance'):
        track_motes([catalogue()], tolerance=0)
