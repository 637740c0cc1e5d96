# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Serve pages to the browser on this machine, and to nobody else.

The server listens on the loopback address only. It knows the names of what it
has to give and nothing of the file system: a path is looked up, never opened.
"""

from __future__ import annotations

import http.server
import secrets
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ['Answer', 'PageServer']

_HOST = '127.0.0.1'
# A client that does not go on for so long is left.
_PATIENCE_S = 20
_HEADERS = {
    'Cache-Control': 'no-store',
    'Content-Security-Policy': (
        "default-src 'none'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
        "script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
}


class Answer(NamedTuple):
    """
    What a path leads to.

    Attributes
    ----------
    kind : str
        The media type.

    body : bytes
        The content.
    """

    kind: str
    body: bytes


class PageServer(http.server.ThreadingHTTPServer):
    """
    Give what a function finds, below a path that cannot be guessed.

    Parameters
    ----------
    find : callable
        Returns an `Answer` for a name such as ``'0/before.png'``, or None.

    port : int, optional
        The port; 0 for any that is free.

    Examples
    --------
    >>> from astroflat.visualization._view_server import Answer, PageServer
    >>> pages = {'': Answer('text/plain', b'hello')}
    >>> with PageServer(pages.get) as server:
    ...     server.url.startswith('http://127.0.0.1:')
    True
    """

    daemon_threads = True
    # A browser keeps connections open; ending does not wait for them.
    block_on_close = False

    def __init__(self, find: Callable[[str], Answer | None], port: int = 0) -> None:
        self.find = find
        # Others on this machine can reach the port, but not guess the path.
        self.prefix = f'/{secrets.token_urlsafe(16)}/'
        super().__init__((_HOST, port), _Handler)
        self.hosts = {f'{name}:{self.server_port}' for name in (_HOST, 'localhost')}

    @property
    def url(self) -> str:
        """The address of the first page."""
        return f'http://{_HOST}:{self.server_port}{self.prefix}'

    def handle_error(self, request: Any, client_address: Any) -> None:
        """
        Be silent if a browser went away; that is no fault.

        Parameters
        ----------
        request, client_address : object
            As in `socketserver.BaseServer`.
        """
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answer GET and HEAD; everything else is 501 by the base class."""

    server: PageServer
    protocol_version = 'HTTP/1.1'
    server_version, sys_version = 'astroflat', ''
    timeout = _PATIENCE_S

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        """Look the path up."""
        # A page from elsewhere whose name was made to lead here has another host.
        if self.headers.get('Host') not in self.server.hosts:
            self._send(403, Answer('text/plain', b'wrong host\n'), body=body)
            return
        path = self.path.partition('?')[0]
        answer = None
        if path.startswith(self.server.prefix):
            answer = self.server.find(path.removeprefix(self.server.prefix))
        if answer is None:
            self._send(404, Answer('text/plain', b'not found\n'), body=body)
        else:
            self._send(200, answer, body=body)

    def _send(self, status: int, answer: Answer, *, body: bool) -> None:
        self.send_response(status)
        self.send_header('Content-Type', answer.kind)
        self.send_header('Content-Length', str(len(answer.body)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(answer.body)

    def log_message(self, *_: Any) -> None:
        """Be silent."""
