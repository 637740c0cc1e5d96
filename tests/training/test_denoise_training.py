# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Scenes, noise and network of the training of the denoiser; export.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from astroflat.neural._stabilise import NoiseModel  # noqa: E402
from astroflat.training._denoise_data import NoisySquares, make_batch  # noqa: E402
from astroflat.training._denoise_loss import (  # noqa: E402
    _squared_mean,
    flux_errors,
    supervised_loss,
)
from astroflat.training._denoise_noise import add_defects, soften, uneven  # noqa: E402
from astroflat.training._denoise_stars import aperture_errors  # noqa: E402
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
    scenes = pool.draw(32, 64, generator=generator(2))
    batch = make_batch(scenes, Stabiliser('cpu'), generator(2), defects=0.0)
    noise = batch['noise'].flatten(1)
    assert noise.std(1).median() == pytest.approx(1.0, abs=0.03)
    assert float(noise.mean(1).abs().max()) < 0.1
    assert torch.equal(batch['z'] - batch['truth'], batch['noise'])


def test_defects():
    """Rows, columns, glitches and uneven pixels have the size that they say."""
    n, size, sigma = 200, 64, torch.full((200, 1, 1, 1), 10.0)
    flat = torch.full((n, 1, size, size), 100.0)
    assert add_defects(flat, flat, sigma, amount=0.0, generator=generator()) is flat
    extra = add_defects(flat, flat, sigma, amount=1.0, generator=generator(1)) - flat
    extra /= 10.0
    rows = extra.median(3).values.std(2).flatten()
    columns = extra.median(2).values.std(2).flatten()
    for lines, part in ((rows, 0.3), (columns, 0.2)):
        assert float((lines > 0.02).float().mean()) == pytest.approx(part, abs=0.1)
        assert float(lines.max()) < 0.8
    low, high = extra.flatten(1).min(1).values, extra.flatten(1).max(1).values
    assert float((low < -2.5).float().mean()) == pytest.approx(0.3, abs=0.1)
    assert float(high.max()) < 5.0 + 2.5
    rough = uneven(flat, amount=10.0, generator=generator(3)) / flat - 1.0
    spread = rough.flatten(1).std(1)
    assert float(spread.min()) > 0.0009
    assert float(spread.max()) < 0.011


def test_wide_stars_keep_their_light():
    """Blurring moves light and makes stars as wide as it says."""
    image = torch.zeros(64, 1, 64, 64)
    image[:, :, 32, 32] = 1.0
    wide, fwhm = soften(
        image, torch.full((64,), 1e-3), share=1.0, generator=generator()
    )
    assert torch.allclose(wide.sum((1, 2, 3)), torch.ones(64), atol=1e-4)
    axis = torch.arange(64.0) - 32
    spread = ((axis**2) * wide.sum((1, 2))).sum(1).sqrt() * 2.3548
    # A ring has no width in this sense; that of Gaussians is known.
    assert float((spread / fwhm).median()) == pytest.approx(1.0, abs=0.1)
    same, kept = soften(image, fwhm, share=0.0, generator=generator())
    assert torch.equal(same, image)
    assert torch.equal(kept, fwhm)


def test_flux_errors(pool):
    """A known amount of light in an aperture is found; a level is not one."""
    batch = NoisySquares(pool, 8, 64)(generator(6))
    error = torch.zeros_like(batch['z'])
    y, x = batch['places'][2, 3].round().long().tolist()
    error[2, 0, y, x] = 7.0
    variance = torch.full_like(error, 4.0)
    sums, level = aperture_errors((error, torch.ones_like(error)), variance, batch)
    radius = float(batch['radii'][2, 3])
    area = sum(
        (i - float(batch['places'][2, 3, 0])) ** 2
        + (j - float(batch['places'][2, 3, 1])) ** 2
        < radius**2
        for i in range(64)
        for j in range(64)
    )
    # A ring of several times its area adds to the variance.
    assert 0.7 * 3.5 / area**0.5 < float(sums[2, 3]) < 3.5 / area**0.5
    assert float(level.abs().max()) < 1e-3
    found, plain = flux_errors(batch['noise'], batch)
    assert float(found.abs().max()) < 0.01
    assert float(plain.std()) == pytest.approx(1.0, abs=0.15)


def test_transform_is_that_of_inference():
    """Torch and NumPy have one formula."""
    x = torch.linspace(-30.0, 5000.0, 101)
    noise = NoiseModel(gain=1.0, readnoise=4.0)
    there = Stabiliser.forward(x, torch.tensor(4.0))
    np.testing.assert_allclose(there, noise.forward(x.numpy()), rtol=1e-5)
    back = Stabiliser.inverse(there, torch.tensor(4.0))
    np.testing.assert_allclose(back, x, rtol=1e-4, atol=2e-3)
    means, readnoise = torch.linspace(0.0, 2000.0, 64), torch.full((1, 1, 1, 1), 4.0)
    there = Stabiliser('cpu').expected(means[None, None, None], readnoise)
    back = Stabiliser('cpu').unbiased(there, readnoise)[0, 0, 0]
    np.testing.assert_allclose(back, means, rtol=1e-4, atol=5e-3)


def test_perfect_network_has_no_loss(pool):
    """Who finds all of the noise has no error, in pixels and fluxes."""
    batch = NoisySquares(pool, 8, 64)(generator(4))
    found = torch.cat((batch['noise'], batch['noise']), 1)
    terms = supervised_loss(lambda _: found, batch)
    assert float(terms['pixels']) == float(terms['wide']) == 0.0
    assert float(terms['single']) < 1e-5
    # A mean that is wrong costs its square; a scatter around 0 nothing.
    wrong = 0.3 + torch.randn(4, 5000, generator=generator())
    everything = torch.ones_like(wrong, dtype=torch.bool)
    assert float(_squared_mean(wrong, everything)) == pytest.approx(0.09, abs=0.02)
    assert abs(float(_squared_mean(wrong - 0.3, everything))) < 1e-3
    assert float(flux_errors(0 * batch['noise'], batch)[0].std()) > 0.5


def test_nothing_in_nothing_out(small):
    """Without noise and structure the network finds none, borders included."""
    with torch.no_grad():
        assert not small(torch.zeros(1, 1, 32, 40))[:, :1].any()
        bright = torch.full((1, 1, 32, 32), 1e5)
        found, error = small(bright).split(1, dim=1)
    assert float(found.abs().max()) < 1e-6
    assert float((error - 1.0).abs().max()) < 1e-6


def test_gradient_without_doubt(small):
    """A network that is sure to leave no error can still be trained."""
    network = copy.deepcopy(small).train()
    torch.nn.init.constant_(network.doubt.bias, -200.0)
    result = network(0.5 * torch.randn(1, 1, 32, 32, generator=generator()))
    assert float(result[:, 1].detach().abs().max()) == 0.0
    result[:, :1].square().mean().backward()
    grads = [p.grad for p in network.parameters() if p.grad is not None]
    assert len(grads) > 5
    assert all(bool(grad.isfinite().all()) for grad in grads)


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
