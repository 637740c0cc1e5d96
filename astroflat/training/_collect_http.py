# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Polite requests: the only module that opens connections, and only when asked to.

Waits between requests to a host, asks ``robots.txt`` first, says who it is, tries
again with growing pauses what may pass, and goes on where a transfer was cut.
"""

from __future__ import annotations

import email.utils
import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
import urllib.robotparser
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ['Fetcher', 'RefusedError', 'Transfer', 'join_url', 'name_of', 'query_of']

_CHUNK = 1 << 16
# What may be better a little later.
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_MAX_PAUSE = 120.0
_MAX_PAGE = 32_000_000


class RefusedError(OSError):
    """A request that makes no sense to try again."""


@dataclass
class Transfer:
    """
    A file on its way.

    Parameters
    ----------
    content_type : str
        What the server calls it.
    expected : int or None
        Bytes of the whole file, if the server says so.
    received : int
        Bytes on disk.
    tag : str
        What tells versions of the file apart.
    resumed : int
        How often it went on where it was cut.
    """

    content_type: str = ''
    expected: int | None = None
    received: int = 0
    tag: str = ''
    resumed: int = 0


@dataclass
class Fetcher:
    """
    Fetch pages and files, one at a time.

    Parameters
    ----------
    user_agent : str
        Who asks.
    delay : float
        Seconds between requests to a host, at least.
    timeout : float
        Seconds that a server may be silent.
    retries : int
        How often something is tried again.
    pause : float
        Seconds before the first new try; the pauses double.
    slowest : float
        Bytes per second, on the mean since the start of a transfer.
    max_bytes : float
        The largest file.
    sleep : callable
        Waits for some seconds.
    """

    user_agent: str
    delay: float = 1.0
    timeout: float = 30.0
    retries: int = 4
    pause: float = 2.0
    slowest: float = 1000.0
    max_bytes: float = 500e6
    sleep: Callable[[float], None] = time.sleep
    _next: dict[str, float] = field(default_factory=dict)
    _robots: dict[str, Any] = field(default_factory=dict)

    def text(self, url: str) -> str:
        """
        Fetch a page.

        Parameters
        ----------
        url : str
            Its address.

        Returns
        -------
        text : str
            The page.
        """

        def once() -> str:
            with self._open(url) as answer:
                body = answer.read(_MAX_PAGE + 1)
                _check_complete(answer, len(body))
                charset = answer.headers.get_content_charset() or 'utf-8'
            if len(body) > _MAX_PAGE:
                msg = f'the page is larger than {_MAX_PAGE} bytes'
                raise RefusedError(msg)
            return body.decode(charset, errors='replace')

        self._check_robots(url)
        return self._again(once)

    def file(self, url: str, path: Path) -> Transfer:
        """
        Fetch a file, going on with what is there.

        Parameters
        ----------
        url : str
            Its address.

        path : `pathlib.Path`
            Where to write. It is left there, complete or not.

        Returns
        -------
        transfer : Transfer
            What was received.

        Raises
        ------
        OSError
            If it cannot be fetched as a whole.
        """
        self._check_robots(url)
        transfer = Transfer(received=path.stat().st_size if path.exists() else 0)
        note = path.with_name(f'{path.name}.tag')
        if transfer.received and note.exists():
            transfer.tag = note.read_text(encoding='utf-8')
        else:
            transfer.received = 0
        try:
            self._again(lambda: self._once(url, path, transfer, note))
        finally:
            if transfer.received == 0:
                note.unlink(missing_ok=True)
        return transfer

    def _once(self, url: str, path: Path, transfer: Transfer, note: Path) -> None:
        """Try to fetch the rest of a file."""
        headers = {}
        # Without something that tells versions apart, two halves may not fit.
        if transfer.received and transfer.tag:
            headers = {
                'Range': f'bytes={transfer.received}-',
                'If-Range': transfer.tag,
            }
        with self._part(url, headers, transfer) as answer:
            partial = answer.status == 206 and _starts_at(answer, transfer.received)
            if answer.status == 206 and not partial:
                transfer.tag = ''
                msg = 'the server sent another part than the one asked for'
                raise ConnectionError(msg)
            transfer.resumed += partial
            transfer.received = transfer.received if partial else 0
            transfer.content_type = answer.headers.get_content_type()
            length = answer.headers.get('Content-Length')
            if length is not None and answer.headers.get('Content-Encoding') is None:
                transfer.expected = transfer.received + int(length)
            transfer.tag = _tag(answer)
            note.write_text(transfer.tag, encoding='utf-8')
            self._check_size(transfer.expected or 0)
            self._receive(answer, path, transfer)
        if transfer.expected is not None and transfer.received != transfer.expected:
            msg = f'cut after {transfer.received} of {transfer.expected} bytes'
            raise ConnectionError(msg)

    def _part(self, url: str, headers: dict[str, str], transfer: Transfer) -> Any:
        """Ask for the rest of a file; what does not fit is begun anew."""
        try:
            return self._open(url, headers)
        except urllib.error.HTTPError as error:
            if error.code != 416:
                raise
            error.close()
            transfer.received, transfer.tag = 0, ''
            msg = 'the server has no such part'
            raise ConnectionError(msg) from error

    def _receive(self, answer: Any, path: Path, transfer: Transfer) -> None:
        """Write what comes."""
        started, before = time.monotonic(), transfer.received
        with path.open('ab' if transfer.received else 'wb') as file:
            while chunk := answer.read1(_CHUNK):
                file.write(chunk)
                transfer.received += len(chunk)
                self._check_size(transfer.received)
                passed = time.monotonic() - started
                come = transfer.received - before
                if passed > self.timeout and come < self.slowest * passed:
                    msg = f'too slow: {come / passed:.0f} bytes per second'
                    raise TimeoutError(msg)

    def _check_size(self, size: int) -> None:
        """Refuse what is too large."""
        if size > self.max_bytes:
            msg = f'larger than {self.max_bytes:.0f} bytes'
            raise RefusedError(msg)

    def _again(self, once: Callable[[], Any]) -> Any:
        """Do something, and do it again after a pause if that may help."""
        for attempt in range(self.retries + 1):
            try:
                return once()
            except RefusedError:
                raise
            except urllib.error.HTTPError as error:
                error.close()
                if error.code not in _PASSING or attempt == self.retries:
                    msg = f'HTTP {error.code} {error.reason}'
                    raise RefusedError(msg) from error
                wait = _retry_after(error)
            except (OSError, http.client.HTTPException) as error:
                if attempt == self.retries:
                    msg = f'{_words(error)}; tried {attempt + 1} times'
                    raise RefusedError(msg) from error
                wait = None
            self.sleep(min(wait or self.pause * 2**attempt, _MAX_PAUSE))
        return None

    def _open(self, url: str, headers: dict[str, str] | None = None) -> Any:
        """Send a request after the pause that its host is due."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ('http', 'https') or not parts.hostname:
            msg = f'only http and https addresses are fetched, not {url!r}'
            raise RefusedError(msg)
        wait = self._next.get(parts.netloc, 0.0) - time.monotonic()
        if wait > 0:
            self.sleep(wait)
        request = urllib.request.Request(
            _quoted(url),
            headers={
                'User-Agent': self.user_agent,
                'Accept-Encoding': 'identity',
                **(headers or {}),
            },
        )
        try:
            return _OPENER.open(request, timeout=self.timeout)
        finally:
            pause = max(self.delay, self._robots_delay(parts))
            self._next[parts.netloc] = time.monotonic() + pause

    def _robots_delay(self, parts: Any) -> float:
        """Return the pause that ``robots.txt`` asks for."""
        rules = self._robots.get(parts.netloc)
        return float((rules and rules.crawl_delay(self.user_agent)) or 0.0)

    def _check_robots(self, url: str) -> None:
        """Refuse what ``robots.txt`` does not want fetched."""
        parts = urllib.parse.urlsplit(url)
        if parts.netloc not in self._robots:
            # First, as fetching it looks for the pause that it asks for.
            self._robots[parts.netloc] = None
            self._robots[parts.netloc] = self._rules(parts)
        if not self._robots[parts.netloc].can_fetch(self.user_agent, url):
            msg = 'robots.txt of the server does not allow it'
            raise RefusedError(msg)

    def _rules(self, parts: Any) -> urllib.robotparser.RobotFileParser:
        """Fetch and read ``robots.txt``: none allows all, a broken one nothing."""
        address = f'{parts.scheme}://{parts.netloc}/robots.txt'
        rules = urllib.robotparser.RobotFileParser(address)

        def once() -> list[str]:
            try:
                with self._open(address) as answer:
                    return answer.read(500_000).decode('utf-8', 'replace').splitlines()
            except urllib.error.HTTPError as error:
                if 400 <= error.code < 500 and error.code != 429:
                    error.close()
                    return []
                raise

        rules.parse(self._again(once))
        return rules


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirections to other web addresses only."""

    max_redirections = 5

    def redirect_request(self, *args: Any) -> Any:
        """Refuse to leave the web."""
        if urllib.parse.urlsplit(args[-1]).scheme not in ('http', 'https'):
            msg = f'redirected to {args[-1]!r}'
            raise RefusedError(msg)
        return super().redirect_request(*args)


_OPENER = urllib.request.build_opener(_Redirects)


def join_url(base: str, address: str) -> str:
    """
    Return an address of a page as an absolute one, without its fragment.

    Parameters
    ----------
    base : str
        Address of the page.

    address : str
        As it is written there.

    Returns
    -------
    url : str
        Absolute address.
    """
    return urllib.parse.urldefrag(urllib.parse.urljoin(base, address))[0]


def query_of(url: str) -> str:
    """
    Return the query of an address.

    Parameters
    ----------
    url : str
        Address.

    Returns
    -------
    query : str
        Decoded; empty if there is none.
    """
    return urllib.parse.unquote(urllib.parse.urlsplit(url).query)


def name_of(url: str) -> str:
    """
    Return the last part of the path of an address.

    Parameters
    ----------
    url : str
        Address.

    Returns
    -------
    name : str
        Decoded; empty if there is none.
    """
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.unquote(parts.path).rsplit('/', 1)[-1]


def _quoted(url: str) -> str:
    """Return an address with everything quoted that must be."""
    return urllib.parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]")


def _tag(answer: Any) -> str:
    """Return a strong entity tag, or the date of the last change."""
    tag = answer.headers.get('ETag', '')
    if tag and not tag.startswith('W/'):
        return tag
    return answer.headers.get('Last-Modified', '')


def _starts_at(answer: Any, start: int) -> bool:
    """Tell whether a partial answer begins where it was asked to."""
    return answer.headers.get('Content-Range', '').startswith(f'bytes {start}-')


def _check_complete(answer: Any, received: int) -> None:
    """Refuse a page that is shorter than its server said."""
    length = answer.headers.get('Content-Length')
    if length is not None and received < min(int(length), _MAX_PAGE):
        msg = f'cut after {received} of {length} bytes'
        raise ConnectionError(msg)


def _retry_after(error: Any) -> float | None:
    """Return the seconds that a server wants to be left alone."""
    value = error.headers.get('Retry-After') if error.headers else None
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, when.timestamp() - time.time())


def _words(error: Exception) -> str:
    """Say in words what went wrong."""
    reason = getattr(error, 'reason', None)
    return str(reason or error) or type(error).__name__
