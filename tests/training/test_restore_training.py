# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Training of the restorer: point-spread functions, squares, losses, the run, export.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('safetensors')

# ruff: noqa: E402
from astroflat.neural._restore_filter import EPSILONS, TileFilter, make_kernel
from astroflat.training import _restore_psf as psf
from astroflat.training._restore_check import weighted_errors
from astroflat.training._restore_data import SquareMaker, filters, wanted_width
from astroflat.training._restore_light import draw_extended
from astroflat.training._restore_loss import WEIGHTS, flux_errors, restore_loss
from astroflat.training.pools import ArrayPool
from astroflat.training.restore import main
from astroflat.training.restore_nets import DIALS, PLANES, RestoreNet
from astroflat.training.swin2sr import Swin2SR, load_public


@pytest.fixture(scope='module')
def kernels():
    """A pool of point-spread functions."""
    return psf.KernelPool(48, 'cpu', seed=3)


@pytest.fixture(scope='module')
def batch(kernels):
    """Squares with truth."""
    pool = ArrayPool([(draw_extended, 1.0)], size=96, capacity=6, n_workers=0, seed=2)
    pool.wait(['light'], 6)
    maker = SquareMaker(pool, kernels, 12, 64)
    return maker(torch.Generator().manual_seed(5))


def test_point_spread_functions(kernels):
    """They have unit sum, their centroid on a pixel, and all kinds."""
    made = kernels.kernels
    steps = torch.arange(psf.SIZE) - psf.SIZE // 2
    assert torch.allclose(made.sum((1, 2)), torch.ones(len(made)), atol=1e-4)
    assert float((made.sum(2) * steps).sum(1).abs().max()) < 0.02
    assert float((made.sum(1) * steps).sum(1).abs().max()) < 0.02
    assert float(made.min()) >= 0
    assert set(kernels.kinds.tolist()) == {0, 1, 2, 3, 4}


def test_widths_of_point_spread_functions():
    """A Gaussian is as wide as it is; with the core, widths add in quadrature."""
    half = psf.SIZE // 2
    sigma = torch.tensor([1.0, 2.0])
    made = torch.roll(psf.gaussian(psf.SIZE, sigma), (half, half), (1, 2))
    fwhm = 2.3548 * sigma
    bare = psf.full_width(made, with_core=False)
    both = psf.full_width(made)
    assert torch.allclose(bare, fwhm, rtol=0.02)
    expected = torch.sqrt(fwhm**2 + (2.3548 * psf.CORE) ** 2)
    assert torch.allclose(both, expected, rtol=0.02)
    # NumPy measures the same.
    assert make_kernel(made[1].numpy()).fwhm == pytest.approx(float(bare[1]), 1e-3)


def test_one_formula_for_filters(kernels):
    """What the training and the restorer filter with is the same."""
    kernel, size = kernels.kernels[0], 96
    point = make_kernel(kernel.numpy())
    made = TileFilter(point, 1.0)
    grid = torch.zeros(1, size, size)
    grid[0, : psf.SIZE, : psf.SIZE] = kernel
    shift = [-round(c) for c in point.centre]
    spectrum = torch.fft.rfft2(torch.roll(grid, shift, (1, 2)))
    target = torch.fft.rfft2(psf.gaussian(size, made.wanted / 2.35482))
    ours, gains = filters(spectrum, target)
    theirs, _ = made._make((size, size))
    assert len(theirs) == len(EPSILONS) == ours.shape[1]
    for mine, other in zip(ours[0].numpy(), theirs, strict=True):
        assert np.abs(np.abs(mine) - np.abs(other)).max() < 2e-3 * np.abs(other).max()
        # The sum of the light stays.
        assert other[0, 0] == pytest.approx(1.0, abs=1e-6)
    assert made.gains == pytest.approx(gains[0].numpy(), rel=0.02)
    noise = np.random.default_rng(1).normal(size=(size, size)).astype('f4')
    assert made.apply(noise).std(axis=(1, 2))[1:] == pytest.approx(made.gains, rel=0.25)


def test_wanted_widths():
    """Half at most, never below 1.8 pixels, never wider."""
    widths = torch.tensor([6.0, 6.0, 2.4, 1.5])
    strengths = torch.tensor([1.0, 0.5, 1.0, 1.0])
    expected = torch.tensor([3.0, 4.5, 1.8, 1.5])
    assert torch.allclose(wanted_width(widths, strengths), expected)


def test_squares(batch):
    """Noise is about 1, and truth has the light of what came."""
    assert batch['planes'].shape == (12, len(PLANES), 64, 64)
    assert batch['dials'].shape == (12, len(DIALS))
    good = batch['weight'] > 0
    noise = (batch['planes'][:, :1] - batch['clean']) / batch['shot']
    each = [float(n[g].std()) for n, g in zip(noise, good, strict=True)]
    assert 0.85 < np.median(each) < 1.15
    # Sharpening moves light by some pixels only, and some over the border.
    sums = (batch['target'] - batch['clean']).flatten(1).mean(1)
    light = batch['clean'].clamp(min=0).flatten(1).mean(1) + 0.1
    assert float((sums / light).abs().median()) < 0.1
    # A linear filter with the right point-spread function is closer than nothing.
    before = weighted_errors(batch['planes'][:, :1], batch)
    after = torch.stack(
        [weighted_errors(batch['planes'][:, i : i + 1], batch) for i in (3, 4)]
    ).min(0).values  # fmt: skip
    assert float(after.median()) < 0.8 * float(before.median())


def test_losses(batch):
    """The truth has none but that of its own doubt; each term can be left out."""
    truth = torch.cat((batch['target'], batch['clean'], batch['shot']), dim=1)
    terms = restore_loss(lambda *_: truth, batch)
    assert set(terms) == {'loss', *WEIGHTS}
    for name in set(WEIGHTS) - {'doubt'}:
        assert float(terms[name]) < 1e-6, name
    without = {**WEIGHTS, 'flux': 0.0, 'histogram': 0.0}
    found = restore_loss(lambda *_: truth + 1.0, batch, weights=without)
    assert not {'flux', 'histogram'} & set(found)
    total = sum(without[k] * float(v) for k, v in found.items() if k != 'loss')
    assert float(found['loss']) == pytest.approx(total, rel=1e-4)
    assert all(math.isfinite(float(v)) for v in found.values())


def test_errors_of_fluxes(batch):
    """A star that is a tenth too bright is so by a tenth of its ratio."""
    lone = {**batch, 'weight': torch.ones_like(batch['weight'])}
    lone['y'] = torch.full_like(batch['y'], 32.0)
    lone['x'] = torch.full_like(batch['x'], 32.0)
    lone['flux'] = torch.full_like(batch['flux'], 100.0)
    lone['snr'] = torch.full_like(batch['snr'], 50.0)
    sigma = (batch['wanted'] / 2.3548)[:, None, None]
    y = torch.arange(64.0) - 32
    star = torch.exp(-0.5 * (y[:, None] ** 2 + y**2) / sigma**2)
    star = 10.0 * star / star.sum((1, 2), keepdim=True)
    found = batch['target'] + star[:, None] / batch['sigma']
    assert flux_errors(found, lone)[:, 0].numpy() == pytest.approx(5.0, abs=0.2)


def test_network_begins_with_filters():
    """Before training it gives a mixture of what it sees: constants stay."""
    torch.manual_seed(0)
    model = RestoreNet(16, groups=1).eval()
    planes = torch.full((2, 8, 32, 48), 20.0)
    planes[:, 6:] = 0.0
    with torch.no_grad():
        found = model(planes, torch.ones(2, 6))
    assert found.shape == (2, 3, 32, 48)
    assert torch.allclose(found[:, :2], torch.tensor(20.0), rtol=0.1)
    assert bool((found[:, 2] > 0).all())


@pytest.mark.filterwarnings('ignore')
def test_run_and_export(tmp_path):
    """A run ends in time, is gone on with, and gives a file that runs."""
    pytest.importorskip('onnx')
    from astroflat.neural import Session
    from astroflat.training.restore_export import export_restorer

    options = ['--folder', str(tmp_path), '--batch', '2', '--size', '32']
    options += ['--pool', '3', '--kernels', '8', '--workers', '0', '--rate', '1e-3']
    options += ['--width', '16', '--groups', '1', '--checks', '1']
    assert main([*options, '--steps', '1']) == 0
    assert main([*options, '--steps', '2']) == 0
    state = json.loads((tmp_path / 'checkpoint.json').read_text())
    assert state['step'] == 2
    path = tmp_path / 'restore.onnx'
    assert export_restorer(tmp_path / 'restore.safetensors', path) < 1e-4
    session = Session(path, device='cpu')
    assert session.card.task == 'restore'
    planes = np.zeros((1, 8, 48, 64), 'f4')
    out = session.run({'planes': planes, 'dials': np.zeros((1, 6), 'f4')})
    assert out['result'].shape == (1, 3, 48, 64)


def test_reference_takes_public_weights():
    """Names are those of transformers; what does not fit is refused."""
    torch.manual_seed(1)
    options = {'width': 12, 'depths': (2,), 'heads': 2, 'window': 4}
    first, second = Swin2SR(1, **options).eval(), Swin2SR(1, **options).eval()
    state = {**first.state_dict(), 'upsample.conv.weight': torch.zeros(1)}
    assert load_public(second, state) == []
    image = torch.rand(1, 1, 16, 24)
    with torch.no_grad():
        assert torch.equal(first(image), second(image))
        # Windows at the border do not see the other side.
        changed = image.clone()
        changed[..., :2] += 1.0
        difference = (first(changed) - first(image)).abs().amax((0, 1, 2))
    assert float(difference[0]) > 1e-3
    assert float(difference[-3:].max()) == 0.0
    wrong = {k: v for k, v in state.items() if 'query' not in k}
    with pytest.raises(ValueError, match='not one of this configuration'):
        load_public(second, wrong)
