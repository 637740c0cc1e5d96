# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From what the networks say of a plane to F and G of its pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from astroflat.neural._dust_levels import DustField, find_dust
from astroflat.neural._rows import GridRows, write_out
from astroflat.neural._smooth import SmoothFields, find_smooth, gate
from astroflat.neural._strips import run_strips

if TYPE_CHECKING:
    from astroflat.neural.runtime import Session

__all__ = [
    'Mode',
    'Networks',
    'Parts',
    'PlaneFields',
    'estimate_plane',
    'share_channels',
    'sky_share',
]

Mode = Literal['both', 'multiplicative', 'additive']
Parts = Literal['all', 'dust', 'smooth']

#: Ratio of a field to its uncertainty at which it begins to be applied, and is.
GATE = (1.2, 1.8)
#: By how much the errors of a G that is applied are larger than those of all: it is
#: applied where it came out large. From frames that no training had.
APPLIED = 1.25
#: Scatter of the cells of the corrected frame beyond which a scene that fills the
#: frame is likelier than a field, and beyond which it is certain.
STRUCTURE = (0.25, 0.35)


@dataclass(frozen=True)
class Networks:
    """
    Both networks with their cards.

    Parameters
    ----------
    fields, dust : Session
        The networks.
    """

    fields: Session
    dust: Session


@dataclass(frozen=True)
class PlaneFields:
    """
    Fields of one plane, written out on its pixels when they are asked for.

    Parameters
    ----------
    smooth : SmoothFields or None
        What the network of the smooth fields said; None without light.

    dust : DustField or None
        What the network of the dust said.

    gates : tuple of float
        How much of V and of G is applied, 0 to 1.

    grids : tuple of GridRows
        log V and G over the level as they are applied, and their uncertainties.

    floor : float
        What is always added to the uncertainty of log F.

    strength : float
        How much of the fields is applied.

    spread : float
        What the uncertainty of G is multiplied by.

    shared : tuple of `~numpy.ndarray`, optional
        log F and its uncertainty, where the colours have them in common.
    """

    smooth: SmoothFields | None
    dust: DustField | None
    gates: tuple[float, float]
    grids: tuple[GridRows, GridRows, GridRows, GridRows]
    floor: float
    strength: float = 1.0
    spread: float = 1.0
    shared: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the plane."""
        return self.grids[0].shape

    @property
    def level(self) -> np.float32:
        """Level of the plane."""
        return np.float32(0 if self.smooth is None else self.smooth.level)

    def log_rows(self, rows: slice) -> np.ndarray:
        """Write rows of log F out; exactly 0 where nothing is corrected."""
        if self.shared is not None:
            return self.shared[0][rows]
        log_flat = self.grids[0](rows)
        if self.dust is not None:
            self.dust.log_rows.add_to(log_flat, rows)
        return log_flat if self.strength == 1 else np.float32(self.strength) * log_flat

    def sigma_rows(self, rows: slice) -> np.ndarray:
        """Write rows of the standard deviation of log F out."""
        if self.shared is not None:
            return self.shared[1][rows]
        variance = self.grids[2](rows)
        np.square(variance, out=variance)
        if self.dust is not None:
            variance += self.dust.variance_rows(rows)
        variance += np.float32(self.floor) ** 2
        return np.sqrt(variance, out=variance)

    def gradient_rows(self, rows: slice) -> np.ndarray:
        """Write rows of G in units of the data out."""
        return np.float32(self.strength) * self.level * self.grids[1](rows)

    def sigma_gradient_rows(self, rows: slice) -> np.ndarray:
        """Write rows of the standard deviation of G out."""
        return self.level * np.float32(self.spread) * self.grids[3](rows)

    @property
    def log_flat(self) -> np.ndarray:
        """The logarithm of F on all pixels."""
        return write_out(self.log_rows, self.shape)

    @property
    def sigma(self) -> np.ndarray:
        """Standard deviation of log F on all pixels."""
        return write_out(self.sigma_rows, self.shape)

    @property
    def gradient(self) -> np.ndarray:
        """G in units of the data on all pixels."""
        return write_out(self.gradient_rows, self.shape)

    @property
    def sigma_gradient(self) -> np.ndarray:
        """Standard deviation of G on all pixels."""
        return write_out(self.sigma_gradient_rows, self.shape)


def estimate_plane(
    image: np.ndarray,
    bad: np.ndarray,
    networks: Networks,
    *,
    mode: Mode,
    parts: Parts,
    strength: float,
) -> PlaneFields:
    """
    Estimate the fields of a plane.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The plane; not changed.

    bad : `~numpy.ndarray` of bool
        Its mask.

    networks : Networks
        The networks.

    mode : {'both', 'multiplicative', 'additive'}
        What the smooth fields are taken for.

    parts : {'all', 'dust', 'smooth'}
        What to correct.

    strength : float
        How much of it, 0 to 1.

    Returns
    -------
    PlaneFields
        The fields.
    """
    shape = image.shape
    none = GridRows(np.zeros((1, 1)), shape)
    extra = networks.fields.card.extra
    smooth = find_smooth(image, bad, networks.fields, extra)
    if smooth is None:
        return PlaneFields(None, None, (0.0, 0.0), (none,) * 4, math.inf)
    maps, gates = _apportion(smooth, mode, tuple(extra.get('gate', GATE)))
    fields = [GridRows(part, shape) for part in maps[:2]]
    dust = None
    if mode != 'additive' and parts != 'smooth':
        # The dust is looked for on the evenest frame, whatever is corrected.
        even = _Even(image, *fields, np.float32(smooth.level))
        card = networks.dust.card
        dust = find_dust(even, bad, networks.dust, card.extra, halo=card.halo)
    sigmas = [GridRows(part, shape, order=1) for part in maps[2:]]
    if parts == 'dust':
        fields, sigmas, gates = [none] * 2, [none] * 2, (0.0, 0.0)
    return PlaneFields(
        smooth=smooth,
        dust=dust,
        gates=gates,
        grids=(*fields, *sigmas),
        # Response of single pixels: no frame shows it, it is there all the same.
        floor=float(extra.get('sigma_floor', 0.0)),
        strength=strength,
        spread=float(extra.get('gradient_scale', APPLIED)),
    )


class _Even(NamedTuple):
    """A frame without its smooth fields, made where it is looked at."""

    image: np.ndarray
    log_v: GridRows
    gradient: GridRows
    level: np.float32

    def __call__(self, rows: slice, columns: slice) -> np.ndarray:
        """Return some of its pixels."""
        light = self.image[rows, columns]
        if not self.gradient.empty:
            light = light - self.level * self.gradient(rows, columns)
        if not self.log_v.empty:
            light = light * np.exp(-self.log_v(rows, columns))
        return light.astype(np.float32, copy=False)


def _apportion(
    smooth: SmoothFields, mode: Mode, limits: tuple[float, float]
) -> tuple[list[np.ndarray], tuple[float, float]]:
    """Give log V, G and their uncertainties, gated, for a mode."""
    v, g = smooth.log_flat, smooth.gradient
    sky = sky_share(smooth.structure)
    sigma_v, sigma_g = smooth.sigma_flat, smooth.sigma_gradient
    none = np.zeros_like(v)
    if mode != 'both':
        # One image shows the sum; the mode says what it is.
        together, sigma = v + g, np.hypot(sigma_v, sigma_g)
        share = sky * gate(together, sigma, limits)
        if mode == 'multiplicative':
            return [share * together, none, sigma, none], (share, 0.0)
        return [none, share * together, none, sigma], (0.0, share)
    gates = sky * gate(v, sigma_v, limits), sky * gate(g, sigma_g, limits)
    return [gates[0] * v, gates[1] * g, sigma_v, sigma_g], gates


def sky_share(structure: float) -> float:
    """
    Return how much of the smooth fields a scene allows to apply.

    Parameters
    ----------
    structure : float
        Scatter of the cells of the corrected frame.

    Returns
    -------
    float
        1 where there is an even sky, 0 where a galaxy fills the frame.
    """
    low, high = STRUCTURE
    return float(np.clip((high - structure) / (high - low), 0.0, 1.0))


def share_channels(
    found: list[PlaneFields], bad: list[np.ndarray]
) -> list[PlaneFields]:
    """
    Give all colours of a sensor one flat.

    Parameters
    ----------
    found : list of PlaneFields
        Fields of each colour.

    bad : list of `~numpy.ndarray` of bool
        Their masks.

    Returns
    -------
    list of PlaneFields
        The same with the weighted mean of log F. A colour without light has no
        weight.
    """
    if len(found) == 1:
        return found
    log_flat, sigma = (np.empty(found[0].shape, np.float32) for _ in range(2))

    def share(rows: slice) -> None:
        sigmas = [plane.sigma_rows(rows) for plane in found]
        weights = [
            np.where(hole[rows], 0, 1 / np.maximum(part, 1e-6) ** 2)
            for part, hole in zip(sigmas, bad, strict=True)
        ]
        sums = sum(
            weight * plane.log_rows(rows)
            for weight, plane in zip(weights, found, strict=True)
        )
        log_flat[rows] = sums / np.maximum(sum(weights), 1e-12)
        # The colours share their structure and so their errors: no gain in sigma.
        np.min(sigmas, axis=0, out=sigma[rows])

    run_strips(share, log_flat.shape)
    gate_v = max(plane.gates[0] for plane in found)
    return [
        replace(plane, shared=(log_flat, sigma), gates=(gate_v, plane.gates[1]))
        for plane in found
    ]
