# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What a corrector says of its answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from astroflat._report import QualityReport, to_mmag
from astroflat.neural._compose import sky_share

if TYPE_CHECKING:
    from astroflat.neural.cards import ModelCard

__all__ = ['make_report']

# The correction has to leave at most this share of what doing nothing leaves.
_WORTH = 0.8
_UNUSUAL, _FOREIGN = 2.0, 4.0


def make_report(
    rows: list[dict[str, Any]], card: ModelCard, *, stretched: bool
) -> QualityReport:
    """
    Make the report of an estimate.

    Parameters
    ----------
    rows : list of dict
        Numbers of each plane.

    card : ModelCard
        Card of the network of smooth fields, with the limits of what it knows.

    stretched : bool
        Whether the frame was stretched.

    Returns
    -------
    QualityReport
        Numbers of the plane that is least sure, and the verdict.
    """
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
