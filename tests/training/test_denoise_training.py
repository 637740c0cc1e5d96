# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Scenes, noise and network of the training of the denoiser; export.
"""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from astroflat.neural._stabilise import NoiseModel  # noqa: E402
from astroflat.training._denoise_data import NoisySquares  # noqa: E402
from astroflat.training._denoise_loss import flux_errors, supervised_loss  # noqa: E402
from astroflat.training._noise import Stabiliser  # noqa: E402
from astroflat.training._unet import DenoiseNet  # noqa: E402
from astroflat.training.scenes import SceneChoice, ScenePool  # noqa: E402


def generator(seed=1):
    """Random numbers."""
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope='module')
def pool():
    """A few small scenes."""
    kinds = ('starfield', 'emission_nebula', 'granulation')
    return ScenePool(12, SceneChoice(shape=(64, 64), kinds=kinds), workers=0, seed=3)


@pytest.fixture(scope='module')
def small():
    """A small network with random weights."""
    torch.manual_seed(0)
    network = DenoiseNet((4, 8, 8), blocks=(1, 1, 1)).eval()
    torch.nn.init.normal_(network.tail.weight, std=0.1)
    return network


def test_pool_is_reproducible(pool):
    """The same seed gives the same scenes, and the same squares."""
    again = ScenePool(12, pool.choice, workers=0, seed=3)
    assert torch.equal(pool.images, again.images)
    draws = [p.draw(8, 32, generator=generator()) for p in (pool, again)]
    assert torch.equal(draws[0].images, draws[1].images)
    assert draws[0].images.shape == (8, 1, 32, 32)


def test_squares_are_cut_turned_and_mirrored(pool):
    """Whole scenes come out in all eight positions, values unchanged."""
    draws = pool.draw(200, 64, generator=generator(5)).images[:, 0].numpy()
    first = pool.images[0].numpy()
    turns = [np.rot90(m, k) for m in (first, first[:, ::-1]) for k in range(4)]
    seen = {
        k for image in draws for k, t in enumerate(turns) if np.array_equal(image, t)
    }
    assert len(seen) >= 6


def test_noise_is_one(pool):
    """After the transform the noise has the standard deviation 1 and no mean."""
    batch = NoisySquares(pool, 32, 64)(generator(2))
    noise = batch['noise'].flatten(1)
    assert noise.std(1).median() == pytest.approx(1.0, abs=0.03)
    assert float(noise.mean(1).abs().max()) < 0.1
    assert torch.equal(batch['z'] - batch['truth'], batch['noise'])


def test_transform_is_that_of_inference():
    """Torch and NumPy have one formula."""
    x = torch.linspace(-30.0, 5000.0, 101)
    noise = NoiseModel(gain=1.0, readnoise=4.0)
    there = Stabiliser.forward(x, torch.tensor(4.0))
    np.testing.assert_allclose(there, noise.forward(x.numpy()), rtol=1e-5)
    back = Stabiliser.inverse(there, torch.tensor(4.0))
    np.testing.assert_allclose(back, x, rtol=1e-4, atol=2e-3)


def test_perfect_network_has_no_loss(pool):
    """Who finds all of the noise has no error, in pixels and fluxes."""
    batch = NoisySquares(pool, 8, 64)(generator(4))
    found = torch.cat((batch['noise'], batch['noise']), 1)
    terms = supervised_loss(lambda _: found, batch)
    assert float(terms['loss']) < 1e-6
    assert float(flux_errors(0 * batch['noise'], batch).std()) > 0.5


def test_nothing_in_nothing_out(small):
    """Without noise and structure the network finds none, borders included."""
    with torch.no_grad():
        assert not small(torch.zeros(1, 1, 32, 40))[:, :1].any()
        bright = torch.full((1, 1, 32, 32), 1e5)
        found, error = small(bright).split(1, dim=1)
    assert float(found.abs().max()) < 1e-6
    assert float((error - 1.0).abs().max()) < 1e-6


def test_export(small, tmp_path):
    """The ONNX file gives the same for other sizes and batches."""
    pytest.importorskip('onnxscript')
    from astroflat.neural import ModelCard, read_card
    from astroflat.training.export import check_parity, export_onnx

    card = ModelCard('small', 'denoise', multiple=4)
    path = tmp_path / 'small.onnx'
    export_onnx(small, path, [torch.randn(2, 1, 16, 24)], card=card)
    assert check_parity(small, path, [torch.randn(3, 1, 8, 40)]) < 1e-5
    assert read_card(path).name == 'small'
    with torch.no_grad():
        small.tail.weight[0, 0, 0, 0] += 1.0
    with pytest.raises(ValueError, match='differs'):
        check_parity(small, path, [torch.randn(1, 1, 16, 16)])
