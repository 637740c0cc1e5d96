# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Frames that come one after the other, kept in a scratch file."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import numpy as np

from astroflat.io._bytes import raw_bytes
from astroflat.io._metadata import TIME_CARDS
from astroflat.io._planes import Plane, SampleRule
from astroflat.io._scratch import Scratch
from astroflat.io._sources import (
    Entry,
    FrameSource,
    PlaneSource,
    check_alike,
    native_dtype,
)
from astroflat.io._sources_memory import Item, check_shape, take_item

__all__ = ['SpoolSource', 'keep', 'spool']


def spool(items: Iterable, name: str, *, color: str | None = None) -> FrameSource:
    """
    Write the frames of an iterator to a scratch file.

    Parameters
    ----------
    items : iterable
        CCDData, arrays and the like; each is dropped before the next is made.

    name : str
        What to call them.

    color : str, optional
        The colour, where the frames do not say it.

    Returns
    -------
    source : FrameSource
        The frames. The file has no name and disappears with the source.

    Raises
    ------
    ValueError
        If there is no frame, or two are not alike.
    """
    scratch = Scratch(name)
    try:
        entries: list[Entry] = []
        for i, obj in enumerate(items):
            label = f'frame {i} of {name}'
            entry = keep(scratch, take_item(obj, label), label, color=color)
            entries.append(entry)
            if i:
                _check_next(entries[0], entry)
        if not entries:
            msg = f'{name} yields no frame'
            raise ValueError(msg)
        return SpoolSource(entries, name, scratch)
    except BaseException:
        scratch.close()
        raise


class SpoolSource(PlaneSource):
    """
    Frames in one scratch file.

    Parameters
    ----------
    entries : list of Entry
        The frames.

    name : str
        What to call them.

    scratch : Scratch
        The file.
    """

    def __init__(self, entries: list[Entry], name: str, scratch: Scratch) -> None:
        super().__init__(entries, name, [scratch])
        self._scratch = scratch

    def view(self) -> np.ndarray | None:
        """Return all samples ``(n, ...)`` without a copy, or None."""
        offsets = [e.plane.offset for e in self.entries]
        size = self.entries[0].plane.nbytes
        if offsets != list(range(0, size * self.n, size)):
            # Masks lie in between.
            return None
        with open(self._scratch.fileno(), 'rb', closefd=False) as file:
            return np.memmap(file, self.dtype, 'r', shape=(self.n, *self.frame_shape))


def keep(
    scratch: Scratch, item: Item, label: str, *, color: str | None = None
) -> Entry:
    """
    Write one frame to a scratch file.

    Parameters
    ----------
    scratch : Scratch
        The file.

    item : Item
        The frame.

    label : str
        Its name.

    color : str, optional
        Its colour, where it does not say it.

    Returns
    -------
    entry : Entry
        Where it is.
    """
    shape = check_shape(item.data.shape, label)
    dtype = native_dtype(item.data.dtype, label)
    plane = _write(scratch, np.ascontiguousarray(item.data, dtype=dtype))
    mask = None
    if item.mask is not None and item.mask.any():
        mask = _write(scratch, np.ascontiguousarray(item.mask).view(np.uint8))
    unc = getattr(item.source, 'uncertainty', None)
    uncertainty = None
    if unc is not None and unc.array is not None:
        array = np.asarray(unc.array)
        array = np.ascontiguousarray(array, dtype=native_dtype(array.dtype, label))
        uncertainty = (_write(scratch, array), unc.uncertainty_type)
    meta = copy.deepcopy(getattr(item.source, 'meta', None)) or {}
    return Entry(
        plane,
        label,
        color=color or ('RGB' if len(shape) == 3 else 'mono'),
        cards={key: meta.get(key) for key in TIME_CARDS},
        unit=item.unit,
        mask=mask,
        uncertainty=uncertainty,
        load_header=lambda: meta,
        wcs=getattr(item.source, 'wcs', None),
    )


def _write(scratch: Scratch, array: np.ndarray) -> Plane:
    rule = SampleRule(array.dtype, array.dtype)
    return Plane(scratch, scratch.append(raw_bytes(array)), rule, array.shape)


def _check_next(first: Entry, entry: Entry) -> None:
    """Raise at the frame that differs, not after all have been spooled."""
    check_alike(
        [(e.label, e.plane.shape, e.plane.rule.dtype, e.unit) for e in (first, entry)]
    )
