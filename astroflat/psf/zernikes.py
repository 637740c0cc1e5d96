# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Fit the aberrations of a telescope to the image of one star."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.psf.optics import Telescope, _number
from astroflat.psf.polynomials import noll_to_nm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from astroflat.psf._wavefront import Wavefront
    from astroflat.psf._wavefront_start import Moments

__all__ = ['ZernikeFit', 'fit_zernikes']

_TERMS = (4, 5, 6, 7, 8)
# Coefficients (waves) and seeing (arcseconds) beyond which no fit goes.
_MOST, _SEEING = 3.0, (0.2, 20.0)
_MIN_PIXELS = 30
# Fits that differ by more (waves) are two, if chi-square tells them apart by less.
_APART, _RIVAL = 0.02, 9.0


@dataclass(frozen=True)
class ZernikeFit:
    """
    Aberrations that were fitted to the image of a star.

    Attributes
    ----------
    coefficients, errors : dict
        Waves (rms) by numbers in the order of Noll, and standard deviations.

    x, y : float
        Place of the chief ray in the stamp in pixels.

    flux, sky : float
        Light of the whole image, and level around it.

    seeing, seeing_err : float
        In arcseconds; the error is 0 if it was given.

    misfit : float
        Rms of the residuals over the height of the star.

    chi2 : float
        Reduced chi-square; with unknown noise 1.

    covariance : ndarray
        Of the coefficients, in their order.

    rival : dict
        Coefficients of another fit whose chi-square is larger by less than 9; empty
        if there is none, that is if the star tells which it is.

    Examples
    --------
    >>> from astroflat.psf import fit_zernikes, zernike_psf
    >>> optics = {'pupil_diameter': 0.2, 'wavelength': 550, 'pixel_scale': 0.5}
    >>> star = zernike_psf(41, {4: 0.3, 7: 0.1}, seeing=2.0, **optics)
    >>> fit = fit_zernikes(1e5 * star, terms=(4, 7), seeing=2.0, **optics)
    >>> fit.mirrored()
    ZernikeFit(coefficients={4: -0.3, 7: 0.1})
    """

    coefficients: dict[int, float]
    errors: dict[int, float]
    x: float
    y: float
    flux: float
    sky: float
    seeing: float
    seeing_err: float
    misfit: float
    chi2: float
    covariance: np.ndarray = field(repr=False)
    rival: dict[int, float] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        rounded = {j: round(v, 3) + 0.0 for j, v in self.coefficients.items()}
        return f'{type(self).__name__}(coefficients={rounded})'

    def mirrored(self) -> ZernikeFit:
        """
        Return the other wavefront that makes the same image.

        Returns
        -------
        fit : ZernikeFit
            All even terms, such as defocus and astigmatism, with the other sign.
        """
        from dataclasses import replace

        signs = np.array([-1 if is_even(j) else 1 for j in self.coefficients])
        values = np.array(list(self.coefficients.values())) * signs
        return replace(
            self,
            coefficients=dict(zip(self.coefficients, values.tolist(), strict=True)),
            rival={j: -v if is_even(j) else v for j, v in self.rival.items()},
            covariance=self.covariance * np.outer(signs, signs),
        )


def is_even(j: int) -> bool:
    """
    Tell whether the image is the same with the other sign of a term.

    Parameters
    ----------
    j : int
        Number in the order of Noll.

    Returns
    -------
    even : bool
        True for defocus, astigmatism and spherical aberration.
    """
    return noll_to_nm(j)[0] % 2 == 0


def fit_zernikes(
    stamp: Any,
    *,
    pupil_diameter: Any,
    wavelength: Any,
    pixel_scale: Any,
    obstruction: float = 0.0,
    seeing: Any = None,
    terms: Sequence[int] = _TERMS,
    sigma: Any = None,
    mask: Any = None,
    start: dict[int, float] | None = None,
) -> ZernikeFit:
    r"""
    Fit the aberrations of a telescope to the image of a star.

    Parameters
    ----------
    stamp : array_like
        The star with some sky around it, ``(ny, nx)``, linear.

    pupil_diameter : float or `~astropy.units.Quantity`
        Diameter of the pupil in metres.

    wavelength : float or `~astropy.units.Quantity`
        Wavelength in nanometres; of a filter, that of its middle.

    pixel_scale : float or `~astropy.units.Quantity`
        Arcseconds per pixel.

    obstruction : float, optional
        Diameter of the central obstruction over that of the pupil.

    seeing : float or `~astropy.units.Quantity`, optional
        Full width at half maximum in arcseconds by the air alone. By default it
        is fitted, which costs precision: near the focus a little defocus and a
        little more seeing look alike.

    terms : sequence of int, optional
        Numbers of the polynomials in the order of Noll, without 1, 2 and 3: by
        default defocus, astigmatism and coma.

    sigma : array_like or float, optional
        Standard deviation of the pixels. By default all have the same, which the
        residuals tell.

    mask : array_like of bool, optional
        Bad pixels.

    start : dict, optional
        Where to start, by numbers; by default the second moments say it.

    Returns
    -------
    fit : ZernikeFit
        Coefficients with their standard deviations. Errors are scaled by the
        root of the reduced chi-square where that is above 1.

    Raises
    ------
    ValueError
        If an argument is out of range, or there is no star in the stamp.

    See Also
    --------
    measure_zernikes : All stars of an image, and smooth functions of the place.

    Notes
    -----
    The model is that of `zernike_psf`, with exact derivatives, fitted by
    a trust-region method from four starts: with foci of both axes on the same side
    and on opposite sides, with and without coma. The best one is taken, and
    ``rival`` has another one if there is one that is about as good.

    The images of a wavefront :math:`W(r)` and of :math:`-W(-r)` are the same: the
    sign of all even terms together cannot be known from one image. Here the
    largest of them is positive. The signs of odd terms, and of even ones relative
    to each other, are known. Near 0 an image changes with the square of an even
    term: a small one is found with a large error, and its absolute value too
    large.

    References
    ----------
    Noll, R. J. 1976, JOSA 66, 207, doi:10.1364/JOSA.66.000207

    Roddier, C. and Roddier, F. 1993, JOSA A 10, 2277,
    doi:10.1364/JOSAA.10.002277

    Examples
    --------
    >>> from astroflat.psf import fit_zernikes, zernike_psf
    >>> optics = {'pupil_diameter': 0.2, 'wavelength': 550, 'pixel_scale': 0.5}
    >>> star = zernike_psf(41, {4: 0.4, 8: -0.15}, seeing=2.0, **optics)
    >>> fit = fit_zernikes(200 + 1e5 * star, terms=(4, 7, 8), **optics)
    >>> fit, round(fit.seeing, 2), round(fit.sky, 1)
    (ZernikeFit(coefficients={4: 0.4, 7: 0.0, 8: -0.15}), 2.0, 200.0)
    """
    telescope = Telescope(
        _number(pupil_diameter, 'm'),
        _number(wavelength, 'nm'),
        _number(pixel_scale, 'arcsec'),
        float(obstruction),
        0.0 if seeing is None else _number(seeing, 'arcsec'),
    )
    terms = check_terms(terms)
    data = np.asarray(stamp, np.float64)
    if data.ndim != 2:
        msg = f'stamp must be an image (ny, nx), not of shape {data.shape}'
        raise ValueError(msg)
    good = np.isfinite(data)
    if mask is not None:
        good &= ~np.asarray(mask, bool)
    if good.sum() < _MIN_PIXELS:
        msg = f'stamp has {good.sum()} good pixels, {_MIN_PIXELS} are needed'
        raise ValueError(msg)
    fixed = None if seeing is None else max(telescope.seeing, 1e-3)
    problem = Problem(telescope, terms, data, good, sigma, fixed)
    return problem.solve(start)


def check_terms(terms: Sequence[int]) -> tuple[int, ...]:
    """
    Return the numbers of polynomials, or raise.

    Parameters
    ----------
    terms : sequence of int
        Numbers in the order of Noll.

    Returns
    -------
    terms : tuple of int
        As they are.

    Raises
    ------
    ValueError
        If there are none, or one is a piston or tilt, or stands twice.
    """
    terms = tuple(int(j) for j in terms)
    if not terms or min(terms) < 4 or len(set(terms)) < len(terms):
        msg = (
            'terms must be different numbers from 4 on (piston does nothing, tilt is '
            f'the place of the star), not {terms!r}'
        )
        raise ValueError(msg)
    return terms


class Problem:
    """
    One star and what is fitted to it.

    Parameters
    ----------
    telescope : Telescope
        The telescope.

    terms : tuple of int
        What is fitted.

    data : ndarray
        Pixels.

    good : ndarray of bool
        Those to use.

    sigma : array_like or None
        Standard deviations.

    seeing : float or None
        None if it is fitted.
    """

    def __init__(
        self,
        telescope: Telescope,
        terms: tuple[int, ...],
        data: np.ndarray,
        good: np.ndarray,
        sigma: Any,
        seeing: float | None,
    ) -> None:
        self.telescope, self.terms = telescope, terms
        self.data, self.good, self.seeing = data, good, seeing
        self.known = sigma is not None
        errors = np.broadcast_to(1.0 if sigma is None else sigma, data.shape)[good]
        if not (errors > 0).all():
            msg = 'sigma must be positive'
            raise ValueError(msg)
        self.weight = 1 / np.asarray(errors, np.float64)
        self.values = data[good]

    def solve(
        self, start: dict[int, float] | None = None, *, n_starts: int = 4
    ) -> ZernikeFit:
        """
        Fit from several starts, and return the best fit.

        Parameters
        ----------
        start : dict, optional
            The only start.

        n_starts : int, optional
            How many to try, if that is not given.

        Returns
        -------
        fit : ZernikeFit
            The fit.
        """
        from astroflat.psf._wavefront_start import measure_moments, starts

        moments = measure_moments(np.where(self.good, self.data, 0.0), self.good)
        if moments is None:
            msg = 'there is no star in the stamp: nothing is brighter than its edge'
            raise ValueError(msg)
        seeing = self._first_seeing(moments)
        tries = [start] if start else starts(moments, self.telescope, seeing)[:n_starts]
        results = [self._descend(t, moments, seeing) for t in self._distinct(tries)]
        best = min(results, key=lambda r: r[0].cost)
        return self._pack(*best, self._rival(best[0], [r[0] for r in results]))

    def _distinct(self, tries: list[dict[int, float]]) -> list[dict[int, float]]:
        """Leave out what differs only in terms that are not fitted."""
        seen = {tuple(t.get(j, 0.0) for j in self.terms): t for t in tries}
        return list(seen.values())

    def _rival(self, best: Any, results: list[Any]) -> dict[int, float]:
        """Return the coefficients of another minimum that is nearly as deep."""
        k = len(self.terms)
        even = np.array([-1.0 if is_even(j) else 1.0 for j in self.terms])
        unit = 1.0 if self.known else 2 * best.cost / max(1, len(self.values) - k)
        for found in sorted(results, key=lambda r: r.cost):
            apart = min(
                np.abs(found.x[:k] * signs - best.x[:k]).max() for signs in (1, even)
            )
            if apart > _APART and 2 * (found.cost - best.cost) < _RIVAL * unit:
                return dict(zip(self.terms, found.x[:k].tolist(), strict=True))
        return {}

    def _first_seeing(self, moments: Moments) -> float:
        """Return the seeing that is known, or somewhat less than the width."""
        if self.seeing is not None:
            return self.seeing
        narrow = math.sqrt(max(np.linalg.eigvalsh(moments.matrix)[0], 0.2))
        width = 0.7 * 2.355 * narrow * self.telescope.pixel_scale
        return float(np.clip(width, 1.5 * _SEEING[0], 0.7 * _SEEING[1]))

    def _descend(
        self, start: dict[int, float], moments: Moments, seeing: float
    ) -> tuple[Any, Wavefront]:
        """Fit from one start; return what SciPy found, and the model."""
        from scipy.optimize import least_squares

        from astroflat.psf._wavefront import Wavefront

        first = [start.get(j, 0.0) for j in self.terms]
        room = {j: abs(v) + 0.1 for j, v in zip(self.terms, first, strict=True)}
        model = Wavefront(self.telescope, self.terms, self.data.shape, room)
        place = [moments.x, moments.y, moments.flux, moments.sky]
        free = [*first, *place] + ([] if self.seeing is not None else [seeing])
        k = len(self.terms)
        reach = max(self.data.shape) / 2
        span = max(float(np.ptp(self.values)), 1e-30)
        lower = [-_MOST] * k + [-reach, -reach, 0.0, -np.inf]
        upper = [_MOST] * k + [reach, reach, np.inf, np.inf]
        if self.seeing is None:
            lower, upper = [*lower, _SEEING[0]], [*upper, _SEEING[1]]
        scale = [0.1] * k + [0.3, 0.3, max(moments.flux, 1e-30) / 10, span / 100]
        scale += [] if self.seeing is not None else [0.2]
        cache = _Cache(self, model)
        found = least_squares(
            cache.residuals,
            np.clip(free, np.array(lower) + 1e-9, np.array(upper) - 1e-9),
            cache.derivatives,
            bounds=(lower, upper),
            x_scale=scale,
            ftol=1e-7,
            xtol=1e-6,
            gtol=1e-10,
            max_nfev=60,
        )
        return found, model

    def _pack(
        self, found: Any, model: Wavefront, rival: dict[int, float]
    ) -> ZernikeFit:
        """Return a solution with its errors."""
        k, p = len(self.terms), found.x
        free = max(1, len(self.values) - len(p))
        chi2 = 2 * found.cost / free
        inverse = np.linalg.pinv(found.jac.T @ found.jac)
        covariance = inverse * (max(1.0, chi2) if self.known else chi2)
        sigma = np.sqrt(np.maximum(np.diag(covariance), 0))
        height = p[k + 2] * model(p[:k], (p[k], p[k + 1]), self._seeing(p))[0].max()
        residuals = found.fun / self.weight
        ny, nx = self.data.shape
        fit = ZernikeFit(
            dict(zip(self.terms, p[:k].tolist(), strict=True)),
            dict(zip(self.terms, sigma[:k].tolist(), strict=True)),
            float(p[k] + (nx - 1) / 2),
            float(p[k + 1] + (ny - 1) / 2),
            float(p[k + 2]),
            float(p[k + 3]),
            self._seeing(p),
            0.0 if self.seeing is not None else float(sigma[-1]),
            float(np.sqrt(np.mean(residuals**2)) / max(height, 1e-30)),
            chi2 if self.known else 1.0,
            covariance[:k, :k],
            rival,
        )
        even = {j: v for j, v in fit.coefficients.items() if is_even(j)}
        largest = max(even, key=lambda j: abs(even[j])) if even else None
        return fit.mirrored() if even and even[largest] < 0 else fit

    def _seeing(self, p: np.ndarray) -> float:
        """Return the seeing, fitted or given."""
        return self.seeing if self.seeing is not None else float(p[-1])


class _Cache:
    """Residuals and derivatives, which come from one calculation."""

    def __init__(self, problem: Problem, model: Wavefront) -> None:
        self.problem, self.model = problem, model
        self._p, self._both = None, None

    def residuals(self, p: np.ndarray) -> np.ndarray:
        """Return (model - data) / sigma."""
        return self._at(p)[0]

    def derivatives(self, p: np.ndarray) -> np.ndarray:
        """Return their derivatives, one column per parameter."""
        return self._at(p)[1]

    def _at(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._p is None or not np.array_equal(p, self._p):
            self._p, self._both = p.copy(), self._calculate(p)
        return self._both

    def _calculate(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        problem, k = self.problem, len(self.problem.terms)
        image, parts = self.model(p[:k], (p[k], p[k + 1]), problem._seeing(p))
        flat = image[problem.good]
        columns = parts[:, problem.good] * p[k + 2]
        rows = [*columns[:-1], flat, np.ones_like(flat)]
        if problem.seeing is None:
            rows.append(columns[-1])
        residuals = (p[k + 2] * flat + p[k + 3] - problem.values) * problem.weight
        return residuals, (np.stack(rows) * problem.weight).T
