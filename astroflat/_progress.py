# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A progress bar where the user wants one and tqdm is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ['progress']


def progress(
    items: Iterable,
    *,
    enabled: bool = False,
    total: int | None = None,
    description: str = '',
) -> Iterable:
    """
    Show the progress through an iterable on standard error.

    Parameters
    ----------
    items : iterable
        What is gone through.

    enabled : bool, optional
        Whether to show anything.

    total : int, optional
        The number of items, if ``items`` has no length.

    description : str, optional
        What is being done.

    Returns
    -------
    items : iterable
        The same items. Without tqdm nothing is shown.
    """
    tqdm = _tqdm() if enabled else None
    if tqdm is None:
        return items
    return tqdm(items, total=total, desc=description)


def _tqdm() -> Any:
    """Return tqdm, or None if it is not installed."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm
