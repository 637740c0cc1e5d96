# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Output files that are either complete or absent."""

from __future__ import annotations

import os
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ['atomic_path', 'check_output']


def check_output(path: str | os.PathLike, *, overwrite: bool = False) -> Path:
    """
    Check that a file may be written.

    Parameters
    ----------
    path : str or path-like
        The file to be written.

    overwrite : bool, optional
        Whether an existing file may be replaced.

    Returns
    -------
    path : `pathlib.Path`
        The same path.

    Raises
    ------
    FileExistsError
        If the file exists and ``overwrite`` is `False`.

    FileNotFoundError
        If the folder of the file does not exist.
    """
    path = Path(path)
    if path.is_dir():
        msg = f'{path.name!r} is a folder; give the name of a file'
        raise IsADirectoryError(msg)
    if path.exists() and not overwrite:
        msg = f'{path.name!r} exists; use overwrite=True to replace it'
        raise FileExistsError(msg)
    if not path.parent.is_dir():
        msg = f'the folder of {path.name!r} does not exist; make it first'
        raise FileNotFoundError(msg)
    return path


@contextmanager
def atomic_path(path: str | os.PathLike, *, overwrite: bool = False) -> Iterator[Path]:
    """
    Write a file under a temporary name and rename it when it is complete.

    Parameters
    ----------
    path : str or path-like
        The file to be written.

    overwrite : bool, optional
        Whether an existing file may be replaced.

    Yields
    ------
    temporary : `pathlib.Path`
        A name in the same folder with the same suffixes. It is renamed to
        ``path`` when the block ends, and removed when the block raises.

    Examples
    --------
    >>> import os, tempfile
    >>> from astroflat._files import atomic_path
    >>> folder = tempfile.mkdtemp()
    >>> with atomic_path(os.path.join(folder, 'a.txt')) as temporary:
    ...     _ = temporary.write_text('complete')
    >>> os.listdir(folder)
    ['a.txt']
    """
    path = check_output(path, overwrite=overwrite)
    # The suffixes stay last: writers choose the format by them.
    temporary = path.with_name(f'.{uuid.uuid4().hex[:8]}-{path.name}')
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
