# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Recorded steps: the same gradients as without recording, on a GPU.
"""

from __future__ import annotations

import pytest

torch = pytest.importorskip('torch')

from astroflat.training._graph import CapturedStep  # noqa: E402
from astroflat.training.loop import FitSettings, fit  # noqa: E402

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')


def network() -> torch.nn.Module:
    """A small network on the device."""
    torch.manual_seed(3)
    layers = torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)
    return torch.nn.Sequential(*layers)


def loss(model, batch):
    """Mean squared error."""
    return {'loss': (model(batch['x']) - batch['y']).square().mean()}


def batches(generator):
    """Points of a plane."""
    x = torch.randn(16, 3, generator=generator, device=generator.device)
    return {'x': x, 'y': x.sum(1, keepdim=True)}


@pytest.mark.parametrize('options', [{'accumulate': 2, 'device': 'cuda'}, {}])
def test_refused(options):
    """Neither a processor nor accumulated batches can be recorded."""
    with pytest.raises(ValueError, match='graph must be False'):
        FitSettings(graph=True, **options)


@cuda
def test_gradients():
    """Each replay gives the gradients of its own batch."""
    model = network().cuda()
    generator = torch.Generator('cuda').manual_seed(0)

    def passes(batch):
        terms = loss(model, batch)
        terms['loss'].backward()
        return {name: value.detach() for name, value in terms.items()}

    step = CapturedStep(passes, list(model.parameters()))
    for _ in range(3):
        batch = batches(generator)
        terms = step(batch)
        got = [p.grad.clone() for p in model.parameters()]
        expected = loss(model, batch)['loss']
        made = torch.autograd.grad(expected, list(model.parameters()))
        torch.testing.assert_close(terms['loss'], expected.detach())
        torch.testing.assert_close(got, list(made))


@cuda
def test_run(tmp_path):
    """A recorded run ends with the weights of one that is not."""
    ends = []
    for graph in (False, True):
        settings = FitSettings(steps=30, device='cuda', graph=graph)
        result = fit(network(), batches, loss, settings, tmp_path / str(graph))
        ends.append([p.detach() for p in result.model.parameters()])
    torch.testing.assert_close(ends[0], ends[1])
