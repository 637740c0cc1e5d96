# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The angle between two frames that no shift makes alike."""

from __future__ import annotations

import math

import numpy as np

from astroflat.selfcal._shift_phase import Correlator
from astroflat.selfcal._shift_prepare import high_pass, window

__all__ = ['find_angle']

_SIZE = 128
_STEP = 2.0


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
