# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What a stack reads from: frames in files, in memory, or one after the other.

A source knows nothing of sub-stacks, units or containers; it fills bands of
rows of chosen frames. All methods may be called from several threads.
"""

from __future__ import annotations

import bisect
import itertools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from astroflat.io._bytes import raw_bytes
from astroflat.io._metadata import (
    join_times,
    make_uncertainty,
    times_of_cards,
    wcs_of_header,
)
from astroflat.io._planes import Plane, SampleRule

__all__ = [
    'ConcatSource',
    'Entry',
    'FrameSource',
    'PlaneSource',
    'native_dtype',
]


_first = operator.itemgetter(0)
# Bytes that fit in the cache of one core.
_BATCH = 256 * 1024


def native_dtype(dtype: Any, name: str) -> np.dtype:
    """
    Return the type in which a stack hands out samples.

    Parameters
    ----------
    dtype : `numpy.dtype`
        The type of the input.

    name : str
        Whose it is, for the error message.

    Returns
    -------
    dtype : `numpy.dtype`
        Native; uint8 for bool, float32 for float16, float64 for longer.
    """
    dtype = np.dtype(dtype)
    if dtype.kind == 'b':
        return np.dtype(np.uint8)
    if dtype.kind == 'f' and dtype.itemsize not in (4, 8):
        return np.dtype(np.float32 if dtype.itemsize < 4 else np.float64)
    if dtype.kind not in 'iuf':
        msg = f'{name} has samples of type {dtype}; frames are real numbers'
        raise TypeError(msg)
    return dtype.newbyteorder('=')


class FrameSource:
    """
    Frames of one shape and type.

    Attributes
    ----------
    n : int
        The number of frames.

    frame_shape : tuple of int
        ``(ny, nx)`` or ``(ny, nx, 3)``.

    dtype : `numpy.dtype`
        The native type of the samples.

    name : str
        What to call the whole.

    color : str
        'mono', 'RGB' or a 2 x 2 pattern.

    unit : str, `~astropy.units.Unit` or None
        The unit of the samples, if the source says it.

    has_mask, has_uncertainty : bool
        Whether any frame has one.
    """

    n: int
    frame_shape: tuple[int, ...]
    dtype: np.dtype
    name: str = ''
    color: str = 'mono'
    unit: Any = None
    has_mask: bool = False
    has_uncertainty: bool = False

    def read_frame(self, i: int, start: int, out: np.ndarray) -> None:
        """Fill ``out`` with rows of frame ``i`` from row ``start``."""
        raise NotImplementedError

    def read(self, frames: Sequence[int], start: int, out: np.ndarray) -> None:
        """Fill ``out[k]`` with rows of frame ``frames[k]``."""
        for k, i in enumerate(frames):
            self.read_frame(i, start, out[k])

    def mask_frame(self, i: int, start: int, out: np.ndarray) -> None:
        """Add the mask of rows of frame ``i`` to ``out``."""

    def view(self) -> np.ndarray | None:
        """Return all samples ``(n, ...)`` without a copy, or None."""
        return None

    def label(self, i: int) -> str:
        """Return the name of a frame for messages."""
        return f'frame {i} of {self.name}'

    def header(self, i: int) -> Mapping:  # noqa: ARG002
        """Return the metadata of a frame."""
        return {}

    def card(self, i: int, key: str) -> Any:
        """Return one item of the metadata, as cheaply as possible."""
        return self.header(i).get(key)

    def times(self, frames: Sequence[int]) -> Any:
        """Return the times of frames, or None."""
        return times_of_cards(self.card, frames)

    def uncertainty(self, i: int) -> Any:  # noqa: ARG002
        """Return the uncertainty of a frame as astropy object, or None."""
        return None

    def wcs(self, i: int) -> Any:  # noqa: ARG002
        """Return the WCS of a frame, or None."""
        return None

    def close(self) -> None:
        """Close files."""


@dataclass(frozen=True)
class Entry:
    """
    One frame in a file.

    Attributes
    ----------
    plane : Plane
        Where it is.

    label : str
        The name for messages.

    color : str
        'mono', 'RGB' or a pattern.

    cards : mapping
        A few items of the metadata.

    unit : str or None
        BUNIT.

    mask : Plane or None
        Where its mask is; not 0 is bad.

    uncertainty : (Plane, str) or None
        Where its uncertainty is, and UTYPE.

    load_header : callable or None
        Returns the whole metadata.

    wcs : object or None
        The WCS, where it is not in the metadata.
    """

    plane: Plane
    label: str
    color: str = 'mono'
    cards: Mapping = None
    unit: str | None = None
    mask: Plane | None = None
    uncertainty: tuple[Plane, str] | None = None
    load_header: Callable[[], Mapping] | None = None
    wcs: Any = None


class PlaneSource(FrameSource):
    """
    Frames that lie in files.

    Parameters
    ----------
    entries : list of Entry
        The frames; shape, type and colour must be the same.

    name : str
        What to call them.

    closers : sequence of objects with ``close()``
        The files.
    """

    def __init__(self, entries: list[Entry], name: str, closers: Sequence) -> None:
        first = entries[0]
        self.entries = entries
        self.n = len(entries)
        self.frame_shape = first.plane.shape
        self.dtype = first.plane.rule.dtype
        self.name = name
        self.color = first.color
        self.unit = first.unit
        self._closers = closers
        self._rule = _common_rule([e.plane for e in entries])
        self.has_mask = any(e.mask or e.plane.rule.masks for e in entries)
        self.has_uncertainty = any(e.uncertainty for e in entries)
        check_alike(
            [(e.label, e.plane.shape, e.plane.rule.dtype, e.unit) for e in entries]
        )

    def read_frame(self, i: int, start: int, out: np.ndarray) -> None:
        """Fill ``out`` with rows of frame ``i`` from row ``start``."""
        self.entries[i].plane.read(start, out)

    def read(self, frames: Sequence[int], start: int, out: np.ndarray) -> None:
        """Fill ``out[k]`` with rows of frame ``frames[k]``."""
        if self._rule is None:
            super().read(frames, start, out)
            return
        # The bytes of some frames, then the samples of these at once: few
        # calls, and the bytes are still in the cache.
        raw = raw_bytes(out)
        size = len(raw) // max(1, len(frames))
        first = start * (size // max(1, out.shape[1]))
        step = max(1, _BATCH // max(1, size))
        for low in range(0, len(frames), step):
            batch = frames[low : low + step]
            for k, i in enumerate(batch, start=low):
                plane = self.entries[i].plane
                plane.reader.readinto(
                    raw[k * size : (k + 1) * size], plane.offset + first
                )
            self._rule.finish(out[low : low + len(batch)])

    def mask_frame(self, i: int, start: int, out: np.ndarray) -> None:
        """Add the mask of rows of frame ``i`` to ``out``."""
        entry = self.entries[i]
        entry.plane.blank(start, out)
        if entry.mask is not None:
            rows = np.empty(out.shape, entry.mask.rule.dtype)
            entry.mask.read(start, rows)
            out |= rows != 0

    def label(self, i: int) -> str:
        """Return the name of a frame for messages."""
        return self.entries[i].label

    def header(self, i: int) -> Mapping:
        """Return the metadata of a frame."""
        load = self.entries[i].load_header
        return {} if load is None else load()

    def card(self, i: int, key: str) -> Any:
        """Return one item of the metadata, as cheaply as possible."""
        return (self.entries[i].cards or {}).get(key)

    def uncertainty(self, i: int) -> Any:
        """Return the uncertainty of a frame as astropy object, or None."""
        found = self.entries[i].uncertainty
        if found is None:
            return None
        plane, kind = found
        array = np.empty(plane.shape, plane.rule.dtype)
        plane.read(0, array)
        return make_uncertainty(array, kind)

    def wcs(self, i: int) -> Any:
        """Return the WCS of a frame, or None."""
        wcs = self.entries[i].wcs
        return wcs_of_header(self.header(i), self.label(i)) if wcs is None else wcs

    def close(self) -> None:
        """Close files."""
        for closer in self._closers:
            closer.close()


def _common_rule(planes: Sequence[Plane]) -> SampleRule | None:
    """Return what turns the bytes of all planes into samples in place, if it is one."""
    rule = planes[0].rule
    same = all(
        p.rule.stored == rule.stored and p.rule.flip == rule.flip for p in planes
    )
    simple = not any(p.planar or p.rule.scaled for p in planes)
    in_place = rule.stored.newbyteorder('=') == rule.dtype or rule.flip
    return rule if same and simple and in_place else None


class ConcatSource(FrameSource):
    """
    Sources one after the other.

    Parameters
    ----------
    sources : list of FrameSource
        Of the same frame shape, type and colour.

    name : str
        What to call them.
    """

    def __init__(self, sources: list[FrameSource], name: str) -> None:
        first = sources[0]
        self._sources = sources
        self._starts = np.cumsum([0, *(s.n for s in sources)]).tolist()
        self.n = self._starts[-1]
        self.frame_shape, self.dtype = first.frame_shape, first.dtype
        self.color, self.unit, self.name = first.color, first.unit, name
        self.has_mask = any(s.has_mask for s in sources)
        self.has_uncertainty = any(s.has_uncertainty for s in sources)
        check_alike([(s.name, s.frame_shape, s.dtype, s.unit) for s in sources])

    def _find(self, i: int) -> tuple[FrameSource, int]:
        k = bisect.bisect_right(self._starts, i) - 1
        return self._sources[k], i - self._starts[k]

    def read_frame(self, i: int, start: int, out: np.ndarray) -> None:
        """Fill ``out`` with rows of frame ``i`` from row ``start``."""
        source, j = self._find(i)
        source.read([j], start, out[None])

    def mask_frame(self, i: int, start: int, out: np.ndarray) -> None:
        """Add the mask of rows of frame ``i`` to ``out``."""
        source, j = self._find(i)
        source.mask_frame(j, start, out)

    def label(self, i: int) -> str:
        """Return the name of a frame for messages."""
        source, j = self._find(i)
        return source.label(j)

    def header(self, i: int) -> Mapping:
        """Return the metadata of a frame."""
        source, j = self._find(i)
        return source.header(j)

    def times(self, frames: Sequence[int]) -> Any:
        """Return the times of frames, or None."""
        parts = []
        for source, group in itertools.groupby(map(self._find, frames), key=_first):
            parts.append(source.times([j for _, j in group]))
        return join_times(parts)

    def uncertainty(self, i: int) -> Any:
        """Return the uncertainty of a frame as astropy object, or None."""
        source, j = self._find(i)
        return source.uncertainty(j)

    def wcs(self, i: int) -> Any:
        """Return the WCS of a frame, or None."""
        source, j = self._find(i)
        return source.wcs(j)

    def close(self) -> None:
        """Close files."""
        for source in self._sources:
            source.close()


def check_alike(frames: Sequence[tuple[str, tuple, np.dtype, Any]]) -> None:
    """
    Raise if frames cannot be stacked.

    Parameters
    ----------
    frames : sequence of (label, shape, dtype, unit)
        What must be the same, but for the label.
    """
    label, shape, dtype, unit = frames[0]
    for other, other_shape, other_dtype, other_unit in frames[1:]:
        if other_shape != shape:
            what, ours, theirs = 'the shape', shape, other_shape
        elif other_dtype != dtype:
            what, ours, theirs = 'the type', dtype, other_dtype
        elif not _same_unit(unit, other_unit):
            what, ours, theirs = 'the unit', unit, other_unit
        else:
            continue
        msg = (
            f'{other} has {what} {theirs}, {label} has {ours}; '
            'stack only frames that are alike'
        )
        raise ValueError(msg)


def _same_unit(one: Any, two: Any) -> bool:
    """Compare units; a missing one is adu, as where frames become CCDData."""
    if one is two or one == two:
        return True
    from astroflat.io._units import parse_unit

    return parse_unit(one) == parse_unit(two)
