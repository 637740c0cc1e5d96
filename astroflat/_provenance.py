# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What was done to the data, written so that any FITS header can hold it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = ['STALE', 'add_history', 'logging_enabled', 'record', 'set_card']

#: What describes the file of the first frame, not the image made of all.
STALE = (
    'BSCALE',
    'BZERO',
    'BLANK',
    'DATAMIN',
    'DATAMAX',
    'CHECKSUM',
    'DATASUM',
    'SERFRAME',
)

_COMMENTS = {
    'AFVER': 'astroflat version',
    'AFMETH': 'astroflat method',
}


def logging_enabled(add_keyword: Any) -> bool:
    """
    Tell whether to write to the metadata, by ccdproc's rules.

    Parameters
    ----------
    add_keyword : bool, str, `ccdproc.Keyword`, dict or None
        As in ccdproc: `None` and `False` switch logging off.

    Returns
    -------
    enabled : bool
        `False` if switched off here or by ``ccdproc.conf.auto_logging``.
    """
    if add_keyword is None or add_keyword is False:
        return False
    # ccdproc is not imported for this: if nobody did, nobody changed it.
    ccdproc = sys.modules.get('ccdproc')
    conf = getattr(ccdproc, 'conf', None)
    return bool(getattr(conf, 'auto_logging', True))


def record(
    meta: MutableMapping,
    method: str,
    *,
    history: str | None = None,
    add_keyword: Any = True,
    **cards: Any,
) -> None:
    """
    Record a step in the metadata, in place.

    Parameters
    ----------
    meta : `~astropy.io.fits.Header` or dict
        The metadata to write to.

    method : str
        The name of the step; it becomes the card ``AFMETH``.

    history : str, optional
        One line of HISTORY in words. The version is put before it.

    add_keyword : bool, str, `ccdproc.Keyword` or dict, optional
        As in ccdproc: `True` writes the cards, `None` or `False` nothing; a
        string or Keyword is written in addition with the method as its
        value; a dictionary is written in addition as it is.

    **cards
        More cards: names of at most eight characters, with a value or a
        tuple of value and comment.

    Notes
    -----
    Arguments are never written wholesale: a key or the path of a home folder
    passed as an argument must not end in a file that is given away.

    Examples
    --------
    >>> from astropy.io import fits
    >>> from astroflat._provenance import record
    >>> header = fits.Header()
    >>> record(header, 'median', NCOMBINE=(9, 'frames combined'))
    >>> header['AFMETH'], header['NCOMBINE']
    ('median', 9)
    """
    if not logging_enabled(add_keyword):
        return
    from astroflat import __version__

    set_card(meta, 'AFVER', (__version__.split('+')[0], _COMMENTS['AFVER']))
    set_card(meta, 'AFMETH', (method, _COMMENTS['AFMETH']))
    for name, value in cards.items():
        set_card(meta, name, value)
    for name, value in _extra_cards(add_keyword, method).items():
        set_card(meta, name, value)
    if history is not None:
        add_history(meta, f'astroflat {method}: {history}')


def _extra_cards(add_keyword: Any, method: str) -> dict:
    """Return the cards that the user's ``add_keyword`` asks for."""
    if add_keyword is True:
        return {}
    if isinstance(add_keyword, str):
        return {add_keyword: method}
    if hasattr(add_keyword, 'items'):
        return dict(add_keyword.items())
    value = method if add_keyword.value is None else add_keyword.value
    return {add_keyword.name: value}


def set_card(meta: MutableMapping, name: str, value: Any) -> None:
    """
    Set a card with its comment if the metadata can hold comments.

    Parameters
    ----------
    meta : `~astropy.io.fits.Header` or dict
        The metadata to write to.

    name : str
        The name of the card.

    value : object or tuple
        Its value, or value and comment.
    """
    is_header = hasattr(meta, 'cards')
    if isinstance(value, tuple) and not is_header:
        value = value[0]
    meta[name] = value


def add_history(meta: MutableMapping, line: str) -> None:
    """
    Append a line of HISTORY; a FITS header allows printable ASCII only.

    Parameters
    ----------
    meta : `~astropy.io.fits.Header` or dict
        The metadata to write to.

    line : str
        The line.
    """
    line = line.encode('ascii', 'replace').decode().replace('\n', ' ')
    if hasattr(meta, 'add_history'):
        meta.add_history(line)
        return
    old = meta.get('HISTORY', [])
    # A copied dictionary may share the list with its original.
    meta['HISTORY'] = [*([old] if isinstance(old, str) else list(old)), line]
