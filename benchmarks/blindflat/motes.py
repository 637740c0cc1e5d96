# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Which motes can be asked for: those that are deep, in frames that show them.

A shadow of 0.3 % in a frame with 13 % of noise is in the truth, but not in the
frame. What a filter of its own shape would see it with, its shape and place given
by the truth, is the most that any method can have.
"""

from __future__ import annotations

import numpy as np

from astroflat.degradation._render import render_product
from astroflat.quality import flat_residual

#: Depth from which a mote is deep, and signal-to-noise from which it is visible.
DEPTH, VISIBLE = 0.03, 5.0
# A pixel that loses less than this is not under a mote, as in the mask of the dust.
_EDGE = 0.002


def deep_motes(case, *, depth=DEPTH, visible=VISIBLE):
    """
    Mask the pixels under motes that are deep and visible.

    Parameters
    ----------
    case : Case
        The scene.

    depth : float, optional
        What the mote has to take from its darkest pixel.

    visible : float, optional
        Signal-to-noise ratio that it needs in the first frame, see `mote_snr`.

    Returns
    -------
    `~numpy.ndarray` of bool or None
        True under such a mote; None where the scene does not know its motes.
    """
    if case.fields is None:
        return None
    mask = np.zeros(case.flat.shape, bool)
    for shadow in shadows(case):
        if shadow.max() >= depth and mote_snr(case, shadow) >= visible:
            mask |= shadow > _EDGE
    return mask


def deep_residual(case, flat):
    """
    Measure what a flat leaves of the motes that can be asked for.

    Parameters
    ----------
    case : Case
        The scene.

    flat : `~numpy.ndarray`
        The flat that was found.

    Returns
    -------
    float or None
        The part ``dust`` of `astroflat.quality.flat_residual` in per cent, under
        these motes only; None where there are none.
    """
    mask = deep_motes(case)
    if mask is None or not mask.any():
        return None
    return flat_residual(flat, case.flat, dust_mask=mask)['dust_percent']


def shadows(case):
    """
    Give what each mote takes from the light.

    Parameters
    ----------
    case : Case
        The scene.

    Yields
    ------
    `~numpy.ndarray`
        1 less the transmission of one mote.
    """
    fields = case.fields
    for kind, model in zip(fields.kinds, fields.models, strict=True):
        if kind == 'motes':
            yield 1.0 - render_product([model], case.flat.shape)


def mote_snr(case, shadow):
    """
    Return how well a frame shows a mote.

    Parameters
    ----------
    case : Case
        The scene.

    shadow : `~numpy.ndarray`
        1 less the transmission of the mote.

    Returns
    -------
    float
        Signal-to-noise ratio of a matched filter: the root of the sum of the
        squares of signal over noise of all pixels, in the first frame. The noise
        is that of photons and readout; the light is taken as known.
    """
    meta, light = case.frames[0].meta, case.light[0] * case.flat
    gain, read = meta['GAIN'], meta['RDNOISE']
    variance = (light + case.gradients[0]) / gain + (read / gain) ** 2
    missing = light * shadow / (1.0 - shadow)
    return float(np.sqrt(np.sum(missing**2 / variance, dtype=float)))
