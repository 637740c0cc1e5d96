# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The report of a night: JSON for programs, CSV for tables, HTML for people."""

from __future__ import annotations

import csv
import importlib.util
import io
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._report import _plain
from astroflat.pipelines._night_preview import make_preview
from astroflat.pipelines._night_store import publish, write_json
from astroflat.pipelines._night_words import group_lines

if TYPE_CHECKING:
    from astroflat.pipelines._night_job import NightJob
    from astroflat.pipelines.night import NightReport

__all__ = ['write_pages']

# The columns of the table of files.
_COLUMNS = (
    'file',
    'kind',
    'known by',
    'object',
    'filter',
    'exposure_s',
    'temperature_C',
    'mjd',
    'group',
    'status',
    'flat',
    'verdict',
    'sky',
    'noise',
    'n_masked',
    'n_saturated',
    'result',
    'remarks',
)
# A page is for looking: of a long night only these columns of the lights.
_SHOWN = ('file', 'object', 'filter', 'exposure_s', 'group', 'status', 'flat')
_SHOWN += ('verdict', 'sky', 'noise', 'n_masked', 'n_saturated', 'remarks')


def write_pages(job: NightJob, result: NightReport) -> None:
    """
    Write the report.

    Parameters
    ----------
    job : NightJob
        The job, done.

    result : NightReport
        What was done.
    """
    groups = _with_previews(job)
    rows = _rows(job)
    content = {
        'verdict': result.verdict,
        'reasons': result.reasons,
        'words': job.plan.words,
        'doubts': job.plan.doubts,
        'options': dict(vars(job.options)),
        'groups': groups,
        'frames': result.frames,
        'failures': job.failures,
        'version': _version(),
    }
    page = _page(job, result, groups, rows)
    table = _csv(rows)
    folder = job.store.folder
    for name, text in (('night.csv', table), ('night.html', page)):
        publish(folder / name, lambda p, t=text: p.write_bytes(_encoded(t)))
    # The last: once it is there, the work is done.
    write_json(job.store.report, content)


def _encoded(text: str) -> bytes:
    """Return text as bytes, with names of files in it that are no text."""
    return text.encode('utf-8', 'backslashreplace')


def _version() -> str:
    from astroflat import __version__

    return __version__.split('+')[0]


def _with_previews(job: NightJob) -> list[dict[str, Any]]:
    """Return the groups with their pictures, made now or kept from the last run."""
    last = {g['key']: g for g in job.store.last_report().get('groups', [])}
    groups = job.report_groups()
    for plan, group in zip(job.plan.groups, groups, strict=True):
        preview = make_preview(job, plan)
        if preview is None:
            preview = last.get(plan.key, {}).get('preview')
        group['preview'] = preview
    return _plain(groups)


def _rows(job: NightJob) -> list[dict[str, Any]]:
    """Return one row for each file of the night."""
    of_group = {f.name: g.lights.label for g in job.plan.groups for f in g.lights.files}
    rows = []
    for file in job.plan.files:
        record = job.records.get(file.name, {})
        failed = job.failures.get(file.name)
        row = {
            'file': file.name,
            'kind': file.kind,
            'known by': file.why,
            'object': file.target,
            'filter': file.settings.get('filter'),
            'exposure_s': file.exposure,
            'temperature_C': file.settings.get('temperature'),
            'mjd': file.mjd,
            'group': of_group.get(file.name),
            'status': 'failed' if failed is not None else record.get('status'),
            'result': ' '.join(record.get('files', {})),
            'remarks': failed or '; '.join(record.get('doubts', [])),
        }
        rows.append({name: row.get(name, record.get(name)) for name in _COLUMNS})
    return rows


def _csv(rows: list[dict[str, Any]]) -> str:
    """Return the table of files."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, _COLUMNS, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _page(
    job: NightJob,
    result: NightReport,
    groups: list[dict[str, Any]],
    rows: list[dict[str, Any]],
) -> str:
    """Return the report as a page that needs no other file."""
    from astroflat._report_html import _STYLE, _table, _verdict

    lights = [{n: r[n] for n in _SHOWN} for r in rows if r['kind'] == 'light']
    others = [
        {n: r[n] for n in ('file', 'kind', 'known by', 'exposure_s', 'temperature_C')}
        for r in rows
        if r['kind'] != 'light'
    ]
    report = {'verdict': result.verdict, 'reasons': result.reasons}
    parts = [
        '<!DOCTYPE html>',
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<title>Night: {result.verdict}</title>',
        f'<style>{_STYLE}</style></head><body>',
        f'<h1>{escape(_title(job))}</h1>',
        _verdict(report),
        _listing(job.plan.words),
        *(_section(job, i, group) for i, group in enumerate(groups)),
        _timeline(rows),
        _table('Lights', lights),
        _table('Calibration frames, and files left out', others),
        f'<p><small>astroflat {escape(_version())}</small></p>',
        '</body></html>',
    ]
    return '\n'.join(part for part in parts if part) + '\n'


def _title(job: NightJob) -> str:
    """Return what the page is about: when, and of what."""
    from astropy.time import Time

    lights = [f for g in job.plan.groups for f in g.lights.files]
    targets = sorted({f.target for f in lights if f.target})
    times = [f.mjd for f in lights if f.mjd is not None]
    day = Time(min(times), format='mjd').iso[:10] if times else ''
    names = ', '.join(targets[:4]) + (' ...' if len(targets) > 4 else '')
    return ' '.join(p for p in ('Night', day, names) if p)


def _listing(lines: list[str]) -> str:
    return f'<ul>{"".join(f"<li>{escape(line)}</li>" for line in lines)}</ul>'


def _section(job: NightJob, i: int, group: dict[str, Any]) -> str:
    """Return what was decided on a group, with its pictures."""
    from astroflat._report_html import _figure

    words, doubts = group_lines(job, job.plan.groups[i])
    verdict = group['flat']['verdict'] if group['flat'] else 'reject'
    title = f'{group["label"]}: {group["n_lights"]} lights'
    badge = f'<span class="verdict {verdict}">{verdict}</span>'
    parts = [
        f'<section><h2>{escape(title)} {badge}</h2>',
        _listing(words),
    ]
    if doubts:
        parts.append(f'<p><b>Not sure</b></p>{_listing(doubts)}')
    figure = _draw(group['preview'])
    if figure is not None:
        parts.append(_figure(f'Lights and flat of {group["label"]}', figure))
    return '\n'.join([*parts, '</section>'])


def _draw(preview: dict[str, Any] | None) -> Any:
    """Draw the lights before and after, and the flat."""
    if preview is None or importlib.util.find_spec('matplotlib') is None:
        return None
    from matplotlib.figure import Figure

    names = {
        'before': 'lights without flat',
        'flat': 'flat',
        'after': 'lights, flattened',
    }
    panels = [(n, t) for n, t in names.items() if n in preview]
    figure = Figure(figsize=(3.6 * len(panels), 3.1), layout='constrained')
    axes = np.atleast_1d(figure.subplots(1, len(panels)))
    before = np.array(preview['before'], float)
    reach = max(0.01, float(np.nanpercentile(np.abs(before - 1), 98)))
    for ax, (name, title) in zip(axes, panels, strict=True):
        image = np.array(preview[name], float)
        image = image / np.nanmedian(image)
        shown = ax.imshow(
            100 * (image - 1),
            cmap='gray',
            origin='lower',
            vmin=-100 * reach,
            vmax=100 * reach,
            interpolation='nearest',
        )
        uneven = preview.get(f'uneven_{name}_percent')
        if uneven is not None:
            title += f'\nuneven by {uneven:.2g} %'
        ax.set_title(title, fontsize=10)
        ax.set_axis_off()
    n = preview['n_lights']
    label = f'% from the middle; median of {n} light{"" if n == 1 else "s"}'
    figure.colorbar(shown, ax=list(axes), shrink=0.8, label=label)
    return figure


def _timeline(rows: list[dict[str, Any]]) -> str:
    """Draw the level of the sky along the night."""
    from astroflat._report_html import _figure

    known = [r for r in rows if r['mjd'] is not None and r['sky'] is not None]
    if len(known) < 2 or importlib.util.find_spec('matplotlib') is None:
        return ''
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.6), layout='constrained')
    ax = figure.subplots()
    start = min(r['mjd'] for r in known)
    for label in sorted({r['group'] for r in known}):
        mine = [r for r in known if r['group'] == label]
        hours = [24 * (r['mjd'] - start) for r in mine]
        rates = [r['sky'] / (r['exposure_s'] or 1) for r in mine]
        ax.plot(hours, rates, '.', label=label)
    ax.set_xlabel('hours since the first light')
    ax.set_ylabel('sky / (adu / s)')
    ax.legend(fontsize=8)
    return _figure('The sky along the night', figure)
