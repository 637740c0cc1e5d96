# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A photometric flat: the same stars have the same flux wherever they fall."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import Table

from astroflat._nddata import unpack
from astroflat._provenance import record
from astroflat._report import QualityReport, to_mmag
from astroflat.selfcal._star_fit import (
    SmoothFit,
    StarData,
    choose_degree,
    drop_undetermined,
    fit_response,
    on_grid,
)
from astroflat.solution import FlatSolution

__all__ = ['star_flat']

ZeroPoints = Literal['auto', 'free', 'constant']
_COLUMNS = ('star', 'frame', 'x', 'y', 'flux', 'flux_err')
_MMAG = 2500 / np.log(10)
# Scatter of zero points that may be anything, and of those of a perfect night.
_FREE, _STEADY = 100.0, 2e-4
_MIN_FRAMES = 5
# The median of a flat that is divided by its mean.
_LEVELS = (0.2, 5.0)
# Signal-to-noise ratio of a star, and the share of it that a measurement may have.
_MIN_SNR, _ROOM = 20.0, 0.4
LIMITS = {
    'undetermined_accept': 0,
    'sigma_mmag_accept': 10.0,
    'n_stars_accept': 30,
}


def star_flat(
    source: Any,
    flat: Any = None,
    *,
    shape: tuple[int, int] | None = None,
    max_degree: int = 6,
    zero_points: ZeroPoints = 'auto',
    prior: float = 0.03,
    rng: np.random.Generator | int | None = 0,
    add_keyword: Any = True,
    **photometry: Any,
) -> FlatSolution:
    """
    Find the large-scale flat, or the error of a given one, from stars.

    Light that is scattered or reflected in the telescope adds to the sky and
    to lamps but not to stars, and makes their flats wrong by per cents. The
    same stars at many places of the detector tell.

    Parameters
    ----------
    source : FrameStack, path, list, array_like or `~astropy.table.Table`
        Dithered frames of one field through one filter, as in
        `astroflat.open_frames`, offset by up to a good part of the field; or
        photometry with ``star``, ``frame``, ``x``, ``y`` (pixels), ``flux``
        and ``flux_err``.

    flat : FlatSolution, CCDData, array_like or path, optional
        The flat to divide the frames by first, and to correct. A table must
        come from frames divided by it. One in counts is divided by its mean.

    shape : tuple of int, optional
        The shape of the detector, ``(ny, nx)``; needed for a table without
        ``flat``.

    max_degree : int, optional
        The largest total degree of the polynomial. The degree is chosen by
        stars that the fit has not seen.

    zero_points : {'auto', 'free', 'constant'}, optional
        Whether each frame has a zero point of its own. With free zero points
        and shifts alone, a slope of the response is not determined. 'auto'
        takes them for random numbers, of which it measures the scatter:
        the clearer the night, the better the slope is known.

    prior : float, optional
        The size that a term of the response is expected to have, as a
        fraction. It limits what the stars do not determine.

    rng : `numpy.random.Generator` or int, optional
        It groups the stars for the choice of the degree.

    add_keyword : bool, str, `ccdproc.Keyword` or dict, optional
        What to write to the metadata, as in ccdproc.

    **photometry
        For frames: ``settings``, ``offsets``, ``gain``, ``saturation``,
        ``min_snr`` and others of `astroflat.quality.photometric_flatness`.

    Returns
    -------
    solution : FlatSolution
        ``flat`` is the given flat times the correction, or the correction
        alone, with its uncertainty. ``report`` has the error of the given
        flat, in ``error_percent`` and ``error_mmag``. ``stages`` has
        ``correction`` and ``sigma`` (of its logarithm), ``table``, the ``fit``
        with the covariance, and ``errors``, those of each degree in stars
        left out.

    Raises
    ------
    ValueError
        If there are too few stars, or they do not move.

    See Also
    --------
    astroflat.quality.photometric_flatness : How flat the photometry is.

    Notes
    -----
    The logarithm of each flux is the sum of one number per star, one per
    frame, and a polynomial of the place, in orthonormal Legendre products
    [1]_. Weights include the scatter beyond the noise; outliers are left out.
    A mode that the stars do not determine is left at 0 and contributes
    its prior to the uncertainty. Only differences
    between places that one star has visited are seen: offsets should reach
    from a few pixels up to half of the field. If no degree predicts stars left
    out better than none, the correction is exactly 1.

    References
    ----------
    .. [1] Bernstein, G. M. et al. 2017, PASP 129, 114502,
       https://doi.org/10.1088/1538-3873/aa858e
    .. [2] Regnault, N. et al. 2009, A&A 506, 999,
       https://doi.org/10.1051/0004-6361/200912446

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import Table
    >>> import astroflat as af
    >>> rng = np.random.default_rng(0)
    >>> star, frame = (a.ravel() for a in np.mgrid[:150, :12])
    >>> x, y = rng.uniform(0, 400, (2, 150))
    >>> dx, dy = rng.uniform(-150, 150, (2, 12))
    >>> table = Table({'star': star, 'frame': frame})
    >>> table['x'], table['y'] = x[star] + dx[frame], y[star] + dy[frame]
    >>> inside = (table['x'] > 0) & (table['x'] < 399)
    >>> table = table[inside & (table['y'] > 0) & (table['y'] < 399)]
    >>> response = 1 + 0.03 * (table['x'] / 200 - 1) ** 2
    >>> table['flux'] = 1e4 * response * rng.normal(1, 0.005, len(table))
    >>> table['flux_err'] = 50.0
    >>> solution = af.star_flat(table, shape=(400, 400))
    >>> truth = 1 + 0.03 * (np.arange(400) / 200 - 1) ** 2
    >>> ratio = solution.flat.data / (truth / truth.mean())
    >>> bool(ratio.std() < 0.002)
    True
    """
    if zero_points not in ('auto', 'free', 'constant'):
        msg = f"zero_points must be 'auto', 'free' or 'constant', not {zero_points!r}"
        raise ValueError(msg)
    if not 0 <= max_degree <= 12:
        msg = f'max_degree must be 0 to 12, not {max_degree!r}'
        raise ValueError(msg)
    table, shape = _photometry(source, flat, shape, photometry)
    data = _as_data(table, shape)
    rng = np.random.default_rng(rng)
    spread = {'free': _FREE, 'constant': _STEADY}.get(zero_points)
    if spread is None:
        spread = _zero_scatter(data, max_degree, prior)
    degree, errors = choose_degree(
        data, max_degree, zero_prior=spread, prior=prior, rng=rng
    )
    # Also without a correction, how large a slope could be is to be known.
    fit = fit_response(data, max(1, degree), zero_prior=spread, prior=prior)
    if degree == 0:
        fit = replace(fit, values=np.zeros_like(fit.values))
    fit, lost = drop_undetermined(fit, prior)
    image, sigma = on_grid(fit, shape)
    report = _report(data, fit, (image, sigma), errors, (degree, spread, lost))
    stages = {
        'correction': np.exp(image).astype(np.float32),
        'sigma': sigma.astype(np.float32),
        'table': table,
        'fit': fit,
        'errors': errors,
    }
    result = _combine(flat, image, sigma, report, add_keyword)
    return replace(result, stages=stages, report=report, method='stars')


def _photometry(
    source: Any, flat: Any, shape: tuple[int, int] | None, options: dict[str, Any]
) -> tuple[Table, tuple[int, int]]:
    """Return the photometry and the shape of the detector."""
    if isinstance(source, Table):
        missing = [name for name in _COLUMNS if name not in source.colnames]
        if missing:
            msg = f'the table has no column {missing}; it needs {list(_COLUMNS)}'
            raise ValueError(msg)
        if options:
            msg = f'{sorted(options)} belong to frames; source is a table'
            raise TypeError(msg)
        if shape is None and flat is not None:
            image = flat.flat if isinstance(flat, FlatSolution) else flat
            shape = unpack(image, name='flat').shape
        if shape is None:
            msg = 'shape must be given with a table: (ny, nx) of the detector'
            raise ValueError(msg)
        return source, shape
    # Photometry stands above this package; only this function needs it.
    from astroflat.quality import photometric_flatness

    least = options.pop('min_snr', _MIN_SNR)
    result = photometric_flatness(source, flat, min_snr=_ROOM * least, **options)
    return _bright(result.table, least), result.shape


def _bright(table: Table, least: float) -> Table:
    """Return stars that are bright enough on the whole."""
    # A limit for each measurement would keep faint stars only where the flat is high.
    ratio = np.asarray(table['flux'] / table['flux_err'], dtype=float)
    index = np.unique(np.asarray(table['star']), return_inverse=True)[1]
    order = np.argsort(index, kind='stable')
    groups = np.split(ratio[order], np.flatnonzero(np.diff(index[order])) + 1)
    return table[np.array([np.median(g) for g in groups])[index] >= least]


def _as_data(table: Table, shape: tuple[int, int]) -> StarData:
    """Return a table as arrays, without stars that were seen once."""
    flux, error, y, x = (
        np.asarray(getattr(table[name], 'value', table[name]), dtype=float)
        for name in ('flux', 'flux_err', 'y', 'x')
    )
    good = np.isfinite(flux) & (flux > 0) & np.isfinite(error) & (error >= 0)
    good &= (y >= -0.5) & (y <= shape[0] - 0.5) & (x >= -0.5) & (x <= shape[1] - 0.5)
    star = np.asarray(table['star'])
    _, index, counts = np.unique(star[good], return_inverse=True, return_counts=True)
    rows = np.flatnonzero(good)[counts[index] >= 2]
    if len(np.unique(star[rows])) < 4:
        msg = (
            f'{len(np.unique(star[rows]))} stars are in two frames or more; four are '
            'needed for a star flat, a hundred for a good one'
        )
        raise ValueError(msg)
    data = StarData(
        np.log(flux[rows]),
        error[rows] / flux[rows],
        np.unique(star[rows], return_inverse=True)[1],
        np.unique(np.asarray(table['frame'])[rows], return_inverse=True)[1],
        (2 * y[rows] + 1 - shape[0]) / shape[0],
        (2 * x[rows] + 1 - shape[1]) / shape[1],
    )
    if _travel(data) < 0.01:
        msg = 'the stars stay where they are: a star flat needs dithered frames'
        raise ValueError(msg)
    return data


def _travel(data: StarData) -> float:
    """Return the median distance that a star moved, in half sides."""
    n = int(data.star.max()) + 1
    extent = []
    for place in (data.y, data.x):
        low, high = np.full(n, np.inf), np.full(n, -np.inf)
        np.minimum.at(low, data.star, place)
        np.maximum.at(high, data.star, place)
        extent.append(high - low)
    return float(np.median(np.hypot(*extent)))


def _zero_scatter(data: StarData, degree: int, prior: float) -> float:
    """Return the scatter of the zero points that offsets do not explain."""
    fit = fit_response(data, min(degree, 3), zero_prior=_FREE, prior=prior)
    n = len(fit.zero)
    if n < _MIN_FRAMES:
        return _FREE
    # A slope of the response looks like zero points that follow the offsets.
    star = np.bincount(data.star)
    move = [p - (np.bincount(data.star, p) / star)[data.star] for p in (data.y, data.x)]
    count = np.bincount(data.frame, minlength=n)
    move = [np.bincount(data.frame, m, minlength=n) / count for m in move]
    design = np.stack([np.ones(n), *move], axis=1)
    rest = fit.zero - design @ np.linalg.lstsq(design, fit.zero, rcond=None)[0]
    return float(max(_STEADY, np.sqrt(np.sum(rest**2) / (n - 3))))


def _report(
    data: StarData,
    fit: SmoothFit,
    fields: tuple[np.ndarray, np.ndarray],
    errors: np.ndarray,
    found: tuple[int, float, int],
) -> QualityReport:
    """Return numbers and verdict."""
    image, sigma = fields
    variance = float(np.mean(sigma**2))
    size = float(np.sqrt(max(0.0, float(np.mean(image**2)) - variance)))
    degree, spread, lost = found
    numbers = {
        'n_stars': int(data.star.max()) + 1,
        'n_measurements': data.value.size,
        'n_outliers': int(np.count_nonzero(~fit.used)),
        'n_frames': int(data.frame.max()) + 1,
        'travel_percent': 50 * _travel(data),
        'zero_point_mmag': _MMAG * spread if spread < _FREE else None,
        'degree': degree,
        'undetermined': lost,
        'error_percent': 100 * size,
        'error_mmag': to_mmag(size),
        'sigma_percent': 100 * np.sqrt(variance),
        'sigma_mmag': to_mmag(float(np.sqrt(variance))),
        'excess_mmag': _MMAG * fit.excess,
    }
    numbers['held_out_ratio'] = float(errors[degree] / errors[0])
    return _judge(QualityReport('star flat', numbers, LIMITS))


def _judge(report: QualityReport) -> QualityReport:
    """Compare the numbers with the limits."""
    n = report.numbers
    report = report.check(
        n['n_stars'] >= LIMITS['n_stars_accept'],
        'weak',
        f'only {n["n_stars"]} stars',
    )
    report = report.check(
        n['undetermined'] <= LIMITS['undetermined_accept'],
        'weak',
        f'{n["undetermined"]} modes are not determined, such as a slope with free '
        'zero points and shifts alone; they are left at 0',
    )
    report = report.check(
        n['sigma_mmag'] <= LIMITS['sigma_mmag_accept'] or n['undetermined'] > 0,
        'weak',
        f'the uncertainty is {n["sigma_mmag"]:.1f} mmag: more stars or frames are '
        'needed',
    )
    return report.check(
        n['sigma_mmag'] < n['error_mmag'] or n['degree'] == 0,
        'weak',
        'the correction is not larger than its uncertainty',
    )


def _combine(
    flat: Any,
    image: np.ndarray,
    sigma: np.ndarray,
    report: QualityReport,
    add_keyword: Any,
) -> FlatSolution:
    """Return the correction, times the flat if there is one."""
    correction = np.exp(image)
    correction /= correction.mean()
    given = flat if isinstance(flat, FlatSolution) else None
    text = (
        f'degree {report.numbers["degree"]}, {report.numbers["error_mmag"]:.1f} mmag '
        f'corrected, {report.numbers["sigma_mmag"]:.1f} mmag uncertain'
    )
    if flat is None:
        result = CCDData(
            correction.astype(np.float32),
            unit=u.dimensionless_unscaled,
            uncertainty=StdDevUncertainty((correction * sigma).astype(np.float32)),
        )
        record(result.meta, 'starflat', history=text, add_keyword=add_keyword)
        return FlatSolution(result)
    frame = unpack(flat if given is None else given.flat, name='flat')
    level = float(np.median(frame.data[~frame.bad])) if not frame.bad.all() else 0.0
    counts = frame.unit not in (None, u.dimensionless_unscaled)
    if counts or not _LEVELS[0] < level < _LEVELS[1]:
        frame = unpack(FlatSolution.from_image(frame.ccd(frame.data)).flat)
    bad = frame.bad
    data = np.where(bad, 1, frame.data * correction).astype(np.float32)
    variance = (data * sigma) ** 2
    if frame.variance is not None:
        variance = variance + frame.variance * correction**2
    record(frame.meta, 'starflat', history=text, add_keyword=add_keyword)
    result = frame.ccd(
        data,
        mask=bad if bad.any() else None,
        variance=variance.astype(np.float32),
        unit=u.dimensionless_unscaled,
        meta=frame.meta,
    )
    return FlatSolution(result, None if given is None else given.gradient)
