# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Which scenes there are: the manifest and how it is made.

A change of anything here, or of the numbers that the simulator draws, is a new
version of the benchmark: results of two versions cannot be compared.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path

import numpy as np

VERSION = 1
SEED = 20260
MANIFEST = Path(__file__).with_name('manifest.json')

#: Kinds of scenes by what makes them hard.
GROUPS = {
    'star fields': ('starfield', 'open_cluster'),
    'globulars, galaxies': ('globular_cluster', 'galaxies'),
    'nebulae': ('emission_nebula', 'reflection_nebula', 'dark_nebula'),
    'Sun and Moon': ('granulation', 'sunspot', 'active_region', 'moon'),
}
DIFFICULTIES = (0.2, 0.4, 0.6, 0.8, 1.0)
NOISES = ('very low', 'low', 'medium', 'high')
SHAPES = ((256, 256), (256, 384), (320, 240), (384, 384), (512, 512))

#: Name -> pattern and amplitude (pixels) of the dither.
GEOMETRIES = {
    'wide': ('random', 40.0),
    'spiral': ('spiral', 20.0),
    'drift': ('drift', 20.0),
    'one direction': ('line', 40.0),
    'small': ('random', 4.0),
    'none': ('none', 0.0),
}

# Scenes whose truth is hashed: one of each kind would take seconds at a start.
_CHECKED = ('s000', 's001', 's002', 'n00', 'n01')


def make_manifest(*, checks=True):
    """
    Design the benchmark.

    Parameters
    ----------
    checks : bool, optional
        Whether to simulate some scenes and to note what came out.

    Returns
    -------
    dict
        ``version``, ``seed``, ``single`` and ``night`` (lists of scenes) and
        ``checks``. The scenes are in random order, so that the first ones are
        a fair sample.
    """
    rng = np.random.default_rng(SEED)
    manifest = {
        'benchmark': 'blindflat',
        'version': VERSION,
        'seed': SEED,
        'single': _number('s', _singles(rng), rng),
        'night': _number('n', _nights(rng), rng),
    }
    if checks:
        from benchmarks.blindflat.scenes import fingerprint, make_case

        entries = scenes(manifest)
        manifest['checks'] = {
            name: fingerprint(make_case(entries[name])) for name in _CHECKED
        }
    return manifest


def read_manifest(path=MANIFEST):
    """
    Read the manifest that comes with the benchmark.

    Parameters
    ----------
    path : path-like, optional
        The file.

    Returns
    -------
    dict
        See `make_manifest`.
    """
    return json.loads(Path(path).read_text(encoding='utf-8'))


def write_manifest(manifest, path=MANIFEST):
    """
    Write a manifest, one scene per line.

    Parameters
    ----------
    manifest : dict
        See `make_manifest`.

    path : path-like, optional
        The file.
    """
    lines = []
    for key, value in manifest.items():
        if isinstance(value, list):
            rows = ',\n'.join(f'    {json.dumps(entry)}' for entry in value)
            lines.append(f'  {json.dumps(key)}: [\n{rows}\n  ]')
        elif isinstance(value, dict):
            rows = ',\n'.join(
                f'    {json.dumps(k)}: {json.dumps(v)}' for k, v in value.items()
            )
            lines.append(f'  {json.dumps(key)}: {{\n{rows}\n  }}')
        else:
            lines.append(f'  {json.dumps(key)}: {json.dumps(value)}')
    text = '{\n' + ',\n'.join(lines) + '\n}\n'
    Path(path).write_text(text, encoding='utf-8')


def manifest_digest(manifest):
    """
    Return the digest of the list of scenes, for the head of a file of results.

    Parameters
    ----------
    manifest : dict
        See `make_manifest`.

    Returns
    -------
    str
        SHA-256, its first 16 digits.
    """
    kept = {key: manifest[key] for key in ('version', 'seed', 'single', 'night')}
    text = json.dumps(kept, sort_keys=True, separators=(',', ':'))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def scenes(manifest, part='all'):
    """
    Return the scenes of a manifest by name.

    Parameters
    ----------
    manifest : dict
        See `make_manifest`.

    part : {'single', 'night', 'all'}, optional
        Which half.

    Returns
    -------
    dict of dict
        Name -> description.
    """
    parts = ('single', 'night') if part == 'all' else (part,)
    return {entry['id']: entry for name in parts for entry in manifest[name]}


def group_of(entry):
    """
    Return the group that a scene belongs to.

    Parameters
    ----------
    entry : dict
        The description of the scene.

    Returns
    -------
    str
        A key of `GROUPS`.
    """
    return next(name for name, kinds in GROUPS.items() if entry['kind'] in kinds)


def _singles(rng):
    """List single frames: every kind at every difficulty and noise, and clean ones."""
    kinds = [kind for group in GROUPS.values() for kind in group]
    rows = list(itertools.product(kinds, DIFFICULTIES, NOISES))
    rows += itertools.product(kinds, (0.0,), ('low', 'high'))
    shapes = _balanced(SHAPES, len(rows), rng)
    return [
        {'kind': kind, 'difficulty': difficulty, 'noise': noise, 'shape': shape}
        for (kind, difficulty, noise), shape in zip(rows, shapes, strict=True)
    ]


def _nights(rng):
    """List nights: every geometry with every kind of scene, and clean ones."""
    kinds = [k for name in GROUPS if name != 'Sun and Moon' for k in GROUPS[name]]
    rows = list(itertools.product(GEOMETRIES, kinds, ('dirty',)))
    rows += itertools.product(GEOMETRIES, ('starfield', 'emission_nebula'), ('clean',))
    columns = {
        'difficulty': (0.3, 0.6, 1.0),
        'noise': ('very low', 'low', 'medium'),
        'n': (9, 16, 25),
        'gradient': (0.05, 0.15, 0.3),
        'shape': ((256, 256), (256, 256), (240, 320)),
    }
    drawn = {k: _balanced(values, len(rows), rng) for k, values in columns.items()}
    nights = []
    for i, (geometry, kind, state) in enumerate(rows):
        pattern, dither = GEOMETRIES[geometry]
        entry = {'kind': kind, 'geometry': geometry}
        entry |= {'pattern': pattern, 'dither': dither}
        entry |= {name: values[i] for name, values in drawn.items()}
        if state == 'clean':
            entry['difficulty'] = 0.0
        nights.append(entry)
    return nights


def _balanced(values, n, rng):
    """Return n values, each as often as the others, in random order."""
    order = rng.permutation(np.arange(n) % len(values))
    return [values[i] for i in order]


def _number(letter, entries, rng):
    """Shuffle scenes and give them names and seeds."""
    order = rng.permutation(len(entries))
    width = len(str(len(entries)))
    first = 10_000 if letter == 's' else 20_000
    return [
        {'id': f'{letter}{i:0{width}d}', 'seed': first + i}
        | entries[k]
        | {'shape': list(entries[k]['shape'])}
        for i, k in enumerate(order)
    ]
