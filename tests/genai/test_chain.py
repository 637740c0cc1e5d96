# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Whatever the adviser says: pixels off the dilated mask stay as they are, to the bit.
"""

from __future__ import annotations

import json
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
from fake_gemini import FakeGemini, Raw, blob, image, reply, sent_images, shapes, text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import astroflat as af
from astroflat import genai
from astroflat.genai import GeminiDetector, GeminiInpainter
from astroflat.pipelines import DustFlatOptions

pytest.importorskip('google.genai')

SHAPE = (64, 96)
coordinate = st.one_of(
    st.floats(-20, 1020),
    st.integers(-50, 1050),
    st.sampled_from(
        [0, 500, 1000, float('nan'), float('inf'), -1e300, 10**30, None, '7']
    ),
)
item = st.fixed_dictionaries(
    {
        'kind': st.sampled_from(['disc', 'donut', 'speck', 'fibre', 'virus']),
        'box_2d': st.one_of(
            st.lists(coordinate, min_size=3, max_size=5),
            st.tuples(
                st.floats(0, 900), st.floats(0, 900), st.floats(0, 99), st.floats(0, 99)
            ).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]),
        ),
        'confidence': st.sampled_from([0.1, 0.5, 0.9, 1, 2, -1]),
    },
    optional={'polygon': st.lists(st.lists(coordinate, max_size=3), max_size=6)},
)
answers = st.one_of(
    st.lists(item, max_size=4).map(lambda o: shapes(*o)),
    st.text(max_size=40).map(lambda t: reply(text(t))),
    st.binary(max_size=60).map(Raw),
    st.binary(max_size=60).map(lambda b: reply(blob(b, 'image/png'))),
    st.sampled_from(
        [400, 403, 404, 408, 429, 500, 503, reply(), reply(finish='SAFETY')]
    ),
)


def scene(seed, bad=False):
    """Return a noisy image, maybe with bad pixels."""
    rng = np.random.default_rng(seed)
    data = rng.normal(1000, 5, SHAPE).astype('f4')
    data[20:28, 30:38] *= 0.8
    if bad:
        data[rng.random(SHAPE) < 0.02] = np.nan
    return data


@contextmanager
def quietly():
    """Allow the warnings of falling back."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', af.AstroflatWarning)
        yield


@pytest.fixture(scope='module')
def server():
    """Return one server for all examples."""
    with FakeGemini(shapes()) as fake:
        yield fake


FAST = {'cache': False, 'attempts': 1, 'delay': 0.0, 'timeout': 5.0}
relaxed = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def check_chain(data, found, inpainter):
    """Run what follows the detection, and look at the pixels off the mask."""
    assert found.mask.dtype == bool
    assert found.mask.shape == data.shape
    assert np.isfinite(found.probability).all()
    grown = af.dilate_mask(found.mask, radius=2)
    weight = af.feather_mask(grown, sigma=1)
    hole = weight > 0
    if not np.isfinite(data[~hole]).any():
        return
    before = data.copy()
    with quietly():
        clean = af.inpaint(data, hole, method=inpainter)
    assert np.array_equal(data, before, equal_nan=True)
    assert np.array_equal(clean[~hole], data[~hole], equal_nan=True)
    flat = af.synthetic_flat(data, clean, weight)
    assert (flat.data[~hole] == 1).all()
    assert np.isfinite(flat.data).all()
    corrected = af.FlatSolution(flat).correct(data)
    off = ~hole & np.isfinite(data)
    assert np.array_equal(corrected[off], data[off])


@relaxed
@given(answer=answers, seed=st.integers(0, 9), bad=st.booleans())
def test_random_detections(server, answer, seed, bad):
    """Random and malicious answers of the detector, through the whole chain."""
    server.replies = [answer]
    data = scene(seed, bad)
    gemini = GeminiDetector(base_url=server.url, **FAST)
    try:
        found = af.detect_dust(data, detector=gemini)
    except genai.GeminiError:
        return
    assert not found.mask[~np.isfinite(data)].any()
    check_chain(data, found, 'biharmonic')


PAINTINGS = [
    'noise',
    'as sent',
    'mask',
    'white',
    'shifted',
    'holes black',
    'holes white',
    'speckled',
    'stripe',
]


def spoiled(kind, seed):
    """Return a model of images that answers with anything."""

    def answer(request):
        picture, mask = sent_images(request)
        rng = np.random.default_rng(seed)
        other = {
            'noise': rng.random(picture.shape),
            'as sent': picture,
            'mask': mask,
            'white': np.ones(picture.shape),
            'shifted': np.roll(picture, 3, axis=1),
            'holes black': np.where(mask > 0, 0, picture),
            'holes white': np.where(mask > 0, 1, picture),
            'speckled': np.where(rng.random(picture.shape) < 0.3, 1, picture),
            'stripe': np.where(np.arange(picture.shape[1]) % 7 == 0, 0, picture),
        }[kind]
        return reply(image(other))

    return answer


@relaxed
@given(
    kind=st.sampled_from(PAINTINGS),
    seed=st.integers(0, 5),
    tolerant=st.booleans(),
    bad=st.booleans(),
)
def test_random_paintings(server, kind, seed, tolerant, bad):
    """Random fills, with and without limits, change nothing off the mask."""
    server.replies = [spoiled(kind, seed)]
    limits = {
        'mask_percent': 100, 'shift_percent': 1e9, 'residual_pixels': 1e9,
        'mismatch_percent': 1e9, 'correlation': 0, 'over_offline': 1e9,
    }  # fmt: skip
    gemini = GeminiInpainter(
        base_url=server.url,
        on_error='offline',
        offline='biharmonic',
        limits=genai.AdviserLimits(**limits if tolerant else {}),
        **FAST,
    )
    data = scene(seed, bad)
    rng = np.random.default_rng(seed)
    mask = np.zeros(SHAPE, dtype=bool)
    for y, x in rng.integers(4, 56, (3, 2)):
        mask[y - 3 : y + 3, x - 2 : x + 4] = True
    check_chain(data, af.dust.DustDetection.from_mask(mask), gemini)


@relaxed
@given(
    painted=st.sampled_from(['noise', 'edges', 'checkers', 'nothing', 'everything']),
    size=st.sampled_from([(64, 96), (816, 1232), (32, 48), (10, 200)]),
    seed=st.integers(0, 3),
)
def test_random_painted_masks(server, painted, size, seed):
    """Masks that are painted at random."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(size)
    mask = {
        'noise': rng.random(size),
        'edges': ((y < 3) | (x < 3)).astype(float),
        'checkers': ((y // 2 + x // 2) % 2).astype(float),
        'nothing': np.zeros(size),
        'everything': np.ones(size),
    }[painted]
    server.replies = [reply(image(mask))]
    gemini = GeminiDetector(base_url=server.url, answer='image', **FAST)
    data = scene(seed)
    try:
        found = af.detect_dust(data, detector=gemini)
    except genai.GeminiError:
        return
    assert found.mask.mean() <= 0.25
    check_chain(data, found, 'biharmonic')


def test_dust_flat(flat):
    """The pipeline with both advisers: header, stages, and a flat of exactly 1."""

    def both(request):
        if 'responseJsonSchema' in request['generationConfig']:
            return shapes(*flat['objects'])
        picture, mask = sent_images(request)
        return reply(text('done'), image(af.inpaint(picture, mask > 0)))

    with FakeGemini(both) as fake:
        options = DustFlatOptions(
            detector=GeminiDetector(base_url=fake.url, **FAST),
            inpainter=GeminiInpainter(base_url=fake.url, **FAST),
        )
        solution = af.dust_flat(flat['image'], options=options)
    weight = solution.stages['weight']
    assert (solution.flat.data[weight == 0] == 1).all()
    core = flat['mask']
    expected = flat['image'] / flat['truth']
    assert np.abs(solution.flat.data - expected)[core].mean() < 0.006
    assert solution.report.verdict in {'accept', 'weak'}
    meta = solution.flat.meta
    for role in 'DI':
        assert meta[f'AF{role}BY'] == 'gemini'
        assert meta[f'AF{role}MODEL'] == 'gemini-fake-001'
        assert meta[f'AF{role}RESP'] == 'mQ4Fake-Response_Id'
        assert len(meta[f'AF{role}PROMP']) == 16
        assert meta[f'AF{role}TIME'].startswith('20')
    assert sum('astroflat gemini' in line for line in meta['HISTORY']) == 2
    advice = solution.stages['advice']
    assert [s['text'] for s in advice['inpainter']] == ['done', 'done']
    assert len(advice['detector']) == 1
    json.dumps(meta['AFDRESP'])


def test_dust_flat_offline(flat, tmp_path):
    """A fall-back is in the header, from a stored stage too."""
    with FakeGemini(429) as fake:
        options = DustFlatOptions(
            inpainter=GeminiInpainter(base_url=fake.url, on_error='offline', **FAST),
        )
        headers = []
        for _ in range(2):
            with quietly():
                solution = af.dust_flat(
                    flat['image'],
                    mask=flat['mask'],
                    options=options,
                    stage_dir=tmp_path,
                )
            headers.append(solution.flat.meta)
    assert solution.stages['reused'] == ['median', 'clean']
    for meta in headers:
        assert meta['AFIBY'] == 'offline'
        assert any('no usable advice for the fill' in line for line in meta['HISTORY'])
    plain = af.dust_flat(flat['image'], mask=flat['mask'])
    assert np.array_equal(plain.flat.data, solution.flat.data)


def test_other_mask_is_another_stage(flat, tmp_path):
    """A stored fill is not taken for another mask."""
    other = np.roll(flat['mask'], 40, axis=1)
    first = af.dust_flat(flat['image'], mask=flat['mask'], stage_dir=tmp_path)
    second = af.dust_flat(flat['image'], mask=other, stage_dir=tmp_path)
    assert second.stages['reused'] == ['median']
    assert np.array_equal(
        second.flat.data, af.dust_flat(flat['image'], mask=other).flat.data
    )
    assert not np.array_equal(first.flat.data, second.flat.data)


def test_names_for_the_defaults(flat, monkeypatch):
    """'gemini' stands for the adviser with its defaults, and asks for a key."""
    monkeypatch.delenv('GEMINI_API_KEY')
    monkeypatch.setattr('astroflat.genai._keys._dotenv', dict)
    for options in ({'detector': 'gemini'}, {'inpainter': 'gemini'}):
        with pytest.raises(genai.GeminiKeyError):
            af.dust_flat(flat['image'][:100, :150], options=DustFlatOptions(**options))
