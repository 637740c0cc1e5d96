# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Errors of an image against the true one, pixel by pixel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from astroflat._nddata import unpack

__all__ = ['image_metrics']

# The window of the structural similarity in the paper and in scikit-image.
_WINDOW = 7


def image_metrics(
    image: Any,
    truth: Any,
    *,
    peak: float | None = None,
    mask: Any = None,
    before: Any = None,
) -> dict[str, float]:
    """
    Measure the error of an image against the true image.

    Parameters
    ----------
    image : CCDData, array_like or path
        The result to judge, ``(ny, nx)`` or ``(ny, nx, 3)``.

    truth : CCDData, array_like or path
        What it should be, of the same shape. A noisy input is no truth: with
        it, doing nothing would be perfect.

    peak : float, optional
        The signal that PSNR and SSIM refer to. By default the range from the
        0.5th to the 99.5th percentile of the truth: with the full range one
        bright star makes any image perfect. It is part of the result, because
        neither number means anything without it.

    mask : array_like of bool, optional
        True marks pixels to leave out, besides those masked or not finite in
        either image.

    before : CCDData, array_like or path, optional
        The image before it was processed. Then the gain over doing nothing
        is measured too.

    Returns
    -------
    metrics : dict of float
        ``mse``, ``rmse``, ``mae``, ``bias`` (the mean of ``image - truth``)
        and ``max_error`` in the unit of the truth or its square;
        ``psnr_db``; ``ssim``; ``peak``; ``ssim_window`` in pixels;
        ``n_pixels``, the number of good samples. With ``before``:
        ``rmse_before``, ``psnr_gain_db`` (0 for doing nothing, positive for
        an image closer to the truth) and ``ssim_gain``.

    Raises
    ------
    ValueError
        If the shapes differ, no pixel is good, or ``peak`` is not positive.

    Notes
    -----
    Sums run in float64. PSNR is ``20 log10(peak / rmse)``, infinite for a
    perfect image. SSIM uses uniform windows of 7 pixels, as scikit-image does
    by default, or the largest odd number that fits into a smaller image; it is
    NaN below 3. Only windows without a bad pixel are averaged. If the truth
    is constant the default peak is 0, and PSNR and SSIM are NaN.

    References
    ----------
    Wang, Z. et al. 2004, IEEE Transactions on Image Processing 13, 600,
    doi:10.1109/TIP.2003.819861

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.quality import image_metrics
    >>> truth = np.arange(100.0).reshape(10, 10)
    >>> metrics = image_metrics(truth + 1, truth, before=truth + 2, peak=100)
    >>> metrics['mse'], metrics['psnr_db']
    (1.0, 40.0)
    >>> round(metrics['psnr_gain_db'], 2)
    6.02
    """
    frames = [_take(truth, 'truth', mask), _take(image, 'image')]
    frames += [] if before is None else [_take(before, 'before')]
    for frame, name in zip(frames[1:], ('image', 'before'), strict=False):
        if frame.shape != frames[0].shape:
            msg = (
                f'{name} has the shape {frame.shape}, truth has {frames[0].shape}; '
                'compare images of one shape'
            )
            raise ValueError(msg)
    good = ~np.logical_or.reduce([frame.bad for frame in frames])
    if not good.any():
        msg = 'no pixel is left to compare: all are masked or not finite'
        raise ValueError(msg)
    true, *others = (frame.data.astype(np.float64) for frame in frames)
    peak = _peak(true[good], peak)
    metrics = _compare(others[0], true, good, peak)
    if before is not None:
        start = _compare(others[1], true, good, peak)
        metrics['rmse_before'] = start['rmse']
        metrics['psnr_gain_db'] = _gain_db(start['mse'], metrics['mse'])
        metrics['ssim_gain'] = metrics['ssim'] - start['ssim']
    return metrics


def _take(image: Any, name: str, mask: Any = None) -> Any:
    """Take an image apart; a plane mask serves all colours."""
    frame = unpack(image, name=name, ndim=(2, 3))
    if mask is None:
        return frame
    mask = np.asarray(mask)
    if frame.data.ndim == 3 and mask.ndim == 2:
        mask = np.repeat(mask[..., None], frame.shape[2], axis=2)
    return unpack(image, name=name, mask=mask, ndim=(2, 3))


def _peak(values: np.ndarray, peak: float | None) -> float:
    """Return the signal that the measures refer to."""
    if peak is None:
        low, high = np.percentile(values, (0.5, 99.5))
        return float(high - low) or float(np.ptp(values))
    if not (math.isfinite(peak) and peak > 0):
        msg = f'peak must be a positive number or None, not {peak!r}'
        raise ValueError(msg)
    return float(peak)


def _compare(
    image: np.ndarray, truth: np.ndarray, good: np.ndarray, peak: float
) -> dict[str, float]:
    """Compare two images where both are good."""
    error = image[good] - truth[good]
    mse = float(np.mean(error**2))
    ssim, window = _similarity(image, truth, good, peak)
    return {
        'mse': mse,
        'rmse': math.sqrt(mse),
        'mae': float(np.mean(np.abs(error))),
        'bias': float(np.mean(error)),
        'max_error': float(np.max(np.abs(error))),
        'psnr_db': _gain_db(peak**2, mse) if peak else math.nan,
        'ssim': ssim,
        'peak': peak,
        'ssim_window': window,
        'n_pixels': int(error.size),
    }


def _gain_db(reference: float, mse: float) -> float:
    """Return a ratio of mean squares in decibels; nothing over nothing is 0."""
    if mse == 0:
        return math.inf if reference else 0.0
    return 10 * math.log10(reference / mse) if reference else -math.inf


def _similarity(
    image: np.ndarray, truth: np.ndarray, good: np.ndarray, peak: float
) -> tuple[float, int]:
    """Return the mean structural similarity over good windows, and their size."""
    side = min(_WINDOW, *truth.shape[:2])
    window = side - 1 + side % 2
    if window < 3 or not peak:
        return math.nan, window
    from scipy.ndimage import minimum_filter
    from skimage.metrics import structural_similarity

    # What stands at bad pixels is never averaged, it only has to be finite.
    filler = float(np.mean(truth[good]))
    _, similarity = structural_similarity(
        np.where(good, image, filler),
        np.where(good, truth, filler),
        win_size=window,
        data_range=peak,
        channel_axis=-1 if truth.ndim == 3 else None,
        full=True,
    )
    size = (window, window) + (1,) * (truth.ndim - 2)
    inside = minimum_filter(good, size=size, mode='constant', cval=0)
    values = similarity[inside]
    return (float(np.mean(values)) if values.size else math.nan), window
