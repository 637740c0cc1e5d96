# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Write simple FITS files without `astropy.io.fits`.

Its import takes longer than the median of forty frames. What is written here
is a few images with short cards; everything else is for Astropy.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

__all__ = ['PlainHeader', 'write_images']

_BLOCK = 2880
_CARD = 80
# What is left of a card after the keyword and the quotes.
_TEXT = 68
_BITPIX = {'u1': 8, 'i2': 16, 'i4': 32, 'f4': -32, 'f8': -64}


class PlainHeader(dict):
    """
    Keywords, and values or tuples of value and comment, in order.

    It takes what `astroflat._provenance.record` writes.
    """

    @property
    def cards(self) -> list[tuple[str, Any, str]]:
        """Keyword, value and comment of each card."""
        return [
            (name, *value) if isinstance(value, tuple) else (name, value, '')
            for name, value in self.items()
        ]

    def add_history(self, line: str) -> None:
        """Add a line of HISTORY."""
        self['HISTORY'] = [*self.get('HISTORY', []), line]


def write_images(
    path: str | os.PathLike, images: Sequence[tuple[np.ndarray, PlainHeader]]
) -> None:
    """
    Write images to a new FITS file.

    Parameters
    ----------
    path : str or path-like
        The file.

    images : sequence of tuple
        The primary image and further ones, uint8, int16, int32, float32 or
        float64, each with its header.

    Raises
    ------
    ValueError
        If a value does not fit one card.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from astroflat.io._fits_plain import PlainHeader, write_images
    >>> path = os.path.join(tempfile.mkdtemp(), 'image.fits')
    >>> write_images(path, [(np.eye(2), PlainHeader(BUNIT='adu'))])
    >>> fits.getdata(path).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    with open(path, 'xb') as file:  # noqa: PTH123 - str or path-like
        for i, (image, header) in enumerate(images):
            kind = np.dtype(image.dtype).str[1:]
            cards = _structure(kind, image.shape[::-1], i, len(images)) + header.cards
            text = ''.join(line for card in cards for line in _lines(*card))
            text = f'{text}{"END":<{_CARD}}'.encode('ascii')
            file.write(text + b' ' * (-len(text) % _BLOCK))
            data = np.ascontiguousarray(image, dtype=f'>{kind}')
            file.write(data)
            file.write(bytes(-data.nbytes % _BLOCK))


def _structure(
    kind: str, axes: tuple[int, ...], index: int, n_images: int
) -> list[tuple[str, Any, str]]:
    """Return the cards that describe an array."""
    first = ('XTENSION', 'IMAGE', '') if index else ('SIMPLE', True, '')
    last = {'EXTEND': True} if n_images > 1 else {}
    last = {'PCOUNT': 0, 'GCOUNT': 1} if index else last
    numbers = {'BITPIX': _BITPIX[kind], 'NAXIS': len(axes)}
    numbers.update({f'NAXIS{k + 1}': n for k, n in enumerate(axes)})
    return [first, *((k, v, '') for k, v in {**numbers, **last}.items())]


def _lines(name: str, value: Any, comment: str) -> Iterator[str]:
    """Yield the lines of 80 characters of a card."""
    if name == 'HISTORY':
        for line in value:
            for start in range(0, len(line), _CARD - 8):
                yield f'HISTORY {line[start : start + _CARD - 8]}'.ljust(_CARD)
        return
    text = f'{name:<8}= {_value(name, value):<20}'
    text = f'{text} / {comment}' if comment else text
    yield _ascii(text)[:_CARD].ljust(_CARD)


def _value(name: str, value: Any) -> str:
    """Return a value in the fixed format."""
    if isinstance(value, (bool, np.bool_)):
        return f'{"T" if value else "F":>20}'
    if isinstance(value, (int, np.integer)):
        return f'{int(value):>20}'
    if isinstance(value, (float, np.floating)) and math.isfinite(value):
        return f'{float(value)!r:>20}'.upper()
    text = _ascii(str(value)).replace("'", "''")
    if not isinstance(value, str) or len(text) > _TEXT:
        msg = f'{name} = {value!r} does not fit one card'
        raise ValueError(msg)
    return f"'{text:<8}'"


def _ascii(text: str) -> str:
    """Return text with what FITS cannot hold replaced."""
    text = text.encode('ascii', 'replace').decode()
    return ''.join(c if c.isprintable() else '?' for c in text)
