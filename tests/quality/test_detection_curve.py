# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the sweep of the threshold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from astropy.table import Table

from astroflat.quality import (
    DetectionCurve,
    DetectionSettings,
    detection_curve,
    match_sources,
)
from astroflat.quality._inject import add_star, star_profile


def field(noise=1.0, seed=1, n=40, flux=25.0):
    """Return an image, the same without noise, and the catalogue of its stars."""
    rng = np.random.default_rng(5)
    # On a grid, so that blends do not limit the completeness.
    places = np.stack(np.meshgrid(*2 * [np.arange(20, 260, 30)]), -1).reshape(-1, 2)[:n]
    places = places + rng.uniform(-5, 5, places.shape)
    truth = np.full((270, 270), 50.0)
    for place in places:
        add_star(truth, *star_profile(None, 3.0, tuple(place)), flux)
    image = truth + np.random.default_rng(seed).normal(0, noise, truth.shape)
    table = Table({'x': places[:, 1], 'y': places[:, 0], 'flux': np.full(n, flux)})
    return image, truth, table


def test_average_precision_by_hand():
    """The sum of precision times the step of recall."""
    table = Table(
        {
            'completeness': [0.2, 0.5, 0.5, 0.9],
            'purity': [1.0, 1.0, 0.8, 0.6],
            'f1': [0.33, 0.67, 0.62, 0.72],
        }
    )
    curve = DetectionCurve(table, 1.0)
    assert curve.average_precision == pytest.approx(0.2 + 0.3 + 0.4 * 0.6)
    assert curve.best['completeness'] == 0.9


def test_rows_are_matches_at_each_threshold():
    """Each row is what match_sources counts at that threshold."""
    image, _, table = field()
    curve = detection_curve(image, table, thresholds=[8.0, 5.0, 4.0], min_flux=0)
    assert list(curve.table['threshold']) == [8, 5, 4]
    for row in curve.table:
        settings = DetectionSettings(threshold=row['threshold'])
        match = match_sources(image, table, settings=settings, min_flux=0)
        assert row['completeness'] == match.completeness
        assert row['n_false'] == len(match.extra)
        assert row['n_found'] == len(match.pairs) + len(match.extra)


def test_bright_stars_are_perfect():
    """Stars far above the noise give an average precision of 1."""
    image, truth, table = field(flux=300.0)
    for reference in (table, truth):
        curve = detection_curve(image, reference, noise=1.0)
        assert curve.average_precision == 1
        assert curve.best['f1'] == 1


def test_more_noise_is_worse():
    """Completeness rises and purity falls on the way down; noise lowers both."""
    settings = DetectionSettings(nsigma=3)
    curves = [
        detection_curve(field(noise)[0], field()[2], noise=1.0, settings=settings)
        for noise in (0.5, 1.0, 2.0)
    ]
    values = [curve.average_precision for curve in curves]
    assert values[0] > values[1] > values[2]
    table = curves[1].table
    assert np.all(np.diff(table['completeness']) >= 0)
    assert table['purity'][-1] < table['purity'][-4]
    assert set(table['n_reference']) == {40}


def test_segmentation_is_swept_too():
    """Groups of pixels are searched for at each threshold anew."""
    image, _, table = field(flux=60.0)
    settings = DetectionSettings(method='segmentation')
    curve = detection_curve(
        image, table, settings=settings, thresholds=[3, 6, 200], min_flux=0
    )
    assert curve.table['completeness'].tolist()[0] == 0
    assert math.isnan(curve.table['purity'][0])
    assert curve.table['completeness'][-1] == 1
    assert curve.average_precision > 0.9


def test_wrong_thresholds():
    """Thresholds must be positive, and images without noise need them."""
    image, _, table = field()
    with pytest.raises(ValueError, match='positive'):
        detection_curve(image, table, thresholds=[0, 1])
    with pytest.raises(ValueError, match='thresholds='):
        detection_curve(np.ones((50, 50)), table)
    empty = detection_curve(image, table[:0])
    assert math.isnan(empty.average_precision)
