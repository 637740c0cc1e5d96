# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The plan and the report of a night in sentences."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from astroflat.pipelines._night_flats import _MIN_LIGHTS

if TYPE_CHECKING:
    from astroflat.pipelines._night_groups import GroupPlan
    from astroflat.pipelines._night_job import NightJob
    from astroflat.pipelines.night import NightReport

__all__ = ['group_lines', 'judge', 'plan_lines', 'report_lines']

_ORDER = ('accept', 'weak', 'reject')
_AHEAD = {
    'given': 'the flats are used as they are',
    'lights': 'the flat will be made from the lights',
    'single': 'each light gets a flat of its own, by networks',
    'none': 'no flat is applied',
}


def plan_lines(job: NightJob) -> list[str]:
    """
    Say what would be done.

    Parameters
    ----------
    job : NightJob
        The job.

    Returns
    -------
    lines : list of str
        The plan.
    """
    lines = [*job.plan.words, *(f'! {d}' for d in job.plan.doubts)]
    for group in job.plan.groups:
        lines += ['', _head(group)]
        lines += [f'  {w}' for w in group.words]
        lines.append(f'  {_ahead(job, group)}')
        lines += [f'  ! {d}' for d in group.doubts]
    n = len(job.todo)
    lines += ['', f'{n} to do, {len(job.records)} done already; nothing was written']
    return lines


def _ahead(job: NightJob, group: GroupPlan) -> str:
    """Say what will decide on the flat."""
    method, n = job.options.flats, len(group.sample)
    if group.flats is not None and method == 'auto':
        if n < 2:
            return 'the flats cannot be checked with one light'
        return (
            f'{n} lights will tell whether the flats are right, and repair them if not'
        )
    if method == 'given' and group.flats is None:
        return f'no flats: {_AHEAD["none"]}'
    if method not in ('auto', 'lights'):
        return _AHEAD[method]
    which = _AHEAD['single' if n < _MIN_LIGHTS else 'lights']
    return f'no flats: {which}' if method == 'auto' else which


def _head(group: GroupPlan) -> str:
    """Return the title of a group."""
    exposures = Counter(f.exposure for f in group.lights.files)
    times = ', '.join(
        f'{n} x {"?" if e is None else f"{e:g}"} s' for e, n in sorted_items(exposures)
    )
    ny, nx = group.lights.settings['shape']
    return f'{group.lights.label}: {times}, {nx} x {ny} pixels'


def sorted_items(counts: Counter) -> list[tuple[Any, int]]:
    """
    Return counts in the order of what is counted, unknown last.

    Parameters
    ----------
    counts : Counter
        The counts.

    Returns
    -------
    items : list of tuple
        What, and how often.
    """
    return sorted(counts.items(), key=lambda item: (item[0] is None, item[0]))


def group_lines(job: NightJob, group: GroupPlan) -> tuple[list[str], list[str]]:
    """
    Say what was decided on a group.

    Parameters
    ----------
    job : NightJob
        The job.

    group : GroupPlan
        The group.

    Returns
    -------
    words, doubts : list of str
        Decisions, and what is not sure about them.
    """
    settled = job.settled.get(group.key)
    words, doubts = list(group.words), list(group.doubts)
    if settled is not None:
        words += settled.words
        words.append(f'flat: {settled.method}, verdict {settled.verdict}')
        doubts += settled.doubts
    words += _noise_words(job, group)
    names = {f.name for f in group.lights.files}
    found = Counter(
        doubt
        for name in sorted(names & set(job.records))
        for doubt in job.records[name].get('doubts', [])
    )
    doubts += [
        f'{n} light{"" if n == 1 else "s"}: {doubt}' for doubt, n in found.items()
    ]
    return words, doubts


def _noise_words(job: NightJob, group: GroupPlan) -> list[str]:
    """Say what is known of the noise."""
    for file in group.lights.files:
        record = job.records.get(file.name)
        if record is not None:
            return list(record.get('noise_words', []))
    return []


def judge(job: NightJob) -> tuple[str, list[str]]:
    """
    Return the verdict on the night, and why.

    Parameters
    ----------
    job : NightJob
        The job.

    Returns
    -------
    verdict : str
        The worst of all.

    reasons : list of str
        Why it is not better.
    """
    verdicts = ['accept']
    reasons = []
    for group in job.plan.groups:
        label = group.lights.label
        settled = job.settled.get(group.key)
        _, doubts = group_lines(job, group)
        if settled is not None:
            verdicts.append(settled.verdict)
        if doubts:
            verdicts.append('weak')
        verdicts += _single_verdicts(job, group)
        reasons += [f'{label}: {doubt}' for doubt in doubts]
    if job.plan.doubts:
        verdicts.append('weak')
        reasons += job.plan.doubts
    for name, why in sorted(job.failures.items()):
        verdicts.append('reject')
        reasons.append(f'{name} failed: {why}')
    return max(verdicts, key=_ORDER.index), reasons


def _single_verdicts(job: NightJob, group: GroupPlan) -> list[str]:
    """Return the verdicts on lights that have their own flats."""
    records = [job.records.get(f.name, {}) for f in group.lights.files]
    return [r['verdict'] for r in records if r.get('flat') == 'FlatCorrector']


def report_lines(job: NightJob, result: NightReport) -> list[str]:
    """
    Say what was done.

    Parameters
    ----------
    job : NightJob
        The job.

    result : NightReport
        The counts and the verdict.

    Returns
    -------
    lines : list of str
        The report.
    """
    lines = list(job.plan.words)
    lines += [f'! {d}' for d in job.plan.doubts]
    for group in job.plan.groups:
        words, doubts = group_lines(job, group)
        lines += ['', _head(group)]
        lines += [f'  {w}' for w in words]
        lines += [f'  ! {d}' for d in doubts]
    lines.append('')
    lines += [f'failed: {n}: {why}' for n, why in sorted(job.failures.items())]
    if not result.n_done and not result.n_failed:
        lines.append(f'nothing to do: {result.n_kept} lights were calibrated before')
    else:
        lines.append(
            f'{result.n_done} lights calibrated, {result.n_kept} were before, '
            f'{result.n_failed} failed; verdict: {result.verdict}'
        )
    return lines
