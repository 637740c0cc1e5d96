# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What a night needs: which frames are combined, and what each light gets."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from astroflat.pipelines._night_files import output_name
from astroflat.pipelines._night_groups import GroupPlan, NightOptions, NightPlan
from astroflat.pipelines._night_sets import (
    FrameSet,
    Offset,
    choose_flats,
    choose_offset,
    differences,
    make_sets,
)
from astroflat.pipelines._stages import hash_of_values

if TYPE_CHECKING:
    from astroflat.pipelines._night_files import NightFile

__all__ = ['make_plan']

# Flats of the same night need no remark.
_FRESH_DAYS = 1.0


def make_plan(files: list[NightFile], options: NightOptions) -> NightPlan:
    """
    Decide all that the headers tell.

    Parameters
    ----------
    files : list of NightFile
        What there is.

    options : NightOptions
        The options.

    Returns
    -------
    plan : NightPlan
        The plan.

    Raises
    ------
    ValueError
        If there are no lights, or two lights would get one name.
    """
    sets = {k: make_sets(k, files) for k in ('bias', 'dark', 'flat', 'light')}
    if not sets['light']:
        kinds = Counter(f.kind for f in files)
        found = (
            ', '.join(f'{n} {k}' for k, n in sorted(kinds.items())) or 'no FITS file'
        )
        msg = f'the folder holds no lights, but {found}; is IMAGETYP right?'
        raise ValueError(msg)
    _check_names(sets['light'])
    groups = [_plan_group(lights, sets, options) for lights in sets['light']]
    words, doubts = _describe(files)
    return NightPlan(files, groups, [*words, *_combined(files, groups)], doubts)


def _check_names(lights: list[FrameSet]) -> None:
    """Raise if two lights would get one name."""
    names = Counter(output_name(f.name).lower() for s in lights for f in s.files)
    double = [name for name, n in names.items() if n > 1]
    if double:
        msg = f'two lights are called {double[0]!r}, compressed and not; remove one'
        raise ValueError(msg)


def _describe(files: list[NightFile]) -> tuple[list[str], list[str]]:
    """Say what there is, what was guessed and what was left out."""
    kinds = Counter(f.kind for f in files)
    order = ('light', 'flat', 'dark', 'bias')
    found = ', '.join(
        f'{kinds[k]} {k}{_plural(k, kinds[k])}' for k in order if kinds[k]
    )
    words = [f'found {found}']
    doubts: list[str] = []
    guesses = Counter(
        (f.kind, f.why) for f in files if 'guessed' in f.why and f.kind != 'other'
    )
    doubts += [
        f'{n} taken for {kind}{_plural(kind, n)}: {why}'
        for (kind, why), n in sorted(guesses.items())
    ]
    doubts += [f'{f.name} is damaged: {f.why}' for f in files if f.kind == 'damaged']
    words += [f'{f.name} left out: {f.why}' for f in files if f.kind == 'other']
    cut = Counter(str(f.sections) for f in files if f.sections)
    words += [f'{_frames(n)}: {what}' for what, n in sorted(cut.items())]
    odd = Counter(f.sections.doubt for f in files if f.sections.doubt)
    doubts += [f'{_frames(n)}: {what}' for what, n in sorted(odd.items())]
    return words, doubts


def _combined(files: list[NightFile], groups: list[GroupPlan]) -> list[str]:
    """Say which lights step back: combinations beside the single ones."""
    used = {f.name for g in groups for f in g.lights.files}
    return [
        f'{f.name} left out: a combination of frames, beside single lights'
        for f in files
        if f.kind == 'light' and f.name not in used
    ]


def _frames(n: int) -> str:
    return f'{n} frame{"" if n == 1 else "s"}'


def _plural(kind: str, n: int) -> str:
    return '' if n == 1 or kind == 'bias' else 's'


def _plan_group(
    lights: FrameSet, sets: dict[str, list[FrameSet]], options: NightOptions
) -> GroupPlan:
    """Decide what a group gets."""
    exposures = Counter(f.exposure for f in lights.files)
    offsets = {
        e: choose_offset(lights.settings, e, lights.mjd, sets['bias'], sets['dark'])
        for e in sorted(exposures, key=lambda e: (e is None, e))
    }
    if all(f.sections.overscan for f in lights.files):
        offsets = {e: _above_overscan(o) for e, o in offsets.items()}
    plan = GroupPlan(lights, offsets)
    for exposure, offset in offsets.items():
        which = '' if len(offsets) == 1 else f'{_seconds(exposure)}: '
        plan.words += [which + w for w in offset.words]
        plan.doubts += [which + d for d in offset.doubts]
    if options.flats in ('auto', 'given'):
        _plan_flats(plan, sets)
    _plan_noise(plan, sets)
    plan.sample = _sample(plan, options.sample)
    if len(plan.sample) < len(lights.files):
        n, all_ = len(plan.sample), len(lights.files)
        plan.words.append(f'{n} of {all_} lights decide on the flat')
    plan.key = hash_of_values(
        [
            [list(f.key) for f in plan.sample],
            plan.sample_offset.key,
            plan.flat_offset.key,
            repr(plan.flat_scales),
            None if plan.flats is None else plan.flats.key,
            repr(plan.wrong),
            plan.noise_key,
            repr(options.flats),
        ]
    )
    return plan


def _above_overscan(offset: Offset) -> Offset:
    """Say what an overscan is worth: it is the zero point, if nothing else is."""
    frames = [s for s in (offset.bias, offset.dark, offset.zero) if s is not None]
    if not frames:
        words = ('neither bias nor dark: the overscan is the zero point',)
        return replace(offset, words=words, doubts=())
    doubts = tuple(
        f'the {s.name} had no overscan taken off here, the lights had: a pedestal in '
        'it would be subtracted twice'
        for s in frames
        if not all(f.sections.overscan for f in s.files)
    )
    return replace(offset, doubts=(*offset.doubts, *doubts))


def _seconds(exposure: float | None) -> str:
    return 'unknown exposure' if exposure is None else f'{exposure:g} s'


def _plan_flats(plan: GroupPlan, sets: dict[str, list[FrameSet]]) -> None:
    """Choose flats, and what is subtracted from them."""
    flats, wrong, days = choose_flats(plan.lights, sets['flat'])
    if flats is None:
        if sets['flat']:
            plan.words.append('no flats of this camera, binning and size')
        return
    plan.flats, plan.wrong = flats, wrong
    age = '' if days is None else f', {_age(days)} apart from the lights'
    plan.words.append(f'flats: {flats.name}{age}')
    for name in wrong:
        one, two = flats.settings[name], plan.lights.settings[name]
        plan.doubts.append(f'flats and lights differ in {name}: {one} and {two}')
    if days is not None and days > _FRESH_DAYS:
        plan.doubts.append(
            f'the flats may be stale: {_age(days)} apart from the lights'
        )
    if flats.files[0].master:
        return
    _plan_flat_offset(plan, flats, sets)


def _key(frames: FrameSet | None) -> str | None:
    return None if frames is None else frames.key


def _age(days: float) -> str:
    """Return a time in words."""
    if days < _FRESH_DAYS:
        return f'{24 * days:.1f} hours'
    return f'{days:.0f} days'


def _plan_flat_offset(
    plan: GroupPlan, flats: FrameSet, sets: dict[str, list[FrameSet]]
) -> None:
    """Choose what is subtracted from flats: one bias, one dark, scaled."""
    settings = {**flats.settings}
    found = [
        choose_offset(settings, f.exposure, flats.mjd, sets['bias'], sets['dark'])
        for f in flats.files
    ]
    alike = len({(_key(o.bias), _key(o.dark)) for o in found}) == 1
    if not alike:
        # Twilight flats of many exposures: the bias alone, dark current is small.
        found = [choose_offset(settings, None, flats.mjd, sets['bias'], [])] * len(
            found
        )
    if all(f.sections.overscan for f in flats.files):
        found = [_above_overscan(o) for o in found]
    plan.flat_offset = found[0]
    plan.flat_scales = tuple(o.scale for o in found)
    plan.words += [f'flats: {w}' for w in found[0].words]
    plan.doubts += [f'flats: {d}' for d in found[0].doubts]


def _plan_noise(plan: GroupPlan, sets: dict[str, list[FrameSet]]) -> None:
    """Choose what gain and read noise are measured from."""
    from astroflat.neural._noise_estimate import _READNOISES, _gain_of, header_value

    plan.gain = _gain_of(plan.lights.files[0].cards)
    names = ('shape', 'camera', 'binning', 'gain')

    def fitting(kind: str) -> list[NightFile]:
        pairs = [
            [f for f in s.files if not f.master]
            for s in sets[kind]
            if not differences(s.settings, plan.lights.settings, names)
        ]
        pairs = [p for p in pairs if len(p) >= 2]
        return max(pairs, key=len)[:2] if pairs else []

    bias = fitting('bias')
    first = plan.lights.files[0]
    if not bias and first.sections.overscan:
        plan.strip = first
    elif not bias and plan.gain is not None and plan.has_zero:
        plan.readnoise = header_value(first.cards, _READNOISES)
    known = bool(bias) or plan.strip is not None
    plan.noise = (fitting('flat') if known else [], bias)
    if not plan.measures_noise or (plan.gain is None and not plan.noise[0]):
        plan.doubts.append(f'no uncertainties: {_unknown(plan)}')


def _unknown(plan: GroupPlan) -> str:
    """Say what is missing for uncertainties."""
    if plan.gain is None:
        return 'neither the header tells the gain, nor two flats and two bias frames'
    if not plan.has_zero:
        return 'without bias or dark nobody knows which counts are light'
    return 'neither the header tells the read noise, nor two bias frames'


def _sample(plan: GroupPlan, most: int) -> list[NightFile]:
    """Choose the lights that decide on the flat: evenly spaced in time."""
    parts: dict[str, list[NightFile]] = {}
    for file in plan.lights.files:
        parts.setdefault(plan.offset_of(file).key, []).append(file)
    files = max(parts.values(), key=len)
    files = sorted(files, key=lambda f: (f.mjd or 0, f.name))
    step = max(1.0, len(files) / most)
    chosen = [files[int(i * step)] for i in range(min(len(files), most))]
    return sorted(chosen, key=lambda f: f.name)
