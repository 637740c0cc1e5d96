# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How flat real frames are: what stays with the detector when the sky moves.

Frames that are combined without registration keep what belongs to the detector
and lose what belongs to the sky.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from astroflat._nddata import unpack
from astroflat._report import to_mmag
from astroflat.solution import FlatSolution

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ['block_background', 'high_pass', 'remove_hot_pixels', 'stack_flatness']

_FINE, _COARSE = 3.0, 25.0
_DUST_BORDER = 60


def stack_flatness(
    frames: Any,
    truth: Any = None,
    *,
    flat: Any = None,
    gradient: Any = None,
    bias: Any = None,
    clean: bool = True,
    box: int = 48,
    border: int = 40,
    dust_threshold: float = 0.004,
) -> dict[str, float]:
    """
    Measure how flat the unregistered stack of frames is.

    Parameters
    ----------
    frames : FrameStack, path, list or array_like
        The frames, as taken by `astroflat.open_frames`. Use frames that the
        flat was not made from: a flat made of the very frames that it is
        measured on always looks perfect.

    truth : CCDData, array_like or path, optional
        The true flat in any scale. With it the dust and the vignetting are
        measured apart from the sky.

    flat : FlatSolution, CCDData, array_like or path, optional
        The flat to judge; none by default, to see what there was to correct.

    gradient : CCDData, array_like or path, optional
        The gradient to subtract, in the unit of the frames; that of the
        solution by default.

    bias : CCDData, array_like or path, optional
        The bias to subtract first.

    clean : bool, optional
        Whether to replace hot pixels, which stay with the detector as well.

    box : int, optional
        The size of the blocks of the background.

    border : int, optional
        The width of the border that is left out.

    dust_threshold : float, optional
        Dust is where the true flat, smoothed by 3 px over smoothed by 25 px,
        departs by more than this from 1.

    Returns
    -------
    flatness : dict of float
        ``n_frames``; ``bkg_mad``, the robust relative scatter of the
        background in blocks (lower is flatter), also as ``bkg_mmag``. With
        ``truth``: ``dust_slope`` and ``vign_slope``, the regression of what
        is left in the stack on the true flat, inside the dust and at large
        scale: 1 if it is all still there, 0 if it is removed, negative if it
        is overcorrected; and ``n_dust_pixels``.

    Raises
    ------
    ValueError
        If the frames are too small for four blocks inside the border, or the
        shapes differ.

    Notes
    -----
    Each frame is divided by its median before the median is taken over the
    frames. A sky that does not move between the frames (a nebula larger than
    the dither, a gradient) stays in the stack and limits ``bkg_mad``; the
    slopes are hardly touched by it. All frames are held in memory, in double
    precision.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.quality import stack_flatness
    >>> y, x = np.mgrid[:300, :300]
    >>> flat = 1 - 0.2 * ((x - 150) ** 2 + (y - 150) ** 2) / 150**2
    >>> frames = 500 * flat + np.random.default_rng(0).normal(0, 2, (3, 300, 300))
    >>> before = stack_flatness(frames, flat)
    >>> after = stack_flatness(frames, flat, flat=flat)
    >>> print(round(before['vign_slope'], 2), abs(after['vign_slope']) < 0.01)
    1.0 True
    """
    from astroflat.io import open_frames

    with open_frames(frames) as stack:
        ny, nx = shape = stack.shape[1:3]
        if min(ny, nx) < 2 * border + 2 * box:
            msg = (
                f'frames of {nx} x {ny} pixels hold no four blocks of {box} px inside '
                f'a border of {border} px; give a smaller box= or border='
            )
            raise ValueError(msg)
        fields = _fields(flat, gradient, bias, shape)
        image = _combine(_corrected(stack, fields, clean))
        n_frames = len(stack)
    inside = (slice(border, ny - border), slice(border, nx - border))
    background = block_background(image[inside], box)
    scatter = _mad(background)
    result = {'n_frames': n_frames, 'bkg_mad': scatter, 'bkg_mmag': to_mmag(scatter)}
    if truth is not None:
        true = _plane(truth, 'truth', shape)
        true = true / np.median(true)
        reference = block_background(true[inside], box)
        result |= _dust_slope(image, true, dust_threshold)
        result['vign_slope'] = _large_slope(background, reference)
    return result


def block_background(image: np.ndarray, box: int = 48) -> np.ndarray:
    """
    Return the median of blocks of pixels, smoothed by a median of 3 x 3 blocks.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The image; rows and columns beyond the last whole block are left out.

    box : int, optional
        The size of a block.

    Returns
    -------
    background : `~numpy.ndarray`
        One value per block.
    """
    ny, nx = (n // box for n in image.shape)
    blocks = image[: ny * box, : nx * box].reshape(ny, box, nx, box)
    return ndimage.median_filter(np.median(blocks, axis=(1, 3)), size=3)


def high_pass(image: np.ndarray) -> np.ndarray:
    """
    Return an image smoothed a little over the same smoothed a lot, less 1.

    Parameters
    ----------
    image : `~numpy.ndarray`
        A positive image, finite.

    Returns
    -------
    detail : `~numpy.ndarray`
        What is between 3 and 25 px in size.
    """
    coarse = ndimage.gaussian_filter(image, _COARSE)
    return ndimage.gaussian_filter(image, _FINE) / coarse - 1


def remove_hot_pixels(image: np.ndarray) -> np.ndarray:
    """
    Replace pixels that stand out of all but one or two of their neighbours.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The image.

    Returns
    -------
    clean : `~numpy.ndarray`
        Hot pixels are replaced by the median of 5 x 5 pixels. So are the
        peaks of bright and narrow stars: use it for backgrounds only.
    """
    smooth = ndimage.median_filter(image, size=5)
    scatter = _mad(image - smooth)
    near = ndimage.rank_filter(image, -3, size=3)
    hot = (image - near > 6 * scatter) & (image - smooth > 8 * scatter)
    return np.where(hot, smooth, image)


def _plane(image: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return an image in double precision, its bad pixels filled with its median."""
    frame = unpack(image, name=name)
    if frame.shape != tuple(shape):
        msg = f'{name} has the shape {frame.shape}, the frames have {tuple(shape)}'
        raise ValueError(msg)
    data = frame.data.astype(np.float64)
    bad = frame.bad
    return np.where(bad, np.median(data[~bad]), data) if bad.any() else data


def _fields(
    flat: Any, gradient: Any, bias: Any, shape: tuple[int, ...]
) -> dict[str, Any]:
    """Return what is applied to the frames, each an array or a neutral number."""
    if isinstance(flat, FlatSolution):
        gradient = flat.gradient if gradient is None else gradient
        flat = flat.flat
    neutral = {'flat': 1.0, 'gradient': 0.0, 'bias': 0.0}
    given = {'flat': flat, 'gradient': gradient, 'bias': bias}
    for name, value in given.items():
        if isinstance(value, (int, float)):
            neutral[name] = float(value)
        elif value is not None:
            neutral[name] = _plane(value, name, shape)
    return neutral


def _corrected(
    stack: Any, fields: dict[str, Any], clean: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the corrected frames and their bad pixels."""
    for i in range(len(stack)):
        data = stack[i].astype(np.float64)
        data = data.mean(axis=-1) if data.ndim == 3 else data
        bad = ~np.isfinite(data)
        mask = stack[i : i + 1].mask_rows(0, data.shape[0])
        if mask is not None:
            bad |= mask[0].any(axis=-1) if mask.ndim == 4 else mask[0]
        data = data - fields['bias']
        if bad.any():
            data[bad] = np.median(data[~bad]) if not bad.all() else 0.0
        data = remove_hot_pixels(data) if clean else data
        yield (data - fields['gradient']) / fields['flat'], bad


def _combine(frames: Iterator[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the median of the frames, each divided by its median."""
    scaled, holes = [], False
    for data, bad in frames:
        good = np.isfinite(data) & ~bad
        level = float(np.median(data[good])) if good.any() else np.nan
        if not level > 0:
            msg = (
                f'the median of frame {len(scaled)} is {level}; flatness needs a '
                'positive sky, free of bias (bias=)'
            )
            raise ValueError(msg)
        holes = holes or not good.all()
        scaled.append(np.where(good, data / level, np.nan))
    if not holes:
        return np.median(scaled, axis=0)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)
        image = np.nanmedian(scaled, axis=0)
    return np.where(np.isfinite(image), image, 1.0)


def _dust_slope(
    image: np.ndarray, truth: np.ndarray, threshold: float
) -> dict[str, float]:
    """Return how much of the dust is left in the stack."""
    expected = high_pass(truth)
    # Stars move, but bright ones leave trails: a small median takes them out.
    seen = high_pass(ndimage.median_filter(image, size=5))
    dust = np.zeros(image.shape, bool)
    inner = (slice(_DUST_BORDER, n - _DUST_BORDER) for n in image.shape)
    inner = tuple(inner)
    dust[inner] = np.abs(expected[inner]) > threshold
    expected, seen = expected[dust], seen[dust]
    if not seen.size:
        return {'dust_slope': np.nan, 'n_dust_pixels': 0}
    keep = np.abs(seen - np.median(seen)) < 6 * _mad(seen)
    slope = _slope(expected[keep], seen[keep])
    return {'dust_slope': slope, 'n_dust_pixels': int(np.count_nonzero(dust))}


def _large_slope(background: np.ndarray, reference: np.ndarray) -> float:
    """Return how much of the large scale is left in the stack."""
    seen = background / np.median(background) - 1
    expected = reference / np.median(reference) - 1
    # A block full of a bright object says nothing about the flat.
    fair = np.abs(seen) < 0.2
    return _slope(expected[fair], seen[fair])


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    square = float(x @ x)
    return float(x @ y) / square if square else np.nan


def _mad(values: np.ndarray) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))
