# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
From the image to what is sent, and back: grey scale, size, aspect ratio.

Every step has an inverse that depends on nothing but what is kept here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from astroflat.genai.errors import GeminiMalformedError

__all__ = ['RATIOS', 'Canvas', 'Stretch']

#: The aspect ratios, width to height, that the models of images know.
RATIOS = ('1:1', '2:3', '3:2', '3:4', '4:3', '4:5', '5:4', '9:16', '16:9', '21:9')
# Their sizes are multiples of 16: 21:9 comes as 1584 x 672, one per cent off.
_RATIO_ERROR = 0.025
# The background is known to this many cells along the shorter side.
_CELLS = 12
_DEGREE = 4


@dataclass(frozen=True)
class Stretch:
    """
    Grey values for the eye, and back.

    Parameters
    ----------
    low, high : float
        What becomes 0 and 1.

    background : `~numpy.ndarray` or None, optional
        The image was divided by it, ``(ny, nx)``.
    """

    low: float
    high: float
    background: np.ndarray | None = None

    @classmethod
    def fit(
        cls, data: np.ndarray, good: np.ndarray, *, tail: float, room: float
    ) -> Stretch:
        """
        Choose a stretch for an image.

        Parameters
        ----------
        data : `~numpy.ndarray`
            The image.

        good : `~numpy.ndarray` of bool
            The pixels to look at.

        tail : float
            Per cent of these pixels that may be cut at either end.

        room : float
            How much wider than the rest the range is, as a fraction of it.

        Returns
        -------
        stretch : Stretch
            With a background if the image is positive throughout.
        """
        background = smooth_background(data, good)
        values = data[good] if background is None else (data / background)[good]
        # A sample of a million decides as well as all.
        values = values[:: max(1, values.size // 1_000_000)]
        low, middle, high = np.percentile(values.astype(float), [tail, 50, 100 - tail])
        least = 0.01 * abs(middle) or 1.0
        half = max((high - low) / 2 * (1 + room), least)
        centre = (high + low) / 2
        return cls(float(centre - half), float(centre + half), background)

    def forward(self, data: np.ndarray) -> np.ndarray:
        """Return the image in grey values, not cut: NaN stays."""
        ratio = data if self.background is None else data / self.background
        return (ratio - self.low) / (self.high - self.low)

    def inverse(self, grey: np.ndarray) -> np.ndarray:
        """Return grey values in the unit of the image."""
        ratio = self.low + grey * (self.high - self.low)
        return ratio if self.background is None else ratio * self.background


def smooth_background(data: np.ndarray, good: np.ndarray) -> np.ndarray | None:
    """
    Return the large-scale level of an image.

    Parameters
    ----------
    data : `~numpy.ndarray`
        The image, ``(ny, nx)``.

    good : `~numpy.ndarray` of bool
        The pixels to look at.

    Returns
    -------
    background : `~numpy.ndarray` or None
        A polynomial times the smoothed means of blocks over it; None if it
        comes near zero somewhere, as beside the limb of the Sun.
    """
    from scipy import ndimage

    side = max(1, min(data.shape) // (4 * _CELLS))
    total = _block_sum(np.where(good, data, 0).astype(float), side)
    count = _block_sum(good.astype(float), side)
    sigma = min(data.shape) / side / _CELLS
    weight = ndimage.gaussian_filter(count, sigma, mode='nearest') + 1e-6
    coarse = _polynomial(total, count)
    # What the first smoothing takes off a curved vignette, the second gives back.
    for _ in range(2):
        if not coarse.min() > 0.05 * coarse.max():
            return None
        ratio = ndimage.gaussian_filter(total / coarse, sigma, mode='nearest')
        # Far from any good pixel the level stays what it was.
        coarse = coarse * (ratio + 1e-6) / weight
    if not coarse.min() > 0.05 * coarse.max():
        return None
    y, x = ((np.arange(n) + 0.5) / side - 0.5 for n in data.shape)
    fine = _interpolate(_interpolate(coarse, y).T, x).T
    return np.maximum(fine, 0.02 * coarse.max()).astype(data.dtype)


def _polynomial(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Fit a polynomial to means of blocks; their median if it comes near zero."""
    from numpy.polynomial.legendre import legvander2d

    v, u = (np.linspace(-1, 1, n) for n in total.shape)
    terms = legvander2d(*np.meshgrid(v, u, indexing='ij'), (_DEGREE, _DEGREE))
    terms = terms[
        ...,
        [
            i
            for i in range((_DEGREE + 1) ** 2)
            if sum(divmod(i, _DEGREE + 1)) <= _DEGREE
        ],
    ]
    used = count >= 0.5 * count.max()
    mean = total[used] / count[used]
    fit = np.linalg.lstsq(terms[used], mean, rcond=None)[0]
    surface = terms @ fit
    if surface.min() > 0.05 * surface.max():
        return surface
    return np.full(total.shape, float(np.median(mean)))


def _block_sum(array: np.ndarray, side: int) -> np.ndarray:
    """Return the sums of square blocks; those at the end may be smaller."""
    rows = np.add.reduceat(array, np.arange(0, array.shape[0], side), axis=0)
    return np.add.reduceat(rows, np.arange(0, array.shape[1], side), axis=1)


def _area_means(image: np.ndarray, n: int) -> np.ndarray:
    """Return the means of n equal parts of the rows, which need not be whole."""
    total = np.zeros((image.shape[0] + 1, image.shape[1]))
    np.cumsum(image, axis=0, out=total[1:])
    edges = np.linspace(0, image.shape[0], n + 1)
    return np.diff(_interpolate(total, edges), axis=0) * (n / image.shape[0])


def _interpolate(array: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return rows between the rows of an array, and a little beyond them."""
    below = np.clip(np.floor(place).astype(int), 0, max(array.shape[0] - 2, 0))
    above = np.minimum(below + 1, array.shape[0] - 1)
    part = (place - below)[:, None]
    return array[below] * (1 - part) + array[above] * part


@dataclass(frozen=True)
class Canvas:
    """
    Where the image lies on what is sent.

    Parameters
    ----------
    shape : tuple of int
        The image, ``(ny, nx)``.

    size : tuple of int
        The image as it is sent, maybe smaller.

    total : tuple of int
        With the border that brings it to the aspect ratio.

    corner : tuple of int
        Where on it the image begins.

    ratio : str or None, optional
        The aspect ratio to ask for.
    """

    shape: tuple[int, int]
    size: tuple[int, int]
    total: tuple[int, int]
    corner: tuple[int, int] = (0, 0)
    ratio: str | None = None

    @classmethod
    def fit(cls, shape: tuple[int, int], *, max_side: int, pad: bool = False) -> Canvas:
        """
        Choose the size.

        Parameters
        ----------
        shape : tuple of int
            The image, ``(ny, nx)``.

        max_side : int
            The longest side of what is sent, before the border.

        pad : bool, optional
            Whether to bring it to an aspect ratio of `RATIOS`, that with the
            least border.

        Returns
        -------
        canvas : Canvas
            The geometry.
        """
        scale = min(1.0, max_side / max(shape))
        size = tuple(max(1, round(n * scale)) for n in shape)
        if not pad:
            return cls(shape, size, size)
        options = [(_padded(size, ratio), ratio) for ratio in RATIOS]
        total, ratio = min(options, key=lambda option: option[0][0] * option[0][1])
        corner = tuple((t - s) // 2 for t, s in zip(total, size, strict=True))
        return cls(shape, size, total, corner, ratio)

    @property
    def scale(self) -> float:
        """Pixels of the image per pixel sent, at least 1."""
        return max(n / m for n, m in zip(self.shape, self.size, strict=True))

    def place(self, image: np.ndarray) -> np.ndarray:
        """
        Return the image in the size that is sent, without the border.

        Parameters
        ----------
        image : `~numpy.ndarray`
            Finite, ``(ny, nx)``.

        Returns
        -------
        small : `~numpy.ndarray`
            Means over areas; no pixel is left out.
        """
        if self.size == self.shape:
            return image
        rows = _area_means(image, self.size[0])
        return _area_means(rows.T, self.size[1]).T

    def border(self, small: np.ndarray, *, value: float | None = None) -> np.ndarray:
        """Add the border: a mirror image, or one value."""
        widths = [
            (c, t - c - s)
            for c, t, s in zip(self.corner, self.total, self.size, strict=True)
        ]
        if value is None:
            return np.pad(small, widths, mode='symmetric')
        return np.pad(small, widths, constant_values=value)

    def crop(self, answer: np.ndarray, *, order: int = 3) -> np.ndarray:
        """
        Bring an answer to the size that was sent, without the border.

        Parameters
        ----------
        answer : `~numpy.ndarray`
            What came back, of any size in the aspect ratio.

        order : int, optional
            Of the interpolation: 1 for masks, which must not ring.

        Returns
        -------
        small : `~numpy.ndarray`
            As large as the image was sent.

        Raises
        ------
        GeminiMalformedError
            If the aspect ratio is another one.
        """
        wanted = self.total[1] / self.total[0]
        found = answer.shape[1] / answer.shape[0]
        if not abs(found / wanted - 1) <= _RATIO_ERROR:
            msg = (
                f'the answer has {answer.shape[1]} x {answer.shape[0]} pixels; '
                f'the aspect ratio {self.ratio} was asked for'
            )
            raise GeminiMalformedError(msg)
        whole = _resize(answer, self.total, order)
        y, x = self.corner
        return whole[y : y + self.size[0], x : x + self.size[1]]

    def enlarge(self, small: np.ndarray, *, order: int = 3) -> np.ndarray:
        """Return what was sent, or came back, in the size of the image."""
        return _resize(small, self.shape, order)


def _padded(size: tuple[int, int], ratio: str) -> tuple[int, int]:
    """Return the smallest size of an aspect ratio that holds an image."""
    width, height = map(int, ratio.split(':'))
    ny, nx = size
    if nx * height >= ny * width:
        return max(ny, round(nx * height / width)), nx
    return ny, max(nx, round(ny * width / height))


def _resize(image: np.ndarray, shape: tuple[int, int], order: int) -> np.ndarray:
    """Interpolate, or average if it becomes smaller."""
    if image.shape == tuple(shape):
        return image
    from skimage.transform import resize

    return resize(
        image,
        shape,
        order=order,
        mode='edge',
        preserve_range=True,
        anti_aliasing=shape[0] < image.shape[0],
    ).astype(image.dtype)
