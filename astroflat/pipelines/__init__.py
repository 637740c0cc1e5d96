# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Whole jobs: from frames to a flat, and a flat applied to many frames."""

from astroflat.pipelines.apply import ApplyReport, correct_frames
from astroflat.pipelines.denoise import DenoiseReport, denoise_frames
from astroflat.pipelines.dust_flat import DustFlatOptions, dust_flat
from astroflat.pipelines.night import NightReport, run_night
from astroflat.pipelines.restore import RestoreReport, restore_frames
from astroflat.pipelines.single import SingleReport, correct_singles

__all__ = [
    'ApplyReport',
    'DenoiseReport',
    'DustFlatOptions',
    'NightReport',
    'RestoreReport',
    'SingleReport',
    'correct_frames',
    'correct_singles',
    'denoise_frames',
    'dust_flat',
    'restore_frames',
    'run_night',
]
