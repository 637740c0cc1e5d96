# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Frames that overlap with each other, and those that overlap with none."""

from __future__ import annotations

import numpy as np

__all__ = ['islands', 'lonely']

# Frames that share less than this of their area are not compared.
_SHARED = 0.02


def islands(
    offsets: np.ndarray, shape: tuple[int, int], groups: np.ndarray
) -> np.ndarray:
    """
    Divide groups of frames into parts that see skies of their own.

    Frames of different parts share the flat, but no sky; one array for the sky
    of all would be as large as the distance between them.

    Parameters
    ----------
    offsets : `~numpy.ndarray`
        ``(n, 2)``.

    shape : tuple of int
        Of a frame.

    groups : `~numpy.ndarray` of int
        ``(n,)``: frames of different groups never see the same sky.

    Returns
    -------
    groups : `~numpy.ndarray` of int
        ``(n,)``, from 0 without gaps, in the order of the first frames. The
        same as given if all frames of each group hang together.
    """
    from scipy.sparse.csgraph import connected_components

    apart = np.abs(offsets[:, None] - offsets[None]) / np.array(shape)
    shared = np.prod(np.maximum(1 - apart, 0), axis=2) > _SHARED
    _, labels = connected_components(shared & (groups[:, None] == groups))
    _, first = np.unique(labels, return_index=True)
    return np.argsort(np.argsort(first))[labels]


def lonely(groups: np.ndarray) -> list[int]:
    """
    Return frames that overlap with no other.

    Parameters
    ----------
    groups : `~numpy.ndarray` of int
        What `islands` returns.

    Returns
    -------
    frames : list of int
        Their numbers.
    """
    return np.flatnonzero(np.bincount(groups)[groups] == 1).tolist()
