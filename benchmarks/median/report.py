# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The results as a table in reStructuredText."""

from __future__ import annotations

COLUMNS = ('method', 'seconds', 'x numba', 'x reading', 'process', 'memory', 'error')


def write_table(document, path):
    """
    Write one table for each set of frames, kind of file and cache.

    Parameters
    ----------
    document : dict
        What ``run.py`` collected.

    path : `pathlib.Path`
        Where to write it.
    """
    groups = group_records(document)
    machine = document['machine']
    lines = [
        f'{machine["processor"]}, {machine["threads"]} threads,',
        f'Python {machine["python"]}, NumPy {machine["numpy"]}.',
        'The fastest of the rounds.',
        'seconds: from closed files to the result on the disk, imports and',
        'compilation excluded; process: the whole process; memory: the largest',
        'anonymous memory of the process in MB; error: the largest difference',
        'from numpy.median in units of the samples.',
        '',
    ]
    for (frames, kind, cache), methods in groups.items():
        title = f'{frames}, {kind.upper()}, {cache} cache'
        lines += [title, '-' * len(title), '', *table(methods), '']
    path.write_text('\n'.join(lines))


NAMES = {
    'reading': 'reading every byte once',
    'numba': 'astroflat, numba',
    'numba+sigma': 'astroflat, numba, with σ',
    'numpy': 'astroflat, NumPy',
    'numpy+sigma': 'astroflat, NumPy, with σ',
    'command': '``astroflat median``',
    'siril': '``siril-cli``',
    'numpy.median': '``numpy.median``, all in memory',
    'ccdproc+bottleneck': '``ccdproc.combine`` (has σ), bottleneck',
    'ccdproc': '``ccdproc.combine`` (has σ)',
}
PAGE_COLUMNS = (
    'method',
    'step [s]',
    'Siril / this',
    'process [s]',
    'Siril / this',
    'memory [MB]',
)


def write_page(document, path):
    """
    Write a table for the documentation, a row for each set and method.

    Parameters
    ----------
    document : dict
        What ``run.py`` collected.

    path : `pathlib.Path`
        Where to write it.
    """
    machine = document['machine']
    setting = (
        f'; ``benchmarks/median/run.py``, {machine["processor"]}, '
        f'{machine["threads"]} threads, Python {machine["python"]}, '
        f'NumPy {machine["numpy"]}; fastest of the rounds'
    )
    lines = [':orphan:', '', '.. tables start here', '']
    for key, methods in group_records(document).items():
        frames, kind, cache = key
        # Other pages include what lies between these comments.
        name = f'{frames}, {kind}, {cache}'
        title = frames.replace(' x ', ' × ').replace('^2', '²')
        lines += [
            f'.. begin {name}',
            '',
            f'.. list-table:: {title} in {kind.upper()} files, {cache} cache{setting}',
            '   :header-rows: 1',
            '   :widths: 34 12 14 12 14 14',
            '',
            *entry(*PAGE_COLUMNS),
            *(line for row in page_rows(methods) for line in entry(*row)),
            '',
            f'.. end {name}',
            '',
        ]
    path.write_text('\n'.join(lines[:-1]) + '\n')


def page_rows(methods):
    """Yield the cells of the rows of one table of the documentation."""
    siril = methods.get('siril', [])
    for name in [n for n in NAMES if n in methods]:
        records = methods[name]
        step, wall = fastest(records, 'seconds'), fastest(records, 'wall')
        # The other methods are no commands that a user would start.
        wall = wall if name in ('siril', 'command') else None
        yield (
            NAMES[name],
            shown(step, '.3g'),
            shown(ratio(fastest(siril, 'seconds'), step), '.3g'),
            shown(wall, '.3g'),
            shown(ratio(fastest(siril, 'wall'), wall), '.3g'),
            shown(max(record['memory'] for record in records) / 1e6, '.0f'),
        )


def entry(*cells):
    """Return the lines of one row of a list-table."""
    return [
        f'   {"* -" if i == 0 else "  -"} {cell}'.rstrip()
        for i, cell in enumerate(cells)
    ]


def group_records(document):
    """Return the records by frames, kind of file and cache, then by method."""
    groups = {}
    for record in document['records']:
        key = (record['frames'], record['kind'], record['cache'])
        groups.setdefault(key, {}).setdefault(record['method'], []).append(record)
    return groups


def table(methods):
    """Return the lines of one table."""
    step = {name: fastest(records, 'seconds') for name, records in methods.items()}
    rows = [COLUMNS]
    for name, records in methods.items():
        seconds = step[name]
        rows.append(
            (
                name,
                number(seconds, '.3f'),
                number(ratio(seconds, step.get('numba')), '.1f'),
                number(ratio(seconds, step.get('reading')), '.1f'),
                number(fastest(records, 'wall'), '.2f'),
                number(max(record['memory'] for record in records) / 1e6, '.0f'),
                number(fastest(records, 'difference'), '.2g'),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    rule = '  '.join('=' * width for width in widths)
    text = [
        '  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return [rule, text[0].rstrip(), rule, *(line.rstrip() for line in text[1:]), rule]


def fastest(records, key):
    """Return the smallest of a number over the rounds; None if there is none."""
    values = [record[key] for record in records if record.get(key) is not None]
    return min(values) if values else None


def ratio(value, reference):
    """Return a ratio, or None."""
    return value / reference if value is not None and reference else None


def shown(value, style):
    """Return a number as text for the documentation, where '-' is a list."""
    return '—' if value is None else format(value, style)


def number(value, style):
    """Return a number as text."""
    return '-' if value is None else format(value, style)
