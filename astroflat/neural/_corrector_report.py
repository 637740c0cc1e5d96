# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What a corrector says of its answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from astroflat._report import QualityReport, to_mmag
from astroflat.neural._compose import PlaneFields, plane_numbers, sky_share
from astroflat.neural._strips import per_strip

if TYPE_CHECKING:
    from astroflat.neural.cards import ModelCard

__all__ = ['confidence_of', 'make_report']

# What "right" means for the confidence.
_RIGHT = 0.01
# The chance is x / sqrt(2 + x^2), and 0.6827 at one standard deviation.
_WINGS = 0.6827**-2 - 1.0
# The correction has to leave at most this share of what doing nothing leaves.
_WORTH = 0.8
_UNUSUAL, _FOREIGN = 2.0, 4.0


def confidence_of(sigma: np.ndarray) -> np.ndarray:
    """
    Return the chance that F is right to 1 %.

    Parameters
    ----------
    sigma : `~numpy.ndarray`
        Standard deviation of F, relative.

    Returns
    -------
    `~numpy.ndarray`
        float32, from 0 to 1.

    Notes
    -----
    For Student's distribution with two degrees of freedom, 68.27 % of which are
    within one standard deviation: the errors of F have such wings, where dust or a
    slope was not seen. Those of a normal distribution would say 0.98 where 0.91 are
    right.
    """

    def chance(part: np.ndarray) -> np.ndarray:
        return _RIGHT / np.sqrt(_RIGHT**2 + _WINGS * np.square(part))

    return per_strip(chance, sigma)


def make_report(
    found: list[PlaneFields], card: ModelCard, *, stretched: bool
) -> QualityReport:
    """
    Make the report of an estimate.

    Parameters
    ----------
    found : list of PlaneFields
        The planes.

    card : ModelCard
        Card of the network of smooth fields, with the limits of what it knows.

    stretched : bool
        Whether the frame was stretched.

    Returns
    -------
    QualityReport
        Numbers of the plane that is least sure, and the verdict.
    """
    rows = [plane_numbers(plane) for plane in found]
    numbers = max(rows, key=lambda row: row.get('expected_percent', math.inf))
    limits = {
        'unusual': float(card.extra.get('unusual', _UNUSUAL)),
        'foreign': float(card.extra.get('foreign', _FOREIGN)),
        'worth': _WORTH,
    }
    report = QualityReport('FlatCorrector', numbers, limits)
    if 'expected_percent' not in numbers:
        return report.check(False, 'reject', 'the frame has no light to judge by')
    report.numbers['expected_mmag'] = to_mmag(numbers['expected_percent'] / 100)
    report.numbers['nothing_mmag'] = to_mmag(numbers['nothing_percent'] / 100)
    return _judge(report, stretched=stretched)


def _judge(report: QualityReport, *, stretched: bool) -> QualityReport:
    numbers, limits = report.numbers, report.thresholds
    distance = numbers['distance']
    report = report.check(
        not distance > limits['foreign'],
        'reject',
        f'the frame is unlike those of the training ({distance:.1f} sigma)',
    )
    report = report.check(
        not distance > limits['unusual'],
        'weak',
        f'the frame is unusual ({distance:.1f} sigma): look at the result',
    )
    report = report.check(
        sky_share(numbers['structure_percent'] / 100) == 1,
        'weak',
        f'the scene is too uneven ({numbers["structure_percent"]:.0f} %) to tell a '
        'field from it: smooth fields are not, or not fully, applied',
    )
    changed = numbers['smooth_applied'] or numbers['gradient_applied']
    report = report.check(
        bool(changed or numbers['n_dust']),
        'weak',
        'no field is larger than its uncertainty; nothing is changed',
    )
    report = report.check(
        numbers['expected_percent'] <= limits['worth'] * numbers['nothing_percent'],
        'weak',
        f'the flat is expected to be off by {numbers["expected_percent"]:.2g} %, '
        f'doing nothing by {numbers["nothing_percent"]:.2g} %',
    )
    return report.check(
        not stretched,
        'weak',
        'the frame is stretched: only a linear frame can be corrected to rule',
    )
