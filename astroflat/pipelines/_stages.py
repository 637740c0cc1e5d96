# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Stages of a job, kept on disk and found again.

A stage is known by a key: a hash of its inputs, of its settings and of the
keys of the stages before it. A file whose key differs is computed again, and
so is a file that was deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from astropy.nddata import CCDData

__all__ = ['StageStore', 'fingerprint', 'hash_of_values']

_INDEX = 'stages.json'


def fingerprint(source: Any) -> str:
    """
    Return a hash that changes when an input changes.

    Parameters
    ----------
    source : path, list of path, array, CCDData, number, str or None
        The input. A file, also of a pattern, is known by its name, size and
        time of change; arrays and open frames by their content.

    Returns
    -------
    key : str
        40 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=20)
    _feed(digest, source)
    return digest.hexdigest()


def hash_of_values(values: Any) -> str:
    """
    Return a hash of plain values.

    Parameters
    ----------
    values : object
        Numbers, texts, and lists of them; a text is itself, also if a file is
        called so.

    Returns
    -------
    key : str
        40 hexadecimal digits.
    """
    return hashlib.blake2b(repr(values).encode(), digest_size=20).hexdigest()


def _feed(digest: Any, source: Any) -> None:
    """Feed an input to a hash."""
    if isinstance(source, os.PathLike) or _is_file(source):
        path = Path(source)
        if path.is_dir():
            _feed(digest, sorted(path.iterdir()))
            return
        stat = path.stat()
        text = f'{path.name}|{stat.st_size}|{stat.st_mtime_ns}'
        digest.update(text.encode())
    elif isinstance(source, str) and any(c in source for c in '*?[~'):
        _feed_pattern(digest, source)
    elif isinstance(source, (list, tuple)):
        for item in source:
            _feed(digest, item)
            digest.update(b'|')
    elif hasattr(source, 'files_filtered'):
        _feed(digest, [Path(p) for p in source.files_filtered(include_path=True)])
    elif hasattr(source, 'data') and hasattr(source, 'mask'):
        _feed_container(digest, source)
    elif isinstance(source, np.ndarray):
        digest.update(f'{source.dtype.str}{source.shape}'.encode())
        digest.update(str(getattr(source, 'unit', '')).encode())
        digest.update(np.ascontiguousarray(source).view(np.uint8).data)
    else:
        _feed_object(digest, source)


def _feed_pattern(digest: Any, pattern: str) -> None:
    """Feed the files of a pattern; other texts are themselves."""
    from astroflat.io._resolve import list_files

    try:
        files: Any = list_files(pattern)
    except (OSError, ValueError):
        files = []
    digest.update(pattern.encode())
    _feed(digest, files)


def _feed_container(digest: Any, source: Any) -> None:
    """Feed an image with its mask, uncertainty and unit."""
    uncertainty = getattr(source, 'uncertainty', None)
    _feed(digest, np.asarray(source.data))
    _feed(digest, None if source.mask is None else np.asarray(source.mask))
    digest.update(str(getattr(source, 'unit', '')).encode())
    if uncertainty is not None and uncertainty.array is not None:
        digest.update(type(uncertainty).__name__.encode())
        _feed(digest, np.asarray(uncertainty.array))


def _feed_object(digest: Any, source: Any) -> None:
    """Feed frames that are open, or anything that its name describes."""
    digest.update(repr(source).encode())
    if hasattr(source, 'dask') and hasattr(source, 'chunks'):
        # The name of a dask array is a hash; what it prints is not.
        digest.update(str(source.name).encode())
    elif hasattr(source, 'mask_rows'):
        # Stacks of the same size print alike.
        for i, frame in enumerate(source):
            _feed(digest, frame)
            mask = source[i : i + 1].mask_rows(0, source.shape[1])
            _feed(digest, mask)
    elif hasattr(source, 'timestamps'):
        _feed(digest, source.path)
    elif hasattr(source, '__next__'):
        # Nobody knows what an iterator will yield.
        digest.update(os.urandom(16))


def _is_file(source: Any) -> bool:
    """Tell whether a text is the name of a file; settings can be long texts."""
    try:
        return isinstance(source, str) and Path(source).exists()
    except (OSError, ValueError):
        return False


class StageStore:
    """
    Compute stages, or read them from a folder if nothing has changed.

    Parameters
    ----------
    folder : path-like or None
        Where the stages are kept; it is made if needed. `None` keeps nothing.

    key : str
        The hash of the inputs.
    """

    def __init__(self, folder: str | os.PathLike | None, key: str) -> None:
        self.folder = None if folder is None else Path(folder)
        self.key = key
        self.reused: list[str] = []
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)

    def run(self, name: str, settings: Any, compute: Callable[[], CCDData]) -> CCDData:
        """
        Return the image of a stage.

        Parameters
        ----------
        name : str
            The name of the stage and of its file.

        settings : object
            What the result depends on besides the stages before.

        compute : callable
            Makes the image.

        Returns
        -------
        image : `~astropy.nddata.CCDData`
            Computed, or read if the key on disk is the same.
        """
        self.key = hash_of_values([self.key, name, repr(settings)])
        if self.folder is None:
            return compute()
        path = self.folder / f'{name}.fits'
        found = self._read(path)
        if found is not None:
            self.reused.append(name)
            return found
        image = compute()
        self._write(path, image)
        return image

    def _read(self, path: Path) -> CCDData | None:
        """Read a stage if it is there, whole, and has the right key."""
        from astroflat.io.images import read_ccd

        entry = self._index().get(path.name)
        if not path.is_file() or entry != [self.key, path.stat().st_size]:
            return None
        return read_ccd(path)

    def _write(self, path: Path, image: CCDData) -> None:
        """Write a stage, and then its key: a stage without a key is not used."""
        with atomic_path(path, overwrite=True) as temporary:
            image.write(temporary, format='fits')
        index = self._index() | {path.name: [self.key, path.stat().st_size]}
        with atomic_path(self.folder / _INDEX, overwrite=True) as temporary:
            temporary.write_text(json.dumps(index, indent=2), encoding='utf-8')

    def _index(self) -> dict[str, list]:
        """Return the key and the size of every stage in the folder."""
        try:
            index = json.loads((self.folder / _INDEX).read_text(encoding='utf-8'))
        except (OSError, ValueError):
            return {}
        return index if isinstance(index, dict) else {}
