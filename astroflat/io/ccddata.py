# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Frames as CCDData, and the SER format in ``CCDData.read`` and ``write``.

Importing this module registers the format. `astroflat.io` imports it when
`astropy.nddata` is already there, and `FrameStack.ccd` when it is needed;
nothing else in `astroflat.io` imports `astropy.nddata`, which would double the
time that a command takes to start.
"""

from __future__ import annotations

import copy
import os
from typing import Any, Literal

import numpy as np
from astropy import units as u
from astropy.io import registry
from astropy.nddata import CCDData

from astroflat.io._sources import FrameSource

__all__ = ['make_ccd', 'read_ser_ccd', 'register', 'write_ser_ccd']

# Cards that describe how samples are stored, which are no longer.
_STORAGE = ('BSCALE', 'BZERO', 'BLANK')


def make_ccd(stack: Any, source: FrameSource, i: int, frame: int) -> CCDData:
    """
    Read a frame with everything that belongs to it.

    Parameters
    ----------
    stack : FrameStack
        The stack.

    source : FrameSource
        What it reads from.

    i, frame : int
        The frame in the stack, and in the source.

    Returns
    -------
    ccd : `~astropy.nddata.CCDData`
        The frame.
    """
    meta = copy.deepcopy(source.header(frame))
    for key in _STORAGE:
        if key in meta:
            del meta[key]
    mask = None
    if source.has_mask:
        mask = np.zeros(source.frame_shape, dtype=bool)
        source.mask_frame(frame, 0, mask)
        mask = mask if mask.any() else None
    return CCDData(
        stack[i],
        unit=stack.unit or u.adu,
        meta=meta,
        mask=mask,
        uncertainty=copy.deepcopy(source.uncertainty(frame)),
        wcs=source.wcs(frame),
    )


def read_ser_ccd(
    filename: str | os.PathLike,
    *,
    frame: int | Literal['all'] = 0,
    unit: Any = u.adu,
    byteorder: Literal['auto', 'little', 'big'] = 'auto',
    partial: bool = False,
) -> CCDData:
    """
    Read a frame, or all, of a SER video as CCDData.

    Parameters
    ----------
    filename : str or path-like
        The video.

    frame : int or 'all', optional
        The frame; negative numbers count from the end. 'all' gives an array
        ``(n, ny, nx)``, which must fit in memory.

    unit : unit, optional
        The unit of the samples.

    byteorder : {'auto', 'little', 'big'}, optional
        The byte order, see `~astroflat.io.SERFile`.

    partial : bool, optional
        Whether to read what there is of a truncated video.

    Returns
    -------
    ccd : `~astropy.nddata.CCDData`
        The names and the time of the frame are in its metadata.

    Examples
    --------
    >>> import numpy as np, os, tempfile
    >>> import astroflat.io.ccddata
    >>> from astropy.nddata import CCDData
    >>> from astroflat.io import write_ser
    >>> path = os.path.join(tempfile.mkdtemp(), 'moon.ser')
    >>> write_ser(path, np.full((2, 3, 4), 7, dtype='u1'), telescope='C11')
    >>> ccd = CCDData.read(path, format='ser', frame=1)
    >>> ccd.shape, str(ccd.unit), ccd.meta['TELESCOP']
    ((3, 4), 'adu', 'C11')
    """
    from astroflat.io._sources_ser import ser_header
    from astroflat.io.ser import SERFile

    # Astropy passes a file where it had to look at the content.
    path = getattr(filename, 'name', filename)
    with SERFile(path, byteorder=byteorder, partial=partial) as video:
        if frame == 'all':
            return CCDData(video[:], unit=unit, meta=ser_header(video))
        data = video[frame]
        return CCDData(data, unit=unit, meta=ser_header(video, frame % len(video)))


def write_ser_ccd(ccd: CCDData, filename: str | os.PathLike, **options: Any) -> None:
    """
    Write a CCDData as SER video.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData`
        A frame ``(ny, nx)``, or several ``(n, ny, nx)``. Mask, uncertainty
        and WCS are lost; the format has no place for them.

    filename : str or path-like
        The video.

    **options
        As in `~astroflat.io.write_ser`. The names and, for a single frame,
        the time are taken from the metadata if they are not given.

    Examples
    --------
    >>> import numpy as np, os, tempfile
    >>> import astroflat.io.ccddata
    >>> from astropy.nddata import CCDData
    >>> ccd = CCDData(np.ones((3, 4), dtype='u2'), unit='adu')
    >>> ccd.write(os.path.join(tempfile.mkdtemp(), 'one.ser'), bit_depth=12)
    """
    from astroflat.io.ser import write_ser

    meta = ccd.meta
    for option, key in (
        ('observer', 'OBSERVER'),
        ('instrument', 'INSTRUME'),
        ('telescope', 'TELESCOP'),
        ('color', 'BAYERPAT'),
    ):
        options.setdefault(option, meta.get(key))
    if ccd.data.ndim == 2 and isinstance(meta.get('DATE-OBS'), str):
        options.setdefault('times', [meta['DATE-OBS']])
    data = ccd.data if ccd.data.ndim > 2 else ccd.data[None]
    write_ser(filename, data, **options)


def _is_ser(origin: str, path: Any, fileobj: Any, *_args: Any, **_kwargs: Any) -> bool:
    """Tell whether a file is, or is to become, a SER video."""
    if origin == 'read' and fileobj is not None:
        position = fileobj.tell()
        magic = fileobj.read(14)
        fileobj.seek(position)
        return magic == b'LUCAM-RECORDER'
    return path is not None and os.fspath(path).lower().endswith('.ser')


def register() -> None:
    """Add the format ``'ser'`` to `~astropy.nddata.CCDData`; once is enough."""
    registry.register_reader('ser', CCDData, read_ser_ccd, force=True)
    registry.register_writer('ser', CCDData, write_ser_ccd, force=True)
    registry.register_identifier('ser', CCDData, _is_ser, force=True)


register()
