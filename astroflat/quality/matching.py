# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Which sources of an image are in the reference, which are not, and which are lost."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from astropy.table import Table

from astroflat.quality._aperture import measure_fluxes
from astroflat.quality._fractions import harmonic_mean, interval
from astroflat.quality.detection import (
    DetectionSettings,
    _usable,
    faintest_flux,
    find_sources,
)
from astroflat.quality.pairing import (
    catalogue_sources,
    open_pair,
    others,
    pair_sources,
    reference_sources,
)

__all__ = ['SourceMatch', 'match_sources']


@dataclass(frozen=True)
class SourceMatch:
    """
    The sources of an image and of a reference, compared.

    Parameters
    ----------
    pairs : `~astropy.table.Table`
        One row per source in both: ``x``, ``y``, ``flux``, ``x_reference``,
        ``y_reference``, ``flux_reference``, ``separation`` (pixels) and
        ``counted``, False for sources of the reference that are too faint to
        be asked for.

    missed : `~astropy.table.Table`
        Sources of the reference that are not in the image: ``x``, ``y``,
        ``flux``.

    extra : `~astropy.table.Table`
        Sources of the image that are not in the reference: ``x``, ``y``,
        ``flux``, ``strength``.

    threshold : float
        The threshold on both sides.

    noise : float
        The noise that it was derived from.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from astroflat.quality import SourceMatch
    >>> pairs = Table({'counted': [True, True, True]})
    >>> missed, extra = Table({'x': [1.0]}), Table({'x': []})
    >>> match = SourceMatch(pairs, missed, extra, threshold=5.0, noise=1.0)
    >>> match.completeness, match.purity, round(match.f1, 3)
    (0.75, 1.0, 0.857)
    """

    pairs: Table
    missed: Table
    extra: Table
    threshold: float
    noise: float

    @property
    def n_found(self) -> int:
        """The number of sources found out of those that are asked for."""
        return int(np.count_nonzero(self.pairs['counted']))

    @property
    def completeness(self) -> float:
        """The fraction of the reference that is found; NaN if it is empty."""
        return _ratio(self.n_found, self.n_found + len(self.missed))

    @property
    def purity(self) -> float:
        """The fraction of the sources found that are real; NaN without any."""
        return _ratio(len(self.pairs), len(self.pairs) + len(self.extra))

    @property
    def f1(self) -> float:
        """The harmonic mean of completeness and purity."""
        return harmonic_mean(self.completeness, self.purity)

    def scores(self, *, confidence: float = 0.95) -> dict[str, float]:
        """
        Return completeness, purity and F1 with confidence intervals.

        Parameters
        ----------
        confidence : float, optional
            The probability that the interval holds the true fraction.

        Returns
        -------
        scores : dict of float
            ``n_reference``, ``n_image``, ``n_pairs``, ``n_missed``,
            ``n_extra``, ``completeness``, ``purity``, ``f1``, each of the
            first two with ``_low`` and ``_high`` (Wilson), and
            ``shift_x_pixels``, ``shift_y_pixels`` and
            ``shift_rms_pixels`` of the pairs.
        """
        n_reference = self.n_found + len(self.missed)
        n_image = len(self.pairs) + len(self.extra)
        low, high = interval(self.n_found, n_reference, confidence)
        scores = {
            'n_reference': n_reference,
            'n_image': n_image,
            'n_pairs': len(self.pairs),
            'n_missed': len(self.missed),
            'n_extra': len(self.extra),
            'completeness': self.completeness,
            'completeness_low': low,
            'completeness_high': high,
        }
        low, high = interval(len(self.pairs), n_image, confidence)
        scores |= {'purity': self.purity, 'purity_low': low, 'purity_high': high}
        return scores | {'f1': self.f1} | self._shifts()

    def to_table(self) -> Table:
        """
        Return all sources in one table.

        Returns
        -------
        table : `~astropy.table.Table`
            ``status`` ('pair', 'missed' or 'extra'), ``x``, ``y``, ``flux``,
            ``x_reference``, ``y_reference``, ``flux_reference``; NaN where a
            side has nothing.
        """
        own, other = ('x', 'y', 'flux'), ('x_reference', 'y_reference')
        other = (*other, 'flux_reference')
        rows = {name: [self.pairs[name]] for name in (*own, *other)}
        for name, reference in zip(own, other, strict=True):
            gap = np.full(len(self.missed), np.nan)
            rows[name] += [gap, self.extra[name]]
            gap = np.full(len(self.extra), np.nan)
            rows[reference] += [self.missed[name], gap]
        counts = [len(self.pairs), len(self.missed), len(self.extra)]
        status = np.repeat(['pair', 'missed', 'extra'], counts)
        columns = {name: np.concatenate(parts) for name, parts in rows.items()}
        return Table({'status': status, **columns})

    def _shifts(self) -> dict[str, float]:
        """Return the mean shift of the pairs and its scatter."""
        names = ('shift_x_pixels', 'shift_y_pixels', 'shift_rms_pixels')
        if not len(self.pairs):
            return dict.fromkeys(names, math.nan)
        dx = np.asarray(self.pairs['x'] - self.pairs['x_reference'])
        dy = np.asarray(self.pairs['y'] - self.pairs['y_reference'])
        rms = math.sqrt(np.mean(dx**2 + dy**2))
        values = (float(np.median(dx)), float(np.median(dy)), rms)
        return dict(zip(names, values, strict=True))


def match_sources(
    image: Any,
    reference: Any,
    *,
    settings: DetectionSettings | None = None,
    noise: float | None = None,
    max_separation: float | None = None,
    min_flux: float | None = None,
    faint: float = 0.6,
    mask: Any = None,
) -> SourceMatch:
    """
    Match the sources of an image with those of a reference, one to one.

    Parameters
    ----------
    image : CCDData, array_like or path
        The image to judge.

    reference : CCDData, array_like, path or `~astropy.table.Table`
        The truth: an image, or a catalogue with columns ``x``, ``y`` and
        ``flux`` in pixels and any unit of flux.

    settings : DetectionSettings, optional
        How sources are found, in both.

    noise : float, optional
        The noise per pixel that ``settings.nsigma`` is multiplied with. When
        several results of one image are compared, give the noise of the
        unprocessed one. By default the larger of the noises of both images.

    max_separation : float, optional
        The largest distance of a pair in pixels; by default the FWHM of the
        settings.

    min_flux : float, optional
        Fainter sources of a catalogue may be found, but are not asked for.
        By default `faintest_flux` of the threshold.

    faint : float, optional
        Sources of a reference image between ``faint`` times the threshold
        and the threshold may be found, but are not asked for. Without them a
        real star that the noise lifts over the threshold on one side only
        would be called false.

    mask : array_like of bool, optional
        True marks pixels to ignore, in both.

    Returns
    -------
    match : SourceMatch
        The pairs, what was missed, and what is extra.

    Notes
    -----
    Fluxes of pairs are summed in the same aperture at the place of the
    reference in both images: there is no selection in them. The flux of a
    catalogue is taken as it is; the aperture then loses the wings of the star,
    see `flux_scatter`.

    Pairs are formed from the closest on; no source is in two. Sources whose
    place in the reference is masked or close to the edge count on no side.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.quality import match_sources
    >>> y, x = np.mgrid[:64, :64]
    >>> star = np.exp(-((x - 30) ** 2 + (y - 20) ** 2) / 2 / 1.3**2)
    >>> noise = np.random.default_rng(0).normal(size=(64, 64))
    >>> match = match_sources(50 * star + noise, 50 * star, noise=1.0)
    >>> match.completeness, match.purity
    (1.0, 1.0)
    """
    settings = settings or DetectionSettings()
    data, other, bad, noise = open_pair(image, reference, settings, noise, mask)
    threshold = settings.threshold or settings.nsigma * noise
    # The edge is left out after the matching: a centroid that crosses the line
    # must not make its partner unmatched.
    inner = replace(settings, border=0)
    found = find_sources(data, settings=inner, threshold=threshold, mask=bad)
    if other is None:
        limit = faintest_flux(threshold, settings) if min_flux is None else min_flux
        wanted = catalogue_sources(reference, limit)
    else:
        wanted = reference_sources(
            other, bad, settings=inner, limits=(threshold, faint * threshold)
        )
    radius = settings.fwhm if max_separation is None else max_separation
    i, j = pair_sources(found, wanted, max_separation=radius)
    image_flux = _forced(data, bad, wanted[j], settings)
    return _sort_out(
        found, wanted, (i, j), image_flux, bad, settings.margin, (threshold, noise)
    )


def _sort_out(
    found: Table,
    wanted: Table,
    pairs: tuple[np.ndarray, np.ndarray],
    image_flux: np.ndarray,
    bad: np.ndarray,
    margin: int,
    limits: tuple[float, float],
) -> SourceMatch:
    """Build the result out of the sources away from edges and bad pixels."""
    i, j = pairs
    a, b = found[i], wanted[j]
    table = Table(
        {
            'x': a['x'],
            'y': a['y'],
            'flux': image_flux,
            'x_reference': b['x'],
            'y_reference': b['y'],
            'flux_reference': b['flux'],
            'separation': np.hypot(a['x'] - b['x'], a['y'] - b['y']),
            'counted': np.asarray(b['counted'], dtype=bool),
        }
    )
    missed = wanted[others(len(wanted), j) & np.asarray(wanted['counted'], bool)]
    extra = found[others(len(found), i)]
    return SourceMatch(
        table[_usable(b['x'], b['y'], bad, margin)],
        missed[_usable(missed['x'], missed['y'], bad, margin)]['x', 'y', 'flux'],
        extra[_usable(extra['x'], extra['y'], bad, margin)][
            'x', 'y', 'flux', 'strength'
        ],
        *(float(limit) for limit in limits),
    )


def _forced(
    image: np.ndarray, bad: np.ndarray, places: Table, settings: DetectionSettings
) -> np.ndarray:
    """Measure the flux in an image at the places of the reference."""
    fluxes = measure_fluxes(
        image,
        places['x'],
        places['y'],
        radius=settings.radius,
        annulus=settings.annulus,
        mask=bad,
    )
    return np.asarray(fluxes['flux'])


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
