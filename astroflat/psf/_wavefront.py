# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The image of a star by a telescope, and how it changes with each aberration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from astroflat.psf.optics import _air, _cells, _places, _polynomial, _pupil

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from astroflat.psf.optics import Telescope

__all__ = ['Wavefront']

# Room for what the fit adds to the aberrations that it starts from.
_ROOM = 1.3
# Cells across the pupil; fewer than where a single image is wanted.
_LEAST = 64


class Wavefront:
    """
    Images and their derivatives, for one telescope and one size of stamps.

    Parameters
    ----------
    telescope : Telescope
        Pupil, camera and air; its seeing is not used.

    terms : sequence of int
        Numbers of the polynomials in the order of Noll.

    shape : tuple of int
        ``(ny, nx)`` of the stamps.

    waves : dict
        The largest coefficients to be expected.
    """

    def __init__(
        self,
        telescope: Telescope,
        terms: Sequence[int],
        shape: tuple[int, int],
        waves: Mapping[int, float],
    ) -> None:
        self.telescope, self.terms, self.shape = telescope, tuple(terms), shape
        largest = {j: _ROOM * value for j, value in waves.items()}
        n = _cells(telescope, largest, shape, _LEAST)
        self.n = n
        self._pupil = _pupil(n, telescope.obstruction)
        self._basis = np.stack([_polynomial(j, n) for j in self.terms])
        # Of a real image half of the frequencies along x are enough, twice.
        self._lags = np.fft.fftfreq(2 * n, 1 / (2 * n)) / n, np.arange(n + 1) / n
        self._twice = np.where((self._lags[1] > 0) & (self._lags[1] < 1), 2.0, 1.0)
        # The light of the whole image, which aberrations do not change, in pixels.
        period = n * telescope.resolution
        self._total = float((self._pupil**2).sum()) * period**2

    def __call__(
        self, coefficients: np.ndarray, place: tuple[float, float], seeing: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """
        Return an image and its derivatives.

        Parameters
        ----------
        coefficients : ndarray
            Waves (rms), one for each term.

        place : tuple of float
            Where the star is (x, y) from the middle of the stamp, in pixels.

        seeing : float
            In arcseconds, positive.

        Returns
        -------
        image : ndarray
            ``(ny, nx)``; the sum over an endless stamp is 1.

        derivatives : ndarray
            With respect to each coefficient, x, y and the seeing.
        """
        transfer = self._transfers(np.asarray(coefficients, np.float64))
        air, change = self._through_air(seeing)
        transfer *= air
        stack = np.concatenate([transfer, transfer[:1] * change])
        rows, columns = (self._waves(axis, place[1 - axis]) for axis in (0, 1))
        columns *= self._twice
        half = rows @ stack
        images = (half @ columns.T).real
        up, along = (
            2j * np.pi * lags / self.telescope.resolution for lags in self._lags
        )
        dx = (half[0] @ (columns * along).T).real
        dy = ((rows * up) @ transfer[0] @ columns.T).real
        return images[0], np.stack([*images[1:-1], dx, dy, images[-1]])

    def _transfers(self, coefficients: np.ndarray) -> np.ndarray:
        """Return the transfer function and its derivatives by the coefficients."""
        from scipy import fft

        phase = np.tensordot(coefficients, self._basis, 1)
        pupil = self._pupil * np.exp(2j * np.pi * phase)
        fields = np.concatenate([pupil[None], self._basis * pupil])
        # First along the rows that are not empty.
        waves = fft.fft(fft.fft(fields, 2 * self.n, axis=-1), 2 * self.n, axis=-2)
        light = np.empty(waves.shape, np.float64)
        light[0] = waves[0].real ** 2 + waves[0].imag ** 2
        # The derivative of |u|² is 2 Re(u* u'), and u' is 2 pi i times a field.
        light[1:] = -4 * np.pi * (waves[0].conj() * waves[1:]).imag
        return fft.rfft2(light).conj() / (self._total * 4 * self.n**2)

    def _through_air(self, seeing: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the transfer function of the air, and its logarithmic derivative."""
        from dataclasses import replace

        air = _air(replace(self.telescope, seeing=seeing), *self._lags)
        return air, 5 / 3 * np.log(np.maximum(air, 1e-300)) / seeing

    def _waves(self, axis: int, shift: float) -> np.ndarray:
        """Return each frequency at the middle of each pixel along one axis."""
        places = _places(self.shape[axis]) - shift
        frequencies = self._lags[axis] / self.telescope.resolution
        turns = np.outer(places, frequencies)
        return np.sinc(frequencies) * np.exp(-2j * np.pi * turns)
