# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Stacks of frames, read lazily by bands of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from astroflat.io._bytes import check_out
from astroflat.io._resolve import Options, find_source
from astroflat.io._units import parse_unit
from astroflat.io.bayer import BAYER_PATTERNS

if TYPE_CHECKING:
    from astropy.nddata import CCDData
    from astropy.time import Time
    from astropy.units import UnitBase

    from astroflat.io._sources import FrameSource
    from astroflat.io.ser import ByteOrderEvidence, SERFile

__all__ = ['FrameStack', 'open_frames']


def open_frames(
    source: Any,
    *,
    byteorder: Literal['auto', 'little', 'big'] = 'auto',
    unit: Any = None,
    ext: int | str | tuple[str, int] | None = None,
    color: str | None = None,
    partial: bool = False,
) -> FrameStack:
    """
    Open frames, wherever they are.

    Parameters
    ----------
    source : path, list, iterator, array, ImageFileCollection or dask array
        * A SER, FITS, TIFF, PNG, JPEG, XISF, AVI, MP4, MOV or MKV file. A FITS
          cube and a TIFF file of many pages are stacks.
        * A folder, or a pattern such as ``'night/*_R_*.fits'``: the files in
          natural order (``f9`` before ``f10``).
        * A list of paths, in the order given.
        * A `ccdproc.ImageFileCollection`.
        * A list of `~astropy.nddata.CCDData`, arrays, masked arrays or
          quantities, or one of them with the shape ``(n, ny, nx)`` or
          ``(n, ny, nx, 3)``. Nothing is copied.
        * An iterator of the same; the frames go to a scratch file without a
          name in the folder for temporary files.
        * A dask array, of which only what is read is computed.
        * Another `FrameStack`, or an open `SERFile`.

    byteorder : {'auto', 'little', 'big'}, optional
        The byte order of SER videos, see `SERFile`.

    unit : unit, optional
        The unit of the samples, in place of what the source says.

    ext : int, str or tuple, optional
        The extension of FITS files: a number, a name, or a name and a
        version. By default the first with an image.

    color : str, optional
        'mono', 'RGB', or a 2 x 2 pattern such as 'RGGB', in place of what the
        source says. Three planes in a FITS file are colours for 'RGB' and
        frames for the others.

    partial : bool, optional
        Whether to read what there is of damaged videos (SER videos whose size
        and header disagree, others that cannot be decoded to the end), with a
        warning.

    Returns
    -------
    stack : FrameStack
        The frames. Use it in a ``with`` block, or close it.

    Raises
    ------
    TypeError
        If this is nothing that holds frames.

    ValueError
        If there is no frame, or frames differ in shape, type or unit. Damaged
        files raise `ImageFormatError`, which is a ValueError; SER videos
        raise `SERError`.

    FileNotFoundError
        If a file does not exist.

    Notes
    -----
    Each file is opened once, not once per band. Of plain FITS files only the
    positions of the samples are kept; rows are read straight into the result
    and brought to native byte order there. Compressed files are decoded once
    into a scratch file. At most a few hundred files stay open; the files
    beyond what the system allows are opened for each reading.

    Integers keep their type: BZERO makes them unsigned, other scalings make
    them float32 (float64 from 32 bits on). Samples equal to BLANK are masked;
    where they are scaled they become NaN. The extensions MASK and UNCERT that
    `~astropy.nddata.CCDData` writes are read with their image.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat import open_frames
    >>> with open_frames(np.arange(24).reshape(4, 2, 3)) as stack:
    ...     print(stack.shape, len(stack))
    ...     print(stack.read_rows(0, 1)[:, 0, 0])
    (4, 2, 3) 4
    [ 0  6 12 18]
    """
    if isinstance(source, FrameStack):
        return source._share(unit=unit, color=color)
    if color is not None and color not in ('mono', 'RGB', 'BGR', *BAYER_PATTERNS):
        msg = (
            f"color must be 'mono', 'RGB' or one of {list(BAYER_PATTERNS)}, "
            f'not {color!r}'
        )
        raise ValueError(msg)
    found = find_source(source, Options(byteorder, ext, color, partial))
    try:
        return FrameStack(found, unit=unit, color=color)
    except BaseException:
        found.close()
        raise


class FrameStack:
    """
    Frames of one shape and type, read lazily.

    Made by `open_frames`. Indexing with an integer reads a frame; a slice, a
    list of integers or a boolean array gives a stack of those frames, without
    reading anything.

    Parameters
    ----------
    source : FrameSource
        What reads the frames.

    frames : sequence of int, optional
        The frames of the source; all by default.

    unit : unit, optional
        In place of what the source says.

    color : str, optional
        In place of what the source says.

    owner : bool, optional
        Whether closing the stack closes the source.

    Notes
    -----
    Reading is safe from several threads at once.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat import open_frames
    >>> stack = open_frames([np.full((2, 3), i, dtype='>u2') for i in range(5)])
    >>> stack.dtype, stack[1:4].shape
    (dtype('uint16'), (3, 2, 3))
    """

    def __init__(
        self,
        source: FrameSource,
        *,
        frames: Sequence[int] | None = None,
        unit: Any = None,
        color: str | None = None,
        owner: bool = True,
    ) -> None:
        self._source = source
        self._frames = range(source.n) if frames is None else frames
        self._unit = source.unit if unit is None else parse_unit(unit)
        self._color = source.color if color in (None, 'BGR') else color
        self._owner = owner
        if (len(source.frame_shape) == 3) != (self._color == 'RGB'):
            msg = (
                f'color={self._color!r} does not go with frames of shape '
                f'{source.frame_shape}'
            )
            raise ValueError(msg)

    def __repr__(self) -> str:
        return (
            f'<FrameStack {self.name!r}: shape {self.shape}, {self.dtype}, '
            f'{self.color}>'
        )

    def __enter__(self) -> FrameStack:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, slice):
            return self._share(frames=self._frames[item])
        if isinstance(item, (int, np.integer)):
            out = np.empty((1, *self.shape[1:]), self.dtype)
            self._source.read([self._frame(item)], 0, out)
            return out[0]
        chosen = np.asarray(item)
        if chosen.dtype == bool and chosen.shape == (len(self),):
            chosen = np.flatnonzero(chosen)
        if chosen.ndim != 1 or (chosen.size and chosen.dtype.kind not in 'iu'):
            msg = f'frames are chosen by integers, slices or booleans, not {item!r}'
            raise TypeError(msg)
        return self._share(frames=[self._frame(i) for i in chosen.tolist()])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            msg = 'frames are read, which makes a copy'
            raise ValueError(msg)
        return np.asarray(self.read_rows(0, self.shape[1]), dtype=dtype)

    @property
    def name(self) -> str:
        """What the frames come from, without the folder."""
        return self._source.name

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, ny, nx)``, or ``(n, ny, nx, 3)`` for colour."""
        return (len(self._frames), *self._source.frame_shape)

    @property
    def dtype(self) -> np.dtype:
        """The native type of the samples."""
        return self._source.dtype

    @property
    def color(self) -> str:
        """'mono', 'RGB', or a 2 x 2 pattern such as 'RGGB'."""
        return self._color

    @property
    def unit(self) -> UnitBase | None:
        """The unit of the samples; None if the source does not say it."""
        unit = self._unit
        if unit is None or (isinstance(unit, str) and not unit.strip()):
            return None
        return parse_unit(unit, self.name)

    @property
    def times(self) -> Time | None:
        """When the frames were taken; None if one does not say it."""
        return self._source.times(self._frames) if len(self) else None

    @property
    def headers(self) -> Sequence[Mapping]:
        """The metadata of the frames, each read when it is asked for."""
        return _Headers(self)

    @property
    def has_mask(self) -> bool:
        """Whether any frame has a mask."""
        return self._source.has_mask

    @property
    def has_uncertainty(self) -> bool:
        """Whether any frame has an uncertainty."""
        return self._source.has_uncertainty

    @property
    def dask(self) -> Any:
        """The dask array, for computing on a cluster; None for other sources."""
        array = getattr(self._source, 'array', None)
        if array is None or self._frames == range(self._source.n):
            return array
        return array[list(self._frames)]

    @property
    def bit_depth(self) -> int:
        """The bits of a sample: those the video states, or those of its type."""
        return 8 * self.dtype.itemsize if self.video is None else self.video.bit_depth

    @property
    def video(self) -> SERFile | None:
        """The SER video that the frames come from; None for other sources."""
        return getattr(self._source, 'video', None)

    @property
    def evidence(self) -> ByteOrderEvidence | None:
        """Why a SER video is read in its byte order; None for other sources."""
        return None if self.video is None else self.video.byteorder_evidence

    def label(self, i: int) -> str:
        """
        Return the name of a frame for messages.

        Parameters
        ----------
        i : int
            The frame.

        Returns
        -------
        label : str
            The file, or the number within it.
        """
        return self._source.label(self._frame(i))

    def read_rows(
        self, start: int, stop: int, out: np.ndarray | None = None
    ) -> np.ndarray:
        """
        Read the same rows of all frames.

        Parameters
        ----------
        start, stop : int
            The first row, and the one after the last.

        out : `~numpy.ndarray`, optional
            Where to put them: C-contiguous, of the type of the stack.

        Returns
        -------
        rows : `~numpy.ndarray`
            ``(n, stop - start, nx)``, or with a last axis of 3; native and
            C-contiguous.
        """
        out = check_out(out, self._band(start, stop), self.dtype)
        self._source.read(self._frames, start, out)
        return out

    def mask_rows(self, start: int, stop: int) -> np.ndarray | None:
        """
        Read the masks of the same rows of all frames.

        Parameters
        ----------
        start, stop : int
            The first row, and the one after the last.

        Returns
        -------
        mask : `~numpy.ndarray` of bool or None
            Of the shape of `read_rows`, True is bad; `None` if no frame has
            a mask. NaN in the samples is not in it.
        """
        if not self.has_mask:
            return None
        mask = np.zeros(self._band(start, stop), dtype=bool)
        for k, i in enumerate(self._frames):
            self._source.mask_frame(i, start, mask[k])
        return mask

    def flat_view(self) -> np.ndarray | None:
        """
        Return all samples without reading or copying.

        Returns
        -------
        samples : `~numpy.ndarray` or None
            ``(n, samples per frame)``, native; a memory map for SER videos,
            the array itself for arrays. `None` where this is not possible.
            Treat it as read-only.
        """
        view = self._source.view()
        frames = self._frames
        if view is None or not isinstance(frames, range) or frames.step < 1:
            return None
        view = view[frames.start : frames.stop : frames.step]
        return np.asarray(view).reshape(len(frames), -1)

    def header(self, i: int) -> Mapping:
        """
        Return the metadata of a frame.

        Parameters
        ----------
        i : int
            The frame.

        Returns
        -------
        header : `~astropy.io.fits.Header` or dict
            As the source has it.
        """
        return self._source.header(self._frame(i))

    def ccd(self, i: int) -> CCDData:
        """
        Read a frame with everything that belongs to it.

        Parameters
        ----------
        i : int
            The frame.

        Returns
        -------
        ccd : `~astropy.nddata.CCDData`
            With unit (adu if the source says none), metadata, mask,
            uncertainty and WCS.
        """
        from astroflat.io.ccddata import make_ccd

        return make_ccd(self, self._source, int(i), self._frame(i))

    def close(self) -> None:
        """Close the files. Stacks made from this one cannot be read after."""
        if self._owner:
            self._source.close()

    def _frame(self, i: int) -> int:
        """Return the frame of the source."""
        n = len(self)
        if not -n <= i < n:
            msg = f'frame {i} of {self.name!r}, which has {n} frames'
            raise IndexError(msg)
        return self._frames[i]

    def _band(self, start: int, stop: int) -> tuple[int, ...]:
        """Return the shape of some rows of all frames."""
        ny = self.shape[1]
        if not 0 <= start <= stop <= ny:
            msg = f'rows {start} to {stop} of frames with {ny} rows'
            raise IndexError(msg)
        return (len(self), stop - start, *self.shape[2:])

    def _share(
        self,
        *,
        frames: Sequence[int] | None = None,
        unit: Any = None,
        color: str | None = None,
    ) -> FrameStack:
        """Return a stack of the same source, which it does not close."""
        return FrameStack(
            self._source,
            frames=self._frames if frames is None else frames,
            unit=self._unit if unit is None else unit,
            color=color or self._color,
            owner=False,
        )


class _Headers(Sequence):
    """The headers of a stack, read one by one."""

    def __init__(self, stack: FrameStack) -> None:
        self._stack = stack

    def __len__(self) -> int:
        return len(self._stack)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self._stack.header(k) for k in range(*i.indices(len(self)))]
        return self._stack.header(i)
