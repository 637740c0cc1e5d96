# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Measure the aberrations of a telescope over the field, from stars of one image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._report import QualityReport
from astroflat.psf.optics import Telescope, render
from astroflat.psf.zernikes import _TERMS, check_terms, is_even

if TYPE_CHECKING:
    from collections.abc import Sequence

    from astropy.table import Table
    from matplotlib.figure import Figure

    from astroflat.psf._wavefront_map import CoefficientMap
    from astroflat.psf.simulation import ZernikeField

__all__ = ['WavefrontField', 'measure_zernikes']


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
    telescope = Telescope.of(
        pupil_diameter, wavelength, pixel_scale, obstruction, seeing
    )
    terms = check_terms(terms)
    if not 0 <= degree <= 3 or int(degree) != degree:
        msg = f'degree must be a whole number from 0 to 3, not {degree!r}'
        raise ValueError(msg)
    if gain is not None and not gain > 0:
        msg = f'gain must be positive, not {gain!r}'
        raise ValueError(msg)
    from astroflat.psf._wavefront_stars import Fitter, choose_stars

    stars, shape, refused = choose_stars(
        image, mask, saturation, fwhm=fwhm, min_snr=min_snr, n=n_stars, gain=gain
    )
    fitter = Fitter(telescope, terms, seeing is not None, n_threads)
    return WavefrontField(*fitter.run(stars, shape, int(degree), refused))
