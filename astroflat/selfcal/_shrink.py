# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Detail of the flat, no more of it than stands above the noise.

A flat that holds noise puts it into every frame. Detail is kept scale by scale
in proportion to how much of it is signal.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

__all__ = ['shrink']

_KERNEL = np.array([1, 4, 6, 4, 1], np.float32) / 16
# Noise of the scales of white noise of 1, in two dimensions.
_NOISE = (0.8908, 0.2007, 0.0856, 0.0413, 0.0205, 0.0103)
# How far local energy must exceed its noise before it is called signal.
_LOCAL = 1.8


def shrink(
    ratio: np.ndarray, sigma: np.ndarray, difference: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """
    Separate detail from noise.

    Parameters
    ----------
    ratio : `~numpy.ndarray`
        Near 1; NaN where not known.

    sigma : `~numpy.ndarray`
        Its noise, of one pixel independent of the next.

    difference : `~numpy.ndarray`, optional
        Half of the difference of two halves of the data. Where it holds more
        than noise, what differs is no flat.

    Returns
    -------
    value : `~numpy.ndarray` of float32
        Finite everywhere: holes are filled from around them.

    error : `~numpy.ndarray` of float32
        The standard deviation of what is left.

    numbers : dict
        ``pixel_percent``, the response from pixel to pixel, and
        ``noise_percent``, the noise of one pixel before.

    Notes
    -----
    An undecimated wavelet transform with the B3 spline [1]_, over known pixels
    only. Each coefficient is multiplied by ``v / (v + s)``, s being its noise
    and v the variance of the signal: that of its whole scale, or where the
    energy around it is well above noise, as under dust, the local one.

    References
    ----------
    .. [1] Starck, J.-L., Fadili, J. and Murtagh, F. 2007, IEEE Transactions
       on Image Processing, 16, 297, https://doi.org/10.1109/TIP.2006.887733
    """
    known = np.isfinite(ratio) & np.isfinite(sigma) & (sigma > 0)
    middle = np.float32(np.median(ratio[known])) if known.any() else np.float32(1)
    image = np.where(known, ratio - middle, 0).astype(np.float32)
    noise = np.where(known, sigma, np.median(sigma[known]) if known.any() else 1)
    noise = noise.astype(np.float32)
    value = np.zeros_like(image)
    variance = np.zeros_like(image)
    hidden = np.zeros_like(image)
    total = sum(n**2 for n in _NOISE)
    weight = np.where(known, np.median(noise) ** 2 / noise**2, 0).astype(np.float32)
    weight = np.minimum(weight, 2)
    sure = known.astype(np.float32)
    pixel = 0.0
    other = np.where(known, 0, 0).astype(np.float32)
    if difference is not None:
        other = np.where(np.isfinite(difference), difference, 0).astype(np.float32)
    for scale, factor in enumerate(_NOISE):
        smooth, share = _smooth(image, weight, 2**scale)
        detail = np.where(weight > 0, image - smooth, 0)
        rest = _smooth(other, weight, 2**scale)[0]
        level = _noise(
            np.where(weight > 0, other - rest, 0), factor * noise, known, scale
        )
        other = rest
        gain, signal, common = _gain(detail, level, known, scale)
        if scale == 0:
            pixel = common
        value += sure * gain * detail
        variance += gain * level**2 / total
        # What a hole hides of this scale is as large as elsewhere.
        hidden += np.where(known, 0, np.maximum(signal, common))
        image, weight = smooth, np.minimum(share, 1)
        # Holes are filled from larger scales, the sooner the smaller they are.
        sure = np.maximum(sure, np.where(share > 0.7, 1, 0))
    value += _fill(image, weight)
    error = np.sqrt(np.where(known, variance, hidden) + (1e-5) ** 2)
    numbers = {
        'pixel_percent': 100 * float(np.sqrt(pixel / _NOISE[0] ** 2)),
        'noise_percent': 100 * float(np.median(noise[known]))
        if known.any()
        else np.nan,
    }
    return middle + value, error.astype(np.float32), numbers


def _smooth(
    image: np.ndarray, weight: np.ndarray, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """Smooth known pixels by a B3 spline with gaps; also their share."""
    kernel = np.zeros(4 * step + 1, np.float32)
    kernel[::step] = _KERNEL
    parts = []
    for plane in (image * weight, weight):
        for axis in (0, 1):
            plane = ndimage.convolve1d(plane, kernel, axis=axis, mode='mirror')
        parts.append(plane)
    share = parts[1]
    return np.where(share > 1e-4, parts[0] / np.maximum(share, 1e-4), 0), share


def _noise(
    difference: np.ndarray, noise: np.ndarray, known: np.ndarray, scale: int
) -> np.ndarray:
    """Return the noise of a scale, from what differs where that is more."""
    reach = 5.0 * 2**scale
    around = np.maximum(ndimage.gaussian_filter(known.astype(np.float32), reach), 1e-3)
    energy = ndimage.gaussian_filter(np.where(known, difference, 0) ** 2, reach)
    return np.sqrt(np.maximum(energy / around, noise**2))


def _gain(
    detail: np.ndarray, noise: np.ndarray, known: np.ndarray, scale: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the share of signal, its local variance, and that of the scale."""
    values = detail[known][:: max(1, known.sum() // 1_000_000)]
    spread = 1.4826 * float(np.median(np.abs(values))) if values.size else 0.0
    typical = float(np.median(noise[known] ** 2)) if known.any() else 1.0
    # The error of this difference, so that noise is not called signal.
    slack = 3 * typical * np.sqrt(2 * 4.0 ** (scale + 1) / max(values.size, 1))
    common = spread**2 - typical
    common = common if common > slack else 0.0
    reach = 1.5 * 2**scale
    around = np.maximum(ndimage.gaussian_filter(known.astype(np.float32), reach), 1e-3)
    energy = ndimage.gaussian_filter(np.where(known, detail, 0) ** 2, reach) / around
    local = np.where(energy > _LOCAL * (noise**2 + common), energy - noise**2, 0)
    signal = np.maximum(local, common).astype(np.float32)
    return signal / (signal + noise**2), local.astype(np.float32), common


def _fill(image: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Fill what no scale has reached from around it."""
    step = 64
    known = weight > 0
    result = np.where(known, image, 0).astype(np.float32)
    while not known.all() and known.any() and step < 2 * max(image.shape):
        share = ndimage.gaussian_filter(known.astype(np.float32), step)
        smooth = ndimage.gaussian_filter(np.where(known, result, 0), step)
        new = ~known & (share > 1e-3)
        result[new] = smooth[new] / share[new]
        known |= new
        step *= 2
    return result
