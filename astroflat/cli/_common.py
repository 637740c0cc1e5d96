# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What several commands share."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

__all__ = [
    'add_offsets',
    'add_output',
    'add_resources',
    'add_source',
    'as_path',
    'beside',
    'check_beside',
    'one_or_many',
    'parse_bytes',
    'say',
    'wants_figure',
]

# Suffixes of outputs that are one file, not a folder.
_FILES = ('.fits', '.fit', '.fts', '.gz', '.tif', '.tiff', '.png', '.xisf', '.ser')


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add the frames to read."""
    parser.add_argument(
        'source',
        nargs='+',
        metavar='SOURCE',
        help='a video (SER, AVI, ...), a cube, a folder, or image files',
    )


def add_output(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the output and what belongs to it."""
    parser.add_argument('-o', '--output', required=True, metavar='FILE', help=text)
    parser.add_argument(
        '--overwrite', action='store_true', help='replace existing files'
    )
    parser.add_argument(
        '--no-report', action='store_true', help='write no JSON report beside it'
    )


def add_offsets(parser: argparse.ArgumentParser) -> None:
    """Add what is subtracted from the frames."""
    parser.add_argument('--bias', metavar='FILE', help='a master bias to subtract')
    parser.add_argument('--dark', metavar='FILE', help='a master dark to subtract')


def add_resources(parser: argparse.ArgumentParser) -> None:
    """Add the limits of memory and threads, and the progress bar."""
    parser.add_argument(
        '--threads', type=int, metavar='N', help='number of threads; default: all'
    )
    parser.add_argument(
        '-q', '--quiet', action='store_true', help='no progress and no summary'
    )


def parse_bytes(text: str) -> float:
    """
    Read a size such as ``256M`` or ``2G``.

    Parameters
    ----------
    text : str
        A number with an optional suffix k, M or G.

    Returns
    -------
    size : float
        Bytes.
    """
    factors = {'k': 1e3, 'm': 1e6, 'g': 1e9}
    factor = factors.get(text[-1:].lower(), 1)
    try:
        size = float(text[:-1] if factor > 1 else text) * factor
    except ValueError:
        size = 0
    if not size > 0:
        msg = f'{text!r} is not a size; write for example 256M or 2G'
        raise argparse.ArgumentTypeError(msg)
    return size


def one_or_many(source: list[str]) -> Any:
    """Return the only item of a list, or the list."""
    return source[0] if len(source) == 1 else source


def as_path(name: str | None) -> Path | None:
    """Return the path of an argument, if it was given."""
    return None if name is None else Path(name)


def beside(path: str | Path, suffix: str) -> Path:
    """Return the name of a file beside another one."""
    path = Path(path)
    name = path.name
    for ending in ('.fits.gz', '.fit.gz'):
        if name.endswith(ending):
            return path.with_name(name[: -len(ending)] + suffix)
    return path.with_suffix(suffix)


def check_beside(
    output: str | Path, paths: list[Path], *, overwrite: bool = False
) -> None:
    """
    Check that files beside an output may be written, before anything is done.

    Parameters
    ----------
    output : str or path-like
        The output. What is written into a folder has names of its own, and is
        replaced.

    paths : list of path-like
        The files beside it.

    overwrite : bool, optional
        Whether existing files may be replaced.

    Raises
    ------
    FileExistsError
        If one exists and ``overwrite`` is `False`.
    """
    from astroflat._files import check_output

    if Path(output).suffix.lower() in _FILES and not Path(output).is_dir():
        for path in paths:
            check_output(path, overwrite=overwrite)


def wants_figure(choice: bool | None) -> bool:
    """
    Tell whether to draw a figure.

    Parameters
    ----------
    choice : bool or None
        What the user asked for; `None` draws if matplotlib is installed.

    Returns
    -------
    wanted : bool
        Whether to draw.
    """
    installed = importlib.util.find_spec('matplotlib') is not None
    if choice and not installed:
        msg = "figures need matplotlib: pip install 'astroflat[plot]'"
        raise ImportError(msg)
    return installed if choice is None else choice


def say(text: str = '', *, quiet: bool = False) -> None:
    """Print a line of the summary."""
    if quiet:
        return
    try:
        print(text)
    except UnicodeEncodeError:
        # A name or a sign that the terminal, or the file behind it, does not know.
        code = sys.stdout.encoding
        print(text.encode(code, 'backslashreplace').decode(code))
    sys.stdout.flush()
