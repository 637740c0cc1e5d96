# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Measure the shapes of stars."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.psf._star_fit import StarFit, fit_star
from astroflat.psf._star_sky import Sky

if TYPE_CHECKING:
    from astropy.table import Table

    from astroflat.psf._star_choice import Candidate

__all__ = ['find_stars', 'measure_kernel', 'measure_stars']

# So many of the brightest stars decide the exponent of all.
_FOR_BETA, _FOR_GUESS = 40, 20
_GUESSES = (1.8, 3.5, 7.0, 14.0)
_GUESS_SIDE = 1024
_BETAS = (1.5, 10.0)
# A fit this much off its star is not one of a star.
_MAX_MISFIT = 0.12
_COLUMNS = (
    'x',
    'y',
    'fwhm',
    'fwhm_err',
    'ellipticity',
    'theta',
    'flux',
    'snr',
    'peak',
    'misfit',
)
_PIXELS = ('x', 'y', 'fwhm', 'fwhm_err')


def measure_stars(
    image: Any,
    *,
    fwhm: float | None = None,
    beta: float | None = None,
    min_snr: float = 30.0,
    saturation: float | None = None,
    mask: Any = None,
    n_stars: int = 500,
) -> Table:
    """
    Measure width and shape of the stars of an image.

    Parameters
    ----------
    image : CCDData, array_like or path
        The image, ``(ny, nx)``, linear; of ``(ny, nx, 3)`` the mean of the
        colours. The background need not be subtracted.

    fwhm : float, optional
        About how wide the stars are in pixels; by default found out.

    beta : float, optional
        Exponent of the Moffat profile, above 1; by default that of the brightest
        stars.

    min_snr : float, optional
        Only stars whose signal-to-noise ratio against the sky is at least this.

    saturation : float, optional
        Stars with a pixel from here on are left out. By default ``SATURATE`` of
        the header. Flat tops are left out in any case.

    mask : array_like of bool, optional
        More bad pixels.

    n_stars : int, optional
        So many of the brightest are measured.

    Returns
    -------
    stars : `~astropy.table.Table`
        The brightest first: ``x``, ``y``; ``fwhm`` (geometric mean of the axes,
        before the pixels blurred it) and its standard deviation ``fwhm_err`` in
        pixels; ``ellipticity`` (``1 - b/a``); ``theta`` in degrees from +x to
        +y; ``flux`` of the whole profile; ``snr``, the flux over its noise by
        the sky alone; ``peak``; ``misfit``, the rms of the residuals over the
        peak. ``meta`` has ``beta``, ``shape``, ``noise`` and ``refused``, the
        numbers of stars left out and why. There may be no row.

    Raises
    ------
    ValueError
        If an argument is out of range.

    See Also
    --------
    measure_field : The widths as a function of the place.

    Notes
    -----
    Stars are found with photutils, and the profile is integrated over pixels
    before it is compared with them, so that `moffat_kernel` with the numbers of
    a star has the shape of the star. Left out are stars that are saturated,
    flat-topped, masked, at the edge, closer than two widths to another one, or
    not like stars at all.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.psf import measure_stars, moffat_kernel
    >>> image = np.random.default_rng(1).normal(100, 1, (100, 100))
    >>> star = 5000 * moffat_kernel(4.0, ellipticity=0.2, theta=30, size=31)
    >>> for x, y in ((5, 5), (60, 10), (30, 60)):
    ...     image[y : y + 31, x : x + 31] += star
    >>> stars = measure_stars(image)
    >>> len(stars), round(float(np.median(stars['fwhm'])), 1)
    (3, 4.0)
    """
    options = {'fwhm': fwhm, 'beta': beta, 'min_snr': min_snr, 'n_stars': n_stars}
    return find_stars(image, saturation=saturation, mask=mask, **options)[0]


def find_stars(
    image: Any,
    *,
    fwhm: float | None = None,
    beta: float | None = None,
    min_snr: float = 30.0,
    saturation: float | None = None,
    mask: Any = None,
    n_stars: int = 500,
) -> tuple[Table, Sky]:
    """
    Measure stars as `measure_stars` does, and keep the image.

    Parameters
    ----------
    image, fwhm, beta, min_snr, saturation, mask, n_stars
        As in `measure_stars`.

    Returns
    -------
    stars : `~astropy.table.Table`
        The stars.

    sky : Sky
        The image less its background.
    """
    for name, value in (('fwhm', fwhm), ('min_snr', min_snr), ('n_stars', n_stars)):
        if value is not None and not value > 0:
            msg = f'{name} must be positive, not {value!r}'
            raise ValueError(msg)
    _check_beta(beta)
    sky = Sky.of(image, mask, saturation, fwhm)
    width = fwhm or _guess_width(sky, min_snr)
    choice = sky.choose(width, min_snr)
    fits, exponent = _fit_all(choice.stars[:n_stars], width, beta)
    choice.refused['not like a star'] = min(n_stars, len(choice.stars)) - len(fits)
    refused = {reason: n for reason, n in sorted(choice.refused.items()) if n}
    meta = {'beta': exponent, 'shape': list(sky.data.shape), 'noise': sky.noise}
    return _table(fits, sky.noise, {**meta, 'refused': refused}), sky


def measure_kernel(kernel: Any, *, beta: float | None = None) -> StarFit:
    """
    Measure width and shape of a kernel in the way of `measure_stars`.

    Parameters
    ----------
    kernel : array_like
        Image of a point, ``(ny, nx)``.

    beta : float, optional
        Exponent of the Moffat profile to keep; by default it is fitted.

    Returns
    -------
    fit : StarFit
        Named tuple with ``x``, ``y``, ``fwhm``, ``ellipticity``, ``theta``,
        ``beta`` and others; ``misfit`` says how far the kernel is from a Moffat
        profile.

    Raises
    ------
    ValueError
        If the kernel is not an image of a point, or ``beta`` is out of range.

    Examples
    --------
    >>> from astroflat.psf import measure_kernel, moffat_kernel
    >>> fit = measure_kernel(moffat_kernel(3.0, beta=2.5, ellipticity=0.1))
    >>> round(fit.fwhm, 2), round(fit.ellipticity, 2), round(fit.beta, 1)
    (3.0, 0.1, 2.5)
    """
    _check_beta(beta)
    kernel = np.asarray(kernel, dtype=np.float64)
    if kernel.ndim != 2 or not np.isfinite(kernel).all() or not kernel.sum() > 0:
        msg = 'kernel must be a 2-D array of finite numbers with a positive sum'
        raise ValueError(msg)
    y, x = np.unravel_index(np.argmax(kernel), kernel.shape)
    above = np.count_nonzero(kernel > kernel.max() / 2)
    guess = max(1.0, 2 * math.sqrt(above / math.pi))
    fit = fit_star(kernel, fwhm=guess, beta=beta, place=(float(x), float(y)))
    if fit is None:
        msg = (
            f'no Moffat profile fits the kernel of shape {kernel.shape}; it must be '
            'centred and larger than its width'
        )
        raise ValueError(msg)
    return fit


def _check_beta(beta: float | None) -> None:
    """Refuse an exponent that no profile can have."""
    if beta is not None and not 1 < beta < math.inf:
        msg = f'beta must be above 1, or light is infinite, and finite, not {beta!r}'
        raise ValueError(msg)


def _guess_width(sky: Sky, min_snr: float) -> float:
    """Guess how wide the stars are: the width at which most agree with the guess."""
    best, most = 3.0, 0
    for part in (sky.middle(_GUESS_SIDE), sky):
        for guess in _GUESSES:
            stars = part.choose(guess, min_snr).stars[:_FOR_GUESS]
            fits = _fits(stars, guess, 3.0)
            widths = [fit.fwhm for _, fit in fits if 0.6 < fit.fwhm / guess < 1.7]
            if len(widths) > most:
                best, most = float(np.median(widths)), len(widths)
        if most >= 5 or part.data.shape == sky.data.shape:
            break
    return best


def _fit_all(
    stars: list[Candidate], width: float, beta: float | None
) -> tuple[list[tuple[Candidate, StarFit]], float]:
    """Fit all stars with one exponent."""
    if beta is None:
        first = _fits(stars[:_FOR_BETA], width, None)
        found = [fit.beta for _, fit in first] or [3.0]
        beta = float(np.clip(np.median(found), *_BETAS))
    return _fits(stars, width, beta), beta


def _fits(
    stars: list[Candidate], width: float, beta: float | None
) -> list[tuple[Candidate, StarFit]]:
    """Fit stars, and keep those that are like stars."""
    pairs = []
    for star in stars:
        fit = fit_star(
            star.stamp, fwhm=width, beta=beta, good=star.good, place=star.place
        )
        if fit is None or not fit.misfit < _MAX_MISFIT:
            continue
        moved = math.hypot(fit.x - star.place[0], fit.y - star.place[1])
        if moved < width and 0.4 * width < fit.fwhm < 2.5 * width:
            pairs.append((star, fit))
    return pairs


def _table(
    fits: list[tuple[Candidate, StarFit]], noise: float, meta: dict[str, Any]
) -> Table:
    """Return the stars as a table."""
    from astropy.table import Table

    rows = [_row(star, fit, noise) for star, fit in fits]
    table = Table(rows=rows or None, names=_COLUMNS, dtype=[np.float64] * len(_COLUMNS))
    for name in _PIXELS:
        table[name].unit = 'pix'
    table['theta'].unit = 'deg'
    table.meta.update(meta)
    return table


def _row(star: Candidate, fit: StarFit, noise: float) -> tuple[float, ...]:
    """Return a row of the table."""
    # The noise of the best linear estimate of the flux of a Gaussian.
    error = noise * math.sqrt(2.27) * fit.fwhm
    return (
        star.x + fit.x,
        star.y + fit.y,
        fit.fwhm,
        fit.fwhm_err,
        fit.ellipticity,
        fit.theta,
        fit.flux,
        fit.flux / error if error > 0 else math.inf,
        fit.peak,
        fit.misfit,
    )
