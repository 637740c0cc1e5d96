# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Answers kept on disk, found by the content of the question.

A file is JSON, named by a hash, written under another name and renamed. One
that is damaged or too large counts as not there.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from astroflat._files import atomic_path
from astroflat.genai._answer import Answer

if TYPE_CHECKING:
    from astroflat.genai._keys import Secret

__all__ = ['AnswerCache', 'clear_cache']

# An answer of this size is not one that was kept.
_LARGEST = 256 * 2**20


def default_folder() -> Path:
    """Return the folder of the answers in the cache of astropy."""
    from astropy.config import get_cache_dir_path

    return get_cache_dir_path('astroflat') / 'gemini'


class AnswerCache:
    """
    Keep answers.

    Parameters
    ----------
    folder : path-like, bool or None
        Where; `True` or `None` in the cache folder of astropy, `False`
        nowhere.
    """

    def __init__(self, folder: str | os.PathLike | bool | None = None) -> None:
        if folder is False:
            self.folder = None
        elif folder is None or folder is True:
            self.folder = default_folder()
        else:
            self.folder = Path(folder)

    def find(self, digest: str) -> Answer | None:
        """
        Return the answer to a question that was asked before.

        Parameters
        ----------
        digest : str
            The hash of the question.

        Returns
        -------
        answer : Answer or None
            None if there is none, or none that is whole.
        """
        if self.folder is None:
            return None
        path = self.folder / f'{digest}.json'
        try:
            if path.stat().st_size > _LARGEST:
                return None
            return Answer.from_json(path.read_text(encoding='utf-8'))
        except (OSError, ValueError, RecursionError):
            return None

    def keep(self, digest: str, answer: Answer, secret: Secret | None) -> None:
        """
        Keep an answer.

        Parameters
        ----------
        digest : str
            The hash of the question.

        answer : Answer
            The answer.

        secret : Secret or None
            The key, in case the service repeats it.
        """
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        text = replace(answer, cached=False).to_json()
        if secret is not None:
            text = secret.scrub(text)
        path = self.folder / f'{digest}.json'
        with atomic_path(path, overwrite=True) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(text, encoding='utf-8')


def clear_cache(folder: str | os.PathLike | None = None) -> int:
    """
    Delete the answers that were kept.

    Parameters
    ----------
    folder : path-like or None, optional
        The folder that was given as ``cache``; by default the one in the
        cache folder of astropy.

    Returns
    -------
    n : int
        The number of files deleted. Other files in the folder stay.

    Examples
    --------
    >>> import tempfile
    >>> from astroflat.genai import clear_cache
    >>> clear_cache(tempfile.mkdtemp())
    0
    """
    folder = default_folder() if folder is None else Path(folder)
    answers = [p for p in folder.glob('*.json') if _is_digest(p.stem)]
    for path in answers:
        path.unlink(missing_ok=True)
    return len(answers)


def _is_digest(name: str) -> bool:
    return len(name) == 64 and not set(name) - set('0123456789abcdef')
