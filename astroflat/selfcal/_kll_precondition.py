# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The approximate inverse of the normal equations, which knows the offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from astroflat.selfcal._kll_local import enlarge, sum_cells

if TYPE_CHECKING:
    from astroflat.selfcal._kll_operator import SkyOperator

__all__ = ['Preconditioner', 'symbol']

# Patterns that the offsets tell worse than this are left to the iterations:
# in float32 the preconditioner would amplify rounding.
_FLOOR = 1e-7
# Pixels of the sky with less than this share of the frames count as this much.
_THIN = 0.02
# Waves told worse than this are long; of these 1 - x^2 loses its digits.
_LONG = 1e-2
# Weights that vary by more than this factor over the sky are followed.
_EVEN = 2.0
# Cells per side that this is done on.
_CELLS = 64
# Rows that are worked on at a time.
_ROWS = 64


def symbol(offsets: np.ndarray, ky: np.ndarray, kx: np.ndarray) -> np.ndarray:
    """
    Return how well waves are told from the sky: 0 not at all, 1 fully.

    Parameters
    ----------
    offsets : `~numpy.ndarray`
        ``(n, 2)``.

    ky, kx : `~numpy.ndarray`
        Wave numbers in radians per pixel, 1-D.

    Returns
    -------
    share : `~numpy.ndarray`
        ``(len(ky), len(kx))``: one minus the squared modulus of the mean
        phase factor of the frames.
    """
    centred = offsets - offsets.mean(axis=0)
    along_y = np.exp(1j * np.outer(ky, centred[:, 0])).astype(np.complex64)
    along_x = np.exp(1j * np.outer(centred[:, 1], kx)).astype(np.complex64)
    phase = along_y @ along_x / np.float32(len(offsets))
    return 1 - (phase.real**2 + phase.imag**2)


class Preconditioner:
    """
    The inverse for an endless detector: exact there, and good at borders.

    The matrix is the weight of each pixel of the sky, minus what the flat takes
    away, which in waves is a dyad of the groups. By the formula of Sherman and
    Morrison its inverse is one over the weight, plus a term in cosine waves.
    At borders, where few frames look, the first term is large by itself, and
    the second knows no border, as long waves should not.

    Parameters
    ----------
    operator : SkyOperator
        The normal equations.

    offsets : `~numpy.ndarray`
        ``(n, 2)``.
    """

    def __init__(
        self,
        operator: SkyOperator,
        offsets: np.ndarray,
    ) -> None:
        layout = operator.layout
        cover = operator.coverage()
        blocks = (len(layout.origins), *layout.block)
        self._roots = [_root(block) for block in cover.reshape(blocks)]
        thin = np.float32(_THIN * max(float(cover.max()), 1.0))
        self._least = np.float32(1 / max(float(cover.max()), 1.0))
        # float16 in half of the memory: any positive numbers would do.
        self._alone = _reciprocal(cover, thin, self._least)
        self._levels = np.array([max(w, 1.0) for w in operator.sums])
        self._threads = operator.threads
        self._blocks = blocks
        self._dyad = _dyads(operator, offsets)

    def __call__(
        self, sky: np.ndarray, levels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """
        Multiply by the approximate inverse.

        Parameters
        ----------
        sky : `~numpy.ndarray`
            float32.

        levels : `~numpy.ndarray`
            ``(n,)``.

        Returns
        -------
        sky, levels : `~numpy.ndarray`
            The product.
        """
        out = sky.copy()
        blocks = out.reshape(self._blocks)
        for block, root in zip(blocks, self._roots, strict=True):
            block *= root
        self._waves(blocks)
        for block, root in zip(blocks, self._roots, strict=True):
            block *= root
        for row, alone, given in zip(out, self._alone, sky, strict=True):
            row += (alone * self._least) * given
        return out, levels / self._levels

    def _waves(self, blocks: np.ndarray) -> None:
        """Do the part of waves, in place."""
        from scipy.fft import dctn, idctn

        options = {'norm': 'ortho', 'workers': self._threads, 'overwrite_x': True}
        if len(blocks) == 1:
            waves = dctn(blocks[0], **options)
            waves *= self._dyad[0]
            blocks[0] = idctn(waves, **options)
            return
        common = np.zeros(self._blocks[1:], dtype=np.float32)
        for dyad, block in zip(self._dyad, blocks, strict=True):
            common += dyad * dctn(block.copy(), **options)
        for dyad, block in zip(self._dyad, blocks, strict=True):
            block[:] = idctn(dyad * common, **options)


def _dyads(operator: SkyOperator, offsets: np.ndarray) -> list[np.ndarray]:
    """
    Return the factors of the term in waves, one for each group.

    Of a single group its square is returned.
    """
    layout = operator.layout
    ky, kx = (np.pi * np.arange(m) / m for m in layout.block)
    dyads = [np.zeros(layout.block, np.float32) for _ in layout.origins]
    members = [np.flatnonzero(layout.groups == g) for g in range(len(dyads))]
    for first in range(0, len(ky), _ROWS):
        rows = slice(first, first + _ROWS)
        left = np.ones((len(ky[rows]), len(kx)))
        for dyad, frames in zip(dyads, members, strict=True):
            if len(frames) == 0:
                continue
            share = len(frames) / len(offsets) / (1 + operator.ridge)
            told = _told(offsets[frames], ky[rows], kx)
            # 1 - share (1 - told), in digits that a small one keeps.
            left += share * told - share
            dyad[rows] = share * np.maximum(1 - told, 0)
        if first == 0:
            # The mean of the sky is that of the flat.
            left[0, 0] = 1
        np.maximum(left, _FLOOR, out=left)
        for dyad in dyads:
            dyad[rows] /= left
            if len(dyads) > 1:
                dyad[rows] = np.sqrt(dyad[rows])
    return dyads


def _told(offsets: np.ndarray, ky: np.ndarray, kx: np.ndarray) -> np.ndarray:
    """Return how well cosines are told, which hold waves of both signs."""
    told = symbol(offsets, ky, kx)
    told += symbol(offsets, ky, -kx)
    told *= np.float32(0.5)
    spread = np.cov(offsets.T, bias=True)
    for row, y in zip(told, ky, strict=True):
        long = spread[0, 0] * y**2 + spread[1, 1] * kx**2
        np.copyto(row, long, where=long < _LONG, casting='same_kind')
    return told


def _root(cover: np.ndarray) -> np.ndarray | np.float32:
    """Return one over the root of the weights around; a number if they are even."""
    most = max(float(cover.max()), 1.0)
    number = [min(m, _CELLS) for m in cover.shape]
    cells = sum_cells(cover, number) * (np.prod(number) / cover.size)
    # By weight, so that thin borders do not count.
    mean = _spread_out(cells**2) / np.maximum(_spread_out(cells), 1e-6 * most)
    low, high = float(mean.min()), float(mean.max())
    if high <= _EVEN * low:
        return np.float32(1 / np.sqrt(max(high, 1.0)))
    mean = np.maximum(mean, _THIN * most)
    return enlarge(1 / np.sqrt(mean), cover.shape)


def _spread_out(cells: np.ndarray) -> np.ndarray:
    """Return local means of cells that reach everywhere."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(cells, 2.0) + 1e-3 * cells.mean()


def _reciprocal(cover: np.ndarray, thin: np.float32, least: np.float32) -> np.ndarray:
    """Return one over the weights in units of its least, 0 where there is none."""
    out = np.empty(cover.shape, dtype=np.float16)
    for row, given in zip(out, cover, strict=True):
        row[:] = np.where(given > 0, 1 / (least * np.maximum(given, thin)), 0)
    return out
