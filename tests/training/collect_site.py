# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A web site on this machine that has every fault, and images to fetch from it."""

from __future__ import annotations

import io
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from PIL import Image

from astroflat.training._collect_http import Fetcher
from astroflat.training.collect import collect_images

LICENCE = 'CC BY 4.0'


def sky(seed, shape=(96, 128)):
    """Make an image that is like no other."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 1, (12, 16))
    return np.kron(coarse, np.ones((shape[0] // 12, shape[1] // 16)))


def encoded(data, kind):
    """Return an image as the bytes of a file."""
    scaled = np.clip(128 + 40 * data, 0, 255).astype('u1')
    buffer = io.BytesIO()
    if kind == 'fits':
        fits.PrimaryHDU(data.astype('f4')).writeto(buffer)
    else:
        Image.fromarray(scaled).save(buffer, kind)
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Answer from a table of pages, each with its own way to fail."""

    protocol_version = 'HTTP/1.1'

    def log_message(self, *_):
        """Say nothing."""

    def do_GET(self):
        """Answer a request."""
        site = self.server.site
        site.seen.append((self.path, dict(self.headers), time.monotonic()))
        page = site.pages.get(self.path)
        if page is None:
            self.answer(404, b'nothing here', 'text/plain')
            return
        fault = page.faults.pop(0) if page.faults else ''
        if isinstance(fault, int):
            self.answer(fault, b'later', 'text/plain', {'Retry-After': page.after})
        elif fault == 'redirect':
            self.answer(302, b'', 'text/plain', {'Location': page.body.decode()})
        else:
            self.send_body(page, fault)

    def answer(self, status, body, kind, extra=None):
        """Send an answer as a whole."""
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(body)))
        for name, value in (extra or {}).items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def send_body(self, page, fault):
        """Send a page, or the part of it that is asked for, or less."""
        body, status, start = page.body, 200, 0
        asked = self.headers.get('Range')
        if asked and page.ranges and self.headers.get('If-Range') == page.tag:
            start = int(asked.removeprefix('bytes=').rstrip('-'))
            status = 206
        self.send_response(status)
        self.send_header('Content-Type', page.kind)
        if page.tag:
            self.send_header('ETag', page.tag)
        if status == 206:
            at = start + 1 if fault == 'other part' else start
            self.send_header('Content-Range', f'bytes {at}-{len(body)}/{len(body)}')
        rest = body[start:]
        if fault == 'no length':
            self.send_header('Connection', 'close')
        elif fault == 'too short':
            self.send_header('Content-Length', str(len(rest) // 2))
        elif fault == 'too long':
            self.send_header('Content-Length', str(len(rest) + 999))
        else:
            self.send_header('Content-Length', str(len(rest)))
        self.end_headers()
        self.write(rest, fault)

    def write(self, rest, fault):
        """Write all, some, or slowly."""
        if fault == 'cut' or (fault == 'no length' and len(rest) > 10**6):
            self.wfile.write(rest[: len(rest) // 3])
            self.close_connection = True
        elif fault == 'slow':
            for k in range(12):
                self.wfile.write(rest[k : k + 1])
                self.wfile.flush()
                time.sleep(0.05)
            self.close_connection = True
        elif fault == 'silent':
            time.sleep(0.6)
            self.close_connection = True
        else:
            half = len(rest) // 2 if fault == 'too short' else len(rest)
            self.wfile.write(rest[:half])
            self.close_connection = fault in ('too long', 'too short', 'no length')


class Site:
    """A web site with a table of pages."""

    def __init__(self):
        self.pages, self.seen = {}, []
        self.server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.server.daemon_threads = True
        self.server.site = self
        self.address = f'http://127.0.0.1:{self.server.server_address[1]}'
        threading.Thread(target=self.server.serve_forever, args=(0.02,)).start()

    def put(self, path, body, kind='image/png', faults=(), *, tag='"1"', **options):
        """Add a page and return its address."""
        self.pages[path] = SimpleNamespace(
            body=body.encode() if isinstance(body, str) else body,
            kind=kind,
            faults=list(faults),
            tag=tag,
            ranges=options.get('ranges', True),
            after=options.get('after', ''),
        )
        return self.address + path

    def asked(self, path):
        """Return the headers of all requests for a page."""
        return [headers for one, headers, _ in self.seen if one == path]


@pytest.fixture
def site(monkeypatch):
    """Run a web site on this machine, with no proxy in between."""
    monkeypatch.setenv('no_proxy', '*')
    site = Site()
    yield site
    site.server.shutdown()
    site.server.server_close()


@pytest.fixture
def quick():
    """Make a fetcher that does not wait, and remembers how long it would have."""
    waits = []
    fetcher = Fetcher('test', 0.0, 0.3, 2, pause=0.5, sleep=waits.append)
    fetcher.waits = waits
    return fetcher


def collect(source, folder, fetcher, **options):
    """Collect with a licence for all, and images of any size but tiny ones."""
    options = {'licence': LICENCE, 'min_size': 64, **options}
    return collect_images(source, folder, fetcher=fetcher, **options)


def manifest(folder):
    """Return the table of a folder by addresses."""
    table = Table.read(folder / 'manifest.ecsv', format='ascii.ecsv')
    return {row['url'].rsplit('/', 1)[-1]: row for row in table}


def files(folder):
    """Return what is in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())
