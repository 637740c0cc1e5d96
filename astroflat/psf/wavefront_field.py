# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Measure the aberrations of a telescope over the field, from stars of one image."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._report import QualityReport
from astroflat.psf._errors import TooFewStarsError
from astroflat.psf._wavefront_map import degree_for, fit_coefficients
from astroflat.psf.optics import Telescope, _number, render
from astroflat.psf.zernikes import _TERMS, Problem, check_terms, is_even

if TYPE_CHECKING:
    from collections.abc import Sequence

    from astropy.table import Table
    from matplotlib.figure import Figure

    from astroflat.psf._star_choice import Candidate
    from astroflat.psf._wavefront_map import CoefficientMap
    from astroflat.psf.simulation import ZernikeField
    from astroflat.psf.zernikes import ZernikeFit

__all__ = ['WavefrontField', 'measure_zernikes']

# So many stars tell the seeing.
_FOR_SEEING = 12
# Stars are taken from this many cells along each axis in turn.
_CELLS = 4
# A fit this much off its star is not one of a star.
_MAX_MISFIT = 0.08


class WavefrontField:
    """
    Zernike coefficients over an image, made by `measure_zernikes`.

    Parameters
    ----------
    telescope : Telescope
        Pupil, camera, and the seeing that was found.

    smooth : CoefficientMap
        The polynomials.

    table : `~astropy.table.Table`
        The stars.

    Attributes
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the image.

    terms : tuple of int
        Numbers in the order of Noll.

    degree : int
        Of the polynomials.

    seeing : float
        In arcseconds.

    report : `~astroflat.quality.QualityReport`
        How many stars, how large each aberration is, and how well it is known.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.psf import measure_zernikes, zernike_psf
    >>> optics = {'pupil_diameter': 0.2, 'wavelength': 550, 'pixel_scale': 0.8}
    >>> star = zernike_psf(25, {8: 0.2}, seeing=2.0, **optics)
    >>> image = np.random.default_rng(1).normal(100, 1, (120, 120))
    >>> for x, y in ((10, 15), (70, 20), (40, 80), (85, 85)):
    ...     image[y : y + 25, x : x + 25] += 1e4 * star
    >>> field = measure_zernikes(image, terms=(7, 8), seeing=2.0, **optics)
    >>> {j: round(v, 2) + 0.0 for j, v in field.coefficients_at(60, 60).items()}
    {7: 0.0, 8: 0.2}
    """

    def __init__(
        self, telescope: Telescope, smooth: CoefficientMap, table: Table
    ) -> None:
        self._telescope, self._smooth, self.table = telescope, smooth, table
        self.shape, self.terms, self.degree = smooth.shape, smooth.terms, smooth.degree
        self.seeing = telescope.seeing
        self._psf: ZernikeField | None = None
        self.report = self._make_report()

    def __repr__(self) -> str:
        n = self.report.numbers['n_used']
        return (
            f'<{type(self).__name__} {self.shape[1]} × {self.shape[0]}: '
            f'terms {", ".join(map(str, self.terms))}, {n} stars>'
        )

    def coefficients_at(self, x: float, y: float) -> dict[int, float]:
        """
        Return the Zernike coefficients at a place.

        Parameters
        ----------
        x, y : float
            Place in pixels.

        Returns
        -------
        coefficients : dict
            Waves (rms) by numbers in the order of Noll.
        """
        return self._smooth.at(x, y)

    def errors_at(self, x: float, y: float) -> dict[int, float]:
        """
        Return the standard deviations of the coefficients at a place.

        Parameters
        ----------
        x, y : float
            Place in pixels.

        Returns
        -------
        errors : dict
            Waves (rms) by numbers in the order of Noll.
        """
        errors = self._smooth.errors_at(np.asarray(x), np.asarray(y))
        return dict(zip(self.terms, errors.tolist(), strict=True))

    def kernel_at(
        self, x: float, y: float, *, size: int | tuple[int, int] = 31
    ) -> np.ndarray:
        """
        Return the image of a star at a place.

        Parameters
        ----------
        x, y : float
            Place in pixels.

        size : int or tuple of int, optional
            Shape of the kernel.

        Returns
        -------
        kernel : ndarray of float64
            Sum 1, with the chief ray in the middle.
        """
        from astroflat.psf._shapes import size_of

        return render(self._telescope, self.coefficients_at(x, y), size_of(size, 0))

    @property
    def psf(self) -> ZernikeField:
        """The same as a `ZernikeField`, for `astroflat.Restorer` and for widths."""
        from astroflat.psf.simulation import ZernikeField

        if self._psf is None:
            self._psf = ZernikeField(self._telescope, self._smooth)
        return self._psf

    def mirrored(self) -> WavefrontField:
        """
        Return the other wavefront that makes the same images.

        Returns
        -------
        field : WavefrontField
            All even terms, such as defocus and astigmatism, with the other sign.
        """
        table = self.table.copy()
        for j in self.terms:
            if is_even(j):
                table[f'z{j}'] = -table[f'z{j}']
        return WavefrontField(self._telescope, self._smooth.mirrored(), table)

    def plot(self, *, figure: Figure | None = None) -> Figure:
        """
        Draw each coefficient over the image.

        Parameters
        ----------
        figure : `~matplotlib.figure.Figure`, optional
            Where to draw; by default a new one that pyplot does not know.

        Returns
        -------
        figure : `~matplotlib.figure.Figure`
            A map for each term, with the stars in the same colours; of pairs such
            as coma an arrow map.
        """
        from astroflat.psf._plot_wavefront import plot_wavefront

        return plot_wavefront(self, figure=figure)

    def _make_report(self) -> QualityReport:
        """Say how large each aberration is, and how well it is known."""
        used = np.asarray(self.table['used'], bool)
        ny, nx = self.shape
        y, x = np.meshgrid(*(np.linspace(0, n - 1, 9) for n in (ny, nx)), indexing='ij')
        values = self._smooth.array_at(x, y)
        errors = self._smooth.errors_at(x, y)
        numbers: dict[str, Any] = {
            'n_stars': len(self.table),
            'n_used': int(used.sum()),
            'degree': self.degree,
            'seeing_arcsec': self.seeing,
            'misfit_percent': 100 * float(np.median(self.table['misfit'][used])),
        }
        for k, j in enumerate(self.terms):
            numbers[f'z{j}_rms_waves'] = float(np.sqrt(np.mean(values[..., k] ** 2)))
            numbers[f'z{j}_error_waves'] = float(np.median(errors[..., k]))
        report = QualityReport('wavefront', numbers)
        wanted = 3 * (self.degree + 1) * (self.degree + 2) // 2
        report = report.check(
            used.sum() >= wanted,
            'weak',
            f'only {used.sum()} stars; {wanted} make degree {self.degree} reliable',
        )
        return report.check(
            used.sum() > 0.7 * len(used),
            'weak',
            f'{len(used) - used.sum()} of {len(used)} stars do not fit the others',
        )


@dataclass(frozen=True)
class _Star:
    """
    A star and what is known of its noise.

    Parameters
    ----------
    candidate : Candidate
        The stamp.
    sigma : ndarray or None
        Standard deviations.
    """

    candidate: Candidate
    sigma: np.ndarray | None


def measure_zernikes(
    image: Any,
    *,
    pupil_diameter: Any,
    wavelength: Any,
    pixel_scale: Any,
    obstruction: float = 0.0,
    seeing: Any = None,
    terms: Sequence[int] = _TERMS,
    degree: int = 2,
    fwhm: float | None = None,
    min_snr: float = 50.0,
    n_stars: int = 60,
    gain: float | None = None,
    saturation: float | None = None,
    mask: Any = None,
    n_threads: int | None = None,
) -> WavefrontField:
    """
    Measure the aberrations of a telescope over the field.

    Parameters
    ----------
    image : CCDData, array_like or path
        The image, ``(ny, nx)``, linear. The background need not be subtracted.

    pupil_diameter, wavelength, pixel_scale, obstruction
        The telescope, as in `fit_zernikes`.

    seeing : float or `~astropy.units.Quantity`, optional
        As in `fit_zernikes`. By default the median of what the brightest stars say.

    terms : sequence of int, optional
        Numbers of the polynomials in the order of Noll.

    degree : int, optional
        Of the polynomials of the place, 0 to 3. Coma grows with the distance from
        the axis, astigmatism and defocus with its square. With fewer than two stars
        for each coefficient it is lowered.

    fwhm : float, optional
        About how wide the stars are in pixels; by default found out. Give it where
        stars are rings.

    min_snr : float, optional
        Only stars whose signal-to-noise ratio against the sky is at least this.

    n_stars : int, optional
        So many are fitted, the brightest from all parts of the image.

    gain : float, optional
        Electrons per count, for the noise of the photons. By default all pixels of
        a star count the same, and the residuals tell how sure the fit is.

    saturation, mask : optional
        As in `measure_stars`.

    n_threads : int, optional
        Stars that are fitted at a time; by default as many as processors.

    Returns
    -------
    field : WavefrontField
        Coefficients at every place. Its ``table`` has for each star ``x``, ``y``,
        ``z4`` and ``z4_err`` and so on, ``flux``, ``misfit``, ``chi2`` and
        ``used``.

    Raises
    ------
    TooFewStarsError
        If there are fewer than three usable stars.

    ValueError
        If an argument is out of range.

    See Also
    --------
    fit_zernikes : One star.
    measure_field : Widths and shapes without a telescope.

    Notes
    -----
    Each star is fitted, polynomials go through the coefficients, and each star is
    fitted again from what its neighbours predict: what looks alike in one star does
    not so in all. The sign of the even terms, which no star tells, is that which
    fits to the neighbours; for the image as a whole it stays open, and the mean of
    the first even term is made positive. `WavefrontField.mirrored` has the other
    one. An image out of focus on a known side, or two images, decide.

    Outside of the stars the polynomials go on, with errors that grow.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.psf import measure_zernikes, simulate_field
    >>> optics = {'pupil_diameter': 0.2, 'wavelength': 550, 'pixel_scale': 0.8}
    >>> truth = simulate_field((150, 200), seeing=2.0, coma=0.3, **optics)
    >>> image = np.random.default_rng(1).normal(100, 1, truth.shape)
    >>> for x, y in ((20, 20), (100, 25), (170, 30), (30, 110), (95, 120), (175, 115)):
    ...     image[y - 15 : y + 16, x - 15 : x + 16] += 3e4 * truth.kernel_at(
    ...         x, y, size=31
    ...     )
    >>> field = measure_zernikes(image, terms=(7, 8), degree=1, seeing=2.0, **optics)
    >>> round(field.coefficients_at(170, 75)[8], 2)
    0.17
    """
    telescope = Telescope(
        _number(pupil_diameter, 'm'),
        _number(wavelength, 'nm'),
        _number(pixel_scale, 'arcsec'),
        float(obstruction),
        0.0 if seeing is None else _number(seeing, 'arcsec'),
    )
    terms = check_terms(terms)
    if not 0 <= degree <= 3 or int(degree) != degree:
        msg = f'degree must be a whole number from 0 to 3, not {degree!r}'
        raise ValueError(msg)
    if gain is not None and not gain > 0:
        msg = f'gain must be positive, not {gain!r}'
        raise ValueError(msg)
    stars, shape, refused = _choose(
        image, mask, saturation, fwhm=fwhm, min_snr=min_snr, n=n_stars, gain=gain
    )
    fitter = _Fitter(telescope, terms, seeing is not None, n_threads)
    return fitter.run(stars, shape, int(degree), refused)


def _choose(
    image: Any,
    mask: Any,
    saturation: float | None,
    *,
    fwhm: float | None,
    min_snr: float,
    n: int,
    gain: float | None,
) -> tuple[list[_Star], tuple[int, int], dict[str, int]]:
    """Return the stars to fit, the shape of the image, and why others are not."""
    from astroflat.psf.stars import _guess_width, _Sky

    sky = _Sky.of(image, mask, saturation, fwhm)
    width = fwhm or _guess_width(sky, min_snr)
    choice = sky.choose(width, min_snr)
    chosen = _spread(choice.stars, sky.data.shape, n)
    stars = [_Star(c, _noise(c.stamp, sky.noise, gain)) for c in chosen]
    return stars, sky.data.shape, dict(choice.refused)


def _spread(stars: list[Candidate], shape: tuple[int, int], n: int) -> list[Candidate]:
    """Return the brightest stars, from each part of the image in turn."""
    rank: dict[tuple[int, int], int] = {}
    order = []
    for i, star in enumerate(stars):
        x, y = star.x + star.place[0], star.y + star.place[1]
        cell = int(_CELLS * y / shape[0]), int(_CELLS * x / shape[1])
        rank[cell] = rank.get(cell, -1) + 1
        order.append((rank[cell], i))
    return [stars[i] for _, i in sorted(order)[:n]]


def _noise(stamp: np.ndarray, noise: float, gain: float | None) -> np.ndarray | None:
    """Return the standard deviation of the pixels of a star, if it is known."""
    if gain is None:
        return None
    from scipy.ndimage import gaussian_filter

    # Of smoothed counts: where noise made a pixel faint it would count for more.
    light = np.maximum(gaussian_filter(stamp, 1.0), 0)
    return np.sqrt(max(noise, 1e-30) ** 2 + light / gain)


class _Fitter:
    """Fit stars, then what is smooth in them."""

    def __init__(
        self,
        telescope: Telescope,
        terms: tuple[int, ...],
        known: bool,
        n_threads: int | None,
    ) -> None:
        from astroflat._arrays import n_threads as count_threads

        self.telescope, self.terms, self.known = telescope, terms, known
        self.workers = count_threads(n_threads)

    def run(
        self,
        stars: list[_Star],
        shape: tuple[int, int],
        degree: int,
        refused: dict[str, int],
    ) -> WavefrontField:
        """Return the field."""
        if not self.known and stars:
            self.telescope = self._with_seeing(stars)
        fits = self._fit(stars, [None] * len(stars))
        rows = [i for i, fit in enumerate(fits) if _is_star(fit)]
        refused['not like a star'] = len(stars) - len(rows)
        degree = degree_for(len(rows), degree)
        if degree < 0:
            why = ', '.join(f'{n} {reason}' for reason, n in refused.items() if n)
            msg = (
                f'{len(rows)} usable stars, but 3 are needed (left out: {why or "none"}'
                '); lower min_snr, or give fwhm'
            )
            raise TooFewStarsError(msg)
        stars, fits = [stars[i] for i in rows], [fits[i] for i in rows]
        smooth = self._smooth(stars, fits, shape, degree)[0]
        # Again, from what the neighbours say: a star may have been caught elsewhere.
        places = [_place(*pair) for pair in zip(stars, fits, strict=True)]
        again = self._fit(stars, [smooth.at(*place) for place in places])
        fits = [_better(old, new) for old, new in zip(fits, again, strict=True)]
        smooth, signs, used = self._smooth(stars, fits, shape, degree)
        table = self._table(stars, fits, signs, used)
        table.meta.update(shape=list(shape), refused=refused)
        return WavefrontField(self.telescope, smooth, table)

    def _with_seeing(self, stars: list[_Star]) -> Telescope:
        """Return the telescope in the air that the brightest stars tell."""
        from dataclasses import replace

        fits = self._fit(stars[:_FOR_SEEING], [None] * len(stars[:_FOR_SEEING]))
        found = [fit.seeing for fit in fits if _is_star(fit)]
        if not found:
            msg = (
                f'none of the {len(fits)} brightest objects is the image of a star by '
                'this telescope; check pixel_scale and pupil_diameter, or give fwhm'
            )
            raise TooFewStarsError(msg)
        return replace(self.telescope, seeing=float(np.median(found)))

    def _fit(
        self, stars: list[_Star], starts: list[dict[int, float] | None]
    ) -> list[ZernikeFit | None]:
        """Fit stars, several at a time."""
        seeing = self.telescope.seeing or None

        def one(star: _Star, start: dict[int, float] | None) -> ZernikeFit | None:
            c = star.candidate
            problem = Problem(
                self.telescope,
                self.terms,
                np.asarray(c.stamp, np.float64),
                c.good & np.isfinite(c.stamp) & ~c.full,
                star.sigma,
                max(seeing, 1e-3) if seeing or self.known else None,
            )
            try:
                # Where that is not enough, the neighbours tell a better start.
                return problem.solve(start, n_starts=2)
            except ValueError:
                return None

        with ThreadPoolExecutor(self.workers) as pool:
            return list(pool.map(one, stars, starts))

    def _smooth(
        self,
        stars: list[_Star],
        fits: list[ZernikeFit],
        shape: tuple[int, int],
        degree: int,
    ) -> tuple[CoefficientMap, np.ndarray, np.ndarray]:
        """Put polynomials through the coefficients."""
        places = [_place(*pair) for pair in zip(stars, fits, strict=True)]
        x, y = np.array(places).T
        values = np.array([list(fit.coefficients.values()) for fit in fits])
        errors = np.array([list(fit.errors.values()) for fit in fits])
        return fit_coefficients(
            x, y, values, errors, terms=self.terms, shape=shape, degree=degree
        )

    def _table(
        self,
        stars: list[_Star],
        fits: list[ZernikeFit],
        signs: np.ndarray,
        used: np.ndarray,
    ) -> Table:
        """Return the stars as a table."""
        from astropy.table import Table

        places = [_place(*pair) for pair in zip(stars, fits, strict=True)]
        columns: dict[str, Any] = dict(zip('xy', np.array(places).T, strict=True))
        for j in self.terms:
            sign = signs if is_even(j) else 1
            columns[f'z{j}'] = sign * np.array([fit.coefficients[j] for fit in fits])
            columns[f'z{j}_err'] = np.array([fit.errors[j] for fit in fits])
        for name in ('flux', 'misfit', 'chi2'):
            columns[name] = np.array([getattr(fit, name) for fit in fits])
        return Table({**columns, 'used': used})


def _is_star(fit: ZernikeFit | None) -> bool:
    """Tell whether a fit is one of a star."""
    return fit is not None and fit.misfit < _MAX_MISFIT and math.isfinite(fit.flux)


def _place(star: _Star, fit: ZernikeFit) -> tuple[float, float]:
    """Return the place of a star in the image."""
    return star.candidate.x + fit.x, star.candidate.y + fit.y


def _better(old: ZernikeFit, new: ZernikeFit | None) -> ZernikeFit:
    """Return the fit that neighbours suggest, unless the star itself denies it."""
    if not _is_star(new):
        return old
    # In units of the noise, or of the residuals where that is not known.
    worse = (
        new.chi2 - old.chi2
        if old.chi2 != 1 or new.chi2 != 1
        else (new.misfit / old.misfit) ** 2 - 1
    )
    return new if worse < 0.01 else old
