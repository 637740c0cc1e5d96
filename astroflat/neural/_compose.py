# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From what the networks say of a plane to F and G of its pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from astroflat.neural._dust_levels import DustField, find_dust
from astroflat.neural._smooth import SmoothFields, enlarge, find_smooth, gate
from astroflat.neural._strips import per_strip, run_strips

if TYPE_CHECKING:
    from astroflat.neural.runtime import Session

__all__ = [
    'Mode',
    'Networks',
    'Parts',
    'PlaneFields',
    'estimate_plane',
    'plane_numbers',
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
    Fields of one plane on its pixels.

    Parameters
    ----------
    log_flat : `~numpy.ndarray`
        log F; exactly 0 where nothing is corrected.

    sigma : `~numpy.ndarray`
        Standard deviation of log F.

    gradient, sigma_gradient : `~numpy.ndarray`
        G in units of the data, and its standard deviation.

    smooth : SmoothFields or None
        What the network of the smooth fields said.

    dust : DustField or None
        What the network of the dust said.

    gates : tuple of float
        How much of V and of G is applied, 0 to 1.
    """

    log_flat: np.ndarray
    sigma: np.ndarray
    gradient: np.ndarray
    sigma_gradient: np.ndarray
    smooth: SmoothFields | None
    dust: DustField | None
    gates: tuple[float, float]


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
    zeros = np.zeros(shape, np.float32)
    smooth = find_smooth(image, bad, networks.fields, networks.fields.card.extra)
    if smooth is None:
        return PlaneFields(zeros, zeros + np.inf, zeros, zeros, None, None, (0.0, 0.0))
    limits = tuple(networks.fields.card.extra.get('gate', GATE))
    grids, gates = _apportion(smooth, mode, limits)
    # The dust is looked for on the evenest frame, whatever is corrected.
    log_v, g = (enlarge(grid, shape) for grid in grids[:2])
    dust = None
    if mode != 'additive' and parts != 'smooth':
        even = per_strip(
            lambda light, v, added: (
                (light - np.float32(smooth.level) * added) * np.exp(-v)
            ),
            *(image, log_v, g),
        )
        card = networks.dust.card
        dust = find_dust(even, bad, networks.dust, card.extra, halo=card.halo)
    sigma_v, sigma_g = (enlarge(grid, shape, order=1) for grid in grids[2:])
    if parts == 'dust':
        log_v, g, sigma_v, sigma_g, gates = zeros, zeros, zeros, zeros, (0.0, 0.0)
    # Response of single pixels: no frame shows it, it is there all the same.
    floor = np.float32(networks.fields.card.extra.get('sigma_floor', 0.0))
    parts_of_sigma = [sigma_v] if dust is None else [sigma_v, dust.sigma]
    sigma = per_strip(
        lambda *sigmas: np.sqrt(sum(np.square(part) for part in sigmas) + floor**2),
        *parts_of_sigma,
    )
    if dust is not None:
        log_v = log_v + dust.log_flat
    if strength != 1:
        log_v = np.float32(strength) * log_v
    level = np.float32(smooth.level)
    spread_g = float(networks.fields.card.extra.get('gradient_scale', APPLIED))
    return PlaneFields(
        log_flat=log_v,
        sigma=sigma,
        gradient=np.float32(strength) * level * g,
        sigma_gradient=level * np.float32(spread_g) * sigma_g,
        smooth=smooth,
        dust=dust,
        gates=gates,
    )


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
    with np.errstate(divide='ignore'):
        weights = [
            np.where(hole, 0, 1 / np.maximum(plane.sigma, 1e-6) ** 2)
            for plane, hole in zip(found, bad, strict=True)
        ]
    total = np.maximum(sum(weights), 1e-12)
    log_flat = sum(w * p.log_flat for w, p in zip(weights, found, strict=True)) / total
    # The colours share their structure and so their errors: no gain in sigma.
    sigma = np.min([plane.sigma for plane in found], axis=0)
    gate_v = max(plane.gates[0] for plane in found)
    return [
        replace(
            plane,
            log_flat=log_flat.astype(np.float32),
            sigma=sigma,
            gates=(gate_v, plane.gates[1]),
        )
        for plane in found
    ]


def plane_numbers(plane: PlaneFields) -> dict[str, Any]:
    """
    Return what the report says of a plane.

    Parameters
    ----------
    plane : PlaneFields
        Its fields.

    Returns
    -------
    dict
        Numbers by name, in per cent of the flat or of the sky.
    """
    smooth, dust = plane.smooth, plane.dust
    if smooth is None:
        return {'level': 0.0}
    change = 100 * _std(plane.log_flat)
    expected = 100 * _rms(plane.sigma)
    return {
        'level': smooth.level,
        'smooth_percent': 100 * float(smooth.log_flat.std()),
        'smooth_sigma_percent': 100 * _rms(smooth.sigma_flat),
        'smooth_applied': plane.gates[0],
        'gradient_percent': 100 * float(smooth.gradient.std()),
        'gradient_sigma_percent': 100 * _rms(smooth.sigma_gradient),
        'gradient_applied': plane.gates[1],
        'n_dust': dust.n_objects if dust else 0,
        'n_doubtful': dust.n_doubtful if dust else 0,
        'dust_area_percent': 100 * float(np.mean(dust.log_flat != 0)) if dust else 0.0,
        'change_percent': change,
        'expected_percent': expected,
        'nothing_percent': float(np.hypot(change, expected)),
        'structure_percent': 100 * smooth.structure,
        'better_chance': smooth.better[0],
        'distance': smooth.distance,
    }


def _rms(values: np.ndarray) -> float:
    sums = run_strips(
        lambda rows: np.square(values[rows], dtype=float).sum(), values.shape
    )
    return math.sqrt(sum(sums) / values.size)


def _std(values: np.ndarray) -> float:
    mean = sum(run_strips(lambda rows: values[rows].sum(dtype=float), values.shape))
    mean /= values.size
    return math.sqrt(max(_rms(values) ** 2 - mean**2, 0.0))
