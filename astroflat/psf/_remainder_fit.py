# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Measure what stars have more than a Moffat profile, and whether it is there."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from astroflat.psf._remainder_problem import REACH, Problem
from astroflat.psf._remainder_stamps import Stamp, cut_stamps, settle

if TYPE_CHECKING:
    from astroflat.psf._remainder import Remainder
    from astroflat.psf.field import PSFField

__all__ = ['fit_remainder']

# Stars that are needed.
_FEW = 5
_ROUNDS = 3
# It is taken for real if stars are predicted from others better than by the profile,
# by so many standard deviations of the noise in total, and so large a part of them;
# and if it moves so much of the light.
_SURE, _SHARE, _PART = 6.0, 0.8, 0.01


def fit_remainder(
    data: np.ndarray, bad: np.ndarray, field: PSFField, noise: float
) -> Remainder | None:
    """
    Measure what the stars of a field have more than its profile.

    Parameters
    ----------
    data : ndarray
        The image less its background.

    bad : ndarray of bool
        Pixels to ignore, saturated ones too.

    field : PSFField
        The profiles.

    noise : float
        Noise of the sky.

    Returns
    -------
    remainder : Remainder or None
        `None` where there are few stars, or where it predicts none of them better.
    """
    from astroflat.psf._star_choice import find_peaks_in

    reach = REACH * field.fwhm + 2
    others = find_peaks_in(data, bad, fwhm=field.fwhm, noise=noise)
    stamps = cut_stamps(data, bad, field, others, noise, reach)
    if len(stamps) < _FEW:
        return None
    remainder, choice = None, None
    for _ in range(_ROUNDS):
        for stamp in stamps:
            settle(stamp, field.beta, remainder)
        _learn_spread(stamps)
        problem = Problem(stamps, field)
        choice = choice or problem.choose()
        gains, powers = problem.gains(*choice)
        if not gains.sum() > 0:
            return None
        remainder = problem.solve(*choice)
    return _judged(remainder, field, gains, powers)


def _judged(
    remainder: Remainder, field: PSFField, gains: np.ndarray, powers: np.ndarray
) -> Remainder | None:
    """Return a remainder with what is known of it, if it is there."""
    # The gain of stars that have nothing of it has this standard deviation.
    sure = float(gains.sum() / (2 * math.sqrt(powers.sum()) + 1e-30))
    if sure < _SURE or np.mean(gains > 0) < _SHARE:
        return None
    numbers = {
        'n_measured': len(gains),
        'remainder_degree': int(len(remainder.coefficients) > 1),
        'remainder_sigma': sure,
        **describe(remainder, field),
    }
    if numbers['remainder_percent'] < 100 * _PART:
        return None
    return replace(remainder, numbers=numbers)


def _learn_spread(stamps: list[Stamp]) -> None:
    """Find how much the stars differ, as a part of their light."""
    shares = []
    for stamp in stamps:
        light = stamp.model * stamp.flux
        core = stamp.good & (stamp.model > 0.3 * stamp.model.max())
        left = stamp.values - stamp.sky - light
        if core.any():
            excess = np.median(left[core] ** 2 / light[core] ** 2) / 0.455
            shares.append(excess - np.median(stamp.noise**2 / light[core] ** 2))
    spread = math.sqrt(max(float(np.median(shares)), 0.01**2)) if shares else 0.05
    for stamp in stamps:
        stamp.spread = min(spread, 0.3)


def describe(remainder: Remainder, field: PSFField) -> dict[str, float]:
    """
    Say how large a remainder is, as medians over stars of the field.

    Parameters
    ----------
    remainder : Remainder
        What is added to the profiles.

    field : PSFField
        The profiles.

    Returns
    -------
    numbers : dict
        ``remainder_percent``, the light that is elsewhere than in the profile, and
        ``asymmetry_percent``, that which is elsewhere if the star is turned by 180
        degrees, in per cent of all.
    """
    stars = field.table[np.asarray(field.table['used'], dtype=bool)][:20]
    full = field.with_remainder(remainder)
    rows = []
    for x, y in zip(np.asarray(stars['x']), np.asarray(stars['y']), strict=True):
        kernel = full.kernel_at(x, y)
        moved = np.abs(kernel - field.kernel_at(x, y, size=kernel.shape))
        turned = np.abs(kernel - kernel[::-1, ::-1])
        rows.append((50 * moved.sum(), 50 * turned.sum()))
    moved, turned = np.median(rows, axis=0)
    return {'remainder_percent': float(moved), 'asymmetry_percent': float(turned)}
