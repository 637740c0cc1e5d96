# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of matching sources against hand-made lists."""

from __future__ import annotations

import math

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable, Table
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from astroflat.quality import (
    DetectionSettings,
    find_sources,
    match_sources,
    pair_sources,
)
from astroflat.quality._inject import add_star, star_profile

PLACES = [(30.0, 40.3), (80.6, 60.0), (120.2, 150.7), (50.5, 170.1), (130.0, 40.0)]
FLUXES = [1000.0, 500.0, 2000.0, 300.0, 800.0]


def sky(chosen=range(5), *, noise=1.0, seed=0):
    """Return an image with some of the five stars."""
    image = np.random.default_rng(seed).normal(100, noise, (160, 200))
    for i in chosen:
        add_star(image, *star_profile(None, 3.0, PLACES[i]), FLUXES[i])
    return image


def catalogue(chosen=range(5)):
    """Return the true places and fluxes."""
    rows = [(PLACES[i][1], PLACES[i][0], FLUXES[i]) for i in chosen]
    return Table(rows=rows, names=('x', 'y', 'flux'))


def test_counts_by_hand():
    """One of four stars is missed, one of four is invented."""
    match = match_sources(sky([0, 1, 2, 4]), sky([0, 1, 2, 3], seed=1))
    assert len(match.pairs) == 3
    assert np.hypot(match.missed['y'] - 50.5, match.missed['x'] - 170.1)[0] < 0.3
    assert np.hypot(match.extra['y'] - 130, match.extra['x'] - 40)[0] < 0.3
    assert match.completeness == match.purity == match.f1 == 0.75
    scores = match.scores()
    assert (scores['n_reference'], scores['n_image']) == (4, 4)
    # The Wilson interval of 3 out of 4.
    assert scores['completeness_low'] == pytest.approx(0.3006, abs=1e-4)
    assert scores['completeness_high'] == pytest.approx(0.9544, abs=1e-4)
    assert scores['shift_rms_pixels'] < 0.2


@pytest.mark.parametrize('method', ['dao', 'segmentation'])
def test_an_image_matches_itself(method):
    """Everything is found, nothing is extra, and no flux differs."""
    image = sky()
    match = match_sources(
        image, image, settings=DetectionSettings(method=method, nsigma=3.5)
    )
    assert match.completeness == match.purity == match.f1 == 1
    assert np.array_equal(match.pairs['flux'], match.pairs['flux_reference'])
    assert not match.pairs['separation'].any()


def test_catalogue_with_units():
    """A catalogue is the truth; sources below the threshold are not asked for."""
    table = catalogue()
    table.add_row((100.0, 100.0, 3.0))
    table.add_row((np.nan, 100.0, 3e5))
    units = QTable(table, units={'x': u.pix, 'y': u.pix, 'flux': u.electron})
    match = match_sources(sky(), units)
    assert match.scores()['n_reference'] == 5
    assert match.completeness == match.purity == 1
    assert set(match.pairs['flux_reference']) == set(FLUXES)
    match = match_sources(sky(), table, min_flux=600)
    assert match.completeness == 1
    assert match.scores()['n_reference'] == 3
    assert match.purity == 1
    with pytest.raises(ValueError, match='flux'):
        match_sources(sky(), table['x', 'y'])


def test_smoothing_is_not_rewarded():
    """In units of its own noise a smoothed image seems to hold more stars."""
    rng = np.random.default_rng(1)
    places = rng.uniform(20, 280, (60, 2))
    image = rng.normal(100, 1, (300, 300))
    for place in places:
        add_star(image, *star_profile(None, 3.0, tuple(place)), 22.0)
    smooth = gaussian_filter(image, 1.3)
    truth = Table({'x': places[:, 1], 'y': places[:, 0], 'flux': np.full(60, 22.0)})
    assert len(find_sources(smooth)) > 1.5 * len(find_sources(image))
    before = match_sources(image, truth, noise=1.0, min_flux=0)
    after = match_sources(smooth, truth, noise=1.0, min_flux=0)
    assert before.threshold == after.threshold == 5
    assert after.completeness < before.completeness


def test_real_stars_near_the_threshold_are_not_false():
    """What the noise lifts over the threshold on one side only is forgiven."""
    rng = np.random.default_rng(2)
    truth = np.full((300, 300), 100.0)
    for place in rng.uniform(20, 280, (80, 2)):
        add_star(truth, *star_profile(None, 3.0, tuple(place)), 25.0)
    image = truth + rng.normal(0, 1, truth.shape)
    forgiving = match_sources(image, truth, noise=1.0)
    strict = match_sources(image, truth, noise=1.0, faint=1.0)
    assert forgiving.purity > 0.9
    assert strict.purity < 0.5


def test_masked_and_edge_sources_do_not_count():
    """A source under the mask or at the edge is neither missed nor extra."""
    mask = np.zeros((160, 200), bool)
    mask[45:56, 165:176] = True
    match = match_sources(sky([0, 1, 2, 3]), sky([0, 1, 2]), mask=mask)
    assert match.completeness == match.purity == 1
    match = match_sources(sky([0, 1, 2]), sky([0, 1, 2, 3]), mask=mask)
    assert match.completeness == match.purity == 1
    assert len(match.pairs) == 3
    wide = DetectionSettings(border=45)
    match = match_sources(sky([1]), sky([0, 1, 2, 3]), settings=wide)
    assert match.scores()['n_reference'] == 1


def test_table_of_all():
    """All sources come in one table with their status."""
    table = match_sources(sky([0, 1, 2, 4]), sky([0, 1, 2, 3], seed=1)).to_table()
    assert sorted(table['status']) == ['extra', 'missed', 'pair', 'pair', 'pair']
    missed = table[table['status'] == 'missed']
    assert np.isnan(missed['x'][0])
    assert missed['x_reference'][0] == pytest.approx(170.1, abs=0.3)


def test_nothing_anywhere():
    """Without sources the scores are not defined, and nothing breaks."""
    match = match_sources(np.ones((40, 40)), np.ones((40, 40)))
    assert math.isnan(match.completeness)
    assert math.isnan(match.purity)
    assert math.isnan(match.f1)
    assert math.isnan(match.scores()['shift_x_pixels'])
    blind = match_sources(np.full((160, 200), 100.0), sky())
    assert blind.completeness == 0
    assert blind.f1 == 0
    with pytest.raises(ValueError, match='shape'):
        match_sources(np.ones((40, 40)), np.ones((40, 41)))


def places_of(points):
    """Return a table of places."""
    array = np.array(points, dtype=float).reshape(-1, 2)
    return Table({'x': array[:, 0], 'y': array[:, 1]})


coordinates = st.integers(0, 12)
points = st.lists(st.tuples(coordinates, coordinates), max_size=9, unique=True)


@settings(max_examples=60, deadline=None)
@given(points, points)
def test_pairs_are_one_to_one_and_closest_first(left, right):
    """No source is in two pairs, and no free pair is closer than a chosen one."""
    a, b = places_of(left), places_of(right)
    i, j = pair_sources(a, b, max_separation=3.0)
    assert len(set(i)) == len(i)
    assert len(set(j)) == len(j)
    if not (left and right):
        assert len(i) == 0
        return
    gaps = np.hypot(
        np.subtract.outer(a['x'], b['x']), np.subtract.outer(a['y'], b['y'])
    )
    assert (gaps[i, j] <= 3).all()
    partner = {**dict(zip(i, gaps[i, j], strict=True))}
    other = {**dict(zip(j, gaps[i, j], strict=True))}
    for row, column in zip(*np.nonzero(gaps <= 3), strict=True):
        # One of the two has a partner at least as close.
        limit = min(partner.get(row, np.inf), other.get(column, np.inf))
        assert limit <= gaps[row, column]
