# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Frames that may share a flat: one camera, filter, binning, temperature, rotator."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ['FrameGroup', 'group_frames']

# What a header may call each setting; the first that is there counts.
_CARDS = {
    'camera': ('INSTRUME', 'CAMERA', 'DETECTOR'),
    'filter': ('FILTER', 'FILTER1', 'FILTNAM', 'FILTNAME'),
    'binning': ('XBINNING', 'BINNING', 'CCDSUM', 'CCDXBIN'),
    'gain': ('GAIN', 'ISOSPEED'),
    'temperature': ('SET-TEMP', 'CCD-TEMP', 'DET-TEMP'),
    'rotator': ('ROTATANG', 'ROTATOR', 'ROTANG', 'ROTPOS'),
}
_CONTINUOUS = ('temperature', 'rotator')
_NO_LIGHTS = ('bias', 'dark', 'flat', 'zero', 'offset', 'dome', 'sky')


@dataclass
class FrameGroup:
    """
    Frames that may share a flat.

    Parameters
    ----------
    label : str
        What sets the group apart from the others, for file names.

    settings : dict
        Camera, filter, binning, gain, temperature, rotator and shape, as far
        as the headers tell.

    frames : list
        Paths or images; or whatever `astroflat.open_frames` takes.

    n_fields : int
        The number of different ``OBJECT`` cards, 1 if there are none.

    Examples
    --------
    >>> from astroflat.selfcal import FrameGroup
    >>> FrameGroup('R', {'filter': 'R'}, ['a.fits', 'b.fits']).label
    'R'
    """

    label: str
    settings: dict[str, Any] = field(default_factory=dict)
    frames: Any = field(default_factory=list)
    n_fields: int = 1


def group_frames(
    source: Any, *, temperature_step: float = 3.0, rotator_step: float = 1.0
) -> list[FrameGroup]:
    """
    Group frames by what a flat depends on.

    Parameters
    ----------
    source : ImageFileCollection, folder, pattern, list, array, FrameStack ...
        The frames. Only those of files and lists with headers can be told
        apart; bias, dark and flat frames (``IMAGETYP``) are left out.

    temperature_step, rotator_step : float, optional
        Frames belong together if no gap between their temperatures (degrees
        Celsius) and rotator angles (degrees, 359.9 next to 0) is larger.

    Returns
    -------
    groups : list of FrameGroup
        In the order of their first frames.

    Raises
    ------
    ValueError
        If there are no lights.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from astroflat.selfcal import group_frames
    >>> frames = [
    ...     CCDData(np.ones((8, 9)), unit='adu', meta={'FILTER': f})
    ...     for f in ('R', 'B', 'R')
    ... ]
    >>> [(g.label, len(g.frames)) for g in group_frames(frames)]
    [('R', 2), ('B', 1)]
    """
    items, headers = _take_apart(source)
    if headers is None:
        return [FrameGroup('all', {}, items)]
    lights = [i for i, header in enumerate(headers) if _is_light(header)]
    if not lights:
        msg = f'none of the {len(headers)} frames is a light (IMAGETYP)'
        raise ValueError(msg)
    settings = [_settings(headers[i]) for i in lights]
    steps = {'temperature': temperature_step, 'rotator': rotator_step}
    for name in _CONTINUOUS:
        _cluster(settings, name, steps[name])
    members: dict[tuple, list[int]] = {}
    for k, values in enumerate(settings):
        members.setdefault(tuple(sorted(values.items(), key=str)), []).append(k)
    labels = _labels([settings[rows[0]] for rows in members.values()])
    return [
        FrameGroup(
            label,
            settings[rows[0]],
            [items[lights[k]] for k in rows],
            len({_object(headers[lights[k]]) for k in rows}),
        )
        for label, rows in zip(labels, members.values(), strict=True)
    ]


def _take_apart(source: Any) -> tuple[Any, list[Mapping] | None]:
    """Return single frames and their headers; None if there are no headers."""
    if hasattr(source, 'files_filtered') and hasattr(source, 'summary'):
        source = list(source.files_filtered(include_path=True))
    elif isinstance(source, (str, os.PathLike)):
        from astroflat.io._resolve import list_files

        # One file stays one: a video, or a cube of frames.
        files = list_files(source)
        source = files if len(files) > 1 or Path(source).is_dir() else source
    if not isinstance(source, (list, tuple)) or not source:
        return source, None
    if all(isinstance(item, (str, os.PathLike)) for item in source):
        from astroflat.io._resolve import file_kind

        if any(file_kind(Path(item)) != 'fits' for item in source):
            return source, None
        return source, [_header(item) for item in source]
    if all(hasattr(item, 'meta') for item in source):
        headers = [{**dict(item.meta), '_shape': tuple(item.shape)} for item in source]
        return source, headers
    return source, None


def _header(path: Any) -> dict[str, Any]:
    """Return the header of the first image of a file."""
    from astropy.io import fits

    with fits.open(path) as hdus:
        image = next((h for h in hdus if h.header.get('NAXIS', 0) >= 2), hdus[0])
        header = {**dict(hdus[0].header), **dict(image.header)}
        header['_shape'] = tuple(image.shape)
    return header


def _is_light(header: Mapping) -> bool:
    """Tell whether a frame is a light."""
    kind = str(header.get('IMAGETYP', header.get('OBSTYPE', ''))).lower()
    return not any(word in kind for word in _NO_LIGHTS)


def _object(header: Mapping) -> str:
    """Return the name of what was looked at."""
    return str(header.get('OBJECT', '')).strip().lower()


def _settings(header: Mapping) -> dict[str, Any]:
    """Return what the flat depends on."""
    values = {'shape': header['_shape']}
    for name, cards in _CARDS.items():
        for card in cards:
            value = header.get(card)
            if value not in (None, ''):
                values[name] = value.strip() if isinstance(value, str) else value
                break
    return values


def _cluster(settings: list[dict[str, Any]], name: str, step: float) -> None:
    """Replace close values by their median, in place."""
    rows = []
    for k, values in enumerate(settings):
        try:
            rows.append((float(values[name]), k))
        except (KeyError, TypeError, ValueError):
            values.pop(name, None)
    if name == 'rotator':
        rows = _unwound(rows)
    rows.sort()
    cuts = np.flatnonzero(np.diff([value for value, _ in rows]) > step) + 1
    for part in np.split(np.arange(len(rows)), cuts):
        if part.size:
            middle = round(float(np.median([rows[i][0] for i in part])), 1)
            middle = middle % 360 if name == 'rotator' else middle
            for i in part:
                settings[rows[i][1]][name] = middle


def _unwound(rows: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Return angles that begin after the widest gap of the circle."""
    angles = np.array([value for value, _ in rows]) % 360
    order = np.sort(angles)
    gaps = np.diff(order, append=order[:1] + 360)
    first = order[(int(np.argmax(gaps)) + 1) % len(order)] if len(order) else 0.0
    return [
        (float(angle + 360 if angle < first else angle), k)
        for angle, (_, k) in zip(angles, rows, strict=True)
    ]


def _labels(settings: list[dict[str, Any]]) -> list[str]:
    """Return names that tell groups apart by what differs between them."""
    names = ['filter', 'camera', 'binning', 'gain', 'temperature', 'rotator', 'shape']
    differ = [n for n in names if len({str(s.get(n)) for s in settings}) > 1]
    if 'filter' not in differ and all('filter' in s for s in settings):
        differ.insert(0, 'filter')
    labels = []
    for values in settings:
        parts = [_part(name, values.get(name)) for name in differ]
        labels.append('_'.join(p for p in parts if p) or 'all')
    return [
        label if labels.count(label) == 1 else f'{label}_{k}'
        for k, label in enumerate(labels)
    ]


def _part(name: str, value: Any) -> str:
    """Return a piece of a label that a file name can hold."""
    if value is None:
        return ''
    text = 'x'.join(map(str, value[::-1])) if name == 'shape' else str(value)
    unit = {'binning': 'bin', 'temperature': 'T', 'rotator': 'rot', 'gain': 'gain'}
    text = unit.get(name, '') + text
    return ''.join(c if c.isalnum() or c in '.-+' else '-' for c in text)
