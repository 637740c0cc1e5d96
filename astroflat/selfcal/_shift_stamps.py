# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Stars cut out of frames, and by how much they are displaced from each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from astroflat.selfcal._kll_noise import biweight

__all__ = ['Stars', 'cut_out', 'displacements', 'stamp_radius']

# Half a stamp and the radius of what is compared, in widths of a star.
_HALF, _REACH = 1.2, 0.9
# Light is counted up to so many pixels from the border of a stamp.
_MARGIN = 2.5
# Stamps are smoothed by this share of the width, and by this many pixels at least:
# what is narrower than a pixel cannot be moved by a fraction of one.
_SMOOTH, _LEAST = 0.1, 0.7
_STEPS = 5
# Samples farther off than this many deviations count nothing, and a star differs
# from frame to frame by this share of itself.
_FAR, _SHARE = 5.0, 0.05
# A pixel that is so many times as bright as its neighbours is no part of a star
# as wide as this.
_LONE, _LONE_NOISE, _WIDE = 2.0, 6.0, 2.2


@dataclass
class Stars:
    """
    The stars of a frame.

    Parameters
    ----------
    places : `~numpy.ndarray`
        ``(m, 2)``, y and x, the brightest first.

    stamps : `~numpy.ndarray`
        ``(k, s, s)`` float32: the k <= m brightest, cut out around the nearest
        pixel, without background; NaN is bad.
    """

    places: np.ndarray
    stamps: np.ndarray

    def part(self, keep: np.ndarray) -> Stars:
        """
        Return some of the stars.

        Parameters
        ----------
        keep : `~numpy.ndarray` of bool
            ``(m,)``.

        Returns
        -------
        stars : Stars
            Those.
        """
        return Stars(self.places[keep], self.stamps[keep[: len(self.stamps)]])


def stamp_radius(fwhm: float) -> int:
    """
    Return half the size of stamps.

    Parameters
    ----------
    fwhm : float
        Width of stars in pixels.

    Returns
    -------
    half : int
        In pixels; stamps have 2 half + 1.
    """
    return int(np.ceil(_HALF * fwhm)) + 4


def cut_out(
    values: np.ndarray, bad: np.ndarray, places: np.ndarray, fwhm: float
) -> np.ndarray:
    """
    Cut stars out of a frame.

    Parameters
    ----------
    values, bad : `~numpy.ndarray`
        ``(ny, nx)``, the frame and its bad pixels.

    places : `~numpy.ndarray`
        ``(m, 2)``.

    fwhm : float
        Width of stars in pixels.

    Returns
    -------
    stamps : `~numpy.ndarray`
        ``(m, s, s)`` float32, less the median of their borders; NaN where bad or
        outside.
    """
    half = stamp_radius(fwhm)
    wide = np.full((len(places), 2 * half + 1, 2 * half + 1), np.nan, np.float32)
    for stamp, (y, x) in zip(wide, np.rint(places).astype(int), strict=True):
        top, left = max(half - y, 0), max(half - x, 0)
        part = np.s_[max(y - half, 0) : y + half + 1, max(x - half, 0) : x + half + 1]
        seen = np.where(bad[part], np.nan, values[part])
        stamp[top : top + seen.shape[0], left : left + seen.shape[1]] = seen
    border = np.concatenate(
        [wide[:, 0], wide[:, -1], wide[:, 1:-1, 0], wide[:, 1:-1, -1]], axis=1
    )
    border[np.isnan(border).all(axis=1)] = 0
    wide -= np.nanmedian(border, axis=1)[:, None, None]
    return _without_lone(wide, border) if fwhm > _WIDE else wide


def _without_lone(stamps: np.ndarray, border: np.ndarray) -> np.ndarray:
    """Mask pixels that are far brighter than all beside them."""
    noise = 1.4826 * np.nanmedian(
        np.abs(border - np.nanmedian(border, axis=1)[:, None]), axis=1
    )
    beside = np.pad(stamps, ((0, 0), (1, 1), (1, 1)), constant_values=np.nan)
    sides = (np.s_[2:, 1:-1], np.s_[:-2, 1:-1], np.s_[1:-1, 2:], np.s_[1:-1, :-2])
    beside = np.fmax.reduce([beside[:, y, x] for y, x in sides])
    least = _LONE * np.maximum(beside, 0) + _LONE_NOISE * noise[:, None, None]
    stamps[stamps > least] = np.nan
    return stamps


@dataclass(frozen=True)
class Displaced:
    """
    How far stars are from where a template has them.

    Attributes
    ----------
    move, error : `~numpy.ndarray`
        ``(m, 2)`` in pixels, and one standard deviation of it.

    flux : `~numpy.ndarray`
        ``(m,)``, relative to the template.

    aligned : `~numpy.ndarray`
        ``(m, s, s)``, smooth, moved back, divided by the flux.

    lever : `~numpy.ndarray`
        ``(m, 2)``, the centre of light of what the template does not explain, in
        pixels: a change of shape moves the light by that.
    """

    move: np.ndarray
    error: np.ndarray
    flux: np.ndarray
    aligned: np.ndarray
    lever: np.ndarray


def displacements(
    stamps: np.ndarray, template: np.ndarray, fwhm: float, *, smooth: bool = True
) -> Displaced:
    """
    Fit a template to stamps: displacement, flux and background of each.

    Parameters
    ----------
    stamps, template : `~numpy.ndarray`
        ``(m, s, s)``, pair by pair.

    fwhm : float
        Width of stars in pixels.

    smooth : bool, optional
        Whether the template is to be smoothed as the stamps are.

    Returns
    -------
    displaced : Displaced
        The least-squares solution, without outliers.
    """
    size = stamps.shape[1]
    waves = np.fft.rfft2(_filled(stamps)) * _gaussian(size, fwhm)
    there = np.fft.rfft2(_filled(template) if smooth else template)
    there = there * _gaussian(size, fwhm) if smooth else there
    fy, fx = _frequencies(size)
    images = [there, 2j * np.pi * fy * there, 2j * np.pi * fx * there]
    model, down, right = (np.fft.irfft2(i, s=(size, size)) for i in images)
    ones = np.ones_like(model)
    terms = np.stack([down, right, model, ones], axis=1).reshape(len(model), 4, -1)
    window = _window(size, fwhm).ravel()
    move = np.zeros((len(stamps), 2))
    for i in range(_STEPS):
        turn = 2j * np.pi * (fy * move[:, :1, None] + fx * move[:, 1:, None])
        seen = np.fft.irfft2(waves * np.exp(turn), s=(size, size))
        flat = seen.reshape(len(seen), -1)
        fit, inverse, scale = _fit(terms, flat, window, robust=i > 0)
        flux = np.where(fit[:, 2] > 0.05, fit[:, 2], np.nan)
        step = -fit[:, :2] / flux[:, None]
        move += np.clip(np.nan_to_num(step, nan=np.inf), -1, 1)
    diagonal = np.diagonal(inverse, axis1=1, axis2=2)[:, :2]
    error = scale[:, None] * np.sqrt(np.maximum(diagonal, 0)) / flux[:, None]
    # What was not reached by the last step is not known.
    lost = (np.abs(step) > 0.05).any(axis=1) | ~np.isfinite(flux)
    error[lost] = np.inf
    clean = (flat - fit[:, 3:]) / flux[:, None]
    return Displaced(
        move, error, flux, clean.reshape(seen.shape), _lever(clean, terms, size)
    )


def _lever(clean: np.ndarray, terms: np.ndarray, size: int) -> np.ndarray:
    """Return the centre of light of what is left of stars."""
    half = size // 2
    window = _round(size, half - _MARGIN).ravel()
    y, x = np.mgrid[-half : half + 1, -half : half + 1].reshape(2, -1)
    left = (clean - terms[:, 2]) * window
    total = np.maximum((terms[:, 2] * window).sum(axis=1), 1e-30)
    return (
        np.stack([(left * y).sum(axis=1), (left * x).sum(axis=1)], 1) / total[:, None]
    )


def _fit(
    terms: np.ndarray, seen: np.ndarray, window: np.ndarray, *, robust: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit all stars at once, twice if outliers are to be left out."""
    weight = np.broadcast_to(window, seen.shape)
    for last in (False, True):
        weighted = terms * weight[:, None]
        inverse = np.linalg.pinv(weighted @ terms.swapaxes(1, 2))
        fit = (inverse @ (weighted @ seen[..., None]))[..., 0]
        left = seen - np.einsum('mt,mtp->mp', fit, terms)
        inner = window > 0.5
        scale = 1.4826 * np.median(np.abs(left[:, inner]), axis=1) + 1e-12
        if last or not robust:
            break
        model = np.abs(fit[:, 2:3] * terms[:, 2])
        spread = np.hypot(scale[:, None], _SHARE * model)
        weight = (
            window * biweight(left / (_FAR * spread)) * (scale[:, None] / spread) ** 2
        )
    return fit, inverse, scale


def _filled(stamps: np.ndarray) -> np.ndarray:
    """Fill what is bad from beside it, and fade towards the borders."""
    from scipy.ndimage import gaussian_filter

    out = stamps
    bad = np.isnan(stamps)
    if bad.any():
        near = [0, 1.0, 1.0]
        good = gaussian_filter((~bad).astype(np.float32), near)
        around = gaussian_filter(np.where(bad, 0, stamps), near)
        out = np.where(bad, around / np.maximum(good, 1e-3), stamps)
    size = stamps.shape[1]
    away = np.abs(np.arange(size) - size // 2)
    fade = np.clip((size // 2 + 1 - away) / 3, 0, 1)
    return out * (fade[:, None] * fade)


def _frequencies(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the frequencies of a stamp, in cycles a pixel."""
    return np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]


def _gaussian(size: int, fwhm: float) -> np.ndarray:
    """Return the transform of the kernel that smooths."""
    fy, fx = _frequencies(size)
    sigma = max(_SMOOTH * fwhm, _LEAST)
    return np.exp(-2 * (np.pi * sigma) ** 2 * (fy**2 + fx**2))


def _window(size: int, fwhm: float) -> np.ndarray:
    """Return 1 where a star is, fading around it."""
    return _round(size, _REACH * fwhm + 1.5)


def _round(size: int, reach: float) -> np.ndarray:
    """Return 1 within a circle, fading around it."""
    away = np.arange(size) - size // 2
    radius = np.hypot(away[:, None], away)
    return 1 / (1 + np.exp((radius - reach) / 0.7))
