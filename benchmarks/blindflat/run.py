# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The command: which methods on which scenes, and where the tables go."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import astroflat
from benchmarks.blindflat import design, peers
from benchmarks.blindflat.log import ResultLog
from benchmarks.blindflat.methods import METHODS, custom
from benchmarks.blindflat.runner import run_all
from benchmarks.blindflat.scenes import fingerprint, make_case, same_fingerprint
from benchmarks.blindflat.table import summarize, to_rst

_QUICK = 12


def main(arguments=None):
    """
    Run the benchmark from the command line.

    Parameters
    ----------
    arguments : list of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    int
        0, or 2 if an argument makes no sense.
    """
    options = _parser().parse_args(arguments)
    if options.write_manifest:
        design.write_manifest(design.make_manifest())
        return 0
    if options.basicpy_python:
        os.environ['BLINDFLAT_BASICPY_PYTHON'] = options.basicpy_python
    try:
        methods = _methods(options)
        manifest = design.read_manifest()
        log = ResultLog(options.results, _head(manifest))
    except (ImportError, AttributeError, ValueError) as error:
        print(f'blindflat: {error}', file=sys.stderr)
        return 2
    changed = _changed_scenes(manifest, options)
    _run(manifest, methods, log, options)
    document = _document(manifest, methods, log, options, changed=changed)
    if options.keep:
        _keep(document, json.loads(Path(options.keep).read_text(encoding='utf-8')))
    _write(document, options)
    return 0


def _parser():
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.blindflat', description=main.__doc__.splitlines()[1]
    )
    add = parser.add_argument
    add('--part', choices=('single', 'night', 'all'), default='all')
    add('--methods', help='comma-separated names, all by default')
    for part in ('single', 'night'):
        add(
            f'--{part}-method',
            action='append',
            default=[],
            metavar='[NAME=]MODULE:FUNCTION',
            help=f'score a method of your own on the part {part}',
        )
    add('--subset', type=int, metavar='N', help='only the first N scenes of each part')
    add('--quick', action='store_true', help=f'the same as --subset {_QUICK}')
    add('--processes', type=int, default=1, help='scenes at a time (default 1)')
    add('--timeout', type=float, default=600.0, help='seconds for a method (600)')
    add('--results', default='blindflat.jsonl', help='file of results, continued')
    add('--redo', default='', help='comma-separated methods to run again')
    add('--basicpy-python', help='Python of an environment with basicpy')
    add('--no-check', action='store_true', help='do not check the simulator')
    add('--rst', help='write the tables to this file')
    add('--json', help='write the numbers to this file')
    add('--keep', help='file of numbers: take those of other methods from here')
    add('--write-manifest', action='store_true', help='design the scenes anew')
    return parser


def _methods(options):
    """Return the wanted methods by name; doing nothing is always among them."""
    names = options.methods.split(',') if options.methods is not None else [*METHODS]
    unknown = sorted(set(filter(None, names)) - set(METHODS))
    if unknown:
        msg = f'no method is called {", ".join(unknown)}; known: {", ".join(METHODS)}'
        raise ValueError(msg)
    chosen = {n: METHODS[n] for n in METHODS if n in names or n == 'nothing'}
    for part in ('single', 'night'):
        for spec in getattr(options, f'{part}_method'):
            method = custom(spec, part)
            if method.name in chosen:
                calls = chosen[method.name].calls | method.calls
                method = replace(method, calls=calls)
            chosen[method.name] = method
    return chosen


def _head(manifest):
    """Return what a file of results belongs to."""
    return {
        'benchmark': 'blindflat',
        'version': manifest['version'],
        'manifest': design.manifest_digest(manifest),
    }


def _changed_scenes(manifest, options):
    """Return the checked scenes that the simulator makes differently now."""
    if options.no_check:
        return []
    entries = design.scenes(manifest)
    changed = [
        name
        for name, expected in manifest['checks'].items()
        if not same_fingerprint(fingerprint(make_case(entries[name])), expected)
    ]
    if changed:
        print(
            f'blindflat: the scenes {", ".join(changed)} differ from the manifest: '
            'the simulator has changed, do not compare with older results',
            file=sys.stderr,
        )
    return changed


def _entries(manifest, part, options):
    """Return the scenes of a part that were asked for."""
    n = options.subset or (_QUICK if options.quick else None)
    entries = design.scenes(manifest, part)
    return {name: entries[name] for name in list(entries)[:n]}


def _parts(options):
    """Return the names of the parts that were asked for."""
    return ('single', 'night') if options.part == 'all' else (options.part,)


def _run(manifest, methods, log, options):
    """Run what there is no result of yet."""
    again, jobs = set(options.redo.split(',')), []
    for part in _parts(options):
        able = {
            name: method.calls[part]
            for name, method in methods.items()
            if part in method.calls and not method.missing()
        }
        for name, entry in _entries(manifest, part, options).items():
            calls = {
                m: c for m, c in able.items() if (name, m) not in log or m in again
            }
            if calls:
                jobs.append((entry, calls))
    start = time.monotonic()
    done = run_all(jobs, processes=options.processes, timeout=options.timeout)
    for i, records in enumerate(done, start=1):
        for record in records:
            log.append(record)
        seconds = time.monotonic() - start
        failed = [r['method'] for r in records if r['status'] == 'failed']
        note = f'  failed: {", ".join(failed)}' if failed else ''
        print(
            f'{i}/{len(jobs)} {records[0]["scene"]} {seconds:.0f} s{note}',
            file=sys.stderr,
            flush=True,
        )


def _document(manifest, methods, log, options, *, changed):
    """Collect the numbers of all parts."""
    parts = {}
    for part in _parts(options):
        entries = _entries(manifest, part, options)
        fit = {n: m for n, m in methods.items() if part in m.calls}
        ran = [n for n in fit if all((s, n) in log for s in entries)]
        parts[part] = {
            'n_scenes': len(entries),
            'labels': {n: m.label for n, m in fit.items()},
            'summary': summarize(log.records, entries, ran),
            'not_run': {
                n: m.missing() or 'not finished' for n, m in fit.items() if n not in ran
            },
        }
    versions = _versions(methods)
    return _head(manifest) | {
        'seed': manifest['seed'],
        'changed_scenes': changed,
        'versions': versions,
        'head': _words(
            manifest, parts, versions, changed, checked=not options.no_check
        ),
        'parts': parts,
    }


def _keep(document, older):
    """Take the methods that were not run now from older numbers."""
    if older['manifest'] != document['manifest']:
        msg = 'the numbers to keep belong to other scenes; run all methods'
        raise ValueError(msg)
    kept = {}
    for name, part in document['parts'].items():
        before = older['parts'][name]
        others = [m for m in before['labels'] if m not in part['summary']]
        kept |= {m: before['labels'][m] for m in others}
        summary = {m: before['summary'][m] for m in others if m in before['summary']}
        summary |= part['summary']
        part['labels'] = {**before['labels'], **part['labels']}
        part['summary'] = {m: summary[m] for m in part['labels'] if m in summary}
        reasons = {**before['not_run'], **part['not_run']}
        part['not_run'] = {m: r for m, r in reasons.items() if m not in summary}
    document['versions'] = {**older['versions'], **document['versions']}
    programs = ', '.join(f'{name} {text}' for name, text in older['versions'].items())
    names = ', '.join(kept.values())
    document['head'] += f' Numbers of an earlier run with {programs}: {names}.'


def _words(manifest, parts, versions, changed, *, checked):
    """Say in a paragraph what was run."""
    units = {'single': 'single frames', 'night': 'nights'}
    counts = ' and '.join(f'{p["n_scenes"]} {units[name]}' for name, p in parts.items())
    state = (
        f'differ from the manifest in {", ".join(changed)}'
        if changed
        else ('are those of the manifest' if checked else 'were not checked')
    )
    programs = ', '.join(f'{name} {text}' for name, text in versions.items())
    return (
        f'Version {manifest["version"]}, seed {manifest["seed"]}: {counts}; the scenes '
        f'{state}. {programs}. Every method on one core of a machine with two.'
    )


def _versions(methods):
    """Return the versions of the programs whose methods can run."""
    versions = {'astroflat': astroflat.__version__.split('+')[0]}
    versions['photutils'] = importlib.metadata.version('photutils')
    ask = {'siril': peers.siril_version, 'basicpy': peers.basicpy_version}
    names = {'siril': 'Siril', 'basicpy': 'BaSiCPy'}
    for name, function in ask.items():
        if name in methods and not methods[name].missing():
            versions[names[name]] = function()
    return versions


def _write(document, options):
    """Write the tables where they were asked for, else print them."""
    text = to_rst(document)
    if options.rst:
        Path(options.rst).write_text(text, encoding='utf-8')
    if options.json:
        numbers = json.dumps(document, indent=1, ensure_ascii=False)
        Path(options.json).write_text(numbers + '\n', encoding='utf-8')
    if not options.rst and not options.json:
        print(text)
