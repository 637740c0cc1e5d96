# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From many candidates to the few that are worth a closer look."""

from __future__ import annotations

import numpy as np

from astroflat.dust._candidates import CANDIDATE
from astroflat.dust._contours import Pyramid
from astroflat.dust._features import Features, measure_candidates
from astroflat.dust._scatter import BlockMap

__all__ = ['look_closer', 'texture_ratio', 'thin_out']

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


def look_closer(
    pyramid: Pyramid, candidates: np.ndarray, *, largest: float
) -> tuple[np.ndarray, Features]:
    """
    Trace the outlines of candidates, and again around the centres found.

    Parameters
    ----------
    pyramid : Pyramid
        The image at several sizes.

    candidates : `~numpy.ndarray`
        Rows of ``CANDIDATE``.

    largest : float
        The largest radius in pixels.

    Returns
    -------
    candidates : `~numpy.ndarray`
        Those with any outline worth a second look.

    features : Features
        Their measurements.
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


def texture_ratio(
    scatter: dict[float, BlockMap],
    noise: BlockMap,
    x: np.ndarray,
    y: np.ndarray,
    radius: np.ndarray,
) -> np.ndarray:
    """
    Return the scatter at the scale of objects over that of white noise.

    Parameters
    ----------
    scatter : dict of float to BlockMap
        The scatter of the filter of every radius.

    noise : BlockMap
        The white noise per pixel.

    x, y, radius : `~numpy.ndarray`
        The objects.

    Returns
    -------
    ratio : `~numpy.ndarray`
        About 1 where there is no texture.
    """
    radii = np.array(sorted(scatter))
    nearest = np.abs(np.log(radii / np.asarray(radius)[:, None])).argmin(1)
    ratio = np.ones(len(x))
    for k in np.unique(nearest):
        rows = nearest == k
        ratio[rows] = scatter[radii[k]].at(y[rows], x[rows])
    return ratio / noise.at(y, x)
