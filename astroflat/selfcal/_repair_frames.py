# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Frames divided by a flat, averaged in groups, with stars and nebulae left out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.selfcal._blocks import block_medians, evaluate_plane, fit_plane, upsample

if TYPE_CHECKING:
    from astroflat.io import FrameStack

__all__ = ['Evidence', 'as_offset', 'block_size', 'collect', 'mask_sources']

# Widths of the filters that find sources, and their threshold in sigma.
_WIDTHS = (1.2, 4.0)
_NSIGMA = 4.5
# A pixel that is off by more is a cosmic ray or a hot pixel.
_CLIP = 5.0


@dataclass(frozen=True)
class Evidence:
    """
    What frames say about a flat.

    Parameters
    ----------
    ratio : `~numpy.ndarray` of float32
        The mean of frame / flat of each group of frames, ``(k, ny, nx)``,
        every frame divided by its own smooth sky; 1 where nothing was seen.

    weight : `~numpy.ndarray` of float32
        Its inverse variance, 0 where nothing was seen.

    blocks : `~numpy.ndarray`
        Medians of frame / flat in blocks, ``(n, by, bx)``, NaN where too few
        pixels show the sky.

    box : int
        The size of the blocks.

    group : `~numpy.ndarray` of int
        The group of each frame.
    """

    ratio: np.ndarray
    weight: np.ndarray
    blocks: np.ndarray
    box: int
    group: np.ndarray

    @property
    def n_groups(self) -> int:
        """The number of groups."""
        return len(self.ratio)

    def mean(self, leave_out: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """
        Return the mean over groups.

        Parameters
        ----------
        leave_out : int, optional
            The group to leave out.

        Returns
        -------
        ratio, weight : `~numpy.ndarray`
            The mean, 1 where nothing was seen, and its inverse variance.
        """
        chosen = [k for k in range(self.n_groups) if k != leave_out]
        weight = self.weight[chosen].sum(axis=0, dtype=np.float64)
        total = sum(self.weight[k] * (self.ratio[k] - 1.0) for k in chosen)
        return 1 + total / np.maximum(weight, 1e-300), weight


def collect(
    stack: FrameStack,
    flat: np.ndarray,
    clean: tuple[np.ndarray, np.ndarray],
    good: np.ndarray,
    *,
    offset: np.ndarray | float = 0.0,
    n_groups: int = 5,
    workers: int = 1,
) -> Evidence:
    """
    Divide frames by a flat and average them in groups.

    Parameters
    ----------
    stack : FrameStack
        The frames.

    flat : `~numpy.ndarray`
        The flat, finite and positive where ``good``.

    clean : tuple of `~numpy.ndarray`
        The flat without its dust, and its smooth part. Sources are looked for
        in frames divided by them: what the flat takes for dust is no source.

    good : `~numpy.ndarray` of bool
        Where the flat may be used.

    offset : `~numpy.ndarray` or float, optional
        Subtracted from the frames.

    n_groups : int, optional
        The number of groups; each is in memory as two images.

    workers : int, optional
        The number of threads.

    Returns
    -------
    evidence : Evidence
        The averages.
    """
    n = len(stack)
    group = np.arange(n) % min(n_groups, n)
    shape = (int(group.max()) + 1, *flat.shape)
    total, weight = (np.zeros(shape, np.float32) for _ in range(2))
    blocks = []
    box = block_size(flat.shape)

    def one(i: int) -> tuple:
        image = np.asarray(stack[i], dtype=np.float32) - offset
        seen = good & np.isfinite(image)
        mask = stack[i : i + 1].mask_rows(0, flat.shape[0])
        if mask is not None:
            seen &= ~mask[0]
        return _frame(image, seen, flat, clean, box, stack.label(i))

    with ThreadPoolExecutor(max_workers=workers) as pool:
        # In rounds, so that no more frames than threads are in memory.
        for start in range(0, n, workers):
            rows = range(start, min(start + workers, n))
            for i, (excess, inverse, medians) in zip(
                rows, pool.map(one, rows), strict=True
            ):
                weight[group[i]] += inverse
                total[group[i]] += inverse * excess
                blocks.append(medians)
    np.divide(total, weight, out=total, where=weight > 0)
    return Evidence(total + np.float32(1), weight, np.stack(blocks), box, group)


def block_size(shape: tuple[int, int]) -> int:
    """Return the size of the blocks for the sky."""
    return max(8, min(shape) // 24)


def _frame(
    image: np.ndarray,
    seen: np.ndarray,
    flat: np.ndarray,
    clean: tuple[np.ndarray, np.ndarray],
    box: int,
    label: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return frame / flat / sky - 1, its inverse variance, and block medians."""
    level = float(np.median(image[seen])) if seen.any() else np.nan
    if not level > 0:
        msg = (
            f'the median of {label} is {level}; a flat can only be compared with '
            'a positive sky, free of bias and dark current (bias=, dark=)'
        )
        raise ValueError(msg)
    image = np.where(seen, image, level).astype(np.float32)
    seen = seen & ~mask_sources(image / clean[0], seen, image / clean[1])
    ratio = image / flat
    medians = block_medians(ratio, seen, box)
    sky = evaluate_plane(fit_plane(medians, degree=2), flat.shape, box)
    excess = np.where(seen, ratio / sky - 1, 0).astype(np.float32)
    sigma = _pixel_noise(excess, seen)
    seen &= np.abs(excess) < max(_CLIP * sigma, 0.3)
    inverse = np.where(seen, np.float32(1 / max(sigma, 1e-6) ** 2), np.float32(0))
    return np.where(seen, excess, 0), inverse * np.minimum(flat, 2), medians


def _pixel_noise(image: np.ndarray, seen: np.ndarray) -> float:
    """Return the noise of a pixel from the differences of neighbours."""
    pairs = seen[:, 1:] & seen[:, :-1]
    steps = (image[:, 1:] - image[:, :-1])[pairs]
    return float(1.0484 * np.median(np.abs(steps))) if steps.size else 1.0


def mask_sources(
    image: np.ndarray, seen: np.ndarray, other: np.ndarray | None = None
) -> np.ndarray:
    """
    Mask stars, galaxies and nebulae in one frame.

    Parameters
    ----------
    image : `~numpy.ndarray`
        A frame divided by a flat without dust.

    seen : `~numpy.ndarray` of bool
        False where a pixel is bad.

    other : `~numpy.ndarray`, optional
        The same divided by the smooth part of the flat: a source has to be
        bright in both, a ghost of dust that was not found is so in one.

    Returns
    -------
    mask : `~numpy.ndarray` of bool
        True on sources, with a margin.

    Notes
    -----
    Only what is brighter than its surroundings is taken: dust is not.
    """
    box = max(16, min(image.shape) // 6)
    excess = [
        np.where(seen, part - smooth_background(part, seen, box), 0)
        for part in (image, other)
        if part is not None
    ]
    mask = np.zeros(image.shape, bool)
    for width in _WIDTHS:
        # A brighter source must not make its surroundings bright as well.
        usable = seen & ~mask
        found = np.logical_and.reduce([_bright(e, usable, width) for e in excess])
        mask |= _grow(found, 2 + 2 * width)
    return mask


def _bright(excess: np.ndarray, usable: np.ndarray, width: float) -> np.ndarray:
    """Return what stands out of the noise of a smoothed image."""
    from scipy import ndimage

    weight = ndimage.gaussian_filter(usable.astype(np.float32), width)
    value = ndimage.gaussian_filter(np.where(usable, excess, 0), width)
    value /= np.maximum(weight, 1e-6)
    level = np.median(value[usable]) if usable.any() else 0.0
    spread = 1.4826 * np.median(np.abs(value[usable] - level))
    return (value - level > _NSIGMA * spread) & (weight > 0.05)


def _grow(mask: np.ndarray, radius: float) -> np.ndarray:
    """Grow a mask by a radius."""
    from scipy import ndimage

    if not mask.any():
        return mask
    return ndimage.distance_transform_edt(~mask) <= radius


def smooth_background(image: np.ndarray, seen: np.ndarray, box: int) -> np.ndarray:
    """
    Return the background of an image that sources do not lift.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The image.

    seen : `~numpy.ndarray` of bool
        The pixels to use.

    box : int
        The scale in pixels.

    Returns
    -------
    background : `~numpy.ndarray`
        A polynomial and the median of blocks, smoothed by a median of 3 x 3.
    """
    from scipy import ndimage

    side = max(8, box // 4)
    fine = block_medians(image, seen, side)
    trend = evaluate_plane(fit_plane(fine, degree=2), image.shape, side)
    rest = block_medians(image - trend, seen, box)
    known = np.isfinite(rest)
    rest = np.where(known, rest, np.median(rest[known]) if known.any() else 0)
    rest = ndimage.median_filter(rest, 3, mode='nearest')
    return (trend + upsample(rest, image.shape, box)).astype(np.float32)


def as_offset(
    bias: Any, dark: Any, shape: tuple[int, ...], unit: Any = None
) -> np.ndarray | float:
    """
    Return what is subtracted from the frames.

    Parameters
    ----------
    bias, dark : CCDData, array_like, path, number or None
        The images.

    shape : tuple of int
        The shape of the frames.

    unit : unit, optional
        Their unit, if they have one.

    Returns
    -------
    offset : `~numpy.ndarray` or float
        Their sum, NaN where one is masked.
    """
    from numbers import Real

    from astroflat._nddata import unpack

    offset: Any = 0.0
    for name, image in (('bias', bias), ('dark', dark)):
        if image is None:
            continue
        if isinstance(image, Real):
            offset = offset + float(image)
            continue
        frame = unpack(image, name=name, unit=unit, ndim=(2, 3))
        if frame.shape != tuple(shape):
            msg = f'{name} has the shape {frame.shape}, the frames have {tuple(shape)}'
            raise ValueError(msg)
        offset = offset + np.where(frame.bad, np.float32(np.nan), frame.data)
    return offset
