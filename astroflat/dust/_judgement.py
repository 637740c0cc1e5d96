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
    from astroflat.dust._fibers import Line

__all__ = ['judge', 'line_odds', 'line_terms', 'outline_odds', 'outline_terms']

#: Terms of `outline_terms`, in order, and their coefficients.
OUTLINE = {
    'snr_calm': 2.80,
    'step_rough': 1.97,
    'calm': -4.30,
    'ripple': -1.86,
    'uneven': -0.67,
    'sharp_texture': 0.32,
    'texture': -0.38,
    'rough': -0.20,
    'area_calm': 1.45,
}
OUTLINE_CONSTANT = -7.25

# A scene with three times the scatter of white noise is no longer calm.
_ROUGH = np.log(3.0)
# Up to this radius an area may count without its outline.
_WIDE = 6.0
# What those who are much larger gain instead.
_LARGER = 1.0

#: Terms of `line_terms`, in order, and their coefficients.
LINE = {
    'elongation': 1.5,
    'strength': 1.55,
    'closed': 3.8,
    'sharp': 5.2,
    'even': 5.5,
}
LINE_CONSTANT = -7.15
# Half a line that is twice as long as a stroke is independent of the other.
_STROKE = 15.0


def outline_terms(
    features: Features, texture: np.ndarray, area: np.ndarray
) -> np.ndarray:
    """
    Return the terms of the logarithm of the odds of outlines.

    Parameters
    ----------
    features : Features
        Measurements of outlines.

    texture : array_like
        Scatter of the scene at the scale of each, in units of white noise.

    area : array_like
        Significance of the area of each.

    Returns
    -------
    terms : `~numpy.ndarray`
        One column for every entry of ``OUTLINE``. All are logarithms, and
        limited, so that no single measurement decides.
    """

    def log(values: np.ndarray, low: float, high: float) -> np.ndarray:
        return np.log(np.clip(values, low, high))

    texture = log(texture, 1.0, 1e3)
    # What is wide may be the illumination, and has to show an outline too.
    most = (
        3 * features.snr * np.minimum(1, (_WIDE / np.maximum(features.radius, 1)) ** 2)
    )
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
        log(np.minimum(area, most), 1.0, 60.0) * calm,
    )
    return np.stack(columns, axis=1)


def outline_odds(
    features: Features, texture: np.ndarray, area: np.ndarray
) -> np.ndarray:
    """
    Return the logarithm of the odds that outlines are dust.

    Parameters
    ----------
    features : Features
        Measurements of outlines.

    texture : array_like
        Scatter of the scene at the scale of each, in units of white noise.

    area : array_like
        Significance of the area of each.

    Returns
    -------
    odds : `~numpy.ndarray`
        Natural logarithms; 0 is as probable as not.
    """
    terms = outline_terms(features, texture, area)
    odds = terms @ np.array(list(OUTLINE.values())) + OUTLINE_CONSTANT
    # Their areas do not count, which the constant takes for granted.
    return odds + _LARGER * (features.radius > 2.5 * _WIDE)


def line_terms(line: Line) -> np.ndarray:
    """
    Return the terms of the logarithm of the odds of a line.

    Parameters
    ----------
    line : Line
        The line.

    Returns
    -------
    terms : `~numpy.ndarray`
        One for every entry of ``LINE``.
    """
    # Chains of noise are long, too: length alone must not do it.
    longer = np.sqrt(np.clip(line.length / _STROKE, 0.5, 4.0))
    return np.array(
        [
            np.log(line.length / line.width),
            np.log(np.clip(line.strength * longer, 2.0, 40.0)),
            line.closed,
            -abs(np.log(np.clip(line.sharp, 0.3, 3.0))),
            -min(line.even, 1.0),
        ]
    )


def line_odds(line: Line) -> float:
    """
    Return the logarithm of the odds that a line is a fibre.

    Parameters
    ----------
    line : Line
        The line.

    Returns
    -------
    odds : float
        Natural logarithm.
    """
    return float(line_terms(line) @ np.array(list(LINE.values())) + LINE_CONSTANT)


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
