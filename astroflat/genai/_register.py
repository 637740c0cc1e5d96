# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Where the pixels of an answer really are.

Models of images return sizes that only nearly have the aspect ratio that was
asked for, and move what they paint. Displacements of blocks are measured by
phase correlation, an affine map is fitted to them robustly, and undone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ['Alignment', 'align', 'mask_shift']

# A block is believed if it resembles its partner so much once it is in place.
_ALIKE = 0.5
# And if its displacement is known so well, in pixels.
_SURE = 0.25
_BLOCKS = 10
_LEAST_SIDE = 40
# Fewer blocks than this do not tell a stretch from a shift.
_ENOUGH = 8
# A mask lies wrong if so much more darkness is somewhere else.
_BETTER = 1.3


@dataclass(frozen=True)
class Alignment:
    """
    An affine map from the places of the reference to those of an answer.

    Parameters
    ----------
    matrix : `~numpy.ndarray`
        ``(2, 3)``: displacement in y and x as a function of 1, y, x.

    blocks : int
        How many blocks decided; 0 if there is nothing to compare.

    largest : float
        The largest displacement in the frame, in pixels.

    residual : float
        What the blocks miss the map by, root mean square, in pixels.
    """

    matrix: np.ndarray
    blocks: int = 0
    largest: float = 0.0
    residual: float = 0.0

    def undo(self, answer: np.ndarray) -> np.ndarray:
        """Return the answer with its pixels where they belong."""
        if self.blocks == 0 or self.largest < 0.02:
            return answer
        from scipy import ndimage

        return ndimage.affine_transform(
            answer,
            np.eye(2) - self.matrix[:, 1:],
            offset=-self.matrix[:, 0],
            order=3,
            mode='nearest',
        )


def align(reference: np.ndarray, answer: np.ndarray, good: np.ndarray) -> Alignment:
    """
    Measure how an answer is displaced.

    Parameters
    ----------
    reference : `~numpy.ndarray`
        What was sent, ``(ny, nx)``.

    answer : `~numpy.ndarray`
        What came back, of the same size.

    good : `~numpy.ndarray` of bool
        The pixels to compare.

    Returns
    -------
    alignment : Alignment
        Without structure, that of no displacement, from 0 blocks.
    """
    nothing = Alignment(np.zeros((2, 3)))
    rows = _measure(reference, answer, good)
    if len(rows) < 3:
        return nothing
    place, move = rows[:, :2], rows[:, 2:]
    design = np.column_stack([np.ones(len(rows)), place])
    if len(rows) < _ENOUGH:
        design = design[:, :1]
    fit, used = _robust(design, move)
    matrix = np.zeros((2, 3))
    matrix[:, : design.shape[1]] = fit.T
    rest = (move - design @ fit)[used]
    ny, nx = reference.shape
    corners = np.array([[1, y, x] for y in (0, ny - 1) for x in (0, nx - 1)])
    largest = np.hypot(*(matrix @ corners.T)).max()
    residual = np.sqrt(np.mean(np.sum(rest**2, axis=1)))
    return Alignment(matrix, int(used.sum()), float(largest), float(residual))


def _measure(reference: np.ndarray, answer: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Return centre and displacement of every block that can be compared."""
    side = max(_LEAST_SIDE, min(reference.shape) // _BLOCKS)
    rows = []
    for y in range(0, reference.shape[0] - side + 1, side):
        for x in range(0, reference.shape[1] - side + 1, side):
            box = (slice(y, y + side), slice(x, x + side))
            move = _displacement(reference[box], answer[box], good[box])
            if move is not None:
                rows.append([y + side / 2, x + side / 2, *move])
    return np.array(rows).reshape(-1, 4)


def _displacement(
    reference: np.ndarray, answer: np.ndarray, good: np.ndarray
) -> np.ndarray | None:
    """Return what brings a block of the answer into place, if it is certain."""
    from scipy import ndimage
    from skimage.registration import phase_cross_correlation

    if good.mean() < 0.5:
        return None
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in good.shape))
    pair = [_flat(a, good) for a in (reference, answer)]
    if min(p.std() for p in pair) == 0:
        return None
    move, _, _ = phase_cross_correlation(
        *(p * window for p in pair), upsample_factor=20, normalization=None
    )
    if np.abs(move).max() > min(good.shape) / 4:
        return None
    back = ndimage.shift(pair[1], move, order=1, mode='nearest')
    alike = np.corrcoef(pair[0][good], back[good])[0, 1]
    return move if alike > _ALIKE and _error(*pair, back, good) < _SURE else None


def _error(
    reference: np.ndarray, answer: np.ndarray, back: np.ndarray, good: np.ndarray
) -> float:
    """Return how uncertain a displacement is, in pixels, from slopes and noise."""
    from scipy import ndimage

    gain = np.dot(reference[good], back[good]) / np.dot(back[good], back[good])
    noise = np.std((reference - gain * back)[good])
    # The slopes of the noise itself tell nothing.
    smooth = ndimage.gaussian_filter(answer, 2.0)
    slopes = [np.sum(slope[good] ** 2) for slope in np.gradient(gain * smooth)]
    return float(noise / np.sqrt(max(min(slopes), 1e-300)))


def _flat(block: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Return a block less its plane, 0 where it says nothing."""
    y, x = np.indices(block.shape)
    design = np.stack([np.ones(block.size), y.ravel(), x.ravel()], axis=-1)
    use = good.ravel()
    fit = np.linalg.lstsq(design[use], block.ravel()[use], rcond=None)[0]
    return np.where(good, block - (design @ fit).reshape(block.shape), 0.0)


def _robust(design: np.ndarray, move: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit by least squares, leaving out what is far off."""
    used = np.ones(len(move), dtype=bool)
    for _ in range(5):
        fit = np.linalg.lstsq(design[used], move[used], rcond=None)[0]
        distance = np.hypot(*(move - design @ fit).T)
        limit = max(3 * 1.4826 * float(np.median(distance)), 0.1)
        new = distance <= limit
        if new.sum() < max(3, design.shape[1]) or (new == used).all():
            break
        used = new
    return fit, used


def mask_shift(
    dark: np.ndarray, mask: np.ndarray, *, reach: int
) -> tuple[float, float]:
    """
    Tell whether a mask would fit better somewhere else.

    Parameters
    ----------
    dark : `~numpy.ndarray`
        How much darker than its surroundings each pixel is, at least 0.

    mask : `~numpy.ndarray` of bool
        The mask, ``(ny, nx)``.

    reach : int
        How far to look, in pixels.

    Returns
    -------
    shift : float
        The distance to the best place, 0 if that is not clearly better for
        most objects.

    gain : float
        How much more darkness is under the mask there.
    """
    from scipy.signal import fftconvolve

    if not mask.any():
        return 0.0, 1.0
    reach = min(reach, *(n - 1 for n in mask.shape))
    padded = np.pad(dark, reach)
    score = fftconvolve(padded, mask[::-1, ::-1].astype(float), mode='valid')
    here = max(float(score[reach, reach]), 1e-9)
    best = np.unravel_index(np.argmax(score), score.shape)
    gain = float(score[best]) / here
    move = (int(best[0]) - reach, int(best[1]) - reach)
    if gain < _BETTER or not _most_gain(dark, mask, move):
        return 0.0, gain
    return float(np.hypot(*move)), gain


def _most_gain(dark: np.ndarray, mask: np.ndarray, move: tuple[int, int]) -> bool:
    """Tell whether most objects would gain, and not one that is very dark."""
    from scipy import ndimage

    labels, n = ndimage.label(mask)
    index = np.arange(1, n + 1)
    here = ndimage.mean(dark, labels, index)
    moved = ndimage.shift(dark, (-move[0], -move[1]), order=0)
    there = ndimage.mean(moved, labels, index)
    return bool(np.mean(there > _BETTER * here) > 0.6)
