# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Training without truth: the blind spot is blind.
"""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('onnx')

import astroflat as af  # noqa: E402
from astroflat.io import write_image  # noqa: E402
from astroflat.training.adapt import adapt, load_shipped  # noqa: E402
from astroflat.training.blind import blind_loss, blind_mask, hide  # noqa: E402
from astroflat.training.catalogue import read_catalogue  # noqa: E402

KNOWN = {'gain': 1.0, 'readnoise': 0.0, 'offset': 0.0}


def generator(seed=1):
    """Random numbers."""
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope='module')
def network():
    """The network that comes with the package, in torch."""
    return load_shipped().eval()


@pytest.mark.parametrize('axis', [None, 'row', 'column'])
def test_blind_spot(network, axis):
    """
    The output at a hidden pixel does not depend on its own value.

    Neither does it on the value of any other hidden pixel.
    """
    images = torch.randn(2, 1, 48, 64, generator=generator())
    mask = blind_mask(images.shape, generator=generator(2), cell=5)
    other = torch.where(mask, 1e3 * torch.rand_like(images), images)
    with torch.no_grad():
        outputs = [
            seen - network(seen)[:, :1]
            for seen in (hide(image, mask, axis=axis) for image in (images, other))
        ]
    assert torch.equal(outputs[0][mask], outputs[1][mask])
    # The test can fail: without hiding it does.
    with torch.no_grad():
        plain = [image - network(image)[:, :1] for image in (images, other)]
    assert not torch.allclose(plain[0][mask], plain[1][mask])


def test_masks_are_stratified():
    """Each cell has one hidden pixel, and all places are used."""
    mask = blind_mask((40, 1, 32, 40), generator=generator(), cell=8)
    cells = mask.reshape(40, 1, 4, 8, 5, 8).sum((3, 5))
    assert torch.equal(cells, torch.ones_like(cells))
    places = mask.reshape(40, 4, 8, 5, 8).sum((0, 1, 3))
    assert places.min() > 0


def test_hidden_pixels_look_like_neighbours():
    """What is seen in their place is the median around them."""
    images = torch.full((1, 1, 16, 16), 3.0)
    mask = blind_mask(images.shape, generator=generator())
    images[mask] = 99.0
    assert torch.equal(hide(images, mask), torch.full((1, 1, 16, 16), 3.0))


def test_torch_network_is_the_onnx_one(network):
    """Weights read back from ONNX give the same numbers."""
    v = 2.0 * torch.randn(1, 1, 64, 64, generator=generator())
    session = af.neural.get_session(
        af.neural.find_model('default', task='denoise'), device='cpu'
    )
    with torch.no_grad():
        mine = network(v).numpy()
    np.testing.assert_allclose(session.run(v.numpy())['result'], mine, atol=1e-4)


def test_adapt(tmp_path):
    """An adapted network is a file that the denoiser takes, and denoises."""
    rng = np.random.default_rng(1)
    frames = [rng.poisson(200.0, (64, 64)).astype('f4') for _ in range(3)]
    options = {'steps': 2, 'count': 2, 'size': 32, **KNOWN}
    start = af.Denoiser(device='cpu')
    mine = start.adapt(frames, tmp_path / 'mine.onnx', aligned=True, **options)
    assert mine.card.name == 'mine'
    assert mine.card.training['method'] == 'Noise2Noise'
    clean = mine.denoise(frames[0], gain=1.0)
    assert clean.std() < 0.4 * frames[0].std()
    assert abs(clean.mean() - 200.0) < 1.0


def test_adapt_to_a_folder(tmp_path):
    """Files are catalogued and split; the network that is kept is never worse."""
    for k in range(6):
        image = np.random.default_rng(k).poisson(200.0, (64, 64)).astype('f4')
        write_image(image, tmp_path / f'light{k}.fits')
    options = {'steps': 40, 'count': 1, 'size': 32, 'patience': 2, 'rate': 0.1, **KNOWN}
    path = adapt(tmp_path, tmp_path / 'mine.onnx', **options)
    table = read_catalogue(tmp_path / 'mine' / 'catalogue.ecsv')
    assert sorted(table['split']).count('validate') == 1
    facts = af.Denoiser(path, device='cpu').card.training
    # Such a rate ruins a network: the one of the start is kept, and soon.
    assert facts['judged'][0] == min(facts['judged'])
    assert len(facts['judged']) == 3
    assert facts['steps'] < 40
    state = load_shipped(path).state_dict()
    for name, value in load_shipped().state_dict().items():
        torch.testing.assert_close(state[name], value, rtol=1e-3, atol=1e-4)
    write_image(np.zeros((64, 64), 'f4'), tmp_path / 'empty.fits')
    with pytest.raises(ValueError, match=r'empty\.fits: constant'):
        adapt(tmp_path, tmp_path / 'mine.onnx', **options)


def test_blind_loss_counts_hidden_pixels_only(network):
    """Noise that is known costs nothing where pixels are hidden, and only there."""
    images = torch.randn(1, 1, 32, 32, generator=generator())
    loss = blind_loss(network, images, generator=generator(4))['loss']
    mask = blind_mask(images.shape, generator=generator(4))
    seen = hide(images, mask)
    with torch.no_grad():
        error = (seen - network(seen)[:, :1] - images)[mask]
    assert float(loss.detach()) == pytest.approx(
        0.5 * float((error**2).mean()), rel=1e-4
    )


def test_too_few_frames(tmp_path):
    """The message says how many are needed."""
    with pytest.raises(ValueError, match='give 2 or more'):
        adapt([np.ones((64, 64))], tmp_path / 'a.onnx', aligned=True, gain=1.0)
