# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Bring an image to the photometric scale of another.

A clean image that comes from outside, cleaned by another program or a
generative model, has its own gain, offset and bit depth. Before the observed
image is divided by it, `match_histogram` maps it back, from the pixels alone
that are known to be good in both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from astroflat._nddata import unpack
from astroflat._provenance import record
from astroflat.dust._weights import mask_or_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

    from astroflat._nddata import Frame

    Mapping = Callable[[np.ndarray], np.ndarray]

__all__ = ['match_histogram']

Method = Literal['quantile', 'linear', 'local']

# Groups of like values between which the quantile mapping is straight.
_GROUPS = 8192

# Fits are made to the means of about this many blocks.
_BLOCKS = 4096

# A gain less certain than this is that of the levels alone.
_GAIN_ERROR = 0.02


def match_histogram(
    image: Any,
    reference: Any,
    *,
    mask: ArrayLike | None = None,
    method: Method = 'quantile',
    degree: int = 2,
    add_keyword: Any = True,
) -> Any:
    """
    Map the values of an image to the photometric scale of a reference.

    Parameters
    ----------
    image : CCDData, NDData, Quantity, masked array, array_like or path
        The image to map, ``(ny, nx)``.

    reference : CCDData, NDData, Quantity, masked array, array_like or path
        The image whose scale is wanted, of the same shape.

    mask : array_like of bool or float, optional
        The pixels to learn nothing from, ``(ny, nx)``: the dust. Of weights,
        every pixel above zero. Pixels that are masked or not finite in either
        image are left out too.

    method : {'quantile', 'linear', 'local'}, optional
        What may differ between the two:

        * ``'quantile'``: any monotone curve. The k-th largest good pixel of
          one is given the value of the k-th largest of the other;
        * ``'linear'``: a gain and an offset, fitted robustly;
        * ``'local'``: a gain and an offset that vary over the frame as
          polynomials of the position.

    degree : int, optional
        The degree of the polynomials of ``'local'``, 0 to 3.

    add_keyword : bool, str, `ccdproc.Keyword` or dict, optional
        What to write to the metadata, as in ccdproc.

    Returns
    -------
    matched : same kind as ``image``
        All pixels mapped, in the unit of the reference if that has one.
        Nothing is clipped: beyond the range of the good pixels the mapping
        goes on as a straight line.

    Raises
    ------
    ValueError
        If the shapes differ or fewer than 16 good pixels are left.

    See Also
    --------
    inpaint : Make a clean image that needs no matching.
    synthetic_flat : Divide the observed by the clean image.

    Notes
    -----
    No bins: values that are equal are mapped together to the mean of their
    partners, so that the mean over the good pixels is that of the reference,
    however coarse the steps of the image are. Mapping an image to itself
    returns it.

    ``'quantile'`` needs no registration of the two, but matches the noise
    too: if one of the images is much smoother, ``'linear'`` is the better
    choice. The fits compare means of blocks of the frame, so these two need
    the images to show the same scene at the same place.

    An uncertainty is scaled by the mean gain.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat import match_histogram
    >>> rng = np.random.default_rng(1)
    >>> reference = rng.normal(9000.0, 300.0, (64, 64))
    >>> cleaned = np.round(reference / 16383 * 255)
    >>> matched = match_histogram(cleaned, reference)
    >>> bool(abs(matched.mean() / reference.mean() - 1) < 1e-6)
    True
    """
    if method not in {'quantile', 'linear', 'local'} or degree not in {0, 1, 2, 3}:
        msg = (
            "method must be 'quantile', 'linear' or 'local', and degree 0 to 3, "
            f'not {method!r} and {degree!r}'
        )
        raise ValueError(msg)
    frame = unpack(image, name='image')
    wanted = unpack(reference, name='reference')
    good = _good_pixels(frame, wanted, mask)
    source, target = frame.data.astype(float), wanted.data.astype(float)
    if method == 'quantile':
        curve, gain = _quantile_curve(source[good], target[good])
        matched = curve(source)
    else:
        blocks = _Blocks(source, target, good)
        gain, offset = blocks.line()
        if method == 'linear':
            matched = gain * source + offset
        else:
            matched = blocks.surfaces(source, gain, offset, degree)
    return _pack(frame, wanted, matched, gain, method, add_keyword)


def _good_pixels(frame: Frame, wanted: Frame, mask: ArrayLike | None) -> np.ndarray:
    """Return what can be compared."""
    if frame.shape != wanted.shape:
        msg = f'image has the shape {frame.shape}, reference {wanted.shape}'
        raise ValueError(msg)
    good = ~(frame.bad | wanted.bad)
    if mask is not None:
        mask = mask_or_weights(mask) > 0
        if mask.shape != good.shape:
            msg = f'mask has the shape {mask.shape}, the images have {good.shape}'
            raise ValueError(msg)
        good &= ~mask
    if good.sum() < 16:
        msg = f'only {int(good.sum())} pixels are good in both images and not masked'
        raise ValueError(msg)
    return good


def _quantile_curve(source: np.ndarray, target: np.ndarray) -> tuple[Mapping, float]:
    """Return the curve from one distribution to the other, and its mean gain."""
    source, target = np.sort(source), np.sort(target)
    starts = _group_starts(source)
    counts = np.diff(starts, append=source.size)
    x = np.add.reduceat(source, starts) / counts
    y = np.add.reduceat(target, starts) / counts
    gain = _mean_gain(x, y)

    def curve(values: np.ndarray) -> np.ndarray:
        mapped = np.interp(values, x, y)
        mapped += gain * (np.minimum(values - x[0], 0) + np.maximum(values - x[-1], 0))
        return mapped

    return curve, gain


def _group_starts(values: np.ndarray) -> np.ndarray:
    """
    Cut sorted values into groups; equal values are never parted.

    The groups are of equal numbers, but get smaller towards both ends, where
    the distribution is thin and a curve through means would be too coarse.
    """
    count = values.size
    tail = np.unique(np.geomspace(1, count, 512).astype(int))
    cuts = [np.linspace(0, count, _GROUPS + 1).astype(int), tail, count - tail]
    cuts = np.unique(np.concatenate(cuts))
    cuts = cuts[cuts < count]
    return np.unique(np.searchsorted(values, values[cuts], side='left'))


def _mean_gain(x: np.ndarray, y: np.ndarray) -> float:
    """Return the slope between the outer twentieths of a curve."""
    if x.size == 1:
        return float(y[0] / x[0]) if x[0] else 1.0
    low, high = int(0.05 * (x.size - 1)), int(np.ceil(0.95 * (x.size - 1)))
    return float((y[high] - y[low]) / (x[high] - x[low]))


class _Blocks:
    """Means of two images over the same blocks of good pixels."""

    def __init__(
        self, source: np.ndarray, target: np.ndarray, good: np.ndarray
    ) -> None:
        self.shape = source.shape
        side = max(1, int(np.sqrt(source.size / _BLOCKS)))
        y, x = np.nonzero(good)
        block = (y // side) * (self.shape[1] // side + 1) + x // side
        count = np.bincount(block)
        # A block of few pixels is all noise.
        used = count >= 0.25 * side**2
        count = count[used]
        parts = [source[good], target[good], y, x]
        means = [np.bincount(block, part)[used] / count for part in parts]
        self.source, self.target, self.y, self.x = means
        self.weight = np.sqrt(count / side**2)

    def line(self) -> tuple[float, float]:
        """Return the robust gain and offset."""
        ratio = float(np.median(self.target) / np.median(self.source))
        centre = float(self.source.mean())
        design = np.stack([np.ones(self.source.size), self.source - centre], axis=-1)
        if np.ptp(self.source) == 0:
            return ratio, 0.0
        (level, gain), error = _robust_fit(design, self.target, self.weight)
        if gain <= 0 or error[1] > _GAIN_ERROR * abs(gain):
            # Too flat a scene to tell a gain from an offset.
            return ratio, 0.0
        return float(gain), float(level - gain * centre)

    def surfaces(
        self, source: np.ndarray, gain: float, offset: float, degree: int
    ) -> np.ndarray:
        """Return an image mapped with gain and offset surfaces."""
        rest = self.target - (gain * self.source + offset)
        centre, spread = self.source.mean(), self.source.std() or 1.0
        contrast = (self.source - centre) / spread
        terms = self._terms(self.y, self.x, degree)
        design = np.concatenate([terms, terms * contrast[:, None]], axis=1)
        fit, _ = _robust_fit(design, rest, self.weight)
        additive, multiplying = np.split(fit, 2)
        y, x = np.ogrid[: self.shape[0], : self.shape[1]]
        matched = gain * source + offset + self._surface(y, x, additive, degree)
        contrast = (source - centre) / spread
        return matched + self._surface(y, x, multiplying, degree) * contrast

    def _terms(self, y: np.ndarray, x: np.ndarray, degree: int) -> np.ndarray:
        """Return products of Legendre polynomials of the position."""
        parts = [self._legendre(y, x, i, j) for i, j in _orders(degree)]
        return np.stack(np.broadcast_arrays(*parts), axis=-1)

    def _legendre(self, y: np.ndarray, x: np.ndarray, i: int, j: int) -> np.ndarray:
        from numpy.polynomial.legendre import Legendre

        v = 2 * y / max(self.shape[0] - 1, 1) - 1
        u = 2 * x / max(self.shape[1] - 1, 1) - 1
        return Legendre.basis(i)(v) * Legendre.basis(j)(u)

    def _surface(
        self, y: np.ndarray, x: np.ndarray, values: np.ndarray, degree: int
    ) -> np.ndarray:
        """Evaluate a polynomial on the frame without one array per term."""
        surface = np.zeros(self.shape)
        for value, (i, j) in zip(values, _orders(degree), strict=True):
            surface += value * self._legendre(y, x, i, j)
        return surface


def _orders(degree: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]


def _robust_fit(
    design: np.ndarray, values: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fit by least squares with Tukey's biweight; return it and its errors."""
    robust = np.ones(values.size)
    for _ in range(20):
        root = weight * np.sqrt(robust)
        fit, _, rank, _ = np.linalg.lstsq(design * root[:, None], values * root)
        rest = (values - design @ fit) * weight
        scale = 1.4826 * np.median(np.abs(rest - np.median(rest)))
        floor = 1e-12 * np.abs(values).max()
        new = np.clip(1 - (rest / (4.685 * max(scale, floor, 1e-300))) ** 2, 0, 1) ** 2
        if np.abs(new - robust).max() < 1e-3:
            break
        robust = new
    covariance = np.linalg.pinv((design * root[:, None]).T @ (design * root[:, None]))
    freedom = max(values.size - rank, 1)
    variance = (root**2 * (values - design @ fit) ** 2).sum() / freedom
    return fit, np.sqrt(variance * np.diag(covariance))


def _pack(
    frame: Frame,
    wanted: Frame,
    matched: np.ndarray,
    gain: float,
    method: str,
    add_keyword: Any,
) -> Any:
    """Put the result into the kind of container that the image had."""
    changes: dict[str, Any] = {}
    if wanted.unit is not None:
        changes['unit'] = wanted.unit
    if frame.uncertainty is not None:
        power = {'std': 1, 'var': 2, 'ivar': -2}[frame.uncertainty_type]
        factor = frame.data.dtype.type(abs(gain) ** power)
        changes['uncertainty'] = frame.uncertainty * factor
    text = f'matched to a reference ({method}), mean gain {gain:.6g}'
    record(frame.meta, 'match_histogram', history=text, add_keyword=add_keyword)
    return frame.repack(matched.astype(frame.data.dtype), **changes)
