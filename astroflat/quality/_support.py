# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Whether the unprocessed image has anything at the place of a source."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from astroflat.quality._background import subtract_background
from astroflat.quality.detection import faintest_flux

if TYPE_CHECKING:
    from astropy.table import Table

    from astroflat.quality.detection import DetectionSettings

__all__ = ['light_map', 'unsupported']

# Half of the light of a source at the threshold: noise takes that much from one
# real source in a thousand, and gives it to one empty place in some hundred.
_SUPPORT = 0.5


def light_map(
    image: np.ndarray, bad: np.ndarray, settings: DetectionSettings
) -> np.ndarray:
    """
    Return how much light of a star there is at each place.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The image, ``(ny, nx)``.

    bad : `~numpy.ndarray` of bool
        True marks pixels to ignore.

    settings : DetectionSettings
        Where the FWHM is taken from.

    Returns
    -------
    light : `~numpy.ndarray`
        The image without its background, smoothed by the image of a star and
        scaled so that white noise has the same standard deviation as before.
    """
    clean, _ = subtract_background(image, bad, box=settings.box)
    sigma = settings.fwhm / 2.3548200450309493
    return ndimage.gaussian_filter(clean, sigma) * (2 * math.sqrt(math.pi) * sigma)


def unsupported(
    sources: Table,
    light: np.ndarray,
    *,
    settings: DetectionSettings,
    threshold: float,
    dimming: float = 1.0,
) -> np.ndarray:
    """
    Return which sources the unprocessed image knows nothing of.

    Parameters
    ----------
    sources : `~astropy.table.Table`
        Sources of the processed image with ``x`` and ``y``.

    light : `~numpy.ndarray`
        The `light_map` of the unprocessed image.

    settings : DetectionSettings
        How the sources were found.

    threshold : float
        The threshold that they were found with.

    dimming : float, optional
        By what a source may have been fainter before.

    Returns
    -------
    unsupported : `~numpy.ndarray` of bool
        True where, within one FWHM, there is less than half of the light of a
        source at the threshold. A blend that is taken apart differently is
        not a new source.
    """
    if not len(sources):
        return np.zeros(0, bool)
    reach = math.ceil(settings.fwhm)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    near = np.hypot(y, x) <= settings.fwhm
    row = np.rint(np.asarray(sources['y'])).astype(int)[:, None] + y[near]
    column = np.rint(np.asarray(sources['x'])).astype(int)[:, None] + x[near]
    row = np.clip(row, 0, light.shape[0] - 1)
    column = np.clip(column, 0, light.shape[1] - 1)
    sigma = settings.fwhm / 2.3548200450309493
    expected = faintest_flux(threshold, settings) / (2 * math.sqrt(math.pi) * sigma)
    return light[row, column].max(axis=1) < _SUPPORT * dimming * expected
