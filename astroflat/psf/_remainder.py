# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What stars have more than a Moffat profile, as a function of the place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from astroflat.psf._shapes import APERTURE, centroid_within, place_in_grid, size_of
from astroflat.psf.kernels import moffat_kernel

__all__ = [
    'Remainder',
    'composed',
    'place_terms',
    'spline',
    'spline_basis',
    'unwarped',
    'warped',
]

_DIGITS = 6
# Distance in steps from which on knots are farther and farther apart.
_DENSE = 6.0


@dataclass(frozen=True)
class Remainder:
    """
    A measured image that is added to a Moffat profile of unit sum.

    Parameters
    ----------
    step : float
        Distance of the knots in pixels, near the centre. It grows outwards.

    coefficients : ndarray
        ``(n_terms, n, n)``: cubic B-splines around the centre of the profile, times
        1, x and y of the place, -1 to 1 along the longer side of the image.

    shape : tuple of int
        ``(ny, nx)`` of the image.

    limits : tuple of float
        ``x0, x1, y0, y1``: what the stars cover. Outside the nearest edge holds.

    numbers : dict
        How it was found, for the report.
    """

    step: float
    coefficients: np.ndarray
    shape: tuple[int, int]
    limits: tuple[float, float, float, float]
    numbers: dict[str, Any]

    def at(self, x: float, y: float) -> np.ndarray:
        """
        Return the coefficients at a place.

        Parameters
        ----------
        x, y : float
            Place in pixels.

        Returns
        -------
        coefficients : ndarray
            ``(n, n)``.
        """
        terms = place_terms(x, y, self.shape, self.limits, len(self.coefficients))
        return np.tensordot(terms, self.coefficients, 1)

    def image(
        self, x: float, y: float, rows: np.ndarray, columns: np.ndarray
    ) -> np.ndarray:
        """
        Return the image at a place.

        Parameters
        ----------
        x, y : float
            Place in pixels.

        rows, columns : ndarray
            Distances of the pixels from the centre of the profile, 1-D.

        Returns
        -------
        image : ndarray of float64
            Per pixel, for a profile of the sum 1.
        """
        n = self.coefficients.shape[1]
        v, u = warped(rows / self.step, columns / self.step)
        values = (spline_basis(v, n) @ self.at(x, y) * spline_basis(u, n)).sum(axis=1)
        return values.reshape(len(rows), len(columns))

    def to_dict(self) -> dict[str, Any]:
        """
        Return it in plain numbers.

        Returns
        -------
        plain : dict
            For `from_dict`.
        """
        scale = 10.0 ** (_DIGITS - math.floor(math.log10(self._largest())))
        whole = np.round(self.coefficients * scale).astype(int)
        return {
            'step': self.step,
            'scale': scale,
            'coefficients': whole.tolist(),
            'limits': [float(value) for value in self.limits],
            'numbers': dict(self.numbers),
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any], shape: tuple[int, int]) -> Remainder:
        """
        Make it again.

        Parameters
        ----------
        plain : dict
            What `to_dict` returned.

        shape : tuple of int
            ``(ny, nx)`` of the image.

        Returns
        -------
        remainder : Remainder
            As it was, to six digits.
        """
        return cls(
            float(plain['step']),
            np.asarray(plain['coefficients'], dtype=np.float64) / plain['scale'],
            shape,
            tuple(plain['limits']),
            dict(plain['numbers']),
        )

    def _largest(self) -> float:
        return max(float(np.abs(self.coefficients).max()), 1e-30)


def composed(
    remainder: Remainder,
    x: float,
    y: float,
    fwhm: float,
    shape: dict[str, float],
    size: Any = None,
) -> np.ndarray:
    """
    Return the image of a star with all that was measured.

    Parameters
    ----------
    remainder : Remainder
        What is added to the profile.

    x, y : float
        Place in pixels.

    fwhm : float
        Width of the profile.

    shape : dict
        ``beta``, ``ellipticity`` and ``theta`` of the profile.

    size : int or tuple of int, optional
        As in `moffat_kernel`.

    Returns
    -------
    kernel : ndarray of float64
        Sum 1, not negative, with the centroid of the light within two widths in the
        middle.
    """
    side = size_of(None, 4 * fwhm / math.sqrt(1 - shape['ellipticity']))
    middle = (0.0, 0.0)
    # The centroid moves a little with the phase in the pixel, and with what is cut off
    # below 0.
    for _ in range(3):
        kernel = _added(remainder, (x, y), fwhm, shape, side, middle)
        row, column = centroid_within(kernel, APERTURE * fwhm)
        dy, dx = row - (side[0] - 1) / 2, column - (side[1] - 1) / 2
        middle = (middle[0] - dx, middle[1] - dy)
    return _added(
        remainder, (x, y), fwhm, shape, size_of(size, side[0] / 2 - 1), middle
    )


def _added(
    remainder: Remainder,
    place: tuple[float, float],
    fwhm: float,
    shape: dict[str, float],
    size: tuple[int, int],
    offset: tuple[float, float],
) -> np.ndarray:
    """Return profile and remainder with the centre of the profile at an offset."""
    kernel = moffat_kernel(fwhm, size=size, offset=offset, **shape)
    # The profile has the sum 1 in a large array; here its wings may be cut off.
    y, x = (values.ravel() for values in place_in_grid(size, offset))
    kernel = np.maximum(kernel + remainder.image(*place, y, x), 0)
    return kernel / kernel.sum()


def place_terms(
    x: float,
    y: float,
    shape: tuple[int, int],
    limits: tuple[float, float, float, float],
    n: int,
) -> np.ndarray:
    """
    Return 1, and x and y of a place if they count.

    Parameters
    ----------
    x, y : float
        Place in pixels.

    shape : tuple of int
        ``(ny, nx)`` of the image.

    limits : tuple of float
        What the stars cover.

    n : int
        1 or 3.

    Returns
    -------
    terms : ndarray
        Of length n.
    """
    half = max(shape) / 2
    u = (min(max(x, limits[0]), limits[1]) - (shape[1] - 1) / 2) / half
    v = (min(max(y, limits[2]), limits[3]) - (shape[0] - 1) / 2) / half
    return np.array([1.0, u, v])[:n]


def warped(rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Return where pixels are among the knots.

    Parameters
    ----------
    rows, columns : ndarray
        Distances from the centre in steps, 1-D.

    Returns
    -------
    rows, columns : ndarray
        Of each pixel, 1-D.

    Notes
    -----
    Distances r become d arsinh(r / d), so that few knots reach into the wings.
    """
    v, u = (a.ravel() for a in np.meshgrid(rows, columns, indexing='ij'))
    r = np.maximum(np.hypot(v, u), 1e-9)
    factor = _DENSE * np.arcsinh(r / _DENSE) / r
    return factor * v, factor * u


def unwarped(n: int) -> np.ndarray:
    """
    Return how far knots are from the centre.

    Parameters
    ----------
    n : int
        Knots along an axis, odd.

    Returns
    -------
    distances : ndarray
        ``(n, n)`` in steps.
    """
    knots = np.arange(n) - n // 2
    return _DENSE * np.sinh(np.hypot(knots[:, None], knots) / _DENSE)


def spline_basis(values: np.ndarray, n: int) -> np.ndarray:
    """
    Return cubic B-splines on whole numbers around 0.

    Parameters
    ----------
    values : ndarray
        Places in steps, 1-D.

    n : int
        How many, odd.

    Returns
    -------
    basis : ndarray
        ``(len(values), n)``.
    """
    return spline(np.asarray(values)[:, None] - (np.arange(n) - n // 2))


def spline(values: np.ndarray) -> np.ndarray:
    """
    Return a cubic B-spline around 0.

    Parameters
    ----------
    values : ndarray
        Places in steps.

    Returns
    -------
    spline : ndarray
        0 from two steps on.
    """
    apart = np.abs(values)
    inner = 2 / 3 - apart**2 + apart**3 / 2
    outer = np.maximum(2 - apart, 0) ** 3 / 6
    return np.where(apart < 1, inner, outer)
