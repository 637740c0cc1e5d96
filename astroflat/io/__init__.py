# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Reading and writing: SER videos, stacks of frames, images and flats."""

from __future__ import annotations

import sys

from astroflat._exceptions import ImageFormatError, SERError
from astroflat.io.bayer import BAYER_PATTERNS, is_mosaic, merge_bayer, split_bayer
from astroflat.io.dump import dump_frames
from astroflat.io.export import WriteReport, write_flat, write_image
from astroflat.io.frames import FrameStack, open_frames
from astroflat.io.images import ImageFile, read_ccd, read_image
from astroflat.io.ser import (
    ByteOrderEvidence,
    SERFile,
    SERHeader,
    ticks_to_time,
    time_to_ticks,
    write_ser,
)

__all__ = [
    'BAYER_PATTERNS',
    'ByteOrderEvidence',
    'FrameStack',
    'ImageFile',
    'ImageFormatError',
    'SERError',
    'SERFile',
    'SERHeader',
    'WriteReport',
    'dump_frames',
    'is_mosaic',
    'merge_bayer',
    'open_frames',
    'read_ccd',
    'read_image',
    'split_bayer',
    'ticks_to_time',
    'time_to_ticks',
    'write_flat',
    'write_image',
    'write_ser',
]

if 'astropy.nddata' in sys.modules:
    # CCDData.read(..., format='ser'); see the module for when it is not there.
    from astroflat.io import ccddata as _ccddata  # noqa: F401
