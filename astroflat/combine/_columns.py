# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Copying columns of a strip into a block, with what is missing set aside."""

from __future__ import annotations

import numpy as np

from astroflat.combine._keys import key_dtype, missing_value, sign_bit

__all__ = [
    'BLOCK_BYTES',
    'Strip',
    'block_width',
    'load',
    'ordered_dtype',
    'sortable_dtype',
]

# Half of a typical second-level cache, for the samples of one block.
BLOCK_BYTES = 384 * 1024
# Fewer pixels do not use the vector units; more do not make calls cheaper.
_WIDTHS = (64, 32768)


class Strip:
    """
    Samples of some pixels in all frames.

    Parameters
    ----------
    samples : `~numpy.ndarray`
        ``(n, columns)``, native, C-contiguous; only read. NaN is missing.

    mask : `~numpy.ndarray` of bool or None
        ``(n, stop - start)``, True is bad.

    start, stop : int
        The columns that are meant.
    """

    __slots__ = ('mask', 'samples', 'start', 'stop')

    def __init__(
        self, samples: np.ndarray, mask: np.ndarray | None, start: int, stop: int
    ) -> None:
        self.samples = samples
        self.mask = mask
        self.start = start
        self.stop = stop

    @property
    def size(self) -> int:
        """The number of columns."""
        return self.stop - self.start

    def blocks(self, width: int) -> list[tuple[slice, np.ndarray, np.ndarray | None]]:
        """
        Cut the strip.

        Parameters
        ----------
        width : int
            The most columns of a piece.

        Returns
        -------
        blocks : list of (slice, `~numpy.ndarray`, `~numpy.ndarray` or None)
            Where the piece lies in the strip, and views of its samples and
            mask.
        """
        pieces = []
        for start in range(0, self.size, width):
            part = slice(start, min(start + width, self.size))
            whole = slice(self.start + part.start, self.start + part.stop)
            mask = None if self.mask is None else self.mask[:, part]
            pieces.append((part, self.samples[:, whole], mask))
        return pieces

    def choose(self, columns: np.ndarray) -> Strip:
        """
        Copy some columns.

        Parameters
        ----------
        columns : `~numpy.ndarray` of int
            Which, counted from the start of the strip.

        Returns
        -------
        strip : Strip
            A strip of these columns.
        """
        mask = None if self.mask is None else self.mask[:, columns]
        samples = self.samples[:, self.start + columns]
        return Strip(samples, mask, 0, len(columns))


def block_width(n: int, itemsize: int, most: int = BLOCK_BYTES) -> int:
    """
    Return how many pixels go into a block.

    Parameters
    ----------
    n : int
        The number of frames.

    itemsize : int
        Bytes per sample.

    most : int, optional
        Bytes per block.

    Returns
    -------
    width : int
        A multiple of 64, at least 64.
    """
    low, high = _WIDTHS
    return max(low, min(high, int(most) // (n * itemsize) // low * low))


def ordered_dtype(dtype: np.dtype) -> np.dtype:
    """
    Return the type in which samples are compared in plain NumPy.

    Parameters
    ----------
    dtype : `numpy.dtype`
        The type of the samples.

    Returns
    -------
    dtype : `numpy.dtype`
        That of the keys for integers, floating-point numbers as they are.
    """
    return dtype if np.dtype(dtype).kind == 'f' else key_dtype(dtype)


def sortable_dtype(dtype: np.dtype) -> np.dtype:
    """
    Return the type in which samples are sorted fastest.

    Parameters
    ----------
    dtype : `numpy.dtype`
        The type of the samples.

    Returns
    -------
    dtype : `numpy.dtype`
        As `ordered_dtype`, but of four bytes at least.
    """
    ordered = np.dtype(ordered_dtype(dtype))
    return np.dtype(np.uint32) if ordered.itemsize < 4 else ordered


def load(
    block: np.ndarray, samples: np.ndarray, mask: np.ndarray | None
) -> tuple[np.ndarray | int, np.ndarray | None]:
    """
    Copy samples into a block, missing ones as the largest value.

    Parameters
    ----------
    block : `~numpy.ndarray`
        ``(n, width)`` of `ordered_dtype` or wider, to be filled.

    samples : `~numpy.ndarray`
        ``(n, width)``.

    mask : `~numpy.ndarray` of bool or None
        ``(n, width)``, True is bad.

    Returns
    -------
    count : int or `~numpy.ndarray` of int
        The number of samples that are there: one number if all are.

    missing : `~numpy.ndarray` of bool or None
        Which are not; `None` if all are.
    """
    if samples.dtype.kind == 'i':
        bits = samples.view(key_dtype(samples.dtype))
        np.bitwise_xor(bits, sign_bit(bits.dtype), out=block)
    else:
        np.copyto(block, samples)
    missing = mask
    if samples.dtype.kind == 'f':
        nan = np.isnan(block)
        missing = nan if mask is None else nan | mask
    if missing is None or not missing.any():
        return len(block), None
    np.copyto(block, missing_value(block.dtype), where=missing)
    return len(block) - np.count_nonzero(missing, axis=0), missing
