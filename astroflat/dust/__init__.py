# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Dust: found, masked, filled in, and made a flat of."""

from astroflat.dust.catalogue import catalogue_of_mask, match_catalogues
from astroflat.dust.detection import DustDetection, DustDetector, detect_dust
from astroflat.dust.histogram import match_histogram
from astroflat.dust.inpainting import (
    BiharmonicInpainter,
    GaussianProcessInpainter,
    Inpainter,
    inpaint,
)
from astroflat.dust.masks import dilate_mask, feather_mask
from astroflat.dust.synthetic import synthetic_flat

__all__ = [
    'BiharmonicInpainter',
    'DustDetection',
    'DustDetector',
    'GaussianProcessInpainter',
    'Inpainter',
    'catalogue_of_mask',
    'detect_dust',
    'dilate_mask',
    'feather_mask',
    'inpaint',
    'match_catalogues',
    'match_histogram',
    'synthetic_flat',
]
