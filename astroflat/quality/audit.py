# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
An audit of any processing of images by injected stars.

Stars of known flux are added to a real frame, above and below the threshold of
detection. What a function makes of them is compared with the same measurement
on the frame that was not processed.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table

from astroflat._exceptions import AstroflatWarning
from astroflat._nddata import unpack
from astroflat._report import QualityReport
from astroflat.quality._audit_rounds import (
    AuditFrame,
    blank_values,
    prepare,
    run_rounds,
)
from astroflat.quality._background import subtract_background
from astroflat.quality._fractions import interval, percent, rate
from astroflat.quality.detection import DetectionSettings
from astroflat.quality.limits import HarmLimits, judge
from astroflat.quality.pairing import others, pair_sources

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ['InjectionAudit', 'inject_audit']

# Stars this far above the threshold are found whatever the noise does.
_SURE = 1.5


@dataclass(frozen=True)
class InjectionAudit:
    """
    What a function did to injected stars.

    Parameters
    ----------
    table : `~astropy.table.Table`
        One row per signal-to-noise ratio, see `inject_audit`.

    stars : `~astropy.table.Table`
        One row per injected star: ``x``, ``y``, ``snr``, ``flux``;
        ``flux_before`` and ``flux_after`` over the true one, measured in the
        aperture; ``response``, the same of the difference that the star
        made; ``found_before``, ``found_after``; and the shifts ``dx_before``,
        ``dy_before``, ``dx_after``, ``dy_after`` in pixels.

    report : QualityReport
        Numbers and verdict.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from astroflat.quality import InjectionAudit, QualityReport
    >>> report = QualityReport('audit', {'n_false': 0})
    >>> InjectionAudit(Table(), Table(), report).report.verdict
    'accept'
    """

    table: Table
    stars: Table
    report: QualityReport


def inject_audit(
    function: Callable[[Any], Any],
    frame: Any,
    *,
    n: int = 40,
    snr: Sequence[float] = (1, 2, 3, 4, 5, 7, 10, 20, 50),
    settings: DetectionSettings | None = None,
    psf: Any = None,
    fwhm_after: float | None = None,
    gain: float | None = None,
    noise: float | None = None,
    mask: Any = None,
    limits: HarmLimits | None = None,
    max_rounds: int = 50,
    rng: np.random.Generator | int | None = 0,
) -> InjectionAudit:
    """
    Inject stars into a frame and see what a function makes of them.

    Parameters
    ----------
    function : callable
        Takes an image and returns an image of the same shape: a denoiser, a
        correction, a deconvolution. It gets a copy in the container that the
        frame came in.

    frame : CCDData, array_like or path
        A real or simulated frame, ``(ny, nx)``, not processed.

    n : int, optional
        The number of stars of each signal-to-noise ratio.

    snr : sequence of float, optional
        The signal-to-noise ratios of a fit of the known profile, limited by
        the noise of the background. Some should be below the threshold.

    settings : DetectionSettings, optional
        How sources are found; before and after down to the same flux, which is
        the same threshold in the unit of the frame unless ``fwhm_after`` is given.

    psf : array_like, optional
        The image of a star in the middle of an array, of any sum, such as from
        `astroflat.psf`; a Gaussian of the ``fwhm`` of the settings by default.

    fwhm_after : float, optional
        The full width at half maximum in pixels that stars are to have in the
        result, round Gaussians, if the function sharpens or smooths. They are
        then found and measured there with apertures of that width, and
        compared with such stars. By default they stay as they are.

    gain : float, optional
        Electrons per unit, for the photon noise of the injected stars.

    noise : float, optional
        The noise per pixel; measured in the frame by default.

    mask : array_like of bool, optional
        True marks pixels to leave alone.

    limits : HarmLimits, optional
        What the verdict rests on.

    max_rounds : int, optional
        How often the function may be run at most; in one round only so many
        stars are injected that they do not touch each other.

    rng : `numpy.random.Generator` or int, optional
        The random numbers. The same seed injects the same stars.

    Returns
    -------
    audit : InjectionAudit
        Its ``table`` has the columns ``snr``, ``n``; ``completeness_before``
        and ``completeness_after``, each with ``_low`` and ``_high`` (Wilson,
        95 %); ``separability_before`` and ``separability_after``, the
        probability that a star fitted at an injected place is brighter than
        one fitted at a blank place (0.5 is a guess); ``response_percent``,
        the median flux that the star added to the result over what it added
        to the frame, and its error; ``flux_bias_before_percent``,
        ``flux_bias_after_percent`` and ``flux_error_percent``, from
        photometry at the injected places whether the star was found or not;
        ``shift_before`` and ``shift_after``, the median distance of the stars
        found from their places.

    Raises
    ------
    ValueError
        If the function changes the shape, the frame has no noise, ``psf`` is no
        image of a star, or there is no free place.

    Notes
    -----
    A false source is one that is found in the processed frame where the
    unprocessed one has, within one FWHM, less than half of the light of a
    source at the threshold: an honest estimate of the sky lifts none from
    there over it. ``n_new`` counts the same among the sources that appear with
    the injected stars, but are none of them.

    The completeness at one threshold does not reward smoothing: a star must
    keep its height. Nor does the separability, which has no threshold; for the
    unprocessed frame it is that of the best linear filter.

    Doing nothing has the gains 0, a response of 100 % and no false source.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.quality import inject_audit
    >>> frame = np.random.default_rng(0).normal(100, 5, (200, 200))
    >>> nothing = inject_audit(lambda image: image, frame, n=8, snr=(3, 10))
    >>> nothing.report.verdict, nothing.report.numbers['completeness_gain']
    ('accept', 0.0)
    >>> zeros = inject_audit(np.zeros_like, frame, n=8, snr=(3, 10))
    >>> zeros.report.verdict
    'reject'
    """
    levels = sorted({float(level) for level in snr})
    if not levels or levels[0] <= 0 or n < 1:
        msg = f'snr must be positive numbers and n at least 1, not {snr!r} and {n!r}'
        raise ValueError(msg)
    rng = np.random.default_rng(rng)
    settings = settings or DetectionSettings()
    audit = prepare(
        function,
        unpack(frame, name='frame', mask=mask),
        settings=settings,
        psf=psf,
        gain=gain,
        noise=noise,
        fwhm_after=fwhm_after,
    )
    stars, n_rounds, n_new = run_rounds(
        audit, levels, n, max_rounds=max_rounds, rng=rng
    )
    if len(stars) < n * len(levels):
        msg = (
            f'{len(stars)} of {n * len(levels)} stars were injected in {n_rounds} '
            'rounds; raise max_rounds, or take a larger frame or fewer stars'
        )
        warnings.warn(msg, AstroflatWarning, stacklevel=2)
    blanks = blank_values(audit, max(100, 2 * n), rng)
    table = Table(rows=[_row(stars, level, blanks) for level in levels])
    numbers = _numbers(audit, table)
    numbers |= {'n_injected': len(stars), 'n_rounds': n_rounds, 'n_new': n_new}
    report = _judge(numbers, audit, stars, limits or HarmLimits())
    hidden = ['fit_before', 'fit_after']
    stars.remove_columns(hidden)
    return InjectionAudit(table, stars, report)


def _row(stars: Table, level: float, blanks: tuple[np.ndarray, np.ndarray]) -> dict:
    """Summarise the stars of one signal-to-noise ratio."""
    own = stars[np.asarray(stars['snr']) == level]
    row: dict[str, float] = {'snr': level, 'n': len(own)}
    for side, blank in zip(('before', 'after'), blanks, strict=True):
        k = int(np.count_nonzero(own[f'found_{side}']))
        low, high = interval(k, len(own), 0.95)
        row[f'completeness_{side}'] = k / len(own) if len(own) else math.nan
        row[f'completeness_{side}_low'] = low
        row[f'completeness_{side}_high'] = high
        row[f'separability_{side}'] = _separability(own[f'fit_{side}'], blank)
        row[f'flux_bias_{side}_percent'] = _median_error(own[f'flux_{side}'])[0]
        shift = np.hypot(own[f'dx_{side}'], own[f'dy_{side}'])
        shift = shift[np.asarray(own[f'found_{side}'], bool)]
        row[f'shift_{side}'] = float(np.median(shift)) if k else math.nan
    row['flux_error_percent'] = _median_error(own['flux_after'])[1]
    bias, error = _median_error(own['response'])
    row['response_percent'], row['response_error_percent'] = 100 + bias, error
    return row


def _median_error(ratio: Any) -> tuple[float, float]:
    """Return the median of a ratio less 1 in per cent, and its standard error."""
    values = np.asarray(ratio, dtype=np.float64)
    n_all, values = values.size, values[np.isfinite(values)]
    if 2 * values.size <= n_all:
        # A result that is mostly no number must not be judged by the rest.
        return math.nan, math.nan
    middle = np.median(values)
    scale = 1.4826 * np.median(np.abs(values - middle))
    return 100 * float(middle - 1), 125.33 * float(scale) / math.sqrt(values.size)


def _separability(values: Any, blank: np.ndarray) -> float:
    """Return the probability that a star is brighter than a blank place."""
    values = np.asarray(values)
    values, blank = values[np.isfinite(values)], blank[np.isfinite(blank)]
    if not (values.size and blank.size):
        return math.nan
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([values, blank]))[: values.size]
    wins = ranks.sum() - values.size * (values.size + 1) / 2
    return float(wins / (values.size * blank.size))


def _numbers(audit: AuditFrame, table: Table) -> dict[str, Any]:
    """Return what is known about the frame as a whole."""
    after = audit.find(audit.processed, processed=True)
    known, threshold = audit.known, audit.threshold
    i, j = pair_sources(after, known, max_separation=audit.settings.fwhm)
    lost = np.asarray(known['strength']) >= _SURE * threshold
    n_sure = int(np.count_nonzero(lost))
    lost[j] = False
    clean, bad = audit.processed, ~np.isfinite(audit.processed)
    noise_after = subtract_background(clean, bad, box=audit.settings.box)[1]
    gains = {
        f'{name}_gain': float(np.mean(table[f'{name}_after'] - table[f'{name}_before']))
        for name in ('completeness', 'separability')
    }
    return {
        'noise_before': audit.noise,
        'noise_after': noise_after,
        'threshold': threshold,
        'threshold_snr': audit.threshold_snr,
        'n_sources_before': int(np.count_nonzero(known['strength'] >= threshold)),
        'n_sources_after': len(after),
        'n_false': audit.count_unsupported(after[others(len(after), i)], audit.light),
        'n_sure': n_sure,
        'n_lost': int(np.count_nonzero(lost)),
        'n_new_bad': int(np.count_nonzero(bad & ~audit.frame.bad)),
        **gains,
        'snr_50_before': _half(table, 'before'),
        'snr_50_after': _half(table, 'after'),
    }


def _half(table: Table, side: str) -> float:
    """Return the signal-to-noise ratio at which half of the stars are found."""
    found = np.maximum.accumulate(np.asarray(table[f'completeness_{side}'], float))
    k = int(np.searchsorted(found, 0.5))
    if k == len(found) or not np.isfinite(found).all():
        return math.nan
    if k == 0:
        return float(table['snr'][0])
    x, y = np.asarray(table['snr'])[k - 1 : k + 1], found[k - 1 : k + 1]
    return float(np.interp(0.5, y, x))


def _judge(
    numbers: dict[str, Any], audit: AuditFrame, stars: Table, limits: HarmLimits
) -> QualityReport:
    """Compare with the limits."""
    sure = stars[np.asarray(stars['snr']) >= _SURE * audit.threshold_snr]
    seen = np.asarray(sure['found_before'], bool)
    lost = seen & ~np.asarray(sure['found_after'], bool)
    loss = percent(
        int(np.count_nonzero(lost)) + numbers['n_lost'],
        int(np.count_nonzero(seen)) + numbers['n_sure'],
    )
    false = rate(numbers['n_false'], numbers['n_sources_after'])
    ghosts = rate(numbers['n_new'], len(stars))
    response = _median_error(sure['response']) if len(sure) else (None, math.nan)
    shift, shift_error = _mean_shift(sure[seen & ~lost])
    numbers = numbers | {
        'lost_percent': loss[0],
        'false_percent': false[0],
        'response_bias_percent': response[0],
        'shift_pixels': shift,
    }
    report = QualityReport('injection audit', numbers, limits.to_dict())
    reason = f'{numbers["n_new_bad"]} pixels are not finite any more'
    report = report.check(numbers['n_new_bad'] == 0, 'weak', reason)
    # Of the separability only a loss counts.
    gain = min(0.0, numbers['separability_gain'])
    checks = (
        ('lost_percent', *loss, _LOST),
        ('false_percent', *false, _FALSE),
        ('false_percent', *ghosts, _GHOSTS),
        ('flux_bias_percent', response[0], 2 * response[1], _RESPONSE),
        ('shift_pixels', shift, 2 * shift_error, _SHIFT),
        ('separability', gain, 1 / math.sqrt(len(stars)), _SEPARABILITY),
    )
    for name, value, margin, reason in checks:
        report = judge(report, limits, name, value, reason, margin=margin)
    return report


_LOST = '{value} % of the stars well above the threshold are lost (limit {limit} %)'
_FALSE = '{value} % of the sources are false (limit {limit} %)'
_GHOSTS = (
    '{value} sources appear with 100 injected stars and are none of them '
    '(limit {limit})'
)
_RESPONSE = 'the flux of bright stars changes by {value} % (limit {limit} %)'
_SHIFT = 'the stars are shifted by {value} px (limit {limit} px)'
_SEPARABILITY = (
    'injected stars are harder to tell from blank sky: the probability changes by '
    '{value} (limit {limit})'
)


def _mean_shift(stars: Table) -> tuple[float | None, float]:
    """Return the size of the median shift against before, and its error."""
    if not len(stars):
        return None, math.nan
    moves = [np.asarray(stars[f'd{a}_after'] - stars[f'd{a}_before']) for a in 'xy']
    middle = [float(np.median(m)) for m in moves]
    scale = [1.858 * float(np.median(np.abs(m - np.median(m)))) for m in moves]
    return math.hypot(*middle), math.hypot(*scale) / math.sqrt(len(stars))
