# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Gemini as the detector: the same interface, and nothing believed unchecked.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
from astropy.nddata import CCDData
from fake_gemini import FakeGemini, Raw, blob, image, reply, sent_images, shapes, text

import astroflat as af
from astroflat import genai
from astroflat.dust import DustDetection, DustDetector
from astroflat.genai import AdviserLimits, GeminiDetector

pytest.importorskip('google.genai')


def iou(a, b):
    """Return the overlap of two masks."""
    return (a & b).sum() / (a | b).sum()


def detector(server, **options):
    """Return a detector that asks a server, quickly and without a cache."""
    options = {'cache': False, 'attempts': 1, 'delay': 0.0, 'timeout': 5.0} | options
    return GeminiDetector(base_url=server.url, **options)


def painted(flat, *, shift=(0, 0), size=(816, 1232), **more):
    """Answer with the true mask as an image, in a size of a real model."""

    def answer(request):
        from skimage.transform import resize

        assert request['generationConfig']['imageConfig']['aspectRatio'] == '3:2'
        ny, nx = sent_images(request)[0].shape
        mask = np.zeros((ny, nx))
        y, x = (ny - 200) // 2, (nx - 320) // 2
        mask[y : y + 200, x : x + 320] = np.roll(flat['mask'], shift, axis=(0, 1))
        mask = resize(mask, size, order=1)
        sketch = image(np.ones((10, 10)), thought=True)
        return reply(
            text('thinking', thought=True), sketch, text('done'), image(mask), **more
        )

    return answer


def test_shapes(flat):
    """Objects in thousandths become a mask of the full resolution."""
    with FakeGemini(shapes(*flat['objects'])) as server:
        gemini = detector(server, seed=5)
        found = af.detect_dust(flat['image'], detector=gemini)
    assert isinstance(gemini, DustDetector)
    assert isinstance(found, DustDetection)
    assert iou(found.mask, flat['mask']) > 0.93
    assert len(found) == 3
    assert np.allclose(sorted(found.catalogue['depth']), [0.05, 0.08, 0.2], atol=0.01)
    assert np.allclose(found.catalogue['probability'], 0.9)
    assert found.mask.shape == found.probability.shape == found.labels.shape
    assert (found.probability > 0)[found.mask].all()
    proof = found.provenance
    assert (proof['model'], proof['response']) == (
        'gemini-fake-001',
        'mQ4Fake-Response_Id',
    )
    assert (proof['seed'], len(proof['prompt'])) == (5, 16)
    assert proof['time'].startswith('20')
    assert gemini.stages[0] is found.stages
    assert found.stages['numbers']['mask_percent'] == 100 * found.mask.mean()


def test_what_is_asked(flat):
    """One picture, the prompt with the form, the schema, the parameters."""
    import json

    with FakeGemini(shapes()) as server:
        gemini = detector(
            server,
            prompt='My words.',
            model='my-model',
            seed=11,
            parameters={
                'temperature': 0.0,
                'media_resolution': 'MEDIA_RESOLUTION_HIGH',
            },
            max_side=160,
        )
        assert not af.detect_dust(flat['image'], detector=gemini).mask.any()
    path, _, body = server.requests[0]
    content = json.loads(body)
    assert path.endswith('/models/my-model:generateContent')
    words = content['contents'][0]['parts'][0]['text']
    assert words.startswith('My words.\n\nAnswer with one JSON object')
    config = content['generationConfig']
    assert config['seed'] == 11
    assert config['temperature'] == 0.0
    assert config['mediaResolution'] == 'MEDIA_RESOLUTION_HIGH'
    assert config['responseMimeType'] == 'application/json'
    assert config['responseJsonSchema']['required'] == ['objects']
    (picture,) = sent_images(content)
    assert picture.shape == (100, 160)
    # The vignette is gone, the dust is not.
    assert 0.4 < picture[2:10, 2:10].mean() < 0.8
    assert picture[80, 30] < 0.1


def test_metadata_stay_here(flat):
    """Of a CCDData only pixels are sent."""
    ccd = CCDData(flat['image'], unit='adu', meta={'OBSERVER': 'somebody secret'})
    with FakeGemini(shapes()) as server:
        af.detect_dust(ccd, detector=detector(server))
    assert b'secret' not in server.requests[0][2]
    assert b'OBSERVER' not in server.requests[0][2]


def test_image_mask(flat):
    """A painted mask comes back in another size; the sketch is skipped."""
    with FakeGemini(painted(flat)) as server:
        gemini = detector(server, answer='image')
        found = af.detect_dust(flat['image'], detector=gemini)
    assert iou(found.mask, flat['mask']) > 0.9
    assert len(found) == 3
    assert found.stages['text'] == 'done'
    assert len(found.stages['images']) == 1
    assert len(found.stages['answer'].images) == 2
    assert found.stages['numbers']['shift_percent'] < 0.5
    # Soft edges are kept as probabilities.
    assert ((found.probability > 0.1) & (found.probability < 0.9)).any()


def test_displaced_image_mask(flat):
    """A painted mask that lies beside the dust is refused, with numbers."""
    with FakeGemini(painted(flat, shift=(0, 9))) as server:
        gemini = detector(server, answer='image')
        with pytest.raises(genai.GeminiRefusedError, match='displaced') as info:
            af.detect_dust(flat['image'], detector=gemini)
    assert abs(info.value.numbers['shift_percent'] - 100 * 9 / 320) < 0.5
    assert len(gemini.stages) == 1


def test_swapped_axes(flat):
    """Coordinates in the order x, y are found out by their place."""
    swapped = [
        item | {'box_2d': [item['box_2d'][i] for i in (1, 0, 3, 2)]}
        for item in flat['objects']
    ]
    with FakeGemini(shapes(*swapped)) as server:
        found = detector(server, limits=AdviserLimits(shift_percent=100)).detect(
            flat['image'], np.zeros(flat['mask'].shape, bool)
        )
        assert iou(found.mask, flat['mask']) < 0.1


def test_mask_of_everything(flat):
    """A mask that covers the frame is refused."""
    whole = {'kind': 'fibre', 'box_2d': [0, 0, 1000, 1000], 'confidence': 1}
    with (
        FakeGemini(shapes(whole)) as server,
        pytest.raises(
            genai.GeminiRefusedError, match=r'100\.0 % of the frame \(limit 25\)'
        ),
    ):
        af.detect_dust(flat['image'], detector=detector(server))


def test_threshold(flat):
    """Objects below the threshold show in the probability only."""
    objects = [
        o | {'confidence': c}
        for o, c in zip(flat['objects'], (0.9, 0.3, 0.6), strict=True)
    ]
    with FakeGemini(shapes(*objects)) as server:
        found = af.detect_dust(flat['image'], detector=detector(server))
        strict = af.detect_dust(flat['image'], detector=detector(server, threshold=0.8))
    assert (len(found), len(strict)) == (2, 1)
    assert np.isclose(found.probability[120, 240], 0.3)


def test_bad_pixels(flat):
    """Pixels that are not finite are sent as the level, and are never dust."""
    data = flat['image'].copy()
    data[50:70, 70:90] = np.nan
    data[0, 0] = np.inf
    with FakeGemini(shapes(*flat['objects'])) as server:
        found = af.detect_dust(data, detector=detector(server))
    assert not found.mask[50:70, 70:90].any()
    assert len(found) == 2


def test_coordinate_steps():
    """In a large frame the mask is grown by half a step of the coordinates."""
    data = np.random.default_rng(0).normal(1, 0.01, (100, 4000)).astype('f4')
    item = {'kind': 'fibre', 'box_2d': [400, 500, 600, 510], 'confidence': 1}
    with FakeGemini(shapes(item)) as server:
        found = af.detect_dust(data, detector=detector(server))
    row = np.flatnonzero(found.mask[50])
    assert (row.min(), row.max()) == (2000 - 2, 2039 + 2)


def test_reroll(flat):
    """After an answer of no use the next seed is asked, as often as allowed."""
    import json

    with FakeGemini(reply(text('sorry')), reply(), shapes(*flat['objects'])) as server:
        gemini = detector(server, rerolls=2, seed=7)
        found = af.detect_dust(flat['image'], detector=gemini)
        assert len(found) == 3
        seeds = [
            json.loads(b)['generationConfig']['seed'] for _, _, b in server.requests
        ]
        assert seeds == [7, 8, 9]
        assert found.provenance['seed'] == 9
        assert [s['text'] for s in gemini.stages][:2] == ['sorry', '']
        again = gemini.reroll()
        assert (again.seed, again.stages) == (8, [])
        server.replies = [reply(text('sorry'))]
        with pytest.raises(genai.GeminiMalformedError):
            af.detect_dust(flat['image'], detector=detector(server, rerolls=1))
    assert len(server.requests) == 5


def test_no_reroll_of_refusals_of_the_service(flat):
    """Another seed does not help against a missing quota."""
    with FakeGemini(429) as server, pytest.raises(genai.GeminiQuotaError):
        af.detect_dust(flat['image'], detector=detector(server, rerolls=3))
    assert len(server.requests) == 1


def test_cache(flat, tmp_path, monkeypatch):
    """The same question is not asked twice, nor is a key needed for it."""
    with FakeGemini(shapes(*flat['objects'])) as server:
        gemini = detector(server, cache=tmp_path)
        first = af.detect_dust(flat['image'], detector=gemini)
        monkeypatch.delenv('GEMINI_API_KEY')
        monkeypatch.setitem(sys.modules, 'google.genai', None)
        second = af.detect_dust(flat['image'], detector=gemini)
        assert len(server.requests) == 1
    assert np.array_equal(first.mask, second.mask)
    assert not first.provenance['cached']
    assert second.provenance == first.provenance | {'cached': True}
    with pytest.raises(genai.GeminiKeyError):
        af.detect_dust(flat['image'] + 50, detector=gemini.reroll())


def test_useless_answers_are_not_kept(flat, tmp_path):
    """A malformed answer is asked for again next time."""
    with FakeGemini(reply(text('sorry')), shapes()) as server:
        gemini = detector(server, cache=tmp_path)
        with pytest.raises(genai.GeminiMalformedError):
            af.detect_dust(flat['image'], detector=gemini)
        assert not list(tmp_path.glob('*.json'))
        af.detect_dust(flat['image'], detector=gemini)
    assert len(server.requests) == 2


@pytest.fixture(scope='module')
def classical(flat):
    """Return what the classical detector finds in a part of the flat."""
    found = af.detect_dust(flat['image'][30:100, 40:120], min_depth=0.01)
    assert len(found) == 1
    return found.mask


FAULTS = {
    'quota': 429,
    'server': 500,
    'key': 403,
    'prose': reply(text('I cannot see any dust.')),
    'blocked': reply(finish='SAFETY'),
    'empty': reply(),
    'slow': Raw(b'{}', pause=0.6),
    'everything': shapes(
        {'kind': 'fibre', 'box_2d': [0, 0, 1000, 1000], 'confidence': 1}
    ),
}


@pytest.mark.parametrize('kind', FAULTS)
def test_offline_instead(flat, kind, classical):
    """With on_error='offline' the classical detector answers, with a warning."""
    small = flat['image'][30:100, 40:120]
    with FakeGemini(FAULTS[kind]) as server:
        gemini = detector(
            server, on_error='offline', timeout=0.3, offline={'min_depth': 0.01}
        )
        with pytest.warns(af.AstroflatWarning, match='the offline method is used'):
            found = af.detect_dust(small, detector=gemini)
    assert np.array_equal(found.mask, classical)
    assert 'fallback' in found.provenance
    assert isinstance(found.stages['error'], genai.GeminiError)


def test_offline_without_key(flat, monkeypatch, tmp_path):
    """So it does without a key."""
    monkeypatch.delenv('GEMINI_API_KEY')
    monkeypatch.chdir(tmp_path)
    gemini = GeminiDetector(on_error='offline')
    with pytest.warns(af.AstroflatWarning, match='no key'):
        found = af.detect_dust(flat['image'][:100, :150], detector=gemini)
    assert len(found) == 1


ODD = {
    'one pixel': np.ones((1, 1)),
    'a row': np.random.default_rng(0).random((1, 50)),
    'a column': np.random.default_rng(0).random((50, 1)),
    'zeros': np.zeros((30, 40)),
    'constant': np.full((30, 40), 7.0),
    'negative': -np.random.default_rng(0).random((30, 40)),
    'huge': 1e30 * np.random.default_rng(0).random((30, 40)),
    'tiny': 1e-30 * np.random.default_rng(0).random((30, 40)),
    'integers': np.arange(1200, dtype=np.uint16).reshape(30, 40),
    'one good pixel': np.where(np.arange(1200).reshape(30, 40) == 5, 1.0, np.nan),
}


@pytest.mark.parametrize('kind', ODD)
def test_odd_images(kind):
    """Images without any sense are asked about without a crash."""
    objects = [
        {'kind': 'disc', 'box_2d': [100, 100, 400, 400], 'confidence': 1},
        {'kind': 'speck', 'box_2d': [800, 800, 800, 800], 'confidence': 1},
        {'kind': 'fibre', 'box_2d': [500, 0, 600, 1000], 'confidence': 1},
    ]
    limits = AdviserLimits(mask_percent=100, shift_percent=100)
    with FakeGemini(shapes(*objects)) as server:
        found = af.detect_dust(ODD[kind], detector=detector(server, limits=limits))
    assert found.mask.shape == ODD[kind].shape
    assert not found.mask[~np.isfinite(ODD[kind])].any()


@pytest.mark.parametrize(
    'options',
    [
        {'answer': 'video'},
        {'threshold': 0.0},
        {'on_error': 'ignore'},
        {'rerolls': -1},
        {'attempts': 0},
        {'timeout': 0.0},
        {'timeout': float('nan')},
        {'delay': -1.0},
        {'max_side': 3},
    ],
)
def test_wrong_options(options):
    """A setting that makes no sense is named, with its value."""
    name, value = next(iter(options.items()))
    with pytest.raises(ValueError, match=name) as info:
        GeminiDetector(**options)
    assert repr(value) in str(info.value)


@pytest.mark.parametrize('value', [-1.0, float('nan'), float('inf')])
def test_wrong_limits(value):
    """A limit is a number of at least 0."""
    with pytest.raises(ValueError, match='correlation'):
        AdviserLimits(correlation=value)


HOSTILE = {
    'wrong mime': reply(blob(b'<svg onload="x"/>', 'image/png')),
    'path': reply(blob(b'\x89PNG/../../etc', '../../../etc/passwd')),
    'text': reply(text('../../../etc/passwd')),
    'thoughts only': reply(image(np.ones((8, 12)), thought=True)),
    'square': reply(image(np.zeros((64, 64)))),
    'white': reply(image(np.ones((80, 120)))),
}


@pytest.mark.parametrize('kind', HOSTILE)
def test_hostile_images(flat, kind, tmp_path):
    """What is no mask is refused, and writes nothing anywhere."""
    with FakeGemini(HOSTILE[kind]) as server:
        gemini = detector(server, answer='image', cache=tmp_path / 'a')
        with pytest.raises(genai.GeminiError):
            af.detect_dust(flat['image'], detector=gemini)
    # The empty folders are those of the cache of astropy.
    names = {p.name for p in tmp_path.rglob('*')} - {'cache', 'a', 'astropy'}
    # Only an answer that is whole, and refused by its size, is kept.
    assert names <= {f'{gemini.stages[0]["request"].digest}.json'}
    genai.write_advice(gemini.stages, tmp_path / 'written')
    assert {p.suffix for p in (tmp_path / 'written').iterdir()} <= {
        '.json',
        '.bin',
        '.png',
    }


def test_dry_run_sends_nothing(flat, monkeypatch):
    """It needs no key, opens no connection, and carries out of any job."""
    monkeypatch.delenv('GEMINI_API_KEY')
    with FakeGemini(shapes()) as server:
        gemini = detector(server, stop_before_sending=True)
        request = gemini.dry_run(flat['image'])
        body = request.body()
        with pytest.raises(genai.DryRunStop) as info:
            af.detect_dust(flat['image'], detector=gemini)
        with pytest.raises(genai.DryRunStop):
            af.dust_flat(
                flat['image'], options=af.pipelines.DustFlatOptions(detector=gemini)
            )
    assert not server.requests
    assert info.value.request.body() == body
    assert 'not sent' in str(request)
