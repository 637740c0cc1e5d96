# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Dust of one frame, from coarse to fine.

The network of the dust knows shadows of 2 to 40 cells. Large frames are binned
until they are as small as the frames of its training; what is found there is
divided out, and finer bins show what is smaller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.neural._bins import Bins
from astroflat.neural._dust_cells import run_level
from astroflat.neural._rows import BoxRows, GridRows, write_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from astroflat.neural.runtime import Session

__all__ = ['DustField', 'bin_factors', 'find_dust', 'select_objects']

_LARGEST = 512
# Pixels up to which the dust is looked for without binning.
_FINEST = 8_000_000
# What fills a tenth of the frame has to be more significant: clouds do, too.
_LIMITS = {'min_chance': 0.95, 'min_significance': 1.5, 'max_area': 0.1}
# How much more, and the number of times the largest area beyond which nothing is dust.
# On simulated frames set apart for this all such objects above 1.1 times were dust,
# those below 1 were not; a lunar sea and a field of stars of Spitzer reach 1.2.
_SURE, _LARGE = 1.35, 8.0
# Cells beyond the edge of an object in which the network still dims.
_MARGIN = 2


@dataclass(frozen=True)
class DustField:
    """
    Dust of a frame.

    Parameters
    ----------
    log_rows : BoxRows
        log D on the pixels, exactly 0 off the dust.

    wide_variance : GridRows or None
        Variance of log D everywhere.

    fine_variance : BoxRows
        What the objects of the finer bins add to it.

    n_objects : int
        Objects that were accepted.

    n_doubtful : int
        Objects that were seen but not accepted.
    """

    log_rows: BoxRows
    wide_variance: GridRows | None
    fine_variance: BoxRows
    n_objects: int
    n_doubtful: int

    def variance_rows(self, rows: slice) -> np.ndarray:
        """
        Write rows of the variance of log D out.

        Parameters
        ----------
        rows : slice
            Which.

        Returns
        -------
        `~numpy.ndarray`
            float32.
        """
        if self.wide_variance is None:
            return self.fine_variance(rows)
        variance = self.wide_variance(rows)
        self.fine_variance.add_to(variance, rows)
        return variance

    @property
    def log_flat(self) -> np.ndarray:
        """The logarithm of D on all pixels."""
        return write_out(self.log_rows, self.log_rows.shape)

    @property
    def sigma(self) -> np.ndarray:
        """Standard deviation of log D on all pixels."""
        return write_out(
            lambda rows: np.sqrt(self.variance_rows(rows)), self.log_rows.shape
        )


def bin_factors(shape: tuple[int, int]) -> list[int]:
    """
    Return the bins at which dust is looked for.

    Parameters
    ----------
    shape : tuple of int
        Shape of the frame.

    Returns
    -------
    list of int
        Powers of 2, from the one that makes the frame at most 512 wide to 1, or
        to 2 for frames of more than 8 million pixels: what is smaller than two
        bins there can hardly be told from a star's absence, and takes three
        quarters of the time.
    """
    factor = 1
    while max(shape) / factor > _LARGEST:
        factor *= 2
    factors = [factor >> i for i in range(factor.bit_length())]
    return factors[:-1] if shape[0] * shape[1] > _FINEST else factors


def find_dust(
    even: Callable[[slice, slice], np.ndarray],
    bad: np.ndarray,
    session: Session,
    extra: dict[str, Any],
    *,
    halo: int,
) -> DustField:
    """
    Look for dust.

    Parameters
    ----------
    even : callable
        Takes slices of rows and columns, returns the pixels of the frame without
        its smooth fields, float32.

    bad : `~numpy.ndarray` of bool
        The mask of the frame.

    session : `~astroflat.neural.Session`
        The network.

    extra : dict
        The numbers of its calibration: ``min_chance``, ``min_significance`` and
        ``sigma_scale``.

    halo : int
        How many cells the network looks to each side.

    Returns
    -------
    DustField
        The dust.
    """
    shape = bad.shape
    log_flat, fine, wide = BoxRows(shape), BoxRows(shape), None

    def pixels(rows: slice, columns: slice) -> np.ndarray:
        light = even(rows, columns)
        return light if log_flat.empty else light * np.exp(-log_flat(rows, columns))

    counts = np.zeros(2, int)
    limits = {
        name: float(extra.get(name, default)) for name, default in _LIMITS.items()
    }
    factors = bin_factors(shape)
    bins = Bins(pixels, bad, factors[-1])
    for i, factor in enumerate(factors):
        found = run_level(bins, session, factor, halo)
        if found is None:
            break
        value, sigma, logit = found
        sigma = sigma * np.float32(extra.get('sigma_scale', 1.0))
        objects, accepted, doubtful = select_objects(value, sigma, logit, **limits)
        counts += accepted, doubtful
        variance = sigma**2
        if i == 0:
            full = tuple(2 * factor * n for n in variance.shape)
            wide = GridRows(variance, shape, order=1, full=full)
        for box, step, spread in _pieces(objects, variance, shape, factor):
            log_flat.add(box, step)
            if i:
                fine.add(box, spread)
            if factor != factors[-1]:
                bins.renew(*box)
    return DustField(log_flat, wide, fine, int(counts[0]), int(counts[1]))


def select_objects(
    value: np.ndarray,
    sigma: np.ndarray,
    logit: np.ndarray,
    *,
    min_chance: float,
    min_significance: float,
    max_area: float = 1.0,
) -> tuple[np.ndarray, int, int]:
    """
    Keep what is dust for sure.

    Parameters
    ----------
    value, sigma : `~numpy.ndarray`
        log D and its standard deviation.

    logit : `~numpy.ndarray`
        Log odds of dust being there.

    min_chance : float
        What the largest chance within an object has to reach.

    min_significance : float
        What the mean of value over sigma within it has to reach.

    max_area : float, optional
        Share of the frame beyond which an object has to be 1.35 times as
        significant; beyond 8 times as much nothing is dust.

    Returns
    -------
    value : `~numpy.ndarray`
        log D of the objects that are kept; exactly 0 elsewhere.

    accepted, doubtful : int
        Objects that are kept, and that are not.
    """
    from scipy import ndimage as ndi

    dark = (logit > 0) & (value < 0)
    labels, n = ndi.label(dark)
    if n == 0:
        return np.zeros_like(value), 0, 0
    inside = np.flatnonzero(labels)
    label = labels.ravel()[inside]
    likely = 1 / (1 + np.exp(-logit.ravel()[inside].astype(float))) > min_chance
    likely = np.bincount(label[likely], minlength=n + 1)[1:] > 0
    count = np.bincount(label)[1:]
    ratio = -value.ravel()[inside] / sigma.ravel()[inside]
    significance = np.bincount(label, ratio)[1:] / count
    area = count / dark.size
    keep = likely & (significance > min_significance)
    sure = (area <= _LARGE * max_area) & (significance > _SURE * min_significance)
    keep &= (area <= max_area) | sure
    accepted = int(keep.sum())
    if not accepted:
        return np.zeros_like(value), 0, n
    core = np.concatenate([[False], keep])[labels]
    region = ndi.binary_dilation(core, iterations=_MARGIN) & (core | ~dark)
    return np.where(region, np.minimum(value, 0), 0), accepted, n - accepted


def _pieces(
    objects: np.ndarray, variance: np.ndarray, shape: tuple[int, int], factor: int
) -> Iterator[tuple[tuple[slice, slice], GridRows, GridRows]]:
    """Give log D and its variance of the objects of 2 x 2 bins, in boxes of pixels."""
    from scipy import ndimage as ndi

    if not objects.any():
        return
    # Touching objects share a box, so that no pixel is in two of them.
    touched = ndi.binary_dilation(objects != 0, np.ones((3, 3), bool))
    labels, _ = ndi.label(touched)
    size = 2 * factor
    for i, box in enumerate(ndi.find_objects(labels), start=1):
        part = np.where(labels[box] == i, objects[box], 0)
        pixels = tuple(
            slice(size * s.start, min(size * s.stop, n))
            for s, n in zip(box, shape, strict=True)
        )
        spread = variance[box] * (part != 0)
        full = tuple(size * n for n in part.shape)
        kept = tuple(p.stop - p.start for p in pixels)
        log_flat, spread = (
            GridRows(field, kept, order=1, full=full) for field in (part, spread)
        )
        yield pixels, log_flat, spread
