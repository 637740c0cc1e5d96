# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What frames allow: levels, dither, and how much of them is sky."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.selfcal._blocks import block_medians, evaluate_plane, fit_plane

if TYPE_CHECKING:
    from astroflat.io import FrameStack
    from astroflat.selfcal._choice import Means

__all__ = ['Survey', 'survey']

_LOOKED_AT = 5
_BOX = 16
_DEGREE = 4
# A block that departs by more from a smooth sky shows an object.
_CONTRAST = 0.1


@dataclass(frozen=True)
class Survey:
    """
    What a set of frames is like.

    Parameters
    ----------
    n_frames : int
        Their number.

    video, color : bool
        Whether they are a video, and whether they have colour planes.

    levels : `~numpy.ndarray`
        The median of each frame, after bias and dark.

    filled : float
        The share of the frame that is filled by large objects.

    offsets : `~numpy.ndarray` or None
        The shift (dy, dx) of each frame, None if they could not be measured.

    trouble : str
        Why they could not.
    """

    n_frames: int
    video: bool
    color: bool
    levels: np.ndarray
    filled: float
    offsets: np.ndarray | None
    trouble: str = ''

    @property
    def level_ratio(self) -> float:
        """The brightest level over the faintest."""
        low, high = float(self.levels.min()), float(self.levels.max())
        return high / low if low > 0 else np.inf

    @property
    def dither(self) -> tuple[float, float]:
        """The rms of the offsets along their shortest and longest direction."""
        if self.offsets is None or len(self.offsets) < 2:
            return 0.0, 0.0
        spread = self.offsets - self.offsets.mean(axis=0)
        values = np.linalg.svd(spread, compute_uv=False) / np.sqrt(len(spread))
        return float(values.min()), float(values.max())

    def in_words(self) -> str:
        """Return the findings as a sentence."""
        short, long = self.dither
        if self.offsets is None:
            moves = (
                f'offsets unknown ({self.trouble})' if self.trouble else 'no offsets'
            )
        else:
            moves = f'offsets of {long:.1f} px rms, {short:.1f} px across'
        return (
            f'{self.n_frames} frames, levels {self.levels.min():.4g} to '
            f'{self.levels.max():.4g}, {100 * self.filled:.0f} % filled by large '
            f'objects, {moves}'
        )


def survey(
    stack: FrameStack,
    offset: Any = 0.0,
    *,
    one_field: bool = True,
    means: Means | None = None,
) -> Survey:
    """
    Look at frames.

    Parameters
    ----------
    stack : FrameStack
        The frames.

    offset : `~numpy.ndarray` or float, optional
        Subtracted from each.

    one_field : bool, optional
        Whether they show the same field, so that they have offsets.

    means : Means, optional
        Threads and the like, for measuring offsets.

    Returns
    -------
    survey : Survey
        What they are like.
    """
    n = len(stack)
    chosen = np.unique(np.linspace(0, n - 1, min(n, 50)).astype(int))
    levels = np.array([_level(_plane(stack, i, offset)) for i in chosen])
    looked = chosen[:: max(1, len(chosen) // _LOOKED_AT)]
    filled = np.mean([_filled(_plane(stack, i, offset)) for i in looked])
    offsets, trouble = None, ''
    if one_field and n >= 2:
        offsets, trouble = _offsets(stack, offset, means)
    return Survey(
        n,
        stack.video is not None,
        stack.color != 'mono' or len(stack.shape) == 4,
        levels,
        float(filled),
        offsets,
        trouble,
    )


def _plane(stack: FrameStack, i: int, offset: Any) -> np.ndarray:
    """Return a frame less bias and dark as one plane of floats, NaN where bad."""
    data = np.asarray(stack[i], dtype=np.float32) - offset
    mask = stack[i : i + 1].mask_rows(0, stack.shape[1])
    if mask is not None:
        data = np.where(mask[0], np.nan, data)
    return data.mean(axis=-1) if data.ndim == 3 else data


def _level(image: np.ndarray) -> float:
    """Return the median of what is good; 0 if nothing is."""
    good = image[np.isfinite(image)]
    return float(np.median(good)) if good.size else 0.0


def _filled(image: np.ndarray) -> float:
    """Return the share of blocks that show something else than a smooth sky."""
    box = max(2, min(_BOX, min(image.shape) // 8))
    blocks = block_medians(image, np.isfinite(image), box)
    known = np.isfinite(blocks)
    level = np.median(blocks[known]) if known.any() else 0.0
    if not level > 0:
        return 1.0
    sky = evaluate_plane(fit_plane(blocks, degree=_DEGREE), blocks.shape)
    return float(np.mean(np.abs(blocks - sky)[known] > _CONTRAST * level))


def _offsets(
    stack: FrameStack, offset: Any, means: Means | None
) -> tuple[np.ndarray | None, str]:
    """Return the offsets, or why there are none."""
    from astroflat.selfcal.shifts import measure_shifts

    try:
        shifts = measure_shifts(
            stack,
            bias=offset if np.ndim(offset) or offset else None,
            n_threads=None if means is None else means.threads,
            client=None if means is None else means.client,
            progress_bar=means is not None and means.progress_bar,
        )
    except ValueError as error:
        return None, str(error).split(';', maxsplit=1)[0]
    return np.asarray(shifts.offsets, dtype=float), ''
