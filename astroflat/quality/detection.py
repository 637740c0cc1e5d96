# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Finding sources, with the same settings on both sides of a comparison.

A threshold in units of an image's own noise would fall with every smoothing,
and the smoothed image would seem to hold more stars. Here the threshold is a
number in the unit of the data, and both images get the same.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from astropy.table import Table

from astroflat._nddata import unpack
from astroflat.quality._aperture import measure_fluxes
from astroflat.quality._background import subtract_background

__all__ = [
    'DetectionSettings',
    'faintest_flux',
    'find_sources',
]

_SIGMA = 1 / (2 * math.sqrt(2 * math.log(2)))
# DAOFIND cuts its kernel at 1.5 standard deviations, for crowded fields. That
# costs half of the signal: its threshold of 5 finds stars of a signal-to-noise
# ratio of 15. With 3 it is 7.
_KERNEL_RADIUS = 3.0
# Closer to a bad pixel, a source is on it.
_BESIDE = 0.6


@dataclass(frozen=True)
class DetectionSettings:
    """
    How sources are found and measured.

    Parameters
    ----------
    fwhm : float, optional
        The full width at half maximum of a star in pixels.

    nsigma : float, optional
        The threshold in units of the noise of the unprocessed image.

    threshold : float, optional
        The threshold in the unit of the data, in place of ``nsigma``.

    method : {'dao', 'segmentation'}, optional
        Stars by DAOFIND, or groups of pixels in the smoothed image, with
        blends separated: also galaxies and trails.

    n_pixels : int, optional
        The smallest number of pixels of a group.

    separation : float, optional
        The smallest distance of two stars; by default ``fwhm``.

    aperture : float, optional
        The radius in which the flux is summed; by default ``1.5 fwhm``.

    box : int, optional
        The size of the boxes that the background is estimated in.

    border : int, optional
        Sources closer to the edge are left out; by default ``2 fwhm``.

    Examples
    --------
    >>> from astroflat.quality import DetectionSettings
    >>> DetectionSettings(fwhm=4).radius
    6.0
    """

    fwhm: float = 3.0
    nsigma: float = 5.0
    threshold: float | None = None
    method: Literal['dao', 'segmentation'] = 'dao'
    n_pixels: int = 5
    separation: float | None = None
    aperture: float | None = None
    box: int = 64
    border: int | None = None

    def __post_init__(self) -> None:
        for name in ('fwhm', 'nsigma', 'threshold', 'n_pixels', 'aperture', 'box'):
            value = getattr(self, name)
            if value is not None and not value > 0:
                msg = f'{name} must be positive, not {value!r}'
                raise ValueError(msg)
        if self.method not in ('dao', 'segmentation'):
            msg = f"method must be 'dao' or 'segmentation', not {self.method!r}"
            raise ValueError(msg)

    @property
    def radius(self) -> float:
        """The radius of the aperture in pixels."""
        return 1.5 * self.fwhm if self.aperture is None else self.aperture

    @property
    def annulus(self) -> tuple[float, float]:
        """The radii of the ring that the local background is taken from."""
        inner = max(2.5 * self.fwhm, self.radius + 1)
        return inner, inner + 2 * self.fwhm

    @property
    def margin(self) -> int:
        """The width of the border in pixels."""
        return math.ceil(2 * self.fwhm) if self.border is None else self.border


def find_sources(
    image: Any,
    *,
    settings: DetectionSettings | None = None,
    threshold: float | None = None,
    mask: Any = None,
) -> Table:
    """
    Find and measure the sources of an image.

    Parameters
    ----------
    image : CCDData, array_like or path
        The image, ``(ny, nx)``. The background need not be subtracted.

    settings : DetectionSettings, optional
        How to find them.

    threshold : float, optional
        The threshold in the unit of the data; by default that of the
        settings, or ``nsigma`` times the noise of this image.

    mask : array_like of bool, optional
        True marks pixels to ignore.

    Returns
    -------
    sources : `~astropy.table.Table`
        ``x``, ``y`` in pixels; ``peak`` above the background; ``strength``,
        the highest threshold at which the source would be found (for
        segmentation the peak of the smoothed image); ``flux`` in the aperture
        above a ring around it (NaN where a bad pixel or the edge cuts it);
        ``flux_err``. The brightest come first. The threshold is in
        ``sources.meta``.

    Notes
    -----
    DAOFIND correlates the image with a Gaussian of zero sum, here out to three
    standard deviations (Stetson 1987); segmentation smooths it by a Gaussian.
    In both the filtered image is scaled so that white noise has the same
    standard deviation as in the image: a threshold of 5 times the noise per
    pixel is 5 standard deviations there. `faintest_flux` says which star that
    is.

    References
    ----------
    Stetson, P. B. 1987, PASP 99, 191, doi:10.1086/131977

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.quality import find_sources
    >>> y, x = np.mgrid[:64, :64]
    >>> image = np.random.default_rng(0).normal(100, 1, (64, 64))
    >>> image += 50 * np.exp(-((x - 30.2) ** 2 + (y - 20.0) ** 2) / 2 / 1.3**2)
    >>> sources = find_sources(image)
    >>> print(len(sources), sources['x'][0].round(1), sources['y'][0].round(1))
    1 30.2 20.0
    """
    settings = settings or DetectionSettings()
    frame = unpack(image, name='image', mask=mask)
    clean, noise = subtract_background(frame.data, frame.bad, box=settings.box)
    if threshold is None:
        threshold = settings.threshold or settings.nsigma * noise
    sources = _detect(clean, frame.bad, settings, threshold)
    sources = sources[_usable(sources['x'], sources['y'], frame.bad, settings.margin)]
    measured = measure_fluxes(
        frame.data,
        sources['x'],
        sources['y'],
        radius=settings.radius,
        annulus=settings.annulus,
        mask=frame.bad,
    )
    sources['flux'], sources['flux_err'] = measured['flux'], measured['flux_err']
    sources.meta = {'threshold': float(threshold), 'noise': noise}
    return sources[np.argsort(-sources['strength'], kind='stable')]


def faintest_flux(threshold: float, settings: DetectionSettings) -> float:
    """
    Return the flux of a Gaussian star that just reaches a threshold.

    Parameters
    ----------
    threshold : float
        The threshold in the unit of the image.

    settings : DetectionSettings
        How sources are found.

    Returns
    -------
    flux : float
        The flux of the whole star, centred on a pixel.

    Examples
    --------
    >>> from astroflat.quality import DetectionSettings, faintest_flux
    >>> settings = DetectionSettings(fwhm=3, method='segmentation')
    >>> round(faintest_flux(5.0, settings), 1)
    22.6
    """
    sigma = settings.fwhm * _SIGMA
    if settings.method == 'dao':
        from photutils.detection import DAOStarFinder

        height = DAOStarFinder(
            threshold=threshold, fwhm=settings.fwhm, sigma_radius=_KERNEL_RADIUS
        ).threshold_eff
    else:
        height = threshold / (math.sqrt(math.pi) * sigma)
    return 2 * math.pi * sigma**2 * float(height)


def _detect(
    clean: np.ndarray, bad: np.ndarray, settings: DetectionSettings, threshold: float
) -> Table:
    """Find sources in an image without background."""
    if not (threshold > 0 and math.isfinite(threshold)):
        return _table([], [], [], [])
    method = _dao if settings.method == 'dao' else _segmentation
    with warnings.catch_warnings():
        # photutils warns if it finds nothing, which is a result here.
        warnings.simplefilter('ignore')
        return method(clean, bad, settings, threshold)


def _dao(
    clean: np.ndarray, bad: np.ndarray, settings: DetectionSettings, threshold: float
) -> Table:
    """Find stars by DAOFIND."""
    from photutils.detection import DAOStarFinder

    separation = settings.fwhm if settings.separation is None else settings.separation
    finder = DAOStarFinder(
        threshold=threshold,
        fwhm=settings.fwhm,
        sigma_radius=_KERNEL_RADIUS,
        min_separation=separation,
    )
    # In double precision as the centroids differ by 0.01 px otherwise.
    found = finder.find_stars(clean.astype(np.float64), mask=bad)
    if found is None:
        return _table([], [], [], [])
    # photutils renamed the centroids in version 3.
    x, y = ('x_centroid', 'y_centroid')
    x, y = (x, y) if x in found.colnames else ('xcentroid', 'ycentroid')
    strength = threshold * 10 ** (-0.4 * np.asarray(found['daofind_mag']))
    return _table(found[x], found[y], found['peak'], strength)


def _segmentation(
    clean: np.ndarray, bad: np.ndarray, settings: DetectionSettings, threshold: float
) -> Table:
    """Find groups of pixels and separate blends."""
    from photutils.segmentation import SourceCatalog, deblend_sources, detect_sources
    from scipy.ndimage import gaussian_filter

    # Scaled as for DAOFIND: the noise of the smoothed image is that of the pixels.
    sigma = settings.fwhm * _SIGMA
    smooth = gaussian_filter(clean, sigma) * (2 * math.sqrt(math.pi) * sigma)
    n = settings.n_pixels
    groups = detect_sources(smooth, threshold, n, mask=bad if bad.any() else None)
    if groups is None:
        return _table([], [], [], [])
    groups = deblend_sources(smooth, groups, n, progress_bar=False)
    centre = np.atleast_2d(SourceCatalog(clean, groups).centroid)
    peaks = np.atleast_1d(SourceCatalog(clean, groups).max_value)
    strength = np.atleast_1d(SourceCatalog(smooth, groups).max_value)
    return _table(centre[:, 0], centre[:, 1], peaks, strength)


def _table(x: Any, y: Any, peak: Any, strength: Any) -> Table:
    """Put sources into a table."""
    columns = (np.asarray(c, dtype=np.float64) for c in (x, y, peak, strength))
    table = Table(list(columns), names=('x', 'y', 'peak', 'strength'))
    return table[np.isfinite(table['x']) & np.isfinite(table['y'])]


def _usable(x: Any, y: Any, bad: np.ndarray, margin: int) -> np.ndarray:
    """Return which places are on a good pixel and away from the edge."""
    column, row = np.rint(np.asarray(x)).astype(int), np.rint(np.asarray(y)).astype(int)
    ny, nx = bad.shape
    inside = (column >= margin) & (column < nx - margin)
    inside &= (row >= margin) & (row < ny - margin)
    inside[inside] = ~bad[row[inside], column[inside]]
    for side, up in ((0, 0), (0, 1), (1, 0), (1, 1)):
        # Also between two pixels, where one of them is bad: photutils 3.1 finds
        # the flank of what has its peak on a bad pixel.
        column, row = (
            np.clip(np.floor(np.asarray(a)).astype(int) + step, 0, n - 1)
            for a, step, n in ((x, side, nx), (y, up, ny))
        )
        near = np.hypot(np.asarray(x) - column, np.asarray(y) - row) < _BESIDE
        inside &= ~(near & bad[row, column])
    return inside
