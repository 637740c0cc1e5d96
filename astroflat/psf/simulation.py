# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Fields of stars by a telescope whose aberrations grow off the axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.psf._shapes import matrix_of, size_of
from astroflat.psf._smooth import fit_map
from astroflat.psf.field import PSFField
from astroflat.psf.optics import Telescope, render
from astroflat.psf.stars import measure_kernel

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ['ZernikeField', 'simulate_field']

# Places along each axis at which the widths are measured.
_PLACES = 5
_DEGREE = 4


@dataclass(frozen=True)
class _Aberrations:
    """
    Aberrations in waves (rms) at half the diagonal from the axis.

    Parameters
    ----------
    coma, astigmatism, curvature : float
        Growing with the distance, its square, and its square.
    tilt : tuple of float
        Defocus at half the diagonal along x and y.
    constant : dict
        The same everywhere.
    axis : tuple of float
        Optical axis (x, y) in pixels.
    shape : tuple of int
        ``(ny, nx)`` of the image.
    """

    coma: float
    astigmatism: float
    curvature: float
    tilt: tuple[float, float]
    constant: Mapping[int, float]
    axis: tuple[float, float]
    shape: tuple[int, int]

    def at(self, x: float, y: float) -> dict[int, float]:
        """Return the coefficients at a place."""
        half = np.hypot(*self.shape) / 2
        u, v = (x - self.axis[0]) / half, (y - self.axis[1]) / half
        square = u * u + v * v
        grown = {
            4: self.curvature * square + self.tilt[0] * u + self.tilt[1] * v,
            5: self.astigmatism * 2 * u * v,
            6: self.astigmatism * (u * u - v * v),
            7: self.coma * v,
            8: self.coma * u,
        }
        total = {j: grown.get(j, 0.0) for j in {*grown, *self.constant}}
        for j, value in self.constant.items():
            total[j] += value
        return {j: float(value) for j, value in total.items() if value}


class ZernikeField(PSFField):
    """
    A field of stars that comes from wave optics: made by `simulate_field`.

    Parameters
    ----------
    telescope : Telescope
        Pupil, camera and air.

    aberrations : object
        Coefficients as a function of the place.

    Notes
    -----
    Widths and ellipticities are those of Moffat profiles fitted at 25 places, as
    `measure_stars` would find them; `kernel_at` is the diffraction image itself.

    Examples
    --------
    >>> from astroflat.psf import simulate_field
    >>> field = simulate_field(
    ...     (300, 300),
    ...     pupil_diameter=0.2,
    ...     wavelength=550,
    ...     pixel_scale=0.8,
    ...     seeing=2.0,
    ...     astigmatism=0.2,
    ... )
    >>> {j: round(value, 3) for j, value in field.coefficients_at(299, 299).items()}
    {5: 0.199}
    """

    def __init__(self, telescope: Telescope, aberrations: Any) -> None:
        self._telescope, self._aberrations = telescope, aberrations
        shape = aberrations.shape
        table = self._measure(shape)
        columns = (np.asarray(table[n]) for n in ('fwhm', 'ellipticity', 'theta'))
        xx, xy, yy = matrix_of(*columns)
        smooth, _ = fit_map(
            np.asarray(table['x']),
            np.asarray(table['y']),
            np.stack([(xx + yy) / 2, (xx - yy) / 2, xy], axis=1),
            weights=np.ones(len(table)),
            shape=shape,
            degree=_DEGREE,
        )
        table['used'] = True
        super().__init__(smooth, table, beta=float(np.median(table['beta'])))

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
            Waves (rms) by numbers in the order of Noll; those that are 0 are
            left out.
        """
        return self._aberrations.at(float(x), float(y))

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
            Shape of the kernel; by default odd, with a reach of four median
            widths.

        Returns
        -------
        kernel : ndarray of float64
            Sum 1, with the chief ray in the middle: coma moves the centroid.
        """
        shape = size_of(size, 4 * getattr(self, 'fwhm', 1.0))
        return render(self._telescope, self.coefficients_at(x, y), shape)

    def _measure(self, shape: tuple[int, int]) -> Any:
        """Fit the images of stars on a grid of places."""
        from astropy.table import Table

        side = self._side()
        rows = []
        for y in np.linspace(0, shape[0] - 1, _PLACES):
            for x in np.linspace(0, shape[1] - 1, _PLACES):
                fit = measure_kernel(self.kernel_at(x, y, size=side))
                rows.append((x, y, fit.fwhm, 0.0, *fit[3:6]))
        names = ('x', 'y', 'fwhm', 'fwhm_err', 'ellipticity', 'theta', 'beta')
        return Table(rows=rows, names=names, meta={'shape': list(shape)})

    def _side(self) -> int:
        """Return an odd size that holds the image of a star in the worst place."""
        ny, nx = self._aberrations.shape
        corners = [(x, y) for x in (0, nx - 1) for y in (0, ny - 1)]
        waves = max(
            sum(abs(value) for value in self.coefficients_at(x, y).values())
            for x, y in corners
        )
        scale = self._telescope
        reach = scale.resolution * (4 + 8 * waves)
        return 2 * int(np.ceil(reach + 2.5 * scale.seeing / scale.pixel_scale + 3)) + 1


def simulate_field(
    shape: tuple[int, int],
    *,
    pupil_diameter: Any,
    wavelength: Any,
    pixel_scale: Any,
    obstruction: float = 0.0,
    seeing: Any = 0.0,
    coma: float = 0.0,
    astigmatism: float = 0.0,
    curvature: float = 0.0,
    tilt: tuple[float, float] = (0.0, 0.0),
    constant: Mapping[int, float] | None = None,
    axis: tuple[float, float] | None = None,
) -> ZernikeField:
    """
    Simulate stars over the field of a telescope.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the image.

    pupil_diameter : float or `~astropy.units.Quantity`
        Diameter of the pupil in metres.

    wavelength : float or `~astropy.units.Quantity`
        Wavelength in nanometres.

    pixel_scale : float or `~astropy.units.Quantity`
        Arcseconds per pixel.

    obstruction : float, optional
        Diameter of the central obstruction over that of the pupil.

    seeing : float or `~astropy.units.Quantity`, optional
        Full width at half maximum by the air alone, in arcseconds.

    coma : float, optional
        In waves (rms) at half the diagonal from the axis. It grows with the
        distance and points away from the axis.

    astigmatism : float, optional
        The same; it grows with the square of the distance.

    curvature : float, optional
        Defocus by the curvature of the field; it grows with the square of the
        distance.

    tilt : tuple of float, optional
        Defocus by a tilted detector, half the diagonal along x and along y.

    constant : dict, optional
        Coefficients that are the same everywhere, by numbers in the order of
        Noll: 4 for focus, 7 and 8 for a collimation that is off, 11 for
        spherical aberration.

    axis : tuple of float, optional
        Optical axis (x, y) in pixels; by default the middle.

    Returns
    -------
    field : ZernikeField
        Widths, shapes and kernels at every place.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    These are the aberrations of third order of a centred system, and those of a
    focus, a tilt and a collimation that are off.

    References
    ----------
    Born, M. and Wolf, E., Principles of Optics, chapter 5.3

    Examples
    --------
    >>> from astroflat.psf import simulate_field
    >>> field = simulate_field(
    ...     (400, 600),
    ...     pupil_diameter=0.25,
    ...     wavelength=550,
    ...     pixel_scale=0.9,
    ...     seeing=2.0,
    ...     curvature=0.5,
    ... )
    >>> bool(field.fwhm_at(0, 0) > 1.2 * field.fwhm_at(300, 200))
    True
    """
    telescope = Telescope.of(
        pupil_diameter, wavelength, pixel_scale, obstruction, seeing
    )
    ny, nx = size_of(shape, 0)
    aberrations = _Aberrations(
        coma,
        astigmatism,
        curvature,
        tilt,
        dict(constant or {}),
        axis or ((nx - 1) / 2, (ny - 1) / 2),
        (ny, nx),
    )
    return ZernikeField(telescope, aberrations)
