# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A progress bar where the user wants one and tqdm is there."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ['listen', 'progress']

_LISTENER: ContextVar[Callable[[int, int, str], None] | None] = ContextVar(
    'astroflat_progress', default=None
)


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
        The same items. Without tqdm nothing is shown. Inside of `listen` the
        listener is told in place of it.
    """
    listener = _LISTENER.get()
    if listener is not None:
        return _told(items, listener, total, description)
    tqdm = _tqdm() if enabled else None
    if tqdm is None:
        return items
    return tqdm(items, total=total, desc=description)


@contextmanager
def listen(listener: Callable[[int, int, str], None]) -> Iterator[None]:
    """
    Have a function told of all progress inside of a block, in place of a bar.

    Parameters
    ----------
    listener : callable
        Called with the number of items done, of all items (0 if unknown), and
        what is being done.

    Examples
    --------
    >>> from astroflat._progress import listen, progress
    >>> with listen(lambda *told: print(told)):
    ...     for _ in progress('ab', description='letters'):
    ...         pass
    (1, 2, 'letters')
    (2, 2, 'letters')
    """
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def _told(
    items: Iterable,
    listener: Callable[[int, int, str], None],
    total: int | None,
    description: str,
) -> Iterator:
    """Go through items and tell after each."""
    if total is None:
        total = len(items) if hasattr(items, '__len__') else 0
    for done, item in enumerate(items, start=1):
        yield item
        listener(done, total, description)


def _tqdm() -> Any:
    """Return tqdm, or None if it is not installed."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm
