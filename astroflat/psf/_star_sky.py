# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""An image above its background, where stars are looked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from astroflat.psf._star_choice import Choice

__all__ = ['Sky']


def _planes(
    image: Any, mask: Any, saturation: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pixels, which of them are bad, and which are saturated."""
    from astroflat._nddata import unpack
    from astroflat.psf._star_choice import saturation_of

    frame = unpack(image, name='image', ndim=(2, 3))
    if saturation is None:
        saturation = saturation_of(frame.meta)
    data, bad = frame.data, frame.bad
    full = np.zeros(data.shape, bool) if saturation is None else data >= saturation
    if data.ndim == 3:
        data, bad, full = data.mean(axis=2), bad.any(axis=2), full.any(axis=2)
    if mask is not None:
        from astroflat._arrays import as_mask

        extra = np.asarray(mask)
        # A mask of the colours holds where any of them is bad.
        extra = extra.any(axis=2) if extra.ndim == 3 else extra
        bad = bad | as_mask(extra, data.shape)
    return data, bad, full


@dataclass(frozen=True)
class Sky:
    """
    An image above its background.

    Parameters
    ----------
    data : ndarray
        Pixels.
    bad, full : ndarray of bool
        Which are bad, and which are saturated.
    noise : float
        Noise of the sky.
    """

    data: np.ndarray
    bad: np.ndarray
    full: np.ndarray
    noise: float

    @classmethod
    def of(
        cls, image: Any, mask: Any, saturation: float | None, fwhm: float | None
    ) -> Sky:
        """Take an image apart and subtract its background."""
        from astroflat.quality._background import subtract_background

        data, bad, full = _planes(image, mask, saturation)
        box = max(64, math.ceil(8 * (fwhm or 0)))
        data, noise = subtract_background(data, bad, box=box)
        return cls(data, bad, full, noise)

    def middle(self, side: int) -> Sky:
        """Return a square from the middle."""
        starts = [max(0, (n - side) // 2) for n in self.data.shape]
        cut = tuple(slice(start, start + side) for start in starts)
        return Sky(self.data[cut], self.bad[cut], self.full[cut], self.noise)

    def choose(self, width: float, min_snr: float) -> Choice:
        """Choose the stars to fit."""
        from astroflat.psf._star_choice import choose_stars

        return choose_stars(
            self.data,
            self.bad,
            full=self.full,
            fwhm=width,
            min_snr=min_snr,
            noise=self.noise,
        )
