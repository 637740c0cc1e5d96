# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The benchmark of blind flats: from results to the page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.nddata import CCDData

import astroflat as af
from benchmarks.blindflat import classical, design, run, runner, table

ROOT = Path(__file__).parents[2]


def refuse(ccd):
    """Return a flat with a verdict against it."""
    flat = CCDData(np.random.default_rng(1).uniform(0.5, 1.5, ccd.shape), unit='')
    report = af.quality.QualityReport('test').check(False, 'reject', 'no')
    return af.FlatSolution(flat, report=report)


def test_table_counts_failures_and_refusals(single):
    """Failed and refused scenes count as doing nothing, and are counted."""
    functions = {
        'nothing': classical.nothing,
        'crash': lambda _: 1 / 0,
        'refuse': refuse,
    }
    functions['perfect'] = lambda ccd: (single.flat, single.gradients[0])
    functions['random'] = lambda ccd: refuse(ccd).flat
    records = {
        (single.entry['id'], name): runner.run_method(single, name, function)
        for name, function in functions.items()
    }
    numbers = table.summarize(
        records, {single.entry['id']: single.entry}, list(functions)
    )
    idle = numbers['nothing']['total_percent']
    assert numbers['crash']['total_percent'] == idle
    assert numbers['refuse']['total_percent'] == idle
    assert numbers['perfect']['total_percent']['median'] < 1e-3
    assert numbers['random']['total_percent']['p90'] > idle['p90']
    column = {name: s['not_worse'] for name, s in numbers.items()}
    assert column == {
        'nothing': 1.0,
        'crash': 0.0,
        'refuse': 1.0,
        'perfect': 1.0,
        'random': 0.0,
    }
    assert [numbers[n]['failed'] for n in functions] == [0, 1, 0, 0, 0]
    assert [numbers[n]['refused'] for n in functions] == [0, 0, 1, 0, 0]
    assert numbers['crash']['gradient_percent']['median'] is None


def test_unknown_gradients_count_as_none(single):
    """A method that gives G in some scenes left it in the others."""
    entries = {name: single.entry | {'id': name} for name in 'abc'}
    idle = runner.run_method(single, 'nothing', classical.nothing)
    answers = {
        'a': (single.flat, single.gradients[0]),
        'b': single.flat,
        'c': (single.flat, -single.gradients[0]),
    }
    records = {(name, 'nothing'): idle for name in entries} | {
        (name, 'some'): runner.run_method(single, 'some', lambda _, a=answer: a)
        for name, answer in answers.items()
    }
    numbers = table.summarize(records, entries, ['nothing', 'some'])
    nothing = idle['scores']['gradient']
    # Right, as doing nothing, and twice as wrong.
    assert numbers['some']['gradient_percent'] == pytest.approx(
        {'median': nothing, 'mean': nothing, 'p90': 1.8 * nothing}, rel=1e-3
    )
    assert numbers['some']['g_not_worse'] == pytest.approx(2 / 3)
    assert numbers['nothing']['g_not_worse'] == 1.0


def test_clean_scenes_have_a_column_of_their_own(single):
    """Scenes without artifacts are not in the medians of the others."""
    entries = {
        'a': single.entry | {'id': 'a'},
        'b': single.entry | {'id': 'b', 'difficulty': 0.0},
    }
    scores = dict.fromkeys(('total', 'large', 'dust', 'pixel', 'flatness'), 1.0)
    records = {
        (name, 'nothing'): {
            'scores': {k: v * factor for k, v in scores.items()} | {'gradient': None},
            'status': 'ok',
            'seconds': 1.0,
        }
        for name, factor in (('a', 4.0), ('b', 0.0))
    }
    numbers = table.summarize(records, entries, ['nothing'])['nothing']
    assert numbers['total_percent'] == {'median': 4.0, 'mean': 4.0, 'p90': 4.0}
    assert numbers['total_mmag']['median'] == pytest.approx(42.58, abs=0.01)
    assert numbers['groups']['nothing to correct']['median'] == 0.0
    assert numbers['n_scenes'] == 2


# ------------------------------------------------------------------- the page
def test_committed_table_belongs_to_the_manifest():
    """The table in the documentation was made of these scenes."""
    manifest = design.read_manifest()
    numbers = json.loads((ROOT / 'benchmarks/blindflat/results.json').read_text())
    assert numbers['manifest'] == design.manifest_digest(manifest)
    assert numbers['changed_scenes'] == []
    for part in ('single', 'night'):
        assert numbers['parts'][part]['n_scenes'] == len(manifest[part])
    page = (ROOT / 'docs/user_guide/blindflat_table.rst').read_text()
    assert page == table.to_rst(numbers)


def test_numbers_of_other_methods_are_kept(tmp_path, monkeypatch):
    """One method is measured again, the others stay as they were."""
    monkeypatch.chdir(tmp_path)
    common = ['--part=single', '--subset=2', '--no-check']
    both = [*common, '--methods=radial_plane', '--json=both.json']
    assert run.main([*both, '--results=a.jsonl']) == 0
    one = [*common, '--methods=', '--json=one.json', '--keep=both.json']
    assert run.main([*one, '--results=b.jsonl']) == 0
    before, after = (
        json.loads((tmp_path / name).read_text())['parts']['single']
        for name in ('both.json', 'one.json')
    )
    assert list(after['summary']) == list(before['summary'])
    kept = after['summary']['radial_plane']
    assert kept == before['summary']['radial_plane']
    assert 'earlier run' in json.loads((tmp_path / 'one.json').read_text())['head']
