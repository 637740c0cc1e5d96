# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From results to numbers per method, and to the page of the documentation."""

from __future__ import annotations

import numpy as np

from astroflat.quality import to_mmag
from benchmarks.blindflat.design import GEOMETRIES, GROUPS, group_of
from benchmarks.blindflat.score import PARTS

# How much worse than doing nothing counts as worse, in per cent of the level.
_TOLERANCE = 0.1
_TITLES = {'single': 'Single frames', 'night': 'Nights of dithered frames'}
_CLEAN = 'nothing to correct'


def summarize(records, entries, methods):
    """
    Summarise the results of one half of the benchmark.

    Parameters
    ----------
    records : dict of dict
        (scene, method) -> result, those of 'nothing' among them.

    entries : dict of dict
        The scenes that count, by name.

    methods : list of str
        Names of the methods.

    Returns
    -------
    dict of dict
        Method -> numbers. Where a method failed or refused, the frame stays as
        it was, and so it is scored as doing nothing.
    """
    return {
        method: _summary([_row(records, entry, method) for entry in entries.values()])
        for method in methods
    }


def to_rst(document):
    """
    Write the tables of a document in reStructuredText.

    Parameters
    ----------
    document : dict
        ``parts``: 'single' and 'night', each with ``n_scenes``, ``labels``,
        ``summary`` and ``not_run``; and ``head``, a paragraph.

    Returns
    -------
    str
        A file to include; it is a page of its own that no index lists.
    """
    lines = [':orphan:', '', '.. tables start here', '', document['head'], '']
    for name, part in document['parts'].items():
        lines += [_TITLES[name], '-' * len(_TITLES[name]), '']
        lines += _part_tables(part)
    return '\n'.join(lines).rstrip() + '\n'


def _part_tables(part):
    """Write the tables of one half."""
    summary, labels = part['summary'], part['labels']
    groups = next(iter(summary.values()))['groups']
    lines = []
    for unit, name in (('percent', 'per cent'), ('mmag', 'millimagnitudes')):
        rows = [
            [labels[m], *(_triple(s[f'{p}_{unit}']) for p in PARTS)]
            for m, s in summary.items()
        ]
        title = f'Residual of F in {name}: median / mean / 90th percentile'
        lines += _csv(title, ['method', *PARTS], rows)
    lines += _deep_table(summary, labels)
    rows = [
        [
            labels[m],
            _triple(s['flatness_percent']),
            _triple(s['gradient_percent']),
            _whole(s.get('g_not_worse')),
            f'{100 * s["not_worse"]:.0f}',
            str(s['failed']),
            str(s['refused']),
            f'{s["seconds"]:.2g}',
        ]
        for m, s in summary.items()
    ]
    head = ['method', 'flatness (%)', 'G (%)', 'G never worse (% of scenes)']
    head += ['never worse (% of scenes)', 'failed', 'refused', 'CPU seconds per scene']
    title = 'Corrected frames: median / mean / 90th percentile of flatness and G'
    lines += _csv(title, head, rows)
    for names, title in (
        ([g for g in groups if g not in GEOMETRIES], 'by scenes'),
        ([g for g in groups if g in GEOMETRIES], 'by dithers'),
    ):
        rows = [
            [labels[m], *(_pair(s['groups'][name]) for name in names)]
            for m, s in summary.items()
        ]
        title = f'Total residual of F in per cent {title}: median / 90th percentile'
        lines += _csv(title, ['method', *names], rows) if names else []
    if part['not_run']:
        reasons = [f'{labels[m]}: {why}' for m, why in part['not_run'].items()]
        lines += [f'Not run: {"; ".join(reasons)}.', '']
    return lines


def _deep_table(summary, labels):
    """Write what is left of deep motes, of the methods that were asked for it."""
    known = {m: s for m, s in summary.items() if s.get('n_deep')}
    if not known:
        return []
    groups = {g: n for s in known.values() for g, (n, _) in s['deep_groups'].items()}
    rows = [
        [
            labels[m],
            _triple(s['deep_percent']),
            *(_pair(s['deep_groups'][g][1]) for g in groups),
        ]
        for m, s in known.items()
    ]
    title = (
        'Residual of F in per cent under motes of at least 3 % that the noise of the '
        'frame does not hide (5 sigma): median / mean / 90th percentile of all frames '
        'with such motes, median / 90th percentile by scenes'
    )
    counts = [f'{name} ({n} frames)' for name, n in groups.items()]
    total = f'all ({max(s["n_deep"] for s in known.values())} frames)'
    return _csv(title, ['method', total, *counts], rows)


def _deep_groups(rows):
    """Return number and statistics of the scenes of each group with deep motes."""
    found = {name: [] for name in GROUPS}
    for row in rows:
        if row['scores']['deep'] is not None:
            found[group_of(row['entry'])].append(row['scores']['deep'])
    return {n: [len(v), _statistics(v)] for n, v in found.items() if v}


def _row(records, entry, method):
    """Return what one scene contributes."""
    idle = records[entry['id'], 'nothing']['scores']
    record = records[entry['id'], method]
    solved = record['status'] == 'ok'
    scores = record['scores'] if solved else idle
    worse = [scores[k] > idle[k] + _TOLERANCE for k in ('total', 'flatness')]
    none = idle['gradient']
    found = record['scores']['gradient'] if solved else None
    gradient = none if found is None else found
    return {
        'entry': entry,
        'scores': scores | {'gradient': gradient, 'deep': scores.get('deep')},
        'estimates_g': found is not None,
        'g_not_worse': None if none is None else gradient <= none + _TOLERANCE,
        'status': record['status'],
        'not_worse': record['status'] != 'failed' and not any(worse),
        'seconds': record['seconds'],
    }


def _summary(rows):
    """Return the numbers of one method."""
    dirty = [row for row in rows if row['entry']['difficulty'] > 0]
    result = {'n_scenes': len(rows)}
    # A method that never says what G is has no error of it.
    with_g = any(row['estimates_g'] for row in rows)
    for name in (*PARTS, 'deep', 'flatness', 'gradient'):
        counted = dirty if with_g or name != 'gradient' else []
        numbers = _statistics([row['scores'][name] for row in counted])
        result[f'{name}_percent'] = numbers
        result[f'{name}_mmag'] = {
            k: None if v is None else to_mmag(v / 100) for k, v in numbers.items()
        }
    return result | {
        'n_deep': sum(row['scores']['deep'] is not None for row in dirty),
        'deep_groups': _deep_groups(dirty),
        'not_worse': float(np.mean([row['not_worse'] for row in rows])),
        'g_not_worse': _share([row['g_not_worse'] for row in rows]) if with_g else None,
        'failed': sum(row['status'] == 'failed' for row in rows),
        'refused': sum(row['status'] == 'refused' for row in rows),
        'seconds': float(np.median([row['seconds'] for row in rows])),
        'groups': {
            name: _statistics([row['scores']['total'] for row in chosen])
            for name, chosen in _groups(rows).items()
        },
    }


def _groups(rows):
    """Sort rows into groups, by scenes and, for nights, by dithers."""
    groups = {name: [] for name in (*GROUPS, *GEOMETRIES, _CLEAN)}
    for row in rows:
        entry = row['entry']
        if entry['difficulty'] == 0:
            groups[_CLEAN].append(row)
            continue
        groups[group_of(entry)].append(row)
        if 'geometry' in entry:
            groups[entry['geometry']].append(row)
    return {name: chosen for name, chosen in groups.items() if chosen}


def _statistics(values):
    """Return median, mean and 90th percentile of what there is."""
    values = np.array([v for v in values if v is not None], dtype=float)
    if not values.size:
        return {'median': None, 'mean': None, 'p90': None}
    return {
        'median': float(np.median(values)),
        'mean': float(np.mean(values)),
        'p90': float(np.quantile(values, 0.9)),
    }


def _share(values):
    """Return the share that is true of what is known."""
    values = [value for value in values if value is not None]
    return float(np.mean(values)) if values else None


def _csv(title, head, rows):
    """Write a table."""
    lines = [f'.. csv-table:: {title}', '   :header-rows: 1', '']
    lines += ['   ' + ', '.join(f'"{cell}"' for cell in row) for row in (head, *rows)]
    return [*lines, '']


def _whole(share):
    """Write a share in whole per cent."""
    return '—' if share is None else f'{100 * share:.0f}'


def _number(value):
    """Write a number with three digits or two decimals."""
    if value is None:
        return '—'
    if value < 9.995:
        return f'{value:.2f}'
    return f'{value:.1f}' if value < 99.95 else f'{value:.0f}'


def _triple(numbers):
    """Write median, mean and 90th percentile."""
    if numbers['median'] is None:
        return '—'
    return ' / '.join(_number(numbers[k]) for k in ('median', 'mean', 'p90'))


def _pair(numbers):
    """Write median and 90th percentile."""
    return ' / '.join(_number(numbers[k]) for k in ('median', 'p90'))
