# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Robust level and scatter of an image, block by block.

What counts as significant depends on where it lies: the same dip is dust on
an even flat and nothing on a plage. All thresholds of the dust detector are
multiples of the scatter of the block that a pixel lies in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ['BlockMap', 'block_scatter']

# Half the distance of the 16 % and 84 % quantiles is one sigma of a Gaussian.
_QUANTILES = (0.1587, 0.5, 0.8413)


@dataclass(frozen=True)
class BlockMap:
    """
    A slowly varying quantity, known for every block of an image.

    Parameters
    ----------
    values : `~numpy.ndarray`
        One value per block, ``(by, bx)``.

    shape : tuple of int
        The shape of the image, ``(ny, nx)``.
    """

    values: np.ndarray
    shape: tuple[int, int]

    def at(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """
        Interpolate linearly at some pixels.

        Parameters
        ----------
        y, x : array_like
            Pixel coordinates.

        Returns
        -------
        values : `~numpy.ndarray`
            The values there.
        """
        from scipy.ndimage import map_coordinates

        grid = [
            (np.asarray(position) + 0.5) * blocks / pixels - 0.5
            for position, blocks, pixels in zip(
                (y, x), self.values.shape, self.shape, strict=True
            )
        ]
        return map_coordinates(self.values, grid, order=1, mode='nearest')

    def full(self) -> np.ndarray:
        """
        Interpolate linearly at all pixels.

        Returns
        -------
        image : `~numpy.ndarray` of float32
            The values, ``(ny, nx)``.
        """
        values = self.values.astype(np.float32)
        for axis, pixels in enumerate(self.shape):
            low, high, share = _weights(values.shape[axis], pixels)
            share = share[:, None] if axis == 0 else share
            values = np.take(values, low, axis) * (1 - share) + (
                np.take(values, high, axis) * share
            )
        return values

    def steps(self, *, lowest: bool = False) -> np.ndarray:
        """
        Repeat the value of every block over its pixels.

        Parameters
        ----------
        lowest : bool, optional
            Take the lowest value of a block and its neighbours, so that no
            interpolated value is lower.

        Returns
        -------
        image : `~numpy.ndarray` of float32
            The values, ``(ny, nx)``.
        """
        from scipy.ndimage import minimum_filter

        values = self.values.astype(np.float32)
        if lowest:
            values = minimum_filter(values, 3, mode='nearest')
        rows, columns = (
            np.minimum(np.arange(pixels) * blocks // pixels, blocks - 1)
            for blocks, pixels in zip(values.shape, self.shape, strict=True)
        )
        return values[rows][:, columns]


def block_scatter(
    image: np.ndarray,
    block: float,
    *,
    step: int = 1,
    calm: bool = False,
    floor: float = 0.0,
) -> tuple[BlockMap, BlockMap]:
    """
    Measure the median and the scatter of blocks of an image.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The image, finite everywhere.

    block : float
        The wanted size of a block, in samples.

    step : int, optional
        Look at every ``step``-th pixel of both axes only.

    calm : bool, optional
        Follow the calmer ones of the neighbouring blocks instead of their
        median: where objects are as large as blocks, they must not count as
        the scatter they are to be compared with.

    floor : float, optional
        The least scatter.

    Returns
    -------
    level, scatter : BlockMap
        The median, and the smaller of the distances from the median to the
        16 % and to the 84 % quantile. Dust spoils only one of the two sides.
    """
    samples, blocks = _as_blocks(image[::step, ::step], block)
    kth = [int(q * (samples.shape[1] - 1) + 0.5) for q in _QUANTILES]
    samples = np.partition(samples, kth, axis=1)
    low, middle, high = (samples[:, k].reshape(blocks) for k in kth)
    scatter = np.minimum(high - middle, middle - low)
    return (
        BlockMap(middle, image.shape),
        BlockMap(np.maximum(_smooth(scatter, calm=calm), floor), image.shape),
    )


def _as_blocks(image: np.ndarray, block: float) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the samples of every block as a row."""
    by, bx = (max(1, round(n / block)) for n in image.shape)
    hy, hx = image.shape[0] // by, image.shape[1] // bx
    # What is left over is shared between both ends, so that flips agree.
    y, x = (image.shape[0] - by * hy) // 2, (image.shape[1] - bx * hx) // 2
    cut = image[y : y + by * hy, x : x + bx * hx]
    cut = cut.reshape(by, hy, bx, hx).swapaxes(1, 2)
    return cut.reshape(by * bx, hy * hx), (by, bx)


def _smooth(values: np.ndarray, *, calm: bool) -> np.ndarray:
    """Filter a map of blocks."""
    from scipy.ndimage import median_filter, percentile_filter

    if min(values.shape) < 3:
        return np.full_like(values, np.quantile(values, 0.35 if calm else 0.5))
    if calm:
        return percentile_filter(values, 35, size=5, mode='nearest')
    return median_filter(values, 3, mode='nearest')


def _weights(blocks: int, pixels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the two blocks between which every pixel lies, and where."""
    position = (np.arange(pixels) + 0.5) * blocks / pixels - 0.5
    position = np.clip(position, 0, blocks - 1)
    low = np.minimum(position.astype(int), max(blocks - 2, 0))
    high = np.minimum(low + 1, blocks - 1)
    return low, high, (position - low).astype(np.float32)
