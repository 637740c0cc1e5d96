# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The same closed forms with PyTorch tensors, where PyTorch is installed."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from astroflat.degradation import profiles

torch = pytest.importorskip('torch')

PLACE = {'x_0': 41.0, 'y_0': 30.5}

CASES = {
    'radial_vignetting': {
        'amplitude': 0.4, 'radius': 60.0, 'power': 2.7, 'ellipticity': 0.2,
        'theta': 0.4,
    },
    'natural_vignetting': {'focal_length': 90.0},
    'mechanical_vignetting': {'scale': 60.0, 'stop': 1.1},
    'mote': {
        'depth': 0.3, 'radius': 15.0, 'edge': 4.0, 'hole': 0.4, 'hole_x': 1.0,
        'tilt_y': 0.2,
    },
    'speck': {
        'depth': 0.7, 'a': 8.0, 'b': 5.0, 'theta': 0.3, 'edge': 2.0, 'cos_3': 0.1,
        'rim': 0.05,
    },
    'fiber': {
        'depth': 0.5, 'length': 40.0, 'width': 5.0, 'theta': 1.0, 'curvature': 0.02,
        'edge': 2.0,
    },
    'linear_gradient': {'slope_x': 0.1, 'slope_y': -0.2},
    'quadratic_gradient': {'xx': 1e-3, 'xy': 2e-3, 'yy': -1e-3},
    'moonlight': {'amplitude': 2.0, 'separation': 30.0, 'theta': 0.5, 'scale': 0.05},
    'amp_glow': {'amplitude': 2.0, 'scale_x': 30.0, 'scale_y': 20.0},
}  # fmt: skip


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
@pytest.mark.parametrize('name', sorted(CASES))
def test_torch_agrees_with_numpy(name, dtype):
    """A tensor gives the numbers of an array to 1e-5."""
    x, y = np.arange(96, dtype=dtype)[None], np.arange(64, dtype=dtype)[:, None]
    function, arguments = getattr(profiles, name), CASES[name] | PLACE
    tensor = function(torch.from_numpy(x), torch.from_numpy(y), **arguments)
    assert isinstance(tensor, torch.Tensor)
    assert str(tensor.dtype) == f'torch.{dtype}'
    assert_allclose(tensor.numpy(), function(x, y, **arguments), rtol=1e-5, atol=1e-5)


def test_torch_parameters_can_be_a_batch():
    """A column of parameters gives a batch of fields."""
    x, y = torch.arange(32.0)[None, None], torch.arange(24.0)[None, :, None]
    depth = torch.tensor([0.05, 0.1, 0.2])[:, None, None]
    batch = profiles.mote(
        x, y, depth=depth, x_0=15.0, y_0=12.0, radius=6.0, edge=1.5, hole=0.3
    )
    single = profiles.mote(
        np.arange(32.0), np.arange(24.0)[:, None], depth=0.1, x_0=15.0, y_0=12.0,
        radius=6.0, edge=1.5, hole=0.3,
    )  # fmt: skip
    assert batch.shape == (3, 24, 32)
    assert_allclose(batch[1].numpy(), single, atol=1e-5)


def test_torch_noise_is_the_noise_of_numpy():
    """The hash gives the same bits, so the patterns are the same."""
    x, y = np.arange(40.0), np.arange(30.0)[:, None]
    tensors = torch.from_numpy(x), torch.from_numpy(y)
    white = profiles.white_noise(*tensors, seed=9)
    assert_allclose(white.numpy(), profiles.white_noise(x, y, seed=9), atol=1e-12)
    blobs = profiles.lattice_noise(*tensors, scale=7.0, seed=9)
    assert_allclose(
        blobs.numpy(), profiles.lattice_noise(x, y, scale=7.0, seed=9), atol=1e-9
    )
