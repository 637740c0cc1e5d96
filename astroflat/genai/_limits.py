# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What an answer must keep to, and what is measured of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from astroflat.genai.errors import GeminiRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ['AdviserLimits', 'check_limits', 'darkness']


@dataclass(frozen=True)
class AdviserLimits:
    """
    The limits beyond which an answer is refused.

    Parameters
    ----------
    mask_percent : float, optional
        How much of the frame a mask may cover.

    shift_percent : float, optional
        How far the answer may be displaced, in per cent of its longer side.
        What stays below is measured and undone.

    residual_pixels : float, optional
        What may be left of the displacement, root mean square.

    mismatch_percent : float, optional
        How much the answer may differ from the image off the mask, in means
        of small blocks, in per cent of the level.

    correlation : float, optional
        How much the two must resemble each other off the mask, if there is
        structure to compare.

    over_offline : float, optional
        How much larger the error on hidden good pixels may be than that of
        the offline method.

    Examples
    --------
    >>> from astroflat.genai import AdviserLimits
    >>> AdviserLimits(mask_percent=5).mask_percent
    5
    """

    mask_percent: float = 25.0
    shift_percent: float = 1.5
    residual_pixels: float = 1.5
    mismatch_percent: float = 5.0
    correlation: float = 0.7
    over_offline: float = 1.5

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not (np.isfinite(value) and value >= 0):
                msg = f'{item.name} must be finite and at least 0, not {value!r}'
                raise ValueError(msg)


_WORDS = {
    'mask_percent': 'the mask covers {:.1f} % of the frame',
    'shift_percent': 'the answer is displaced by {:.2f} % of its side',
    'residual_pixels': 'the answer is distorted by {:.2f} pixels',
    'mismatch_percent': 'off the mask the answer differs from the image by {:.1f} %',
    'correlation': 'off the mask the answer resembles the image by {:.2f} only',
    'over_offline': (
        'on hidden good pixels the answer errs {:.1f} times as much as the '
        'offline method'
    ),
}
_AT_LEAST = {'correlation'}


def check_limits(numbers: Mapping[str, float], limits: AdviserLimits) -> None:
    """
    Raise if an answer breaks a limit.

    Parameters
    ----------
    numbers : mapping of float
        What was measured. NaN, and what is not there, is not judged.

    limits : AdviserLimits
        The limits.

    Raises
    ------
    GeminiRefusedError
        With every reason, and the numbers.
    """
    reasons = []
    for item in fields(limits):
        value, limit = numbers.get(item.name, np.nan), getattr(limits, item.name)
        broken = value < limit if item.name in _AT_LEAST else value > limit
        if broken:
            words = _WORDS[item.name].format(value)
            reasons.append(f'{words} (limit {limit:g})')
    if reasons:
        msg = f'the answer of Gemini is refused: {"; ".join(reasons)}'
        raise GeminiRefusedError(msg, numbers)


def darkness(data: np.ndarray, good: np.ndarray) -> np.ndarray:
    """
    Return how much darker than its surroundings each pixel is.

    Parameters
    ----------
    data : `~numpy.ndarray`
        The image, finite, divided by its background.

    good : `~numpy.ndarray` of bool
        The pixels to look at.

    Returns
    -------
    dark : `~numpy.ndarray`
        In robust standard deviations, 0 to 5; 0 where it is bright or bad.
    """
    level = float(np.median(data[good]))
    scale = 1.4826 * float(np.median(np.abs(data[good] - level)))
    dark = (level - data) / max(scale, 1e-6 * abs(level), 1e-30)
    return np.where(good, np.clip(dark, 0, 5), 0)
