# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""How good a correction is: measures against truth, and reports."""

from astroflat._report import QualityReport, to_mmag
from astroflat.quality.metrics import flat_residual

__all__ = ['QualityReport', 'flat_residual', 'to_mmag']
