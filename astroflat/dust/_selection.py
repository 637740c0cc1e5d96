# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
From many candidates to few objects, each with a probability.
"""

from __future__ import annotations

import numpy as np

from astroflat.dust._candidates import CANDIDATE
from astroflat.dust._features import Features, measure_candidates
from astroflat.dust._scatter import BlockMap

__all__ = ['look_closer', 'thin_out']

_Z, _SIGN, _X, _Y, _RADIUS = range(len(CANDIDATE))


def thin_out(candidates: np.ndarray) -> np.ndarray:
    """
    Keep the most significant of candidates that nearly agree.

    Parameters
    ----------
    candidates : `~numpy.ndarray`
        Rows of ``CANDIDATE``.

    Returns
    -------
    candidates : `~numpy.ndarray`
        Fewer of them, the most significant first.
    """
    candidates = candidates[np.argsort(-candidates[:, _Z], kind='stable')]
    radius = candidates[:, _RADIUS]
    step = np.maximum(1.0, 0.45 * radius)
    cells = np.stack(
        [
            candidates[:, _SIGN],
            np.round(np.log2(radius)),
            np.floor(candidates[:, _X] / step),
            np.floor(candidates[:, _Y] / step),
        ],
        axis=1,
    )
    _, first = np.unique(cells, axis=0, return_index=True)
    return candidates[np.sort(first)]


def look_closer(pyramid, candidates, *, largest):
    """
    Trace outlines of all candidates, and again around the centres found.
    """
    first = measure_candidates(
        pyramid,
        candidates[:, _SIGN],
        candidates[:, _X],
        candidates[:, _Y],
        candidates[:, _RADIUS],
        directions=24,
    )
    keep = (first.step > 1) & (first.snr > 4.5) & (first.closed > 0.25)
    keep &= first.depth > 0
    rows = np.nonzero(keep)[0]
    first = first.take(rows)
    second = measure_candidates(
        pyramid,
        candidates[rows, _SIGN],
        first.x,
        first.y,
        np.clip(first.radius, 1.1, 1.3 * largest),
        directions=48,
    )
    return candidates[rows], second


def texture_ratio(scatter, noise, x, y, radius):
    """Scatter at the scale of objects over that of white noise."""
    radii = np.array(sorted(scatter))
    nearest = np.abs(np.log(radii / np.asarray(radius)[:, None])).argmin(1)
    ratio = np.ones(len(x))
    for k in np.unique(nearest):
        rows = nearest == k
        ratio[rows] = scatter[radii[k]].at(y[rows], x[rows])
    return ratio / noise.at(y, x)
