# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""How much harm is too much."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from astroflat._report import QualityReport

__all__ = ['HarmLimits', 'judge']


@dataclass(frozen=True)
class HarmLimits:
    """
    What a processing step may do to an image.

    A value beyond its limit makes the verdict 'weak', one beyond
    ``reject_factor`` times the limit 'reject'.

    Parameters
    ----------
    lost_percent : float, optional
        Real sources that are not found any more, out of those found well
        above the threshold.

    false_percent : float, optional
        Sources found that the unprocessed image does not support.

    flux_bias_percent : float, optional
        The change of the flux of bright stars.

    trend_percent_per_mag : float, optional
        The change of the flux with magnitude.

    shift_pixels : float, optional
        The shift of the stars.

    separability : float, optional
        The loss of the probability that an injected star stands out of a
        blank place.

    level_sigma : float, optional
        The change of the sky level in units of the noise per pixel.

    error_ratio : float, optional
        The error against the truth over that of doing nothing.

    flatness_ratio : float, optional
        The unevenness of the background over that of doing nothing.

    reject_factor : float, optional
        How far beyond a limit a result is not to be used. For the two
        ratios it is the excess over 1 that is multiplied, at least 5 %.

    Examples
    --------
    >>> from astroflat.quality import HarmLimits
    >>> HarmLimits(flux_bias_percent=0.5).flux_bias_percent
    0.5
    """

    lost_percent: float = 2.0
    false_percent: float = 1.0
    flux_bias_percent: float = 1.0
    trend_percent_per_mag: float = 1.0
    shift_pixels: float = 0.1
    separability: float = 0.03
    level_sigma: float = 0.1
    error_ratio: float = 1.0
    flatness_ratio: float = 1.05
    reject_factor: float = 3.0

    def __post_init__(self) -> None:
        for name, value in self.to_dict().items():
            if not (value > 0 and math.isfinite(value)):
                msg = f'{name} must be a positive number, not {value!r}'
                raise ValueError(msg)

    def to_dict(self) -> dict[str, float]:
        """
        Return the limits as a dictionary.

        Returns
        -------
        limits : dict of float
            The limits by name.
        """
        return dataclasses.asdict(self)

    def beyond(self, name: str) -> float:
        """
        Return the value beyond which a result is rejected.

        Parameters
        ----------
        name : str
            The name of the limit.

        Returns
        -------
        value : float
            The second limit.
        """
        value = getattr(self, name)
        if name.endswith('_ratio'):
            return 1 + max(self.reject_factor * (value - 1), 0.05)
        return self.reject_factor * value


def judge(
    report: QualityReport,
    limits: HarmLimits,
    name: str,
    value: float | None,
    reason: str,
    *,
    margin: float = 0.0,
) -> QualityReport:
    """
    Return a report after one value has been compared with its limit.

    Parameters
    ----------
    report : QualityReport
        The report so far.

    limits : HarmLimits
        The limits.

    name : str
        The name of the limit.

    value : float or None
        The value; its size counts, not its sign. `None` was not measured.
        NaN is a failure: what should be a number is none.

    reason : str
        What is wrong if the limit is passed; ``{value}`` and ``{limit}`` are
        filled in.

    margin : float, optional
        The uncertainty of the value: only what exceeds the limit by more
        than this counts.

    Returns
    -------
    report : QualityReport
        A new report.
    """
    if value is None:
        return report
    limit = getattr(limits, name)
    size = abs(value) - (0.0 if math.isnan(margin) else margin)
    text = reason.format(value=f'{value:.3g}', limit=f'{limit:g}')
    report = report.check(size <= limit, 'weak', text)
    if not size <= limits.beyond(name):
        report = dataclasses.replace(report, verdict='reject')
    return report
