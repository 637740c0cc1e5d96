# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The benchmark of blind flats: the methods that are compared."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.nddata import CCDData

from benchmarks.blindflat import classical, methods, peers, run
from benchmarks.blindflat.radial_plane import fit_radial_plane
from benchmarks.blindflat.scenes import make_case

ROOT = Path(__file__).parents[2]


def test_radial_plane_finds_its_own_model():
    """The fit of profile and plane is exact where its model holds."""
    y, x = np.mgrid[:120, :160]
    r2 = ((y - 59.5) ** 2 + (x - 79.5) ** 2) / (60**2 + 80**2)
    profile = 1 - 0.3 * r2 - 0.1 * r2**2
    plane = 0.4 * (x - 79.5) - 0.2 * (y - 59.5)
    image = 1000 * profile + plane
    image[40:56, 40:56] += 500
    flat, gradient = fit_radial_plane(CCDData(image, unit='adu'))
    # Medians of curved blocks are not quite their centres.
    np.testing.assert_allclose(flat, profile / profile.mean(), atol=2e-3)
    np.testing.assert_allclose(gradient, plane, atol=1.0)


def test_background_flat_follows_a_smooth_sky():
    """Background2D gives a smooth vignette back, beside stars."""
    y, x = np.mgrid[:256, :256]
    vignette = 1 - 0.05 * ((y - 128) ** 2 + (x - 128) ** 2) / 128**2
    image = np.random.default_rng(2).normal(1000 * vignette, 20)
    image[100:104, 60:64] += 3000
    flat = classical.background_flat(CCDData(image, unit='adu'))
    error = flat / vignette
    assert np.std(error / np.median(error)) < 0.01


def test_median_of_a_night_beats_nothing(night, scored):
    """The superflat of a wide dither is much better than no flat."""
    case = make_case(night.entry | {'dither': 30.0, 'n': 9, 'gradient': 0.0})
    superflat = scored(case, classical.median_superflat(case.frames))
    nothing = scored(case, 1.0)
    assert superflat['total'] < 0.4 * nothing['total']
    flat, gradient = classical.radial_plane_of_median(case.frames)
    assert flat.shape == gradient.shape == case.flat.shape
    assert classical.background_flat_of_median(case.frames).shape == case.flat.shape


def test_one_name_for_both_parts():
    """A method of one's own may have a function for either part."""
    options = run._parser().parse_args(
        [
            '--methods=',
            '--single-method=mine=benchmarks.blindflat.classical:nothing',
            '--night-method=mine=benchmarks.blindflat.classical:median_superflat',
        ]
    )
    chosen = run._methods(options)
    assert list(chosen) == ['nothing', 'mine']
    assert sorted(chosen['mine'].calls) == ['night', 'single']


def test_all_methods_can_be_imported():
    """Every function that the table names exists."""
    for method in methods.METHODS.values():
        assert method.calls
        for spec in method.calls.values():
            assert callable(methods.load(spec))


def test_peers_that_are_not_there_are_named(monkeypatch):
    """Programs that are not installed are not run, and the reason is given."""
    monkeypatch.setattr(methods.shutil, 'which', lambda name: None)
    monkeypatch.setenv('BLINDFLAT_BASICPY_PYTHON', '/nowhere/python')
    assert 'siril-cli' in methods.METHODS['siril'].missing()
    assert '/nowhere/python' in methods.METHODS['basicpy'].missing()
    monkeypatch.delenv('BLINDFLAT_BASICPY_PYTHON')
    assert '--basicpy-python' in methods.METHODS['basicpy'].missing()


@pytest.mark.siril
@pytest.mark.skipif(not shutil.which('siril-cli'), reason='needs siril-cli')
def test_siril_takes_a_plane_out():
    """Siril's background of a plane is the plane."""
    y, x = np.mgrid[:200, :240]
    plane = 2.0 * (x - 119.5) - 1.0 * (y - 99.5)
    noise = np.random.default_rng(3).normal(0, 5, plane.shape)
    ccd = CCDData((3000 + plane + noise).astype('f4'), unit='adu')
    flat, gradient = peers.siril_subsky(ccd)
    assert flat == 1.0
    np.testing.assert_allclose(gradient - gradient.mean(), plane, atol=12)
    assert peers.siril_version().startswith('1.')
