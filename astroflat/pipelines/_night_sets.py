# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Calibration frames that belong together, and which of them fit which light."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.pipelines._stages import hash_of_values
from astroflat.selfcal.grouping import _cluster, _labels

if TYPE_CHECKING:
    from collections.abc import Iterable

    from astroflat.pipelines._night_files import NightFile

__all__ = [
    'FrameSet',
    'Offset',
    'choose_flats',
    'choose_offset',
    'differences',
    'make_sets',
]

# Gaps in temperature (degrees Celsius), angle (degrees) and time (days) that
# part one set from the next.
_STEPS = {'temperature': 3.0, 'rotator': 1.0}
_NIGHT = 0.5
# What makes an image useless for another, and what only makes it doubtful.
_HARD = ('shape', 'camera', 'binning')
_SOFT = ('filter', 'rotator', 'gain')
# Exposures that differ by less count as the same: seconds, and relative.
_SAME_EXPOSURE = (0.05, 0.02)
# A dark scaled by more is more noise than help.
_MAX_SCALE = 5.0


@dataclass(frozen=True)
class FrameSet:
    """
    Frames that are combined, or that share a flat.

    Parameters
    ----------
    kind : str
        'bias', 'dark', 'flat' or 'light'.

    label : str
        What sets it apart, for file names.

    settings : dict
        What the frames have in common.

    files : tuple of NightFile
        The frames.
    """

    kind: str
    label: str
    settings: dict[str, Any]
    files: tuple[NightFile, ...]

    @property
    def key(self) -> str:
        """A hash of all that a combination depends on."""
        return hash_of_values([self.kind, [list(f.key) for f in self.files]])

    @property
    def name(self) -> str:
        """What it is called in sentences."""
        n = len(self.files)
        what = f'master {self.kind}' if self.files[0].master else self.kind
        plural = '' if n == 1 else ' frames'
        count = 'the only' if n == 1 else str(n)
        return f'{count} {what}{plural}'

    @property
    def mjd(self) -> float | None:
        """The middle of the times."""
        times = [f.mjd for f in self.files if f.mjd is not None]
        return float(np.median(times)) if times else None


@dataclass(frozen=True)
class Offset:
    """
    What is subtracted from a frame before the flat.

    Parameters
    ----------
    bias, dark : FrameSet or None
        A dark alone holds the bias; with ``bias`` it is freed of it and
        scaled.

    scale : float
        What the dark is multiplied by.

    zero : FrameSet or None
        The bias, where the dark holds it: for the noise only.

    words : tuple of str
        What was chosen, and why.

    doubts : tuple of str
        What is missing or doubtful.
    """

    bias: FrameSet | None = None
    dark: FrameSet | None = None
    scale: float = 1.0
    zero: FrameSet | None = None
    words: tuple[str, ...] = field(default=(), compare=False)
    doubts: tuple[str, ...] = field(default=(), compare=False)

    @property
    def key(self) -> str:
        """A hash of all that it depends on."""
        sets = (self.bias, self.dark, self.zero)
        parts = [None if s is None else s.key for s in sets]
        return hash_of_values([*parts, self.scale])


def make_sets(kind: str, files: Iterable[NightFile]) -> list[FrameSet]:
    """
    Part the frames of one kind into sets.

    Parameters
    ----------
    kind : str
        'bias', 'dark', 'flat' or 'light'.

    files : iterable of NightFile
        All files of the night.

    Returns
    -------
    sets : list of FrameSet
        Bias frames by camera, binning, gain, shape and temperature; darks by
        exposure as well; flats by filter, rotator and night; lights by
        everything but exposure and night. Combinations that were found
        beside single frames are left out; of several, the newest is taken.
    """
    files = [f for f in files if f.kind == kind]
    settings = [_relevant(kind, f) for f in files]
    for name, step in _STEPS.items():
        _cluster(settings, name, step)
    if kind == 'flat':
        _split_nights(files, settings)
    members: dict[tuple, list[int]] = {}
    for i, values in enumerate(settings):
        place = tuple(sorted((k, str(v)) for k, v in values.items()))
        members.setdefault(place, []).append(i)
    common = [settings[rows[0]] for rows in members.values()]
    labels = _labels([_for_label(c) for c in common])
    return [
        FrameSet(kind, label, values, _singles_or_master([files[i] for i in rows]))
        for label, values, rows in zip(labels, common, members.values(), strict=True)
    ]


def _relevant(kind: str, file: NightFile) -> dict[str, Any]:
    """Return the settings that matter for a kind of frame."""
    left_out = {'bias': ('filter', 'rotator'), 'dark': ('filter', 'rotator')}
    # A flat does not know how cold the sensor was.
    left_out['flat'] = ('temperature',)
    values = {k: v for k, v in file.settings.items() if k not in left_out.get(kind, ())}
    values['shape'] = tuple(values['shape'])
    if kind == 'dark' and file.exposure is not None:
        values['exposure'] = file.exposure
    return values


def _for_label(values: dict[str, Any]) -> dict[str, Any]:
    """Return settings of which a label can be made."""
    return {'filter': None, **values} if 'filter' in values else values


def _split_nights(files: list[NightFile], settings: list[dict[str, Any]]) -> None:
    """Give nights numbers, in place: flats of different nights do not mix."""
    rows = sorted((f.mjd, i) for i, f in enumerate(files) if f.mjd is not None)
    night, last = 0, None
    for mjd, i in rows:
        night += last is not None and mjd - last > _NIGHT
        last = mjd
        settings[i]['night'] = night


def _singles_or_master(files: list[NightFile]) -> tuple[NightFile, ...]:
    """Return the single frames; or, without any, the newest combination."""
    singles = [f for f in files if not f.master]
    if singles or files[0].kind == 'light':
        return tuple(singles or files)
    return (max(files, key=lambda f: (f.mjd or 0, f.name)),)


def differences(a: dict[str, Any], b: dict[str, Any], names: tuple) -> list[str]:
    """
    Return the settings that two sets disagree on.

    Parameters
    ----------
    a, b : dict
        Settings.

    names : tuple of str
        What to compare; what one of them does not tell is no disagreement.

    Returns
    -------
    names : list of str
        Those that differ.
    """
    found = []
    for name in names:
        one, two = a.get(name), b.get(name)
        if one is None or two is None:
            continue
        if name == 'rotator':
            gap = abs((float(one) - float(two) + 180) % 360 - 180)
            same = gap <= _STEPS[name]
        elif name == 'temperature':
            same = abs(float(one) - float(two)) <= _STEPS[name]
        elif name == 'shape':
            same = tuple(one) == tuple(two)
        else:
            same = _as_text(one) == _as_text(two)
        if not same:
            found.append(name)
    return found


def _as_text(value: Any) -> str:
    """Return a setting so that 1 and '1.0' are the same."""
    try:
        return f'{float(value):g}'
    except (TypeError, ValueError):
        return str(value).strip().lower()


def choose_offset(
    settings: dict[str, Any],
    exposure: float | None,
    mjd: float | None,
    biases: list[FrameSet],
    darks: list[FrameSet],
) -> Offset:
    """
    Choose what is subtracted from frames.

    Parameters
    ----------
    settings : dict
        Those of the frames.

    exposure : float or None
        Seconds.

    mjd : float or None
        When they were taken.

    biases, darks : list of FrameSet
        What there is.

    Returns
    -------
    offset : Offset
        A dark of the same exposure and temperature, else a scaled one, else
        the bias, else nothing; with the reasons.
    """
    hard = (*_HARD, 'gain')
    fitting = [
        [s for s in sets if not differences(s.settings, settings, hard)]
        for sets in (biases, darks)
    ]
    bias = _nearest(fitting[0], settings, mjd)
    warm = [d for d in fitting[1] if differences(d.settings, settings, _TEMPERATURE)]
    cold = [d for d in fitting[1] if d not in warm]
    same = [d for d in cold if _same_exposure(d.settings.get('exposure'), exposure)]
    doubts = []
    if bias is not None and differences(bias.settings, settings, _TEMPERATURE):
        doubts.append(f'the bias was taken at {bias.settings["temperature"]} C')
    if same:
        dark = _nearest(same, settings, mjd)
        if dark.files[0].master:
            return _with_master(bias, dark, exposure, doubts)
        words = f'dark: {dark.name} of {exposure:g} s, which hold the bias as well'
        words = (words,) if bias is not None else (words, _NO_BIAS)
        return Offset(None, dark, 1.0, bias, words)
    if cold and bias is not None and exposure:
        scaled = _scalable(cold, exposure)
        if scaled is not None:
            length = scaled.settings['exposure']
            text = f'{scaled.name} of {length:g} s less the bias'
            words = (f'bias: {bias.name}', f'dark: {text}, scaled to {exposure:g} s')
            ratio = exposure / length
            if ratio > 2:
                doubts.append(f'the dark is scaled by {ratio:.2g}, and its noise too')
            return Offset(bias, scaled, ratio, None, words, tuple(doubts))
    why = 'no dark' if not fitting[1] else 'no dark of this exposure and temperature'
    if bias is not None:
        return Offset(
            bias, None, 1.0, None, (f'bias: {bias.name}; {why}',), tuple(doubts)
        )
    text = f'no bias and {why}: the zero point is unknown, and any flat less sure'
    return Offset(words=('neither bias nor dark',), doubts=(text,))


def _with_master(
    bias: FrameSet | None, dark: FrameSet, exposure: float, doubts: list[str]
) -> Offset:
    """Use a combined dark, of which nobody knows whether it holds the bias."""
    words = (f'dark: {dark.name} of {exposure:g} s',)
    if bias is not None:
        words = (f'bias: {bias.name}', *words)
        return Offset(bias, dark, 1.0, None, words, tuple(doubts))
    text = 'whether the master dark holds the bias is not known; it is taken to'
    return Offset(None, dark, 1.0, None, words, (*doubts, text))


_NO_BIAS = 'no bias: the noise of the dark current is not in the uncertainties'
_TEMPERATURE = ('temperature',)


def _same_exposure(one: float | None, two: float | None) -> bool:
    """Tell whether two exposures count as one."""
    if one is None or two is None:
        return False
    return abs(one - two) <= max(_SAME_EXPOSURE[0], _SAME_EXPOSURE[1] * two)


def _scalable(darks: list[FrameSet], exposure: float) -> FrameSet | None:
    """Return the dark with the least scaling, a longer one before a shorter one."""
    known = [d for d in darks if d.settings.get('exposure')]
    known = [d for d in known if exposure / d.settings['exposure'] <= _MAX_SCALE]
    if not known:
        return None
    ratios = [exposure / d.settings['exposure'] for d in known]
    longer = [abs(np.log(r)) + 2 * (r > 1) for r in ratios]
    return known[int(np.argmin(longer))]


def _nearest(
    sets: list[FrameSet], settings: dict[str, Any], mjd: float | None
) -> FrameSet | None:
    """Return the set that is nearest in temperature, then in time."""
    if not sets:
        return None
    return min(
        sets,
        key=lambda s: (
            len(differences(s.settings, settings, _TEMPERATURE)),
            _gap(s.mjd, mjd),
            s.label,
        ),
    )


def _gap(one: float | None, two: float | None) -> float:
    """Return the days between two times, a long while if one is unknown."""
    return 1e6 if one is None or two is None else abs(one - two)


def choose_flats(
    group: FrameSet, flats: list[FrameSet]
) -> tuple[FrameSet | None, list[str], float | None]:
    """
    Choose the flats of a group of lights.

    Parameters
    ----------
    group : FrameSet
        The lights.

    flats : list of FrameSet
        All sets of flats.

    Returns
    -------
    flats : FrameSet or None
        Those with the fewest differences, then the nearest in time.

    doubtful : list of str
        Settings that differ.

    days : float or None
        The time between flats and lights.
    """
    fitting = [f for f in flats if not differences(f.settings, group.settings, _HARD)]
    if not fitting:
        return None, [], None

    def order(flat: FrameSet) -> tuple:
        wrong = differences(flat.settings, group.settings, _SOFT)
        return 'filter' in wrong, len(wrong), _gap(flat.mjd, group.mjd), flat.label

    best = min(fitting, key=order)
    days = _gap(best.mjd, group.mjd)
    wrong = differences(best.settings, group.settings, _SOFT)
    return best, wrong, days if days < 1e6 else None
