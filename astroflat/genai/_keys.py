# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The key: found in the environment, handed to the client, shown to nobody."""

from __future__ import annotations

import os
from typing import Any, NoReturn

from astroflat.genai.errors import GeminiKeyError

__all__ = ['Secret', 'clean_text', 'find_key']

# In this order, as in the client of the service.
_NAMES = ('GOOGLE_API_KEY', 'GEMINI_API_KEY')
_LONGEST_MESSAGE = 400
_SHORTEST = 8


class Secret:
    """
    A text that does not show itself.

    It has no other representation than stars and cannot be pickled or copied,
    so that it ends in no log, no traceback with local variables, no file.

    Parameters
    ----------
    value : str
        The text.
    """

    __slots__ = ('_value',)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        msg = 'a key is never stored'
        raise TypeError(msg)

    def reveal(self) -> str:
        """Return the text itself."""
        return self._value

    def scrub(self, text: str) -> str:
        """
        Replace the text wherever it occurs in another one.

        Parameters
        ----------
        text : str
            For example the message of a server that repeats the key.

        Returns
        -------
        text : str
            The same with stars.
        """
        # Something shorter is no key, and would be found in innocent words.
        long = len(self._value) >= _SHORTEST
        return text.replace(self._value, '***') if long else text


def clean_text(text: Any, *, longest: int = _LONGEST_MESSAGE) -> str:
    """
    Return text from outside as one harmless line.

    Parameters
    ----------
    text : object
        What somebody else wrote.

    longest : int, optional
        The number of characters that are kept.

    Returns
    -------
    line : str
        Without control characters, which can steer a terminal.
    """
    line = ' '.join(str(text)[: 4 * longest].split())
    line = ''.join(c if c.isprintable() else '?' for c in line)
    return line if len(line) <= longest else f'{line[:longest]} ...'


def find_key() -> Secret:
    """
    Find the key of the service.

    Returns
    -------
    key : Secret
        From the environment variable ``GOOGLE_API_KEY`` or
        ``GEMINI_API_KEY``; else from the nearest file ``.env``, if
        python-dotenv is installed.

    Raises
    ------
    GeminiKeyError
        If there is none, or it cannot be one.
    """
    values = dict(os.environ)
    if not any(values.get(name, '').strip() for name in _NAMES):
        values = _dotenv()
    for name in _NAMES:
        key = (values.get(name) or '').strip()
        if not key:
            continue
        if not (key.isascii() and key.isprintable() and ' ' not in key):
            msg = f'the value of {name} has characters that no key has'
            raise GeminiKeyError(msg)
        return Secret(key)
    msg = (
        'no key for Gemini: set the environment variable GEMINI_API_KEY '
        '(or GOOGLE_API_KEY), or put it into a file .env and install python-dotenv'
    )
    raise GeminiKeyError(msg)


def _dotenv() -> dict[str, str | None]:
    """Read the nearest ``.env``; the environment of the process stays as it is."""
    try:
        from dotenv import dotenv_values, find_dotenv
    except ImportError:
        return {}
    path = find_dotenv(usecwd=True)
    return dict(dotenv_values(path)) if path else {}
