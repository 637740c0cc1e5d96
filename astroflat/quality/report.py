# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The report that every estimate and every measure carries."""

from __future__ import annotations

from astroflat._report import QualityReport, to_mmag

__all__ = ['QualityReport', 'to_mmag']
