# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Training of a network at full resolution: frames of many sizes, terms, the run."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('safetensors')

from astroflat.training.attention_unet import AttentionResUNetFG  # noqa: E402
from astroflat.training.flat import FlatData  # noqa: E402
from astroflat.training.full_flat import (  # noqa: E402
    export_full,
    measure_full,
    train_full,
)
from astroflat.training.full_frames import (  # noqa: E402
    FullComposer,
    describe_full,
    pad_frames,
)
from astroflat.training.full_losses import (  # noqa: E402
    FullWeights,
    full_loss,
    load_perceptual,
)
from astroflat.training.loop import FitSettings  # noqa: E402


class Oracle(torch.nn.Module):
    """Answers with the truth, plus a constant that nobody can know."""

    def __init__(self, batch: dict[str, torch.Tensor], error: float = 0.0) -> None:
        super().__init__()
        self.batch, self.error = batch, error

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the truth of the batch."""
        x = image[:, 1:2]
        truth = self.batch['log_flat'] + 0.3 + self.error * torch.sign(x)
        return truth, self.batch['gradient'] - 0.1, torch.ones_like(x)


@pytest.fixture(scope='module')
def batch(fixed_pool) -> dict[str, torch.Tensor]:
    """One batch of frames of many sizes."""
    return vars(FullComposer(fixed_pool(), multiple=8, seed=4).compose(8))


def test_frames_of_many_sizes_share_a_batch(batch):
    """Frames differ in size and the rest is zero."""
    areas = batch['valid'].sum(dim=(1, 2, 3))
    assert len(set(areas.tolist())) > 3
    assert batch['image'].shape[1:] == (4, 64, 64)
    for values in batch.values():
        assert torch.isfinite(values).all()
        assert (values * (1 - batch['valid']) == 0).all()


def test_truth_has_no_mean(batch):
    """The mean of a field over its frame is not asked for."""
    for name in ('log_flat', 'gradient'):
        mean = (batch[name] * batch['valid']).sum(dim=(1, 2, 3))
        assert mean.abs().max() < 1e-2


def test_light_is_sky_times_flat_plus_gradient(fixed_pool):
    """Putting the truth back leaves an even sky."""
    pool = fixed_pool()
    pool.arrays['night'][:] = 0.0
    pool.arrays['dust'][:] = 0.0
    composer = FullComposer(pool, multiple=8, seed=2)
    composer.options = type(composer.options)(day=0.0, levels=(2e4, 2e4))
    batch = vars(composer.compose(16))
    sky = (batch['light'] - batch['gradient']) * (-batch['log_flat']).exp()
    for frame, valid in zip(sky, batch['valid'], strict=True):
        values = frame[valid > 0]
        # Shot noise of 20000 electrons is 0.7 %, the response at most 2.1 %.
        low, high = values.quantile(0.16), values.quantile(0.84)
        assert (high - low) / (2 * values.median()) < 0.03


def test_coordinates_reach_from_edge_to_edge():
    """X and y go from -1 to 1 over the frame."""
    seen = describe_full(torch.ones(1, 8, 12))
    assert seen[0, 1, 0].tolist() == pytest.approx(np.linspace(-1, 1, 12))
    assert seen[0, 2, :, 0].tolist() == pytest.approx(np.linspace(-1, 1, 8))
    assert (seen[0, 0] == 0).all()


def test_padding_refuses_nothing_and_keeps_values():
    """Padded frames begin at the first pixel."""
    frames = [torch.rand(2, 5, 9), torch.rand(2, 8, 3)]
    padded, valid = pad_frames(frames, 4)
    assert padded.shape == (2, 2, 8, 12)
    assert torch.equal(padded[0, :, :5, :9], frames[0])
    assert valid[1].sum() == 24


def test_the_truth_has_no_loss_whatever_its_constants(batch):
    """Constants of F and G cost nothing."""
    terms = full_loss(Oracle(batch), batch)
    for name in ('flat', 'added', 'slope', 'physics'):
        assert terms[name] < 1e-6, name
    assert terms['confidence'] < 1e-3


def test_an_error_of_two_per_cent_is_seen_by_each_term(batch):
    """A step of 2 % costs 2 %."""
    terms = full_loss(Oracle(batch, error=0.02), batch)
    # A step of +-e about its mean: at most e, and less where cut sizes are odd.
    assert 0.017 < terms['flat'] <= 0.0201
    assert 0.004 < terms['physics'] < 0.0201
    # Confidence of 1 where nothing is right.
    assert terms['confidence'] == pytest.approx(-math.log(1e-4), rel=0.05)


def test_what_fills_up_a_frame_does_not_count(batch):
    """Values off the frame change no term."""
    spoiled = {k: v.clone() for k, v in batch.items()}
    outside = 1 - batch['valid']
    for name in ('log_flat', 'gradient', 'light'):
        spoiled[name] += 7.0 * outside
    right = full_loss(Oracle(batch, error=0.01), batch)
    assert full_loss(Oracle(batch, error=0.01), spoiled)['loss'] == pytest.approx(
        float(right['loss']), rel=1e-5
    )


def test_perceptual_term_sees_the_corrected_frames(batch):
    """LPIPS sees three colours in [-1, 1]."""
    seen = []

    def distance(ours: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        seen.append((ours, truth))
        return (ours - truth).square().mean()

    weights = FullWeights(perceptual=2.0)
    terms = full_loss(Oracle(batch, error=0.05), batch, weights, distance)
    (ours, truth) = seen[0]
    assert ours.shape[1] == 3
    assert ours.abs().max() <= 1
    assert truth.abs().max() <= 1
    assert 0 < terms['perceptual'] < 0.01
    without = full_loss(Oracle(batch, error=0.05), batch)
    assert float(terms['loss'] - without['loss']) == pytest.approx(
        2 * float(terms['perceptual']), rel=1e-3
    )


def test_perceptual_term_says_what_it_needs(monkeypatch):
    """Without torchmetrics the remedy is named."""
    monkeypatch.setitem(__import__('sys').modules, 'torchmetrics.image.lpip', None)
    with pytest.raises(ModuleNotFoundError, match='pip install torchmetrics'):
        load_perceptual('nowhere')


def test_measure_of_the_truth_is_zero(batch):
    """The truth has no error in the validation."""
    numbers = measure_full(Oracle(batch), [batch])
    assert numbers['flat'] == 0
    assert numbers['gradient'] == 0
    assert numbers['flat_none'] > 0.3


def test_run_learns_and_its_weights_can_be_exported(tmp_path):
    """A run goes on from weights and exports."""
    torch.manual_seed(1)
    model = AttentionResUNetFG(width=4, depth=2)
    data = FlatData(
        batch=4, size=64, first=8, pool=8, workers=0, validation=8, curriculum=0.0
    )
    settings = FitSettings(steps=4, log_every=2)
    result = train_full(
        tmp_path, settings, data=data, model=model, say=lambda text: None
    )
    assert result.images == 16
    again = AttentionResUNetFG(width=4, depth=2)
    go_on = FitSettings(steps=1)
    train_full(
        tmp_path / 'b',
        go_on,
        data=data,
        model=again,
        start=tmp_path / 'flat-full.safetensors',
        say=lambda text: None,
    )
    moved = (again.heads.weight - result.average.heads.weight).abs().max()
    assert moved < 0.01
    path = export_full(result.average.eval(), tmp_path / 'full.onnx')
    assert path.stat().st_size > 1000
