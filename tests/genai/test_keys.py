# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The key is found, used, and seen nowhere.
"""

from __future__ import annotations

import copy
import logging
import pickle
import traceback

import numpy as np
import pytest
from fake_gemini import FakeGemini, Raw, fault, reply, shapes, text

import astroflat as af
from astroflat.genai import GeminiDetector, GeminiKeyError
from astroflat.genai._keys import Secret, clean_text, find_key

pytest.importorskip('google.genai')


def test_google_wins(monkeypatch):
    """Of two keys, the one that the client of the service takes is used."""
    monkeypatch.setenv('GOOGLE_API_KEY', 'first')
    assert find_key().reveal() == 'first'


def test_spaces_are_no_key(monkeypatch):
    """A variable that is empty or blank does not count; the other one does."""
    monkeypatch.setenv('GOOGLE_API_KEY', '  ')
    monkeypatch.setenv('GEMINI_API_KEY', ' padded\n')
    assert find_key().reveal() == 'padded'


@pytest.mark.parametrize('value', ['a key', 'sch\u00f6n', 'a\x1bb'])
def test_impossible_key(monkeypatch, value):
    """What cannot be a key is refused without showing it."""
    monkeypatch.setenv('GEMINI_API_KEY', value)
    with pytest.raises(GeminiKeyError, match='GEMINI_API_KEY') as info:
        find_key()
    assert value not in str(info.value)


def test_no_key(monkeypatch, tmp_path):
    """Without a key the message says where to put it."""
    monkeypatch.delenv('GEMINI_API_KEY')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GeminiKeyError, match='GEMINI_API_KEY'):
        find_key()


def test_dotenv(monkeypatch, tmp_path):
    """A file .env is read, and the environment of the process left alone."""
    pytest.importorskip('dotenv')
    monkeypatch.delenv('GEMINI_API_KEY')
    monkeypatch.chdir(tmp_path)
    (tmp_path / '.env').write_text('GEMINI_API_KEY=from-file\nPATH=/nowhere\n')
    assert find_key().reveal() == 'from-file'
    import os

    assert 'GEMINI_API_KEY' not in os.environ
    assert os.environ['PATH'] != '/nowhere'


def test_secret_does_not_show_itself():
    """No representation, no pickle, no copy."""
    secret = Secret('visible-key')
    assert 'visible' not in f'{secret} {secret!r} {[secret]} {vars}'
    for store in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match='never stored'):
            store(secret)
    assert Secret('k').scrub('kind') == 'kind'
    assert secret.scrub('it is visible-key here') == 'it is *** here'


def test_clean_text():
    """Text from outside becomes one short line without control characters."""
    line = clean_text('a\nb\x1b[31m\x00' + 'c' * 1000)
    assert line.startswith('a b?[31m?cc')
    assert len(line) < 410


def leaks(key, *places):
    """Tell whether a key, or its larger part, is in one of the texts."""
    return any(part in place for place in places for part in (key, key[4:], key[:-4]))


BAD = {
    'echo': lambda key: Raw(
        b'{"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": '
        b'"API key not valid: ' + key.encode() + b'"}}',
        status=400,
    ),
    'forbidden': lambda key: 403,
    'server': lambda key: 500,
    'quota': lambda key: 429,
    'garbage': lambda key: Raw(b'not json'),
    'slow': lambda key: Raw(b'{}', pause=0.4),
    'redirect': lambda key: Raw(b'', status=307, Location='http://127.0.0.1:9/'),
    'text': lambda key: reply(text(key)),
}


@pytest.mark.parametrize('kind', BAD)
def test_key_is_in_no_message(kind, key, flat, caplog, capfd, tmp_path):
    """Whatever goes wrong: not in messages, tracebacks with locals, logs, files."""
    caplog.set_level(logging.DEBUG)
    cache = tmp_path / 'answers'
    with FakeGemini(BAD[kind](key)) as server:
        detector = GeminiDetector(
            base_url=server.url, attempts=2, delay=0.0, timeout=0.2, cache=cache
        )
        with pytest.raises(af.AstroflatError) as info:
            af.detect_dust(flat['image'], detector=detector)
    error = info.value
    # The first frame is that of this test, which knows the key.
    frames = error.__traceback__.tb_next
    shown = traceback.TracebackException(
        type(error), error, frames, capture_locals=True
    ).format()
    files = [p.read_text() for p in cache.rglob('*')] if cache.exists() else []
    seen = ''.join(capfd.readouterr())
    logged = '\n'.join(f'{r.getMessage()} {r.exc_info}' for r in caplog.records)
    stages = repr(detector.stages)
    assert not leaks(key, ''.join(shown), logged, seen, stages, repr(detector), *files)
    assert error.__context__ is None or not leaks(key, repr(error.__context__))
    assert server.requests[0][1]['x-goog-api-key'] == key


def test_key_is_in_no_result(key, flat, tmp_path):
    """Not in the header, the stages, the report or the cache of a good answer."""
    with FakeGemini(shapes(*flat['objects']) | {'responseId': key}) as server:
        detector = GeminiDetector(base_url=server.url, cache=tmp_path)
        found = af.detect_dust(flat['image'], detector=detector)
    assert len(found) == 3
    kept = [p.read_text() for p in tmp_path.glob('*.json')]
    assert kept
    assert not leaks(key, repr(detector), *kept)
    body = detector.dry_run(flat['image']).body()
    assert key.encode() not in body
    assert body == server.requests[0][2]


def test_no_redirect(flat):
    """A service that points elsewhere does not get the key sent there."""
    with FakeGemini(shapes()) as other:
        target = f'{other.url}/v1/models/x:generateContent'
        with FakeGemini(Raw(b'', status=307, Location=target)) as server:
            detector = GeminiDetector(base_url=server.url, cache=False)
            with pytest.raises(af.genai.GeminiConnectionError, match='redirect'):
                af.detect_dust(flat['image'], detector=detector)
        assert not other.requests


def test_fault_is_what_the_service_writes():
    """The recorded shape of an error."""
    assert fault(429)['error']['status'] == 'RESOURCE_EXHAUSTED'
    assert np.isscalar(fault(429)['error']['code'])
