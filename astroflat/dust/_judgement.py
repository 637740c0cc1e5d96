# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How probable it is that an outline or a line is dust.

Logistic regressions on a few measurements. Their coefficients were fitted to
simulated flats, nebulae and medians of solar videos, and every term has a
meaning: dust has an outline that stands out from the steps of its
neighbourhood (``snr``, ``step``), is equally high all around (``ripple``), in
even surroundings (``uneven``), and is sharp, which counts the more the rougher
the scene is (``sharp_texture``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from astroflat.dust._features import Features

__all__ = ['judge', 'line_odds', 'outline_odds', 'outline_terms']

#: Terms of `outline_terms`, in order, and their coefficients.
OUTLINE = {
    'snr_calm': 3.53,
    'step_rough': 5.38,
    'calm': -1.94,
    'ripple': -2.35,
    'uneven': -0.12,
    'sharp_texture': 1.04,
    'texture': -0.70,
    'rough': 1.25,
}
OUTLINE_CONSTANT = -4.72

# A scene with three times the scatter of white noise is no longer calm.
_ROUGH = np.log(3.0)

#: Terms of `line_odds`: elongation, strength, closedness, sharpness.
LINE = (0.58, 8.32, 9.67, 7.22)
LINE_CONSTANT = -21.5


def outline_terms(features: Features, texture: np.ndarray) -> np.ndarray:
    """
    Return the terms of the logarithm of the odds of outlines.

    Parameters
    ----------
    features : Features
        Measurements of outlines.

    texture : array_like
        Scatter of the scene at the scale of each, in units of white noise.

    Returns
    -------
    terms : `~numpy.ndarray`
        One column for every entry of ``OUTLINE``. All are logarithms, and
        limited, so that no single measurement decides.
    """

    def log(values: np.ndarray, low: float, high: float) -> np.ndarray:
        return np.log(np.clip(values, low, high))

    texture = log(texture, 1.0, 1e3)
    # In white noise every pixel of an outline counts. A texture has longer
    # edges than pixels, and only a step that is higher than its own counts.
    calm = np.clip(1 - texture / _ROUGH, 0, 1)
    columns = (
        log(features.snr, 1.0, 60.0) * calm,
        log(features.step, 0.3, 30.0) * (1 - calm),
        calm,
        log(features.ripple, 0.05, 3.0),
        log(features.uneven, 0.02, 3.0),
        log(features.sharp, 0.05, 2.0) * texture,
        texture,
        log(features.rough, 0.004, 0.3),
    )
    return np.stack(columns, axis=1)


def outline_odds(features: Features, texture: np.ndarray) -> np.ndarray:
    """
    Return the logarithm of the odds that outlines are dust.

    Parameters
    ----------
    features : Features
        Measurements of outlines.

    texture : array_like
        Scatter of the scene at the scale of each, in units of white noise.

    Returns
    -------
    odds : `~numpy.ndarray`
        Natural logarithms; 0 is as probable as not.
    """
    terms = outline_terms(features, texture)
    return terms @ np.array(list(OUTLINE.values())) + OUTLINE_CONSTANT


def line_odds(elongation: float, strength: float, closed: float, sharp: float) -> float:
    """
    Return the logarithm of the odds that a line is a fibre.

    Parameters
    ----------
    elongation : float
        Length over width.

    strength : float
        Mean significance of its pixels on the whitened image.

    closed : float
        Share of its flanks from which it stands out.

    sharp : float
        Share of its depth that is reached within two pixels.

    Returns
    -------
    odds : float
        Natural logarithm.
    """
    terms = (
        np.log(elongation),
        np.log(np.clip(strength, 2.0, 30.0)),
        closed,
        -abs(np.log(np.clip(sharp, 0.3, 3.0))),
    )
    return float(np.dot(LINE, terms) + LINE_CONSTANT)


def judge(odds: np.ndarray) -> np.ndarray:
    """
    Turn the logarithm of odds into probabilities.

    Parameters
    ----------
    odds : array_like
        Natural logarithms.

    Returns
    -------
    probability : `~numpy.ndarray`
        Between 0 and 1.
    """
    return 1.0 / (1.0 + np.exp(-np.clip(odds, -50.0, 50.0)))
