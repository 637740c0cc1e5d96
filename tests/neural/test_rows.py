# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Fields and bins that are made a few rows at a time, against whole images."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy import ndimage as ndi

import astroflat as af
from astroflat.neural import _strips
from astroflat.neural._bins import Bins, bin_mean
from astroflat.neural._rows import BoxRows, GridRows, write_out
from astroflat.neural._strips import median, total

SHAPE = (61, 47)


@pytest.fixture(autouse=True, params=[1, 3])
def threads(request, monkeypatch):
    """Run on one processor and on three, in strips of a few rows."""
    monkeypatch.setattr(_strips, 'count_threads', lambda: request.param)
    monkeypatch.setattr(_strips, '_PIXELS', 300)
    monkeypatch.setattr(_strips, '_MANY', 1000)


@pytest.fixture
def rng():
    """Return random numbers."""
    return np.random.default_rng(7)


@pytest.mark.parametrize('order', [1, 3])
def test_any_rows_and_columns_are_those_of_the_whole(rng, order):
    """Also where the cells reach beyond the frame."""
    field = rng.standard_normal((9, 6))
    where = np.indices((72, 60)) + 0.5
    where *= np.array([9 / 72, 6 / 60])[:, None, None]
    expected = ndi.map_coordinates(field, where - 0.5, order=order, mode='nearest')
    grid = GridRows(field, SHAPE, order, full=(72, 60))
    found = grid(slice(10, 30), slice(5, 40))
    np.testing.assert_allclose(found, expected[10:30, 5:40], atol=2e-6)
    assert write_out(grid, SHAPE).shape == SHAPE


def test_boxes_add_up(rng):
    """Overlapping boxes, cut anywhere; exactly 0 off them."""
    boxes, expected = BoxRows(SHAPE), np.zeros(SHAPE, np.float32)
    assert boxes.empty
    assert not boxes(slice(None)).any()
    for y, x in ((3, 5), (20, 11), (25, 19)):
        box = (slice(y, y + 22), slice(x, x + 17))
        grid = GridRows(1 + rng.random((4, 3)), (22, 17), order=1)
        boxes.add(box, grid)
        expected[box] += write_out(grid, (22, 17))
    found = write_out(boxes, SHAPE)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert ((found == 0) == (expected == 0)).all()
    part = boxes(slice(24, 33), slice(15, 26))
    np.testing.assert_allclose(part, expected[24:33, 15:26], rtol=1e-6)
    counts = [boxes.count(slice(i, i + 10)) for i in range(0, 60, 10)]
    assert sum(counts) == np.count_nonzero(expected[:60])


@pytest.mark.parametrize('masked', [False, True])
def test_bins_of_bins(rng, masked):
    """Coarse bins from fine ones are those of the pixels, also after a change."""
    image = rng.normal(1000, 30, SHAPE).astype(np.float32)
    bad = rng.random(SHAPE) < (0.4 if masked else 0)
    image[bad] = np.nan
    bins = Bins(lambda *box: image[box], bad, 2)
    image[20:36, 12:47] *= 1.5
    bins.renew(slice(20, 36), slice(12, 47))
    for factor in (2, 8, 64):
        means, holes = bins.at(factor)
        expected, empty = bin_mean(image, bad, factor)
        np.testing.assert_allclose(means, expected, rtol=1e-6)
        assert (empty == (False if holes is None else holes)).all()
    assert (bins.at(2)[1] is None) is not masked


@pytest.mark.parametrize('size', [10, 4001, 4002])
@pytest.mark.parametrize('kind', ['noise', 'steps', 'sorted', 'gap'])
def test_median_is_exact(rng, size, kind):
    """To the bit, and for values that lie badly for a bracket."""
    values = rng.normal(5, 2, size).astype(np.float32)
    if kind == 'steps':
        values = np.round(values)
    elif kind == 'sorted':
        values = np.sort(values)
    elif kind == 'gap':
        values[: size // 2] += 100
    assert median(values) == np.median(values)
    assert total(values) == pytest.approx(values.sum(dtype=float), rel=1e-12)


def test_median_without_luck():
    """The sample sees one value only; the median is another."""
    values = np.ones(_strips._PROBES * 8)
    values[:: values.size // _strips._PROBES] = 0
    assert median(values) == 1


def test_solution_can_be_sent():
    """A solution can be pickled, and its planes are written out as before."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    frame = rng.poisson(3000 * (1 - 0.3 * (x**2 + y**2))).astype('f4')
    frame[40:60, 70:90] *= 0.9
    solution = af.FlatCorrector(device='cpu', n_threads=1).estimate(frame)
    again = pickle.loads(pickle.dumps(solution))
    plane = again.stages['planes'][0]
    flat = np.exp(plane.log_flat)
    np.testing.assert_allclose(flat / flat.mean(), solution.flat.data, rtol=1e-5)
    sigma = plane.sigma * solution.flat.data
    np.testing.assert_allclose(sigma, again.flat.uncertainty.array, rtol=1e-5)
    assert plane.gradient.shape == plane.sigma_gradient.shape == frame.shape
    numbers = solution.report.numbers
    assert numbers['change_percent'] == pytest.approx(100 * plane.log_flat.std())
    assert numbers['dust_area_percent'] == 100 * np.mean(plane.dust.log_flat != 0)
