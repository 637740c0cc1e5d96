# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Objects are accepted one by one and taken out of the image.

They are accepted in the order of their significance. What touches an accepted
one is put off, the accepted ones are taken out, and the rest is looked at
again on what remains. So the ring of a donut is not found once more in
pieces, but a speck inside a donut, and two overlapping donuts, are.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from astroflat.dust._contours import Pyramid
from astroflat.dust._features import Features, measure_candidates
from astroflat.dust._judgement import outline_odds
from astroflat.dust._selection import Criteria, Look, Roughness, first_look
from astroflat.dust._shadows import (
    Shadow,
    edge_step,
    fill_region,
    outline_reach,
    trace_shadow,
)

__all__ = ['Peeler']

_ROUNDS = 5
# What is less likely than this is not even shown as doubtful.
_HOPELESS = -3.0
# A model of a shadow is wrong by this share of its depth, ...
_MODEL_ERROR = 0.1
# ... and what is shallower than this share of it is not believed.
_NESTED = 0.35
# On the outline of another one, in a band of this share of its radius, only
# what is not much smaller, or not much shallower, is believed.
_BAND, _PIECE, _EDGE = 0.08, 0.6, 0.7
# Within another one, what is smaller than this share of it, and shallower, has
# to be as significant as that.
_SMALL, _SURE = 0.25, 30.0
# Steps that vary this much along an outline belong to several objects.
# already where they are large, if it is not the noise that varies.
_RIPPLE, _SEVERAL = 1.0, 16.0
# What is smaller than this needs this significance.
_TINY, _LEAST_SNR = 1.5, 5.5
# Motes of one surface have one size: a donut as large, within this share, as
# those that were found is more likely one, by this much per logarithm of one
# plus their number; the smallest radius for which that is asked.
_SAME, _FAMILY, _FAMILY_RADIUS = 0.06, 1.0, 8.0
# A donut lets this share of the depth of its rim, at most, reach its middle.
_HOLE = 0.6
# In a rough scene something larger than this is dust only if its edge is as
# sharp as hard dust: so much of the depth within two pixels. A spot is blurred
# by the same air as what is around it.
_BLURRED, _SOFT, _TEXTURE = 8.0, 0.72, 3.0
# So much of the outline of dark dust has to lie within the image, more if its
# centre does not, and what is cut by the border has to be surer.
_SEEN, _BEYOND, _UNSEEN = 0.35, 0.42, 1.5
# Of what is smaller than this and deeper than so many times the scatter, the
# pixels are taken instead of the outline.
_PIXELS, _HARD = 8.0, 6.0
# The bright rim of a dark speck is no ring around a hole: its middle is darker
# than its surroundings by more than this share of its height.
_RIM = 0.5


class Peeler:
    """
    Choose objects among candidates.

    Parameters
    ----------
    data : `~numpy.ndarray` of float32
        The logarithm of the light. What is found is taken out of it.

    criteria : Criteria
        What is asked of an object.

    fibers : list of Shadow
        What was taken out before.

    Attributes
    ----------
    shadows : list of Shadow
        What was accepted.

    doubtful : list of Shadow
        What was looked at and not accepted.
    """

    def __init__(
        self, data: np.ndarray, criteria: Criteria, fibers: list[Shadow]
    ) -> None:
        self._data, self._criteria, self._fibers = data, criteria, fibers
        self._depth = np.zeros_like(data)
        self.shadows: list[Shadow] = []
        self.doubtful: list[Shadow] = []

    def run(self, candidates: np.ndarray, scene: Roughness, pyramid: Pyramid) -> None:
        """
        Select objects, besides those selected before.

        Parameters
        ----------
        candidates : `~numpy.ndarray`
            Rows of ``CANDIDATE``.

        scene : Roughness
            How rough the scene is.

        pyramid : Pyramid
            The image at all sizes.
        """
        self._scene, self._pyramid = scene, pyramid
        look = first_look(self._pyramid, candidates, scene, self._criteria.largest)
        if self.shadows:
            look = self._weigh(look.sign, look.texture, look.features)
        # The rims of dark dust look bright: dark objects come first.
        waiting = sorted(self._criteria.signs, reverse=True)
        active = [waiting.pop(0)]
        for _ in range(_ROUNDS):
            found, rest = self._accept(look, active)
            if not len(rest) or not (found or waiting):
                break
            look = self._look_again(rest, found, waiting)
            active, waiting = active + waiting, []
        self.shadows = [s for s in self.shadows if not self._is_hole(s)]

    def is_near(self, candidates: np.ndarray) -> np.ndarray:
        """
        Mark candidates near what was accepted.

        Parameters
        ----------
        candidates : `~numpy.ndarray`
            Rows of ``CANDIDATE``.

        Returns
        -------
        near : `~numpy.ndarray` of bool
            True where the image is another one than before.
        """
        _, _, x, y, radius = candidates.T
        near = np.zeros(len(candidates), bool)
        for shadow in self.shadows:
            reach = 2 * (shadow.radius + radius) + 8
            near |= np.hypot(x - shadow.x, y - shadow.y) < reach
        return near

    def _accept(self, look: Look, active: list[int]) -> tuple[list[Shadow], Look]:
        """Accept what does not touch anything better; return the rest."""
        found, rest = [], []
        blocked = np.zeros(self._data.shape, bool)
        good = look.odds > self._criteria.odds
        later = ~np.isin(look.sign, active) | _maybe_holes(look, good, active)
        for row in np.argsort(-np.where(good, 1e6 + look.features.snr, look.odds)):
            if later[row]:
                rest.append(row)
                continue
            if not self._is_possible(look, row):
                continue
            shadow = self._make(look, row)
            if np.count_nonzero(shadow.mask) < self._criteria.pixels:
                continue
            if blocked[shadow.box][shadow.mask].any():
                rest.append(row)
            elif not good[row]:
                self.doubtful.append(shadow)
                rest.append(row)
            elif not self._is_known(shadow) and not self._is_blurred(look, row):
                self._take_out(shadow)
                blocked[shadow.box] |= shadow.around
                found.append(shadow)
        return found, look.take(np.array(rest, dtype=int))

    def _is_possible(self, look: Look, row: int) -> bool:
        """Check what the odds do not know about."""
        c, f = self._criteria, look.features
        if look.odds[row] < min(_HOPELESS, c.odds) or f.ripple[row] > _RIPPLE:
            return False
        if f.radius[row] < _TINY and f.snr[row] < _LEAST_SNR:
            return False
        if f.radius[row] > _SEVERAL and f.step[row] > 2 and f.ripple[row] > 0.5:
            return False
        if f.radius[row] > 1.2 * c.largest or self._is_cut_off(look, row):
            return False
        if f.rim[row] < _NESTED * look.around[row]:
            return False
        return _drop(f, row) >= c.least_drop(f.level[row], f.y[row], f.x[row])

    def _is_cut_off(self, look: Look, row: int) -> bool:
        """Check whether the border hides so much that nothing can be said."""
        f = look.features
        ny, nx = self._data.shape
        x, y, radius = f.x[row], f.y[row], f.radius[row]
        gap = min(x, y, nx - 1 - x, ny - 1 - y)
        if look.sign[row] < 0:
            # Glow and roll-off look like spots where the border cuts them.
            return gap < radius + 2
        if f.inside[row] < (_SEEN if gap >= 0 else _BEYOND) or gap < -radius:
            return True
        least = _UNSEEN * (1 + (radius > _PIXELS) + (gap < 0))
        return gap < 0.7 * radius and look.odds[row] < least

    def _make(self, look: Look, row: int) -> Shadow:
        """Turn a candidate into an object."""
        f, sign = look.features, int(look.sign[row])
        outline = f.outline[row]
        box, reach = outline_reach(outline, f.x_0[row], f.y_0[row], self._data.shape)
        model, footprint = trace_shadow(
            self._data, reach, box, sign, f.level[row], f.rim[row]
        )
        shadow = Shadow(
            sign=sign,
            x=float(f.x[row]),
            y=float(f.y[row]),
            radius=float(f.radius[row]),
            drop=_drop(f, row),
            level=float(f.level[row]),
            odds=float(look.odds[row]),
            snr=float(f.snr[row]),
            box=box,
            mask=reach <= 1,
            footprint=footprint,
            model=model,
            middle=float(f.middle[row] / max(f.rim[row], 1e-9)),
            uneven=float(outline.std() / outline.mean()),
            around=reach <= 1.15 + 1.5 / max(f.radius[row], 1),
        )
        return self._take_pixels(shadow)

    def _take_pixels(self, shadow: Shadow) -> Shadow:
        """Replace the outline of a small hard speck by its pixels."""
        from scipy.ndimage import binary_dilation

        if shadow.radius > _PIXELS or shadow.middle < _HOLE:
            return shadow
        x, y, radius = shadow.x, shadow.y, shadow.radius
        noise = float(self._pyramid.noise(*np.array([[x], [y], [1.1]]))[0])
        if shadow.drop < _HARD * noise:
            return shadow
        region = fill_region(
            self._data, (x, y, radius), shadow.sign, shadow.level, shadow.drop, noise
        )
        if region is None:
            return shadow
        box, mask, footprint, model = region
        y, x = (
            float(pixels.mean()) + part.start
            for pixels, part in zip(np.nonzero(mask), box, strict=True)
        )
        return replace(
            shadow,
            x=x,
            y=y,
            radius=float(np.sqrt(mask.sum() / np.pi)),
            box=box,
            mask=mask,
            footprint=footprint,
            model=model,
            around=binary_dilation(footprint),
        )

    def _is_blurred(self, look: Look, row: int) -> bool:
        """Check whether the edge of something large is that of the scene."""
        f = look.features
        if look.texture[row] < _TEXTURE or f.radius[row] < _BLURRED:
            return False
        step = look.sign[row] * edge_step(
            self._data, f.outline[row], f.x_0[row], f.y_0[row]
        )
        return step < _SOFT * f.rim[row]

    def _is_known(self, shadow: Shadow) -> bool:
        """Check whether this was found before, or is what is left of it."""
        return any(
            shadow.drop < fiber.drop and _is_part(shadow, fiber)
            for fiber in self._fibers
        ) or any(_is_rest(shadow, other) for other in self.shadows)

    def _take_out(self, shadow: Shadow) -> None:
        """Remove an object from the image and remember how deep it was."""
        self._data[shadow.box] += shadow.sign * shadow.model
        depth = self._depth[shadow.box]
        np.maximum(depth, np.abs(shadow.model), out=depth)
        self.shadows.append(shadow)

    def _look_again(self, rest: Look, found: list[Shadow], fresh: list[int]) -> Look:
        """Measure what is near new objects, or new, on the image without them."""
        self._pyramid = self._pyramid.replace(self._data)
        f = rest.features
        near = np.isin(rest.sign, fresh) | (self._family_bonus(f) > 0)
        for shadow in found:
            away = np.hypot(f.x - shadow.x, f.y - shadow.y)
            near |= away < 1.5 * (shadow.radius + f.radius) + 4
        rest = rest.take(np.nonzero(near)[0])
        f, largest = rest.features, 1.3 * self._criteria.largest
        radius = np.clip(f.radius, 1.1, largest)
        f = measure_candidates(self._pyramid, rest.sign, f.x, f.y, radius)
        return self._weigh(rest.sign, rest.texture, f)

    def _weigh(self, sign: np.ndarray, texture: np.ndarray, f: Features) -> Look:
        """Judge candidates where others, or what is left of them, may lie."""
        around = self._depth_around(f)
        noise = self._pyramid.noise(f.x, f.y, np.maximum(f.radius, 1.1))
        weaker = noise / np.hypot(noise, _MODEL_ERROR * around)
        f = replace(f, step=f.step * weaker, snr=f.snr * weaker)
        area = self._scene.significance(f) * weaker
        odds = outline_odds(f, texture, area) + self._family_bonus(f)
        return Look(sign, texture, area, f, odds, around)

    def _family_bonus(self, f: Features) -> np.ndarray:
        """Return what the logarithm of the odds gains from donuts of equal size."""
        donuts = [
            s for s in self.shadows if s.middle < _HOLE and s.radius > _FAMILY_RADIUS
        ]
        logs = np.log([s.radius for s in donuts])
        gap = np.abs(np.log(np.maximum(f.radius, 1e-3))[:, None] - logs)
        alike = (gap < _SAME).sum(axis=1) * (f.middle < _HOLE * f.rim)
        return _FAMILY * np.log1p(alike)

    def _depth_around(self, f: Features) -> np.ndarray:
        """Return how deep the objects are that were found where candidates are."""
        angle = 2 * np.pi * np.arange(12) / 12
        rays = np.array([0.0, 0.4, 0.8, 1.2])[:, None]
        y, x = (
            np.clip(np.rint(c[:, None] + f.radius[:, None] * turn.ravel()), 0, n - 1)
            for c, turn, n in (
                (f.y, rays * np.sin(angle), self._depth.shape[0]),
                (f.x, rays * np.cos(angle), self._depth.shape[1]),
            )
        )
        return np.quantile(self._depth[y.astype(int), x.astype(int)], 0.85, axis=1)

    def _is_hole(self, shadow: Shadow) -> bool:
        """Check whether this is the middle of a donut of opposite sign."""
        return any(
            other.sign != shadow.sign
            and other.drop > _RIM * shadow.drop
            and shadow.radius < 0.75 * other.radius
            and np.hypot(shadow.x - other.x, shadow.y - other.y) < 0.3 * other.radius
            for other in self.shadows
        )


def _drop(f: Features, row: int) -> float:
    """Return the depth of the deepest part of an object."""
    return float(max(f.rim[row], f.depth[row], f.middle[row]))


def _maybe_holes(look: Look, good: np.ndarray, active: list[int]) -> np.ndarray:
    """Mark dark candidates in the middle of more significant bright ones."""
    holes = np.zeros(len(look), bool)
    if -1 in active:
        return holes
    f = look.features
    dark, bright = (np.nonzero(good & (look.sign == sign))[0] for sign in (1, -1))
    for row in bright[f.middle[bright] > -_RIM * f.rim[bright]]:
        away = np.hypot(f.x[dark] - f.x[row], f.y[dark] - f.y[row])
        inner = (away < 0.3 * f.radius[row]) & (f.radius[dark] < 0.75 * f.radius[row])
        holes[dark[inner & (f.snr[dark] < f.snr[row])]] = True
    return holes


def _is_rest(shadow: Shadow, other: Shadow) -> bool:
    """Tell whether something is another one, or what its model left over."""
    away = float(np.hypot(shadow.x - other.x, shadow.y - other.y))
    if away > shadow.radius + other.radius + 3:
        return False
    share = shadow.radius / max(other.radius, 1e-3)
    if away < 0.5 * max(shadow.radius, other.radius) and abs(np.log(share)) < 0.45:
        return True
    if share < 1.5 and shadow.drop < _MODEL_ERROR * other.drop:
        return True
    if shadow.drop >= other.drop or share >= 1:
        return False
    # On its outline the model of another one is at its worst.
    off = abs(away - other.radius)
    band = shadow.radius + max(2.0, _BAND * other.radius)
    return (
        (other.radius < _PIXELS and _is_part(shadow, other))
        or (away < other.radius and share < _SMALL and shadow.snr < _SURE)
        or (off < band and share < _PIECE and shadow.drop < _EDGE * other.drop)
    )


def _is_part(shadow: Shadow, other: Shadow) -> bool:
    """Tell whether a quarter of the pixels of something touch another one."""
    return 4 * _common(shadow, other) > np.count_nonzero(shadow.mask)


def _common(one: Shadow, other: Shadow) -> int:
    """Count the pixels of one that touch another."""
    if other.around is None:
        return 0
    cut = [
        slice(max(a.start, b.start), min(a.stop, b.stop))
        for a, b in zip(one.box, other.box, strict=True)
    ]
    if any(part.start >= part.stop for part in cut):
        return 0
    here, there = (
        mask[
            tuple(
                slice(c.start - b.start, c.stop - b.start)
                for c, b in zip(cut, box, strict=True)
            )
        ]
        for mask, box in ((one.mask, one.box), (other.around, other.box))
    )
    return int(np.count_nonzero(here & there))
