# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
From many candidates to few: what is asked, and what they look like.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from astroflat.dust._candidates import CANDIDATE
from astroflat.dust._contours import Pyramid
from astroflat.dust._features import Features, measure_candidates
from astroflat.dust._judgement import outline_odds
from astroflat.dust._scatter import BlockMap

__all__ = ['Criteria', 'Look', 'Roughness', 'first_look', 'thin_out']

_Z, _SIGN, _X, _Y, _RADIUS = range(len(CANDIDATE))
# The scale of edges: the texture that rivals an outline is that of this share
# of its radius, but not finer than this many pixels.
_EDGE_SHARE, _EDGE_PIXELS = 0.12, 2.7
# The scene around an object is looked at in so many places.
_PLACES = 12

# Height of a disc over that of the response of a filter of its size.
_DISC = float(np.sqrt(np.pi) / 1.23)


@dataclass(frozen=True)
class Criteria:
    """
    What is asked of an object.

    Parameters
    ----------
    signs : tuple of int
        +1 for dark, -1 for bright objects.

    odds : float
        The least logarithm of the odds.

    largest : float
        The largest radius in pixels.

    pixels : int
        The least number of pixels.

    least_drop : callable
        Gives the least drop of the logarithm of the light that counts, for
        the level of the light around an object and its place y, x.
    """

    signs: tuple[int, ...] = (1, -1)
    odds: float = 0.0
    largest: float = 100.0
    pixels: int = 2
    least_drop: Callable[[float, float, float], float] = field(
        default=lambda _level, _y, _x: 0.002
    )


@dataclass(frozen=True)
class Roughness:
    """
    How rough the scene is, on every scale and everywhere.

    Parameters
    ----------
    scatter : dict of float to BlockMap
        As given by `find_candidates`.

    noise : BlockMap
        White noise per pixel.
    """

    scatter: dict[float, BlockMap]
    noise: BlockMap

    def texture(self, x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """
        Return how much rougher than white noise the scene around outlines is.

        Parameters
        ----------
        x, y, radius : `~numpy.ndarray`
            The objects.

        Returns
        -------
        ratio : `~numpy.ndarray`
            About 1 in white noise, at the scale of the edges of the objects.
        """
        scale = np.maximum(_EDGE_PIXELS, _EDGE_SHARE * np.asarray(radius))
        return self._around(x, y, radius, scale) / self.noise.at(y, x)

    def significance(self, f: Features) -> np.ndarray:
        """
        Return how significant the darkening of a whole area is.

        Parameters
        ----------
        f : Features
            Measurements of outlines.

        Returns
        -------
        significance : `~numpy.ndarray`
            In units of the scatter of filters of that size.
        """
        response = _DISC * f.depth * f.radius * np.sqrt(np.clip(f.inside, 0.3, 1))
        return response / self._around(f.x, f.y, f.radius, f.radius)

    def _around(
        self, x: np.ndarray, y: np.ndarray, radius: np.ndarray, scale: np.ndarray
    ) -> np.ndarray:
        """Return the scatter, around objects, of the filters of nearest size."""
        radii = np.array(sorted(self.scatter))
        nearest = np.abs(np.log(radii / np.maximum(scale, 1e-3)[:, None])).argmin(1)
        # Within an object the scatter is its own.
        away = 1.7 * np.asarray(radius) + 4
        angle = 2 * np.pi * np.arange(_PLACES)[:, None] / _PLACES
        rows, columns = y + away * np.sin(angle), x + away * np.cos(angle)
        values = np.ones((_PLACES, len(x)))
        for k in np.unique(nearest):
            part = nearest == k
            places = rows[:, part], columns[:, part]
            values[:, part] = self.scatter[radii[k]].at(*places)
        return np.maximum(np.median(values, axis=0), np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Look:
    """
    What is known about candidates at one time.

    Parameters
    ----------
    sign : `~numpy.ndarray`
        +1 for dark, -1 for bright.

    texture : `~numpy.ndarray`
        Roughness of the scene around them.

    area : `~numpy.ndarray`
        Significance of their whole areas.

    features : Features
        Their measurements.

    odds : `~numpy.ndarray`
        Logarithm of the odds that they are dust.

    around : `~numpy.ndarray`
        Depth of what has already been found where they are.
    """

    sign: np.ndarray
    texture: np.ndarray
    area: np.ndarray
    features: Features
    odds: np.ndarray
    around: np.ndarray

    def __len__(self) -> int:
        return len(self.sign)

    def take(self, rows: np.ndarray) -> Look:
        """
        Select candidates.

        Parameters
        ----------
        rows : array_like of int
            Their indices.

        Returns
        -------
        look : Look
            Those of the chosen ones.
        """
        return Look(
            self.sign[rows],
            self.texture[rows],
            self.area[rows],
            self.features.take(rows),
            self.odds[rows],
            self.around[rows],
        )


def thin_out(candidates: np.ndarray) -> np.ndarray:
    """
    Keep the most significant of candidates that nearly agree.

    Parameters
    ----------
    candidates : `~numpy.ndarray`
        Rows of ``CANDIDATE``.

    Returns
    -------
    candidates : `~numpy.ndarray`
        Fewer of them, the most significant first.
    """
    candidates = candidates[np.argsort(-candidates[:, _Z], kind='stable')]
    radius = candidates[:, _RADIUS]
    step = np.maximum(1.0, 0.45 * radius)
    cells = np.stack(
        [
            candidates[:, _SIGN],
            np.round(np.log2(radius)),
            np.floor(candidates[:, _X] / step),
            np.floor(candidates[:, _Y] / step),
        ],
        axis=1,
    )
    _, first = np.unique(cells, axis=0, return_index=True)
    return candidates[np.sort(first)]


def first_look(
    pyramid: Pyramid, candidates: np.ndarray, scene: Roughness, largest: float
) -> Look:
    """
    Trace the outlines of candidates, and again around the centres found.

    Parameters
    ----------
    pyramid : Pyramid
        The image.

    candidates : `~numpy.ndarray`
        Rows of ``CANDIDATE``.

    scene : Roughness
        How rough the scene is.

    largest : float
        The largest radius in pixels.

    Returns
    -------
    look : Look
        Those of which something was left after the first, coarse trace.
    """
    coarse = measure_candidates(
        pyramid, *candidates[:, [_SIGN, _X, _Y, _RADIUS]].T, directions=16
    )
    keep = (coarse.step > 1) & (coarse.snr > 4.5) & (coarse.closed > 0.25)
    rows = np.nonzero(keep & (coarse.depth > 0))[0]
    coarse, sign = coarse.take(rows), candidates[rows, _SIGN]
    radius = np.clip(coarse.radius, 1.1, 1.3 * largest)
    features = measure_candidates(pyramid, sign, coarse.x, coarse.y, radius)
    ratio = scene.texture(features.x, features.y, features.radius)
    area = scene.significance(features)
    odds = outline_odds(features, ratio, area)
    return Look(sign, ratio, area, features, odds, np.zeros(len(rows)))
