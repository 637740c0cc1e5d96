# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Arithmetic in strips of rows, and what is made with it: bins and enlarged fields."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage as ndi

from astroflat.neural import _strips
from astroflat.neural._bins import bin_mean
from astroflat.neural._restore_flux import conserve
from astroflat.neural._smooth import enlarge
from astroflat.neural._strips import count_threads, per_strip, run_strips, wide_strips


@pytest.fixture(params=[1, 3])
def threads(request, monkeypatch):
    """Run on one processor and on three, in strips of a few rows."""
    monkeypatch.setattr(_strips, 'count_threads', lambda: request.param)
    monkeypatch.setattr(_strips, '_PIXELS', 100)
    monkeypatch.setattr(_strips, '_WIDE_PIXELS', 600)
    return request.param


def test_there_is_a_processor():
    """The process may run somewhere."""
    assert count_threads() >= 1


@pytest.mark.parametrize('multiple', [1, 7])
def test_strips_cover_every_row_once(threads, multiple):
    """Strips follow each other and begin at multiples."""
    strips = run_strips(lambda rows: rows, (95, 20), multiple=multiple)
    assert [row for s in strips for row in range(s.start, s.stop)] == list(range(95))
    assert all(s.start % multiple == 0 for s in strips)
    assert len(strips) > 5


def test_result_does_not_depend_on_threads(threads):
    """Strips give what the whole arrays give."""
    a, b = np.random.default_rng(1).standard_normal((2, 31, 17)).astype(np.float32)
    assert np.array_equal(per_strip(lambda x, y: x * np.exp(y), a, b), a * np.exp(b))
    assert per_strip(np.square, a, out=a) is a


def test_error_in_a_strip_is_raised(threads):
    """What fails in a thread fails."""
    with pytest.raises(ZeroDivisionError):
        run_strips(lambda rows: 1 // 0, (40, 20))


@pytest.mark.parametrize('factor', [2, 3, 8, 50])
@pytest.mark.parametrize('masked', [False, True])
def test_bins_are_means_of_their_good_pixels(threads, factor, masked):
    """Also at the far border, where bins are smaller."""
    rng = np.random.default_rng(factor)
    image = rng.normal(1000, 30, (37, 43)).astype(np.float32)
    bad = rng.random(image.shape) < (0.4 if masked else 0)
    image[bad] = np.nan
    means, holes = bin_mean(image, bad, factor)
    for i, j in np.ndindex(means.shape):
        box = (slice(i * factor, (i + 1) * factor), slice(j * factor, (j + 1) * factor))
        good = image[box][~bad[box]]
        assert holes[i, j] == (good.size == 0)
        expected = good.mean(dtype=float) if good.size else 0.0
        assert means[i, j] == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize('order', [1, 3])
@pytest.mark.parametrize('cells', [(1, 1), (2, 5), (9, 4)])
def test_enlarged_field_is_the_spline(threads, order, cells):
    """The product of two matrices is what scipy interpolates."""
    field = np.random.default_rng(3).standard_normal(cells)
    shape = (61, 47)
    where = np.meshgrid(
        *(
            (np.arange(m) + 0.5) * n / m - 0.5
            for n, m in zip(cells, shape, strict=True)
        ),
        indexing='ij',
    )
    expected = ndi.map_coordinates(field, where, order=order, mode='nearest')
    found = enlarge(field, shape, order=order)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_nothing_enlarged_is_nothing():
    """A field that is not applied is exactly 0."""
    assert not enlarge(np.zeros((4, 4)), (10, 12)).any()


def test_strips_see_their_neighbours(threads):
    """A filter over strips is the filter over the frame, borders included."""
    a = np.random.default_rng(2).standard_normal((97, 20)).astype(np.float32)

    def smooth(rows):
        return ndi.gaussian_filter(rows, 1.5)

    np.testing.assert_array_equal(wide_strips(smooth, a, reach=6), smooth(a))


def test_light_is_conserved_alike_in_strips(monkeypatch):
    """What is done to the light of sources does not depend on the strips."""
    rng = np.random.default_rng(3)
    restored = rng.standard_normal((210, 40)).astype(np.float32)
    for row in range(5, 210, 20):
        restored[row : row + 3, 18:21] += 40.0
    filtered = restored + 0.3 * np.abs(restored) + 0.05
    sigma = np.ones_like(restored)
    results = []
    for pixels in (40 * 24, 2**20):
        monkeypatch.setattr(_strips, '_PIXELS', pixels)
        monkeypatch.setattr(_strips, '_WIDE_PIXELS', pixels)
        results.append(restored.copy())
        conserve(results[-1], filtered, sigma, 3.0)
    np.testing.assert_allclose(*results, rtol=1e-5, atol=1e-5)
    assert np.abs(results[0] - restored).max() > 5.0
