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
from astroflat.dust._selection import Criteria, Look, Texture, first_look
from astroflat.dust._shadows import Shadow, edge_step, outline_reach, trace_shadow

__all__ = ['Peeler']

_ROUNDS = 5
# What is less likely than this is not even shown as doubtful.
_HOPELESS = -3.0
# A model of a shadow is wrong by this share of its depth, ...
_MODEL_ERROR = 0.1
# ... and what is shallower than this share of it is not believed.
_NESTED = 0.35
# Steps that vary this much along an outline belong to several objects.
_RIPPLE = 1.0
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
# Of dark dust larger than this, so much has to lie within the image.
_LARGE, _SEEN, _UNSEEN = 8.0, 0.35, 2.0


class Peeler:
    """
    Choose objects among candidates.

    Parameters
    ----------
    data : `~numpy.ndarray` of float32
        The logarithm of the light. What is found is taken out of it.

    pyramid : Pyramid
        The same image at all sizes.

    criteria : Criteria
        What is asked of an object.

    Attributes
    ----------
    shadows : list of Shadow
        What was accepted.

    doubtful : list of Shadow
        What was looked at and not accepted.
    """

    def __init__(self, data: np.ndarray, pyramid: Pyramid, criteria: Criteria) -> None:
        self._data, self._pyramid, self._criteria = data, pyramid, criteria
        self._depth = np.zeros_like(data)
        self.shadows: list[Shadow] = []
        self.doubtful: list[Shadow] = []

    def run(self, candidates: np.ndarray, texture: Texture) -> None:
        """
        Select objects.

        Parameters
        ----------
        candidates : `~numpy.ndarray`
            Rows of ``CANDIDATE``.

        texture : callable
            Gives the roughness of the scene for x, y and radius.
        """
        look = first_look(self._pyramid, candidates, texture, self._criteria.largest)
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
            shadow, reach = self._make(look, row)
            if np.count_nonzero(shadow.mask) < self._criteria.pixels:
                continue
            if blocked[shadow.box][shadow.mask].any():
                rest.append(row)
            elif not good[row]:
                self.doubtful.append(shadow)
                rest.append(row)
            elif not self._is_known(shadow) and not self._is_blurred(look, row):
                self._take_out(shadow)
                blocked[shadow.box] |= reach <= 1.15 + 1.5 / max(shadow.radius, 1)
                found.append(shadow)
        return found, look.take(np.array(rest, dtype=int))

    def _is_possible(self, look: Look, row: int) -> bool:
        """Check what the odds do not know about."""
        c, f = self._criteria, look.features
        if look.odds[row] < min(_HOPELESS, c.odds) or f.ripple[row] > _RIPPLE:
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
        if look.sign[row] > 0 and radius > _LARGE:
            # A centre that is not seen asks for more than the rest.
            return f.inside[row] < _SEEN or (gap < 0 and look.odds[row] < _UNSEEN)
        # Glow and roll-off look like spots where the border cuts them.
        return gap < (radius + 2 if look.sign[row] < 0 else 0.7 * radius)

    def _make(self, look: Look, row: int) -> tuple[Shadow, np.ndarray]:
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
        )
        return shadow, reach

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
        for other in self.shadows:
            away = np.hypot(shadow.x - other.x, shadow.y - other.y)
            if away > shadow.radius + other.radius + 3:
                continue
            ratio = abs(np.log(shadow.radius / other.radius))
            if away < 0.5 * max(shadow.radius, other.radius) and ratio < 0.45:
                return True
            if shadow.drop < _MODEL_ERROR * other.drop:
                return True
        return False

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
        around = self._depth_around(f)
        noise = self._pyramid.noise(f.x, f.y, np.maximum(f.radius, 1.1))
        weaker = noise / np.hypot(noise, _MODEL_ERROR * around)
        f = replace(f, step=f.step * weaker, snr=f.snr * weaker)
        odds = outline_odds(f, rest.texture) + self._family_bonus(f)
        return Look(rest.sign, rest.texture, f, odds, around)

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
    for row in bright:
        away = np.hypot(f.x[dark] - f.x[row], f.y[dark] - f.y[row])
        inner = (away < 0.3 * f.radius[row]) & (f.radius[dark] < 0.75 * f.radius[row])
        holes[dark[inner & (f.snr[dark] < f.snr[row])]] = True
    return holes
