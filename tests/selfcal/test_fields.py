# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The parts of the joint fit, against closed forms and independent programs."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from astroflat.selfcal._added import Added
from astroflat.selfcal._evidence import compare_models
from astroflat.selfcal._grid import Grid
from astroflat.selfcal._halos import grow_generously, grow_to_the_end
from astroflat.selfcal._prior import coherence


def test_evidence():
    """The evidence of a linear model is the density of its data."""
    rng = np.random.default_rng(1)
    design = rng.standard_normal((40, 6))
    truth = np.array([1, -2, 0.5, 0, 0, 0])
    data = design @ truth + 0.3 * rng.standard_normal(40)
    prior = np.diag([1, 1, 1, 4, 4, 4.0])
    numbers = compare_models(
        design.T @ design / 0.09,
        design.T @ data / 0.09,
        prior,
        {'first': slice(0, 3), 'last': slice(3, 6)},
        40,
    )

    def density(columns):
        part = design[:, columns]
        covariance = part @ np.diag(1 / np.diag(prior)[columns]) @ part.T
        covariance += 0.09 * np.eye(40)
        return 2 * stats.multivariate_normal(cov=covariance).logpdf(data)

    full = density([0, 1, 2, 3, 4, 5])
    assert_allclose(numbers['last_delta_bic'], full - density([0, 1, 2]), rtol=1e-9)
    assert_allclose(numbers['first_delta_bic'], full - density([3, 4, 5]), rtol=1e-9)
    assert numbers['first_p'] < 1e-6
    assert numbers['last_p'] > 0.05


def test_amplitude_is_learnt():
    """The expected size of a field is found from the field, and from its absence."""
    grid = Grid.of((96, 96))
    rng = np.random.default_rng(2)
    added = Added.empty(grid, np.ones(5), constant=False)
    power = np.linalg.cholesky(added.usual)
    field = 0.08 * power @ rng.standard_normal(len(added.values))
    for size in (1.0, 0.0):
        data = size * field + 0.002 * rng.standard_normal(len(field))
        added.amplitude = 0.03
        for _ in range(30):
            precision = added.precision() + np.eye(len(data)) / 0.002**2
            covariance = np.linalg.inv(precision)
            added.values = covariance @ data / 0.002**2
            added.learn(covariance)
        if size:
            assert_allclose(added.amplitude, 0.08, rtol=0.15)
            error = added.values - data.mean() - (field - field.mean())
            assert np.std(error) < 0.003
        else:
            assert added.amplitude < 0.003


def test_coherence():
    """Gradients one after the other are alike, in any unit of time."""
    matrix = coherence(np.arange(20.0))
    assert_allclose(matrix, coherence(1000 + 7 * np.arange(20.0)), rtol=1e-12)
    assert_allclose(np.diag(matrix), 1)
    assert matrix[0, 1] > 0.95
    assert matrix[0, 19] < 0.01
    assert np.linalg.eigvalsh(matrix).min() > 0


def _ring(shape=(280, 300), radius=40.0, halo=15.0):
    """A ring with a halo of 3 % that falls by e each ``halo`` pixels."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    away = np.hypot(y - 140, x - 150)
    mask = np.abs(away - radius) < 5
    light = 0.03 * np.exp(-np.maximum(away - radius, 0) / halo)
    return away, mask, light


def test_halo_is_masked_to_its_end():
    """Beyond the mask there is less than a thousandth, under dust as well."""
    away, mask, light = _ring()
    rng = np.random.default_rng(0)
    image = light + 0.01 * rng.standard_normal(light.shape)
    image[150:180, 190:220] -= 0.05
    grown = grow_to_the_end(mask, image, np.full(mask.shape, 1e4))
    assert grown[away < 40].all()
    reach = away[grown].max()
    assert light[away > reach].max() < 0.002
    assert reach < 40 + 5 * 15


def test_object_without_halo_stays():
    """What ends where it was found is not grown; small stars never are."""
    away, mask, _ = _ring()
    rng = np.random.default_rng(0)
    image = 0.01 * rng.standard_normal(mask.shape)
    grown = grow_to_the_end(mask, image, np.full(mask.shape, 1e4))
    assert away[grown].max() < 52
    star = np.zeros(mask.shape, bool)
    star[50:54, 60:64] = True
    assert (grow_generously(star) == star).all()


@pytest.mark.parametrize('share', [0.3, 0.7])
def test_margins_hide_no_frame(share):
    """No margin where it would hide most of the frame."""
    mask = np.zeros((100, 100), bool)
    mask[:, : int(100 * share)] = True
    mask[20:50, 90] = False
    assert (grow_generously(mask) == mask).all()
