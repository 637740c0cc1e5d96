# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the solution that every estimator returns."""

from __future__ import annotations

import numpy as np
from astropy.nddata import CCDData

import astroflat as af

SHAPE = (8, 9)


def test_correct_is_the_model():
    """The solution corrects as the model of its fields does."""
    rng = np.random.default_rng(0)
    flat = CCDData(rng.uniform(0.5, 1, SHAPE), unit='')
    gradient = CCDData(rng.uniform(0, 9, SHAPE), unit='adu')
    ccd = CCDData(rng.uniform(90, 99, SHAPE), unit='adu')
    result = af.FlatSolution(flat, gradient).correct(ccd)
    assert np.array_equal(result.data, (ccd.data - gradient.data) / flat.data)


def test_changed_pixels():
    """Changed pixels are those off 1, under the mask or with a gradient."""
    data = np.ones(SHAPE, 'f4')
    data[0, 0] = 0.9
    mask = np.zeros(SHAPE, bool)
    mask[1, 1] = True
    gradient = np.zeros(SHAPE)
    gradient[2, 2] = 1
    solution = af.FlatSolution(
        CCDData(data, unit='', mask=mask), CCDData(gradient, unit='adu')
    )
    assert solution.changed.sum() == 3
    assert solution.changed_fraction == 3 / 72


def test_from_image():
    """A flat from an image has mean 1, is finite and 1 under its mask."""
    data = np.full(SHAPE, 500.0)
    data[:, :3] = 250
    data[0, 0], data[1, 1] = np.nan, 1e9
    mask = np.zeros(SHAPE, bool)
    mask[1, 1] = True
    ccd = CCDData(data, unit='adu', mask=mask, meta={'FILTER': 'R'})
    solution = af.FlatSolution.from_image(ccd)
    flat = solution.flat
    assert flat.data.dtype == np.float32
    assert np.isfinite(flat.data).all()
    assert np.array_equal(np.argwhere(flat.mask), [[0, 0], [1, 1]])
    assert abs(flat.data[~flat.mask].mean(dtype=float) - 1) < 1e-7
    assert (flat.data[flat.mask] == 1).all()
    assert flat.meta['FILTER'] == 'R'
    assert flat.data[5, 8] / flat.data[5, 0] == 2


def test_repr_is_short():
    """The text shows no data and no metadata."""
    flat = CCDData(np.ones(SHAPE), unit='', meta={'OBSERVER': 'someone'})
    text = repr(af.FlatSolution(flat, method='dust'))
    assert text == ('<FlatSolution dust 9x8, no report, 0 % of the pixels changed>')
