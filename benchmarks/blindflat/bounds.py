# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What of a single frame can be known at all: ``python -m benchmarks.blindflat.bounds``.

Beside the answer of `astroflat.FlatCorrector` stand those of someone who is told more
than a frame shows, and what would be left if one half of the answer were perfect. See
``smooth_bounds.py`` and ``mote_bounds.py`` for what is told.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from astroflat.quality import flat_residual
from benchmarks.blindflat.design import GROUPS, group_of, read_manifest, scenes
from benchmarks.blindflat.mote_bounds import fit_motes, fitted_flat, seen_mask
from benchmarks.blindflat.motes import deep_motes
from benchmarks.blindflat.networks import flat_corrector
from benchmarks.blindflat.scenes import make_case
from benchmarks.blindflat.smooth_bounds import smooth_oracles

_DUST = ('motes', 'specks', 'fibers')
_MOTES = ('deep', 'seen')
_TITLES = {
    'smooth': 'Error of the vignetting in per cent (root mean square), medians',
    'total': 'Total residual of F in per cent, medians',
    'deep': 'Residual of F in per cent under deep motes that no noise hides, medians',
    'seen': 'The same under those of them that also stand out of the scene by 5 sigma',
}


def bounds_of(case, answer):
    """
    Measure one frame.

    Parameters
    ----------
    case : Case
        A single frame with something to correct.

    answer : FlatSolution
        What the method found, its planes among the stages.

    Returns
    -------
    dict of dict
        ``smooth``: root mean square error of the vignetting; ``total``: the residual
        of F with parts of it replaced; ``deep`` and ``seen``: that under deep motes,
        and under those that stand out of noise and scene. In per cent.
    """
    shape = case.flat.shape
    used = answer.report.verdict != 'reject'
    found = answer.flat.data.astype(float) if used else np.ones(shape)
    dust = _dust_of(answer) if used else np.ones(shape)
    true_dust, true_smooth = _component(case, *_DUST), _component(case, 'vignetting')
    oracles = smooth_oracles(case)
    smooth = {'nothing': np.ones(shape), 'found': found / dust, **oracles}
    total = {
        'nothing': np.ones(shape),
        'found': found,
        'found, all dust known': found / dust * true_dust,
        'vignetting known, dust found': true_smooth * dust,
        'vignetting known, no dust corrected': true_smooth,
        'vignetting and dust known': true_smooth * true_dust,
    }
    total |= {f'{name}, all dust known': f * true_dust for name, f in oracles.items()}
    return {
        'smooth': {n: _scatter(f / true_smooth) for n, f in smooth.items()},
        'total': {n: _residual(case, f, case.dust_mask)[0] for n, f in total.items()},
        **_motes(case, found),
    }


def _motes(case, found):
    """Measure what is left under motes."""
    fits = fit_motes(case)
    flats = {'nothing': np.ones(case.flat.shape), 'found': found}
    flats['told place and shape'] = fitted_flat(case, fits)
    masks = {'deep': deep_motes(case), 'seen': seen_mask(fits, case.flat.shape)}
    rows = {
        part: {n: _residual(case, f, mask)[1] for n, f in flats.items()}
        for part, mask in masks.items()
        if mask.any()
    }
    return rows | {'motes': [len(fits), sum(fit.seen for fit in fits)]}


def _component(case, *kinds):
    """Return some kinds of the true flat alone."""
    kinds = [kind for kind in kinds if kind in case.fields.kinds]
    flat = case.fields.component(*kinds) if kinds else np.ones(case.flat.shape)
    return flat.astype(float)


def _dust_of(answer):
    """Return the dust of an answer alone."""
    dust = answer.stages['planes'][0].dust
    return 1.0 if dust is None else np.exp(dust.log_flat.astype(float))


def _scatter(ratio):
    return 100 * float(np.std(ratio / np.median(ratio)))


def _residual(case, flat, mask):
    """Return the parts total and dust of the residual."""
    found = flat_residual(flat, case.flat, dust_mask=mask)
    return found['total_percent'], found['dust_percent']


def summarize(rows):
    """
    Return medians by scenes.

    Parameters
    ----------
    rows : list of dict
        What `bounds_of` returned, each with ``group``.

    Returns
    -------
    dict
        Part -> name -> medians of all scenes and of each group; None where no scene
        has such a number. ``motes``: how many are deep, and how many stand out.
    """
    groups = {'all': rows}
    groups |= {name: [r for r in rows if r['group'] == name] for name in GROUPS}
    table = {}
    for part in ('smooth', 'total', 'deep', 'seen'):
        names = dict.fromkeys(n for row in rows for n in row.get(part, ()))
        table[part] = {
            name: {g: _median(chosen, part, name) for g, chosen in groups.items()}
            for name in names
        }
    table['motes'] = {
        g: np.sum([row['motes'] for row in chosen], axis=0).tolist()
        for g, chosen in groups.items()
        if chosen
    }
    return table


def _median(rows, part, name):
    values = [row[part][name] for row in rows if name in row.get(part, ())]
    return float(np.median(values)) if values else None


def to_rst(table):
    """
    Write the tables in reStructuredText.

    Parameters
    ----------
    table : dict
        See `summarize`.

    Returns
    -------
    str
        A file to include; it is a page of its own that no index lists.
    """
    lines = [':orphan:', '', '.. tables start here', '']
    for part, title in _TITLES.items():
        groups = list(table['motes'])
        counts = dict.fromkeys(groups, '')
        if part in _MOTES:
            index = _MOTES.index(part)
            counts = {g: f' ({n[index]} motes)' for g, n in table['motes'].items()}
        head = ['', *(g + counts[g] for g in groups)]
        rows = [
            [name, *('—' if row[g] is None else f'{row[g]:.2f}' for g in groups)]
            for name, row in table[part].items()
        ]
        lines += [f'.. csv-table:: {title}', '   :header-rows: 1', '']
        for cells in (head, *rows):
            lines.append('   ' + ', '.join(f'"{cell}"' for cell in cells))
        lines.append('')
    return '\n'.join(lines).rstrip() + '\n'


def main(arguments=None):
    """
    Measure and print.

    Parameters
    ----------
    arguments : list of str, optional
        The arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser(prog='python -m benchmarks.blindflat.bounds')
    parser.add_argument('--subset', type=int, help='only the first N scenes')
    parser.add_argument('--json', type=Path, help='write the numbers to this file')
    parser.add_argument('--rst', type=Path, help='write the tables to this file')
    options = parser.parse_args(arguments)
    entries = list(scenes(read_manifest(), 'single').values())[: options.subset]
    rows = []
    for entry in entries:
        if entry['difficulty'] > 0:
            case = make_case(entry)
            row = bounds_of(case, flat_corrector(case.frames[0]))
            rows.append(row | {'scene': entry['id'], 'group': group_of(entry)})
            print(entry['id'], file=sys.stderr, flush=True)
    table = summarize(rows)
    if options.json:
        text = json.dumps(table, indent=1, ensure_ascii=False)
        options.json.write_text(text + '\n', encoding='utf-8')
    if options.rst:
        options.rst.write_text(to_rst(table), encoding='utf-8')
    if not options.json and not options.rst:
        print(to_rst(table))


if __name__ == '__main__':
    main()
