# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The angle between two frames that no shift makes alike."""

from __future__ import annotations

import math

import numpy as np

from astroflat.selfcal._shift_phase import Correlator
from astroflat.selfcal._shift_prepare import high_pass, window
from astroflat.selfcal._shift_similarity import Similarity, fit_similarity

__all__ = ['find_angle', 'tile_similarity']

_SIZE = 128
_STEP = 2.0
# Peaks of tiles below this many standard deviations are chance.
_TILE = 5.0
_FEWEST_TILES = 8


def find_angle(log: np.ndarray, reference: np.ndarray) -> float:
    """
    Find by which angle a frame must be turned to be like another.

    Parameters
    ----------
    log, reference : `~numpy.ndarray`
        ``(ny, nx)``, NaN where bad.

    Returns
    -------
    angle : float
        In degrees from x towards y, to about a degree; NaN if none stands out.
    """
    from scipy.ndimage import rotate, zoom

    factor = min(1.0, _SIZE / max(log.shape))
    fine = [
        zoom(high_pass(a, max(a.shape) / 24), factor, order=1) for a in (log, reference)
    ]
    shape = fine[0].shape
    correlator = Correlator(shape, max(shape))
    fade = window(shape)
    still = correlator.transform(fine[1] * fade)
    angles = np.arange(-180.0, 180.0, _STEP)
    heights = []
    for angle in angles:
        # Positive angles of rotate turn from x to minus y, as rows go down.
        back = rotate(fine[0], angle, reshape=False, order=1)
        waves = correlator.transform(back.astype(np.float32) * fade)
        heights.append(correlator.peak(waves, still)[1])
    heights = np.array(heights)
    best = int(np.argmax(heights))
    rest = heights[np.abs((angles - angles[best] + 180) % 360 - 180) > 3 * _STEP]
    if heights[best] < max(6.0, 1.25 * float(rest.max())):
        return math.nan
    return float(angles[best])


def tile_similarity(
    log: np.ndarray, reference: np.ndarray, offset: np.ndarray
) -> Similarity | None:
    """
    Measure rotation and scale by correlating tiles of two frames.

    Parameters
    ----------
    log, reference : `~numpy.ndarray`
        ``(ny, nx)``, NaN where bad.

    offset : `~numpy.ndarray`
        (dy, dx), roughly.

    Returns
    -------
    similarity : Similarity or None
        None if too few tiles agree.
    """
    sigma = max(4.0, max(log.shape) / 24)
    fine = [high_pass(a, sigma) for a in (log, reference)]
    size = tuple(m // 4 for m in log.shape)
    correlator = Correlator(size, 0.5 * min(size))
    fade = window(size)
    whole = np.rint(offset).astype(int)
    here, there = [], []
    for y in np.linspace(0, log.shape[0] - size[0], 6).astype(int):
        for x in np.linspace(0, log.shape[1] - size[1], 6).astype(int):
            first = np.array([y, x]) + whole
            if (first < 0).any() or (first + size > log.shape).any():
                continue
            tiles = [
                a[j : j + size[0], i : i + size[1]] * fade
                for a, (j, i) in zip(fine, (first, (y, x)), strict=True)
            ]
            move, height = correlator.peak(*map(correlator.transform, tiles))
            if height > _TILE:
                centre = np.array([y, x]) + (np.array(size) - 1) / 2
                there.append(centre)
                here.append(centre + whole + move)
    if len(here) < _FEWEST_TILES:
        return None
    middle = (np.array(log.shape) - 1) / 2
    return fit_similarity(np.array(here), np.array(there), middle)
