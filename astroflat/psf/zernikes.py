# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Fit the aberrations of a telescope to the image of one star."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.psf.optics import Telescope
from astroflat.psf.polynomials import noll_to_nm

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = ['ZernikeFit', 'fit_zernikes']

_TERMS = (4, 5, 6, 7, 8)
_MIN_PIXELS = 30


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
    stamp : CCDData, array_like
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
    telescope = Telescope.of(
        pupil_diameter, wavelength, pixel_scale, obstruction, seeing
    )
    terms = check_terms(terms)
    from astroflat._nddata import unpack

    # A stamp of a masked image brings its mask along.
    frame = unpack(stamp, name='stamp', mask=mask)
    data, good = frame.data.astype(np.float64), ~frame.bad
    if good.sum() < _MIN_PIXELS:
        msg = f'stamp has {good.sum()} good pixels, {_MIN_PIXELS} are needed'
        raise ValueError(msg)
    fixed = None if seeing is None else max(telescope.seeing, 1e-3)
    from astroflat.psf._zernike_problem import Problem

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
