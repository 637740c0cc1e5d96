# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Zernike polynomials in the order and with the norm of Noll."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ['noll_to_nm', 'zernike']


def noll_to_nm(j: int) -> tuple[int, int]:
    """
    Return the radial and azimuthal order of a Zernike polynomial.

    Parameters
    ----------
    j : int
        Number in the order of Noll, from 1.

    Returns
    -------
    n, m : int
        Radial order, and azimuthal order: positive for cosines, negative for
        sines. Even j are cosines, odd ones sines.

    Raises
    ------
    ValueError
        If the number is below 1.

    References
    ----------
    Noll, R. J. 1976, JOSA 66, 207, doi:10.1364/JOSA.66.000207

    Examples
    --------
    >>> from astroflat.psf import noll_to_nm
    >>> [noll_to_nm(j) for j in (1, 2, 3, 4, 5, 6, 7, 8, 11)]
    [(0, 0), (1, 1), (1, -1), (2, 0), (2, -2), (2, 2), (3, -1), (3, 1), (4, 0)]
    """
    if j < 1 or int(j) != j:
        msg = f'j must be a whole number from 1 on, not {j!r}'
        raise ValueError(msg)
    j = int(j)
    n = (math.isqrt(8 * j - 7) - 1) // 2
    # Within an order the azimuthal numbers grow, each but zero twice.
    place = j - n * (n + 1) // 2 - 1
    m = 2 * ((place + 1) // 2) if n % 2 == 0 else 2 * (place // 2) + 1
    return n, m if j % 2 == 0 else -m


def zernike(j: int, rho: Any, *, theta: Any = 0.0) -> np.ndarray:
    """
    Compute a Zernike polynomial.

    Parameters
    ----------
    j : int
        Number in the order of Noll: 1 piston, 2 and 3 tilt along x and y, 4
        defocus, 5 and 6 astigmatism (sine, cosine), 7 and 8 coma along y and x,
        9 and 10 trefoil (sine, cosine), 11 spherical aberration.

    rho : array_like
        Distance from the centre over the radius of the pupil.

    theta : array_like, optional
        Angle in radians, from +x to +y.

    Returns
    -------
    values : ndarray
        Of rms 1 over the circle ``rho <= 1``, and not cut at its edge.

    References
    ----------
    Noll, R. J. 1976, JOSA 66, 207, doi:10.1364/JOSA.66.000207

    Examples
    --------
    >>> from astroflat.psf import zernike
    >>> zernike(4, [0.0, 1.0])  # sqrt(3) (2 rho² - 1)
    array([-1.73205081,  1.73205081])
    """
    n, m = noll_to_nm(j)
    rho, theta = np.asarray(rho, dtype=np.float64), np.asarray(theta, dtype=np.float64)
    radial = np.zeros_like(rho)
    for k in range((n - abs(m)) // 2 + 1):
        factor = (-1) ** k * math.comb(n - k, k)
        factor *= math.comb(n - 2 * k, (n - abs(m)) // 2 - k)
        radial = radial + factor * rho ** (n - 2 * k)
    if m == 0:
        return math.sqrt(n + 1) * radial
    angle = np.cos(m * theta) if m > 0 else np.sin(-m * theta)
    return math.sqrt(2 * (n + 1)) * radial * angle
