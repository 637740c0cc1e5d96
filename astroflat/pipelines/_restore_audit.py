# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What a restoration did to the stars of one image, measured in both images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._nddata import unpack

if TYPE_CHECKING:
    from astropy.table import Table

    from astroflat._report import QualityReport

__all__ = ['audit_stars', 'check_audit']

# Fewer stars say nothing about the others.
_MIN_STARS = 3
# An aperture of this many widths of the blurred star holds nearly all of both.
_APERTURE, _GAP, _RING = 2.0, 1.0, 2.0
_FLUX_PERCENT, _SHIFT = 2.0, 0.1


def audit_stars(before: Any, after: Any, stars: Table | None) -> dict[str, Any]:
    """
    Compare the stars of an image before and after it was restored.

    Parameters
    ----------
    before, after : CCDData or array_like
        The images.

    stars : `~astropy.table.Table` or None
        Stars measured before.

    Returns
    -------
    numbers : dict
        ``n_stars_compared``; ``fwhm_before_pix`` and ``fwhm_after_pix``, medians
        of the same stars; ``flux_change_percent`` and ``flux_scatter_percent``
        of their fluxes in apertures; ``shift_pix``, the median of how far they
        moved. `None` where there are too few stars.
    """
    numbers: dict[str, Any] = dict.fromkeys(
        (
            'fwhm_before_pix',
            'fwhm_after_pix',
            'flux_change_percent',
            'flux_scatter_percent',
            'shift_pix',
        )
    )
    numbers['n_stars_compared'] = 0 if stars is None else len(stars)
    if stars is None or len(stars) < _MIN_STARS:
        return numbers
    numbers['fwhm_before_pix'] = float(np.median(stars['fwhm']))
    numbers.update(_fluxes(before, after, stars))
    numbers.update(_widths(after, stars))
    return numbers


def check_audit(report: QualityReport) -> QualityReport:
    """
    Return a report with what the comparison says against the restoration.

    Parameters
    ----------
    report : QualityReport
        With the numbers of `audit_stars`.

    Returns
    -------
    report : QualityReport
        The verdict is 'weak' if fluxes or places of stars changed.
    """
    flux = report.numbers.get('flux_change_percent')
    shift = report.numbers.get('shift_pix')
    report = report.check(
        flux is None or abs(flux) < _FLUX_PERCENT,
        'weak',
        f'the fluxes of stars changed by {flux or 0:.1f} %',
    )
    return report.check(
        shift is None or shift < _SHIFT,
        'weak',
        f'stars moved by {shift or 0:.2f} pixels',
    )


def _plane(image: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return an image as one plane, and which pixels are bad."""
    frame = unpack(image, ndim=(2, 3))
    if frame.data.ndim == 2:
        return frame.data, frame.bad
    return frame.data.mean(axis=2), frame.bad.any(axis=2)


def _fluxes(before: Any, after: Any, stars: Table) -> dict[str, float | None]:
    """Compare fluxes in the same apertures above the same rings."""
    from astroflat.quality._aperture import measure_fluxes

    width = float(np.median(stars['fwhm']))
    radius = _APERTURE * width
    inner = radius + _GAP * width
    found = []
    for image in (before, after):
        data, bad = _plane(image)
        table = measure_fluxes(
            data,
            np.asarray(stars['x']),
            np.asarray(stars['y']),
            radius=radius,
            annulus=(inner, inner + _RING * width),
            mask=bad,
        )
        found.append(np.asarray(table['flux'], dtype=np.float64))
    good = np.isfinite(found[0]) & np.isfinite(found[1]) & (found[0] > 0)
    if np.count_nonzero(good) < _MIN_STARS:
        return {}
    change = 100 * (found[1][good] / found[0][good] - 1)
    middle = float(np.median(change))
    return {
        'flux_change_percent': middle,
        'flux_scatter_percent': float(1.4826 * np.median(np.abs(change - middle))),
    }


def _widths(after: Any, stars: Table) -> dict[str, float | None]:
    """Measure the same stars again."""
    from scipy.spatial import KDTree

    from astroflat.psf import measure_stars

    again = measure_stars(after, fwhm=0.7 * float(np.median(stars['fwhm'])))
    if len(again) < _MIN_STARS:
        return {}
    old, new = (np.stack([t['x'], t['y']], axis=1) for t in (stars, again))
    gaps, which = KDTree(new).query(old)
    same = gaps < 0.5 * float(np.median(stars['fwhm']))
    if np.count_nonzero(same) < _MIN_STARS:
        return {}
    shift = float(np.median(gaps[same]))
    return {
        'fwhm_after_pix': float(np.median(again['fwhm'][which[same]])),
        'shift_pix': shift if math.isfinite(shift) else None,
    }
