# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What happened to each mote, decided by frames that the fit has not seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from astroflat.selfcal._repair_motes import MotePatch, place
from astroflat.selfcal._repair_search import Motion, fit_motion, vote

if TYPE_CHECKING:
    from collections.abc import Collection

    from astroflat.selfcal._repair_motes import Template

__all__ = [
    'MIN_GAIN',
    'Choice',
    'choose',
    'convincing',
    'mote_change',
    'mote_strength',
]

#: What a change must take off the chi-square of frames that it was not made from.
MIN_GAIN = 25.0
# A motion of its own has to be that much better than the common one.
_OWN = 16.0
# With less at stake, a mote does what the others do.
_POWER = 9.0
_MAJORITY = 0.8


@dataclass
class Choice:
    """
    What is done with one mote of the flat.

    Parameters
    ----------
    template : Template
        The mote.

    action : {'keep', 'gone', 'moved', 'follow'}
        Stay, be removed, be moved, or be moved because all others were.

    shift : tuple of float
        (dy, dx) in pixels.

    strength, strength_sigma : float
        The depth in the frames over that in the flat.

    shift_sigma : tuple of float
        Standard deviations of the shift.

    gain : float
        What the change takes off the chi-square of frames left out.

    power : float
        The chi-square between the change and no change.
    """

    template: Template
    action: str = 'keep'
    shift: tuple[float, float] = (0.0, 0.0)
    strength: float = 1.0
    strength_sigma: float = np.inf
    shift_sigma: tuple[float, float] = (0.0, 0.0)
    gain: float = 0.0
    power: float = 0.0
    gains: dict[str, np.ndarray] = field(default_factory=dict)


def convincing(gains: np.ndarray, least: float = MIN_GAIN) -> bool:
    """
    Tell whether a change is an improvement in frames that it was not made from.

    Parameters
    ----------
    gains : `~numpy.ndarray`
        The decrease of chi-square in each group of frames left out.

    least : float, optional
        The smallest sum that counts.

    Returns
    -------
    good : bool
        The sum is large enough, and no more than one group in four disagrees.
    """
    against = np.count_nonzero(gains <= 0)
    return bool(gains.sum() > least and 4 * against <= gains.size)


def choose(
    excess: np.ndarray,
    weight: np.ndarray,
    templates: list[Template],
    *,
    reach: float,
    min_shift: float,
    changes: Collection[str],
) -> tuple[list[Choice], Motion]:
    """
    Decide what happened to the motes of a flat.

    Parameters
    ----------
    excess : `~numpy.ndarray`
        The logarithm of frames over flat in groups, ``(k, ny, nx)``.

    weight : `~numpy.ndarray`
        Its inverse variance.

    templates : list of Template
        The motes of the flat.

    reach : float
        The largest shift to look for.

    min_shift : float
        A mote that moved by less stays.

    changes : collection of str
        Which of 'moved' and 'gone' are allowed.

    Returns
    -------
    choices : list of Choice
        One per template.

    motion : Motion
        What the motes have in common.
    """
    if not templates:
        return [], Motion()
    total = weight.sum(axis=0, dtype=np.float64)
    mean = (weight * excess).sum(axis=0) / np.maximum(total, 1e-300)
    guesses = vote(mean, total, templates, reach)
    patches = [
        MotePatch.cut(excess, weight, t, 10 + max(map(abs, g)))
        for t, g in zip(templates, guesses, strict=True)
    ]
    shape = excess.shape[1:]
    whole = np.array(
        [p.fit(slice(None), g) for p, g in zip(patches, guesses, strict=True)]
    )
    motion = _motion(templates, whole, shape)
    choices = [
        Choice(t, strength=f[0], strength_sigma=f[3])
        for t, f in zip(templates, whole, strict=True)
    ]
    _gain_of_each_group(choices, patches, guesses, shape)
    for choice, patch, fit in zip(choices, patches, whole, strict=True):
        _decide(choice, patch, fit, motion, min_shift, changes)
    if 'moved' in changes and motion.kind != 'none':
        _follow(choices, motion, min_shift)
    return choices, motion


def _motion(
    templates: list[Template], fits: np.ndarray, shape: tuple[int, int]
) -> Motion:
    """Return the common motion of motes that are seen at all."""
    seen = fits[:, 0] > 3 * fits[:, 3]
    kept = [t for t, s in zip(templates, seen, strict=True) if s]
    return fit_motion(kept, fits[seen, 1:3], fits[seen, 4:6], shape)


def _gain_of_each_group(
    choices: list[Choice],
    patches: list[MotePatch],
    guesses: list[tuple[float, float]],
    shape: tuple[int, int],
) -> None:
    """Fit without a group of frames, and see what that is worth in the group."""
    n = len(patches[0].data)
    names = ('gone', 'common', 'own')
    for choice in choices:
        choice.gains = {name: np.zeros(n) for name in names}
    templates = [choice.template for choice in choices]
    for j in range(n):
        rest = [k for k in range(n) if k != j]
        fits = np.array([p.fit(rest, g) for p, g in zip(patches, guesses, strict=True)])
        motion = _motion(templates, fits, shape)
        for choice, patch, fit in zip(choices, patches, fits, strict=True):
            models = {
                'gone': patch.model((0, 0), 0.0),
                'common': patch.model(motion.of(choice.template)),
                'own': patch.model(fit[1:3]),
            }
            before = patch.rest([j], patch.model((0, 0)))
            for name, model in models.items():
                choice.gains[name][j] = before - patch.rest([j], model)


def _decide(
    choice: Choice,
    patch: MotePatch,
    fit: np.ndarray,
    motion: Motion,
    min_shift: float,
    changes: Collection[str],
) -> None:
    """Take the best change that is convincing, if there is one."""
    common, own = motion.of(choice.template), tuple(map(float, fit[1:3]))
    options = {'gone': ('gone', (0.0, 0.0)), 'common': ('moved', common)}
    if choice.gains['own'].sum() > choice.gains['common'].sum() + _OWN:
        options['own'] = ('moved', own)
    best = 0.0
    for name, (action, shift) in options.items():
        gains = choice.gains[name]
        if action not in changes or gains.sum() <= best or not convincing(gains):
            continue
        if action == 'moved' and np.hypot(*shift) < min_shift:
            continue
        best = float(gains.sum())
        choice.action, choice.shift, choice.gain = action, shift, best
        choice.shift_sigma = (float(fit[4]), float(fit[5]))
    other = patch.model((0, 0), 0.0)
    if np.hypot(*common) >= min_shift:
        other = patch.model(common)
    choice.power = patch.power(patch.model((0, 0)), other)


def _follow(choices: list[Choice], motion: Motion, min_shift: float) -> None:
    """Let motes that are too faint to say where they are follow the others."""
    moves = [np.hypot(*motion.of(c.template)) >= min_shift for c in choices]
    common = [c.gains['common'] for c in choices]
    against = [convincing(-gains) for gains in common]
    agreed = [c.action == 'moved' and convincing(c.gains['common']) for c in choices]
    open_ = [
        c.action == 'keep' and move and not against_
        for c, move, against_ in zip(choices, moves, against, strict=True)
    ]
    pooled = sum((g for g, o in zip(common, open_, strict=True) if o), np.zeros(1))
    clear = sum(agreed) >= 2 and sum(agreed) >= _MAJORITY * (sum(agreed) + sum(against))
    if not (clear or convincing(pooled)):
        return
    for choice, undecided in zip(choices, open_, strict=True):
        if undecided and choice.gains['common'].sum() > -_POWER:
            choice.action, choice.shift = 'follow', motion.of(choice.template)
            choice.gain = float(choice.gains['common'].sum())
            choice.shift_sigma = (0.05 * choice.template.radius,) * 2


def mote_strength(choices: list[Choice]) -> tuple[float, float]:
    """
    Return the depth of motes in the frames over that in the flat.

    Parameters
    ----------
    choices : list of Choice
        The motes; those that are gone do not count.

    Returns
    -------
    value, sigma : float
        The weighted mean and its standard deviation from the scatter; 1 and
        infinity if nothing is known.
    """
    usable = [c for c in choices if c.action != 'gone' and c.strength_sigma < 0.3]
    if not usable:
        return 1.0, np.inf
    value = np.array([c.strength for c in usable])
    # Shapes differ a little, too: no mote knows better than 3 %.
    weight = 1 / (np.array([c.strength_sigma for c in usable]) ** 2 + 0.03**2)
    mean = float(np.sum(weight * value) / weight.sum())
    formal = weight.sum() ** -0.5
    spread = np.sqrt(np.sum(weight * (value - mean) ** 2) / weight.sum())
    return mean, float(max(formal, spread / np.sqrt(max(1, len(usable) - 1))))


def mote_change(
    choices: list[Choice], shape: tuple[int, int], scale: float = 1.0
) -> np.ndarray:
    """
    Return the logarithm of what the choices do to a flat.

    Parameters
    ----------
    choices : list of Choice
        What is done with each mote.

    shape : tuple of int
        The shape of the flat.

    scale : float, optional
        A factor for the depth of all motes.

    Returns
    -------
    change : `~numpy.ndarray`
        Exactly 0 where nothing is done.
    """
    change = np.zeros(shape)
    for choice in choices:
        template = choice.template
        if choice.action == 'keep' and scale == 1:
            continue
        change[template.box] -= template.values
        if choice.action != 'gone':
            box, values = place(template, choice.shift, shape)
            change[box] += scale * values
    return change
