# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""How well a field of stars is known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._report import QualityReport
from astroflat.psf._smooth import n_terms

if TYPE_CHECKING:
    from astroflat.psf._smooth import SmoothMap
    from astroflat.psf.field import PSFField

__all__ = ['make_report']

# Stars next to each other differ by less (%).
_ALIKE = 15.0


def make_report(field: PSFField, smooth: SmoothMap) -> QualityReport:
    """
    Say how well a field is known, and what a constant would miss.

    Parameters
    ----------
    field : PSFField
        The field.

    smooth : SmoothMap
        Its polynomials.

    Returns
    -------
    report : QualityReport
        Numbers and verdict.
    """
    stars = field.table[np.asarray(field.table['used'], dtype=bool)]
    numbers = _numbers(field, smooth, stars)
    if field.remainder is not None:
        numbers |= field.remainder.numbers
    report = QualityReport('psf field', numbers)
    wanted = 3 * n_terms(field.degree)
    report = report.check(
        len(stars) >= wanted,
        'weak',
        f'only {len(stars)} stars; {wanted} make degree {field.degree} reliable',
    )
    return report.check(
        numbers['scatter_percent'] < _ALIKE,
        'weak',
        'the widths of neighbouring stars differ by '
        f'{numbers["scatter_percent"]:.0f} %: blends, or too faint',
    )


def _numbers(field: PSFField, smooth: SmoothMap, stars: Any) -> dict[str, Any]:
    """Return what the profiles say."""
    ny, nx = field.shape
    y, x = (np.linspace(0, side - 1, 17) for side in field.shape)
    fwhm, ellipticity, _ = field.shape_at(x[None, :], y[:, None])
    own = np.asarray(stars['fwhm'], dtype=np.float64)
    left = own - field.fwhm_at(np.asarray(stars['x']), np.asarray(stars['y']))
    error = smooth.error((nx - 1) / 2, (ny - 1) / 2)[0] / (2 * field.fwhm)
    return {
        'n_stars': len(field.table),
        'n_used': len(stars),
        'degree': field.degree,
        'fwhm_pix': field.fwhm,
        'fwhm_smallest_pix': float(fwhm.min()),
        'fwhm_largest_pix': float(fwhm.max()),
        'ellipticity_median': float(np.median(ellipticity)),
        'ellipticity_largest': float(ellipticity.max()),
        'beta': field.beta,
        'fwhm_error_percent': float(100 * error / field.fwhm),
        'prediction_percent': float(50 * math.sqrt(smooth.prediction) / field.fwhm**2),
        'scatter_percent': float(100 * np.std(left) / field.fwhm),
        'scatter_of_constant_percent': float(100 * np.std(own) / field.fwhm),
        'remainder_percent': 0.0,
    }
