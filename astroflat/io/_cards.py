# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""FITS headers in files that have no place for them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from astropy.io import fits

__all__ = [
    'as_header',
    'describe',
    'header_extras',
    'header_from_cards',
    'parse_description',
    'plain',
    'without_structure',
]

# What describes the array in one file and is wrong in the next.
_STRUCTURE = frozenset(
    {
        'SIMPLE', 'XTENSION', 'BITPIX', 'NAXIS', 'EXTEND', 'PCOUNT', 'GCOUNT',
        'GROUPS', 'BSCALE', 'BZERO', 'BLANK', 'DATAMIN', 'DATAMAX', 'CHECKSUM',
        'DATASUM', 'EXTNAME', 'EXTVER', 'EXTLEVEL', 'INHERIT', 'TFIELDS', 'END',
        'ZIMAGE', 'ZTENSION', 'ZBITPIX', 'ZNAXIS', 'ZCMPTYPE', 'ZQUANTIZ', 'ZDITHER0',
        'ZBLANK', 'ZSCALE', 'ZZERO', 'ZSIMPLE', 'ZEXTEND', 'ZPCOUNT', 'ZGCOUNT',
    }
)  # fmt: skip
_NUMBERED = ('NAXIS', 'ZNAXIS', 'ZTILE', 'ZNAME', 'ZVAL', 'TTYPE', 'TFORM')
_FORMAT = 'astroflat-image-1'
# With more letters no place is left for a number; the file could not be read.
_LONGEST_NAME = 48


def _is_structure(keyword: str) -> bool:
    """Tell whether a card describes the array, not the observation."""
    if keyword in _STRUCTURE:
        return True
    return any(
        keyword.startswith(name) and keyword[len(name) :].isdigit()
        for name in _NUMBERED
    )


def without_structure(header: fits.Header) -> fits.Header:
    """
    Return a copy of a header without the cards that describe the array.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        The header.

    Returns
    -------
    header : `~astropy.io.fits.Header`
        Comments, history and everything about the observation, in order.
    """
    from astropy.io import fits

    return fits.Header(
        [card for card in header.cards if not _is_structure(card.keyword)], copy=True
    )


def as_header(meta: Mapping | None) -> fits.Header:
    """
    Return any metadata as a FITS header.

    Parameters
    ----------
    meta : `~astropy.io.fits.Header`, dict or None
        The metadata; not modified. What a FITS card cannot hold (arrays,
        objects) is written as text.

    Returns
    -------
    header : `~astropy.io.fits.Header`
        A copy without the cards that describe the array.
    """
    from astropy.io import fits

    if isinstance(meta, fits.Header):
        return without_structure(meta)
    header = fits.Header()
    for name, value in (meta or {}).items():
        name = _ascii(str(name)).upper()
        if name in {'HISTORY', 'COMMENT'}:
            many = isinstance(value, Iterable) and not isinstance(value, str)
            lines = value if many else [value]
            for line in lines:
                if line is not None:
                    header[name] = _ascii(str(line))
        elif name and not _is_structure(name):
            _append(header, name, _card_value(value), '')
    return header


def plain(value: Any) -> Any:
    """
    Return a NumPy scalar as a plain Python number.

    Parameters
    ----------
    value : object
        The value of a card.

    Returns
    -------
    value : object
        The same value; what is not a NumPy scalar is returned as it is.
    """
    if hasattr(value, 'item') and getattr(value, 'ndim', 1) == 0:
        return value.item()
    return value


def _card_value(value: Any) -> Any:
    """Return what a FITS card can hold."""
    if isinstance(value, tuple) and len(value) == 2:
        value = value[0]
    value = plain(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float) and value - value == 0:
        return value
    return _ascii(str(value))


def _ascii(text: str) -> str:
    """Return printable ASCII, the only text that a FITS header may hold."""
    text = text.encode('ascii', 'replace').decode()
    return ''.join(c if c.isprintable() else ' ' for c in text)


def _append(header: fits.Header, name: str, value: Any, comment: str) -> None:
    """Append a card; a name that needs the HIERARCH convention gets it silently."""
    from astropy.io import fits

    if len(name) > 8 or not name.replace('-', '').replace('_', '').isalnum():
        # The sign of equality ends a keyword.
        name = ' '.join(name.replace('=', ' ').split())[:_LONGEST_NAME].rstrip()
        if not name:
            return
        name = f'HIERARCH {name}'
    header.append(fits.Card(name, value, comment), end=True)


def header_from_cards(cards: Iterable[tuple[str, Any, str]]) -> fits.Header:
    """
    Build a header from keywords, values and comments.

    Parameters
    ----------
    cards : iterable of tuple
        Keyword, value (`None` for an undefined one) and comment. Cards that
        are not legal, as they occur in foreign files, are made so: text to
        ASCII, what describes the array left out.

    Returns
    -------
    header : `~astropy.io.fits.Header`
        The header, in the same order.
    """
    from astropy.io import fits

    header = fits.Header()
    for name, value, comment in cards:
        name = _ascii(str(name)).strip()
        # Longer names go by the HIERARCH convention, which keeps their letters.
        name = name.upper() if len(name) <= 8 else name
        if name in {'HISTORY', 'COMMENT', ''}:
            header.append(fits.Card(name, _ascii(str(value or comment))), end=True)
        elif not _is_structure(name):
            _append(header, name, _card_value(value), _ascii(str(comment or '')))
    return header


def describe(header: fits.Header) -> str:
    """
    Write a header as JSON for a text field of TIFF or PNG.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        The header.

    Returns
    -------
    text : str
        ASCII; `parse_description` returns the same cards.
    """
    from astropy.io.fits.card import Undefined

    cards = [
        [card.keyword, None if isinstance(card.value, Undefined) else plain(card.value)]
        + ([card.comment] if card.comment else [])
        for card in header.cards
    ]
    return json.dumps({'format': _FORMAT, 'cards': cards}, default=str)


def parse_description(text: str | None) -> fits.Header | None:
    """
    Read a header written by `describe`.

    Parameters
    ----------
    text : str or None
        The text field of a file.

    Returns
    -------
    header : `~astropy.io.fits.Header` or None
        `None` if the text is something else.
    """
    if not text or _FORMAT not in text[:60]:
        return None
    try:
        cards = json.loads(text)['cards']
        return header_from_cards((*card, '')[:3] for card in cards)
    except (ValueError, KeyError, TypeError, IndexError):
        # Somebody edited it: the image is still good.
        return None


def header_extras(header: fits.Header) -> tuple[fits.Header, dict[str, Any]]:
    """
    Take unit and WCS out of a header that came from another format.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        The header.

    Returns
    -------
    header : `~astropy.io.fits.Header`
        The header without the cards of the WCS.

    extras : dict
        ``unit`` and ``wcs``, where there are any.
    """
    import numpy as np
    from astropy.io import fits

    from astroflat.io._fits_image import read_fits

    # The reader for FITS files knows every form of WCS; a header alone it
    # does not take, so it gets a file with one pixel.
    buffer = BytesIO()
    fits.PrimaryHDU(np.zeros((1, 1), np.uint8), header).writeto(
        buffer, output_verify='silentfix+ignore'
    )
    _, header, extras = read_fits(buffer.getvalue(), name='header')
    return header, extras
