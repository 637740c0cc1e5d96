# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The benchmark of blind flats: methods that fail, and runs that go on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.nddata import CCDData, StdDevUncertainty

import astroflat as af
from benchmarks.blindflat import classical, design, methods, run, runner, table
from benchmarks.blindflat.log import ResultLog
from benchmarks.blindflat.scenes import make_case

ROOT = Path(__file__).parents[2]


def crash(frames):
    """Raise whatever is asked."""
    msg = 'no light'
    raise ZeroDivisionError(msg)


def spoil(ccd):
    """Write to the input."""
    ccd.data[:] = 0
    return 1.0


def degenerate(frames):
    """Say that these frames cannot tell."""
    msg = 'the frames do not move'
    raise af.DegenerateDithersError(msg)


def dawdle(ccd):
    """Take too long."""
    while True:
        np.ones(1000).sum()


def test_crash_is_a_result(single):
    """A method that raises is recorded with what it raised."""
    record = runner.run_method(single, 'crash', crash)
    assert record['status'] == 'failed'
    assert record['error'] == 'ZeroDivisionError: no light'
    assert record['scores'] is None


def test_refusal_by_exception_is_no_failure(single):
    """A method that says that these dithers tell nothing has refused."""
    record = runner.run_method(single, 'degenerate', degenerate)
    assert record['status'] == 'refused'
    assert record['error'] == 'DegenerateDithersError: the frames do not move'
    records = {(single.entry['id'], 'degenerate'): record}
    records[single.entry['id'], 'nothing'] = runner.run_method(
        single, 'nothing', classical.nothing
    )
    numbers = table.summarize(
        records, {single.entry['id']: single.entry}, ['nothing', 'degenerate']
    )
    row = numbers['degenerate']
    assert (row['failed'], row['refused'], row['not_worse']) == (0, 1, 1.0)
    assert row['total_percent'] == numbers['nothing']['total_percent']


def test_stated_uncertainty_is_compared_with_the_error(single):
    """An error of one per cent is within two sigma where sigma is above a half."""
    wrong = single.flat * np.where(np.arange(120) < 60, 1.0, 1.01)
    sigma = np.where(np.arange(120) < 90, 0.01, 0.001) * wrong
    flat = CCDData(wrong, unit='', uncertainty=StdDevUncertainty(sigma))
    record = runner.run_method(single, 'sure', lambda _: af.FlatSolution(flat))
    # The median of the ratio lies between its two values.
    assert record['scores']['within'] == pytest.approx(75.0)
    assert record['stated'] == pytest.approx(100 * np.sqrt((3e-4 + 1e-6) / 4))
    assert 'within' not in runner.run_method(single, 'one', lambda _: 1.0)['scores']


def test_input_is_safe(single):
    """A method that writes to its frame harms no other."""
    before = single.frames[0].data.copy()
    assert runner.run_method(single, 'spoil', spoil)['status'] == 'ok'
    np.testing.assert_array_equal(single.frames[0].data, before)


@pytest.mark.skipif(sys.platform == 'win32', reason='no interval timers')
def test_time_limit(single):
    """A method that takes too long fails."""
    record = runner.run_method(single, 'dawdle', dawdle, timeout=0.05)
    assert record['error'].startswith('TimeoutError')


COUNTING = """
from pathlib import Path
import numpy as np

CALLS = Path(__file__).with_name('calls.txt')

def method(frames):
    with CALLS.open('a') as file:
        file.write('x')
    return 1.0
"""


@pytest.fixture
def counting(tmp_path, monkeypatch):
    """Return a function that runs the command with a method that counts calls."""
    (tmp_path / 'counting.py').write_text(COUNTING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'counting', raising=False)
    calls = tmp_path / 'calls.txt'
    calls.write_text('')

    def command(*more):
        code = run.main(
            [
                '--part=single',
                '--methods=',
                '--single-method=mine=counting:method',
                f'--results={tmp_path / "results.jsonl"}',
                f'--rst={tmp_path / "table.rst"}',
                f'--json={tmp_path / "table.json"}',
                '--no-check',
                *more,
            ]
        )
        return code, len(calls.read_text())

    return command


def test_resume(counting, tmp_path):
    """What is done is not done again; what was cut off is."""
    assert counting('--subset=2') == (0, 2)
    assert counting('--subset=2') == (0, 2)
    assert counting('--subset=3') == (0, 3)
    path = tmp_path / 'results.jsonl'
    path.write_text(path.read_text()[:-20])
    assert counting('--subset=3') == (0, 4)
    assert counting('--subset=3', '--redo=mine') == (0, 7)
    document = json.loads((tmp_path / 'table.json').read_text())
    part = document['parts']['single']
    assert part['n_scenes'] == 3
    assert (
        part['summary']['mine']['total_mmag']
        == (part['summary']['nothing']['total_mmag'])
    )
    assert '"mine"' in (tmp_path / 'table.rst').read_text()


def test_results_of_another_version_are_refused(counting, tmp_path, capsys):
    """A file of results of other scenes is not mixed with these."""
    (tmp_path / 'results.jsonl').write_text('{"benchmark": "blindflat"}\n')
    assert counting('--subset=1') == (2, 0)
    assert '--results' in capsys.readouterr().err


@pytest.mark.parametrize(
    'argument',
    ['--methods=unknown', '--single-method=nomodule', '--single-method=os:nothing'],
)
def test_unknown_methods_are_refused(argument, tmp_path, capsys):
    """A method that cannot be found is a usage error."""
    results = f'--results={tmp_path / "r.jsonl"}'
    assert run.main([argument, results, '--subset=1']) == 2
    assert 'blindflat:' in capsys.readouterr().err


def test_changed_simulator_is_noticed(single, monkeypatch, capsys):
    """The command says which scenes are no longer those of the manifest."""
    manifest = design.read_manifest()
    first = next(iter(manifest['checks']))
    manifest['checks'] = {first: manifest['checks'][first] | {'truth': 'other'}}
    monkeypatch.setattr(run, 'make_case', lambda entry: make_case(single.entry))
    options = run._parser().parse_args([])
    assert run._changed_scenes(manifest, options) == [first]
    assert first in capsys.readouterr().err


def test_log_replaces_older_results(tmp_path):
    """The last result of a scene and a method is the one that counts."""
    log = ResultLog(tmp_path / 'log.jsonl', {'version': 1})
    log.append({'scene': 'a', 'method': 'm', 'status': 'failed'})
    log.append({'scene': 'a', 'method': 'm', 'status': 'ok'})
    again = ResultLog(tmp_path / 'log.jsonl', {'version': 1})
    assert again.records == {('a', 'm'): {'scene': 'a', 'method': 'm', 'status': 'ok'}}


@pytest.mark.slow
def test_processes_give_the_same_results(single):
    """Scenes in two processes score as in one."""
    calls = {'nothing': methods.METHODS['nothing'].calls['single']}
    jobs = [
        (single.entry | {'id': name, 'seed': i}, calls) for i, name in enumerate('ab')
    ]
    one = [r for records in runner.run_all(jobs) for r in records]
    two = [r for records in runner.run_all(jobs, processes=2) for r in records]
    assert {r['scene']: r['scores'] for r in one} == {
        r['scene']: r['scores'] for r in two
    }
