# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Offsets from the images of matched stars, and how sure they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from astroflat.selfcal._shift_similarity import Similarity, fit_similarity
from astroflat.selfcal._shift_stamps import Displaced, Stars, displacements

__all__ = ['measure_together']

_ROUNDS = 2
_FEWEST = 6
# Between pixels, stars are not known better than this.
_LEAST_ERROR = 0.01

Pairs = tuple[np.ndarray, np.ndarray]


def measure_together(
    stars: list[Stars],
    pairs: list[Pairs],
    reference: int,
    centre: np.ndarray,
    fwhm: float,
) -> list[Similarity]:
    """
    Compare the stars of all frames with their mean image, and fit offsets.

    Parameters
    ----------
    stars : list of Stars
        Of each frame.

    pairs : list of tuple
        For each frame the numbers of its stars, and of the same in the reference.

    reference : int
        The frame whose offset is zero.

    centre : `~numpy.ndarray`
        (y, x) of the middle of a frame.

    fwhm : float
        Width of stars in pixels.

    Returns
    -------
    fits : list of Similarity
        One for each frame.

    Notes
    -----
    Each star has its own template, the mean of its images, so that coma and
    astigmatism that differ over the field do not matter. A shape that changes from
    frame to frame in all stars alike moves them all: no scatter tells. There the
    light and the best fit of the template disagree, by an amount that is added to
    the uncertainty.
    """
    there = stars[reference]
    cut = [
        _with_stamps(pair, own, there) for pair, own in zip(pairs, stars, strict=True)
    ]
    template, smooth = there.stamps, True
    for _ in range(_ROUNDS):
        found = [
            displacements(own.stamps[i], template[j], fwhm, smooth=smooth)
            for (i, j), own in zip(cut, stars, strict=True)
        ]
        template, smooth = _mean_images(found, cut, template), False
    zero = _of_all(found[reference], cut[reference], len(there.stamps))
    shares = [
        len(i) / max(min(len(own.places), len(there.places)), 1)
        for (i, _), own in zip(pairs, stars, strict=True)
    ]
    out = []
    for k, own in enumerate(stars):
        enough = len(cut[k][0]) >= _FEWEST
        fit = _fit(own, there, cut[k], found[k], zero, centre) if enough else None
        if fit is None:
            i, j = pairs[k]
            fit = fit_similarity(own.places[i], there.places[j], centre)
        out.append(replace(fit, share=shares[k]))
    return out


def _with_stamps(pair: Pairs, here: Stars, there: Stars) -> Pairs:
    """Return the pairs that are cut out in both frames."""
    i, j = pair
    keep = (i < len(here.stamps)) & (j < len(there.stamps))
    return i[keep], j[keep]


def _mean_images(
    found: list[Displaced], pairs: list[Pairs], template: np.ndarray
) -> np.ndarray:
    """Return the mean of the aligned images of each star of the reference."""
    total = np.zeros(template.shape)
    weight = np.zeros(len(template))
    for own, (_, j) in zip(found, pairs, strict=True):
        good = np.isfinite(own.error).all(axis=1)
        total[j[good]] += own.aligned[good]
        weight[j[good]] += 1
    return total / np.maximum(weight, 1)[:, None, None]


def _of_all(own: Displaced, pair: Pairs, n: int) -> tuple[np.ndarray, ...]:
    """Return move, error and lever for all stars of the reference."""
    out = np.zeros((n, 2)), np.full((n, 2), np.inf), np.zeros((n, 2))
    for values, found in zip(out, (own.move, own.error, own.lever), strict=True):
        values[pair[1]] = found
    return out


def _fit(
    own: Stars,
    there: Stars,
    pair: Pairs,
    found: Displaced,
    zero: tuple[np.ndarray, ...],
    centre: np.ndarray,
) -> Similarity | None:
    """Fit the offset of one frame, None if too few stars are measured."""
    i, j = pair
    error = np.hypot(found.error, zero[1][j]).max(axis=1)
    good = np.isfinite(error)
    if good.sum() < _FEWEST:
        return None
    here = np.rint(own.places[i]) + found.move
    origin = np.rint(there.places[j]) + zero[0][j]
    fit = fit_similarity(here[good], origin[good], centre, error=error[good])
    lever = (found.lever - zero[2][j])[good]
    total = np.hypot(
        np.hypot(fit.error, _shape_error(lever, error[good])), _LEAST_ERROR
    )
    return replace(fit, error=float(total))


def _shape_error(lever: np.ndarray, error: np.ndarray) -> float:
    """Return by how much light and best fit of the best stars disagree."""
    best = np.argsort(error)[: max(len(error) // 2, _FEWEST)]
    return float(np.sqrt(np.mean(np.median(lever[best], axis=0) ** 2)))
