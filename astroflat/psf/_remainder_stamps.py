# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Stars in stamps, and what of them a given image of a star explains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from astroflat.psf._remainder import Remainder
    from astroflat.psf.field import PSFField

__all__ = ['Stamp', 'cut_stamps', 'settle']

# So many of the brightest stars.
_MOST = 200
# Pixels this many widths from another star do not count.
_HIDE = 1.3
# What is more than this many standard deviations off counts less.
_HUBER = 3.0


@dataclass
class Stamp:
    """
    A star, and how it stands in its pixels.

    Parameters
    ----------
    x, y : float
        Place in the image.

    rows, columns : ndarray
        Distances of the pixels from the centre of the star.

    values : ndarray
        Pixels.

    good : ndarray of bool
        Those to use.

    profile : tuple of float
        Width, ellipticity and angle of the Moffat profile.

    noise : float
        Noise of the sky.

    side : int
        Rows and columns of the square around the star.

    part : tuple of slice
        What of it is in the image.

    flux : float
        Its light.
    """

    x: float
    y: float
    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    good: np.ndarray
    profile: tuple[float, float, float]
    noise: float
    side: int
    part: tuple[slice, slice]
    flux: float
    sky: float = 0.0
    spread: float = 0.05
    model: Any = None
    moffat: Any = None
    weight: Any = None

    def draw(self, beta: float, remainder: Remainder | None) -> tuple[Any, Any]:
        """
        Draw the star with the sum 1.

        Parameters
        ----------
        beta : float
            Exponent of the profile.

        remainder : Remainder or None
            What is added to it.

        Returns
        -------
        model, moffat : ndarray
            With and without it.
        """
        from astroflat.psf.kernels import moffat_kernel

        fwhm, ellipticity, theta = self.profile
        # Drawn whole, as its sum is 1 there, also where the image ends in it.
        top, left = (part.start for part in self.part)
        middle = (self.side - 1) / 2
        offset = (left - self.columns[0] - middle, top - self.rows[0] - middle)
        kernel = {'beta': beta, 'ellipticity': ellipticity, 'theta': theta}
        whole = moffat_kernel(fwhm, size=self.side, offset=offset, **kernel)
        moffat = whole[self.part]
        if remainder is None:
            return moffat, moffat
        more = remainder.image(self.x, self.y, self.rows, self.columns)
        return moffat + more, moffat

    @property
    def residual(self) -> np.ndarray:
        """What the profile alone leaves, for the flux 1."""
        return (self.values - self.sky) / self.flux - self.moffat


def cut_stamps(
    data: np.ndarray,
    bad: np.ndarray,
    field: PSFField,
    others: np.ndarray,
    noise: float,
    reach: float,
) -> list[Stamp]:
    """
    Cut out the stars that a field was made of.

    Parameters
    ----------
    data : ndarray
        The image less its background.

    bad : ndarray of bool
        Pixels to ignore.

    field : PSFField
        The field.

    others : ndarray
        Places (x, y) of all that is bright, ``(n, 2)``.

    noise : float
        Noise of the sky.

    reach : float
        Half of the side of a stamp in pixels.

    Returns
    -------
    stamps : list of Stamp
        The brightest first.
    """
    stars = field.table[np.asarray(field.table['used'], dtype=bool)]
    stars = stars[np.argsort(-np.asarray(stars['flux']), kind='stable')][:_MOST]
    half, stamps = math.ceil(reach), []
    known = (np.asarray(stars[name], dtype=np.float64) for name in ('x', 'y', 'flux'))
    for x, y, flux in zip(*known, strict=True):
        column, row = round(float(x)), round(float(y))
        cut = tuple(slice(max(c - half, 0), c + half + 1) for c in (row, column))
        values = data[cut].astype(np.float64)
        rows, columns = (
            np.arange(part.start, part.start + n) - place
            for part, n, place in zip(cut, values.shape, (y, x), strict=True)
        )
        good = ~bad[cut] & np.isfinite(values)
        good &= np.hypot(rows[:, None], columns) <= reach
        for ox, oy in others[np.hypot(*(others - (x, y)).T) < 2 * half]:
            gap = math.hypot(ox - x, oy - y)
            if gap > _HIDE * field.fwhm:
                apart = np.hypot(rows[:, None] - (oy - y), columns - (ox - x))
                good &= apart > min(_HIDE * field.fwhm, gap / 2)
        profile = tuple(float(value) for value in field.shape_at(float(x), float(y)))
        part = tuple(
            slice(p.start - c + half, p.start - c + half + n)
            for p, c, n in zip(cut, (row, column), values.shape, strict=True)
        )
        pixels = rows, columns, values, good
        square = 2 * half + 1, part
        stamps.append(
            Stamp(float(x), float(y), *pixels, profile, noise, *square, float(flux))
        )
    return stamps


def settle(stamp: Stamp, beta: float, remainder: Remainder | None) -> None:
    """
    Fit sky, flux and place of a star to an image of it, in place.

    Parameters
    ----------
    stamp : Stamp
        The star.

    beta : float
        Exponent of the profile.

    remainder : Remainder or None
        What is added to it.
    """
    for _ in range(2 if remainder is None else 1):
        model, _ = stamp.draw(beta, remainder)
        slope_y, slope_x = np.gradient(model)
        weight = _weights(stamp, model)
        terms = np.stack(
            [t[stamp.good] for t in (model, np.ones_like(model), -slope_x, -slope_y)],
            axis=1,
        )
        root = np.sqrt(weight[stamp.good])
        found = np.linalg.lstsq(
            root[:, None] * terms, root * stamp.values[stamp.good], rcond=None
        )[0]
        stamp.flux, stamp.sky = max(float(found[0]), 1e-30), float(found[1])
        limit = 0.1 * stamp.profile[0]
        move = [float(np.clip(v / stamp.flux, -limit, limit)) for v in found[2:]]
        stamp.columns = stamp.columns - move[0]
        stamp.rows = stamp.rows - move[1]
    stamp.model, stamp.moffat = stamp.draw(beta, remainder)
    stamp.weight = _weights(stamp, stamp.model) * stamp.flux**2


def _weights(stamp: Stamp, model: np.ndarray) -> np.ndarray:
    """Return the weights of the pixels: inverse variances, outliers less."""
    light = np.maximum(model, 0) * stamp.flux
    variance = stamp.noise**2 + (stamp.spread * light) ** 2 + 1e-12 * light.max() ** 2
    pull = np.abs(stamp.values - stamp.sky - model * stamp.flux) / np.sqrt(variance)
    known = stamp.model is not None
    huber = np.minimum(1.0, _HUBER / np.maximum(pull, _HUBER)) if known else 1.0
    return stamp.good * huber / variance
