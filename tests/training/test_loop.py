# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The loop that trains: exact resumption, steps left out, schedule, tables.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import pytest

torch = pytest.importorskip('torch')

from astroflat.training import _checkpoint  # noqa: E402
from astroflat.training.loop import FitSettings, fit, schedule  # noqa: E402


def network(seed: int = 1) -> torch.nn.Module:
    """A small network with dropout, which draws random numbers itself."""
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(3, 8),
        torch.nn.Dropout(0.2),
        torch.nn.Tanh(),
        torch.nn.Linear(8, 1),
    )


def batches(generator):
    """Points of a plane with noise."""
    x = torch.randn(16, 3, generator=generator)
    noise = 0.01 * torch.randn(16, 1, generator=generator)
    return {'x': x, 'y': x @ torch.tensor([[1.0], [-2.0], [0.5]]) + noise}


def loss(model, batch):
    """Mean squared error, and one more term."""
    error = model(batch['x']) - batch['y']
    return {'loss': error.square().mean(), 'absolute': error.abs().mean()}


def table(path) -> list[dict]:
    """Rows of a CSV file."""
    with path.open() as file:
        return list(csv.DictReader(file))


def weights(model) -> torch.Tensor:
    """All weights in one vector."""
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_resume_is_exact(tmp_path):
    """Twenty steps are ten, a resumption, and ten more, bit for bit."""
    settings = FitSettings(steps=20, log_every=5, save_every=5)
    whole = fit(network(), batches, loss, settings, tmp_path / 'whole')

    def stopped(generator):
        if len(calls) == 10:
            raise KeyboardInterrupt
        calls.append(1)
        return batches(generator)

    calls = []
    with pytest.raises(KeyboardInterrupt):
        fit(network(), stopped, loss, settings, tmp_path / 'parts')
    parts = fit(network(seed=99), batches, loss, settings, tmp_path / 'parts')
    assert torch.equal(weights(whole.model), weights(parts.model))
    assert torch.equal(weights(whole.average), weights(parts.average))
    assert (parts.steps, parts.images) == (20, 320)
    logs = [
        [{**row, 'seconds': ''} for row in table(tmp_path / name / 'log.csv')]
        for name in ('whole', 'parts')
    ]
    assert logs[0] == logs[1]
    assert [row['step'] for row in logs[0]] == ['5', '10', '15', '20']


def test_learns(tmp_path):
    """The loss falls, and the averaged network is as good."""
    settings = FitSettings(steps=600, rate=2e-2, average=0.98)
    result = fit(
        network(),
        batches,
        loss,
        settings,
        tmp_path,
        validate=lambda model: {
            'error': float(
                loss(model, batches(torch.Generator().manual_seed(5)))['loss']
            )
        },
    )
    assert result.validation['error'] < 0.15
    assert result.skipped == 0
    rows = table(tmp_path / 'log.csv')
    assert {'rate', 'loss', 'absolute', 'gradient', 'images'} <= rows[0].keys()
    assert float(rows[-1]['loss']) < 0.2 * float(rows[0]['loss'])


def test_steps_that_are_not_finite_are_left_out(tmp_path):
    """A broken batch changes no weight and is counted."""
    count = iter(range(100))

    def broken(model, batch):
        factor = float('nan') if next(count) == 3 else 1.0
        return {name: factor * value for name, value in loss(model, batch).items()}

    result = fit(network(), batches, broken, FitSettings(steps=6), tmp_path)
    assert (result.steps, result.skipped) == (6, 1)
    assert torch.isfinite(weights(result.model)).all()
    assert torch.isfinite(weights(result.average)).all()


def test_time_ends_a_run(tmp_path):
    """With a cap in seconds the rate is at its end when the time is over."""
    settings = FitSettings(steps=10**9, max_seconds=0.3, log_every=1)
    result = fit(network(), batches, loss, settings, tmp_path)
    assert 0.3 <= result.seconds < 3.0
    rows = table(tmp_path / 'log.csv')
    assert float(rows[-1]['rate']) < 0.1 * settings.rate


def test_accumulation_is_a_larger_batch(tmp_path):
    """Two half batches give the gradient of a whole one."""
    model = torch.nn.Linear(3, 1)
    twin = torch.nn.Linear(3, 1)
    twin.load_state_dict(model.state_dict())
    whole = batches(torch.Generator().manual_seed(1))
    halves = [{k: v[i * 8 : i * 8 + 8] for k, v in whole.items()} for i in (0, 1)]
    one = fit(model, [whole], loss, FitSettings(steps=3), tmp_path / 'a')
    settings = FitSettings(steps=3, accumulate=2)
    two = fit(twin, halves, loss, settings, tmp_path / 'b')
    torch.testing.assert_close(weights(one.model), weights(two.model))


def test_bfloat16_and_channels_last(tmp_path):
    """Weights stay float32 and finite when the network computes in bfloat16."""
    model = torch.nn.Conv2d(1, 4, 3, padding=1)
    settings = FitSettings(steps=3, bf16=True, channels_last=True)

    def images(generator):
        return torch.randn(2, 1, 8, 8, generator=generator)

    def power(model, batch):
        return {'loss': model(batch).float().square().mean()}

    first = fit(model, images, power, settings, tmp_path)
    assert weights(first.average).dtype == torch.float32
    longer = FitSettings(steps=6, bf16=True, channels_last=True)
    again = fit(torch.nn.Conv2d(1, 4, 3, padding=1), images, power, longer, tmp_path)
    assert again.steps == 6


def test_weights_file(tmp_path):
    """Weights and what is said about them come back."""
    model = network()
    path = _checkpoint.save_weights(
        model, tmp_path / 'w.safetensors', metadata={'a': 1}
    )
    other = network(seed=3)
    assert _checkpoint.load_weights(other, path) == {'a': 1}
    assert torch.equal(weights(model), weights(other))
    assert not list(tmp_path.glob('*.part'))


def test_checkpoint_is_readable(tmp_path):
    """The state is JSON, the tensors are safetensors, nothing is pickled."""
    fit(network(), batches, loss, FitSettings(steps=2), tmp_path)
    state = json.loads((tmp_path / 'checkpoint.json').read_text())
    assert state['step'] == 2
    assert state['settings']['rate'] == 1e-3
    assert (tmp_path / state['tensors']).exists()
    suffixes = {path.suffix for path in tmp_path.iterdir()}
    assert suffixes == {'.json', '.safetensors', '.csv'}


def test_schedule_ends():
    """The rate is highest after the rise and falls from there."""
    settings = FitSettings(rate=1.0, warmup=0.1, final=0.0)
    rates = [schedule(t / 100, settings) for t in range(101)]
    assert max(rates) == rates[10] == 1.0
    assert rates[-1] == pytest.approx(0.0, abs=1e-12)
    assert sorted(rates[10:], reverse=True) == rates[10:]


@pytest.mark.parametrize(('name', 'value'), [('steps', 0), ('warmup', 1.0)])
def test_settings_that_cannot_be(name, value):
    """The message names the setting."""
    with pytest.raises(ValueError, match=name):
        FitSettings(**{name: value})


def test_needs_no_astropy():
    """The loop runs on machines without astropy."""
    code = (
        "import sys; sys.modules['astropy'] = None\n"
        'import astroflat.training.loop, astroflat.training._checkpoint'
    )
    subprocess.run([sys.executable, '-c', code], check=True)
