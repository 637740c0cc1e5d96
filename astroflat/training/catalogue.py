# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What is in a folder of frames: a catalogue, its checks and its splits.

The catalogue is a table of Astropy with one row for each file. Paths in it are
relative, so that it can move with the frames.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.training._catalogue_file import describe_file
from astroflat.training.user_images import list_images

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = [
    'catalogue_frames',
    'check_catalogue',
    'read_catalogue',
    'split_catalogue',
    'subsample',
    'write_catalogue',
]

_SPLITS = ('train', 'validate', 'test')
# Parts of the pixels.
_FULL, _BAD = 0.05, 0.5


def catalogue_frames(source: Path | str | Sequence[Path | str]) -> Table:
    """
    Describe image files.

    Parameters
    ----------
    source : path-like or sequence of path-like
        A folder, with the folders within, or files.

    Returns
    -------
    Table
        One row for each file: ``path``, relative to ``meta['root']``; ``sha256``,
        ``bytes``; ``duplicate_of``, the path of an earlier file with the same
        bytes or pixels; ``format``, ``dtype``, ``ny``, ``nx``, ``planes``;
        ``telescope``, ``instrument``, ``filter``, ``object``, ``date``,
        ``exposure`` and ``gain`` of the header; ``median``, ``noise`` (between
        neighbours), ``finite`` and ``full`` (parts of the pixels that are
        finite, and that have the highest value); ``error``, why a file cannot be read.

    Raises
    ------
    ValueError
        If there is no image.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from astroflat.io import write_image
    >>> from astroflat.training.catalogue import catalogue_frames
    >>> folder = Path(tempfile.mkdtemp())
    >>> frame = np.random.default_rng(1).poisson(300, (32, 48)).astype('u2')
    >>> for name in ('a.fits', 'b.fits'):
    ...     _ = write_image(frame, folder / name)
    >>> table = catalogue_frames(folder)
    >>> table['path', 'duplicate_of', 'ny', 'nx'].pprint()
     path  duplicate_of  ny  nx
    ------ ------------ --- ---
    a.fits               32  48
    b.fits       a.fits  32  48
    """
    from astropy.table import Table

    files, root = _files(source)
    rows = [describe_file(path, root) for path in files]
    seen: dict[str, str] = {}
    for row in rows:
        known = [row.pop('pixels'), row['sha256']]
        first = next((seen[key] for key in known if key in seen), '')
        row['duplicate_of'] = first
        for key in known:
            if key:
                seen.setdefault(key, first or row['path'])
    return Table(rows, meta={'root': str(root)})


def _files(source: Any) -> tuple[list[Path], Path]:
    """Return the files, and the folder that they have in common."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if path.is_file():
            return [path], path.parent
        return list_images(path), path
    files = [Path(path) for path in source]
    if not files:
        msg = 'there are no frames; give files or a folder'
        raise ValueError(msg)
    root = Path(os.path.commonpath([path.absolute().parent for path in files]))
    return [path.absolute() for path in files], root


def write_catalogue(table: Table, path: Path | str, *, overwrite: bool = False) -> Path:
    """
    Write a catalogue.

    Parameters
    ----------
    table : Table
        The catalogue.
    path : path-like
        ``.ecsv`` (text), or ``.parquet`` with pyarrow.
    overwrite : bool, optional
        Replace a file.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If the name ends otherwise.
    ImportError
        If pyarrow is missing.
    OSError
        If the file is there.
    """
    path = Path(path)
    table.write(path, format=_format(path), overwrite=overwrite)
    return path


def read_catalogue(path: Path | str) -> Table:
    """
    Read a catalogue.

    Parameters
    ----------
    path : path-like
        File written by `write_catalogue`.

    Returns
    -------
    Table
        The catalogue. If ``meta['root']`` is no longer there, the folder of the
        file takes its place.
    """
    from astropy.table import Table

    path = Path(path)
    table = Table.read(path, format=_format(path))
    if not Path(table.meta.get('root', '')).is_dir():
        table.meta['root'] = str(path.parent)
    return table.filled('') if table.has_masked_columns else table


def _format(path: Path) -> str:
    """Format of the table by the name of the file."""
    formats = {'.ecsv': 'ascii.ecsv', '.parquet': 'parquet'}
    if path.suffix.lower() not in formats:
        msg = f'the catalogue {path.name!r} must end in .ecsv or .parquet'
        raise ValueError(msg)
    return formats[path.suffix.lower()]


def check_catalogue(table: Table, *, size: int = 1, linear: bool = True) -> None:
    """
    Refuse frames that nothing can be learned from.

    Parameters
    ----------
    table : Table
        The catalogue.
    size : int, optional
        Pixels that frames must have on each side.
    linear : bool, optional
        Refuse files that cannot hold linear light: JPEG, and PNG of 8 bits.

    Raises
    ------
    ValueError
        Naming each file and what is wrong with it: it cannot be read, is too
        small, constant, full or hardly finite, is a duplicate, is not linear; or
        its split is not that of its parent.
    """
    problems = [
        f'{row["path"]}: {reason}'
        for row in table
        for reason in _reasons(row, size, linear)
    ]
    if 'split' in table.colnames:
        problems += _leaks(table)
    if problems:
        shown = '\n  '.join(problems[:20])
        more = f'\n  and {len(problems) - 20} more' if len(problems) > 20 else ''
        msg = f'{len(problems)} problems with the frames:\n  {shown}{more}'
        raise ValueError(msg)


def _reasons(row: Any, size: int, linear: bool) -> list[str]:
    """Say what is wrong with a file."""
    if row['error']:
        return [f'cannot be read ({row["error"]})']
    tests = {
        f'a duplicate of {row["duplicate_of"]}': bool(row['duplicate_of']),
        f'{row["nx"]} x {row["ny"]} pixels, fewer than {size} on a side': (
            min(row['ny'], row['nx']) < size
        ),
        'more than half of the pixels are not finite': row['finite'] < 1.0 - _BAD,
        'constant': not row['noise'] > 0 and row['full'] > _BAD,
        'at its highest value in too many pixels': (
            row['noise'] > 0 and row['full'] > _FULL
        ),
    }
    if linear:
        # An 8-bit FITS file may be a frame of a video; an 8-bit PNG is a picture.
        picture = row['format'] == 'png' and row['dtype'] == 'uint8'
        tests['a picture of 8 bits, which is not linear light'] = picture or row[
            'format'
        ] in ('jpg', 'jpeg')
    return [reason for reason, wrong in tests.items() if wrong]


def _leaks(table: Table) -> list[str]:
    """Parents in more than one split."""
    splits: dict[str, set[str]] = {}
    for row in table:
        splits.setdefault(str(row['parent']), set()).add(str(row['split']))
    return [
        f'parent {parent}: in the splits {sorted(names)}'
        for parent, names in splits.items()
        if len(names) > 1
    ]


def split_catalogue(
    table: Table,
    *,
    fractions: tuple[float, float, float] = (0.8, 0.2, 0.0),
    by: str | None = None,
    seed: int = 0,
) -> Table:
    """
    Split frames for training, validation and test, whole parents at a time.

    Parameters
    ----------
    table : Table
        The catalogue.
    fractions : tuple of float, optional
        Parts of the parents for ``train``, ``validate`` and ``test``.
    by : str, optional
        A column, as ``'object'``: frames with the same value have one parent.
        By default each frame is a parent, its duplicates have the same.
    seed : int, optional
        Another seed gives another split.

    Returns
    -------
    Table
        A copy with the columns ``parent`` and ``split``. All tiles of a parent
        belong to its split.

    Raises
    ------
    ValueError
        If the fractions are not parts of 1, or ``by`` is no column.

    Notes
    -----
    The order of the files plays no part: parents are sorted by a hash of their
    name and the seed.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1.0) > 1e-6:
        msg = f'fractions must be positive and sum to 1, not {fractions}'
        raise ValueError(msg)
    if by is not None and by not in table.colnames:
        msg = f'by={by!r} is no column of the catalogue; it has {table.colnames}'
        raise ValueError(msg)
    parents = [_parent(row, by) for row in table]
    order = sorted(set(parents), key=lambda name: _rank(name, seed))
    ends = np.round(np.cumsum(fractions) * len(order)).astype(int)
    place = {
        name: np.searchsorted(ends, k, side='right') for k, name in enumerate(order)
    }
    result = table.copy()
    result['parent'] = parents
    result['split'] = [_SPLITS[place[name]] for name in parents]
    return result


def _parent(row: Any, by: str | None) -> str:
    """Name of the parent of a file."""
    if by is not None and str(row[by]):
        return str(row[by])
    return str(row['duplicate_of'] or row['path'])


def _rank(name: str, seed: int) -> str:
    return hashlib.sha256(f'{seed}/{name}'.encode()).hexdigest()


def subsample(table: Table, count: int, *, seed: int = 0) -> Table:
    """
    Choose some frames.

    Parameters
    ----------
    table : Table
        The catalogue.
    count : int
        How many; from each split in proportion, if there are splits.
    seed : int, optional
        Another seed gives another choice.

    Returns
    -------
    Table
        Rows in their order.

    Raises
    ------
    ValueError
        If there are fewer.
    """
    if not 0 < count <= len(table):
        msg = f'count must be from 1 to {len(table)}, not {count}'
        raise ValueError(msg)
    ranks = np.argsort([_rank(str(row['path']), seed) for row in table])
    names = table['split'] if 'split' in table.colnames else np.full(len(table), '')
    share = {name: k / len(table) for name, k in Counter(map(str, names)).items()}
    taken: Counter = Counter()
    # Whoever is farthest behind its share is next.
    chosen, left = [], list(ranks)
    while len(chosen) < count:
        behind = {k: (taken[k] + 1) / share[k] for k in {str(names[i]) for i in left}}
        name = min(sorted(behind), key=behind.get)
        index = next(i for i in left if str(names[i]) == name)
        taken[name] += 1
        left.remove(index)
        chosen.append(index)
    return table[sorted(chosen)]
