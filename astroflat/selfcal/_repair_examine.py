# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What is wrong with a flat, as far as frames of the night tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.selfcal._repair_choice import Choice, choose, mote_change, mote_strength
from astroflat.selfcal._repair_frames import (
    Evidence,
    as_offset,
    block_size,
    collect,
    mask_sources,
)
from astroflat.selfcal._repair_motes import Template, make_templates
from astroflat.selfcal._repair_new import NewMote, find_new
from astroflat.selfcal._repair_search import Motion
from astroflat.selfcal._repair_strength import (
    Strength,
    fit_smooth,
    measure_strength,
    smooth_part,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from astroflat._nddata import Frame
    from astroflat.selfcal.repair import RepairOptions

__all__ = ['MIN_VALUE', 'Dust', 'Findings', 'examine', 'find_dust']

#: A flat below this value is not used.
MIN_VALUE = 0.05


@dataclass
class Findings:
    """What is wrong with a flat; see `repair_flat`."""

    frame: Frame
    good: np.ndarray
    dust: Dust
    evidence: Evidence
    choices: list[Choice]
    motion: Motion
    new: list[NewMote]
    strength: Strength
    depth: tuple[float, float]
    smooth: np.ndarray
    bent: tuple[np.ndarray, np.ndarray, int] | None
    changes: Collection[str]
    options: RepairOptions


@dataclass(frozen=True)
class Dust:
    """The dust of a flat: the flat without it, and its motes."""

    detection: Any
    clean: np.ndarray
    logarithm: np.ndarray
    sigma: np.ndarray
    templates: list[Template]


def examine(
    frame: Frame,
    frames: Any,
    offsets: tuple[Any, Any],
    changes: Collection[str],
    options: RepairOptions,
    workers: int,
) -> Findings:
    """
    Find out what is wrong with a flat.

    Parameters
    ----------
    frame : Frame
        The flat.

    frames : object
        Frames of the night.

    offsets : tuple
        Bias and dark.

    changes : collection of str
        What may be changed.

    options : RepairOptions
        The settings.

    workers : int
        The number of threads.

    Returns
    -------
    findings : Findings
        What is wrong.
    """
    from astroflat.io import open_frames

    good = ~frame.bad & (frame.data > MIN_VALUE)
    flat = np.where(good, frame.data, np.float32(1))
    dust = find_dust(flat, good, options)
    box = block_size(frame.shape)
    smooth, blocks = smooth_part(dust.clean, good, box)
    with open_frames(frames) as stack:
        _check_frames(stack, frame.shape)
        evidence = collect(
            stack,
            flat,
            (dust.clean, np.exp(smooth).astype(np.float32)),
            good,
            offset=as_offset(*offsets, frame.shape, stack.unit),
            n_groups=options.n_groups,
            workers=workers,
        )
    excess, weight = _logarithm(evidence, dust, np.log(flat) - smooth)
    choices, motion = choose(
        excess,
        weight,
        dust.templates,
        reach=options.reach,
        min_shift=options.min_shift,
        changes=changes,
    )
    depth = mote_strength(choices)
    scale = depth[0] if 'depth' in changes and _differs(depth) else 1.0
    moved = mote_change(choices, frame.shape, scale)
    new = []
    if {'new', 'gone'} & set(changes):
        new = find_new(
            excess - moved.astype(np.float32),
            weight,
            flat=np.log(flat) + moved,
            options=options.detection,
            changes=changes,
        )
    strength = measure_strength(evidence.blocks, blocks, frame.shape, evidence.box)
    bent = None
    if options.smooth_degree:
        rest = evidence.blocks
        if 'strength' in changes and strength.significant:
            rest = rest * np.exp(-(strength.value - 1) * blocks)
        bent = fit_smooth(rest, frame.shape, evidence.box, options.smooth_degree)
    return Findings(
        frame,
        good,
        dust,
        evidence,
        choices,
        motion,
        new,
        strength,
        depth,
        smooth,
        bent,
        changes,
        options,
    )


def _check_frames(stack: Any, shape: tuple[int, int]) -> None:
    """Raise if the frames do not fit the flat."""
    if len(stack) < 2:
        msg = f'{len(stack)} frame: two are needed, one to check the other'
        raise ValueError(msg)
    if stack.shape[1:] != tuple(shape):
        msg = (
            f'frames have the shape {stack.shape[1:]}, the flat has {tuple(shape)}; '
            'repair colour planes one by one'
        )
        raise ValueError(msg)


def find_dust(flat: np.ndarray, good: np.ndarray, options: RepairOptions) -> Dust:
    """
    Separate the dust of a flat from the rest.

    Parameters
    ----------
    flat : `~numpy.ndarray`
        The flat, finite.

    good : `~numpy.ndarray` of bool
        Where it may be used.

    options : RepairOptions
        The settings.

    Returns
    -------
    dust : Dust
        The flat without dust, the logarithm of the transmission and its
        standard deviation, both 0 off the dust, and the templates.
    """
    from astropy import units as u
    from astropy.nddata import CCDData

    from astroflat.dust import (
        detect_dust,
        dilate_mask,
        feather_mask,
        inpaint,
        synthetic_flat,
    )

    bad = None if good.all() else ~good
    image = CCDData(flat, unit=u.one, mask=bad)
    detection = detect_dust(image, **{'polarity': 'dark', **options.detection})
    grown = dilate_mask(
        detection.mask, radius=options.margin, relative=options.relative_margin
    )
    weight = feather_mask(grown, sigma=options.feather)
    if not (weight > 0).any():
        nothing = np.zeros(flat.shape)
        return Dust(detection, flat, nothing, nothing, [])
    filled, sigma = inpaint(image, weight, return_uncertainty=True)
    # Averages the noise away, so that a mote can be moved without its noise.
    logarithm, raw = (
        np.log(synthetic_flat(image, filled, weight, smooth=s).data.astype(np.float64))
        for s in (1.5, 0)
    )
    relative = np.where(weight > 0, weight * np.nan_to_num(sigma / filled.data), 0)
    templates = make_templates(logarithm, raw, detection)
    kept = np.zeros(flat.shape)
    for template in templates:
        kept[template.box] += template.values
    clean = (flat / np.exp(kept)).astype(np.float32)
    return Dust(detection, clean, kept, relative, templates)


def _logarithm(
    evidence: Evidence, dust: Dust, fine: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the logarithm of frames over flat, without faint stars."""
    ratio, weight = evidence.mean()
    # Stars too faint for a single frame; what the flat takes for dust is none.
    faint = mask_sources(
        (ratio * np.exp(dust.logarithm)).astype(np.float32),
        weight > 0,
        (ratio * np.exp(fine)).astype(np.float32),
    )
    weights = np.where(faint, np.float32(0), evidence.weight)
    safe = np.maximum(evidence.ratio, np.float32(MIN_VALUE))
    return np.log(safe), weights


def _differs(depth: tuple[float, float]) -> bool:
    """Tell whether a strength is not 1."""
    return abs(depth[0] - 1) > 4 * depth[1]
