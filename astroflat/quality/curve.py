# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Completeness and purity as the threshold of the detection is swept."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Row, Table

from astroflat.quality._fractions import harmonic_mean
from astroflat.quality.detection import (
    DetectionSettings,
    _usable,
    faintest_flux,
    find_sources,
)
from astroflat.quality.pairing import (
    catalogue_sources,
    open_pair,
    pair_sources,
    reference_sources,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ['DetectionCurve', 'detection_curve']

_NSIGMA = (20.0, 15.0, 12.0, 10.0, 8.0, 7.0, 6.0, 5.0, 4.5, 4.0, 3.5, 3.0, 2.5, 2.0)


@dataclass(frozen=True)
class DetectionCurve:
    """
    Completeness and purity over the threshold.

    Parameters
    ----------
    table : `~astropy.table.Table`
        One row per threshold, the highest first: ``threshold``, ``nsigma``,
        ``n_found``, ``n_true`` (found and real), ``n_false``,
        ``n_reference``, ``completeness``, ``purity`` and ``f1``.

    noise : float
        The noise that ``nsigma`` refers to.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from astroflat.quality import DetectionCurve
    >>> table = Table({'completeness': [0.5, 1.0], 'purity': [1.0, 0.8]})
    >>> table['f1'] = [0.667, 0.889]
    >>> curve = DetectionCurve(table, noise=1.0)
    >>> print(round(curve.average_precision, 3), curve.best['purity'])
    0.9 0.8
    """

    table: Table
    noise: float

    @property
    def average_precision(self) -> float:
        """
        The purity averaged over the completeness that was gained.

        The sum of purity times the step of completeness, from the highest
        threshold down. Completeness that is not reached adds nothing.
        """
        recall = np.asarray(self.table['completeness'], float)
        if np.isnan(recall).any():
            return math.nan
        precision = np.nan_to_num(np.asarray(self.table['purity'], float))
        return float(np.sum(np.diff(recall, prepend=0.0) * precision))

    @property
    def best(self) -> Row:
        """The row with the largest F1."""
        return self.table[int(np.argmax(np.nan_to_num(self.table['f1'], nan=-1.0)))]


def detection_curve(
    image: Any,
    reference: Any,
    *,
    settings: DetectionSettings | None = None,
    thresholds: Any = None,
    noise: float | None = None,
    max_separation: float | None = None,
    min_flux: float | None = None,
    mask: Any = None,
) -> DetectionCurve:
    """
    Sweep the threshold of the detection and count what is real.

    Parameters
    ----------
    image : CCDData, array_like or path
        The image to judge.

    reference : CCDData, array_like, path or `~astropy.table.Table`
        The truth: an image, or a catalogue with ``x``, ``y`` and ``flux``.

    settings : DetectionSettings, optional
        How sources are found. Its threshold says which sources of a
        reference image are asked for; it stays the same in the sweep.

    thresholds : array_like, optional
        The thresholds in the unit of the image; by default 20 to 2 times
        the noise.

    noise : float, optional
        The noise per pixel of the unprocessed image; by default the larger
        of the noises of both images. Give it when curves are compared.

    max_separation : float, optional
        The largest distance of a pair in pixels; by default the FWHM.

    min_flux : float, optional
        Fainter sources of a catalogue are not asked for; by default
        `faintest_flux` of the threshold of the settings.

    mask : array_like of bool, optional
        True marks pixels to ignore, in both.

    Returns
    -------
    curve : DetectionCurve
        The table, the average precision and the best row.

    Notes
    -----
    The image is searched once, at the lowest threshold, if the method is
    DAOFIND, which finds the same sources then; segmentation once for each
    threshold. Sources of a reference image down to 0.6 times the lowest
    threshold may be found without being false.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import Table
    >>> from astroflat.quality import detection_curve
    >>> y, x = np.mgrid[:64, :64]
    >>> star = np.exp(-((x - 30) ** 2 + (y - 20) ** 2) / 2 / 1.3**2)
    >>> image = 50 * star + np.random.default_rng(0).normal(size=(64, 64))
    >>> truth = Table({'x': [30.0], 'y': [20.0], 'flux': [530.0]})
    >>> curve = detection_curve(image, truth)
    >>> curve.average_precision
    1.0
    """
    settings = settings or DetectionSettings()
    data, other, bad, noise = open_pair(image, reference, settings, noise, mask)
    steps = _thresholds(thresholds, noise)
    asked = settings.threshold or settings.nsigma * noise
    inner = replace(settings, border=0)
    if other is None:
        limit = faintest_flux(asked, settings) if min_flux is None else min_flux
        wanted = catalogue_sources(reference, limit)
    else:
        limits = (asked, 0.6 * min(asked, *steps))
        wanted = reference_sources(other, bad, settings=inner, limits=limits)
    wanted['inside'] = _usable(wanted['x'], wanted['y'], bad, settings.margin)
    radius = settings.fwhm if max_separation is None else max_separation
    rows = [
        _count(found, wanted, radius, step, noise)
        for step, found in _sweep(data, bad, inner, settings.margin, steps)
    ]
    return DetectionCurve(Table(rows=rows[::-1]), noise)


def _sweep(
    data: np.ndarray,
    bad: np.ndarray,
    settings: DetectionSettings,
    margin: int,
    steps: list[float],
) -> Iterator[tuple[float, Table]]:
    """Yield the sources found at each threshold, the lowest first."""
    deep = None
    for step in steps[::-1]:
        # DAOFIND at a higher threshold is a choice out of what it found.
        if deep is None or settings.method != 'dao':
            deep = find_sources(data, settings=settings, threshold=step, mask=bad)
            deep['inside'] = _usable(deep['x'], deep['y'], bad, margin)
        yield step, deep[deep['strength'] >= step] if settings.method == 'dao' else deep


def _thresholds(thresholds: Any, noise: float) -> list[float]:
    """Return the thresholds, the highest first."""
    if thresholds is None:
        if not noise > 0:
            msg = (
                'the images have no noise to derive thresholds from; '
                'give thresholds= in the unit of the image'
            )
            raise ValueError(msg)
        thresholds = noise * np.array(_NSIGMA)
    values = np.unique(np.asarray(thresholds, dtype=float).ravel())[::-1]
    if not (values.size and values[-1] > 0 and np.isfinite(values).all()):
        msg = f'thresholds must be positive numbers, not {thresholds!r}'
        raise ValueError(msg)
    return values.tolist()


def _count(
    found: Table, wanted: Table, radius: float, threshold: float, noise: float
) -> dict[str, float]:
    """Count what is real at one threshold."""
    i, j = pair_sources(found, wanted, max_separation=radius)
    counted = np.asarray(wanted['counted'], bool) & np.asarray(wanted['inside'], bool)
    extra = np.array(found['inside'], bool)
    extra[i] = False
    n_true = int(np.count_nonzero(wanted['inside'][j]))
    n_false = int(np.count_nonzero(extra))
    n_reference = int(np.count_nonzero(counted))
    n_asked = int(np.count_nonzero(counted[j]))
    completeness = n_asked / n_reference if n_reference else math.nan
    purity = n_true / (n_true + n_false) if n_true + n_false else math.nan
    return {
        'threshold': threshold,
        'nsigma': threshold / noise if noise > 0 else math.nan,
        'n_found': n_true + n_false,
        'n_true': n_true,
        'n_false': n_false,
        'n_reference': n_reference,
        'completeness': completeness,
        'purity': purity,
        'f1': harmonic_mean(completeness, purity),
    }
