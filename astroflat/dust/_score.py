# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How likely a candidate is dust, from the measurements of its outline.

A logistic regression on a few measurements, fitted to simulated flats and
solar videos with known dust. The weights are plain numbers below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from astroflat.dust._features import Features

__all__ = ['calm_odds', 'log_odds']

# Where the only rival is noise: significance of the whole area, and how even
# the outline and its surroundings have to be.
_CALM_TEXTURE = 1.6
_CALM_SNR = 15.0
_CALM_RADIUS = 6.0

# Mean and scatter of the training set, and weight, of each measurement.
_WEIGHTS = {
    'step': (1.0480, 0.7525, 0.8040),
    'snr': (2.4189, 0.7444, 3.3326),
    'closed': (0.7060, 0.1771, 0.1085),
    'ripple': (-1.0367, 0.5931, -0.6994),
    'uneven': (-1.0282, 1.0039, -1.2120),
    'sharp': (0.0145, 0.2820, 0.7158),
    'sharp_texture': (-0.0378, 0.7456, 0.2291),
    'texture': (2.5791, 1.4208, -1.0247),
    'rough': (-3.8472, 0.6258, 0.9774),
    'radius': (1.7424, 0.6718, -0.9237),
    'peak': (1.8769, 0.6012, -0.9247),
    'too_sharp': (0.0454, 0.2710, 0.0415),
    'nested': (0.0611, 0.2383, -0.2060),
}
_BIAS = -1.6696


def log_odds(
    features: Features, peak: np.ndarray, texture: np.ndarray, nested: np.ndarray
) -> np.ndarray:
    """
    Return the logarithm of the odds that candidates are dust.

    Parameters
    ----------
    features : Features
        The measurements of their outlines.

    peak : `~numpy.ndarray`
        The significance of the matched filter that found them.

    texture : `~numpy.ndarray`
        The scatter of the surroundings over that of white noise.

    nested : `~numpy.ndarray`
        The logarithm of one plus the depth of what was taken out at their
        place over their own.

    Returns
    -------
    odds : `~numpy.ndarray`
        Positive means more likely dust than not.
    """
    table = _table(features, peak, texture, nested)
    total = np.full(len(features), _BIAS)
    for name, (mean, scatter, weight) in _WEIGHTS.items():
        total += weight * (table[name] - mean) / scatter
    return total


def calm_odds(
    features: Features, noise: np.ndarray, fine_texture: np.ndarray
) -> np.ndarray:
    """
    Return the log odds where there is no texture, as in a flat.

    Faint large donuts raise the scatter at their own scale and look like
    texture to `log_odds`. If the finest scales are free of texture, noise is
    the only rival, and the whole area of an object counts.

    Parameters
    ----------
    features : Features
        The measurements of the outlines.

    noise : `~numpy.ndarray`
        White noise per pixel at their places.

    fine_texture : `~numpy.ndarray`
        The scatter at the scale of a few pixels over that of white noise.

    Returns
    -------
    odds : `~numpy.ndarray`
        Minus infinity where there is texture, or where the outline is not
        closed, even and significant.
    """
    f = features
    snr = f.rim * np.sqrt(np.pi) * f.radius / noise
    passed = (fine_texture < _CALM_TEXTURE) & (f.radius > _CALM_RADIUS)
    passed &= (f.closed > 0.45) & (f.ripple < 0.75) & (f.uneven < 0.6)
    passed &= (f.snr > 6) & (f.sharp > 0.1) & (f.rough < 0.12) & (f.inside > 0.95)
    return np.where(passed, np.log(np.maximum(snr, 1e-3) / _CALM_SNR), -np.inf)


def _table(
    f: Features, peak: np.ndarray, texture: np.ndarray, nested: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the measurements as the regression takes them."""
    # Limits keep one extreme measurement from deciding alone.
    texture = np.log(np.clip(texture, 1, 1e3))
    sharp = np.log(np.clip(f.sharp, 0.05, 2))
    too_sharp = np.log(np.clip(f.sharp, 0.3, 3)) ** 2 * np.sign(f.sharp - 1)
    return {
        'step': np.log(np.clip(f.step, 0.3, 30)),
        'snr': np.log(np.clip(f.snr, 1, 60)),
        'closed': np.clip(f.closed, -0.2, 0.9),
        'ripple': np.log(np.clip(f.ripple, 0.05, 3)),
        'uneven': np.log(np.clip(f.uneven, 0.02, 3)),
        'sharp': sharp,
        'sharp_texture': sharp * texture,
        'texture': texture,
        'rough': np.log(np.clip(f.rough, 0.004, 0.3)),
        'radius': np.log(np.maximum(f.radius, 0.5)),
        'peak': np.log(np.clip(peak, 3, 20)),
        'too_sharp': too_sharp,
        'nested': np.clip(nested, 0, 3),
    }
