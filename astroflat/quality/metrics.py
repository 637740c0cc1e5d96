# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Errors of an estimated flat against the true one."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from scipy import ndimage

from astroflat._arrays import as_mask
from astroflat._nddata import unpack
from astroflat._report import to_mmag

__all__ = ['flat_residual']

_LARGE = 16.0
_FINE = 2.0


def flat_residual(
    estimate: Any,
    truth: Any,
    *,
    dust_mask: Any = None,
    mask: Any = None,
    border: int = 0,
) -> dict[str, float]:
    """
    Measure the error of an estimated flat against the true flat.

    Parameters
    ----------
    estimate : CCDData, array_like, path or float
        The estimated flat. ``1.0`` is the flat of doing nothing.

    truth : CCDData, array_like or path
        The true flat, of shape ``(ny, nx)``.

    dust_mask : array_like of bool, optional
        True where there is dust. By default where the true flat, less its
        polynomial of fourth degree, departs by more than 0.4 % from its
        surroundings (smoothed by 3 px against smoothed by 25 px).

    mask : array_like of bool, optional
        True marks pixels to leave out, besides those masked or not finite in
        either flat.

    border : int, optional
        The width of a border to leave out.

    Returns
    -------
    residual : dict of float
        For each part, the root mean square of ``estimate / truth - 1`` in
        per cent (``total_percent``) and in millimagnitudes (``total_mmag``).
        The parts are ``total``; ``large``, smoothed by a Gaussian of 16 px;
        ``dust``, smoothed by 2 px inside the dust; and ``pixel``, what the
        smoothing by 2 px takes away, off the dust. NaN if a part has no
        pixel.

    Notes
    -----
    A flat is known up to a factor: the median of the ratio, off the dust, is
    divided out. Smoothing ignores the pixels left out.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.quality import flat_residual
    >>> truth = np.ones((64, 64))
    >>> truth[:, 32:] = 0.98
    >>> nothing = flat_residual(1.0, truth)
    >>> round(nothing['total_percent'], 2)
    1.01
    >>> flat_residual(3 * truth, truth)['total_percent']
    0.0
    """
    if not border >= 0:
        msg = f'border must not be negative, but is {border!r}'
        raise ValueError(msg)
    reference = unpack(truth, name='truth', mask=mask)
    if isinstance(estimate, Real):
        estimate = np.full(reference.shape, float(estimate))
    guess = unpack(estimate, name='estimate')
    if guess.shape != reference.shape:
        msg = f'estimate has the shape {guess.shape}, truth has {reference.shape}'
        raise ValueError(msg)
    good = ~(guess.bad | reference.bad) & (reference.data > 0)
    good &= _inside(reference.shape, border)
    if not good.any():
        msg = 'no pixel is left to compare: all are masked, bad or in the border'
        raise ValueError(msg)
    true = np.where(good, reference.data, 1).astype(float)
    dust = as_mask(dust_mask, reference.shape, name='dust_mask')
    dust = _find_dust(true, good) if dust is None else dust
    ratio = np.where(good, guess.data, 1).astype(float) / true
    clean = good & ~dust if (good & ~dust).any() else good
    ratio = np.where(good, ratio / np.median(ratio[clean]) - 1, 0)
    fine = _smooth(ratio, good, _FINE)
    parts = {
        'total': ratio[good],
        'large': _smooth(ratio, good, _LARGE)[good],
        'dust': _smooth(ratio, good & dust, _FINE)[good & dust],
        'pixel': (ratio - fine)[good & ~dust],
    }
    return _as_percent_and_mmag(parts)


def _as_percent_and_mmag(parts: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the root mean square of each part in both units."""
    result = {}
    for name, values in parts.items():
        rms = float(np.sqrt(np.mean(values**2))) if values.size else np.nan
        result[f'{name}_percent'] = 100 * rms
        result[f'{name}_mmag'] = to_mmag(rms)
    return result


def _inside(shape: tuple[int, ...], border: int) -> np.ndarray:
    """Return True away from the border."""
    inside = np.zeros(shape, bool)
    inside[border : shape[0] - border, border : shape[1] - border] = True
    return inside


def _smooth(image: np.ndarray, good: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth an image by a Gaussian, ignoring bad pixels."""
    weight = ndimage.gaussian_filter(good.astype(float), sigma)
    value = ndimage.gaussian_filter(np.where(good, image, 0), sigma)
    return value / np.maximum(weight, 1e-12)


def _find_dust(truth: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Return where the true flat departs from its surroundings."""
    # At a border the wide kernel sees one side of the vignette only, so the
    # vignette has to go first.
    detail = np.where(good, np.log(truth), 0)
    detail = detail - _polynomial(detail, good)
    return np.abs(_smooth(detail, good, 3) - _smooth(detail, good, 25)) > 0.004


def _polynomial(image: np.ndarray, good: np.ndarray, degree: int = 4) -> np.ndarray:
    """Fit a two-dimensional polynomial to the good pixels."""
    y, x = (np.linspace(-1, 1, n) for n in image.shape)
    powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    step = max(1, int(np.sqrt(image.size / 20_000)))
    rows, cols = np.nonzero(good[::step, ::step])
    rows, cols = rows * step, cols * step
    terms = np.stack([y[rows] ** i * x[cols] ** j for i, j in powers], axis=1)
    solution = np.linalg.lstsq(terms, image[rows, cols], rcond=None)[0]
    return np.polynomial.polynomial.polygrid2d(
        y, x, _coefficients(powers, solution, degree)
    )


def _coefficients(powers: list, values: np.ndarray, degree: int) -> np.ndarray:
    """Arrange coefficients by the powers of y and x."""
    matrix = np.zeros((degree + 1, degree + 1))
    for (i, j), value in zip(powers, values, strict=True):
        matrix[i, j] = value
    return matrix
