# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Restore a plane whose stars are so wide that fewer pixels would do."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from astroflat.neural._local_level import fill_bad
from astroflat.neural._restore_filter import Kernel, TileFilter, make_kernel
from astroflat.neural._restore_spikes import find_spikes

if TYPE_CHECKING:
    from collections.abc import Callable

    from astroflat.neural._restore_plane import Found
    from astroflat.neural._stabilise import NoiseModel

__all__ = ['bin_factor', 'restore_binned']

# Widest stars that the network is trained for, and what wider ones are brought to.
_WIDEST, _WANTED = 7.0, 6.5


def bin_factor(fwhm: float) -> int:
    """
    Return the side of the bins for stars of a width.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum in pixels.

    Returns
    -------
    int
        1 up to 7 pixels.

    Examples
    --------
    >>> from astroflat.neural._restore_binned import bin_factor
    >>> bin_factor(3.0), bin_factor(10.0), bin_factor(15.0)
    (1, 2, 3)
    """
    return 1 if fwhm <= _WIDEST else math.ceil(fwhm / _WANTED)


@dataclass
class _Binned:
    """Filters for binned pixels."""

    at_full: Callable[[float, float], TileFilter]
    factor: int
    made: dict[int, TileFilter] = field(default_factory=dict)

    def at(self, x: float, y: float) -> TileFilter:
        """Return the filters at a place, in binned pixels."""
        full = self.at_full(self.factor * x, self.factor * y)
        key = id(full.kernel)
        made = self.made.get(key)
        if made is None:
            if len(self.made) > 64:
                self.made.clear()
            kernel = _bin_kernel(full.kernel, self.factor)
            made = self.made[key] = TileFilter(kernel, full.strength)
        return made


def restore_binned(
    restore: Callable[..., Found],
    factor: int,
    data: np.ndarray,
    bad: np.ndarray,
    full: np.ndarray,
    noise: NoiseModel,
    at: Callable[[float, float], TileFilter],
) -> Found:
    """
    Restore means of bins, and interpolate what comes out.

    Parameters
    ----------
    restore : callable
        ``restore(data, bad, full, noise, at)`` restores a plane.
    factor : int
        Side of the bins.
    data : ndarray
        Plane ``(ny, nx)``.
    bad, full : ndarray of bool
        Bad and saturated pixels.
    noise : NoiseModel
        Noise of the plane.
    at : callable
        ``at(x, y)`` gives the filters at a place.

    Returns
    -------
    Found
        For the pixels of the plane.

    Notes
    -----
    Stars more than seven pixels wide hold nothing that bins do not: the spline
    between them has all that there is.
    """
    filled = fill_bad(data.astype(np.float32), bad)
    kernel = at(data.shape[1] / 2.0, data.shape[0] / 2.0).kernel
    spikes = find_spikes(filled, noise.sigma(filled), kernel) & ~full
    bad = bad | spikes
    filled = fill_bad(filled, spikes)
    small = _means(filled, factor)
    wide_noise = replace(
        noise, gain=noise.gain * factor**2, readnoise=noise.readnoise * factor
    )
    found = restore(
        small,
        _means(bad.astype(np.float32), factor) > 0.5,
        _means(full.astype(np.float32), factor) > 0.0,
        wide_noise,
        _Binned(at, factor).at,
    )
    restored = _enlarge(small + found.change, factor, data.shape)
    again = _enlarge(small - found.residual, factor, data.shape)
    return replace(
        found,
        change=restored - filled,
        residual=filled - again,
        error=_enlarge(found.error, factor, data.shape, order=1),
        sigma=noise.sigma(again).astype(np.float32),
        spikes=spikes,
    )


def _means(values: np.ndarray, factor: int) -> np.ndarray:
    """Means of bins; the last are filled up by mirroring."""
    more = [(0, -n % factor) for n in values.shape]
    values = np.pad(values, more, mode='symmetric')
    ny, nx = values.shape
    bins = values.reshape(ny // factor, factor, nx // factor, factor)
    return bins.mean(axis=(1, 3), dtype=np.float32)


def _enlarge(
    values: np.ndarray, factor: int, shape: tuple[int, ...], *, order: int = 3
) -> np.ndarray:
    """Interpolate between the middles of bins."""
    from scipy.ndimage import zoom

    # Mirrored around, or the spline would end before the last pixels.
    framed = np.pad(values, 4, mode='symmetric')
    large = zoom(framed, factor, order=order, mode='nearest', grid_mode=True)
    start = 4 * factor
    return large[start : start + shape[0], start : start + shape[1]]


def _bin_kernel(kernel: Kernel, factor: int) -> Kernel:
    """Return the image of a star in the middle of a binned pixel."""
    from scipy import fft

    half = math.ceil(max(kernel.values.shape) / factor) + 2
    side = 2 * half * factor
    spectrum = kernel.transform((side, side))
    v, u = fft.fftfreq(side)[:, None], fft.rfftfreq(side)
    box = [np.sinc(factor * f) / np.sinc(f) for f in (v, u)]
    image = fft.irfft2(spectrum * box[0] * box[1], s=(side, side))
    small = np.roll(image[::factor, ::factor], (half, half), (0, 1))
    return make_kernel(np.maximum(small, 0.0))
