# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Frames and images in and out of files."""

from __future__ import annotations

from astroflat.io.export import WriteReport, write_flat, write_image
from astroflat.io.images import ImageFile, read_ccd, read_image

__all__ = [
    'ImageFile',
    'WriteReport',
    'read_ccd',
    'read_image',
    'write_flat',
    'write_image',
]
