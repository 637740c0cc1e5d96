# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Count how many flats are right when their report says *accept*.

Run ``python -m benchmarks.accepts`` (ten minutes), or with ``--nights 12``.

The nights of the benchmark of blind flats are hard, and hardly any of their flats is
accepted. Those made here are easier: 16 to 24 frames of fields of stars, dithers of 30
to 60 pixels, gradients that turn, and artifacts of half to full strength. A flat is
right if its total residual to the truth is no larger than twice the uncertainty that
it states (root mean square over the frame), and smaller than that of doing nothing.
The table gives for each verdict how many flats are right, with the 95 % interval of a
binomial share (Clopper & Pearson 1934).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.blindflat.runner import run_scene

METHODS = {
    name: f'benchmarks.blindflat.selfcal:{name}'
    for name in ('sky_flat', 'solve_fields', 'kll_flat')
}
_KINDS = ('starfield', 'open_cluster', 'galaxies', 'globular_cluster')
_SEED = 40_000


def nights(n, seed=_SEED):
    """
    Describe nights.

    Parameters
    ----------
    n : int
        How many.

    seed : int, optional
        Of the first night; the others follow.

    Returns
    -------
    entries : list of dict
        As in the manifest of the benchmark of blind flats.
    """
    rng = np.random.default_rng(seed)
    entries = []
    for i in range(n):
        entry = {
            'id': f'a{i:03d}',
            'seed': seed + i,
            'kind': _KINDS[i % len(_KINDS)],
            'geometry': 'wide',
            'pattern': 'random',
            'dither': float(rng.choice([30.0, 45.0, 60.0])),
            'difficulty': float(rng.choice([0.5, 0.7, 1.0])),
            'noise': str(rng.choice(['very low', 'low', 'medium'])),
            'n': int(rng.choice([16, 20, 24])),
            'gradient': float(rng.choice([0.02, 0.05, 0.1])),
            'shape': [256, 256],
        }
        entries.append(entry)
    return entries


def is_right(record, idle):
    """
    Say whether a flat is what its report says.

    Parameters
    ----------
    record, idle : dict
        What `benchmarks.blindflat.runner.run_method` returns, of the flat and of
        doing nothing.

    Returns
    -------
    right : bool
        Whether the error is within two standard deviations, and below doing nothing.
    """
    error = record['scores']['total']
    return error <= 2 * record['stated'] and error < idle['scores']['total']


def interval(right, n):
    """
    Return the 95 % interval of a share.

    Parameters
    ----------
    right, n : int
        How many of how many.

    Returns
    -------
    low, high : float
        In per cent.
    """
    from scipy.stats import beta

    low = beta.ppf(0.025, right, n - right + 1) if right else 0.0
    high = beta.ppf(0.975, right + 1, n - right) if right < n else 1.0
    return 100 * float(low), 100 * float(high)


def table(records):
    """
    Count.

    Parameters
    ----------
    records : dict of dict
        (night, method) -> result.

    Returns
    -------
    rows : list of dict
        One for each method and verdict.
    """
    rows = []
    for method in METHODS:
        own = {s: r for (s, m), r in records.items() if m == method}
        for verdict in ('accept', 'weak', 'reject'):
            chosen = {s: r for s, r in own.items() if r.get('verdict') == verdict}
            if not chosen:
                continue
            idle = {s: records[s, 'nothing'] for s in chosen}
            right = sum(is_right(r, idle[s]) for s, r in chosen.items())
            low, high = interval(right, len(chosen))
            error = [r['scores']['total'] for r in chosen.values()]
            stated = [r['stated'] for r in chosen.values()]
            nothing = [r['scores']['total'] for r in idle.values()]
            rows.append(
                {
                    'method': method,
                    'verdict': verdict,
                    'nights': len(chosen),
                    'right': right,
                    'share %': f'{low:.0f} to {high:.0f}',
                    'residual %': float(np.median(error)),
                    'stated %': float(np.median(stated)),
                    'nothing %': float(np.median(nothing)),
                }
            )
    return rows


def main():
    """Run everything and print the table."""
    from benchmarks.selfcal import show

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--nights', type=int, default=80)
    parser.add_argument('--seed', type=int, default=_SEED, help='of the first night')
    parser.add_argument('--methods', default='sky_flat,solve_fields')
    parser.add_argument('--results', help='file to which results are added')
    args = parser.parse_args()
    calls = {'nothing': 'benchmarks.blindflat.classical:nothing'}
    calls |= {name: METHODS[name] for name in args.methods.split(',')}
    records = {}
    for entry in nights(args.nights, args.seed):
        for record in run_scene(entry, calls, timeout=600):
            records[record['scene'], record['method']] = record
            if args.results:
                with Path(args.results).open('a', encoding='utf-8') as file:
                    file.write(json.dumps(record) + '\n')
        print(entry['id'], file=sys.stderr, flush=True)
    show(table(records))


if __name__ == '__main__':
    main()
