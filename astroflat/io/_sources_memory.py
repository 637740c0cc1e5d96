# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Frames in memory: cubes, lists of containers, dask arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from astroflat.io._metadata import times_of_cards
from astroflat.io._sources import (
    FrameSource,
    check_alike,
    native_dtype,
)

__all__ = ['ArraySource', 'DaskSource', 'Item', 'is_dask', 'take_item']


class Item:
    """
    A frame in memory, taken apart.

    Parameters
    ----------
    data : `~numpy.ndarray`
        The samples, of any type and byte order.

    mask : `~numpy.ndarray` of bool or None, optional
        True is bad.

    unit : unit or None, optional
        The unit.

    source : object, optional
        The CCDData or NDData that it came from.
    """

    __slots__ = ('data', 'mask', 'source', 'unit')

    def __init__(
        self, data: np.ndarray, mask: Any = None, unit: Any = None, source: Any = None
    ) -> None:
        self.data = data
        self.mask = None if mask is None else np.asarray(mask, dtype=bool)
        self.unit = unit
        self.source = source


def take_item(obj: Any, label: str) -> Item:
    """
    Take one frame apart without importing what it is made of.

    Parameters
    ----------
    obj : CCDData, NDData, Quantity, masked array or array_like
        The frame.

    label : str
        Its name, for error messages.

    Returns
    -------
    item : Item
        Views of its arrays.
    """
    if hasattr(obj, 'uncertainty') and hasattr(obj, 'mask'):
        data = obj.data
        unit = obj.unit if obj.unit is not None else getattr(data, 'unit', None)
        item = Item(np.asarray(getattr(data, 'value', data)), obj.mask, unit, obj)
    elif isinstance(obj, np.ma.MaskedArray):
        mask = None if obj.mask is np.ma.nomask else np.ma.getmaskarray(obj)
        item = Item(obj.data, mask)
    elif hasattr(obj, 'unit') and hasattr(obj, 'value'):
        item = Item(np.asarray(obj.value), unit=obj.unit)
    else:
        item = Item(np.asarray(obj))
    if item.mask is not None and item.mask.shape != item.data.shape:
        msg = (
            f'the mask of {label} has the shape {item.mask.shape}, '
            f'its data have {item.data.shape}'
        )
        raise ValueError(msg)
    return item


class _Slice:
    """
    What a container of a cube says of one of its frames.

    Parameters
    ----------
    cube : CCDData or NDData
        The container.

    i : int
        Number of the frame.
    """

    def __init__(self, cube: Any, i: int) -> None:
        self.meta = cube.meta
        array = getattr(cube.uncertainty, 'array', None)
        self.uncertainty = None if array is None else cube.uncertainty[i]
        wcs = getattr(cube, 'wcs', None)
        axes = getattr(wcs, 'world_n_dim', None)
        # The axis of the frames has no place in the sky.
        sky = axes is not None and axes > 2 and getattr(wcs, 'has_celestial', False)
        self.wcs = wcs.celestial if sky else wcs if axes == 2 else None


class ArraySource(FrameSource):
    """
    Frames in memory; nothing is copied until rows are read.

    Parameters
    ----------
    items : list of Item
        One per frame.

    name : str
        What to call them.

    cube : `~numpy.ndarray`, optional
        All frames ``(n, ...)``, where they lie in one array.
    """

    def __init__(
        self, items: list[Item], name: str, cube: np.ndarray | None = None
    ) -> None:
        self.n = len(items)
        self.name = name
        self._items = items
        self._cube = cube
        first = items[0]
        self.frame_shape = check_shape(first.data.shape, self.label(0))
        self.dtype = native_dtype(first.data.dtype, self.label(0))
        self.color = 'RGB' if len(self.frame_shape) == 3 else 'mono'
        self.unit = first.unit
        self.has_mask = any(item.mask is not None for item in items)
        self.has_uncertainty = any(
            self.uncertainty(i) is not None for i in range(self.n)
        )
        check_alike(
            [
                (
                    self.label(i),
                    item.data.shape,
                    item.data.dtype.newbyteorder('='),
                    item.unit,
                )
                for i, item in enumerate(items)
            ]
        )

    @classmethod
    def from_cube(cls, obj: Any, name: str) -> ArraySource:
        """
        Cut an array, or a container of one, into frames.

        Parameters
        ----------
        obj : array_like or container
            ``(n, ny, nx)`` or ``(n, ny, nx, 3)``; a single image
            ``(ny, nx)`` is a stack of one.

        name : str
            What to call it.

        Returns
        -------
        source : ArraySource
            The frames.
        """
        item = take_item(obj, name)
        data, mask = item.data, item.mask
        if data.ndim == 2:
            return cls([item], name)
        if data.ndim not in (3, 4) or data.shape[0] == 0:
            msg = (
                f'{name} has the shape {data.shape}; a stack is (n, ny, nx) or '
                '(n, ny, nx, 3) with at least one frame'
            )
            raise ValueError(msg)
        items = [
            Item(
                frame,
                None if mask is None else mask[i],
                item.unit,
                None if item.source is None else _Slice(item.source, i),
            )
            for i, frame in enumerate(data)
        ]
        return cls(items, name, cube=data)

    def read_frame(self, i: int, start: int, out: np.ndarray) -> None:
        """Fill ``out`` with rows of frame ``i`` from row ``start``."""
        rows = self._items[i].data[start : start + out.shape[0]]
        np.copyto(out, rows, casting='same_kind' if rows.dtype.kind == 'f' else 'safe')

    def mask_frame(self, i: int, start: int, out: np.ndarray) -> None:
        """Add the mask of rows of frame ``i`` to ``out``."""
        mask = self._items[i].mask
        if mask is not None:
            out |= mask[start : start + out.shape[0]]

    def view(self) -> np.ndarray | None:
        """Return all samples ``(n, ...)`` without a copy, or None."""
        cube = self._cube
        if cube is None or cube.dtype != self.dtype or not cube.flags.c_contiguous:
            return None
        return cube

    def header(self, i: int) -> Mapping:
        """Return the metadata of a frame."""
        meta = getattr(self._items[i].source, 'meta', None)
        return {} if meta is None else meta

    def times(self, frames: Sequence[int]) -> Any:
        """Return the times of frames, or None."""
        return times_of_cards(lambda i, key: self.header(i).get(key), frames)

    def uncertainty(self, i: int) -> Any:
        """Return the uncertainty of a frame as astropy object, or None."""
        return getattr(self._items[i].source, 'uncertainty', None)

    def wcs(self, i: int) -> Any:
        """Return the WCS of a frame, or None."""
        return getattr(self._items[i].source, 'wcs', None)


class DaskSource(FrameSource):
    """
    A dask array; only the rows asked for are computed.

    Parameters
    ----------
    array : `dask.array.Array`
        ``(n, ny, nx)`` or ``(n, ny, nx, 3)``.

    name : str
        What to call it.
    """

    def __init__(self, array: Any, name: str) -> None:
        if array.ndim not in (3, 4) or not all(length > 0 for length in array.shape):
            msg = (
                f'{name} has the shape {array.shape}; a dask stack is (n, ny, nx) '
                'or (n, ny, nx, 3) of known size; call compute_chunk_sizes() if '
                'the size is not known'
            )
            raise ValueError(msg)
        self.array = array
        self.name = name
        self.n = int(array.shape[0])
        self.frame_shape = check_shape(array.shape[1:], name)
        self.dtype = native_dtype(array.dtype, name)
        self.color = 'RGB' if array.ndim == 4 else 'mono'

    def read_frame(self, i: int, start: int, out: np.ndarray) -> None:
        """Fill ``out`` with rows of frame ``i`` from row ``start``."""
        self.read([i], start, out[None])

    def read(self, frames: Sequence[int], start: int, out: np.ndarray) -> None:
        """Fill ``out[k]`` with rows of frame ``frames[k]``."""
        chosen: Any = list(frames)
        if isinstance(frames, range) and frames.step > 0:
            # Dask slices far faster than it takes.
            chosen = slice(frames.start, frames.stop, frames.step)
        rows = self.array[chosen, start : start + out.shape[1]]
        # A masked dask array computes to a masked one: values are kept as is.
        out[...] = np.ma.getdata(rows.compute())


def is_dask(obj: Any) -> bool:
    """Tell whether an object is a dask array, without importing dask."""
    return hasattr(obj, 'dask') and hasattr(obj, 'chunks') and hasattr(obj, 'compute')


def check_shape(shape: tuple[int, ...], label: str) -> tuple[int, ...]:
    """
    Raise if a shape is not that of a frame.

    Parameters
    ----------
    shape : tuple of int
        The shape.

    label : str
        Whose it is.

    Returns
    -------
    shape : tuple of int
        The same.
    """
    rgb = len(shape) == 3 and shape[2] == 3
    if not (len(shape) == 2 or rgb) or min(shape) < 1:
        msg = (
            f'{label} has the shape {tuple(shape)}; a frame is (ny, nx) or (ny, nx, 3)'
        )
        raise ValueError(msg)
    return tuple(int(n) for n in shape)
