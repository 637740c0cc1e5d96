# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Training of the networks for flats: what they see, what they are told, and the run.
"""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('safetensors')

from astroflat.neural import _cells  # noqa: E402
from astroflat.training.flat import FlatData, train_flat  # noqa: E402
from astroflat.training.flat_frames import FrameComposer, FrameOptions  # noqa: E402
from astroflat.training.flat_inputs import describe_cells, describe_pixels  # noqa: E402
from astroflat.training.flat_losses import flat_loss, pinball  # noqa: E402
from astroflat.training.flat_nets import DustNet, FieldsNet, FlatNets  # noqa: E402
from astroflat.training.flat_validation import (  # noqa: E402
    check_manifest,
    make_validation,
    measure_flat,
    validation_manifest,
)
from astroflat.training.loop import FitSettings  # noqa: E402
from astroflat.training.pools import ArrayPool  # noqa: E402


def small_nets(seed: int = 1) -> FlatNets:
    """Both networks, narrow."""
    torch.manual_seed(seed)
    widths, depths = (8, 8, 8, 8), (1, 1, 1, 1)
    return FlatNets(FieldsNet(21, widths, depths), DustNet(34, widths, depths))


@pytest.fixture(scope='module')
def batch(fixed_pool) -> dict[str, torch.Tensor]:
    """One batch of small frames."""
    return vars(FrameComposer(fixed_pool(), seed=4).compose(8))


# ------------------------------------------------- what the networks see
@pytest.fixture(scope='module')
def frame() -> np.ndarray:
    """A frame of a gradient, noise and stars."""
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:256, :256]
    stars = 900.0 * (rng.random((256, 256)) < 1e-3)
    return rng.poisson(800 + 0.3 * x + 0.1 * y + stars).astype(np.float32)


def test_cells_are_those_of_the_training(frame):
    """The corrector feeds the network of smooth fields with the same numbers."""
    made = _cells.sample_cells(frame, np.zeros(frame.shape, bool))
    assert made.channels.shape == (18, 64, 64)
    image = torch.from_numpy(frame / np.float32(made.level) - 1)[None]
    theirs = describe_cells(image, torch.ones(1, 64, 64), 4)[0].numpy()
    assert theirs.shape == (21, 64, 64)
    assert np.abs(made.channels[:17] - theirs[:17]).max() < 1e-5
    assert np.abs(_cells.coordinates(64, 64) - theirs[18:]).max() < 1e-5
    # The median of torch is the lower one of the two in the middle.
    assert np.ptp(theirs[17]) == 0
    assert abs(made.channels[17] - theirs[17]).max() < 1e-3
    spread = 0.5 * (made.channels[12] - made.channels[3])
    lower = np.sort(spread, axis=None)[spread.size // 2 - 1]
    assert abs(np.log10(lower) + 2 - theirs[17, 0, 0]) < 1e-5


def test_pixels_are_those_of_the_training(frame):
    """The same for dust: raw pixels first, in rows, then sorted ones."""
    level = np.median(frame)
    relative = frame / np.float32(level) - 1
    valid = torch.ones(1, 64, 64)
    valid[0, 5, 7] = 0
    theirs = describe_pixels(torch.from_numpy(relative)[None], valid)[0].numpy()
    stretched = _cells.stretch(relative)
    raw = stretched.reshape(64, 4, 64, 4).transpose(1, 3, 0, 2).reshape(16, 64, 64)
    groups = _cells.sorted_groups(stretched, 4)
    seen = valid[0].numpy()
    assert np.abs(theirs[:16] - raw * seen).max() < 1e-5
    assert np.abs(theirs[16:32] - groups * seen).max() < 1e-5
    assert (theirs[:32, 5, 7] == 0).all()
    assert (theirs[32] == seen).all()


# ------------------------------------------------------------- frames
def test_targets(batch):
    """Targets are finite, of mean 0, and there is something to find."""
    assert all(torch.isfinite(values).all() for values in batch.values())
    assert batch['fields'].mean(dim=(2, 3)).abs().max() < 1e-6
    assert batch['fields'].std() > 1e-3
    assert batch['dust'].amin() < -0.01
    n, _, h, w = batch['cells'].shape
    assert batch['fields'].shape == (n, 2, h // 2, w // 2)


def test_clean_frames_have_no_fields(fixed_pool):
    """Where nothing was added, nothing is to be found: exactly."""
    composer = FrameComposer(fixed_pool(), options=FrameOptions(clean=1.0), seed=2)
    for _ in range(4):
        frames = composer.compose(4)
        assert not frames.fields.any()
        assert not frames.dust.any()
        assert torch.isfinite(frames.cells).all()


def test_ceiling_is_the_highest_difficulty(fixed_pool):
    """A tenth of the ceiling, a tenth of the gradient, with the same draws."""
    fields = []
    for ceiling in (1.0, 0.1):
        composer = FrameComposer(fixed_pool(), seed=4)
        composer.ceiling = ceiling
        fields.append(composer._draw(6)[3])
    assert fields[0].abs().max() > 0.01
    assert torch.allclose(0.1 * fields[0], fields[1], atol=1e-7)


@pytest.mark.parametrize('parts', ['fields', 'dust'])
def test_parts_are_those_of_the_whole(fixed_pool, parts):
    """Described for one network, a frame lacks what the other would see."""
    frames = FrameComposer(fixed_pool(), seed=4, parts=parts).compose(8).to_dict()
    mine, other = {'cells', 'fields'}, {'pixels', 'dust', 'valid'}
    assert set(frames) == (mine if parts == 'fields' else other)
    if parts == 'fields':
        # What is drawn first is drawn alike.
        whole = FrameComposer(fixed_pool(), seed=4).compose(8).to_dict()
        assert all(torch.equal(values, whole[k]) for k, values in frames.items())
    net = small_nets()
    terms = flat_loss(net, frames)
    assert torch.isfinite(terms['loss'])
    terms['loss'].backward()
    learn = {n.split('.')[0] for n, p in net.named_parameters() if p.grad is not None}
    assert learn == {parts}


# ------------------------------------------------------------- losses
def test_pinball_is_least_at_one_sigma():
    """The best spread of normal errors is their standard deviation."""
    error = 0.3 * torch.randn(200_000, generator=torch.Generator().manual_seed(1))
    spreads = torch.linspace(0.2, 0.4, 81)
    losses = torch.stack([pinball(error, s.log()).mean() for s in spreads])
    assert abs(float(spreads[losses.argmin()]) - 0.3) < 0.006


def test_truth_has_the_lowest_loss(batch):
    """The truth is better than nothing in every term that looks at values."""

    def answers(factor: float) -> dict[str, torch.Tensor]:
        def model(*_):
            fields, dust = factor * batch['fields'], factor * batch['dust']
            low = torch.full_like(fields, -8.0)
            sure = torch.where(batch['dust'].abs() > 0.004, 9.0, -9.0)
            judge = torch.zeros(len(fields), 2)
            full = torch.cat([dust, torch.full_like(dust, -8.0), sure], 1)
            return torch.cat([fields, low], 1), judge, None, full

        return flat_loss(model, batch)

    truth, half, nothing = answers(1.0), answers(0.5), answers(0.0)
    for name in ('loss', 'flat', 'added', 'sky', 'slope', 'dust', 'spread'):
        assert truth[name] < half[name] < nothing[name]
    # Floors of 0.1 % for the root mean squares, nothing else.
    assert abs(truth['flat'] - 1e-3) < 1e-6
    assert truth['slope'] == truth['dust'] == 0
    assert truth['presence'] < 1e-3


# ----------------------------------------------------------- networks
def test_dust_in_a_window_is_dust_in_the_frame():
    """Beyond the halo of 96 cells a window gives what the whole frame gives."""
    net = small_nets().dust.eval()
    for p in net.parameters():
        p.data += 0.1 * torch.randn_like(p)
    x = torch.rand(1, 34, 16, 256)
    with torch.no_grad():
        whole, part = net(x), net(x[..., :192])
    assert (whole[..., :192] - part[..., :192]).abs().max() < 1e-5
    assert (whole[..., 383] - part[..., 383]).abs().max() > 1e-3


def test_load_is_strict(tmp_path):
    """Weights of another network are refused, those of this one come back."""
    from safetensors.torch import save_file

    from astroflat.training.flat_export import load_flat

    model = FlatNets()
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    save_file(state, tmp_path / 'flat.safetensors')
    loaded = load_flat(tmp_path / 'flat.safetensors')
    assert not loaded.training
    assert all(torch.equal(v, state[k]) for k, v in loaded.state_dict().items())
    state.pop('dust.head.bias')
    save_file(state, tmp_path / 'short.safetensors')
    with pytest.raises(RuntimeError, match=r'dust\.head\.bias'):
        load_flat(tmp_path / 'short.safetensors')


def test_half_precision_in_the_file_is_exact(tmp_path):
    """Export, narrow, run and read back: the network stays what it was."""
    onnx = pytest.importorskip('onnx')
    pytest.importorskip('onnxscript')
    from astroflat.training.export import check_parity, export_onnx
    from astroflat.training.flat_export import round_weights, store_half
    from astroflat.training.flat_start import load_onnx_weights

    torch.manual_seed(5)
    net = DustNet(34, (8, 8), (1, 1))
    for p in net.parameters():
        p.data += 0.1 * torch.randn_like(p)
    round_weights(net)
    path = tmp_path / 'dust.onnx'
    export_onnx(net, path, [torch.rand(2, 34, 16, 24)], input_names=('cells',))
    whole = path.stat().st_size
    proto = store_half(onnx.load(str(path)))
    path.write_bytes(proto.SerializeToString())
    assert path.stat().st_size < 0.75 * whole
    assert check_parity(net, path, [torch.rand(1, 34, 32, 16)]) < 1e-5
    other = load_onnx_weights(DustNet(34, (8, 8), (1, 1)), path)
    state = net.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in other.state_dict().items())
    wide = FlatNets().dust
    with pytest.raises(ValueError, match='needs'):
        load_onnx_weights(wide, path)


def test_attention_unet():
    """Width and depth count, every multiple works, heads are what they say."""
    from astroflat.training.attention_unet import AttentionResUNetFG

    def size(**options: int) -> int:
        net = AttentionResUNetFG(**options)
        return sum(p.numel() for p in net.parameters())

    # Almost all parameters are kernels: twice the width, four times as many.
    assert 3.7 < size(width=16, depth=3) / size(width=8, depth=3) < 4.0
    assert 3.7 < size(width=8, depth=4) / size(width=8, depth=3) < 4.3
    torch.manual_seed(11)
    net = AttentionResUNetFG(width=4, depth=4)
    kinds = {type(module).__name__ for module in net.modules()}
    assert 'GroupNorm' in kinds
    assert not any('BatchNorm' in kind or 'Dropout' in kind for kind in kinds)
    for p in net.parameters():
        p.data += 0.5 * torch.randn_like(p)
    for shape in ((8, 8), (24, 40)):
        log_flat, gradient, sure = net(torch.randn(2, 4, *shape))
        assert log_flat.shape == gradient.shape == sure.shape == (2, 1, *shape)
        assert 0 <= sure.min() < sure.max() <= 1
    # The heads of the fields are linear: they can be of either sign.
    x = torch.randn(1, 4, 16, 16)
    first = net(x)
    with torch.no_grad():
        net.heads.weight[:2] *= -2
        net.heads.bias[:2] *= -2
    second = net(x)
    for i in (0, 1):
        assert first[i].abs().max() > 1e-3
        assert torch.allclose(second[i], -2 * first[i], atol=1e-5)
    assert torch.equal(first[2], second[2])
    with pytest.raises(ValueError, match='depth'):
        AttentionResUNetFG(depth=0)


def test_attention_unet_parity(tmp_path):
    """The ONNX file gives the same in another batch and size."""
    pytest.importorskip('onnxscript')
    from astroflat.training.attention_unet import AttentionResUNetFG
    from astroflat.training.export import check_parity, export_onnx

    net = AttentionResUNetFG(width=4, depth=2)
    torch.manual_seed(12)
    path = tmp_path / 'net.onnx'
    names = ('log_flat', 'gradient', 'confidence')
    export_onnx(net, path, [torch.rand(2, 4, 16, 12)], output_names=names)
    assert check_parity(net, path, [torch.rand(1, 4, 24, 32)]) <= 1e-4


# ------------------------------------------------------------ the run
def settings(steps: int, **options) -> FitSettings:
    """Settings of a short run."""
    return FitSettings(
        steps=steps, rate=4e-3, average=0.8, log_every=5, seed=2, **options
    )


def rows(path) -> list[dict]:
    """Rows of a table."""
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def data(fixed_pool, monkeypatch) -> FlatData:
    """A pool without workers that costs nothing to make."""
    fixed = fixed_pool()

    def producer(rng, size):
        i = rng.integers(6)
        return {k: v[i].numpy() for k, v in fixed.arrays.items()}

    monkeypatch.setattr('astroflat.training.flat._PRODUCERS', ((producer, 1.0),))
    monkeypatch.setattr(
        'astroflat.training.flat_validation._PRODUCERS', ((producer, 1.0),)
    )
    return FlatData(
        batch=4, size=64, first=8, pool=8, workers=0, validation=8, curriculum=0.5
    )


def train(folder, steps, data, **options):
    """Train narrow networks."""
    return train_flat(
        folder,
        settings(steps, **options),
        data=data,
        model=small_nets(),
        say=lambda _: None,
    )


def mean_loss(model, held) -> float:
    """Loss over batches."""
    with torch.no_grad():
        return float(np.mean([float(flat_loss(model, b)['loss']) for b in held]))


def test_training_lowers_the_loss(tmp_path, data):
    """Twenty steps make the networks better on frames that they have not seen."""
    held = make_validation(8, size=64)
    before, losses = measure_flat(small_nets(), held), [mean_loss(small_nets(), held)]
    result = train(tmp_path, 20, data)
    after = measure_flat(result.average, held)
    losses.append(mean_loss(result.average, held))
    assert losses[1] < 0.8 * losses[0]
    assert after == result.validation
    for name in ('flat', 'sky', 'dust'):
        assert after[name] < 0.8 * before[name], name
        assert after.get(f'{name}_none') == before.get(f'{name}_none')
    log = rows(tmp_path / 'log.csv')
    assert [row['step'] for row in log] == ['5', '10', '15', '20']
    assert len(rows(tmp_path / 'validation.csv')) == 1
    for name in ('flat.safetensors', 'validation.json'):
        assert (tmp_path / name).exists()
    pytest.importorskip('matplotlib')
    for name in ('curves.png', 'samples.png'):
        assert (tmp_path / name).stat().st_size > 5000


@pytest.mark.parametrize('parts', ['fields', 'dust'])
def test_other_network_stays(tmp_path, data, parts):
    """Where one network is trained, the other comes out as it went in."""
    result = train(tmp_path, 3, replace(data, parts=parts))
    before = small_nets().state_dict()
    for model in (result.model, result.average):
        state = model.state_dict()
        same = {k for k, values in before.items() if torch.equal(values, state[k])}
        assert same.isdisjoint({f'{parts}.head.weight', f'{parts}.encoder.stem.weight'})
        assert {k for k in before if not k.startswith(parts)} <= same


def test_resumed_run_is_the_same(tmp_path, data):
    """Four steps, stopped after two and gone on with, are four steps at once."""
    whole = train(tmp_path / 'whole', 4, data, save_every=2)
    calls = []
    compose = FrameComposer.compose

    def stopped(self, n):
        calls.append(1)
        if len(calls) == 5:  # Two of the validation, two steps.
            raise KeyboardInterrupt
        return compose(self, n)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FrameComposer, 'compose', stopped)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / 'parts', 4, data, save_every=2)
    state = json.loads((tmp_path / 'parts' / 'checkpoint.json').read_text())
    assert 0 < state['step'] < 4
    parts = train(tmp_path / 'parts', 4, data, save_every=2)
    theirs = parts.model.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in whole.model.state_dict().items())


def test_validation_is_static(tmp_path, data):
    """The seed decides the frames; the manifest tells others."""
    manifest = validation_manifest(make_validation(8, size=64), seed=2026)
    again = validation_manifest(make_validation(8, size=64), seed=2026)
    other = validation_manifest(make_validation(8, size=64, seed=1), seed=1)
    assert manifest == again
    assert manifest['frames'] >= 8
    assert manifest['sha256'] != other['sha256']
    check_manifest(manifest, tmp_path / 'validation.json')
    check_manifest(again, tmp_path / 'validation.json')
    with pytest.raises(ValueError, match='other validation frames'):
        check_manifest(other, tmp_path / 'validation.json')


def test_data_are_checked():
    """Options that cannot be are named."""
    with pytest.raises(ValueError, match='size must be a multiple of 64, not 100'):
        FlatData(size=100)
    with pytest.raises(ValueError, match=r'share must be between 0 and 1, not 1\.5'):
        FlatData(share=1.5)
    with pytest.raises(ValueError, match='nebulae must be between 0 and 1, not 2'):
        FlatData(nebulae=2)
    with pytest.raises(ValueError, match='day must be between 0 and 1, not -1'):
        FrameOptions(day=-1)
    with pytest.raises(ValueError, match=r"parts must be one of .*, not 'all'"):
        FlatData(parts='all')


def test_share_of_nebulae(tmp_path, monkeypatch):
    """Nights are shared out to nebulae, stars and own images; days stay."""
    from PIL import Image

    from astroflat.training import pools

    nebulae, stars, *rest = FlatData(nebulae=0.75).producers()
    assert np.allclose((nebulae[1], stars[1]), (0.3, 0.1))
    assert rest == [(pools.draw_day, 0.3), (pools.draw_components, 0.3)]
    assert len(FlatData(nebulae=1.0).producers()) == 3
    Image.fromarray(np.ones((64, 64), 'u1')).save(tmp_path / 'a.png')
    mixed = FlatData(nebulae=0.5, images=tmp_path, share=0.5).producers()
    assert np.allclose([share for _, share in mixed], [0.1, 0.1, 0.2, 0.3, 0.3])
    kinds: list[str] = []

    def scene(shape, *, kind, **_):
        kinds.append(kind)
        return np.full(shape, 1000.0)

    monkeypatch.setattr('astroflat.degradation.make_scene', scene)
    rng = np.random.default_rng(3)
    for draw, n in (
        (nebulae[0], 3),
        (stars[0], 4),
        (pools.draw_night, 7),
    ):
        kinds.clear()
        assert not any(draw(rng, 8)['night'].any() for _ in range(60))
        assert len(set(kinds)) == n
        assert all('nebula' in kind for kind in kinds) == (n == 3)
        assert any('nebula' in kind for kind in kinds) == (n != 4)


# ------------------------------------------------------------ own images
def test_own_images(tmp_path):
    """A FITS and a colour PNG become skies; the shares are kept."""
    from astropy.io import fits
    from PIL import Image

    from astroflat import AstroflatWarning
    from astroflat.training.user_images import OwnImages, as_sky

    rng = np.random.default_rng(5)
    frame = rng.normal(400, 4, (150, 200)).astype('f4')
    frame[70, 90] = np.nan
    fits.writeto(tmp_path / 'a.fits', frame)
    colour = rng.integers(90, 110, (64, 80, 3), dtype='u1')
    Image.fromarray(colour).save(tmp_path / 'b.png')
    (tmp_path / 'notes.txt').write_text('no image')
    images = OwnImages(tmp_path)
    assert [path.name for path in images.paths] == ['a.fits', 'b.png']
    skies = [images(rng, 64)['night'].astype(float) for _ in range(12)]
    assert {sky.shape for sky in skies} == {(64, 64)}
    assert all(abs(np.median(sky)) < 0.01 for sky in skies)
    assert {bool(sky.std() < 0.02) for sky in skies} == {True, False}
    # A sky that was subtracted gets one of thirty times the noise.
    assert abs(as_sky(rng.normal(0, 7, (200, 200))).std() - 1 / 30) < 2e-3
    shares = [share for _, share in FlatData(images=tmp_path).producers()]
    assert np.allclose(shares, [0.28, 0.12, 0.3, 0.3])
    fits.writeto(tmp_path / 'b.fits', frame[:20])
    (tmp_path / 'c.fits').write_bytes(b'SIMPLE')
    images = OwnImages(tmp_path)
    with pytest.warns(AstroflatWarning, match='left out') as caught:
        assert all(images(rng, 100) for _ in range(30))
    assert [path.name for path in images.paths] == ['a.fits']
    assert len(caught) == 3
    with pytest.raises(ValueError, match=r'no image can be used.* 500 are needed'):
        images(rng, 500)
    with pytest.raises(ValueError, match='no FITS, TIFF, PNG or JPEG'):
        OwnImages(tmp_path / 'nowhere')


def test_pool_without_workers_is_exact():
    """Every name is filled by its producers, in proportion, from the seed."""

    def night(rng, size):
        return {'night': rng.random((size, size), dtype='f4')}

    def own(rng, size):
        return {'night': -rng.random((size, size), dtype='f4')}

    def day(rng, size):
        return {'day': np.ones((size, size), 'f4')}

    made = []
    for _ in range(2):
        producers = ((night, 0.5), (own, 0.5), (day, 1.0))
        pool = ArrayPool(producers, size=4, capacity=40, n_workers=0, seed=3)
        pool.wait(['night', 'day'], 40)
        made.append(pool.arrays)
    assert torch.equal(made[0]['night'], made[1]['night'])
    assert 10 <= int((made[0]['night'][:, 0, 0] < 0).sum()) <= 30
    assert pool.filled('day') == 40
