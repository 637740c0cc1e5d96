# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A server on this machine that speaks the REST interface of Gemini."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image


class FakeGemini:
    """
    Answer with what is queued, and note what is asked.

    Items of the queue are dictionaries (JSON bodies), callables that make one
    of the parsed request, integers (a status), or `Raw`. The last one is
    repeated for ever.
    """

    def __init__(self, *replies):
        self.replies = list(replies)
        self.requests = []
        self._server = ThreadingHTTPServer(('127.0.0.1', 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self):
        """Return its address."""
        return f'http://127.0.0.1:{self._server.server_address[1]}'

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def next_reply(self):
        """Take the next item; the last one stays."""
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def _handler(self):
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def log_message(self, *_):
                """Stay silent."""

            def do_POST(self):
                body = self.rfile.read(int(self.headers['Content-Length']))
                fake.requests.append((self.path, dict(self.headers.items()), body))
                reply = fake.next_reply()
                if callable(reply) and not isinstance(reply, Raw):
                    reply = reply(json.loads(body))
                try:
                    self.send(reply)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def send(self, reply):
                if isinstance(reply, Raw):
                    reply.send(self)
                    return
                status = reply if isinstance(reply, int) else 200
                content = fault(status) if isinstance(reply, int) else reply
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header('Content-Type', 'application/json')
                self.send_header('Content-Length', str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        return Handler


class Raw:
    """Bytes with their headers, in pieces with pauses."""

    def __init__(self, body, *, status=200, pause=0.0, pieces=1, **headers):
        self.body, self.status, self.pause, self.pieces = body, status, pause, pieces
        self.headers = {'Content-Type': 'application/json', **headers}

    def __call__(self):
        """Exist only to be told apart."""

    def send(self, handler):
        """Write the answer."""
        handler.send_response(self.status)
        for name, value in self.headers.items():
            handler.send_header(name.replace('_', '-'), value)
        if isinstance(self.body, bytes):
            handler.send_header('Content-Length', str(len(self.body)))
        else:
            handler.send_header('Connection', 'close')
            handler.close_connection = True
        if self.pause and self.pieces == 1:
            time.sleep(self.pause)
        handler.end_headers()
        for piece in self._split():
            handler.wfile.write(piece)
            handler.wfile.flush()
            if self.pieces > 1:
                time.sleep(self.pause)

    def _split(self):
        if not isinstance(self.body, bytes):
            return self.body
        step = -(-len(self.body) // self.pieces) or 1
        return [self.body[i : i + step] for i in range(0, len(self.body), step)]


MESSAGES = {
    400: ('INVALID_ARGUMENT', 'Unknown parameter.'),
    401: ('UNAUTHENTICATED', 'No.'),
    403: ('PERMISSION_DENIED', 'No.'),
    404: ('NOT_FOUND', 'models/x is not found.'),
    408: ('DEADLINE', 'Too slow.'),
    429: ('RESOURCE_EXHAUSTED', 'You exceeded your current quota.'),
    500: ('INTERNAL', 'An internal error has occurred.'),
    503: ('UNAVAILABLE', 'The model is overloaded.'),
}


def fault(status):
    """Return the body of an error, as the service writes it."""
    name, text = MESSAGES[status]
    return {'error': {'code': status, 'message': text, 'status': name}}


def reply(*parts, finish='STOP', **more):
    """Return the body of an answer, in the shape that the service gives it."""
    return {
        'candidates': [
            {
                'content': {'parts': list(parts), 'role': 'model'},
                'finishReason': finish,
                'index': 0,
            }
        ],
        'usageMetadata': {
            'promptTokenCount': 1290,
            'candidatesTokenCount': 87,
            'totalTokenCount': 1377,
        },
        'modelVersion': 'gemini-fake-001',
        'responseId': 'mQ4Fake-Response_Id',
        **more,
    }


def text(content, **more):
    """Return a part with text."""
    return {'text': content, **more}


def image(array, **more):
    """Return a part with a PNG of grey values from 0 to 1."""
    return blob(png(array), 'image/png', **more)


def blob(data, mime, **more):
    """Return a part with bytes."""
    data = base64.b64encode(data).decode()
    return {'inlineData': {'mimeType': mime, 'data': data}, **more}


def png(array):
    """Return grey values from 0 to 1 as a colour PNG."""
    grey = np.rint(255 * np.clip(array, 0, 1)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(grey).convert('RGB').save(stream, format='PNG')
    return stream.getvalue()


def sent_images(request):
    """Return the images of a parsed request, grey values from 0 to 1."""
    parts = request['contents'][0]['parts']
    found = [base64.urlsafe_b64decode(p['inlineData']['data']) for p in parts[1:]]
    return [np.asarray(Image.open(io.BytesIO(f))).astype(float) / 255 for f in found]


def shapes(*objects):
    """Return an answer with objects in JSON."""
    return reply(text(json.dumps({'objects': list(objects)})))
