# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""One kind of error for all that can be wrong with a file."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from astroflat._exceptions import AstroflatWarning, ImageFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ['check_promise', 'reading']

# A deflate stream cannot grow by more than this when it is decompressed.
_MAX_RATIO = 1032


@contextmanager
def reading(name: str, kind: str) -> Iterator[None]:
    """
    Turn what a library raises over a damaged file into one error.

    Parameters
    ----------
    name : str
        The name of the file.

    kind : str
        The format, as in the message.

    Yields
    ------
    None
        Nothing.

    Raises
    ------
    ImageFormatError
        For anything but a file that cannot be opened at all, and our own
        warnings where the user made errors of them.
    """
    try:
        yield
    except (ImageFormatError, AstroflatWarning, FileNotFoundError, PermissionError):
        raise
    except Exception as error:
        # The readers trust the file and raise whatever they stumble over:
        # KeyError, TypeError, zlib.error, and private classes of their own.
        what = str(error) or type(error).__name__
        msg = f'{name!r} cannot be read as {kind}: {what}'
        raise ImageFormatError(msg) from error


def check_promise(promised: int, size: int, name: str, *, compressed: bool) -> None:
    """
    Refuse a header that promises more pixels than its file can hold.

    Believing it would fill the memory before the damage shows.

    Parameters
    ----------
    promised : int
        The bytes of pixels that the header promises.

    size : int
        The bytes of the file.

    name : str
        The name of the file.

    compressed : bool
        Whether the pixels are compressed.

    Raises
    ------
    ImageFormatError
        If the file is too small.
    """
    if promised <= 0 or promised > size * (_MAX_RATIO if compressed else 1):
        msg = (
            f'{name!r} is truncated or damaged: its header promises {promised} bytes '
            f'of pixels, the file has {size} bytes'
        )
        raise ImageFormatError(msg)
