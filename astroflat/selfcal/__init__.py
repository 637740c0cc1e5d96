# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Flats from the science frames: what stays with the detector is the flat."""

from __future__ import annotations

from astroflat._exceptions import DegenerateDithersError
from astroflat.selfcal.auto import self_flat, self_flats
from astroflat.selfcal.grouping import FrameGroup, group_frames
from astroflat.selfcal.joint import solve_fields
from astroflat.selfcal.kll import kll_flat
from astroflat.selfcal.motes import track_motes
from astroflat.selfcal.repair import RepairOptions, repair_flat
from astroflat.selfcal.shifts import Shifts, measure_shifts
from astroflat.selfcal.sky import sky_flat
from astroflat.selfcal.starflat import star_flat

__all__ = [
    'DegenerateDithersError',
    'FrameGroup',
    'RepairOptions',
    'Shifts',
    'group_frames',
    'kll_flat',
    'measure_shifts',
    'repair_flat',
    'self_flat',
    'self_flats',
    'sky_flat',
    'solve_fields',
    'star_flat',
    'track_motes',
]
