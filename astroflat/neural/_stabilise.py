# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Noise of standard deviation 1 everywhere: the generalised Anscombe transform.

With ``x`` the electrons of a pixel and ``c = 3/8 + readnoise**2``, the
transform is ``2 sqrt(x + c)``. Below zero, where only read noise is left, it
goes on along its tangent, so that every number has an image and comes back:
nothing is clipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

__all__ = ['NoiseModel', 'expectation']

# Means in electrons for which the expectation of the transform is tabulated.
# Above the last the correction has come to its limit of a quarter electron.
_HIGHEST = 1000.0
_N_MEANS = 240


@dataclass(frozen=True)
class NoiseModel:
    """
    Noise of a detector, and the transform that makes it 1 everywhere.

    Parameters
    ----------
    gain : float
        Electrons per unit of the data.
    readnoise : float
        Standard deviation of the readout in electrons.
    offset : float, optional
        Value of a pixel without light, in the unit of the data.

    Raises
    ------
    ValueError
        If the gain is not positive or the read noise negative.

    Notes
    -----
    The inverse of a mean of transformed values is not the algebraic one; the
    exact unbiased inverse is found by summing over the Poisson and the normal
    distribution for this read noise.

    References
    ----------
    Mäkitalo, M. and Foi, A. 2013, IEEE Transactions on Image Processing 22,
    91, doi:10.1109/TIP.2012.2202675

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.neural._stabilise import NoiseModel
    >>> noise = NoiseModel(gain=2.0, readnoise=5.0, offset=100.0)
    >>> z = noise.forward(np.array([90.0, 100.0, 2100.0]))
    >>> noise.inverse(z).round(6).tolist()
    [90.0, 100.0, 2100.0]
    >>> noise.sigma(np.array([100.0, 2100.0])).round(2).tolist()
    [2.5, 31.72]
    """

    gain: float
    readnoise: float
    offset: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if not (self.gain > 0 and np.isfinite(self.gain)):
            msg = f'gain must be a positive number of electrons, not {self.gain}'
            raise ValueError(msg)
        if not (self.readnoise >= 0 and np.isfinite(self.readnoise)):
            msg = f'readnoise must not be negative, but is {self.readnoise}'
            raise ValueError(msg)
        if not np.isfinite(self.offset):
            msg = f'offset must be finite, not {self.offset}'
            raise ValueError(msg)

    @property
    def _c(self) -> float:
        return 0.375 + self.readnoise**2

    @property
    def zero(self) -> float:
        """Transformed value of a pixel without light."""
        return 2.0 * self._c**0.5

    def sigma(self, level: np.ndarray) -> np.ndarray:
        """
        Return the standard deviation of the noise.

        Parameters
        ----------
        level : ndarray
            True values in the unit of the data.

        Returns
        -------
        ndarray
            Standard deviation in the unit of the data.
        """
        electrons = np.maximum((level - self.offset) * self.gain, 0.0)
        return np.sqrt(electrons + self.readnoise**2) / self.gain

    def forward(self, data: np.ndarray) -> np.ndarray:
        """
        Transform data to noise of standard deviation 1.

        Parameters
        ----------
        data : ndarray
            Data; NaN stay NaN.

        Returns
        -------
        ndarray of float64
            Transformed values.
        """
        electrons = (np.asarray(data, dtype=np.float64) - self.offset) * self.gain
        result = np.sqrt(np.maximum(electrons, 0.0) + self._c)
        result *= 2.0
        result += np.minimum(electrons, 0.0) / self._c**0.5
        return result

    def inverse(self, values: np.ndarray) -> np.ndarray:
        """
        Undo `forward`.

        Parameters
        ----------
        values : ndarray
            Transformed values.

        Returns
        -------
        ndarray of float64
            Data.
        """
        values = np.asarray(values, dtype=np.float64)
        electrons = np.maximum(values, self.zero) ** 2 / 4.0 - self._c
        electrons += np.minimum(values - self.zero, 0.0) * self._c**0.5
        return electrons / self.gain + self.offset

    def correction(self, values: np.ndarray) -> np.ndarray:
        """
        Return what the unbiased inverse of a mean adds to `inverse`.

        Parameters
        ----------
        values : ndarray
            Means of transformed values.

        Returns
        -------
        ndarray of float64
            Difference in the unit of the data.
        """
        means, difference = _table(float(self.readnoise))
        return np.interp(values, means, difference) / self.gain

    def unbiased(self, values: np.ndarray) -> np.ndarray:
        """
        Return the data whose transform has these means.

        Parameters
        ----------
        values : ndarray
            Means of transformed values.

        Returns
        -------
        ndarray of float64
            Data. Below the mean of a pixel without light the inverse goes on
            at its distance from `inverse`, without a lower limit.
        """
        return self.inverse(values) + self.correction(values)


def expectation(means: np.ndarray, readnoise: float) -> np.ndarray:
    """
    Return the expectation of the transform of electrons with noise.

    Parameters
    ----------
    means : ndarray
        Means of the Poisson distribution, at most a few thousand.
    readnoise : float
        Standard deviation of the readout in electrons.

    Returns
    -------
    ndarray of float64
        Expectations.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.neural._stabilise import expectation
    >>> expectation(np.array([0.0, 100.0]), 0.0).round(3).tolist()
    [1.225, 20.012]
    """
    from scipy.stats import poisson

    means = np.atleast_1d(np.asarray(means, dtype=np.float64))
    highest = float(means.max())
    counts = np.arange(int(highest + 10.0 * highest**0.5) + 30)
    unit = NoiseModel(gain=1.0, readnoise=readnoise)
    if readnoise > 0:
        # The trapezoidal rule converges fast on a bell-shaped weight.
        nodes = np.linspace(-8.0, 8.0, 401)
        weights = np.exp(-0.5 * nodes**2)
        weights /= weights.sum()
        values = unit.forward(counts[:, None] + readnoise * nodes) @ weights
    else:
        values = unit.forward(counts)
    return poisson.pmf(counts, means[:, None]) @ values


@lru_cache(maxsize=32)
def _table(readnoise: float) -> tuple[np.ndarray, np.ndarray]:
    """Means of the transform, and the unbiased minus the algebraic inverse."""
    electrons = np.linspace(0.0, _HIGHEST**0.5, _N_MEANS) ** 2
    means = expectation(electrons, readnoise)
    unit = NoiseModel(gain=1.0, readnoise=readnoise)
    return means, electrons - unit.inverse(means)
