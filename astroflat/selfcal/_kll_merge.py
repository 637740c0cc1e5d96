# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Averages of frames of nearly the same offset, where there are many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from astroflat._progress import progress
from astroflat.selfcal._kll_frames import merge_frames

if TYPE_CHECKING:
    from astroflat.selfcal._kll_frames import Frames
    from astroflat.selfcal._kll_settings import Settings

__all__ = ['merge', 'merge_labels']

# Frames closer than this are not told apart if there are too many, in pixels.
_CELLS = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0)


def merge_labels(
    offsets: np.ndarray, groups: np.ndarray, max_frames: int
) -> np.ndarray | None:
    """
    Return which frames to average.

    Parameters
    ----------
    offsets : `~numpy.ndarray`
        ``(n, 2)``.

    groups : `~numpy.ndarray` of int
        ``(n,)``: only frames of one group are averaged.

    max_frames : int
        How many shall be left.

    Returns
    -------
    labels : `~numpy.ndarray` of int or None
        ``(n,)``; None to average none.
    """
    if len(offsets) <= max_frames:
        return None
    for cell in _CELLS:
        key = np.column_stack([np.floor(offsets / cell), groups]).astype(int)
        _, labels = np.unique(key, axis=0, return_inverse=True)
        labels = labels.ravel()
        if labels.max() < max_frames:
            break
    # In the order of time, so that every other one is a fair half.
    _, first = np.unique(labels, return_index=True)
    return np.argsort(np.argsort(first))[labels]


def merge(
    frames: Frames,
    labels: np.ndarray,
    offsets: np.ndarray,
    groups: np.ndarray,
    weights: np.ndarray | None,
    settings: Settings,
) -> tuple:
    """
    Average frames, and everything that belongs to them.

    Parameters
    ----------
    frames : Frames
        The frames.

    labels : `~numpy.ndarray` of int
        Which to average.

    offsets, groups, weights : `~numpy.ndarray`
        Theirs.

    settings : Settings
        The settings.

    Returns
    -------
    frames, offsets, groups, weights
        Fewer.
    """
    number = np.bincount(labels).astype(float)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(labels, values) / number

    share = number / number.max()
    if weights is not None:
        if weights.ndim == 3:
            msg = (
                f'weights of each sample need each frame; pass max_frames={len(labels)}'
            )
            raise ValueError(msg)
        share = (
            share * mean(weights)
            if weights.ndim == 1
            else share[:, None, None] * (weights)
        )
    count = iter(
        progress(range(len(labels)), enabled=settings.progress_bar, description='read')
    )
    merged = merge_frames(
        frames, labels, lambda _: next(count, None), mem_limit=settings.mem_limit
    )
    places = np.column_stack([mean(offsets[:, 0]), mean(offsets[:, 1])])
    return merged, places, mean(groups.astype(float)).astype(int), share
