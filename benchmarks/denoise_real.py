# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Real repeated exposures: each frame denoised, against the mean of all others.

The exposures are aligned first (a telescope drifts, and what stays with the pixels is
noise too), calibrated if the folder has ``bias*`` and ``flat*``, and pixels that are
hot in all of them are replaced. What differs between exposures over 40 pixels and more
is no noise, and is put back; the noise of the mean is taken off, so that what remains
is the error against the sky.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, median_filter, shift

import astroflat as af
from astroflat.neural._noise_estimate import find_noise
from astroflat.selfcal import measure_shifts

# Parts of the pixels, by the smoothed mean of the others: in the mean over all of
# them a few bright ones would count alone.
PARTS = {'faint 90 %': (0.0, 0.9), 'bright 10 %': (0.9, 0.999)}
# Over this width in pixels exposures differ by their skies: in some pairs by nearly
# a tenth of the noise of a pixel.
_DRIFT = 40.0


@dataclass
class Exposures:
    """Frames, and how far each is from the first."""

    frames: np.ndarray
    offsets: np.ndarray

    def others(self, k):
        """
        Return the mean of all other frames on the grid of one, and its variance.

        Parameters
        ----------
        k : int
            The frame.

        Returns
        -------
        tuple of ndarray
            Mean and variance of the mean; NaN where not all frames reach.
        """
        moved = [
            shift(f, self.offsets[k] - o, order=3, mode='constant', cval=np.nan)
            if np.any(o != self.offsets[k])
            else f
            for i, (f, o) in enumerate(zip(self.frames, self.offsets, strict=True))
            if i != k
        ]
        # The sky as a whole changes, which is no noise.
        moved = [m - np.nanmedian(m - self.frames[k]) for m in moved]
        return np.mean(moved, axis=0), np.var(moved, axis=0, ddof=1) / len(moved)


def read_exposures(folder, *, size=768):
    """
    Read, calibrate and align the exposures in a folder.

    Parameters
    ----------
    folder : Path
        Folder of FITS files.
    size : int, optional
        Largest side of the part in the middle that is used, in pixels.

    Returns
    -------
    Exposures
        Frames in the unit of the files.
    """
    groups = {'bias': [], 'flat': [], 'light': []}
    for path in sorted(folder.glob('*.fit*')):
        kind = next((k for k in groups if path.name.lower().startswith(k)), 'light')
        groups[kind].append(np.asarray(af.read_image(path)[0], np.float64))
    frames = np.array(groups['light'])
    bias = np.mean(groups['bias'], axis=0) if groups['bias'] else 0.0
    if groups['flat']:
        flats = [f - bias for f in groups['flat']]
        flat = np.median([f / np.median(f) for f in flats], axis=0)
        frames = (frames - bias) / flat
    frames = frames[(slice(None), *(_middle(n, size) for n in frames.shape[1:]))]
    try:
        offsets = measure_shifts(frames.astype('f4'), method='phase').offsets
    except ValueError:
        # An artificial star field does not move.
        offsets = np.zeros((len(frames), 2))
    offsets = np.where(np.abs(offsets) < 0.1, 0.0, offsets)
    if np.ptp(offsets, axis=0).max() > 3.0:
        frames = mend(frames)
    return Exposures(frames, offsets)


def mend(frames):
    """
    Replace pixels that stand out in all frames, while the sky moves.

    Parameters
    ----------
    frames : ndarray
        Frames that are not aligned.

    Returns
    -------
    ndarray
        Frames with medians of neighbours in place of hot and cold pixels, which a
        dark would have found; no denoiser takes them for noise.
    """
    middle = np.median(frames, axis=0)
    rest = middle - median_filter(middle, 5)
    sigma = 1.4826 * np.median(np.abs(rest))
    bad = np.abs(rest) > 5.0 * sigma
    return np.array([np.where(bad, median_filter(f, 5), f) for f in frames])


def _middle(length, size):
    """Return the middle of an axis."""
    start = max(0, (length - size) // 2)
    return slice(start, start + size)


def compare(exposures, methods, *, most=3):
    """
    Compare denoised frames with the mean of the others.

    Parameters
    ----------
    exposures : Exposures
        Frames.
    methods : callable
        ``methods(frame)`` yields names and results.
    most : int, optional
        Frames to denoise.

    Returns
    -------
    dict
        For each part of the pixels and each method the root mean square of the error
        in the noise of one frame: mean and error over the frames.
    """
    squares = {part: {} for part in PARTS}
    for k, frame in enumerate(exposures.frames[:most]):
        mean, variance = exposures.others(k)
        seen = np.isfinite(mean)
        smooth = gaussian_filter(np.where(seen, mean, np.nanmedian(mean)), 3.0)
        ranks = {q: np.quantile(smooth[seen], q) for q in (0.0, 0.9, 0.999)}
        mean = mean + drift(frame - mean, seen)
        for name, result in [('noisy frame', frame), *methods(frame)]:
            for part, (low, high) in PARTS.items():
                chosen = seen & (smooth >= ranks[low]) & (smooth <= ranks[high])
                square = np.mean((result - mean)[chosen] ** 2)
                own = max(square - np.mean(variance[chosen]), 0.0)
                squares[part].setdefault(name, []).append(own)
    return {part: _ratios(table) for part, table in squares.items()}


def drift(difference, seen, *, width=_DRIFT):
    """
    Return the wide part of how two images differ.

    Parameters
    ----------
    difference : ndarray
        Frame less mean of the others.
    seen : ndarray of bool
        Where both are known.
    width : float, optional
        Width of the Gaussian in pixels.

    Returns
    -------
    ndarray
        What changed of the sky and its gradients. Of white noise 0.28 over the width
        is in it: less than one per cent.
    """
    weight = gaussian_filter(seen.astype(float), width)
    sums = gaussian_filter(np.where(seen, difference, 0.0), width)
    return sums / np.maximum(weight, 1e-3)


def _ratios(table):
    """Root mean squares in those of noisy frames; None if the others scatter more."""
    noisy = np.array(table['noisy frame'])
    if not noisy.min() > 0:
        return dict.fromkeys(table)
    ratios = {name: np.sqrt(np.array(v) / noisy) for name, v in table.items()}
    return {
        name: (float(r.mean()), float(r.std() / max(len(r) - 1, 1) ** 0.5))
        for name, r in ratios.items()
    }


def classical(frame, filters):
    """
    Yield results of filters after the transform, at each of their settings.

    Parameters
    ----------
    frame : ndarray
        Frame.
    filters : dict
        As in ``denoise.py``.

    Yields
    ------
    tuple
        Name with the number of the setting, and result.
    """
    noise = find_noise(frame, ~np.isfinite(frame)).model
    for name, settings in filters.items():
        for k, (function, options) in enumerate(settings):
            z = function(noise.forward(frame), **options)
            yield f'{name}/{k}', noise.unbiased(z)


def best_settings(table):
    """
    Keep the best setting of each filter.

    Parameters
    ----------
    table : dict
        As `compare` returns it.

    Returns
    -------
    dict
        The same with one row for each filter.
    """
    best = {}
    for name, value in table.items():
        short = name.split('/')[0]
        if not best.get(short) or value[0] < best[short][0]:
            best[short] = value
    return best
