# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Frames written one by one to a SER video or a FITS cube."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._files import atomic_path
from astroflat._provenance import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

__all__ = ['write_cube', 'write_video']

# How a type is stored: BITPIX, the type in the file, BZERO.
_STORED = {
    'u1': (8, 'u1', 0),
    'i1': (8, 'u1', -128),
    'i2': (16, 'i2', 0),
    'u2': (16, 'i2', 2**15),
    'i4': (32, 'i4', 0),
    'u4': (32, 'i4', 2**31),
    'f4': (-32, 'f4', 0),
    'f8': (-64, 'f8', 0),
}


def write_video(
    stack: Any,
    results: Iterable[tuple[np.ndarray, int]],
    output: Path,
    *,
    overwrite: bool,
) -> tuple[int, int]:
    """
    Write processed frames as a SER video of the same depth.

    Parameters
    ----------
    stack : FrameStack
        The frames as they were.

    results : iterable of tuple
        The frames as they are now, each with a number of pixels to add up.

    output : `pathlib.Path`
        The file.

    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    n_clipped, total : int
        Samples set to a limit of their type, and the sum of the numbers.
    """
    from astroflat.io import write_ser

    kind = stack.dtype
    if kind.kind != 'u' or kind.itemsize > 2:
        msg = f'a SER video cannot hold {kind}; give an output that ends in .fits'
        raise ValueError(msg)
    counts = np.zeros(2, int)

    def integers() -> Iterator[np.ndarray]:
        for values, number in results:
            frame, clipped = _round_to(values, kind, 2**stack.bit_depth - 1)
            counts[:] += clipped, number
            yield frame

    video = stack.video
    names = ('observer', 'instrument', 'telescope', 'start_local')
    write_ser(
        output,
        integers(),
        color=stack.color,
        bit_depth=stack.bit_depth,
        times=stack.times,
        overwrite=overwrite,
        **({} if video is None else {name: getattr(video, name) for name in names}),
    )
    return tuple(counts.tolist())


def write_cube(
    stack: Any,
    results: Iterable[tuple[np.ndarray, int]],
    output: Path,
    *,
    dtype: str,
    overwrite: bool,
    method: str,
    history: str,
    mask: Callable[[], np.ndarray | None] = lambda: None,
) -> tuple[int, int]:
    """
    Write processed frames as a FITS cube, frame by frame.

    Parameters
    ----------
    stack : FrameStack
        The frames as they were.

    results : iterable of tuple
        The frames as they are now, each with a number of pixels to add up.

    output : `pathlib.Path`
        The file.

    dtype : {'keep', 'float32'}
        Keep the type of the frames (integers of 64 bits become float32), or
        write float32.

    overwrite : bool
        Whether an existing file may be replaced.

    method, history : str
        What was done, for the header.

    mask : callable, optional
        Returns what is bad in all frames, after the last of them.

    Returns
    -------
    n_clipped, total : int
        Samples set to a limit of their type, and the sum of the numbers.
    """
    kind = np.dtype(np.float32)
    if dtype == 'keep' and stack.dtype.str[1:] in _STORED:
        kind = stack.dtype
    header = _structure(stack.shape, kind)
    _describe(header, stack, method, history)
    counts = np.zeros(2, int)

    def stored() -> Iterator[np.ndarray]:
        for values, number in results:
            frame, clipped = _as_stored(values, kind)
            counts[:] += clipped, number
            yield frame

    with atomic_path(output, overwrite=overwrite) as temporary:
        _stream(temporary, header, stored())
        common = mask()
        if common is not None or stack.has_mask:
            _append_masks(temporary, stack, common)
    return tuple(counts.tolist())


def _round_to(values: np.ndarray, dtype: np.dtype, top: int) -> tuple[np.ndarray, int]:
    """Round to an integer type; return how many samples did not fit."""
    low = np.iinfo(dtype).min
    if dtype.itemsize > 2:
        # The limits of 32 bits are not numbers of float32.
        values = values.astype(np.float64)
    rounded = np.rint(values)
    # NaN cannot be an integer: it becomes 0 and counts as clipped.
    fits = (rounded >= low) & (rounded <= top)
    clipped = int(rounded.size - np.count_nonzero(fits))
    if clipped:
        rounded = np.clip(np.nan_to_num(rounded, nan=0.0), low, top)
    return rounded.astype(dtype), clipped


def _as_stored(values: np.ndarray, kind: np.dtype) -> tuple[np.ndarray, int]:
    """Return a frame as it lies in a cube, and how many samples did not fit."""
    _, stored, zero = _STORED[kind.str[1:]]
    if kind.kind == 'f':
        return values.astype(kind), 0
    values, clipped = _round_to(values, kind, np.iinfo(kind).max)
    if zero:
        values = (values.astype(np.int64) - zero).astype(stored)
    return values, clipped


def _stream(path: Path, header: Any, frames: Iterable[np.ndarray]) -> None:
    """Add an image to a file, frame by frame."""
    from astropy.io import fits

    with closing(fits.StreamingHDU(path, header)) as hdu:
        for frame in frames:
            hdu.write(np.moveaxis(frame, -1, 0) if frame.ndim == 3 else frame)


def _append_masks(path: Path, stack: Any, common: np.ndarray | None) -> None:
    """Add the extension MASK; astropy streams primary images only."""
    header = _structure(stack.shape, np.dtype(np.uint8))
    header.insert('SIMPLE', ('XTENSION', 'IMAGE'))
    header.remove('SIMPLE')
    header.extend([('PCOUNT', 0), ('GCOUNT', 1), ('EXTNAME', 'MASK')])
    with path.open('ab') as file:
        file.write(header.tostring().encode('ascii'))
        for mask in _masks(stack, common):
            plane = np.moveaxis(mask, -1, 0) if mask.ndim == 3 else mask
            file.write(plane.tobytes())
        file.write(bytes(-file.tell() % 2880))


def _masks(stack: Any, common: np.ndarray | None) -> Iterator[np.ndarray]:
    """Yield the mask of each frame as integers."""
    for i in range(len(stack)):
        mask = np.zeros(stack.shape[1:], bool) if common is None else common
        own = stack[i : i + 1].mask_rows(0, stack.shape[1])
        yield (mask if own is None else mask | own[0]).astype(np.uint8)


def _structure(shape: tuple[int, ...], kind: np.dtype) -> Any:
    """Return the header that describes the array; one frame is an image."""
    from astropy.io import fits

    bitpix, _, zero = _STORED[kind.str[1:]]
    n, ny, nx, *planes = shape
    axes = [nx, ny, *planes, *([n] if n > 1 else [])]
    cards = [('SIMPLE', True), ('BITPIX', bitpix), ('NAXIS', len(axes))]
    cards += [(f'NAXIS{i}', size) for i, size in enumerate(axes, 1)]
    if zero:
        cards += [('BSCALE', 1), ('BZERO', zero)]
    return fits.Header(cards)


def _describe(header: Any, stack: Any, method: str, history: str) -> None:
    """Add what is known of all frames, and what was done."""
    from astroflat.io._cards import as_header

    cards = as_header(stack.header(0)).cards
    if len(stack) > 1:
        # As they are written: a card that is not legal has no value to compare.
        last = {str(card) for card in as_header(stack.header(len(stack) - 1)).cards}
        cards = [card for card in cards if str(card) in last]
    header.extend(cards, unique=True, end=True)
    header['BUNIT'] = 'adu' if stack.unit is None else stack.unit.to_string() or '1'
    times = stack.times if len(stack) > 1 else None
    if times is not None and not times.masked:
        header['DATE-BEG'] = (times.min().utc.isot, 'first frame (UTC)')
        header['DATE-END'] = (times.max().utc.isot, 'last frame (UTC)')
    record(header, method, history=history)
