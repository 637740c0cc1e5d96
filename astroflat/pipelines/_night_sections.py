# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Where the overscan is in the frames of a night."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from astroflat.pipelines._night_files import NightFile

__all__ = [
    'Sections',
    'find_sections',
    'section_slices',
    'whole_frame',
    'with_sections',
]

# Where light falls, in the order in which cards are believed.
_LIGHT = ('TRIMSEC', 'DATASEC')


@dataclass(frozen=True)
class Sections:
    """
    Parts of a raw frame, as FITS says it: from 1 on, x first, both ends included.

    Parameters
    ----------
    overscan : str
        What no light reaches; empty if there is none.

    trim : str
        What is kept; empty for all.

    doubt : str
        Why a card was not followed.
    """

    overscan: str = ''
    trim: str = ''
    doubt: str = ''

    def __bool__(self) -> bool:
        return bool(self.overscan or self.trim)

    def __str__(self) -> str:
        parts = []
        if self.overscan:
            parts.append(f'overscan {self.overscan} subtracted')
        if self.trim:
            parts.append(f'trimmed to {self.trim}')
        return ', '.join(parts)

    def shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """
        Return the shape of what is kept.

        Parameters
        ----------
        shape : tuple of int
            That of the raw frame.

        Returns
        -------
        shape : tuple of int
            ``(ny, nx)``.
        """
        if not self.trim:
            return shape
        rows, columns = section_slices(self.trim, shape)
        return rows.stop - rows.start, columns.stop - columns.start


def find_sections(
    header: Mapping[str, Any],
    shape: tuple[int, int],
    overscan: str | None = 'auto',
    trim: str | None = 'auto',
) -> Sections:
    """
    Find overscan and image in a raw frame.

    Parameters
    ----------
    header : mapping
        The header: ``BIASSEC``, ``TRIMSEC`` or ``DATASEC``.

    shape : tuple of int
        ``(ny, nx)`` of the frame.

    overscan, trim : str or None, optional
        'auto' follows the cards, `None` leaves it, a section such as
        ``'[1025:1056, *]'`` is taken where the cards would be.

    Returns
    -------
    sections : Sections
        Empty if nothing is to be done; with a doubt if that is because the cards
        make no sense.

    Raises
    ------
    ValueError
        If a section that was given is none, or not in the frame.
    """
    given = {'overscan': overscan, 'trim': trim}
    for name, text in given.items():
        if text not in (None, 'auto'):
            section_slices(text, shape, name)
    try:
        strip = _card(header, ('BIASSEC',)) if overscan == 'auto' else overscan or ''
        light = _card(header, _LIGHT) if trim == 'auto' else trim or ''
        return _fitting(strip, light, shape, guess=trim == 'auto')
    except ValueError as error:
        if not {overscan, trim} & {'auto'}:
            raise
        return Sections(doubt=f'overscan left as it is: {error}')


def with_sections(
    files: list[NightFile],
    overscan: str | None = 'auto',
    trim: str | None = 'auto',
) -> list[NightFile]:
    """
    Say of every frame of a night where its overscan is.

    Parameters
    ----------
    files : list of NightFile
        The frames.

    overscan, trim : str or None, optional
        As in `find_sections`. A section that is given holds for the frames of the
        size of the lights.

    Returns
    -------
    files : list of NightFile
        With sections, and the shape of what they leave. Frames of the size of the
        lights that say nothing themselves get those of the lights.
    """
    shapes = Counter(_shape(f) for f in files if f.kind == 'light')
    size = shapes.most_common(1)[0][0] if shapes else None
    found = [_sections_of(f, size, overscan, trim) for f in files]
    of_lights = Counter(
        s
        for f, s in zip(files, found, strict=True)
        if f.kind == 'light' and s and _shape(f) == size
    )
    if of_lights and 'auto' in (overscan, trim):
        common = of_lights.most_common(1)[0][0]
        for i, file in enumerate(files):
            silent = not any(file.cards.get(name) for name in ('BIASSEC', *_LIGHT))
            if not found[i] and silent and _shape(file) == size:
                found[i] = common
    return [_cut(file, s) for file, s in zip(files, found, strict=True)]


def _shape(file: NightFile) -> tuple[int, int] | None:
    """Return the shape of a raw frame, None of what is no image."""
    shape = file.settings.get('shape')
    return None if shape is None else (int(shape[0]), int(shape[1]))


def _sections_of(
    file: NightFile, size: Any, overscan: str | None, trim: str | None
) -> Sections:
    """Return the sections of one frame."""
    shape = _shape(file)
    if shape is None or file.kind in ('damaged', 'other'):
        return Sections()
    if shape != size:
        # What was given is for frames of another size.
        overscan, trim = (
            text if text in (None, 'auto') else None for text in (overscan, trim)
        )
    return find_sections(file.cards, shape, overscan, trim)


def _cut(file: NightFile, sections: Sections) -> NightFile:
    """Return a frame with its sections, and the shape that is left."""
    if sections == Sections():
        return file
    shape = list(sections.shape(_shape(file)))
    return replace(file, sections=sections, settings={**file.settings, 'shape': shape})


def _card(header: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Return the first card that is there."""
    texts = (str(header.get(name, '') or '').strip() for name in names)
    return next((text for text in texts if text), '')


def _fitting(
    strip: str, light: str, shape: tuple[int, int], *, guess: bool
) -> Sections:
    """Return sections that fit to the frame and to each other."""
    if _outside(strip, shape) or _outside(light, shape):
        # What was trimmed before often keeps the cards.
        return Sections()
    if strip and not light and guess:
        light = _rest(section_slices(strip, shape), shape)
    if strip and light:
        _check_pair(strip, light, shape)
    elif strip:
        msg = f'nothing says where light falls beside the overscan {strip}; set trim'
        raise ValueError(msg)
    whole = not light or section_slices(light, shape) == whole_frame(shape)
    return Sections(strip, '' if whole else light)


def _check_pair(strip: str, light: str, shape: tuple[int, int]) -> None:
    """Raise if an overscan does not lie beside all of the image."""
    dark, bright = section_slices(strip, shape), section_slices(light, shape)
    pairs = list(zip(dark, bright, strict=True))
    if all(a.start < b.stop and b.start < a.stop for a, b in pairs):
        msg = f'the overscan {strip} overlaps the image {light}'
        raise ValueError(msg)
    along = int(np.argmax([s.stop - s.start for s in dark]))
    a, b = pairs[along]
    if a.start > b.start or a.stop < b.stop:
        msg = f'the overscan {strip} is shorter than the image {light} beside it'
        raise ValueError(msg)


def _outside(text: str, shape: tuple[int, int]) -> bool:
    """Tell whether a section leads out of a frame."""
    if not text:
        return False
    return any(s.stop > n for s, n in zip(_slices(text, shape), shape, strict=True))


def _rest(strip: tuple[slice, slice], shape: tuple[int, int]) -> str:
    """Return what is left beside a strip along a whole edge, or nothing."""
    kept = [(0, n) for n in shape]
    whole = [s == slice(0, n) for s, n in zip(strip, shape, strict=True)]
    if whole.count(True) != 1:
        return ''
    axis = whole.index(False)
    start, stop, n = strip[axis].start, strip[axis].stop, shape[axis]
    if start != 0 and stop != n:
        return ''
    kept[axis] = (stop, n) if start == 0 else (0, start)
    (y0, y1), (x0, x1) = kept
    return f'[{x0 + 1}:{x1},{y0 + 1}:{y1}]'


def section_slices(
    text: str, shape: tuple[int, int], name: str = 'section'
) -> tuple[slice, slice]:
    """Return the slices of a section in a frame, or raise."""
    try:
        slices = _slices(text, shape)
    except ValueError as error:
        msg = f'{name}: {error}'
        raise ValueError(msg) from error
    if any(s.stop > n for s, n in zip(slices, shape, strict=True)):
        msg = f'{name} {text} is not inside of a frame of {shape[1]} x {shape[0]}'
        raise ValueError(msg)
    return slices


def _slices(text: str, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Return the slices of a section, which may lead out of the frame."""
    from ccdproc.utils.slices import slice_from_string

    msg = f'{text!r} is no section such as [1:32, *]'
    try:
        parts = slice_from_string(text, fits_convention=True)
    except ValueError as error:
        raise ValueError(msg) from error
    if len(parts) == 1:
        # Some cameras tell columns only.
        parts = (slice(None), *parts)
    if len(parts) != 2:
        raise ValueError(msg)
    found = []
    for part, n in zip(parts, shape, strict=True):
        start = 0 if part.start is None else part.start
        stop = n if part.stop is None else part.stop
        if part.step not in (None, 1) or not 0 <= start < stop:
            raise ValueError(msg)
        found.append(slice(start, stop))
    return found[0], found[1]


def whole_frame(shape: tuple[int, int]) -> tuple[slice, slice]:
    """Return slices of all of a frame."""
    return slice(0, shape[0]), slice(0, shape[1])
