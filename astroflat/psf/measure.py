# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Measure how the stars change over an image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from astroflat.psf._errors import TooFewStarsError
from astroflat.psf._shapes import matrix_of
from astroflat.psf._smooth import SmoothMap, fit_map, n_terms
from astroflat.psf.field import PSFField

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ['field_of_table', 'measure_field']

_DEGREES = (4, 3, 2, 1, 0)
_COLUMNS = ('x', 'y', 'fwhm', 'fwhm_err', 'ellipticity', 'theta')
# Stars next to each other differ by less (%): for an image of them, and at all.
_DOUBTFUL, _UNLIKE = 15.0, 25.0
# A width is not known better than this, whatever the residuals of the fit say.
_FLOOR = 0.01


def measure_field(
    source: Any,
    *,
    degree: int | None = None,
    grid: tuple[int, int] | None = None,
    shape: tuple[int, int] | None = None,
    profile: Literal['measured', 'moffat'] = 'measured',
    **options: Any,
) -> PSFField:
    """
    Measure how the stars change over an image.

    Parameters
    ----------
    source : CCDData, array_like, path or `~astropy.table.Table`
        Image, or the stars that `measure_stars` found in one.

    degree : int, optional
        Degree of the polynomials in the place, 0 (the same everywhere) to 4. By
        default the one that predicts each star best from all others. It needs
        twice as many stars as coefficients (from 3 on, three times), and at least
        three.

    grid : tuple of int, optional
        Cells along y and x that follow what is left. By default none.

    shape : tuple of int, optional
        Shape of the image, if a table does not say it.

    profile : {'measured', 'moffat'}, optional
        Whether kernels have what the stars have more than an elliptical Moffat
        profile, where enough stars show that it is there; or the profile alone.
        It needs an image, or a table that `PSFField.write` wrote of one.

    **options
        As in `measure_stars`.

    Returns
    -------
    field : PSFField
        Widths and kernels at every place.

    Raises
    ------
    TooFewStarsError
        If there are too few stars, with the reasons why others were left out, or
        if what was found is not alike, as stars are.

    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.psf import measure_field, moffat_kernel
    >>> image = np.random.default_rng(1).normal(100, 1, (160, 160))
    >>> for i, (x, y) in enumerate(((10, 10), (110, 20), (60, 60), (10, 120))):
    ...     image[y : y + 25, x : x + 25] += 3000 * moffat_kernel(3.0, size=25)
    >>> field = measure_field(image)
    >>> field.degree, round(field.fwhm, 1)
    (0, 3.0)
    """
    from astropy.table import Table

    if profile not in ('measured', 'moffat'):
        msg = f"profile must be 'measured' or 'moffat', not {profile!r}"
        raise ValueError(msg)
    sky = None
    if not isinstance(source, Table):
        from astroflat.psf.stars import find_stars

        source, sky = find_stars(source, **options)
    elif options:
        msg = f'{sorted(options)} are for an image, but source is a table'
        raise TypeError(msg)
    shape = _shape_of(source, shape)
    field = _smooth_field(source, shape, _degrees(source, degree), grid)
    if profile == 'moffat':
        return field
    return field.with_remainder(_remainder(field, source, sky))


def field_of_table(table: Table) -> PSFField:
    """
    Make the field of a table that `PSFField.write` wrote.

    Parameters
    ----------
    table : `~astropy.table.Table`
        The stars, or what optics make of them at some places, with the settings.

    Returns
    -------
    field : PSFField
        Of the degree that it had, however many stars there are.
    """
    missing = [name for name in _COLUMNS if name not in table.colnames]
    if missing:
        msg = f'the table of stars has no columns {missing}'
        raise ValueError(msg)
    degree, grid = table.meta.get('degree'), table.meta.get('grid')
    field = _smooth_field(
        table,
        _shape_of(table, None),
        _degrees(table, None) if degree is None else [int(degree)],
        None if grid is None else tuple(grid),
    )
    return field.with_remainder(_remainder(field, table, None))


def _shape_of(table: Table, shape: tuple[int, int] | None) -> tuple[int, int]:
    """Return the shape of the image that stars are from."""
    shape = shape or table.meta.get('shape')
    if shape is None or len(shape) != 2:
        msg = 'shape must be given: the table does not say how large the image is'
        raise ValueError(msg)
    return int(shape[0]), int(shape[1])


def _smooth_field(
    source: Table,
    shape: tuple[int, int],
    degrees: list[int],
    grid: tuple[int, int] | None,
) -> PSFField:
    """Return the field of the profiles, if the stars are alike."""
    stars = source.copy()
    smooth, stars['used'] = _fit(stars, shape, degrees, grid)
    field = PSFField(smooth, stars, beta=float(source.meta.get('beta', 3.0)))
    scatter = field.report.numbers['scatter_percent']
    if scatter > _UNLIKE:
        msg = (
            f'the {len(stars)} objects found are not alike, their widths differ by '
            f'{scatter:.0f} % from a smooth function of the place: galaxies, blends '
            'or details of a surface, not stars'
        )
        raise TooFewStarsError(msg)
    return field


def _remainder(field: PSFField, source: Table, sky: Any) -> Any:
    """Return what the stars have more than the profiles: measured, or as written."""
    if sky is not None:
        # What is not alike has no image in common.
        if field.report.numbers['scatter_percent'] > _DOUBTFUL:
            return None
        from astroflat.psf._remainder_fit import fit_remainder

        return fit_remainder(sky.data, sky.bad | sky.full, field, sky.noise)
    plain = source.meta.get('remainder')
    if plain is None:
        return None
    from astroflat.psf._remainder import Remainder

    return Remainder.from_dict(plain, field.shape)


def _degrees(stars: Table, degree: int | None) -> list[int]:
    """Return the degrees that the stars allow, or the one that is wanted."""
    if degree is not None and (not 0 <= degree <= 4 or int(degree) != degree):
        msg = f'degree must be a whole number from 0 to 4, not {degree!r}'
        raise ValueError(msg)
    wanted = _DEGREES if degree is None else (int(degree),)
    needed = [max(3, (2 if d < 3 else 3) * n_terms(d)) for d in wanted]
    allowed = [d for d, n in zip(wanted, needed, strict=True) if len(stars) >= n]
    if allowed:
        return allowed
    refused = stars.meta.get('refused') or {}
    why = ', '.join(f'{n} {reason}' for reason, n in refused.items())
    msg = (
        f'{len(stars)} usable stars, but {min(needed)} are needed'
        f' (left out: {why or "nothing reaches the signal-to-noise ratio"}); lower '
        'min_snr or take a smaller degree'
    )
    raise TooFewStarsError(msg)


def _fit(
    stars: Table,
    shape: tuple[int, int],
    degrees: list[int],
    grid: tuple[int, int] | None,
) -> tuple[SmoothMap, np.ndarray]:
    """Fit the matrices of the widths; of several degrees the best one is taken."""
    if grid is not None and (len(grid) != 2 or min(grid) < 1):
        msg = f'grid must be two positive numbers of cells, not {grid!r}'
        raise ValueError(msg)
    x, y, fwhm, error, ellipticity, theta = (
        np.asarray(stars[name], dtype=np.float64) for name in _COLUMNS
    )
    xx, xy, yy = matrix_of(fwhm, ellipticity, theta)
    values = np.stack([(xx + yy) / 2, (xx - yy) / 2, xy], axis=1)
    relative = np.where(np.isfinite(error), error / fwhm, math.inf)
    weights = 1 / (_FLOOR**2 + relative**2) + 1e-9
    fits = [
        fit_map(x, y, values, weights=weights, shape=shape, degree=degree, grid=grid)
        for degree in degrees
    ]
    return min(fits, key=lambda fit: fit[0].prediction)
