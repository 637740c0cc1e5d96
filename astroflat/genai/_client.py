# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The only place that talks to the service, through google-genai.

The client gets limits that it does not have: of the size of an answer, of the
whole time of an attempt, no redirects (they would carry the key elsewhere)
and no compressed bodies (which can be bombs). Its exceptions hold requests
with the key in their headers, so none leaves this module, nor a traceback
through its frames.
"""

from __future__ import annotations

import importlib
import re
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from astroflat.genai import errors
from astroflat.genai._answer import read_answer
from astroflat.genai._keys import Secret, clean_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from astroflat.genai._answer import Answer
    from astroflat.genai._request import GeminiRequest

__all__ = ['SERVICE', 'Draft', 'Patience', 'draft', 'send']

# Given always: the client would also take one from the environment.
SERVICE = 'https://generativelanguage.googleapis.com'
_RETRIED = [408, 429, 500, 502, 503, 504]
_LARGEST_ANSWER = 64 * 2**20
_SAFE_ADDRESS = re.compile(
    r'(https://[^\s/@?#]+|http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?)(/[^\s?#]*)?'
)
_SECRET_HEADERS = {'x-goog-api-key', 'authorization'}


@dataclass(frozen=True)
class Patience:
    """
    How long to wait and how often to try.

    Parameters
    ----------
    timeout : float, optional
        Seconds for one attempt.

    attempts : int, optional
        How often a request is sent if the service is busy or fails.

    delay : float, optional
        Seconds before the second attempt; it doubles for each further one.
    """

    timeout: float = 180.0
    attempts: int = 4
    delay: float = 1.0


class Draft(NamedTuple):
    """A request that was stopped before it was sent, less the key."""

    method: str
    url: str
    headers: dict[str, str]
    content: bytes


class _TooLargeError(Exception):
    """The answer is larger than any sensible one."""


class _EncodedError(Exception):
    """The body is compressed although that was not offered."""


class _RedirectedError(Exception):
    """The service points elsewhere."""


class _Stopped(Exception):  # noqa: N818
    """Carry a request out of the client before it is sent."""

    def __init__(self, request: Any) -> None:
        super().__init__('stopped before sending')
        self.request = request


@dataclass
class _Clock:
    """When the attempt that is under way began."""

    start: float = field(default_factory=time.monotonic)


def send(
    request: GeminiRequest, secret: Secret, patience: Patience | None = None
) -> Answer:
    """
    Send a request and return the answer.

    Parameters
    ----------
    request : GeminiRequest
        What is asked.

    secret : Secret
        The key.

    patience : Patience, optional
        Timeout and attempts.

    Returns
    -------
    answer : Answer
        As it came; what it says is not checked.

    Raises
    ------
    GeminiError
        One of its kinds, with a message in which the key does not occur.
    """
    # Raised here and not where it arises, so that neither the exception of
    # the client nor its frames, both of which hold the key, come along.
    answer, failure = _attempt(request, secret, patience or Patience())
    if failure is not None:
        raise failure
    return answer


def draft(request: GeminiRequest) -> Draft:
    """
    Return what would be sent, as the client itself makes it.

    Parameters
    ----------
    request : GeminiRequest
        What would be asked.

    Returns
    -------
    draft : Draft
        No connection is opened and no key is read.
    """
    _import_client()
    http = None
    try:
        _call(request, 'no-key', Patience(attempts=1), on_request=_stop)
    except _Stopped as stopped:
        http = stopped.request
    if http is None:
        msg = 'the client did not stop before sending; please report this'
        raise errors.GeminiSetupError(msg)
    headers = {k: v for k, v in http.headers.items() if k not in _SECRET_HEADERS}
    return Draft(http.method, str(http.url), headers, http.content)


def _stop(request: Any) -> None:
    raise _Stopped(request)


def _attempt(
    request: GeminiRequest, secret: Secret, patience: Patience
) -> tuple[Any, errors.GeminiError | None]:
    """Return an answer, or what went wrong as an exception not yet raised."""
    try:
        _import_client()
        _check_address(request.base_url)
        response = _call(request, secret.reveal(), patience)
        now = datetime.now(UTC).isoformat(timespec='seconds')
        return _scrubbed(read_answer(response, time=now), secret), None
    except errors.GeminiError as error:
        return None, error
    except Exception as error:  # noqa: BLE001
        return None, _translate(error, secret, patience)


def _scrubbed(answer: Answer, secret: Secret) -> Answer:
    """Return an answer in whose words the key does not occur."""
    words = ('text', 'thoughts', 'finish', 'blocked', 'response_id', 'model')
    return replace(answer, **{n: secret.scrub(getattr(answer, n)) for n in words})


def _call(
    request: GeminiRequest,
    key: str,
    patience: Patience,
    on_request: Callable | None = None,
) -> Any:
    """Run the client once; it retries by itself."""
    from google import genai
    from google.genai import types

    clock = _Clock()

    def before(http: Any) -> None:
        clock.start = time.monotonic()
        if on_request is not None:
            on_request(http)

    def after(response: Any) -> None:
        _guard(response, clock.start + patience.timeout)

    # Versions of the client take 0 for its default of a second.
    delay = max(patience.delay, 1e-3)
    options = types.HttpOptions(
        base_url=request.base_url or SERVICE,
        timeout=max(1, int(1000 * patience.timeout)),
        headers={'Accept-Encoding': 'identity'},
        retry_options=types.HttpRetryOptions(
            attempts=patience.attempts,
            initial_delay=delay,
            max_delay=60.0,
            jitter=min(1.0, delay),
            http_status_codes=_RETRIED,
        ),
        client_args={
            'event_hooks': {'request': [before], 'response': [after]},
            'follow_redirects': False,
            # A proxy would read what goes to this machine without encryption.
            'trust_env': not (request.base_url or SERVICE).startswith('http:'),
        },
    )
    parts = [types.Part.from_text(text=request.prompt)]
    parts += [
        types.Part.from_bytes(data=image, mime_type='image/png')
        for image in request.images
    ]
    # Not the cloud platform, whatever the environment says: this is the service
    # that the user was told about.
    with genai.Client(api_key=key, vertexai=False, http_options=options) as client:
        return client.models.generate_content(
            model=request.model,
            contents=[types.Content(role='user', parts=parts)],
            config=types.GenerateContentConfig(**request.config),
        )


def _guard(response: Any, deadline: float) -> None:
    """Limit the body that is about to be read."""
    if 300 <= response.status_code < 400:
        raise _RedirectedError
    if response.headers.get('content-encoding', 'identity') != 'identity':
        raise _EncodedError
    # The client is built on httpx or on its fork, whichever is installed.
    library = importlib.import_module(type(response).__module__.partition('.')[0])
    inner = response.stream

    class Limited(library.SyncByteStream):  # type: ignore[name-defined]
        """The body, as long as it is neither too long nor too late."""

        def __iter__(self) -> Iterator[bytes]:
            size = 0
            for chunk in inner:
                size += len(chunk)
                if size > _LARGEST_ANSWER:
                    raise _TooLargeError
                if time.monotonic() > deadline:
                    msg = 'the answer did not end in time'
                    raise library.ReadTimeout(msg, request=response.request)
                yield chunk

        def close(self) -> None:
            inner.close()

    response.stream = Limited()


def _import_client() -> None:
    """Raise with a remedy if the client is not installed."""
    try:
        importlib.import_module('google.genai')
    except ImportError:
        msg = "asking Gemini needs google-genai: pip install 'google-genai>=2.0'"
        raise errors.GeminiSetupError(msg) from None


def _check_address(base_url: str | None) -> None:
    """Raise if the key would travel without encryption."""
    if base_url is None:
        return
    if not _SAFE_ADDRESS.fullmatch(base_url):
        msg = (
            f'base_url must be https, or http on this machine, not '
            f'{clean_text(base_url)!r}: the key would be readable on the way'
        )
        raise errors.GeminiSetupError(msg)


def _translate(
    error: Exception, secret: Secret, patience: Patience
) -> errors.GeminiError:
    """Return our exception for one of the client, in its own words."""
    code = getattr(error, 'code', None)
    if type(error).__module__.startswith('google.genai') and isinstance(code, int):
        return _translate_status(error, code, secret, patience)
    names = {cls.__name__ for cls in type(error).__mro__}
    if 'TimeoutException' in names:
        msg = (
            f'no complete answer within {patience.timeout:g} s in any of '
            f'{patience.attempts} attempts; raise timeout or try later'
        )
        return errors.GeminiTimeoutError(msg)
    if 'TransportError' in names:
        text = clean_text(secret.scrub(str(error)))
        return errors.GeminiConnectionError(f'the service was not reached: {text}')
    if isinstance(error, _RedirectedError):
        msg = 'the service redirects elsewhere, where the key is not sent'
        return errors.GeminiConnectionError(msg)
    limit = f'the answer is larger than {_LARGEST_ANSWER // 2**20} MiB'
    msg = {
        _TooLargeError: limit,
        _EncodedError: 'the answer is compressed, which was not asked for',
    }.get(type(error), f'the answer cannot be read ({type(error).__name__})')
    return errors.GeminiMalformedError(msg)


def _translate_status(
    error: Any, code: int, secret: Secret, patience: Patience
) -> errors.GeminiError:
    """Return our exception for a status of HTTP."""
    said = clean_text(secret.scrub(str(error.message or error.status or '')))
    tries = f'after {patience.attempts} attempts'
    if code == 429:
        msg = f'the quota of the service is used up {tries}: {said}'
        return errors.GeminiQuotaError(msg)
    if code == 408:
        return errors.GeminiTimeoutError(f'the service gave up waiting {tries}: {said}')
    if code >= 500:
        return errors.GeminiServerError(f'the service failed ({code}) {tries}: {said}')
    if code in {401, 403} or 'api key' in said.lower():
        msg = f'the service does not accept the key ({code}): {said}'
        return errors.GeminiKeyError(msg)
    if code == 404:
        msg = f'the model is not known there ({code}): {said}'
        return errors.GeminiRequestError(msg)
    msg = f'the service does not accept the request ({code}): {said}'
    return errors.GeminiRequestError(msg)
