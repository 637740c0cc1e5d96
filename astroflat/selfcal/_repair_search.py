# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Where the motes of a flat are now: a vote, and a model of their motion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from astroflat.selfcal._repair_motes import Template

__all__ = ['Motion', 'fit_motion', 'vote']

_ANGLES = np.deg2rad(np.linspace(-3, 3, 25))
# Log-likelihood by which motes must prefer another place.
_MIN_GAIN = 15.0
# What a mote that is not where it likes to be most can say against a motion.
_CAP = 20.0


@dataclass(frozen=True)
class Motion:
    """
    A motion that all motes share.

    Parameters
    ----------
    kind : {'none', 'shift', 'rotation', 'tilt'}
        A shift; a shift and a rotation about the centre of the frame; or a
        shift in proportion to the size of the shadow, and so to the distance
        of the mote from the sensor, as from light of another direction.

    values : tuple of float
        dy and dx in pixels (for the median radius), and the angle in radians.

    radius : float
        The median radius.

    center : tuple of float
        The centre of the rotation.
    """

    kind: str = 'none'
    values: tuple[float, float, float] = (0.0, 0.0, 0.0)
    radius: float = 1.0
    center: tuple[float, float] = (0.0, 0.0)

    def of(self, template: Template) -> tuple[float, float]:
        """Return the shift (dy, dx) of a mote in pixels."""
        dy, dx, angle = self.values
        factor = template.radius / self.radius if self.kind == 'tilt' else 1.0
        return (
            factor * dy + angle * (template.x - self.center[1]),
            factor * dx - angle * (template.y - self.center[0]),
        )


def vote(
    excess: np.ndarray,
    weight: np.ndarray,
    templates: list[Template],
    reach: float,
) -> list[tuple[float, float]]:
    """
    Find where the motes may have gone.

    Parameters
    ----------
    excess : `~numpy.ndarray`
        The logarithm of frames over flat.

    weight : `~numpy.ndarray`
        Its inverse variance.

    templates : list of Template
        The motes.

    reach : float
        The largest shift to look for, in pixels.

    Returns
    -------
    shifts : list of tuple of float
        A first guess (dy, dx) of each mote; (0, 0) where nothing is better.
    """
    if not templates:
        return []
    step = max(1, int(np.median([t.radius for t in templates]) / 8))
    reach = int(np.ceil(reach / step))
    maps = [_likelihood(excess, weight, t, reach, step) for t in templates]
    common = _common(maps, templates, reach, step, excess.shape)
    guesses = []
    for k, gain in enumerate(maps):
        here = gain[reach, reach]
        own = np.unravel_index(np.argmax(gain), gain.shape)
        shift = common[k]
        at = _index(shift, reach, step)
        if gain[own] - max(here, gain[at]) > 2 * _MIN_GAIN:
            shift = tuple(float(step * (i - reach)) for i in own)
        guesses.append(shift)
    return guesses


def _index(shift: tuple[float, float], reach: int, step: int) -> tuple[int, int]:
    """Return the place of a shift in a map."""
    return tuple(int(np.clip(round(s / step) + reach, 0, 2 * reach)) for s in shift)


def _likelihood(
    excess: np.ndarray, weight: np.ndarray, template: Template, reach: int, step: int
) -> np.ndarray:
    """Return the log-likelihood of the mote at each shift against no mote."""
    from scipy.ndimage import map_coordinates
    from scipy.signal import fftconvolve

    from astroflat.selfcal._repair_motes import MotePatch

    patch = MotePatch.cut(excess[None], weight[None], template, (reach + 2) * step)
    # The patch has its own binning; the map is brought to the common one.
    own = patch.step
    w = patch.weight[0] / patch.scale
    data = patch._flattened(patch.data[0], w)
    mote = patch.template
    inside = mote != 0
    if not inside.any():
        return np.zeros((2 * reach + 1, 2 * reach + 1))
    rows, columns = (np.flatnonzero(inside.any(axis=a)) for a in (1, 0))
    cut = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    small = mote[cut]
    # The level beside the mote is not known: only its contrast counts.
    margin = max(2, int(0.3 * max(small.shape)))
    small = np.pad(small, margin)
    small = small - small.mean()
    flip = small[::-1, ::-1]
    gain = fftconvolve(w * data, flip, 'full')
    gain -= 0.5 * fftconvolve(w, flip**2, 'full')
    origin = (
        cut[0].start - margin + small.shape[0] - 1,
        cut[1].start - margin + small.shape[1] - 1,
    )
    shifts = np.arange(-reach, reach + 1) * step / own
    grid = np.meshgrid(origin[0] + shifts, origin[1] + shifts, indexing='ij')
    return map_coordinates(gain, grid, order=1, mode='constant', cval=-1e3)


def _common(
    maps: list[np.ndarray],
    templates: list[Template],
    reach: int,
    step: int,
    shape: tuple[int, int],
) -> list[tuple[float, float]]:
    """Return the shifts of the motion that all motes together like best."""
    # A shadow with the wrong shape would outvote all others with its likelihood.
    maps = [np.maximum(m - m.max(), -_CAP) for m in maps]
    stay = sum(m[reach, reach] for m in maps)
    best, shifts = stay + _MIN_GAIN, [(0.0, 0.0)] * len(templates)
    radius = float(np.median([t.radius for t in templates]))
    center = tuple((n - 1) / 2 for n in shape)
    steps = np.arange(-reach, reach + 1) * step
    grid = np.meshgrid(steps, steps, indexing='ij')
    motions = [('rotation', angle) for angle in _ANGLES] + [('tilt', 0.0)]
    for kind, angle in motions:
        total = np.zeros(maps[0].shape)
        for gain, template in zip(maps, templates, strict=True):
            at = _moved(grid, kind, angle, template, radius, center)
            index = [
                np.clip(np.rint(a / step).astype(int) + reach, 0, 2 * reach) for a in at
            ]
            total += gain[tuple(index)]
        top = np.unravel_index(np.argmax(total), total.shape)
        # A rotation has one parameter more.
        worth = total[top] - (5.0 if angle else 0.0)
        if worth > best:
            best = worth
            motion = Motion(
                kind,
                (float(steps[top[0]]), float(steps[top[1]]), angle),
                radius,
                center,
            )
            shifts = [motion.of(t) for t in templates]
    return shifts


def _moved(
    grid: list[np.ndarray],
    kind: str,
    angle: float,
    template: Template,
    radius: float,
    center: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the shifts of one mote for all common shifts."""
    factor = template.radius / radius if kind == 'tilt' else 1.0
    return (
        factor * grid[0] + angle * (template.x - center[1]),
        factor * grid[1] - angle * (template.y - center[0]),
    )


def fit_motion(
    templates: list[Template],
    shifts: np.ndarray,
    sigma: np.ndarray,
    shape: tuple[int, int],
) -> Motion:
    """
    Find the motion that explains the shifts of the motes.

    Parameters
    ----------
    templates : list of Template
        The motes.

    shifts, sigma : `~numpy.ndarray`
        Their shifts (dy, dx) and standard deviations, ``(n, 2)``.

    shape : tuple of int
        The shape of the frame.

    Returns
    -------
    motion : Motion
        The simplest kind that is good enough by the Bayesian information
        criterion; a mote that went elsewhere has little say.
    """
    if not len(templates):
        return Motion()
    radius = float(np.median([t.radius for t in templates]))
    center = tuple((n - 1) / 2 for n in shape)
    # A tenth of a radius is the accuracy that shapes allow.
    error = np.hypot(sigma, 0.02 * np.array([[t.radius] for t in templates]))
    designs = _designs(templates, radius, center)
    best, chosen = _robust(shifts / error), Motion()
    for kind, design in designs.items():
        n_free = design.shape[2]
        if 2 * len(templates) <= n_free and kind != 'shift':
            continue
        values = _irls(design, shifts, error)
        rest = _robust((shifts - design @ values) / error)
        score = rest + n_free * np.log(2 * len(templates) + 1)
        if score < best - 6:
            best = score
            dy, dx, *angle = values
            turn = float(angle[0]) if angle else 0.0
            chosen = Motion(kind, (float(dy), float(dx), turn), radius, center)
    return chosen


def _designs(
    templates: list[Template], radius: float, center: tuple[float, float]
) -> dict[str, np.ndarray]:
    """Return the matrices from parameters to shifts, ``(n, 2, parameters)``."""
    n = len(templates)
    shift = np.tile(np.eye(2), (n, 1, 1))
    factor = np.array([t.radius / radius for t in templates])[:, None, None]
    turn = np.array([[t.x - center[1], center[0] - t.y] for t in templates])
    return {
        'shift': shift,
        'tilt': factor * shift,
        'rotation': np.concatenate([shift, turn[..., None]], axis=2),
    }


def _robust(residual: np.ndarray) -> float:
    """Return a chi-square in which a mote counts 25 at most."""
    return float(np.minimum((residual**2).sum(axis=1), 25.0).sum())


def _irls(design: np.ndarray, shifts: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Fit with weights that fall for motes that are far off."""
    weight = np.ones(len(shifts))
    for _ in range(20):
        root = np.sqrt(weight)[:, None] / error
        matrix = (root[..., None] * design).reshape(-1, design.shape[2])
        values = np.linalg.lstsq(matrix, (root * shifts).ravel(), rcond=None)[0]
        square = (((shifts - design @ values) / error) ** 2).sum(axis=1)
        weight = 1 / (1 + square / 9)
    return values
