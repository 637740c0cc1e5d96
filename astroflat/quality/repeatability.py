# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Whether the same stars keep their flux at different places of the detector."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from astropy.table import Table, vstack

from astroflat._nddata import unpack
from astroflat.quality._flats import as_solution
from astroflat.quality._tracks import common_places, link_stars
from astroflat.quality._two_way import fit_two_way
from astroflat.quality.detection import DetectionSettings, find_sources

__all__ = ['PhotometricFlatness', 'photometric_flatness']

_MMAG = 2500 / math.log(10)
# A neighbour fainter than this fraction is left in the ring by its median.
_NEIGHBOUR = 0.02
_MIN_STARS = 4


@dataclass(frozen=True)
class PhotometricFlatness:
    """
    The repeatability of the photometry of stars over the detector.

    Parameters
    ----------
    table : `~astropy.table.Table`
        One row per measurement: ``star``, ``frame``, ``x``, ``y`` (pixels of
        the detector), ``flux``, ``flux_err``, ``residual_mmag`` (fainter than
        the star's mean is positive), ``noise_mmag`` and ``used``, False for
        outliers.

    stars : `~astropy.table.Table`
        ``x``, ``y`` of each star without offset. Give it as ``catalogue`` to
        measure the same stars again.

    offsets : `~numpy.ndarray`
        The shift (dy, dx) of each frame.

    numbers : dict of float
        The results, see `photometric_flatness`.

    shape : tuple of int
        The shape of the frames.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import Table
    >>> from astroflat.quality import PhotometricFlatness
    >>> numbers = {'flatness_mmag': 4.2}
    >>> result = PhotometricFlatness(Table(), Table(), np.zeros((3, 2)), numbers)
    >>> result.flatness_mmag
    4.2
    """

    table: Table
    stars: Table
    offsets: np.ndarray
    numbers: dict[str, float] = field(default_factory=dict)
    shape: tuple[int, int] = (0, 0)

    @property
    def flatness_mmag(self) -> float:
        """The scatter that the noise of the photometry does not explain."""
        return self.numbers['flatness_mmag']

    def map(self, n: int = 8) -> np.ndarray:
        """
        Return the mean residual in cells of the detector.

        Parameters
        ----------
        n : int, optional
            The number of cells along the longer side.

        Returns
        -------
        residual : `~numpy.ndarray`
            The median residual in millimagnitudes; NaN where no star was.
        """
        size = max(self.shape) / n
        cells = tuple(math.ceil(side / size) for side in self.shape)
        used = self.table[np.asarray(self.table['used'], bool)]
        result = np.full(cells, np.nan)
        row = np.clip((used['y'] + 0.5) // size, 0, cells[0] - 1).astype(int)
        column = np.clip((used['x'] + 0.5) // size, 0, cells[1] - 1).astype(int)
        for cell in set(zip(row.tolist(), column.tolist(), strict=True)):
            inside = (row == cell[0]) & (column == cell[1])
            result[cell] = np.median(used['residual_mmag'][inside])
        return result


def photometric_flatness(
    frames: Any,
    solution: Any = None,
    *,
    offsets: Any = None,
    catalogue: Table | None = None,
    settings: DetectionSettings | None = None,
    gain: float | None = None,
    saturation: float | None = None,
    min_frames: int = 3,
    min_snr: float = 20.0,
    max_stars: int = 2000,
    confidence: float = 0.95,
    rng: np.random.Generator | int | None = 0,
) -> PhotometricFlatness:
    """
    Measure the flatness from stars seen at several places of the detector.

    Parameters
    ----------
    frames : FrameStack, path, list or array_like
        Dithered or drifting frames of one field through one filter, as taken
        by `astroflat.open_frames`. A bias or a smooth sky need not be removed.

    solution : FlatSolution, CCDData or array_like, optional
        The flat (and gradient) to correct the frames with; none by default.

    offsets : array_like, optional
        The shift (dy, dx) of the sky in each frame, ``(n, 2)``. By default
        from the WCS of the frames, or from the stars where a frame has none.

    catalogue : `~astropy.table.Table`, optional
        The stars to use, with ``x`` and ``y`` in pixels without offset. Give
        the ``stars`` (and ``offsets``) of an earlier result to compare two
        flats by the same stars.

    settings : DetectionSettings, optional
        How the stars are found. The aperture is ``2 fwhm`` unless it is set.

    gain : float, optional
        Electrons per unit of the frames. Without it the photon noise of the
        stars is not known and the flatness is an upper limit.

    saturation : float, optional
        Stars with a brighter pixel, background included, are left out.

    min_frames : int, optional
        Stars in fewer frames are left out.

    min_snr : float, optional
        Measurements with a lower signal-to-noise ratio are left out.

    max_stars : int, optional
        Only so many of the brightest stars of a frame are used.

    confidence : float, optional
        The probability that the interval holds the true flatness.

    rng : `numpy.random.Generator` or int, optional
        The random numbers of the bootstrap.

    Returns
    -------
    result : PhotometricFlatness
        Its ``numbers``: ``flatness_mmag``, the scatter of the magnitudes over
        the detector beyond their noise, with ``_low`` and ``_high`` from a
        bootstrap over stars; ``scatter_mmag``, the robust scatter with the
        noise in it; ``noise_mmag``, its median; ``photon_noise``, whether
        the photon noise of the stars is in it; ``n_stars``,
        ``n_measurements``, ``n_outliers``, ``n_frames``; and
        ``travel_pixels``, the median distance that a star moved between its
        farthest places.

    Raises
    ------
    ValueError
        If frames cannot be aligned, or fewer than four stars are left.

    Notes
    -----
    The magnitudes are the sum of one number per star, one per frame (its
    transparency and seeing) and a residual. The variance of a residual is that
    of the photometry plus the square of the flatness, which is chosen so that
    the median of the squared, normalised residuals is that of a normal
    distribution: variable stars and blends do not move it. Only differences
    between places that the same star has visited are seen: errors of the flat
    much larger than ``travel_pixels`` are not. What an error of the flat does to
    the sky under a star is part of the result: for faint stars on a bright sky it
    is more than what it does to the star.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.quality import photometric_flatness
    >>> rng = np.random.default_rng(1)
    >>> y, x = np.mgrid[:120, :160]
    >>> stars = rng.uniform(30, 90, (12, 2)) + [0, 20]
    >>> offsets = rng.uniform(-15, 15, (6, 2))
    >>> frames = np.full((6, 120, 160), 500.0)
    >>> for frame, shift in zip(frames, offsets):
    ...     for sy, sx in stars + shift:
    ...         frame += 5e3 * np.exp(-((x - sx) ** 2 + (y - sy) ** 2) / 3.4)
    >>> flat = 1 + 0.03 * np.cos(y / 4) * np.cos(x / 4)
    >>> frames = frames * flat + rng.normal(0, 5, frames.shape)
    >>> before = photometric_flatness(frames, offsets=offsets)
    >>> after = photometric_flatness(frames, flat, offsets=offsets)
    >>> before.flatness_mmag > 8, after.flatness_mmag < 2
    (True, True)
    """
    from astroflat.io import open_frames

    settings = settings or DetectionSettings()
    if settings.aperture is None:
        settings = replace(settings, aperture=2 * settings.fwhm)
    solution = None if solution is None else as_solution(solution)
    with open_frames(frames) as stack:
        lists, wcs = _measure(stack, solution, settings, saturation)
        shape = stack.shape[1:3]
    lists = [table[:max_stars] for table in lists]
    offsets = common_places(lists, offsets=offsets, wcs=wcs)
    stars = link_stars(lists, tolerance=0.75 * settings.fwhm, catalogue=catalogue)
    for i, table in enumerate(lists):
        table['frame'] = i
        table['isolated'] = _isolated(table, 3 * settings.fwhm)
    table = _select(vstack(lists, metadata_conflicts='silent'), gain, min_snr)
    table = _repeated(table, min_frames)
    table, numbers = _flatness(table, confidence, rng)
    numbers |= {
        'photon_noise': gain is not None,
        'n_frames': len(lists),
        'travel_pixels': _travel(table),
    }
    return PhotometricFlatness(table, stars, offsets, numbers, tuple(shape))


def _measure(
    stack: Any,
    solution: Any,
    settings: DetectionSettings,
    saturation: float | None,
) -> tuple[list[Table], list[Any]]:
    """Find and measure the stars of all frames."""
    lists, wcs = [], []
    for i in range(len(stack)):
        ccd = stack.ccd(i)
        raw = unpack(ccd, name=f'frame {i}')
        image = ccd if solution is None else solution.correct(ccd)
        table = find_sources(image, settings=settings)
        if saturation is not None:
            row = np.rint(table['y']).astype(int)
            column = np.rint(table['x']).astype(int)
            table = table[raw.data[row, column] < saturation]
        lists.append(table)
        wcs.append(ccd.wcs)
    return lists, wcs


def _isolated(table: Table, distance: float) -> np.ndarray:
    """Return which stars have no neighbour that would matter within a distance."""
    from scipy.spatial import cKDTree

    alone = np.ones(len(table), bool)
    if len(table) < 2:
        return alone
    pairs = cKDTree(np.column_stack([table['x'], table['y']])).query_pairs(
        distance, output_type='ndarray'
    )
    bright = np.asarray(table['strength'])
    for a, b in (pairs.T, pairs.T[::-1]):
        alone[a[bright[b] > _NEIGHBOUR * bright[a]]] = False
    return alone


def _select(table: Table, gain: float | None, min_snr: float) -> Table:
    """Return the measurements that are good enough, with their noise."""
    flux = np.asarray(table['flux'], dtype=float)
    variance = np.asarray(table['flux_err'], dtype=float) ** 2
    if gain is not None:
        if not gain > 0:
            msg = f'gain must be positive, not {gain!r}'
            raise ValueError(msg)
        variance = variance + np.maximum(flux, 0) / gain
    good = np.isfinite(flux) & (flux > 0) & (flux > min_snr * np.sqrt(variance))
    good &= np.asarray(table['isolated'], bool) & (np.asarray(table['star']) >= 0)
    chosen = table[good]['star', 'frame', 'x', 'y', 'flux']
    chosen['flux_err'] = np.sqrt(variance[good])
    chosen['noise_mmag'] = _MMAG * chosen['flux_err'] / chosen['flux']
    return chosen


def _repeated(table: Table, min_frames: int) -> Table:
    """Return the measurements of stars that are in enough frames."""
    numbers, index, counts = np.unique(
        np.asarray(table['star']), return_inverse=True, return_counts=True
    )
    kept = table[counts[index] >= max(2, min_frames)] if len(table) else table
    n_stars = len(set(np.asarray(kept['star']).tolist()))
    if n_stars < _MIN_STARS:
        msg = (
            f'{n_stars} of {len(numbers)} stars are good in {min_frames} frames or '
            f'more, {_MIN_STARS} are needed; check the offsets and settings.fwhm, or '
            'lower min_snr or min_frames'
        )
        raise ValueError(msg)
    return kept


def _flatness(
    table: Table, confidence: float, rng: Any
) -> tuple[Table, dict[str, float]]:
    """Fit stars and frames; return the table with residuals, and the numbers."""
    magnitude = -_MMAG * np.log(np.asarray(table['flux'], dtype=float))
    noise = np.asarray(table['noise_mmag'], dtype=float)
    star, frame = np.asarray(table['star']), np.asarray(table['frame'])
    fit = fit_two_way(magnitude, noise, star, frame)
    low, high = fit.interval(confidence, np.random.default_rng(rng))
    table = table.copy()
    table['residual_mmag'], table['used'] = fit.residual, fit.used
    scaled = np.abs(fit.residual / np.sqrt(fit.freedom))
    return table, {
        'flatness_mmag': fit.excess,
        'flatness_mmag_low': low,
        'flatness_mmag_high': high,
        'scatter_mmag': float(1.4826 * np.median(scaled)),
        'noise_mmag': float(np.median(noise)),
        'n_stars': len(set(star.tolist())),
        'n_measurements': len(table),
        'n_outliers': int(np.count_nonzero(~fit.used)),
    }


def _travel(table: Table) -> float:
    """Return the median of the largest distances between places of a star."""
    from scipy.spatial.distance import pdist

    star = np.asarray(table['star'])
    places = np.column_stack([table['x'], table['y']])
    order = np.argsort(star, kind='stable')
    cuts = np.flatnonzero(np.diff(star[order])) + 1
    # A few dozen places tell the extent of a long series as well.
    groups = [g[:: max(1, len(g) // 50)] for g in np.split(places[order], cuts)]
    return float(np.median([pdist(group).max() for group in groups]))
