# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A bar for those who wait."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from astroflat.combine._core import Progress

__all__ = ['show_progress']


@contextlib.contextmanager
def show_progress(wanted: Any, total: int) -> Iterator[Progress | None]:
    """
    Show how far it is, if wanted.

    Parameters
    ----------
    wanted : bool or callable
        A function is called in place of a bar.

    total : int
        The number of rows.

    Yields
    ------
    progress : callable or None
        To be called with the number of rows done and of all rows.
    """
    if callable(wanted) or not wanted:
        yield wanted or None
        return
    from astropy.utils.console import ProgressBar

    with ProgressBar(total, file=sys.stderr) as bar:
        yield lambda done, _: bar.update(done)
