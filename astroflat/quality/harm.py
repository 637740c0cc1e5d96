# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A gate: whether an image may be replaced by its processed version."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from astropy.table import Table
from scipy import ndimage

from astroflat._nddata import Frame, unpack
from astroflat._report import QualityReport
from astroflat.quality._background import subtract_background
from astroflat.quality._fractions import percent, rate
from astroflat.quality._support import light_map, unsupported
from astroflat.quality.detection import DetectionSettings, faintest_flux, find_sources
from astroflat.quality.flatness import block_background
from astroflat.quality.limits import HarmLimits, judge
from astroflat.quality.matching import SourceMatch, match_sources
from astroflat.quality.photometry import flux_scatter

__all__ = ['do_no_harm']

# Stars this far above the threshold are found whatever the noise does.
_SURE = 1.5
_BRIGHT = 3.0
_LARGE = 8.0
# A background that scatters by less, as a fraction, is even.
_EVEN = 1e-4


def do_no_harm(
    before: Any,
    after: Any,
    *,
    truth: Any = None,
    task: Literal['image', 'flat'] = 'image',
    settings: DetectionSettings | None = None,
    noise: float | None = None,
    mask: Any = None,
    limits: HarmLimits | None = None,
) -> QualityReport:
    """
    Decide whether a processing step did harm.

    Parameters
    ----------
    before : CCDData, array_like or path
        The image before, ``(ny, nx)``.

    after : CCDData, array_like or path
        The image after.

    truth : CCDData, array_like or path, optional
        What the image should be, where it is known.

    task : {'image', 'flat'}, optional
        What was done. ``'image'``: denoising, restoration, repair: fluxes
        and the level of the sky must stay. ``'flat'``: a correction of the
        flat or the gradient: fluxes may change with the place, and the
        background must not become less even.

    settings : DetectionSettings, optional
        How sources are found, in both with the same threshold.

    noise : float, optional
        The noise per pixel before; measured by default.

    mask : array_like of bool, optional
        True marks pixels to leave out.

    limits : HarmLimits, optional
        How much is too much.

    Returns
    -------
    report : QualityReport
        The verdict with its reasons, and the numbers: ``changed_percent`` of
        the pixels; ``n_new_bad``; ``noise_before`` and ``noise_after``;
        ``level_shift_sigma``; ``n_sure`` (sources before, well above the
        threshold), ``n_lost``, ``n_sources_after``, ``n_false``; bias and trend
        of the flux of bright stars; their shift; the relative unevenness of
        the background; with a truth ``error_before``, ``error_after``,
        ``error_ratio`` and ``error_ratio_large`` (smoothed by 8 px): below 1
        is better than nothing, 1 is doing nothing.

    Raises
    ------
    ValueError
        If the shapes differ or ``task`` is unknown.

    Notes
    -----
    The verdict rests on what exceeds a limit by more than its statistical
    uncertainty. Doing nothing is accepted, and its gain is 0. A smaller error
    does not outweigh lost or invented sources.

    A flat may change the median; for ``task='flat'`` the result is compared with
    the truth up to a factor.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.quality import do_no_harm
    >>> image = np.random.default_rng(0).normal(100, 5, (128, 128))
    >>> do_no_harm(image, image).verdict
    'accept'
    >>> do_no_harm(image, np.zeros((128, 128))).verdict
    'reject'
    """
    if task not in ('image', 'flat'):
        msg = f"task must be 'image' or 'flat', not {task!r}"
        raise ValueError(msg)
    settings, limits = settings or DetectionSettings(), limits or HarmLimits()
    first = unpack(before, name='before', mask=mask)
    second = unpack(after, name='after')
    if first.shape != second.shape:
        msg = f'after has the shape {second.shape}, before has {first.shape}'
        raise ValueError(msg)
    if noise is None:
        noise = subtract_background(first.data, first.bad, box=settings.box)[1]
    report = QualityReport('do no harm', {}, limits.to_dict())
    report = _check_pixels(report, limits, first, second, noise, task)
    report = _check_sources(report, limits, first, second, noise, settings, task)
    if task == 'flat':
        report = _check_background(report, limits, first, second)
    if truth is not None:
        true = unpack(truth, name='truth')
        report = _check_truth(report, limits, (first, second, true), task)
    return report


def _check_pixels(
    report: QualityReport,
    limits: HarmLimits,
    first: Frame,
    second: Frame,
    noise: float,
    task: str,
) -> QualityReport:
    """Check what became of the pixels: finite, not constant, at their level."""
    good = ~first.bad
    both = good & ~second.bad
    n_bad = int(np.count_nonzero(good & second.bad))
    change = second.data[both].astype(np.float64) - first.data[both]
    scale = _spread(second.data[both])
    shift = float(np.median(change)) / noise if noise > 0 and both.any() else 0.0
    report.numbers.update(
        changed_percent=100 * float(np.mean(change != 0)) if both.any() else 100.0,
        n_new_bad=n_bad,
        noise_before=noise,
        noise_after=subtract_background(second.data, second.bad)[1],
        level_shift_sigma=shift,
    )
    report = report.check(n_bad == 0, 'weak', f'{n_bad} pixels are not finite any more')
    alive = both.any() and (scale > 0 or _spread(first.data[both]) == 0)
    report = report.check(bool(alive), 'reject', 'the result holds no image')
    if task == 'flat':
        return report
    reason = 'the level of the sky moves by {value} of its noise (limit {limit})'
    return judge(report, limits, 'level_sigma', shift, reason)


def _check_sources(
    report: QualityReport,
    limits: HarmLimits,
    first: Frame,
    second: Frame,
    noise: float,
    settings: DetectionSettings,
    task: str,
) -> QualityReport:
    """Check that stars are kept, none invented, and their flux and place stay."""
    threshold = settings.threshold or settings.nsigma * noise
    if not threshold > 0:
        return report
    mask = first.bad | second.bad
    match = match_sources(
        np.where(mask, np.nan, second.data),
        np.where(mask, np.nan, first.data),
        settings=settings,
        noise=noise,
        mask=mask,
    )
    sure = find_sources(
        first.data, settings=settings, threshold=_SURE * threshold, mask=first.bad
    )
    n_lost = _count_lost(sure, match, settings.fwhm)
    n_after = len(match.pairs) + len(match.extra)
    false = unsupported(
        match.extra,
        light_map(first.data, first.bad, settings),
        settings=settings,
        threshold=threshold,
        dimming=1.0 if task == 'image' else _dimming(first, second, mask),
    )
    n_false = int(np.count_nonzero(false))
    report.numbers.update(
        n_sure=len(sure), n_lost=n_lost, n_sources_after=n_after, n_false=n_false
    )
    value, margin = percent(n_lost, len(sure))
    report = judge(report, limits, 'lost_percent', value, _LOST, margin=margin)
    value, margin = rate(n_false, n_after)
    report = judge(report, limits, 'false_percent', value, _FALSE, margin=margin)
    return _check_stars(report, limits, match, threshold, settings, task)


def _check_stars(
    report: QualityReport,
    limits: HarmLimits,
    match: SourceMatch,
    threshold: float,
    settings: DetectionSettings,
    task: str,
) -> QualityReport:
    """Check flux and place of the bright stars."""
    flux = np.asarray(match.pairs['flux_reference'])
    bright = match.pairs[flux > _BRIGHT * faintest_flux(threshold, settings)]
    report.numbers['n_bright'] = len(bright)
    if len(bright) < 3:
        return report
    dx = np.asarray(bright['x'] - bright['x_reference'])
    dy = np.asarray(bright['y'] - bright['y_reference'])
    shift = math.hypot(np.median(dx), np.median(dy))
    spread = 1.858 * math.hypot(_spread(dx), _spread(dy)) / math.sqrt(len(bright))
    result = flux_scatter(bright, interval='analytic')
    names = ('flux_bias_percent', 'flux_scatter_percent', 'flux_trend_percent_per_mag')
    report.numbers.update({name: result[name] for name in names}, shift_pixels=shift)
    report = judge(report, limits, 'shift_pixels', shift, _SHIFT, margin=spread)
    if task == 'flat':
        return report
    bias = result['flux_bias_percent']
    margin = abs(result['flux_bias_percent_high'] - bias)
    report = judge(report, limits, 'flux_bias_percent', bias, _BIAS, margin=margin)
    trend = result['flux_trend_percent_per_mag']
    margin = _half_width(result, 'flux_trend_percent_per_mag')
    trend = None if math.isnan(trend) else trend
    return judge(report, limits, 'trend_percent_per_mag', trend, _TREND, margin=margin)


_LOST = '{value} % of the sources well above the threshold are lost (limit {limit} %)'
_FALSE = '{value} % of the sources are not in the image before (limit {limit} %)'
_SHIFT = 'the stars are shifted by {value} px (limit {limit} px)'
_BIAS = 'the flux of bright stars changes by {value} % (limit {limit} %)'
_TREND = 'the flux changes by {value} % per magnitude (limit {limit} %)'


def _check_background(
    report: QualityReport, limits: HarmLimits, first: Frame, second: Frame
) -> QualityReport:
    """Check that the background did not become less even."""
    bad = first.bad | second.bad
    uneven = [_unevenness(frame.data, bad) for frame in (first, second)]
    names = ('background_mad_percent_before', 'background_mad_percent_after')
    report.numbers.update(zip(names, (100 * u for u in uneven), strict=True))
    if not all(np.isfinite(uneven)):
        return report
    ratio = (uneven[1] + _EVEN) / (uneven[0] + _EVEN)
    report.numbers['flatness_ratio'] = ratio
    reason = 'the background is {value} times as uneven as before (limit {limit})'
    return judge(report, limits, 'flatness_ratio', ratio, reason)


def _check_truth(
    report: QualityReport, limits: HarmLimits, frames: tuple[Frame, ...], task: str
) -> QualityReport:
    """Check that the error against the truth did not grow."""
    first, second, true = frames
    if true.shape != first.shape:
        msg = f'truth has the shape {true.shape}, before has {first.shape}'
        raise ValueError(msg)
    good = ~(first.bad | second.bad | true.bad)
    if not good.any():
        return report.check(False, 'reject', 'no pixel can be compared with the truth')
    errors = [_error(f.data, true.data, good, task) for f in (first, second)]
    (small, large), (small_after, large_after) = errors
    ratio, ratio_large = _ratio(small_after, small), _ratio(large_after, large)
    report.numbers.update(
        error_before=small,
        error_after=small_after,
        error_ratio=ratio,
        error_ratio_large=ratio_large,
        gain_percent=100 * (1 - ratio),
    )
    reason = 'the error is {value} times that of doing nothing (limit {limit})'
    # The margin keeps rounding from making doing nothing harmful.
    report = judge(report, limits, 'error_ratio', ratio, reason, margin=1e-6)
    if task == 'image':
        # Noise alone may move the large scale by chance: only much is harm.
        moved = large_after > large + 0.1 * small
        return report.check(
            not moved, 'weak', f'the large-scale error grows by {ratio_large:.3g} times'
        )
    reason = 'the large-scale error is {value} times that of doing nothing'
    return judge(report, limits, 'error_ratio', ratio_large, reason, margin=1e-6)


def _error(
    image: np.ndarray, truth: np.ndarray, good: np.ndarray, task: str
) -> tuple[float, float]:
    """Return the root mean square of the error, as it is and smoothed."""
    difference = np.where(good, image, 0).astype(np.float64)
    if task == 'flat':
        # A flat is known up to a factor.
        difference *= _ratio(float(np.median(truth[good])), np.median(image[good]))
    difference -= np.where(good, truth, 0)
    weight = ndimage.gaussian_filter(good.astype(np.float64), _LARGE)
    smooth = ndimage.gaussian_filter(np.where(good, difference, 0), _LARGE)
    smooth = smooth[good] / np.maximum(weight[good], 1e-12)
    return tuple(float(np.sqrt(np.mean(v**2))) for v in (difference[good], smooth))


def _dimming(first: Frame, second: Frame, bad: np.ndarray) -> float:
    """Return by how much the darkest parts were dimmed before a flat was applied."""
    if bad.all():
        return 1.0
    # A flat lifts faint sources in dark corners over the threshold, rightly.
    levels = [np.median(frame.data[~bad]) for frame in (first, second)]
    images = [
        np.where(bad, level, frame.data).astype(np.float64)
        for frame, level in zip((first, second), levels, strict=True)
    ]
    box = max(2, min(32, min(bad.shape) // 4))
    if min(bad.shape) < 2 * box:
        return 1.0
    dark, lit = (block_background(image, box) for image in images)
    ratio = dark[lit > 0] / lit[lit > 0]
    return float(np.clip(np.percentile(ratio, 5), 0.5, 1)) if ratio.size else 1.0


def _count_lost(sure: Table, match: SourceMatch, radius: float) -> int:
    """Count sources well above the threshold that have no partner."""
    from scipy.spatial import cKDTree

    if not len(sure):
        return 0
    if not len(match.pairs):
        return len(sure)
    kept = np.column_stack([match.pairs['x_reference'], match.pairs['y_reference']])
    places = np.column_stack([sure['x'], sure['y']])
    return int(np.count_nonzero(cKDTree(kept).query(places)[0] > radius))


def _unevenness(image: np.ndarray, bad: np.ndarray) -> float:
    """Return the robust relative scatter of the background in blocks."""
    if bad.all():
        return math.nan
    level = np.median(image[~bad])
    box = max(4, min(48, min(image.shape) // 8))
    if level == 0 or min(image.shape) < 4 * box:
        return math.nan
    background = block_background(np.where(bad, level, image).astype(np.float64), box)
    return _spread(background) / abs(float(np.median(background)))


def _spread(values: np.ndarray) -> float:
    """Return the robust scatter, or the plain one where most values are equal."""
    if not values.size:
        return 0.0
    values = np.asarray(values, dtype=np.float64)
    scatter = 1.4826 * float(np.median(np.abs(values - np.median(values))))
    return scatter or float(np.std(values))


def _half_width(result: dict[str, float], name: str) -> float:
    return abs(result[f'{name}_high'] - result[f'{name}_low']) / 2


def _ratio(a: float, b: float) -> float:
    if b == 0:
        return 1.0 if a == 0 else math.inf
    return float(a / b)
