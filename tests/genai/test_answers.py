# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Answers kept on disk, by the content of the question.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from astroflat.genai import GeminiRequest, clear_cache
from astroflat.genai._answer import Answer, AnswerImage
from astroflat.genai._cache import AnswerCache, default_folder
from astroflat.genai._keys import Secret
from astroflat.genai._write import write_advice

ANSWER = Answer(
    text='caf\u00e9 \x00 {"a": 1}',
    images=(
        AnswerImage('image/png', bytes(range(256)), thought=True),
        AnswerImage('../../etc/passwd', b'\x89PNG rest'),
    ),
    thoughts='hm',
    finish='STOP',
    response_id='../../x',
    model='m-1',
    time='2026-01-01T00:00:00+00:00',
    tokens=7,
)
HEAD = b'{"format": "astroflat-gemini-answer-1", '
REQUEST = GeminiRequest('m', 'why?', (b'image',), {'seed': 0})


def test_round_trip(tmp_path):
    """What is kept comes back whole, marked as kept."""
    cache = AnswerCache(tmp_path / 'new' / 'folder')
    assert cache.find(REQUEST.digest) is None
    cache.keep(REQUEST.digest, ANSWER, None)
    assert cache.find(REQUEST.digest) == replace(ANSWER, cached=True)
    (path,) = (tmp_path / 'new' / 'folder').iterdir()
    assert path.name == f'{REQUEST.digest}.json'
    assert path.stat().st_mode & 0o077 == 0


def test_key_is_not_kept(tmp_path):
    """A key that the service repeats is not written."""
    AnswerCache(tmp_path).keep(
        '0' * 64, replace(ANSWER, text='a-long-k3y'), Secret('a-long-k3y')
    )
    assert 'a-long-k3y' not in (tmp_path / f'{"0" * 64}.json').read_text()


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'{}',
        b'[]',
        b'null',
        b'{"format": "astroflat-gemini-answer-1"}',
        b'\xff\xff',
        b'[' * 50_000,
        HEAD + b'"images": [{"mime": 1, "data": "%%%", "thought": 0}], "tokens": 1}',
        HEAD + b'"images": [], "tokens": 1, "text": "x", "surprise": "y"}',
        HEAD + b'"images": [], "tokens": "many", "text": "x"}',
        HEAD + b'"images": [], "tokens": 1e999, "text": "x"}',
    ],
)
def test_damaged_file(tmp_path, content):
    """A damaged file counts as not there, and is replaced."""
    (tmp_path / f'{REQUEST.digest}.json').write_bytes(content)
    cache = AnswerCache(tmp_path)
    assert cache.find(REQUEST.digest) is None
    cache.keep(REQUEST.digest, ANSWER, None)
    assert cache.find(REQUEST.digest).text == ANSWER.text


def test_kept_whole_or_not_at_all(tmp_path, monkeypatch):
    """An answer whose writing fails leaves no file."""
    from pathlib import Path

    def fail(*_, **__):
        msg = 'disk full'
        raise OSError(msg)

    monkeypatch.setattr(Path, 'write_text', fail)
    with pytest.raises(OSError, match='disk full'):
        AnswerCache(tmp_path / 'a').keep(REQUEST.digest, ANSWER, None)
    assert not list((tmp_path / 'a').iterdir())


@pytest.mark.parametrize(
    'change',
    [
        {'model': 'n'},
        {'prompt': 'why not?'},
        {'images': (b'imagf',)},
        {'images': (b'image', b'image')},
        {'config': {'seed': 1}},
        {'base_url': 'https://example.com'},
    ],
)
def test_digest_is_of_the_whole_question(change):
    """Any other question has another name."""
    assert replace(REQUEST, **change).digest != REQUEST.digest
    assert replace(REQUEST).digest == REQUEST.digest


def test_default_folder_is_in_the_cache_of_astropy(tmp_path):
    """Nothing is kept beside the data."""
    assert default_folder().is_relative_to(tmp_path / 'cache')
    AnswerCache().keep(REQUEST.digest, ANSWER, None)
    (default_folder() / 'notes.json').write_text('{}')
    assert clear_cache() == 1
    assert [p.name for p in default_folder().iterdir()] == ['notes.json']


def test_no_cache(tmp_path):
    """Without a cache nothing is found and nothing written."""
    cache = AnswerCache(False)
    cache.keep(REQUEST.digest, ANSWER, None)
    assert cache.find(REQUEST.digest) is None
    assert not list((tmp_path / 'cache').rglob('*.json'))


def test_written_names_are_ours(tmp_path):
    """No name of a file is taken from an answer."""
    stage = {
        'text': '../../escape',
        'images': [i.data for i in ANSWER.images],
        'provenance': {'response': '../../x', 'seed': 0},
        'numbers': {'mask_percent': 1.5},
    }
    folder = tmp_path / 'advice'
    paths = write_advice([stage, {'error': ValueError('no')}], folder)
    assert sorted(p.name for p in folder.iterdir()) == [
        'answer_1.json',
        'answer_1_image_1.bin',
        'answer_1_image_2.png',
        'answer_2.json',
    ]
    assert json.loads(paths[0].read_text())['numbers'] == {'mask_percent': 1.5}
    assert (folder / 'answer_1_image_1.bin').read_bytes() == bytes(range(256))


def test_written_request(tmp_path):
    """A dry run can be looked at in files, and is not overwritten unasked."""
    pytest.importorskip('google.genai')
    REQUEST.write(tmp_path / 'r')
    assert (tmp_path / 'r' / 'image_1.png').read_bytes() == b'image'
    assert (tmp_path / 'r' / 'prompt.txt').read_text() == 'why?'
    body = (tmp_path / 'r' / 'request.json').read_bytes()
    assert body == REQUEST.body()
    with pytest.raises(FileExistsError):
        REQUEST.write(tmp_path / 'r')
