# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The image of a point by a telescope with aberrations, in its own air."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from astroflat.psf._shapes import size_of
from astroflat.psf.polynomials import zernike

__all__ = ['Telescope', 'zernike_psf']

_ARCSEC = math.pi / 180 / 3600
_MIN_CELLS, _MAX_CELLS = 96, 1024
# Waves between neighbouring cells of the pupil; at 0.5 the image would wrap.
_MAX_STEP = 0.3


@dataclass(frozen=True)
class Telescope:
    """
    A pupil, a camera and the air above.

    Parameters
    ----------
    pupil_diameter : float
        In metres.

    wavelength : float
        In nanometres.

    pixel_scale : float
        In arcseconds per pixel.

    obstruction : float, optional
        Diameter of the central obstruction over that of the pupil.

    seeing : float, optional
        Full width at half maximum of a long exposure by the air alone, in
        arcseconds.
    """

    pupil_diameter: float
    wavelength: float
    pixel_scale: float
    obstruction: float = 0.0
    seeing: float = 0.0

    def __post_init__(self) -> None:
        for name in ('pupil_diameter', 'wavelength', 'pixel_scale'):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                msg = f'{name} must be positive and finite, not {value!r}'
                raise ValueError(msg)
        if not 0 <= self.obstruction < 1:
            msg = f'obstruction must be in [0, 1), not {self.obstruction!r}'
            raise ValueError(msg)
        if not 0 <= self.seeing < math.inf:
            msg = f'seeing must not be negative, but is {self.seeing!r}'
            raise ValueError(msg)

    @classmethod
    def of(
        cls,
        pupil_diameter: Any,
        wavelength: Any,
        pixel_scale: Any,
        obstruction: float,
        seeing: Any,
    ) -> Telescope:
        """
        Take numbers or quantities.

        Parameters
        ----------
        pupil_diameter, wavelength, pixel_scale, obstruction
            As in the class.

        seeing : float, `~astropy.units.Quantity` or None
            `None` is not known yet, and 0.

        Returns
        -------
        telescope : Telescope
            In metres, nanometres and arcseconds.
        """
        return cls(
            _number(pupil_diameter, 'm'),
            _number(wavelength, 'nm'),
            _number(pixel_scale, 'arcsec'),
            float(obstruction),
            0.0 if seeing is None else _number(seeing, 'arcsec'),
        )

    @property
    def resolution(self) -> float:
        """``wavelength / pupil_diameter`` in pixels."""
        angle = self.wavelength * 1e-9 / self.pupil_diameter
        return angle / (self.pixel_scale * _ARCSEC)


def zernike_psf(
    shape: int | tuple[int, int],
    coefficients: Any,
    *,
    pupil_diameter: Any,
    wavelength: Any,
    pixel_scale: Any,
    obstruction: float = 0.0,
    seeing: Any = 0.0,
) -> np.ndarray:
    r"""
    Compute the image of a star through a telescope with aberrations.

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the array, ``(ny, nx)``.

    coefficients : dict or sequence
        Coefficients of Zernike polynomials, keyed by their number in the order
        of Noll, or from number 1 on. In waves (rms), or quantities of length.

    pupil_diameter : float or `~astropy.units.Quantity`
        Diameter of the pupil in metres.

    wavelength : float or `~astropy.units.Quantity`
        Wavelength in nanometres.

    pixel_scale : float or `~astropy.units.Quantity`
        Arcseconds per pixel.

    obstruction : float, optional
        Diameter of the central obstruction over that of the pupil.

    seeing : float or `~astropy.units.Quantity`, optional
        Full width at half maximum in arcseconds of a long exposure through the
        air alone.

    Returns
    -------
    psf : ndarray of float64
        Sum 1, integrated over pixels, centred on the middle of the array. A
        tilt of a waves moves it by ``4 a wavelength / pupil_diameter``, to +x
        for number 2 and to +y for number 3.

    Raises
    ------
    ValueError
        If an argument is out of range, or the array or the aberrations are too
        large for a pupil of 1024 cells.

    Notes
    -----
    The autocorrelation of the pupil, padded to twice its size, is the transfer
    function of the telescope. It is multiplied by those of the air,
    :math:`\exp(-3.44 (\lambda f / r_0)^{5/3})` with
    :math:`r_0 = 0.976 \lambda / \mathrm{seeing}`, and of the pixels, and
    transformed for exactly the pixels wanted: any scale, nothing interpolated.

    References
    ----------
    Noll, R. J. 1976, JOSA 66, 207, doi:10.1364/JOSA.66.000207

    Fried, D. L. 1966, JOSA 56, 1372, doi:10.1364/JOSA.56.001372

    Examples
    --------
    >>> from astroflat.psf import zernike_psf
    >>> coma = zernike_psf(
    ...     31, {8: 0.1}, pupil_diameter=0.2, wavelength=550, pixel_scale=0.3
    ... )
    >>> coma.shape, round(float(coma.sum()), 9)
    ((31, 31), 1.0)
    """
    telescope = Telescope.of(
        pupil_diameter, wavelength, pixel_scale, obstruction, seeing
    )
    return render(telescope, _waves(coefficients, telescope), size_of(shape, 0))


def render(
    telescope: Telescope, waves: Mapping[int, float], shape: tuple[int, int]
) -> np.ndarray:
    """
    Compute the image of a star.

    Parameters
    ----------
    telescope : Telescope
        The telescope.

    waves : dict
        Coefficients in waves.

    shape : tuple of int
        ``(ny, nx)``.

    Returns
    -------
    psf : ndarray of float64
        Sum 1.
    """
    n = _cells(telescope, waves, shape)
    phase = sum(value * _polynomial(j, n) for j, value in waves.items())
    pupil = _pupil(n, telescope.obstruction) * np.exp(2j * np.pi * phase)
    spectrum = np.fft.fft2(pupil, (2 * n, 2 * n))
    transfer = np.fft.ifft2(spectrum.real**2 + spectrum.imag**2)
    lags = np.fft.fftfreq(2 * n, 1 / (2 * n)) / n
    transfer *= _air(telescope, lags)
    # What a pixel sees of a wave, then the wave at the middle of each pixel.
    pixel = np.sinc(lags / telescope.resolution)
    rows, columns = (
        pixel
        * np.exp(-2j * np.pi * np.outer(_places(side), lags / telescope.resolution))
        for side in shape
    )
    psf = (rows @ transfer @ columns.T).real
    # Rounding, where no light falls.
    psf = np.maximum(psf, 0)
    return psf / psf.sum()


def _places(side: int) -> np.ndarray:
    """Return the places of pixels from the middle of an array."""
    return np.arange(side) - (side - 1) / 2


def _air(
    telescope: Telescope, lags: np.ndarray, across: np.ndarray | None = None
) -> np.ndarray | float:
    """Return the transfer function of a long exposure through the air."""
    if telescope.seeing == 0:
        return 1.0
    wave = telescope.wavelength * 1e-9
    fried = 0.976 * wave / (telescope.seeing * _ARCSEC)
    distance = telescope.pupil_diameter * np.hypot(
        lags[:, None], lags if across is None else across
    )
    return np.exp(-3.44 * (distance / fried) ** (5 / 3))


def _cells(
    telescope: Telescope,
    waves: Mapping[int, float],
    shape: tuple[int, int],
    least: int = _MIN_CELLS,
) -> int:
    """Return how many cells the pupil needs across."""
    # The image repeats itself after as many resolutions as there are cells.
    wanted = 2.2 * max(shape) / telescope.resolution
    coarse = 64
    phase = sum(value * _polynomial(j, coarse) for j, value in waves.items())
    if np.ndim(phase):
        inside = _pupil(coarse, telescope.obstruction) == 1
        steps = [np.abs(np.diff(phase, axis=axis)) for axis in (0, 1)]
        both = [inside[1:] & inside[:-1], inside[:, 1:] & inside[:, :-1]]
        steepest = max(step[on].max() for step, on in zip(steps, both, strict=True))
        wanted = max(wanted, coarse * steepest / _MAX_STEP)
    if wanted > _MAX_CELLS:
        msg = (
            f'the image needs a pupil of {wanted:.0f} cells, more than {_MAX_CELLS}; '
            'take a smaller shape, smaller coefficients or defocus_kernel'
        )
        raise ValueError(msg)
    return max(least, 2 * math.ceil(wanted / 2))


@lru_cache(maxsize=16)
def _pupil(n: int, obstruction: float) -> np.ndarray:
    """Return the part of each cell that is open."""
    from photutils.geometry import circular_overlap_grid

    pupil = circular_overlap_grid(-1, 1, -1, 1, n, n, 1.0, 1, 1)
    if obstruction > 0:
        pupil = pupil - circular_overlap_grid(-1, 1, -1, 1, n, n, obstruction, 1, 1)
    pupil.setflags(write=False)
    return pupil


@lru_cache(maxsize=64)
def _polynomial(j: int, n: int) -> np.ndarray:
    """Return a Zernike polynomial in the middles of the cells."""
    place = (2 * np.arange(n) + 1) / n - 1
    values = zernike(
        j,
        np.hypot(place[:, None], place),
        theta=np.arctan2(place[:, None], place),
    )
    values.setflags(write=False)
    return values


def _number(value: Any, unit: str) -> float:
    """Return a number or quantity in a unit."""
    if hasattr(value, 'to_value'):
        return float(value.to_value(unit))
    return float(value)


def _waves(coefficients: Any, telescope: Telescope) -> dict[int, float]:
    """Return coefficients in waves, keyed by their numbers; piston does nothing."""
    if not isinstance(coefficients, Mapping):
        coefficients = dict(enumerate(coefficients, start=1))
    waves = {}
    for j, value in coefficients.items():
        if hasattr(value, 'to_value'):
            value = value.to_value('nm') / telescope.wavelength
        if not math.isfinite(value):
            msg = f'coefficient {j} must be finite, not {value!r}'
            raise ValueError(msg)
        if value != 0 and j != 1:
            waves[int(j)] = float(value)
    return waves
