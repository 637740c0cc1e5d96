# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The image of a star as a function of its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.psf._field_report import make_report
from astroflat.psf._shapes import ellipse_of
from astroflat.psf.kernels import moffat_kernel

if TYPE_CHECKING:
    import os

    from astropy.table import Table
    from matplotlib.figure import Figure

    from astroflat.psf._remainder import Remainder
    from astroflat.psf._smooth import SmoothMap

__all__ = ['PSFField']


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

    remainder : Remainder, optional
        What the stars have more than the profile.

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

    profile : {'measured', 'moffat'}
        Whether kernels have more than a Moffat profile.

    report : `~astroflat.quality.QualityReport`
        How many stars, how wide, how even, and how well it is known.

    Notes
    -----
    What varies smoothly is the matrix with the squares of the full widths along
    the axes as eigenvalues. Ellipticity and angle alone could not be averaged: the
    angle of a round star means nothing. Outside of what the stars cover, the value
    at the nearest edge holds.

    Widths, ellipticities and angles are those of the profile. If stars have more, it
    is measured (see `measure_field`) and is part of the kernels. These have the
    centroid of the light within two widths in the middle, which for a lopsided star
    is neither its peak nor the centre of the profile.

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

    def __init__(
        self,
        smooth: SmoothMap,
        table: Table,
        *,
        beta: float,
        remainder: Remainder | None = None,
    ) -> None:
        self._smooth = smooth
        self.table = table
        self.beta = float(beta)
        self.shape = smooth.shape
        self.degree = smooth.degree
        self.grid = None if smooth.grid is None else smooth.grid.shape[1:]
        self.fwhm = float(np.median(self._over_image()[0]))
        self.remainder = remainder
        self.profile = 'moffat' if remainder is None else 'measured'
        self.report = make_report(self, smooth)

    def __repr__(self) -> str:
        more = '' if self.remainder is None else ', measured profile'
        return (
            f'<{type(self).__name__} {self.shape[1]} × {self.shape[0]}: '
            f'FWHM {self.fwhm:.2f} pix, {self.report.numbers["n_used"]} stars{more}>'
        )

    @property
    def varies(self) -> bool:
        """Whether kernels change over the image."""
        more = self.remainder is not None and len(self.remainder.coefficients) > 1
        return self.degree > 0 or self.grid is not None or more

    def with_remainder(self, remainder: Remainder | None) -> PSFField:
        """
        Return the field with what the stars have more than the profile, or without.

        Parameters
        ----------
        remainder : Remainder or None
            What is added to the profile.

        Returns
        -------
        field : PSFField
            Another field.
        """
        return PSFField(self._smooth, self.table, beta=self.beta, remainder=remainder)

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
            Sum 1, with the centroid of the light within two widths in the middle.
        """
        fwhm, ellipticity, theta = (float(v) for v in self.shape_at(float(x), float(y)))
        options = {'beta': self.beta, 'ellipticity': ellipticity, 'theta': theta}
        if self.remainder is None:
            return moffat_kernel(fwhm, size=size, **options)
        from astroflat.psf._remainder import composed

        return composed(self.remainder, float(x), float(y), fwhm, options, size)

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
            direction the long axis; thin ones are single stars. If the image of
            the stars was measured, a third one shows it at nine places.
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
        if self.remainder is not None:
            table.meta['remainder'] = self.remainder.to_dict()
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

        from astroflat.psf.measure import field_of_table

        try:
            table = Table.read(path, format='ascii.ecsv')
        except (ValueError, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            msg = f'{str(path)!r} is not a table of stars as PSFField.write writes'
            raise ValueError(msg) from error
        return field_of_table(table)

    def _over_image(self) -> tuple[Any, Any, Any]:
        """Return the shapes at 17 × 17 places of the image."""
        y, x = (np.linspace(0, side - 1, 17) for side in self.shape)
        return self.shape_at(x[None, :], y[:, None])
