# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Combining frames along time: the exact median and its relatives."""

from __future__ import annotations

from astroflat.combine._core import CombineResult, combine_stack
from astroflat.combine.median import median_flat

__all__ = ['CombineResult', 'combine_stack', 'median_flat']
