# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Linear filters of a point-spread function, which the restorer begins with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from astroflat.psf._shapes import APERTURE, centroid_within

__all__ = [
    'EPSILONS',
    'SHARPEST',
    'Kernel',
    'TileFilter',
    'centred',
    'make_kernel',
    'wanted_width',
]

#: Noise relative to the signal that the filters are made for; the first is for
#: the denoised image, the others for the restored ones.
EPSILONS = (0.1, 0.3, 3e-2, 2e-3, 1e-4)
#: No image is made sharper than this full width at half maximum in pixels.
SHARPEST = 1.8
_FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))
# The transform wraps around: beyond its window an image goes over into its other
# end within so many pixels.
_JOIN = 24
# Frequencies that the wanted image does not have are not asked for when it is
# blurred again.
_REBLUR = 1e-4


@dataclass(frozen=True)
class Kernel:
    """
    A point-spread function.

    Parameters
    ----------
    values : ndarray
        Its pixels, with unit sum.
    centre : tuple of float
        Row and column of the centroid of its light within two widths.
    fwhm : float
        Diameter in pixels of a circle with the area above half of its maximum.
    """

    values: np.ndarray
    centre: tuple[float, float]
    fwhm: float

    def transform(self, shape: tuple[int, int]) -> np.ndarray:
        """
        Return its transform on a periodic grid, centroid on the first pixel.

        Parameters
        ----------
        shape : tuple of int
            Rows and columns.

        Returns
        -------
        ndarray of complex128
            ``(ny, nx // 2 + 1)``.
        """
        from scipy import fft

        grid = np.zeros(shape)
        ny, nx = self.values.shape
        rows, columns = np.arange(ny) % shape[0], np.arange(nx) % shape[1]
        np.add.at(grid, (rows[:, None], columns[None]), self.values)
        v, u = fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])
        phase = 2j * np.pi * (v * self.centre[0] + u * self.centre[1])
        return fft.rfft2(grid) * np.exp(phase)


def make_kernel(psf: Any) -> Kernel:
    """
    Check a point-spread function, scale and measure it.

    Parameters
    ----------
    psf : array_like
        Its pixels, ``(ny, nx)``; the sum does not matter.

    Returns
    -------
    Kernel
        With unit sum, its centroid and its width.

    Raises
    ------
    ValueError
        If it is not an image of something bright.
    """
    values = np.array(getattr(psf, 'value', psf), dtype=np.float64)
    if values.ndim != 2 or not np.isfinite(values).all() or not values.sum() > 0:
        msg = (
            f'psf has the shape {values.shape} and the sum {values.sum()}; it must be '
            'a finite image (ny, nx) of a star with a positive sum'
        )
        raise ValueError(msg)
    values /= values.sum()
    fwhm = _full_width(values)
    return Kernel(values, centroid_within(values, APERTURE * fwhm), fwhm)


def centred(kernel: Kernel, side: int) -> np.ndarray:
    """
    Return the image of a star in the middle of a pixel.

    Parameters
    ----------
    kernel : Kernel
        The point-spread function.
    side : int
        Rows and columns, even.

    Returns
    -------
    ndarray of float64
        Its centroid on pixel ``(side // 2, side // 2)``.
    """
    from scipy import fft

    image = fft.irfft2(kernel.transform((side, side)), s=(side, side))
    return np.roll(image, (side // 2, side // 2), (0, 1))


def _full_width(values: np.ndarray) -> float:
    """Diameter of a circle with the area above half of the maximum."""
    from scipy import fft

    # Interpolated four times finer by more frequencies; wide enough not to wrap.
    side = max(64, fft.next_fast_len(max(values.shape) + 8))
    side += side % 2
    spectrum = fft.fft2(values, s=(side, side))
    fine = np.zeros((4 * side, 4 * side), complex)
    half = side // 2
    for rows in (slice(0, half), slice(-half, None)):
        for columns in (slice(0, half), slice(-half, None)):
            fine[rows, columns] = spectrum[rows, columns]
    image = fft.ifft2(fine).real
    area = np.count_nonzero(image > 0.5 * image.max()) / 16.0
    return 2.0 * math.sqrt(area / math.pi)


def wanted_width(fwhm: float, strength: float) -> float:
    """
    Return the width that stars shall have.

    Parameters
    ----------
    fwhm : float
        Their full width at half maximum in pixels.
    strength : float
        0 for as they are, 1 for half.

    Returns
    -------
    float
        At least `SHARPEST`, but never wider than they are.

    Examples
    --------
    >>> from astroflat.neural._restore_filter import wanted_width
    >>> wanted_width(6.0, 1.0), wanted_width(2.5, 1.0), wanted_width(1.5, 1.0)
    (3.0, 1.8, 1.5)
    """
    return min(fwhm, max(fwhm * (1.0 - 0.5 * strength), SHARPEST))


class TileFilter:
    """
    The filters of one point-spread function, for windows of an image.

    Parameters
    ----------
    kernel : Kernel
        The point-spread function.
    strength : float
        How much sharper the image shall be, 0 to 1.

    Attributes
    ----------
    wanted : float
        Full width at half maximum of stars in the result, in pixels.

    Notes
    -----
    Each filter is ``conj(P) T (1 + e) / (|P|**2 + e)``: what Wiener would take for
    a signal as strong at all frequencies, scaled so that the sum of the light
    stays. ``T`` is a round Gaussian, and ``P`` itself if the strength is 0.
    """

    def __init__(self, kernel: Kernel, strength: float) -> None:
        self.kernel, self.strength = kernel, strength
        self.wanted = wanted_width(kernel.fwhm, strength)
        self._made: dict[tuple[int, int], tuple[list[np.ndarray], np.ndarray]] = {}

    @property
    def dials(self) -> np.ndarray:
        """What the network has to know of the filters, ``(1, 6)`` float32."""
        gains = self.gains
        widths = [0.5 * math.log2(w) for w in (self.kernel.fwhm, self.wanted)]
        return np.array([[*widths, *np.log2(gains[1:])]], np.float32)

    @property
    def gains(self) -> np.ndarray:
        """What each filter does to the standard deviation of white noise."""
        filters, _ = self._filters((160, 160))
        twice = np.full(filters[0].shape[1], 2.0)
        twice[0] = twice[-1] = 1.0
        sums = [float((np.abs(f) ** 2 * twice).sum()) for f in filters]
        return np.sqrt(sums) / 160.0

    def spectra(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """
        Return the transforms of the point-spread function and of the wanted one.

        Parameters
        ----------
        shape : tuple of int
            Rows and columns.

        Returns
        -------
        tuple of ndarray
            ``(ny, nx // 2 + 1)`` each.
        """
        point = self.kernel.transform(shape)
        if self.strength == 0:
            return point, point
        return point, _gaussian(shape, self.wanted / _FWHM)

    def apply(self, window: np.ndarray) -> np.ndarray:
        """
        Filter a window.

        Parameters
        ----------
        window : ndarray
            ``(ny, nx)``.

        Returns
        -------
        ndarray of float32
            The window, denoised, and restored by four filters,
            ``(6, ny, nx)``.
        """
        from scipy import fft

        joined = _join_ends(np.asarray(window, np.float32))
        spectrum = fft.rfft2(joined)
        filters, _ = self._filters(joined.shape)
        planes = np.empty((1 + len(filters), *window.shape), np.float32)
        planes[0] = window
        for plane, made in zip(planes[1:], filters, strict=True):
            filtered = fft.irfft2(spectrum * made, s=joined.shape)
            plane[:] = filtered[: window.shape[0], : window.shape[1]]
        return planes

    def blur_again(self, window: np.ndarray) -> np.ndarray:
        """
        Give a restored window the resolution of the image that it came from.

        Parameters
        ----------
        window : ndarray
            ``(ny, nx)``.

        Returns
        -------
        ndarray of float32
            As the window.
        """
        from scipy import fft

        joined = _join_ends(np.asarray(window, np.float32))
        _, blur = self._filters(joined.shape)
        blurred = fft.irfft2(fft.rfft2(joined) * blur, s=joined.shape)
        return blurred[: window.shape[0], : window.shape[1]].astype(np.float32)

    def _filters(self, shape: tuple[int, int]) -> tuple[list[np.ndarray], np.ndarray]:
        """Make the filters for a shape once."""
        made = self._made.get(shape)
        if made is None:
            # Tiles come in a few shapes; more would only take memory.
            if len(self._made) > 3:
                self._made.clear()
            made = self._made[shape] = self._make(shape)
        return made

    def _make(self, shape: tuple[int, int]) -> tuple[list[np.ndarray], np.ndarray]:
        """Make the filters, and that which blurs again."""
        point, target = self.spectra(shape)
        power = np.abs(point) ** 2
        filters = []
        for i, epsilon in enumerate(EPSILONS):
            wanted = point if i == 0 else target
            made = point.conj() * wanted * ((1.0 + epsilon) / (power + epsilon))
            filters.append(made.astype(np.complex64))
        blur = (
            point * target.conj() * ((1.0 + _REBLUR) / (np.abs(target) ** 2 + _REBLUR))
        )
        return filters, blur.astype(np.complex64)


def _gaussian(shape: tuple[int, int], sigma: float) -> np.ndarray:
    """Transform of a sampled Gaussian of unit sum around the first pixel."""
    from scipy import fft

    profiles = []
    for n in shape:
        x = fft.fftfreq(n, 1.0 / n)
        profile = np.exp(-0.5 * (x / sigma) ** 2)
        profiles.append(profile / profile.sum())
    return fft.fft(profiles[0])[:, None] * fft.rfft(profiles[1])


def _join_ends(window: np.ndarray) -> np.ndarray:
    """Continue a window until its end goes over into its beginning."""
    from scipy import fft

    for axis in (0, 1):
        n = window.shape[axis]
        size = fft.next_fast_len(n + _JOIN)
        size += size % 2
        more = size - n
        ahead = np.take(window, n - 1 - np.arange(more) % n, axis=axis)
        back = np.take(window, (more - 1 - np.arange(more)) % n, axis=axis)
        weight = ((np.arange(more) + 0.5) / more).astype(np.float32)
        weight = weight[:, None] if axis == 0 else weight
        window = np.concatenate(
            (window, ahead * (1.0 - weight) + back * weight), axis=axis
        )
    return window
