# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Motes that are in the frames and not in the flat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.selfcal._repair_choice import convincing

if TYPE_CHECKING:
    from astroflat.dust import DustDetection

__all__ = ['NewMote', 'find_new']

# Widths of the mean over neighbours, of which frames left out choose one.
_WIDTHS = (0.7, 1.0, 1.5, 2.2, 3.3, 5.0)
# More of a patch than this must have been seen.
_MIN_SEEN = 0.5


@dataclass
class NewMote:
    """
    A mote that came after the flat was made.

    Parameters
    ----------
    box : tuple of slice
        Where it is.

    values, sigma : `~numpy.ndarray`
        The logarithm of its transmission, 0 off it, and its uncertainty.

    y, x, radius, depth : float
        Place, size and depth.

    gain : float
        What it takes off the chi-square of frames left out.

    width : float
        The width in pixels of the mean that it is made with.

    old : bool
        Whether it lies on a mote of the flat, which is deeper now.
    """

    box: tuple[slice, slice]
    values: np.ndarray
    sigma: np.ndarray
    y: float
    x: float
    radius: float
    depth: float
    gain: float
    width: float
    old: bool = False


def find_new(
    excess: np.ndarray,
    weight: np.ndarray,
    *,
    flat: np.ndarray,
    options: dict[str, Any],
    min_radius: float = 2.0,
    max_radius: float | None = None,
) -> list[NewMote]:
    """
    Find new motes.

    Parameters
    ----------
    excess : `~numpy.ndarray`
        The logarithm of frames over the flat repaired so far, ``(k, ny, nx)``.

    weight : `~numpy.ndarray`
        Its inverse variance.

    flat : `~numpy.ndarray`
        The logarithm of the flat repaired so far.

    options : dict
        Further arguments of `astroflat.detect_dust`.

    min_radius, max_radius : float, optional
        Limits of the size.

    Returns
    -------
    motes : list of NewMote
        Those that frames left out confirm.
    """
    total = weight.sum(axis=0, dtype=np.float64)
    mean = (weight * excess).sum(axis=0) / np.maximum(total, 1e-300)
    detection = _detect(mean, total, options)
    motes = []
    for i, row in enumerate(detection.catalogue):
        radius = float(row['radius'].value)
        if row['depth'] <= 0 or radius < min_radius or row['kind'] == 'fibre':
            continue
        if max_radius is not None and radius > max_radius:
            continue
        mote = _measure(excess, weight, detection.labels == i + 1, row)
        if mote is not None:
            mote.old = _is_old(flat[mote.box], mote.values)
            motes.append(mote)
    return motes


def _detect(
    mean: np.ndarray, total: np.ndarray, options: dict[str, Any]
) -> DustDetection:
    """Look for dark objects in what is left."""
    from astropy import units as u
    from astropy.nddata import CCDData, StdDevUncertainty

    from astroflat.dust import detect_dust

    bad = total <= 0
    sigma = np.where(bad, 0, 1 / np.sqrt(np.where(bad, 1, total)))
    image = CCDData(
        np.where(bad, 1, np.exp(mean)).astype(np.float32),
        unit=u.one,
        mask=bad,
        uncertainty=StdDevUncertainty(sigma.astype(np.float32)),
    )
    return detect_dust(image, **{'polarity': 'dark', **options})


def _measure(
    excess: np.ndarray, weight: np.ndarray, part: np.ndarray, row: Any
) -> NewMote | None:
    """Measure one mote, with the width that frames left out like best."""
    from astroflat.dust import dilate_mask, feather_mask

    radius = float(row['radius'].value)
    margin = int(np.ceil(8 + 1.2 * radius))
    y, x = np.nonzero(part)
    box = tuple(
        slice(max(0, int(a.min()) - margin), min(n, int(a.max()) + margin + 1))
        for a, n in zip((y, x), part.shape, strict=True)
    )
    share = feather_mask(dilate_mask(part[box], radius=2, relative=0.3), sigma=1.5)
    d = excess[(slice(None), *box)].astype(np.float64)
    w = weight[(slice(None), *box)].astype(np.float64)
    inside = share > 0
    if (w.sum(axis=0)[inside] > 0).mean() < _MIN_SEEN:
        return None
    best, gains, width = -np.inf, np.zeros(len(d)), _WIDTHS[0]
    for trial in _WIDTHS:
        found = _gains(d, w, share, trial)
        if found.sum() > best:
            best, gains, width = float(found.sum()), found, trial
    if not convincing(gains):
        return None
    values, sigma = _values(d, w, share, width)
    return NewMote(
        box,
        values,
        sigma,
        float(row['y'].value),
        float(row['x'].value),
        radius,
        float(row['depth']),
        best,
        width,
    )


def _is_old(flat: np.ndarray, values: np.ndarray) -> bool:
    """Tell whether the flat has at least as deep a mote at this place."""
    own = flat - _surroundings(flat, np.ones(flat.shape), values)
    return bool(np.sum(own * values) > np.sum(values**2))


def _gains(d: np.ndarray, w: np.ndarray, share: np.ndarray, width: float) -> np.ndarray:
    """Return what the mote of all other groups is worth in each group."""
    gains = np.zeros(len(d))
    for j in range(len(d)):
        rest = [k for k in range(len(d)) if k != j]
        model, _ = _values(d[rest], w[rest], share, width)
        level = d[j] - _surroundings(d[j], w[j], share)
        gains[j] = np.sum(w[j] * (level**2 - (level - model) ** 2))
    return gains


def _values(
    d: np.ndarray, w: np.ndarray, share: np.ndarray, width: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the smoothed logarithm of a mote and its standard deviation."""
    from scipy.ndimage import gaussian_filter

    total = w.sum(axis=0)
    mean = (w * d).sum(axis=0) / np.maximum(total, 1e-300)
    mean = mean - _surroundings(mean, total, share)
    norm = gaussian_filter(total, width)
    value = gaussian_filter(total * mean, width) / np.maximum(norm, 1e-300)
    squared = gaussian_filter(total, width / np.sqrt(2)) / (4 * np.pi * width**2)
    sigma = np.sqrt(squared) / np.maximum(norm, 1e-300)
    known = norm > 1e-3 * norm.max()
    return np.where(known, share * value, 0.0), np.where(known, share * sigma, share)


def _surroundings(
    image: np.ndarray, weight: np.ndarray, share: np.ndarray
) -> np.ndarray:
    """Return the quadratic surface through what is around a mote."""
    y, x = np.meshgrid(
        *(np.linspace(-1, 1, n) for n in image.shape), indexing='ij', sparse=True
    )
    one = np.ones(image.shape)
    terms = np.stack(
        [one, y * one, x * one, y * y * one, y * x * one, x * x * one], axis=-1
    )
    around = (share == 0) & (weight > 0)
    if around.sum() < 12:
        return np.zeros(image.shape)
    a, root = terms[around], np.sqrt(weight[around])
    values = np.linalg.lstsq(root[:, None] * a, root * image[around], rcond=None)[0]
    return terms @ values
