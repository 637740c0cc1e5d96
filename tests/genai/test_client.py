# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What the service can do to us, and what we do then.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from itertools import pairwise

import pytest
from fake_gemini import FakeGemini, Raw, blob, image, reply, shapes, text

from astroflat import genai
from astroflat.genai import _client
from astroflat.genai._answer import check_finished
from astroflat.genai._client import Patience, draft, send
from astroflat.genai._keys import Secret

pytest.importorskip('google.genai')

KEY = Secret('some-key')
QUICK = Patience(timeout=5.0, attempts=2, delay=0.0)


def ask(server, patience=QUICK, **more):
    """Ask a server something small."""
    request = genai.GeminiRequest('m', 'why?', (b'\x89PNG',), {'seed': 1}, server.url)
    return send(request, KEY, patience, **more)


@pytest.mark.parametrize(
    ('status', 'error', 'n_requests'),
    [
        (400, genai.GeminiRequestError, 1),
        (401, genai.GeminiKeyError, 1),
        (403, genai.GeminiKeyError, 1),
        (404, genai.GeminiRequestError, 1),
        (408, genai.GeminiTimeoutError, 2),
        (429, genai.GeminiQuotaError, 2),
        (500, genai.GeminiServerError, 2),
        (503, genai.GeminiServerError, 2),
    ],
)
def test_status(status, error, n_requests):
    """Each status has its class; only what may pass is tried again."""
    with FakeGemini(status) as server, pytest.raises(error) as info:
        ask(server)
    assert type(info.value) is error
    assert len(server.requests) == n_requests
    assert info.value.__context__ is None


@pytest.mark.parametrize('status', [408, 429, 500, 503])
def test_recovers(status):
    """A service that is busy and then is not gives its answer."""
    with FakeGemini(status, status, shapes()) as server:
        answer = ask(server, Patience(attempts=3, delay=0.0))
    assert answer.text == '{"objects": []}'
    assert len({body for _, _, body in server.requests}) == 1
    assert len(server.requests) == 3


def test_back_off():
    """The pauses between attempts grow."""
    moments = []
    with FakeGemini(503) as server:
        original = server.next_reply
        server.next_reply = lambda: (moments.append(time.monotonic()), original())[1]
        with pytest.raises(genai.GeminiServerError):
            ask(server, Patience(attempts=4, delay=0.05))
    pauses = [b - a for a, b in pairwise(moments)]
    assert len(pauses) == 3
    assert all(
        pause >= least for pause, least in zip(pauses, (0.05, 0.1, 0.2), strict=True)
    )


def test_slow():
    """A service that says nothing is left after the timeout."""
    start = time.monotonic()
    with FakeGemini(Raw(b'{}', pause=8)) as server:
        with pytest.raises(genai.GeminiTimeoutError, match='2 attempts'):
            ask(server, Patience(timeout=0.2, attempts=2, delay=0.0))
        assert time.monotonic() - start < 4
    assert len(server.requests) == 2


def test_dripping():
    """A body that comes in drops, each in time, is left too."""
    start = time.monotonic()
    drops = Raw(json.dumps(shapes()).encode(), pieces=200, pause=0.05)
    with FakeGemini(drops) as server:
        with pytest.raises(genai.GeminiTimeoutError):
            ask(server, Patience(timeout=0.3, attempts=1, delay=0.0))
        assert time.monotonic() - start < 5


@pytest.mark.parametrize('status', [200, 500])
def test_endless(status, monkeypatch):
    """A body without an end is cut off, that of an error too."""
    monkeypatch.setattr(_client, '_LARGEST_ANSWER', 2**20)
    sent = []

    def forever():
        while True:
            sent.append(1)
            yield b' ' * 65536

    with (
        FakeGemini(Raw(forever(), status=status)) as server,
        pytest.raises(genai.GeminiMalformedError, match='larger'),
    ):
        ask(server)
    assert len(sent) < 200


def test_compressed():
    """A compressed body, which was not offered, is not unfolded."""
    bomb = gzip.compress(b' ' * 10_000_000)
    with (
        FakeGemini(Raw(bomb, Content_Encoding='gzip')) as server,
        pytest.raises(genai.GeminiMalformedError, match='compressed'),
    ):
        ask(server)
    assert server.requests[0][1]['Accept-Encoding'] == 'identity'


@pytest.mark.parametrize(
    'body',
    [
        b'',
        b'not json',
        b'[1, 2]',
        b'"text"',
        b'{"candidates": 7}',
        b'{"candidates": [{"content": {"parts": "x"}}]}',
        b'{"candidates": [{"content": {"parts": [{"inlineData": 3}]}}]}',
        b'[' * 100_000,
        b'\xff\xfe\x00',
        b'{"candidates": [{"index": 1e999}]}',
    ],
)
def test_malformed_body(body):
    """Whatever is no answer of this service is said to be malformed, or empty."""
    with FakeGemini(Raw(body)) as server, pytest.raises(genai.GeminiError) as info:
        check_finished(ask(server))
    assert isinstance(info.value, (genai.GeminiMalformedError, genai.GeminiEmptyError))


@pytest.mark.parametrize(
    'body', [b'{"candidates": []}', b'{}', b'{"candidates": null}']
)
def test_empty_body(body):
    """No candidate is an empty answer."""
    with FakeGemini(Raw(body)) as server, pytest.raises(genai.GeminiEmptyError):
        check_finished(ask(server))


@pytest.mark.parametrize(
    ('finish', 'error'),
    [
        ('SAFETY', genai.GeminiBlockedError),
        ('IMAGE_SAFETY', genai.GeminiBlockedError),
        ('RECITATION', genai.GeminiBlockedError),
        ('A_REASON_OF_NEXT_YEAR', genai.GeminiBlockedError),
        ('MAX_TOKENS', genai.GeminiMalformedError),
        ('NO_IMAGE', genai.GeminiEmptyError),
        ('STOP', genai.GeminiEmptyError),
    ],
)
@pytest.mark.filterwarnings('ignore:A_REASON_OF_NEXT_YEAR is not a valid')
def test_finish_reason(finish, error):
    """Why the model ended decides what it is worth."""
    with FakeGemini(reply(finish=finish)) as server, pytest.raises(error):
        check_finished(ask(server))


def test_blocked_prompt():
    """A prompt that was blocked has no candidates, but a reason."""
    body = {'promptFeedback': {'blockReason': 'PROHIBITED_CONTENT'}}
    with (
        FakeGemini(body) as server,
        pytest.raises(genai.GeminiBlockedError, match='PROHIBITED_CONTENT'),
    ):
        check_finished(ask(server))


def test_nobody_there():
    """A closed port is a connection error, after the attempts."""
    with FakeGemini(200) as server:
        url = server.url
    request = genai.GeminiRequest('m', 'why?', base_url=url)
    with pytest.raises(genai.GeminiConnectionError, match='not reached'):
        send(request, KEY, QUICK)


@pytest.mark.parametrize(
    'url',
    [
        'http://example.com',
        'http://localhost@example.com/',
        'http://localhost.example.com',
        'ftp://localhost',
        'https://user:pw@example.com',
        'localhost:80',
        'https://',
        'http://127.0.0.1:80@example.com',
        'http://localhost\n.example.com',
    ],
)
def test_unsafe_address(url):
    """The key is not sent without encryption."""
    request = genai.GeminiRequest('m', 'why?', base_url=url)
    with pytest.raises(genai.GeminiSetupError, match='base_url'):
        send(request, KEY, QUICK)


def test_environment_does_not_redirect(monkeypatch):
    """Variables that the client knows do not change whom we ask."""
    monkeypatch.setenv('GOOGLE_GEMINI_BASE_URL', 'http://example.com')
    monkeypatch.setenv('GOOGLE_GENAI_USE_VERTEXAI', 'true')
    request = genai.GeminiRequest('m', 'why?')
    assert request.url().startswith('https://generativelanguage.googleapis.com/v1')
    assert request.url().endswith('/models/m:generateContent')


def test_no_proxy_for_this_machine(monkeypatch):
    """A proxy in the environment gets nothing that is not encrypted."""
    with FakeGemini(shapes()) as proxy, FakeGemini(shapes()) as server:
        for name in ('http_proxy', 'HTTP_PROXY', 'ALL_PROXY'):
            monkeypatch.setenv(name, proxy.url)
        ask(server)
    assert len(server.requests) == 1
    assert not proxy.requests


def test_draft_is_what_is_sent():
    """A dry run shows the bytes that the server gets, less the key."""
    with FakeGemini(shapes()) as server:
        request = genai.GeminiRequest(
            'm', 'why?', (b'abc', b'def'), {'seed': 1, 'temperature': 0.5}, server.url
        )
        planned = draft(request)
        assert not server.requests
        send(request, KEY, QUICK)
    path, headers, body = server.requests[0]
    assert planned.content == body == request.body()
    assert planned.url == server.url + path
    assert 'some-key' not in str(planned)
    names = {name.lower() for name in headers} - {'x-goog-api-key'}
    assert names == set(planned.headers)


def test_request_body_holds_nothing_else():
    """Prompt, images and parameters: the body of a request, taken apart."""
    request = genai.GeminiRequest('m', 'why?', (b'abc',), {'seed': 7})
    # Versions of the client write either.
    body = request.body().replace(b'mimeType', b'mime_type')
    assert json.loads(body) == {
        'contents': [
            {
                'role': 'user',
                'parts': [
                    {'text': 'why?'},
                    {'inlineData': {'data': 'YWJj', 'mime_type': 'image/png'}},
                ],
            }
        ],
        'generationConfig': {'seed': 7},
    }


def test_without_the_client(monkeypatch):
    """Without google-genai the message says what to install."""
    monkeypatch.setitem(sys.modules, 'google.genai', None)
    request = genai.GeminiRequest('m', 'why?')
    for action in (request.body, lambda: send(request, KEY, QUICK)):
        with pytest.raises(genai.GeminiSetupError, match='pip install'):
            action()


def test_recorded_answer():
    """The shape of an answer with text, thoughts and images of both kinds."""
    body = reply(
        text('Let me see.', thought=True),
        image([[0.0, 1.0]], thought=True),
        text('Here it is: '),
        blob(b'first', 'image/png', thoughtSignature='AAAA'),
        text('and better.'),
        blob(b'second', 'image/jpeg'),
        promptFeedback={},
        createTime='2026-01-02T03:04:05Z',
    )
    with FakeGemini(body) as server:
        answer = ask(server)
    assert answer.text == 'Here it is: and better.'
    assert answer.thoughts == 'Let me see.'
    assert [i.thought for i in answer.images] == [True, False, False]
    assert answer.final_image().data == b'second'
    assert (answer.response_id, answer.model) == (
        'mQ4Fake-Response_Id',
        'gemini-fake-001',
    )
    assert (answer.finish, answer.tokens) == ('STOP', 1377)
    assert answer.time.endswith('+00:00')
