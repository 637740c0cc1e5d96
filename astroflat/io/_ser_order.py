# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The byte order of 16-bit SER samples, decided by the samples.

The format says that the flag is 1 for little-endian data. The first popular
programs did the reverse, the others followed, and a few do what is written.
The flag therefore says nothing; neighbouring pixels do.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ['ByteOrderEvidence', 'decide_byteorder']

# One order must be rougher by this factor before it is ruled out. Real frames
# give 5 to 100; pure noise over all 16 bits gives 1.
_CLEAR = 1.5


@dataclass(frozen=True)
class ByteOrderEvidence:
    """
    Why the samples of a SER video are read in one byte order.

    Parameters
    ----------
    order : {'little', 'big'}
        The order used.

    declared : {'little', 'big'}
        What the header flag means to most programs: 0 is little, 1 is big.

    decided_by : {'override', 'depth', 'roughness', 'flag'}
        The argument, the unused high bits, the differences between
        neighbours, or the flag because nothing else could tell.

    reason : str
        The same in words.

    roughness_little, roughness_big : float
        Mean absolute difference of neighbouring samples read in either
        order; NaN where it was not measured.

    max_little, max_big : int
        The largest sample read in either order; -1 if not measured.

    Examples
    --------
    >>> import numpy as np, os, tempfile
    >>> from astroflat.io import SERFile, write_ser
    >>> path = os.path.join(tempfile.mkdtemp(), 'sun.ser')
    >>> write_ser(path, np.arange(600, dtype='u2').reshape(1, 20, 30), flag='standard')
    >>> with SERFile(path) as video:
    ...     evidence = video.byteorder_evidence
    >>> evidence.order, evidence.declared, evidence.decided_by
    ('little', 'big', 'roughness')
    """

    order: Literal['little', 'big']
    declared: Literal['little', 'big']
    decided_by: Literal['override', 'depth', 'roughness', 'flag']
    reason: str
    roughness_little: float = np.nan
    roughness_big: float = np.nan
    max_little: int = -1
    max_big: int = -1

    @property
    def agrees(self) -> bool:
        """Whether the header flag means the order used."""
        return self.order == self.declared

    def __str__(self) -> str:
        return f'{self.order}-endian: {self.reason}'


def decide_byteorder(
    samples: np.ndarray,
    *,
    bit_depth: int,
    flag: int,
    step: int = 1,
    planes: int = 1,
) -> ByteOrderEvidence:
    """
    Decide the byte order of 16-bit samples.

    Parameters
    ----------
    samples : `~numpy.ndarray` of uint16
        Rows of the video, ``(rows, samples)``, as they lie in memory.

    bit_depth : int
        The significant bits according to the header.

    flag : int
        The flag of the header.

    step : int, optional
        Distance in pixels to the next sample of the same colour in a row.

    planes : int, optional
        Interleaved samples per pixel.

    Returns
    -------
    evidence : ByteOrderEvidence
        The order, and why.

    Notes
    -----
    In order: (1) of a depth below 16 bits, the order in which the largest
    sample fits the depth, if the other does not; (2) the order in which
    neighbours differ less, if by a factor of 1.5 or more; (3) the flag, in
    the sense that most programs give it. Samples of which one byte is always
    0 or always 255 are 8-bit data in a 16-bit container, stored low or high:
    the differences cannot tell which, so (2) is skipped.
    """
    declared = 'big' if flag else 'little'
    little, big = _both_orders(np.ascontiguousarray(samples))
    numbers = {
        'max_little': int(little.max(initial=0)),
        'max_big': int(big.max(initial=0)),
        'roughness_little': _roughness(little, step * planes),
        'roughness_big': _roughness(big, step * planes),
    }
    undecided = (
        f'the samples look alike in both orders; the header flag {flag} means '
        f'{declared}-endian to most programs'
    )
    order, decided_by, reason = (
        _by_depth(numbers, bit_depth)
        or _by_roughness(numbers, samples)
        or (declared, 'flag', undecided)
    )
    if order != declared:
        reason += f'; the header flag {flag} would mean {declared}-endian'
    return ByteOrderEvidence(order, declared, decided_by, reason, **numbers)


def _both_orders(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples read as little- and as big-endian."""
    native = samples.view(np.uint16)
    swapped = native.byteswap()
    return (native, swapped) if sys.byteorder == 'little' else (swapped, native)


def _roughness(samples: np.ndarray, distance: int) -> float:
    """Return the mean absolute difference of neighbours in a row."""
    if samples.ndim < 2 or samples.shape[1] <= distance or samples.size == 0:
        return float('nan')
    wide = samples.astype(np.int32)
    return float(np.mean(np.abs(wide[:, distance:] - wide[:, :-distance])))


def _by_depth(numbers: dict, bit_depth: int) -> tuple[str, str, str] | None:
    """Decide by the high bits that the depth leaves unused."""
    limit = 2**bit_depth - 1
    fits = {name: numbers[f'max_{name}'] <= limit for name in ('little', 'big')}
    if bit_depth >= 16 or fits['little'] == fits['big']:
        return None
    order, other = ('little', 'big') if fits['little'] else ('big', 'little')
    reason = (
        f'the largest sample is {numbers[f"max_{order}"]}, which fits '
        f'{bit_depth} bits; in the other order it is {numbers[f"max_{other}"]}'
    )
    return order, 'depth', reason


def _by_roughness(numbers: dict, samples: np.ndarray) -> tuple[str, str, str] | None:
    """Decide by the differences between neighbours."""
    pairs = np.ascontiguousarray(samples).view(np.uint8).reshape(-1, 2)
    if pairs.shape[0] == 0 or _eight_bits(pairs):
        return None
    rough = {name: numbers[f'roughness_{name}'] for name in ('little', 'big')}
    order, other = sorted(rough, key=rough.get)
    if not rough[other] > _CLEAR * rough[order]:
        return None
    reason = (
        f'neighbouring samples differ by {rough[order]:.4g} on average; '
        f'in the other order by {rough[other]:.4g}'
    )
    return order, 'roughness', reason


def _eight_bits(pairs: np.ndarray) -> bool:
    """Whether one byte of all samples carries nothing."""
    low, high = pairs.min(axis=0), pairs.max(axis=0)
    return bool(((high == 0) | (low == 255)).any())
