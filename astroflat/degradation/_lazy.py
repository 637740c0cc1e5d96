# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Frames that are made when they are looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

__all__ = ['LazyFrames']


class LazyFrames(Sequence):
    """
    Sequence of frames, each made anew whenever it is asked for.

    Parameters
    ----------
    make : callable
        Function of the number of a frame.
    n : int
        Number of frames.

    Examples
    --------
    >>> from astroflat.degradation._lazy import LazyFrames
    >>> squares = LazyFrames(lambda i: i * i, 5)
    >>> len(squares), squares[-1], list(squares[1:3])
    (5, 16, [1, 4])
    """

    def __init__(self, make: Callable[[int], Any], n: int) -> None:
        self._make = make
        self._index = range(n)

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, item: int | slice) -> Any:
        if isinstance(item, slice):
            part = LazyFrames(self._make, 0)
            part._index = self._index[item]
            return part
        return self._make(self._index[item])

    def __iter__(self) -> Iterator[Any]:
        return map(self._make, self._index)

    def __repr__(self) -> str:
        return f'<LazyFrames, {len(self)} frames>'
