# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Gemini as the inpainter: put in place, scaled, compared, and kept to the mask.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData, StdDevUncertainty
from fake_gemini import FakeGemini, image, reply, sent_images, text
from scipy import ndimage

import astroflat as af
from astroflat import genai
from astroflat.dust import Inpainter
from astroflat.genai import AdviserLimits, GeminiInpainter

pytest.importorskip('google.genai')


def inpainter(server, **options):
    """Return an inpainter that asks a server, quickly and without a cache."""
    options = {'cache': False, 'attempts': 1, 'delay': 0.0, 'timeout': 5.0} | options
    return GeminiInpainter(base_url=server.url, **options)


def painter(*, gain=1.0, offset=0.0, shift=(0.0, 0.0), zoom=1.0, spoil=None):
    """Return a model that fills holes well and changes the rest as told."""

    def answer(request):
        picture, mask = sent_images(request)
        # It has to guess no worse than the method that it is compared with.
        out = af.inpaint(picture, mask > 0)
        if spoil is not None:
            out = spoil(out, mask > 0)
        out = ndimage.shift(out, shift, order=3, mode='nearest')
        out = ndimage.zoom(out, zoom, order=1)
        sketch = image(np.zeros((8, 8)), thought=True)
        return reply(sketch, text('restored'), image(gain * out + offset))

    return answer


@pytest.fixture(scope='module')
def scene():
    """Return a textured image, its truth, and a mask."""
    y, x = np.mgrid[:180, :320]
    rng = np.random.default_rng(2)
    texture = ndimage.gaussian_filter(rng.normal(size=(180, 320)), 4)
    truth = 2000 * (1 + 0.5 * texture) * (1 - 0.2 * ((x - 150) / 320) ** 2)
    data = (truth + rng.normal(0, 4, truth.shape)).astype('f4')
    mask = np.zeros(truth.shape, dtype=bool)
    for cy, cx, r in [(50, 60, 5), (120, 200, 7), (90, 280, 4), (150, 90, 3)]:
        mask |= np.hypot(y - cy, x - cx) <= r
    data[mask] *= 0.9
    return {'data': data, 'truth': truth, 'mask': mask}


def error(filled, scene):
    """Return the error under the mask in per cent."""
    inside = scene['mask']
    return 100 * np.sqrt(np.mean((filled / scene['truth'] - 1)[inside] ** 2))


def test_fill(scene):
    """A faithful answer is followed; everything else stays to the bit."""
    before = scene['data'].copy()
    with FakeGemini(painter(zoom=2.0)) as server:
        gemini = inpainter(server, seed=3)
        filled, sigma = af.inpaint(
            scene['data'], scene['mask'], method=gemini, return_uncertainty=True
        )
    assert isinstance(gemini, Inpainter)
    assert filled.dtype == np.float32
    assert np.array_equal(filled[~scene['mask']], before[~scene['mask']])
    assert np.array_equal(scene['data'], before)
    assert error(filled, scene) < 1.2
    assert error(before, scene) > 9
    assert np.isfinite(sigma[scene['mask']]).all()
    # One request for the holes and for the control holes.
    assert len(server.requests) == 1
    # The deviation that is claimed is of the size of the error that is made.
    claimed = 100 * np.sqrt(np.mean((sigma / scene['truth'])[scene['mask']] ** 2))
    assert 0.3 < claimed / error(filled, scene) < 3
    stage = gemini.stages[0]
    assert stage['text'] == 'restored'
    assert len(stage['images']) == 1
    assert stage['provenance']['seed'] == 3
    assert stage['painted'].shape == filled.shape


@pytest.mark.parametrize(
    ('change', 'largest'),
    [
        ({'gain': 0.8, 'offset': 0.1}, 1.2),
        # As published answers were: 5 % darker, with an offset, and displaced.
        ({'gain': 0.95, 'offset': 0.04, 'shift': (1.7, -2.2)}, 1.6),
        ({'shift': (-2.0, 0.0), 'zoom': 1.5}, 1.8),
    ],
)
def test_answer_is_brought_back(scene, change, largest):
    """Another gain, another offset, another size, a shift: measured and undone."""
    with FakeGemini(painter(**change)) as server:
        gemini = inpainter(server)
        filled = af.inpaint(scene['data'], scene['mask'], method=gemini)
    assert error(filled, scene) < largest
    numbers = gemini.stages[0]['numbers']
    moved = np.hypot(*change.get('shift', (0, 0)))
    assert abs(numbers['shift_percent'] * 3.2 - moved) < 0.6
    assert numbers['correlation'] > 0.98


def gradient(picture, hole):
    """Make one side of an answer brighter, as models do."""
    return picture * np.linspace(0.95, 1.05, picture.shape[1])


def test_gradient_is_matched(scene):
    """A brightness that drifts across the answer is matched locally."""
    with FakeGemini(painter(spoil=gradient)) as server:
        filled = af.inpaint(scene['data'], scene['mask'], method=inpainter(server))
    assert error(filled, scene) < 1.5


def test_what_is_sent(scene):
    """Two pictures of one size; the dust itself is not among them."""
    with FakeGemini(painter()) as server:
        af.inpaint(scene['data'], scene['mask'], method=inpainter(server, size='4K'))
        content = json.loads(server.requests[0][2])
        request = inpainter(server, size='4K').dry_run(scene['data'], scene['mask'])
        assert request.body() == server.requests[0][2]
    picture, white = sent_images(content)
    assert picture.shape == white.shape == (180, 320)
    assert set(np.unique(white)) == {0.0, 1.0}
    assert (white[scene['mask']] == 1).all()
    # As many pixels again are control holes.
    assert 1.2 < white.sum() / scene['mask'].sum() <= 2
    assert np.ptp(picture[white > 0]) == 0
    config = content['generationConfig']
    assert config['imageConfig'] == {'aspectRatio': '16:9', 'imageSize': '4K'}
    assert config['responseModalities'] == ['TEXT', 'IMAGE']


def blank(picture, hole):
    """Paint one grey."""
    return np.full_like(picture, 0.4)


def noise(picture, hole):
    """Paint something else."""
    return np.random.default_rng(0).random(picture.shape)


def upside_down(picture, hole):
    """Turn the picture over."""
    return picture[::-1]


def black_holes(picture, hole):
    """Leave the holes black."""
    return np.where(hole, 0.0, picture)


def negative(picture, hole):
    """Exchange dark and bright."""
    return 1 - picture


REFUSED = {
    'blank': (blank, 'even grey'),
    'noise': (noise, 'resembles|differs'),
    'upside down': (upside_down, 'resembles|differs|displaced|distorted'),
    'black holes': (black_holes, 'errs'),
    'negative': (negative, 'resembles|differs|errs'),
}


@pytest.mark.parametrize('kind', REFUSED)
def test_refused(scene, kind):
    """An answer that is not the image, or not a fill, is refused with the reason."""
    spoil, reason = REFUSED[kind]
    with FakeGemini(painter(spoil=spoil)) as server:
        gemini = inpainter(server)
        with pytest.raises(genai.GeminiRefusedError, match=reason):
            af.inpaint(scene['data'], scene['mask'], method=gemini)
        assert gemini.stages[0]['images']
        offline = inpainter(server, on_error='offline', offline='polynomial')
        with pytest.warns(af.AstroflatWarning, match='refused'):
            filled = af.inpaint(scene['data'], scene['mask'], method=offline)
    expected = af.inpaint(scene['data'], scene['mask'], method='polynomial')
    assert np.array_equal(filled, expected)
    assert 'fallback' in offline.provenance[-1]


def test_displaced_too_far(scene):
    """Beyond the limit a displacement is not undone but refused."""
    limits = AdviserLimits(shift_percent=0.5)
    with (
        FakeGemini(painter(shift=(2.5, 0))) as server,
        pytest.raises(
            genai.GeminiRefusedError, match=r'displaced by 0\.\d+ % .*limit 0\.5'
        ) as info,
    ):
        af.inpaint(
            scene['data'], scene['mask'], method=inpainter(server, limits=limits)
        )
    assert abs(info.value.numbers['shift_percent'] - 100 * 2.5 / 320) < 0.2


def test_featureless_flat(flat):
    """Where nothing can be registered, the control holes still decide."""
    with FakeGemini(painter()) as server:
        gemini = inpainter(server)
        filled = af.inpaint(flat['image'], flat['mask'], method=gemini)
    inside = flat['mask']
    assert np.abs((filled / flat['truth'] - 1)[inside]).max() < 0.01
    assert np.array_equal(filled[~inside], flat['image'][~inside])


def test_downsized(scene):
    """A picture sent smaller comes back in full size."""
    with FakeGemini(painter()) as server:
        gemini = inpainter(server, max_side=160)
        filled = af.inpaint(scene['data'], scene['mask'], method=gemini)
        picture, white = sent_images(json.loads(server.requests[0][2]))
    assert picture.shape == (90, 160)
    # Holes, controls and the pixels that they touch.
    assert scene['mask'].mean() < white.mean() < 4 * scene['mask'].mean()
    assert error(filled, scene) < 2
    assert np.array_equal(filled[~scene['mask']], scene['data'][~scene['mask']])


def test_containers(scene):
    """Unit, mask, uncertainty and header survive; NaN stays where it is."""
    data = scene['data'].copy()
    data[5, 5] = np.nan
    ccd = CCDData(
        data,
        unit=u.adu,
        uncertainty=StdDevUncertainty(np.full(data.shape, 4, 'f4')),
        meta={'OBJECT': 'M1'},
    )
    with FakeGemini(painter()) as server:
        filled = af.inpaint(ccd, scene['mask'], method=inpainter(server))
    assert filled.unit == u.adu
    assert np.isnan(filled.data[5, 5])
    assert np.isfinite(filled.data[scene['mask']]).all()
    sigma = filled.uncertainty.array
    assert (sigma[~scene['mask']] == 4).all()
    assert filled.meta['OBJECT'] == 'M1'
    assert filled.meta['NINPAINT'] == scene['mask'].sum()
    assert 'GeminiInpainter' in str(filled.meta['HISTORY'])
    assert filled.meta['AFIRESP'] == 'mQ4Fake-Response_Id'
    assert filled.meta['AFINUMB'] == 1
    with FakeGemini(painter()) as server:
        silent = af.inpaint(
            ccd, scene['mask'], method=inpainter(server), add_keyword=False
        )
    assert 'AFIRESP' not in silent.meta


def test_colours(scene):
    """Each plane is a request of its own."""
    cube = np.stack([scene['data'], scene['data'] * 0.5], axis=-1)
    with FakeGemini(painter()) as server:
        gemini = inpainter(server)
        cube = np.concatenate([cube, cube[..., :1]], axis=-1)
        filled = af.inpaint(cube, scene['mask'], method=gemini)
    assert len(server.requests) == 3
    assert np.array_equal(filled[~scene['mask']], cube[~scene['mask']])


def test_reroll(scene):
    """A refused answer is followed by one with another seed."""
    with FakeGemini(painter(spoil=blank), painter()) as server:
        gemini = inpainter(server, rerolls=1)
        af.inpaint(scene['data'], scene['mask'], method=gemini)
    seeds = [json.loads(b)['generationConfig']['seed'] for _, _, b in server.requests]
    assert seeds == [0, 1]
    assert len(gemini.stages) == 2


def test_no_room_for_controls():
    """Without room for a control hole the fill is taken, and less is claimed."""
    data = np.random.default_rng(0).normal(100, 1, (16, 20)).astype('f4')
    mask = np.zeros(data.shape, bool)
    mask[3:13, 3:17] = True
    with FakeGemini(painter()) as server:
        filled, sigma = af.inpaint(
            data, mask, method=inpainter(server), return_uncertainty=True
        )
    assert np.abs(filled[mask] - 100).max() < 5
    assert (sigma[mask] > 0.3).all()


def test_even_image():
    """Rounding is no structure that an answer would have to repeat."""
    data = np.full((60, 90), 7.0)
    mask = np.zeros(data.shape, dtype=bool)
    mask[30:34, 40:46] = True

    def faint(picture, hole):
        ramp = np.linspace(-1, 1, picture.size).reshape(picture.shape)
        return picture + ramp / 255

    with FakeGemini(painter(spoil=faint)) as server:
        filled = af.inpaint(data, mask, method=inpainter(server))
    assert np.abs(filled - 7).max() < 0.01


def test_wrong_size():
    """A size that no model knows is named."""
    with pytest.raises(ValueError, match='8K'):
        GeminiInpainter(size='8K')
