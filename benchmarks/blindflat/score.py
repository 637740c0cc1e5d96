# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What an answer is worth.

Everything is measured against the truth, and on light without noise, so that
the numbers are errors of the method and not of the frame. What cannot be known
is not asked for: the scale of the flat and the constant of the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from astroflat import FlatSolution
from astroflat._nddata import unpack
from astroflat.quality import flat_residual
from benchmarks.blindflat.motes import deep_residual

PARTS = ('total', 'large', 'dust', 'pixel')
# A pixel below this share of the median of a flat counts as not corrected.
_MIN_VALUE = 0.05
_FAINT = 0.6


@dataclass(frozen=True)
class Answer:
    """
    What a method returned, in one form.

    Parameters
    ----------
    flat : `~numpy.ndarray`
        Finite and positive; pixels without a value have the median.

    gradients : list of `~numpy.ndarray` or None
        One additive field per frame, or a single one.

    verdict : str or None
        The verdict of the report of a `FlatSolution`.

    stated : float or None
        Its uncertainty, the root mean square over the frame in per cent.

    sigma : `~numpy.ndarray` or None
        The same pixel by pixel, relative to the flat.
    """

    flat: np.ndarray
    gradients: list[np.ndarray] | None = None
    verdict: str | None = None
    stated: float | None = None
    sigma: np.ndarray | None = None


def as_answer(result, *, shape, n_frames):
    """
    Read what a method returned.

    Parameters
    ----------
    result : float, array_like, CCDData, FlatSolution or tuple
        A flat, or a tuple of flat and gradient. The gradient has the unit of
        the frames: one image, a number, or one image per frame.

    shape : tuple of int
        Shape of a frame.

    n_frames : int
        Number of frames.

    Returns
    -------
    Answer
        Flat and gradient.

    Raises
    ------
    ValueError
        If the shape is wrong, or the flat has no value on half of the frame.
    """
    verdict = sigma = None
    if isinstance(result, FlatSolution):
        verdict = None if result.report is None else result.report.verdict
        sigma = _relative_sigma(result.flat)
        result = (result.flat, result.gradient)
    flat, gradient = result if isinstance(result, tuple) else (result, None)
    return Answer(
        _flat(flat, shape),
        _gradients(gradient, shape, n_frames),
        verdict=verdict,
        stated=None if sigma is None else 100 * float(np.sqrt(np.mean(sigma**2))),
        sigma=sigma,
    )


def _relative_sigma(flat):
    """Return the uncertainty of a flat over the flat, None where it has none."""
    if getattr(flat, 'uncertainty', None) is None:
        return None
    return np.asarray(flat.uncertainty.array / flat.data, dtype=float)


def score(case, answer):
    """
    Measure the errors of an answer.

    Parameters
    ----------
    case : Case
        The scene.

    answer : Answer
        What the method found.

    Returns
    -------
    dict of float or None
        In per cent: the parts of `astroflat.quality.flat_residual`;
        ``flatness``, the root mean square of the corrected light less the
        true light, over the faint 60 % of the pixels of the sky (all pixels
        of Sun and Moon), in units of the level there; ``gradient``, the root
        mean square error of G in the same unit, None if there is none;
        ``deep``, the error under motes that are deep and visible, see
        `benchmarks.blindflat.motes`, None without any;
        ``within``, where the flat has an uncertainty, the share of pixels whose
        error is no larger than twice that.
    """
    residual = flat_residual(answer.flat, case.flat, dust_mask=case.dust_mask)
    scores = {part: residual[f'{part}_percent'] for part in PARTS}
    # NaN where a scene has no such pixel; JSON knows no NaN.
    scores = {part: None if np.isnan(v) else v for part, v in scores.items()}
    guesses = _per_frame(answer.gradients, case)
    pairs = [_frame_scores(case, answer.flat, i, g) for i, g in enumerate(guesses)]
    flatness, gradient = np.sqrt(np.mean(np.square(pairs), axis=0))
    scores['flatness'] = 100 * float(flatness)
    scores['gradient'] = None if answer.gradients is None else 100 * float(gradient)
    scores['deep'] = deep_residual(case, answer.flat)
    if answer.sigma is not None:
        scores['within'] = _within(answer, case.flat)
    return scores


def _within(answer, flat):
    """Return the share of pixels, in per cent, less wrong than two sigma."""
    ratio = answer.flat / flat
    error = np.abs(ratio / np.median(ratio) - 1)
    return 100 * float(np.mean(error <= 2 * answer.sigma))


def _frame_scores(case, flat, index, guess):
    """Return the errors of one corrected frame and of its gradient, relative."""
    light, truth = case.light[index].astype(float), case.gradients[index]
    # A constant of G and the level of the sky cannot be told apart.
    guess = guess - guess.mean() + truth.mean(dtype=float)
    corrected = (light * case.flat + truth - guess) / flat
    chosen = np.ones(light.shape, bool)
    if case.at_night:
        chosen = light <= np.quantile(light, _FAINT)
    light, corrected = light[chosen], corrected[chosen]
    scale = (corrected @ light) / (light @ light)
    level = light.mean()
    error = (corrected / scale - light) / level
    return np.sqrt(np.mean(error**2)), np.sqrt(np.mean((guess - truth) ** 2)) / level


def _per_frame(gradients, case):
    """Return one gradient per frame."""
    if gradients is None:
        return [np.zeros(case.flat.shape)] * len(case.frames)
    if len(gradients) == 1:
        return gradients * len(case.frames)
    return gradients


def _flat(flat, shape):
    """Return a flat without holes."""
    if np.ndim(getattr(flat, 'data', flat)) == 0:
        flat = np.full(shape, float(flat))
    frame = unpack(flat, name='flat')
    if frame.shape != tuple(shape):
        msg = f'the flat has the shape {frame.shape}, the frames have {tuple(shape)}'
        raise ValueError(msg)
    good = ~frame.bad & (frame.data > 0)
    level = float(np.median(frame.data[good])) if good.any() else np.nan
    good &= frame.data > _MIN_VALUE * level
    if good.mean() < 0.5:
        msg = f'the flat has a value on {100 * good.mean():.0f} % of the frame only'
        raise ValueError(msg)
    return np.where(good, frame.data, level).astype(float)


def _gradients(gradient, shape, n_frames):
    """Return additive fields as a list, or None."""
    if gradient is None:
        return None
    if np.ndim(getattr(gradient, 'data', gradient)) == 0:
        return [np.full(shape, float(gradient))]
    several = isinstance(gradient, list) or np.ndim(gradient) == 3
    planes = [
        np.asarray(getattr(plane, 'data', plane), dtype=float)
        for plane in (gradient if several else [gradient])
    ]
    if len(planes) not in (1, n_frames) or any(p.shape != tuple(shape) for p in planes):
        msg = f'the gradient must be one image of {tuple(shape)} or one per frame'
        raise ValueError(msg)
    if not all(np.isfinite(plane).all() for plane in planes):
        msg = 'the gradient is not finite everywhere'
        raise ValueError(msg)
    return planes
