# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Which flat a group of lights gets: the one given, a repaired one, or its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.pipelines._night_masters import is_mosaic, read_master
from astroflat.pipelines._night_mosaic import (
    enlarge,
    grey_image,
    grey_task,
    with_changes,
)
from astroflat.pipelines._night_store import publish, read_json, write_json

if TYPE_CHECKING:
    from astroflat.solution import FlatSolution

__all__ = ['GroupTask', 'SettledFlat', 'settle_flat']

# Frames that a flat can be made of; fewer are corrected each by itself.
_MIN_LIGHTS = 3
# Flats of another filter know the response of each pixel, and are repaired; so
# many lights know it as well, and their own dust.
_MIN_OWN = 20


@dataclass(frozen=True)
class GroupTask:
    """
    A group of lights that needs a flat.

    Parameters
    ----------
    label : str
        Its name.

    method : str
        'auto', 'given', 'lights', 'single' or 'none'.

    lights : tuple of str
        The frames that the flat is checked with or made from.

    bias, dark : str or None
        Masters.

    scale : float
        What the dark is multiplied by.

    flat : str or None
        The master flat.

    wrong : tuple of str
        Settings in which the flats differ from the lights.

    output : str
        The file of the flat; what belongs to it goes beside it.

    n_threads : int or None
        The number of threads.

    mosaic : str
        The colours of a mosaic, empty for others.
    """

    label: str
    method: str
    lights: tuple[str, ...]
    bias: str | None
    dark: str | None
    scale: float
    flat: str | None
    wrong: tuple[str, ...]
    output: str
    n_threads: int | None = None
    mosaic: str = ''


@dataclass(frozen=True)
class SettledFlat:
    """
    The flat that was chosen, in words.

    Parameters
    ----------
    method : str
        'flats', 'repair', 'sky', ..., 'single' or 'none'.

    verdict : str
        'accept', 'weak' or 'reject'.

    words, doubts : list of str
        What was decided, and what is not sure.

    numbers : dict
        Those of the report behind it.

    files : dict
        The files of ``'flat'`` and ``'gradient'``, as far as there are any.
    """

    method: str
    verdict: str
    words: list[str]
    doubts: list[str]
    numbers: dict[str, Any]
    files: dict[str, str]

    def correct(self) -> FlatSolution | None:
        """
        Read the fields.

        Returns
        -------
        solution : FlatSolution or None
            None where nothing is to be divided by.
        """
        from astroflat.solution import FlatSolution

        if 'flat' not in self.files:
            return None
        flat, gradient = (read_master(self.files.get(n)) for n in ('flat', 'gradient'))
        return FlatSolution(flat, gradient, method=self.method)


def settle_flat(task: GroupTask) -> SettledFlat:
    """
    Decide on the flat of a group, unless that was done.

    Parameters
    ----------
    task : GroupTask
        The group.

    Returns
    -------
    settled : SettledFlat
        The flat, on disk, and the reasons.
    """
    note = Path(task.output).with_suffix('.json')
    found = read_json(note)
    if found is not None:
        return SettledFlat(**found)
    try:
        settled = _decide(task)
    except (OSError, ValueError) as error:
        settled = _decide_again(task, error)
    write_json(note, settled.__dict__)
    # What was read is what every later run reads.
    return SettledFlat(**read_json(note))


def _decide_again(task: GroupTask, error: Exception) -> SettledFlat:
    """Decide without the lights that cannot be read."""
    from astroflat.io.images import read_ccd

    bad = []
    for path in task.lights:
        try:
            read_ccd(path)
        except (OSError, ValueError):
            bad.append(path)
    if not bad:
        raise error
    left = tuple(path for path in task.lights if path not in bad)
    settled = _decide(replace(task, lights=left))
    names = ', '.join(Path(path).name for path in bad)
    settled.doubts.append(f'decided without what cannot be read: {names}')
    return settled


def _decide(task: GroupTask) -> SettledFlat:
    """Choose a way."""
    if task.method == 'none':
        return _without('no flat was wanted')
    if task.flat is not None and task.method in ('auto', 'given'):
        return _with_flats(task)
    if task.method == 'given':
        return _without(
            'no flats were found', doubt='not flattened: there are no flats'
        )
    if task.method == 'single' or len(task.lights) < _MIN_LIGHTS:
        n = len(task.lights)
        words = [f'{n} {"light" if n == 1 else "lights"}: each by its own networks']
        return SettledFlat('single', 'accept', words, [], {}, {})
    words = [] if task.method == 'lights' else ['no flats were found']
    try:
        return _own(task, words)
    except ValueError as error:
        return _without(*words, doubt=f'not flattened: {error}')


def _without(*words: str, doubt: str | None = None) -> SettledFlat:
    """Return the decision to divide by nothing."""
    verdict = 'accept' if doubt is None else 'reject'
    return SettledFlat('none', verdict, [*words], [doubt] if doubt else [], {}, {})


def _frames(task: GroupTask) -> Any:
    """Return what is subtracted from the lights, ready for an estimator."""
    bias, dark = (read_master(p) for p in (task.bias, task.dark))
    if dark is not None and task.scale != 1:
        dark = dark.multiply(task.scale, handle_meta='first_found')
    return {'bias': bias, 'dark': dark, 'n_threads': task.n_threads}


def _with_flats(task: GroupTask) -> SettledFlat:
    """Check the flats that were found with the lights."""
    from astroflat.solution import FlatSolution

    note = read_json(Path(task.flat).with_suffix('.json'))
    words, doubts = list(note['words']), list(note['doubts'])
    given = FlatSolution(read_master(task.flat), method='flats')
    if task.method == 'given':
        words.append('used as they are, unchecked')
        return _keep(task, given, words, doubts)
    if is_mosaic(given.flat) != bool(task.mosaic):
        doubts.append('of flats and lights one is a mosaic of colours: not checked')
        return _keep(task, given, words, doubts)
    if len(task.lights) < 2:
        doubts.append('one light cannot tell whether the flats fit it')
        return _keep(task, given, words, doubts)
    if 'filter' in task.wrong and len(task.lights) >= _MIN_OWN:
        own = _try_own(task, words)
        if own is not None:
            return own
    return _repaired(task, given, words, doubts)


def _try_own(task: GroupTask, words: list[str]) -> SettledFlat | None:
    """Make a flat of the lights, if it is good enough to go without flats."""
    text = 'the flats are of another filter'
    try:
        own = _own(task, [*words, text])
    except ValueError as error:
        words.append(f'{text}, but the lights make none: {error}')
        return None
    if own.verdict == 'accept':
        return own
    words.append(f'{text}, but that of the lights is {own.verdict}')
    return None


def _repaired(
    task: GroupTask, given: FlatSolution, words: list[str], doubts: list[str]
) -> SettledFlat:
    """Bring flats up to date by the lights; flats that are right stay as they are."""
    from astroflat.selfcal import repair_flat

    try:
        seen, flat = task, given
        if task.mosaic:
            seen = grey_task(task)
            flat = replace(given, flat=grey_image(given.flat, task.mosaic))
        lights = [Path(p) for p in seen.lights]
        solution = repair_flat(flat, lights, add_keyword=True, **_frames(seen))
    except ValueError as error:
        doubts.append(f'the lights cannot check the flats: {error}')
        return _keep(task, given, words, doubts)
    numbers = solution.report.numbers
    doubts += [f'check: {reason}' for reason in solution.report.reasons]
    if not numbers['n_changed_pixels']:
        words.append(_agreement(numbers))
        return _keep(task, given, words, doubts, numbers)
    words += _changes(numbers)
    if task.mosaic:
        solution = with_changes(given, flat, solution, task.mosaic)
        words.append('the colours were taken together for this')
    return _keep(task, solution, words, doubts, numbers)


def _agreement(n: dict[str, Any]) -> str:
    """Say that flats are right, and how well that is known."""
    return (
        f'the flats are right: {n["n_frames"]} lights divided by them show nothing to '
        f'change (vignette {n["vignette_strength"]:.2f} ± '
        f'{n["vignette_strength_sigma"]:.2f} times as strong, no mote moved)'
    )


def _changes(n: dict[str, Any]) -> list[str]:
    """Say what was changed in flats."""
    found = []
    moved = n['n_moved'] + n['n_followed']
    counts = [(moved, 'moved'), (n['n_gone'], 'gone'), (n['n_new'], 'new')]
    motes = [f'{k} {what}' for k, what in counts if k]
    if n['n_ghosts']:
        motes.append(f'{n["n_ghosts"]} ghosts taken out')
    if motes:
        found.append(f'dust: {", ".join(motes)}, of {n["n_motes"]} motes in the flats')
    if n['vignette_changed']:
        strength, sigma = n['vignette_strength'], n['vignette_strength_sigma']
        kind = 'too weak' if strength > 1 else 'too strong'
        found.append(
            f'vignette {kind}: the lights want {strength:.2f} ± {sigma:.2f} of it'
        )
    if n['pedestal']:
        found.append(f'a pedestal of {n["pedestal"]:.3g} of the level taken off')
    size = f'{n["changed_percent"]:.2g} % of the pixels, by {n["change_percent"]:.2g} %'
    head = 'the flats are not right, and were repaired by the lights: '
    return [head + ('; '.join(found) or 'small changes') + f' ({size} rms)']


def _own(task: GroupTask, words: list[str]) -> SettledFlat:
    """Make a flat of the lights."""
    from astroflat.selfcal import self_flats

    # It was decided before what belongs together.
    steps = dict.fromkeys(('temperature_step', 'rotator_step'), np.inf)
    seen = grey_task(task) if task.mosaic else task
    lights = [Path(p) for p in seen.lights]
    (solution,) = self_flats(lights, **steps, **_frames(seen)).values()
    report = solution.report
    words = [*words, *solution.stages['choice'][1:]]
    doubts = [] if report is None else list(report.reasons)
    if task.mosaic:
        if solution.gradient is not None:
            doubts.append('the gradient was not subtracted: its colour is not known')
        solution = enlarge(solution, task.mosaic)
        words.append('the colours were taken together for this')
    numbers = {} if report is None else report.numbers
    if report is not None and report.verdict == 'reject':
        doubts.insert(0, f'the flat by {solution.method} is rejected and not applied')
        return SettledFlat('none', 'reject', words, doubts, _known(numbers), {})
    verdict = 'accept' if report is None else report.verdict
    return _keep(task, solution, words, doubts, numbers, verdict=verdict)


def _known(numbers: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers that JSON can hold."""
    kinds = (bool, int, float, str, np.generic)
    return {k: v for k, v in numbers.items() if isinstance(v, kinds)}


def _keep(
    task: GroupTask,
    solution: FlatSolution,
    words: list[str],
    doubts: list[str],
    numbers: dict[str, Any] | None = None,
    *,
    verdict: str | None = None,
) -> SettledFlat:
    """Write a flat, and say why it is this one."""
    from astroflat.io import write_image

    files = {}
    for name, image in (('flat', solution.flat), ('gradient', solution.gradient)):
        if image is None:
            continue
        path = Path(task.output).with_name(f'{Path(task.output).stem}-{name}.fits')
        publish(path, lambda temporary, i=image: write_image(i, temporary))
        files[name] = str(path)
    verdict = verdict or ('weak' if doubts else 'accept')
    return SettledFlat(
        solution.method, verdict, words, doubts, _known(numbers or {}), files
    )
