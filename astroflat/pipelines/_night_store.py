# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The folder of the results of a night, and the work that is kept while it lasts.

Whatever is written gets its name when it is complete, and its record after that:
a run that is killed leaves whole files, and the next one goes on from there.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from astropy.nddata import CCDData

__all__ = ['NightStore', 'publish', 'read_json', 'write_json', 'write_master']

_WORK = '.night'


def publish(path: str | os.PathLike, write: Callable[[Path], Any]) -> int:
    """
    Write a file under another name, and rename it when it is on the disk.

    Parameters
    ----------
    path : path-like
        The file; one that is there is replaced.

    write : callable
        Takes the name to write to.

    Returns
    -------
    size : int
        The size of the file in bytes.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Inside of the work folder, which is removed at the end: what a killed run
    # leaves is not left for long.
    scratch = _scratch_for(path)
    scratch.mkdir(parents=True, exist_ok=True)
    temporary = scratch / f'{uuid.uuid4().hex}-{path.name}'
    try:
        write(temporary)
        with temporary.open('rb+') as handle:
            os.fsync(handle.fileno())
        size = temporary.stat().st_size
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return size


def _scratch_for(path: Path) -> Path:
    """Return the folder for unfinished files: in the work folder above a file."""
    for parent in path.parents:
        if parent.name == _WORK:
            return parent / 'unfinished'
        if (parent / _WORK).is_dir():
            return parent / _WORK / 'unfinished'
    msg = f'{path.name!r} is in no folder of results'
    raise FileNotFoundError(msg)


def write_master(path: str | os.PathLike, image: CCDData) -> None:
    """
    Write an image of the work folder.

    Parameters
    ----------
    path : path-like
        The file.

    image : `~astropy.nddata.CCDData`
        The image.
    """
    from astroflat.io import write_image

    publish(path, lambda temporary: write_image(image, temporary))


def write_json(path: str | os.PathLike, content: Any) -> None:
    """
    Write a JSON file.

    Parameters
    ----------
    path : path-like
        The file.

    content : object
        What JSON knows; not a number becomes null.
    """
    from astroflat._report import _plain

    text = json.dumps(_plain(content), indent=1, allow_nan=False) + '\n'
    publish(path, lambda temporary: temporary.write_text(text, encoding='utf-8'))


def read_json(path: str | os.PathLike) -> Any:
    """
    Read a JSON file.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    content : object
        None if there is no such file, or it is none of ours.
    """
    try:
        return json.loads(Path(path).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None


class NightStore:
    """
    The folder of the results.

    Parameters
    ----------
    folder : `pathlib.Path`
        The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / _WORK
        self.report = folder / 'night.json'

    @contextmanager
    def locked(self) -> Iterator[None]:
        """
        Keep other runs out of the folder, as long as this one lives.

        Raises
        ------
        BlockingIOError
            If another run is at work there.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        with (self.work / 'lock').open('a') as handle:
            if not _lock(handle):
                msg = f'another run is at work in {self.folder.name!r}; wait for it'
                raise BlockingIOError(msg)
            shutil.rmtree(self.work / 'unfinished', ignore_errors=True)
            yield

    def finish(self) -> None:
        """Remove the work folder: the records are in the report."""
        shutil.rmtree(self.work, ignore_errors=True)

    def record_path(self, key: str) -> Path:
        """
        Return where the record of a frame is kept.

        Parameters
        ----------
        key : str
            The key of the frame.

        Returns
        -------
        path : `pathlib.Path`
            A file in the work folder.
        """
        return self.work / 'frames' / f'{key}.json'

    def path(self, kind: str, key: str, suffix: str = '.fits') -> str:
        """
        Return where something is kept while the work lasts.

        Parameters
        ----------
        kind : str
            What it is.

        key : str
            What it depends on.

        suffix : str, optional
            The suffix.

        Returns
        -------
        path : str
            A file in the work folder.
        """
        return os.fspath(self.work / 'masters' / f'{kind}-{key}{suffix}')

    def last_report(self) -> dict[str, Any]:
        """
        Return the report of the last run that was finished.

        Returns
        -------
        report : dict
            Empty if there is none.
        """
        report = read_json(self.report)
        return report if isinstance(report, dict) else {}

    def done(self, key: str, known: dict[str, dict]) -> dict[str, Any] | None:
        """
        Return the record of a frame, if its results are there.

        Parameters
        ----------
        key : str
            The key of the frame.

        known : dict
            The records of the last report by key.

        Returns
        -------
        record : dict or None
            None if anything is missing, or has another size.
        """
        record = known.get(key) or read_json(self.record_path(key))
        if not isinstance(record, dict) or record.get('status') == 'failed':
            return None
        for name, size in record['files'].items():
            path = self.folder / name
            if not path.is_file() or path.stat().st_size != size:
                return None
        return record


def _lock(handle: Any) -> bool:
    """Lock a file until it is closed or the process ends; tell whether it worked."""
    try:
        import fcntl
    except ImportError:
        # Without locks two runs write the same bytes to the same names.
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
