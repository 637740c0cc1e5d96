# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The image of a star as a function of its place."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._report import QualityReport
from astroflat.psf._errors import TooFewStarsError
from astroflat.psf._shapes import ellipse_of, matrix_of
from astroflat.psf._smooth import SmoothMap, fit_map, n_terms
from astroflat.psf.kernels import moffat_kernel

if TYPE_CHECKING:
    import os

    from astropy.table import Table
    from matplotlib.figure import Figure

__all__ = ['PSFField', 'measure_field']

_DEGREES = (4, 3, 2, 1, 0)
# Stars next to each other differ by less (%).
_ALIKE, _UNLIKE = 15.0, 25.0
# A width is not known better than this, whatever the residuals of the fit say.
_FLOOR = 0.01


class PSFField:
    """
    Width, shape and kernel of the stars at every place of an image.

    Made by `measure_field` of stars, by `simulate_field` of optics, or read from a
    file with `read`.

    Parameters
    ----------
    smooth : SmoothMap
        Mean, difference and product of the matrix of the widths.

    table : `~astropy.table.Table`
        Stars that it was made of, with a column ``used``.

    beta : float
        Exponent of the Moffat profile.

    Attributes
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the image.

    degree : int
        Degree of the polynomials.

    grid : tuple of int or None
        Cells along y and x.

    fwhm : float
        Median width over the image in pixels.

    report : `~astroflat.quality.QualityReport`
        How many stars, how wide, how even, and how well it is known.

    Notes
    -----
    What varies smoothly is the matrix with the squares of the full widths along
    the axes as eigenvalues. Ellipticity and angle alone could not be averaged: the
    angle of a round star means nothing. Outside of what the stars cover, the value
    at the nearest edge holds.

    Examples
    --------
    >>> from astroflat.psf import simulate_field
    >>> field = simulate_field(
    ...     (400, 600),
    ...     pupil_diameter=0.2,
    ...     wavelength=550,
    ...     pixel_scale=0.8,
    ...     seeing=2.0,
    ...     coma=0.2,
    ... )
    >>> field.kernel_at(0, 0, size=21).shape
    (21, 21)
    >>> bool(field.ellipticity_at(0, 0) > field.ellipticity_at(300, 200))
    True
    """

    def __init__(self, smooth: SmoothMap, table: Table, *, beta: float) -> None:
        self._smooth = smooth
        self.table = table
        self.beta = float(beta)
        self.shape = smooth.shape
        self.degree = smooth.degree
        self.grid = None if smooth.grid is None else smooth.grid.shape[1:]
        self.fwhm = float(np.median(self._over_image()[0]))
        self.report = self._make_report()

    def __repr__(self) -> str:
        return (
            f'<{type(self).__name__} {self.shape[1]} × {self.shape[0]}: '
            f'FWHM {self.fwhm:.2f} pix, {self.report.numbers["n_used"]} stars>'
        )

    def shape_at(self, x: Any, y: Any) -> tuple[Any, Any, Any]:
        """
        Return width, ellipticity and angle at some places.

        Parameters
        ----------
        x, y : float or array_like
            Places in pixels.

        Returns
        -------
        fwhm, ellipticity, theta : float or ndarray
            In pixels, ``1 - b/a``, and degrees from +x to +y.
        """
        mean, difference, product = self._smooth(x, y)
        found = ellipse_of(mean + difference, product, mean - difference)
        return tuple(value[()] for value in found)

    def fwhm_at(self, x: Any, y: Any) -> Any:
        """
        Return the full width at half maximum at some places.

        Parameters
        ----------
        x, y : float or array_like
            Places in pixels.

        Returns
        -------
        fwhm : float or ndarray
            Geometric mean of the axes in pixels.
        """
        return self.shape_at(x, y)[0]

    def fwhm_err_at(self, x: Any, y: Any) -> Any:
        """
        Return the standard deviation of the width at some places.

        Parameters
        ----------
        x, y : float or array_like
            Places in pixels.

        Returns
        -------
        error : float or ndarray
            In pixels.
        """
        return (self._smooth.error(x, y)[0] / (2 * self.fwhm_at(x, y)))[()]

    def ellipticity_at(self, x: Any, y: Any) -> Any:
        """
        Return the ellipticity at some places.

        Parameters
        ----------
        x, y : float or array_like
            Places in pixels.

        Returns
        -------
        ellipticity : float or ndarray
            ``1 - b/a``.
        """
        return self.shape_at(x, y)[1]

    def theta_at(self, x: Any, y: Any) -> Any:
        """
        Return the angle of the long axis at some places.

        Parameters
        ----------
        x, y : float or array_like
            Places in pixels.

        Returns
        -------
        theta : float or ndarray
            Degrees from +x to +y, in [-90, 90).
        """
        return self.shape_at(x, y)[2]

    def kernel_at(
        self, x: float, y: float, *, size: int | tuple[int, int] | None = None
    ) -> np.ndarray:
        """
        Return the image of a star at a place.

        Parameters
        ----------
        x, y : float
            Place in pixels.

        size : int or tuple of int, optional
            Shape of the kernel, as in `moffat_kernel`.

        Returns
        -------
        kernel : ndarray of float64
            Sum 1, centred.
        """
        fwhm, ellipticity, theta = self.shape_at(float(x), float(y))
        return moffat_kernel(
            float(fwhm),
            beta=self.beta,
            ellipticity=float(ellipticity),
            theta=float(theta),
            size=size,
        )

    def plot(self, *, figure: Figure | None = None) -> Figure:
        """
        Draw the width over the image, and the shapes as whiskers.

        Parameters
        ----------
        figure : `~matplotlib.figure.Figure`, optional
            Where to draw, such as ``plt.figure()``; by default a new one that
            pyplot does not know.

        Returns
        -------
        figure : `~matplotlib.figure.Figure`
            Two panels. The length of a whisker is the ellipticity, its
            direction the long axis; thin ones are single stars.
        """
        from astroflat.psf._plot import plot_field

        return plot_field(self, figure=figure)

    def write(self, path: str | os.PathLike, *, overwrite: bool = False) -> None:
        """
        Write the stars as an ECSV table, from which `read` makes the field again.

        Parameters
        ----------
        path : str or path-like
            File, commonly ``.ecsv``.

        overwrite : bool, optional
            Whether an existing file may be replaced.
        """
        from astroflat._files import atomic_path

        table = self.table.copy()
        table.meta.update(
            shape=list(self.shape),
            beta=self.beta,
            degree=self.degree,
            grid=None if self.grid is None else list(self.grid),
        )
        with atomic_path(path, overwrite=overwrite) as temporary:
            table.write(temporary, format='ascii.ecsv')

    @classmethod
    def read(cls, path: str | os.PathLike) -> PSFField:
        """
        Read a field that `write` wrote.

        Parameters
        ----------
        path : str or path-like
            File.

        Returns
        -------
        field : PSFField
            The field, fitted again to the same stars.

        Raises
        ------
        ValueError
            If the file is not a table of stars.
        """
        from astropy.table import Table

        try:
            table = Table.read(path, format='ascii.ecsv')
        except (ValueError, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            msg = f'{str(path)!r} is not a table of stars as PSFField.write writes'
            raise ValueError(msg) from error
        grid = table.meta.get('grid')
        return measure_field(
            table,
            degree=table.meta.get('degree'),
            grid=None if grid is None else tuple(grid),
        )

    def _over_image(self) -> tuple[Any, Any, Any]:
        """Return the shapes at 17 × 17 places of the image."""
        y, x = (np.linspace(0, side - 1, 17) for side in self.shape)
        return self.shape_at(x[None, :], y[:, None])

    def _make_report(self) -> QualityReport:
        """Return how well the field is known, and what a constant would miss."""
        fwhm, ellipticity, _ = self._over_image()
        stars = self.table[np.asarray(self.table['used'], dtype=bool)]
        own = np.asarray(stars['fwhm'], dtype=np.float64)
        left = own - self.fwhm_at(np.asarray(stars['x']), np.asarray(stars['y']))
        error = self._smooth.error(*self._middle())[0] / (2 * self.fwhm)
        numbers = {
            'n_stars': len(self.table),
            'n_used': len(stars),
            'degree': self.degree,
            'fwhm_pix': self.fwhm,
            'fwhm_smallest_pix': float(fwhm.min()),
            'fwhm_largest_pix': float(fwhm.max()),
            'ellipticity_median': float(np.median(ellipticity)),
            'ellipticity_largest': float(ellipticity.max()),
            'beta': self.beta,
            'fwhm_error_percent': float(100 * error / self.fwhm),
            'prediction_percent': float(
                50 * math.sqrt(self._smooth.prediction) / self.fwhm**2
            ),
            'scatter_percent': float(100 * np.std(left) / self.fwhm),
            'scatter_of_constant_percent': float(100 * np.std(own) / self.fwhm),
        }
        report = QualityReport('psf field', numbers)
        wanted = 3 * n_terms(self.degree)
        report = report.check(
            len(stars) >= wanted,
            'weak',
            f'only {len(stars)} stars; {wanted} make degree {self.degree} reliable',
        )
        return report.check(
            numbers['scatter_percent'] < _ALIKE,
            'weak',
            'the widths of neighbouring stars differ by '
            f'{numbers["scatter_percent"]:.0f} %: blends, or too faint',
        )

    def _middle(self) -> tuple[float, float]:
        """Return the middle of the image."""
        return (self.shape[1] - 1) / 2, (self.shape[0] - 1) / 2


def measure_field(
    source: Any,
    *,
    degree: int | None = None,
    grid: tuple[int, int] | None = None,
    shape: tuple[int, int] | None = None,
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

    if not isinstance(source, Table):
        from astroflat.psf.stars import measure_stars

        source = measure_stars(source, **options)
    elif options:
        msg = f'{sorted(options)} are for an image, but source is a table'
        raise TypeError(msg)
    shape = shape or source.meta.get('shape')
    if shape is None or len(shape) != 2:
        msg = 'shape must be given: the table does not say how large the image is'
        raise ValueError(msg)
    degrees = _degrees(source, degree)
    stars = source.copy()
    smooth, stars['used'] = _fit(stars, (int(shape[0]), int(shape[1])), degrees, grid)
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
        np.asarray(stars[name], dtype=np.float64)
        for name in ('x', 'y', 'fwhm', 'fwhm_err', 'ellipticity', 'theta')
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
