# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Rounds of injected stars: what goes in, what comes out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table, vstack
from scipy import ndimage

from astroflat._nddata import Frame, unpack
from astroflat.quality._aperture import measure_fluxes
from astroflat.quality._background import subtract_background
from astroflat.quality._inject import (
    add_star,
    draw_places,
    flux_of_snr,
    matched_filter,
    star_profile,
)
from astroflat.quality._support import light_map, unsupported
from astroflat.quality.detection import DetectionSettings, faintest_flux, find_sources
from astroflat.quality.pairing import others, pair_sources

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ['AuditFrame', 'prepare', 'run_rounds']


@dataclass(frozen=True)
class AuditFrame:
    """
    A frame that stars are injected into, and the callable that is audited.

    Parameters
    ----------
    frame : Frame
        The frame, taken apart.

    function : callable
        What is audited.

    settings : DetectionSettings
        How sources are found.

    psf : `~numpy.ndarray` or None
        The image of a star.

    gain : float or None
        Electrons per unit.

    noise : float
        The noise per pixel of the unprocessed frame.

    threshold : float
        The threshold before.

    after : DetectionSettings
        How sources are found in the processed frame, with their threshold.

    psf_after : `~numpy.ndarray` or None
        The image of a star there.

    processed : `~numpy.ndarray`
        The frame after the callable, without injected stars.

    known : `~astropy.table.Table`
        The sources of the unprocessed frame, down to well below the
        threshold.

    light : `~numpy.ndarray`
        The light map of the unprocessed frame.

    taken : `~numpy.ndarray` of bool
        Where no star may be injected.
    """

    frame: Frame
    function: Callable[[Any], Any]
    settings: DetectionSettings
    psf: np.ndarray | None
    gain: float | None
    noise: float
    threshold: float
    after: DetectionSettings
    psf_after: np.ndarray | None
    processed: np.ndarray
    known: Table
    light: np.ndarray
    taken: np.ndarray

    @property
    def spacing(self) -> float:
        """The smallest distance of two injected stars."""
        return 2 * (self.settings.annulus[1] + self.settings.radius)

    @property
    def threshold_snr(self) -> float:
        """The signal-to-noise ratio of a star that just reaches the threshold."""
        unit = flux_of_snr(1.0, self.noise, None, self.settings.fwhm)
        return faintest_flux(self.threshold, self.settings) / unit

    def count_unsupported(self, sources: Table, light: np.ndarray) -> int:
        """
        Count sources that the unprocessed image knows nothing of.

        Parameters
        ----------
        sources : `~astropy.table.Table`
            Sources of the processed image.

        light : `~numpy.ndarray`
            The light map of the unprocessed one.

        Returns
        -------
        n : int
            The number.
        """
        false = unsupported(
            sources, light, settings=self.settings, threshold=self.threshold
        )
        return int(np.count_nonzero(false))

    def process(self, image: np.ndarray) -> np.ndarray:
        """
        Run the callable on a copy, in the container that the frame came in.

        Parameters
        ----------
        image : `~numpy.ndarray`
            The pixels.

        Returns
        -------
        processed : `~numpy.ndarray`
            Its result; masked pixels of it are NaN.
        """
        return run_function(self.function, self.frame, image)

    def find(self, image: np.ndarray, *, processed: bool = False) -> Table:
        """
        Find sources of the same flux in an image.

        Parameters
        ----------
        image : `~numpy.ndarray`
            The image.

        processed : bool, optional
            Whether the callable has been at it.

        Returns
        -------
        sources : `~astropy.table.Table`
            As of `find_sources`.
        """
        settings = self.after if processed else self.settings
        threshold = None if processed else self.threshold
        return find_sources(
            image, settings=settings, threshold=threshold, mask=self.frame.bad
        )


def run_function(
    function: Callable[[Any], Any], frame: Frame, image: np.ndarray
) -> np.ndarray:
    """
    Run a callable on an image and check what it returns.

    Parameters
    ----------
    function : callable
        Takes and returns an image.

    frame : Frame
        The frame, whose kind of container the callable gets.

    image : `~numpy.ndarray`
        The pixels.

    Returns
    -------
    result : `~numpy.ndarray`
        The pixels of its result; NaN where it masks them.
    """
    result = unpack(function(frame.repack(image.copy())), name='result of the function')
    if result.shape != image.shape:
        msg = (
            f'the function returned an image of shape {result.shape} for one of '
            f'shape {image.shape}; only functions that keep the shape can be audited'
        )
        raise ValueError(msg)
    return np.where(result.bad, np.nan, result.data)


def prepare(
    function: Callable[[Any], Any],
    frame: Frame,
    *,
    settings: DetectionSettings,
    psf: Any,
    gain: float | None,
    noise: float | None,
    fwhm_after: float | None = None,
) -> AuditFrame:
    """
    Look at a frame before any star is injected.

    Parameters
    ----------
    function : callable
        What is audited.

    frame : Frame
        The frame.

    settings : DetectionSettings
        How sources are found.

    psf : array_like or None
        The image of a star.

    gain : float or None
        Electrons per unit.

    noise : float or None
        The noise per pixel; measured by default.

    fwhm_after : float or None, optional
        The width of stars in the processed frame, if it is another one.

    Returns
    -------
    audit : AuditFrame
        All that the rounds need.
    """
    bad = frame.bad
    if noise is None:
        noise = subtract_background(frame.data, bad, box=settings.box)[1]
    if not noise > 0:
        msg = f'the noise of the frame is {noise}; give noise= in its unit'
        raise ValueError(msg)
    threshold = settings.threshold or settings.nsigma * noise
    light = light_map(frame.data, bad, settings)
    known = find_sources(
        frame.data, settings=settings, threshold=0.6 * threshold, mask=bad
    )
    psf = None if psf is None else _checked(psf)
    return AuditFrame(
        frame=frame,
        function=function,
        settings=settings,
        psf=psf,
        gain=gain,
        noise=float(noise),
        threshold=float(threshold),
        after=_settings_after(settings, float(threshold), fwhm_after),
        psf_after=psf if fwhm_after is None else None,
        processed=run_function(function, frame, frame.data),
        known=known,
        light=light,
        taken=_taken(light, bad, noise, settings),
    )


def _checked(psf: Any) -> np.ndarray:
    """Return the image of a star, or raise if it cannot be one."""
    psf = np.asarray(psf, dtype=np.float64)
    if psf.ndim != 2 or not np.isfinite(psf).all() or not psf.sum() > 0:
        msg = (
            'psf must be a 2-D image of a star, finite and with a positive sum, not '
            f'of shape {psf.shape} and sum {psf.sum():.3g}'
        )
        raise ValueError(msg)
    return psf


def _settings_after(
    settings: DetectionSettings, threshold: float, fwhm: float | None
) -> DetectionSettings:
    """Return how stars of this width are found down to the same flux."""
    if fwhm is None:
        return replace(settings, threshold=threshold)
    after = replace(settings, fwhm=fwhm, border=settings.margin)
    ratio = faintest_flux(threshold, settings) / faintest_flux(threshold, after)
    return replace(after, threshold=threshold * ratio)


def run_rounds(
    audit: AuditFrame,
    levels: list[float],
    n: int,
    *,
    max_rounds: int,
    rng: np.random.Generator,
) -> tuple[Table, int, int]:
    """
    Inject stars in rounds and measure them before and after.

    Parameters
    ----------
    audit : AuditFrame
        The frame and the callable.

    levels : list of float
        The signal-to-noise ratios.

    n : int
        The number of stars of each.

    max_rounds : int
        After so many runs of the callable no more stars are injected.

    rng : `~numpy.random.Generator`
        The random numbers.

    Returns
    -------
    stars : `~astropy.table.Table`
        One row per star.

    n_rounds : int
        The number of runs.

    n_new : int
        Sources that came with injected stars, but are none of them.
    """
    queue = rng.permutation(np.repeat(np.asarray(levels, dtype=float), n))
    tables, n_new, n_rounds = [], 0, 0
    while queue.size and n_rounds < max_rounds:
        places = draw_places(
            audit.taken, queue.size, distance=audit.spacing, rng=rng, attempts=5
        )
        if not len(places):
            break
        table, new = _one_round(audit, places, queue[: len(places)], rng)
        tables.append(table)
        queue = queue[len(places) :]
        n_new, n_rounds = n_new + new, n_rounds + 1
    if not tables:
        msg = (
            'the frame has no free place to inject stars at; use a larger frame or a '
            'higher threshold'
        )
        raise ValueError(msg)
    return vstack(tables), n_rounds, n_new


def blank_values(
    audit: AuditFrame, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """
    Fit a star where there is none, before and after.

    Parameters
    ----------
    audit : AuditFrame
        The frame.

    n : int
        The number of places.

    rng : `~numpy.random.Generator`
        The random numbers.

    Returns
    -------
    before, after : `~numpy.ndarray`
        The fitted fluxes.
    """
    distance = 3 * audit.settings.fwhm
    places = draw_places(audit.taken, n, distance=distance, rng=rng, attempts=5)
    return _fit(audit, audit.frame.data, places), _fit_after(
        audit, audit.processed, places
    )


def _one_round(
    audit: AuditFrame, places: np.ndarray, snr: np.ndarray, rng: np.random.Generator
) -> tuple[Table, int]:
    """Inject some stars, run the callable, measure."""
    stars, wanted, flux = _stars(audit, places, snr, rng)
    before = audit.frame.data + stars
    after = audit.process(before)
    table = Table({'y': places[:, 0], 'x': places[:, 1], 'snr': snr, 'flux': flux})
    true = _aperture(audit, stars, table, audit.settings)
    table['flux_before'] = _aperture(audit, before, table, audit.settings) / true
    true = _aperture(audit, wanted, table, audit.after)
    table['flux_after'] = _aperture(audit, after, table, audit.after) / true
    added = after - audit.processed
    table['response'] = _aperture(audit, added, table, audit.after) / true
    table['fit_before'] = _fit(audit, before, places)
    table['fit_after'] = _fit_after(audit, after, places)
    found = audit.find(after, processed=True)
    for name, sources in (('before', audit.find(before)), ('after', found)):
        _attach(table, sources, name, audit.settings.fwhm)
    return table, _count_new(audit, found, before, table)


def _stars(
    audit: AuditFrame, places: np.ndarray, snr: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images of stars, before with their photon noise and after; fluxes."""
    unit = flux_of_snr(1.0, audit.noise, audit.psf, audit.settings.fwhm)
    stars = _draw(audit, audit.psf, audit.settings.fwhm, places, snr * unit)
    if audit.gain is not None:
        stars = rng.poisson(np.maximum(stars, 0) * audit.gain) / audit.gain
    wanted = stars
    if audit.after.fwhm != audit.settings.fwhm:
        wanted = _draw(audit, audit.psf_after, audit.after.fwhm, places, snr * unit)
    return stars.astype(audit.frame.data.dtype), wanted, snr * unit


def _draw(
    audit: AuditFrame,
    psf: np.ndarray | None,
    fwhm: float,
    places: np.ndarray,
    flux: np.ndarray,
) -> np.ndarray:
    """Return an image of stars without noise."""
    stars = np.zeros(audit.frame.shape, dtype=np.float64)
    for place, value in zip(places, flux, strict=True):
        add_star(stars, *star_profile(psf, fwhm, tuple(place)), value)
    return stars


def _aperture(
    audit: AuditFrame, image: np.ndarray, table: Table, settings: DetectionSettings
) -> np.ndarray:
    """Measure fluxes at the places of the injected stars."""
    fluxes = measure_fluxes(
        image,
        table['x'],
        table['y'],
        radius=settings.radius,
        annulus=settings.annulus,
        mask=audit.frame.bad,
    )
    return np.asarray(fluxes['flux'])


def _fit(audit: AuditFrame, image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Fit a star at each place of an unprocessed image."""
    return matched_filter(
        _filled(image), places, psf=audit.psf, fwhm=audit.settings.fwhm
    )


def _fit_after(audit: AuditFrame, image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Fit a star at each place of a processed image."""
    return matched_filter(
        _filled(image), places, psf=audit.psf_after, fwhm=audit.after.fwhm
    )


def _filled(image: np.ndarray) -> np.ndarray:
    """Return the image; what is not finite counts as nothing."""
    level = float(np.nanmedian(image)) if np.isfinite(image).any() else 0.0
    return np.where(np.isfinite(image), image, level)


def _attach(table: Table, sources: Table, name: str, radius: float) -> None:
    """Note which injected stars were found, and how far off."""
    i, j = pair_sources(sources, table, max_separation=radius)
    found = np.zeros(len(table), bool)
    found[j] = True
    table[f'found_{name}'] = found
    for axis in ('x', 'y'):
        shift = np.full(len(table), math.nan)
        shift[j] = sources[axis][i] - table[axis][j]
        table[f'd{axis}_{name}'] = shift


def _count_new(
    audit: AuditFrame, found: Table, before: np.ndarray, table: Table
) -> int:
    """Count sources that are neither injected nor in the frame without stars."""
    processed = audit.find(audit.processed, processed=True)
    old = vstack(
        [t['x', 'y'] for t in (audit.known, processed, table)],
        metadata_conflicts='silent',
    )
    i, _ = pair_sources(found, old, max_separation=2 * audit.settings.fwhm)
    light = light_map(before, audit.frame.bad, audit.settings)
    return audit.count_unsupported(found[others(len(found), i)], light)


def _taken(
    light: np.ndarray, bad: np.ndarray, noise: float, settings: DetectionSettings
) -> np.ndarray:
    """Return where no star may be injected: light, bad pixels and the edge."""
    # 3 standard deviations: one place in 700 of an empty sky, but also the
    # wings of bright stars.
    free = light < 3 * noise
    taken = ~free
    if taken.any():
        taken = ndimage.distance_transform_edt(free) < 2 * settings.fwhm
    if bad.any():
        taken |= ndimage.distance_transform_edt(~bad) <= settings.radius + 1
    edge = max(math.ceil(settings.annulus[1]) + 1, settings.margin)
    taken[:edge] = taken[-edge:] = True
    taken[:, :edge] = taken[:, -edge:] = True
    return taken
