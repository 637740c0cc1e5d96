# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From what a user names to the source that reads it."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from astroflat._exceptions import ImageFormatError
from astroflat.io._scratch import Resources
from astroflat.io._sources import ConcatSource, FrameSource, PlaneSource

__all__ = ['Options', 'file_kind', 'find_source', 'list_files', 'natural_key']

# What counts as a frame when a folder is given; content decides afterwards.
_SUFFIXES = {
    '.fits': 'FITS', '.fit': 'FITS', '.fts': 'FITS', '.fz': 'FITS',
    '.fits.gz': 'FITS', '.fit.gz': 'FITS', '.fts.gz': 'FITS',
    '.fits.bz2': 'FITS', '.fit.bz2': 'FITS', '.fits.xz': 'FITS', '.fit.xz': 'FITS',
    '.ser': 'SER', '.tif': 'TIFF', '.tiff': 'TIFF', '.png': 'PNG', '.xisf': 'XISF',
    '.jpg': 'JPEG', '.jpeg': 'JPEG',
    '.avi': 'video', '.mp4': 'video', '.mov': 'video', '.mkv': 'video',
}  # fmt: skip


@dataclass(frozen=True)
class Options:
    """
    How to read.

    Attributes
    ----------
    byteorder : str
        For SER.

    ext : int, str, tuple or None
        For FITS.

    color : str or None
        Overrides what the files say.

    partial : bool
        Whether to read damaged videos.
    """

    byteorder: str = 'auto'
    ext: Any = None
    color: str | None = None
    partial: bool = False


def natural_key(name: str) -> list:
    """
    Return a key that sorts ``frame10`` after ``frame9``.

    Parameters
    ----------
    name : str
        A file name.

    Returns
    -------
    key : list
        Text and numbers in turn; the name itself breaks ties.

    Examples
    --------
    >>> from astroflat.io._resolve import natural_key
    >>> sorted(['f10', 'f9', 'f1'], key=natural_key)
    ['f1', 'f9', 'f10']
    """
    parts = re.split(r'(\d+)', name.casefold())
    return [(int(p), '') if p.isdecimal() else (-1, p) for p in parts] + [(-1, name)]


def find_source(source: Any, options: Options) -> FrameSource:
    """
    Return what reads the frames of a source.

    Parameters
    ----------
    source : object
        Anything that `astroflat.open_frames` accepts, but a FrameStack.

    options : Options
        How to read.

    Returns
    -------
    source : FrameSource
        At least one frame.

    Raises
    ------
    TypeError
        If this is nothing that holds frames.

    ValueError
        If there is no frame, or the frames differ.
    """
    from astroflat.io.ser import SERFile

    if isinstance(source, SERFile):
        from astroflat.io._sources_ser import SERSource

        return SERSource(source, owned=False)
    if isinstance(source, (str, os.PathLike)):
        return _from_path(source, options)
    if hasattr(source, 'files_filtered') and hasattr(source, 'summary'):
        return _from_collection(source, options)
    return _from_objects(source, options)


def _from_objects(source: Any, options: Options) -> FrameSource:
    """Open arrays, containers, lists and iterators."""
    from astroflat.io import _sources_memory as memory

    name = _describe(source)
    if memory.is_dask(source):
        return memory.DaskSource(source, name)
    if isinstance(source, (list, tuple)):
        if not source:
            msg = 'there are no frames: the list is empty'
            raise ValueError(msg)
        if all(isinstance(item, (str, os.PathLike)) for item in source):
            return _from_files([_existing(item) for item in source], options)
        if all(isinstance(item, (int, float)) for item in source):
            msg = 'a list of numbers holds no frames'
            raise TypeError(msg)
        items = [memory.take_item(x, f'frame {i}') for i, x in enumerate(source)]
        return memory.ArraySource(items, name)
    if isinstance(source, np.ndarray) or hasattr(source, 'uncertainty'):
        return memory.ArraySource.from_cube(source, name)
    if hasattr(source, '__array__'):
        return memory.ArraySource.from_cube(np.asarray(source), name)
    if isinstance(source, Iterable) and not isinstance(source, (bytes, dict)):
        return _from_iterator(source, name, options)
    msg = (
        f'cannot read frames from {name}; give a path, a list of files, arrays or '
        'CCDData, a 3-D array, an iterator, or an ImageFileCollection'
    )
    raise TypeError(msg)


def _from_iterator(source: Iterable, name: str, options: Options) -> FrameSource:
    """Open an iterator of paths, or spool one of frames."""
    from itertools import chain

    from astroflat.io._spool import spool

    iterator = iter(source)
    first = next(iterator, None)
    if first is None:
        msg = f'{name} yields no frame'
        raise ValueError(msg)
    items = chain([first], iterator)
    if isinstance(first, (str, os.PathLike)):
        return _from_files([_existing(item) for item in items], options)
    return spool(items, name, color=options.color)


def _from_collection(collection: Any, options: Options) -> FrameSource:
    """Open the files of a ccdproc ImageFileCollection."""
    files = [Path(f) for f in collection.files_filtered(include_path=True)]
    if not files:
        msg = 'the ImageFileCollection has no files'
        raise ValueError(msg)
    ext = options.ext
    if ext is None and getattr(collection, 'ext', 0):
        ext = collection.ext
    from dataclasses import replace

    return _from_files(files, replace(options, ext=ext))


def _from_path(source: str | os.PathLike, options: Options) -> FrameSource:
    """Open a file, a folder or a pattern."""
    return _from_files(list_files(source), options)


def list_files(source: str | os.PathLike) -> list[Path]:
    """
    Return the files that a path stands for.

    Parameters
    ----------
    source : str or path-like
        A file, a folder with frames, or a pattern.

    Returns
    -------
    files : list of `pathlib.Path`
        In natural order; at least one.

    Raises
    ------
    FileNotFoundError
        If there is no such file.

    ValueError
        If a folder has no frames, or frames of several kinds.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _frames_in(path)
    text = os.fspath(path)
    if not path.exists() and any(c in text for c in '*?['):
        names = glob.glob(text, recursive=True)  # noqa: PTH207
        files = [Path(n) for n in names if not Path(n).is_dir()]
        if not files:
            msg = f'no file matches {path.name!r}'
            raise FileNotFoundError(msg)
        return sorted(files, key=_path_key)
    return [_existing(path)]


def _frames_in(folder: Path) -> list[Path]:
    """Return the frames of a folder in natural order."""
    files = [p for p in folder.iterdir() if p.is_file() and not p.name.startswith('.')]
    kinds = {p: _suffix_kind(p.name) for p in files}
    found = [p for p, kind in kinds.items() if kind]
    count = Counter(kind for kind in kinds.values() if kind)
    if not found:
        msg = (
            f'the folder {folder.name!r} has no frames; known are FITS, TIFF, PNG, '
            'JPEG, XISF, SER, AVI, MP4, MOV and MKV files'
        )
        raise ValueError(msg)
    if len(count) > 1:
        having = ', '.join(f'{n} {kind}' for kind, n in count.most_common())
        msg = (
            f'the folder {folder.name!r} has frames of several kinds ({having}); '
            f"choose with a pattern, for example '{folder.name}/*.fits'"
        )
        raise ValueError(msg)
    return sorted(found, key=_path_key)


def _suffix_kind(name: str) -> str | None:
    lower = name.lower()
    return next((kind for end, kind in _SUFFIXES.items() if lower.endswith(end)), None)


def _path_key(path: Path) -> tuple:
    return natural_key(path.parent.as_posix()), natural_key(path.name)


def _existing(path: str | os.PathLike) -> Path:
    path = Path(path).expanduser()
    if not path.exists():
        msg = f'the file {path.name!r} does not exist'
        raise FileNotFoundError(msg)
    if path.is_dir():
        msg = f'{path.name!r} is a folder within a list of files'
        raise IsADirectoryError(msg)
    return path


def _from_files(files: Sequence[Path], options: Options) -> FrameSource:
    """Open files of any kind, one after the other."""
    name = files[0].name if len(files) == 1 else f'{len(files)} files'
    parts: list[FrameSource] = []
    resources = Resources(name)
    entries: list = []
    try:
        for path in files:
            kind = file_kind(path)
            if kind in ('ser', 'video'):
                _flush(entries, parts, name, resources)
                parts.append(_open_video(path, kind, options))
            else:
                single = len(files) == 1
                entries += _entries(path, kind, resources, options, single=single)
        _flush(entries, parts, name, resources)
        return parts[0] if len(parts) == 1 else ConcatSource(parts, name)
    except BaseException:
        resources.close()
        for part in parts:
            part.close()
        raise


def _flush(
    entries: list, parts: list[FrameSource], name: str, resources: Resources
) -> None:
    """Make a source of the entries found so far."""
    if entries:
        parts.append(PlaneSource(list(entries), name, [resources]))
        entries.clear()


def _entries(
    path: Path, kind: str, resources: Resources, options: Options, *, single: bool
) -> list:
    """Return the frames of one file of single images."""
    if kind == 'fits':
        from astroflat.io._sources_fits import fits_entries

        return fits_entries(
            path, resources, ext=options.ext, color=options.color, single=single
        )
    from astroflat.io._sources_images import image_entries, tiff_entries

    if kind == 'tiff':
        return tiff_entries(path, resources)
    return image_entries(path, resources)


def _open_video(path: Path, kind: str, options: Options) -> FrameSource:
    """Open a video."""
    if kind == 'ser':
        from astroflat.io._sources_ser import SERSource
        from astroflat.io.ser import SERFile

        video = SERFile(
            path,
            byteorder=options.byteorder,
            color=options.color,
            partial=options.partial,
        )
        return SERSource(video)
    from astroflat.io._spool import spool
    from astroflat.io.video import VideoReader

    reader = VideoReader(path, color=options.color, partial=options.partial)
    source = spool(reader, path.name)
    source.color = reader.color
    return source


def file_kind(path: Path) -> str:
    """
    Tell the kind of a file by its first bytes.

    Parameters
    ----------
    path : `pathlib.Path`
        The file.

    Returns
    -------
    kind : str
        'ser', 'video', or a name of `astroflat.io.images.image_format`.
    """
    from astroflat.io.images import image_format

    kind = image_format(path)
    if kind is not None:
        return kind
    with path.open('rb') as file:
        head = file.read(16)
    if head.startswith(b'LUCAM-RECORDER'):
        return 'ser'
    matroska, ftyp = head.startswith(b'\x1aE\xdf\xa3'), head[4:8]
    if (
        matroska
        or head[8:12] == b'AVI '
        or ftyp in (b'ftyp', b'moov', b'wide', b'mdat')
    ):
        return 'video'
    if path.suffix.lower() == '.ser':
        # With the message that belongs to it.
        return 'ser'
    msg = (
        f'{path.name!r} is of an unknown kind: it is no FITS, SER, TIFF, PNG, JPEG, '
        'XISF, AVI, MP4, MOV or MKV file'
    )
    raise ImageFormatError(msg)


def _describe(source: Any) -> str:
    shape = getattr(source, 'shape', None)
    kind = type(source).__name__
    return f'{kind} of shape {shape}' if isinstance(shape, tuple) else kind
