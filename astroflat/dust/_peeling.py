# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Objects are accepted one by one and taken out of the image.

What lies in, on or beside an object is measured again without it, so that a
mote on a mote is found and the rings of a donut are not taken for objects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from astroflat.dust._contours import Pyramid
from astroflat.dust._features import Features, measure_candidates
from astroflat.dust._score import calm_odds, log_odds
from astroflat.dust._whitening import pool

__all__ = ['DustObject', 'peel']

# The depth of an object is known to this share: what is left of it when it is
# taken out counts as noise for what lies within.
_IMPERFECT = 0.1
_ROUNDS = 4
# Dark dust larger than this may hang over the border, with this share within.
_LARGE = 8.0
_SEEN, _SEEN_FAINT = 0.35, 0.95
_SURE = 15.0
# Bins of the distance from the centre in units of the outline: fine at the rim.
_BINS = np.r_[np.arange(0, 0.9, 0.1), np.arange(0.9, 1.61, 0.07)]


@dataclass(frozen=True)
class DustObject:
    """
    One object.

    Parameters
    ----------
    x, y, radius : float
        Centre and equivalent radius in pixels.

    sign : int
        +1 if it is dark, -1 if bright.

    depth, rim, middle : float
        Drop of the logarithm of the light: of all, of the outer part, of the
        centre.

    snr : float
        Significance of its outline.

    probability : float
        That it is dust.

    box : tuple of slice
        Where it is in the image.

    mask : `~numpy.ndarray` of bool
        Its pixels in the box.
    """

    x: float
    y: float
    radius: float
    sign: int
    depth: float
    rim: float
    middle: float
    snr: float
    probability: float
    box: tuple[slice, slice]
    mask: np.ndarray


@dataclass
class _State:
    """The image without what has been accepted, and the candidates left."""

    residual: np.ndarray
    removed: np.ndarray
    pyramid: Pyramid
    features: Features
    sign: np.ndarray
    peak: np.ndarray
    texture: np.ndarray
    noise: np.ndarray
    fine: np.ndarray
    removed_there: np.ndarray
    odds: np.ndarray


def peel(
    image: np.ndarray,
    pyramid: Pyramid,
    features: Features,
    *,
    sign: np.ndarray,
    peak: np.ndarray,
    texture: np.ndarray,
    noise: np.ndarray,
    fine: np.ndarray,
    threshold: float,
    min_depth: float,
    largest: float,
) -> list[DustObject]:
    """
    Accept objects in the order of their significance.

    Parameters
    ----------
    image : `~numpy.ndarray` of float32
        The logarithm of the light, finite everywhere.

    pyramid : Pyramid
        The same at several sizes.

    features : Features
        The measurements of the candidates.

    sign, peak, texture, noise, fine : `~numpy.ndarray`
        Their signs, the significance of the filter that found them, the
        texture around them at their scale, the white noise per pixel, and the
        texture at the finest scale.

    threshold : float
        The least logarithm of the odds.

    min_depth : float
        The least depth.

    largest : float
        The largest radius in pixels.

    Returns
    -------
    objects : list of DustObject
        The most significant first within each round.
    """
    zero = np.zeros(len(features))
    state = _State(
        image.copy(),
        np.zeros_like(image),
        pyramid,
        features,
        sign.astype(int),
        peak,
        texture,
        noise,
        fine,
        zero,
        _judge(features, sign, peak, texture, noise, fine, zero),
    )
    accepted: list[DustObject] = []
    for turn in range(_ROUNDS):
        new, later = _accept(state, accepted, turn, threshold, min_depth)
        if not later or not _measure_again(state, np.array(later), new, turn, largest):
            break
        if turn and not new:
            break
    return _without_ghosts(accepted)


def _judge(
    f: Features,
    sign: np.ndarray,
    peak: np.ndarray,
    texture: np.ndarray,
    noise: np.ndarray,
    fine: np.ndarray,
    nested: np.ndarray,
) -> np.ndarray:
    """Return the log odds, by the better of the two ways to judge."""
    odds = log_odds(f, peak, texture, nested)
    alone = (nested < 0.5) & (sign > 0)
    return np.maximum(odds, np.where(alone, calm_odds(f, noise, fine), -np.inf))


def _accept(
    state: _State,
    accepted: list[DustObject],
    turn: int,
    threshold: float,
    min_depth: float,
) -> tuple[list[DustObject], list[int]]:
    """Go through the candidates once; return the new objects and who waits."""
    f = state.features
    sure = state.odds > threshold
    new, later = [], []
    blocked = np.zeros(state.residual.shape, bool)
    for i in np.argsort(-np.where(sure, 1e4 + f.snr, state.odds)):
        if f.rim[i] < min_depth / 2 or state.odds[i] < min(-4.0, threshold):
            continue
        if turn and f.rim[i] < 0.35 * state.removed_there[i]:
            continue
        if _cut_off(f, i, state.sign[i], state.residual.shape):
            continue
        # Rims of dark dust look bright: bright objects wait until it is out.
        if turn == 0 and (state.sign[i] < 0 or not sure[i]):
            later.append(i)
            continue
        if not sure[i]:
            continue
        box, reach = _reach(f, i, state.residual.shape)
        core = reach <= 1
        if (
            np.count_nonzero(core) < 2
            or _known(f, i, accepted)
            or _remnant(f, i, accepted)
        ):
            continue
        if blocked[box][core].any():
            later.append(i)
            continue
        found = _take_out(state, i, box, reach)
        blocked[box] |= reach <= 1.15 + 1.5 / f.radius[i]
        accepted.append(found)
        new.append(found)
    return new, later


def _cut_off(f: Features, i: int, sign: int, shape: tuple[int, int]) -> bool:
    """Tell whether the border cuts off so much that nothing can be said."""
    if sign > 0 and f.radius[i] > _LARGE:
        faint = f.snr[i] < _SURE
        return f.inside[i] < (_SEEN_FAINT if faint else _SEEN)
    # Glow and roll-off at the border are closed by it to what looks like a spot.
    gap = min(f.x[i], f.y[i], shape[1] - 1 - f.x[i], shape[0] - 1 - f.y[i])
    return gap < f.radius[i] + 2


def _known(f: Features, i: int, accepted: list[DustObject]) -> bool:
    """Tell whether an object of this place and size has been accepted."""
    return any(
        np.hypot(a.x - f.x[i], a.y - f.y[i]) < 0.5 * max(a.radius, f.radius[i])
        and abs(np.log(a.radius / f.radius[i])) < 0.45
        for a in accepted
    )


def _remnant(f: Features, i: int, accepted: list[DustObject]) -> bool:
    """Tell whether a candidate may be what an imperfect removal has left."""
    return any(
        f.rim[i] < _IMPERFECT * a.rim
        and np.hypot(a.x - f.x[i], a.y - f.y[i]) < a.radius + f.radius[i] + 3
        for a in accepted
    )


def _reach(
    f: Features, i: int, shape: tuple[int, int], grow: float = 1.6
) -> tuple[tuple[slice, slice], np.ndarray]:
    """Return a box, and in it the distance in units of the outline."""
    outline = f.outline[i]
    half = outline.max() * grow + 3
    y_0, x_0 = f.y_0[i], f.x_0[i]
    box = tuple(
        slice(max(0, int(c - half)), min(n, int(c + half) + 2))
        for c, n in zip((y_0, x_0), shape, strict=True)
    )
    dy = np.arange(box[0].start, box[0].stop)[:, None] - y_0
    dx = np.arange(box[1].start, box[1].stop)[None] - x_0
    turn = np.arctan2(dy, dx) % (2 * np.pi)
    angles = 2 * np.pi * np.arange(len(outline) + 1) / len(outline)
    edge = np.interp(turn, angles, np.r_[outline, outline[0]])
    return box, (np.hypot(dy, dx) / np.maximum(edge, 0.3)).astype(np.float32)


def _take_out(
    state: _State, i: int, box: tuple[slice, slice], reach: np.ndarray
) -> DustObject:
    """Take the mean profile of an object out of the image; return the object."""
    f, sign = state.features, state.sign[i]
    drop = -sign * (state.residual[box] - f.level[i])
    centres, profile = _profile(drop, reach)
    faint = np.nonzero((centres > 1) & (profile < 0.06 * max(f.rim[i], 1e-9)))[0]
    end = centres[faint[0]] if len(faint) else centres[-1]
    model = np.where(reach > end, 0, np.interp(reach, centres, profile))
    state.residual[box] += (sign * model).astype(np.float32)
    state.removed[box] = np.maximum(state.removed[box], np.abs(model))
    edge = max(1.0, min(end, 1 + max(0.25, 2 / f.radius[i])))
    return DustObject(
        float(f.x[i]),
        float(f.y[i]),
        float(f.radius[i]),
        int(sign),
        float(f.depth[i]),
        float(f.rim[i]),
        float(f.middle[i]),
        float(f.snr[i]),
        float(expit(state.odds[i])),
        box,
        reach <= edge,
    )


def _profile(drop: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the median drop by the distance in units of the outline."""
    bins = (np.digitize(reach, _BINS) - 1).ravel()
    order = np.argsort(bins, kind='stable')
    values = drop.ravel()[order]
    ends = np.searchsorted(bins[order], np.arange(len(_BINS) + 1))
    profile = np.zeros(len(_BINS))
    for j in range(len(_BINS)):
        if ends[j + 1] > ends[j]:
            profile[j] = np.median(values[ends[j] : ends[j + 1]])
        elif j:
            profile[j] = profile[j - 1]
    return np.r_[(_BINS[:-1] + _BINS[1:]) / 2, _BINS[-1] + 0.03], profile


def _measure_again(
    state: _State,
    later: np.ndarray,
    new: list[DustObject],
    turn: int,
    largest: float,
) -> bool:
    """Measure those that wait beside new objects; return whether there are any."""
    images = [state.residual]
    while len(images) < len(state.pyramid.images):
        images.append(pool(images[-1]))
    state.pyramid = Pyramid(tuple(images), state.pyramid.scatters)
    f = state.features.take(later)
    near = np.zeros(len(later), bool)
    for found in new:
        distance = np.hypot(f.x - found.x, f.y - found.y)
        near |= distance < 1.5 * (found.radius + f.radius) + 4
    if turn == 0:
        near |= state.sign[later] < 0
    if not near.any():
        return False
    f, rows = f.take(near), later[near]
    names = ('sign', 'peak', 'texture', 'noise', 'fine')
    for name in names:
        setattr(state, name, getattr(state, name)[rows])
    size = np.clip(f.radius, 1.1, 1.3 * largest)
    f = measure_candidates(state.pyramid, state.sign, f.x, f.y, size)
    _weaken(state, f)
    return True


def _weaken(state: _State, f: Features) -> None:
    """Let what was taken out imperfectly count as noise, and judge again."""
    there = np.array([_typical(state.removed, f, j) for j in range(len(f))])
    levels = state.pyramid.level(np.maximum(f.radius, 1.1))
    noise = np.array(
        [
            state.pyramid.scatters[n].at(f.y[j : j + 1] / 2**n, f.x[j : j + 1] / 2**n)[
                0
            ]
            for j, n in enumerate(levels)
        ]
    )
    factor = noise / np.hypot(noise, _IMPERFECT * there)
    f.step[:] *= factor
    f.snr[:] *= factor
    nested = np.clip(np.log1p(there / np.maximum(f.rim, 1e-3)), 0, 3)
    state.features, state.removed_there = f, there
    state.odds = _judge(
        f, state.sign, state.peak, state.texture, state.noise, state.fine, nested
    )


def _typical(removed: np.ndarray, f: Features, j: int) -> float:
    """Return what was typically taken out at the place of a candidate."""
    half = max(2, int(1.2 * f.radius[j]))
    y, x = int(f.y[j]), int(f.x[j])
    part = removed[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1]
    step = max(1, half // 8)
    return float(np.percentile(part[::step, ::step], 85)) if part.size else 0.0


def _without_ghosts(objects: list[DustObject]) -> list[DustObject]:
    """Drop the bright centre of a dark donut, and the reverse."""
    return [
        o
        for o in objects
        if not any(
            a.sign != o.sign
            and o.radius < 0.75 * a.radius
            and np.hypot(a.x - o.x, a.y - o.y) < 0.3 * a.radius
            for a in objects
        )
    ]
