# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What frames show beside the motes of a flat: dark new ones, bright ghosts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.selfcal._repair_choice import convincing

if TYPE_CHECKING:
    from collections.abc import Collection

    from astroflat.dust import DustDetection

__all__ = ['NewMote', 'find_new']

# Widths of the mean over neighbours, of which frames left out choose one.
_WIDTHS = (0.7, 1.0, 1.5, 2.2, 3.3, 5.0)
# More of a patch than this must have been seen.
_MIN_SEEN = 0.5
# A bright ghost is one only where the flat has so much of a dark mote.
_GHOST = 0.5


@dataclass
class NewMote:
    """
    A mote that came after the flat was made, or the ghost of one that left.

    Parameters
    ----------
    action : {'new', 'ghost', 'pair'}
        A dark mote that the flat does not have; a bright ghost, where only the
        flat has one; or both, side by side.

    box : tuple of slice
        Where it is.

    values, sigma : `~numpy.ndarray`
        The logarithm to add to that of the flat, 0 off it, and its uncertainty.

    y, x, radius, depth : float
        Place, size and depth.

    gain : float
        What it takes off the chi-square of frames left out.

    width : float
        The width in pixels of the mean that it is made with.
    """

    action: str
    box: tuple[slice, slice]
    values: np.ndarray
    sigma: np.ndarray
    y: float
    x: float
    radius: float
    depth: float
    gain: float
    width: float


def find_new(
    excess: np.ndarray,
    weight: np.ndarray,
    *,
    flat: np.ndarray,
    options: dict[str, Any],
    changes: Collection[str] = ('new', 'gone'),
    min_radius: float = 2.0,
) -> list[NewMote]:
    """
    Find new motes, and bright ghosts of motes that were not detected in the flat.

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

    changes : collection of str, optional
        'new' for dark objects, 'gone' for bright ones.

    min_radius : float, optional
        The smallest size.

    Returns
    -------
    motes : list of NewMote
        Those that frames left out confirm. A dark one where the flat has a
        mote, which is deeper now, is left out, and so is a bright one where
        it has none.
    """
    from scipy import ndimage

    total = weight.sum(axis=0, dtype=np.float64)
    mean = (weight * excess).sum(axis=0) / np.maximum(total, 1e-300)
    signs = np.zeros(mean.shape, np.int8)
    for name, polarity, sign in (('gone', 'bright', 1), ('new', 'dark', -1)):
        if name not in changes:
            continue
        found = _detect(mean, total, {**options, 'polarity': polarity})
        for i, row in enumerate(found.catalogue):
            part = found.labels == i + 1
            if float(row['radius'].value) < min_radius or row['kind'] == 'fibre':
                continue
            if _belongs(mean, flat, part, sign):
                signs[part] = sign
    near = ndimage.binary_dilation(signs != 0, iterations=4)
    regions, n = ndimage.label(near)
    motes = (_measure(excess, weight, signs * (regions == k + 1)) for k in range(n))
    return [mote for mote in motes if mote is not None]


def _belongs(mean: np.ndarray, flat: np.ndarray, part: np.ndarray, sign: int) -> bool:
    """Tell whether what the flat has at the place of an object fits to it."""
    y, x = np.nonzero(part)
    margin = int(np.ceil(6 + 0.6 * np.sqrt(len(y))))
    box = _box((y, x), margin, part.shape)
    inside = part[box].astype(float)
    even = np.ones(inside.shape)
    own, seen = (a[box] - _surroundings(a[box], even, inside) for a in (flat, mean))
    known = float(np.sum(inside * own * seen) / max(np.sum(inside * seen**2), 1e-300))
    # A ghost is bright where the flat is dark; a mote that is there is not new.
    return known < -_GHOST if sign > 0 else known < 1


def _box(
    places: tuple[np.ndarray, np.ndarray], margin: int, shape: tuple[int, int]
) -> tuple[slice, slice]:
    """Return the box around pixels with a margin."""
    return tuple(
        slice(max(0, int(a.min()) - margin), min(n, int(a.max()) + margin + 1))
        for a, n in zip(places, shape, strict=True)
    )


def _detect(
    mean: np.ndarray, total: np.ndarray, options: dict[str, Any]
) -> DustDetection:
    """Look for objects in what is left."""
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
    return detect_dust(image, **options)


def _measure(
    excess: np.ndarray, weight: np.ndarray, signs: np.ndarray
) -> NewMote | None:
    """Measure a region, with the width that frames left out like best."""
    from astroflat.dust import dilate_mask, feather_mask

    y, x = np.nonzero(signs)
    radius = float(np.sqrt(len(y) / np.pi))
    box = _box((y, x), int(np.ceil(8 + 1.2 * radius)), signs.shape)
    part = signs[box] != 0
    share = feather_mask(dilate_mask(part, radius=2, relative=0.3), sigma=1.5)
    d = excess[(slice(None), *box)].astype(np.float64)
    w = weight[(slice(None), *box)].astype(np.float64)
    if (w.sum(axis=0)[share > 0] > 0).mean() < _MIN_SEEN:
        return None
    best, gains, width = -np.inf, np.zeros(len(d)), _WIDTHS[0]
    for trial in _WIDTHS:
        found = _gains(d, w, share, trial)
        if found.sum() > best:
            best, gains, width = float(found.sum()), found, trial
    if not convincing(gains):
        return None
    values, sigma = _values(d, w, share, width)
    kinds = {1: 'ghost', -1: 'new'}
    present = np.unique(signs[signs != 0])
    action = kinds[int(present[0])] if len(present) == 1 else 'pair'
    depth = float(1 - np.exp(np.mean(values[part])))
    place = (float(y.mean()), float(x.mean()))
    return NewMote(action, box, values, sigma, *place, radius, depth, best, width)


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
