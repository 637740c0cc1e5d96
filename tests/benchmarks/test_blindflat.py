# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The benchmark of blind flats: its scenes, its scores and its runner."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData, StdDevUncertainty

import astroflat as af
from astroflat.degradation._render import render_product
from astroflat.degradation.fields import DustMote2D
from benchmarks.blindflat import classical, design, methods, peers, run, runner, table
from benchmarks.blindflat.log import ResultLog
from benchmarks.blindflat.motes import deep_motes, mote_snr
from benchmarks.blindflat.radial_plane import fit_radial_plane
from benchmarks.blindflat.scenes import fingerprint, make_case, same_fingerprint
from benchmarks.blindflat.score import as_answer, score

ROOT = Path(__file__).parents[2]
SINGLE = {
    'id': 's000',
    'seed': 4,
    'kind': 'starfield',
    'difficulty': 0.8,
    'noise': 'low',
    'shape': [96, 120],
}
NIGHT = SINGLE | {
    'id': 'n00',
    'geometry': 'small',
    'pattern': 'random',
    'dither': 4.0,
    'n': 3,
    'gradient': 0.15,
}


@pytest.fixture(scope='module')
def single():
    """Return a small single frame."""
    return make_case(SINGLE)


@pytest.fixture(scope='module')
def night():
    """Return a small night."""
    return make_case(NIGHT)


def scored(case, result):
    """Score what a method returned."""
    answer = as_answer(result, shape=case.flat.shape, n_frames=len(case.frames))
    return score(case, answer)


# ------------------------------------------------------------------ the scenes
def test_manifest_is_reproducible(tmp_path):
    """The committed list of scenes is what the design gives, byte by byte."""
    manifest = design.read_manifest()
    again = design.make_manifest(checks=False)
    assert again == {k: v for k, v in manifest.items() if k != 'checks'}
    design.write_manifest(manifest, tmp_path / 'copy.json')
    assert (tmp_path / 'copy.json').read_text() == design.MANIFEST.read_text()


def test_manifest_covers_the_design():
    """Single frames are a full factorial; nights cross dithers and kinds."""
    manifest = design.read_manifest()
    assert len(manifest['single']) >= 200
    cells = Counter(
        (e['kind'], e['difficulty'], e['noise'])
        for e in manifest['single']
        if e['difficulty'] > 0
    )
    assert len(cells) == 11 * 5 * 4
    assert set(cells.values()) == {1}
    nights = [e for e in manifest['night'] if e['difficulty'] > 0]
    assert len({(e['geometry'], e['kind']) for e in nights}) == len(nights) == 42
    assert {e['dither'] for e in nights if e['geometry'] == 'small'} == {4.0}
    assert {e['pattern'] for e in nights if e['geometry'] == 'one direction'} == {
        'line'
    }
    seeds = [e['seed'] for e in design.scenes(manifest).values()]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize('name', ['s001', 's002'])
def test_checked_scenes_are_as_in_the_manifest(name):
    """The simulator still makes the scenes that the manifest was made with."""
    manifest = design.read_manifest()
    case = make_case(design.scenes(manifest)[name])
    assert same_fingerprint(fingerprint(case), manifest['checks'][name])


def test_fingerprint_notices_a_change(single):
    """Another flat or other noise is another fingerprint; the same is the same."""
    mark = fingerprint(single)
    assert fingerprint(make_case(SINGLE)) == mark
    flat = single.flat * np.linspace(0.99, 1.01, single.flat.shape[1])
    assert not same_fingerprint(fingerprint(replace(single, flat=flat)), mark)
    loud = CCDData(2 * single.frames[0].data, unit=u.adu)
    assert not same_fingerprint(fingerprint(replace(single, frames=[loud])), mark)


@pytest.mark.parametrize('entry', [SINGLE, NIGHT], ids=['single', 'night'])
def test_frames_are_the_truth_and_noise(entry):
    """Frames scatter about S F + G as photons and readout do."""
    case = make_case(entry)
    for frame, light, gradient in zip(
        case.frames, case.light, case.gradients, strict=True
    ):
        gain, read = frame.meta['GAIN'], frame.meta['RDNOISE']
        expected = light * case.flat + gradient
        sigma = np.sqrt(expected / gain + (read / gain) ** 2)
        scaled = (frame.data - expected) / sigma
        assert abs(np.median(scaled)) < 0.05
        assert 1.4826 * np.median(np.abs(scaled)) == pytest.approx(1, abs=0.05)
    assert case.flat.mean() == pytest.approx(1, abs=1e-5)
    assert frame.dtype == np.float32


def test_dark_scenes_stay_positive():
    """Scattered light keeps a lunar frame with a strong gradient positive."""
    case = make_case(SINGLE | {'kind': 'moon', 'difficulty': 1.0, 'noise': 'high'})
    assert (case.light[0] * case.flat + case.gradients[0]).min() > 0


# ------------------------------------------------------------------ the scores
def test_perfect_answer_scores_zero(single, night):
    """The truth, in any scale and with any constant, has no error."""
    for case in (single, night):
        gradients = [gradient + 7 for gradient in case.gradients]
        scores = scored(case, (3 * case.flat, gradients))
        assert all(v is None or v < 1e-3 for v in scores.values()), scores
        assert scores['gradient'] is not None


def test_useless_answer_scores_as_nothing(single, night):
    """A constant is worth as much as doing nothing: the spread of the flat."""
    for case in (single, night):
        nothing = scored(case, classical.nothing(case.frames))
        constant = scored(case, np.full(case.flat.shape, 250.0))
        assert constant.pop('gradient') is None
        assert nothing.pop('gradient') > 0
        deep, idle = constant.pop('deep'), nothing.pop('deep')
        assert deep == idle if deep is None else deep == pytest.approx(idle)
        assert constant == pytest.approx(nothing, rel=1e-9)
        ratio = 1 / case.flat.astype(float)
        ratio /= np.median(ratio[~case.dust_mask])
        rms = 100 * np.sqrt(np.mean((ratio - 1) ** 2))
        assert nothing['total'] == pytest.approx(rms, rel=1e-6)


def test_gradient_and_flatness_by_hand(single):
    """With the true flat, what is left is the gradient over the flat."""
    scores = scored(single, (single.flat, 0.0))
    light, gradient = single.light[0].astype(float), single.gradients[0].astype(float)
    faint = light <= np.quantile(light, 0.6)
    level = light[faint].mean()
    assert scores['gradient'] == pytest.approx(100 * gradient.std() / level)
    left = ((gradient - gradient.mean()) / single.flat)[faint]
    # The free scale takes up the mean of what is left.
    expected = 100 * left.std() / level
    assert scores['flatness'] == pytest.approx(expected, rel=0.01)
    assert scores['total'] < 1e-3


def test_better_flats_score_better(single):
    """The errors shrink in step with the correction."""
    totals = [
        scored(single, 1 + share * (single.flat - 1)) for share in (0.0, 0.5, 0.9, 1.0)
    ]
    for name in ('total', 'large', 'dust', 'pixel'):
        values = [scores[name] for scores in totals]
        assert values == sorted(values, reverse=True)
    assert totals[1]['total'] == pytest.approx(totals[0]['total'] / 2, rel=0.15)


def test_one_gradient_serves_all_frames(night):
    """A single gradient is compared with that of every frame."""
    mean = np.mean(night.gradients, axis=0)
    scores = scored(night, (night.flat, mean))
    errors = [mean - g - (mean - g).mean() for g in night.gradients]
    level = [
        light[light <= np.quantile(light, 0.6)].astype(float).mean()
        for light in night.light
    ]
    expected = [np.mean(e**2) / v**2 for e, v in zip(errors, level, strict=True)]
    expected = 100 * np.sqrt(np.mean(expected))
    assert scores['gradient'] == pytest.approx(expected, rel=1e-4)
    stack = np.stack(night.gradients)
    assert scored(night, (night.flat, stack))['gradient'] < 1e-3


def test_solutions_masks_and_holes_are_read(single):
    """A FlatSolution, a mask and NaN are taken as what they say."""
    flat = CCDData(single.flat.copy(), unit='')
    gradient = CCDData(single.gradients[0], unit='adu')
    plain = scored(single, (single.flat, single.gradients[0]))
    assert scored(single, af.FlatSolution(flat, gradient)) == plain
    holes = single.flat.copy()
    holes[:4] = np.nan
    masked = CCDData(single.flat.copy(), unit='', mask=np.isnan(holes))
    assert scored(single, holes) == scored(single, masked)
    answer = as_answer(holes, shape=holes.shape, n_frames=1)
    assert np.all(answer.flat[:4] == np.median(holes[4:]))


@pytest.mark.parametrize(
    ('result', 'words'),
    [
        (np.ones((3, 4)), 'shape'),
        (np.full((96, 120), np.nan), '0 %'),
        (-1.0, '0 %'),
        ((1.0, np.ones((3, 4))), 'one image'),
        ((1.0, np.full((96, 120), np.inf)), 'finite'),
        ((1.0, [np.zeros((96, 120))] * 2), 'one per frame'),
    ],
)
def test_wrong_answers_are_refused(single, result, words):
    """Answers without meaning raise and say why."""
    with pytest.raises(ValueError, match=words):
        scored(single, result)


# ------------------------------------------------------------------ the runner
def crash(frames):
    """Raise whatever is asked."""
    msg = 'no light'
    raise ZeroDivisionError(msg)


def spoil(ccd):
    """Write to the input."""
    ccd.data[:] = 0
    return 1.0


def refuse(ccd):
    """Return a flat with a verdict against it."""
    flat = CCDData(np.random.default_rng(1).uniform(0.5, 1.5, ccd.shape), unit='')
    report = af.quality.QualityReport('test').check(False, 'reject', 'no')
    return af.FlatSolution(flat, report=report)


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
    records = {(SINGLE['id'], 'degenerate'): record}
    records[SINGLE['id'], 'nothing'] = runner.run_method(
        single, 'nothing', classical.nothing
    )
    numbers = table.summarize(
        records, {SINGLE['id']: SINGLE}, ['nothing', 'degenerate']
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


def test_table_counts_failures_and_refusals(single):
    """Failed and refused scenes count as doing nothing, and are counted."""
    functions = {'nothing': classical.nothing, 'crash': crash, 'refuse': refuse}
    functions['perfect'] = lambda ccd: (single.flat, single.gradients[0])
    functions['random'] = lambda ccd: refuse(ccd).flat
    records = {
        (SINGLE['id'], name): runner.run_method(single, name, function)
        for name, function in functions.items()
    }
    numbers = table.summarize(records, {SINGLE['id']: SINGLE}, list(functions))
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
    entries = {name: SINGLE | {'id': name} for name in 'abc'}
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


# ------------------------------------------------------------- deep, visible motes
def mote_case(single, depth, **changes):
    """Return an even frame with one mote of Gaussian edges, and its shadow."""
    mote = DustMote2D(depth=depth, x_0=60, y_0=48, radius=12, edge=2)
    drawn = replace(single.fields, kinds=('motes',), models=(mote,))
    ccd = single.frames[0].copy()
    ccd.meta['GAIN'], ccd.meta['RDNOISE'] = 2.0, changes.get('read', 0.0)
    flat = render_product([mote], single.flat.shape)
    light = np.full(flat.shape, changes.get('level', 400.0))
    case = replace(
        single,
        fields=drawn,
        flat=flat,
        frames=[ccd],
        light=[light],
        gradients=[np.zeros(flat.shape)],
    )
    return case, 1.0 - flat


def test_signal_to_noise_of_a_mote_by_hand(single):
    """Photons alone: the matched filter is the root of a sum over pixels."""
    case, shadow = mote_case(single, 0.1)
    electrons = 800.0 * (1.0 - shadow)
    expected = np.sqrt(np.sum((800.0 * shadow) ** 2 / electrons))
    # The light without the mote is 800 electrons; what is missing is 800 times it.
    assert mote_snr(case, shadow) == pytest.approx(expected, rel=1e-5)
    # An independent draw: weights of the filter applied to 400 noisy frames.
    rng = np.random.default_rng(1)
    weight = 800.0 * shadow / electrons
    seen = [np.sum(weight * (800.0 - rng.poisson(electrons))) for _ in range(400)]
    assert np.mean(seen) / np.std(seen) == pytest.approx(expected, rel=0.12)
    loud, _ = mote_case(single, 0.1, read=40.0)
    assert mote_snr(loud, shadow) < 0.7 * expected


def test_only_deep_and_visible_motes_are_asked_for(single):
    """Shallow motes, and deep ones in noise, are left out; what is left counts."""
    case, shadow = mote_case(single, 0.05)
    mask = deep_motes(case)
    assert mask.sum() == (shadow > 0.002).sum() > 400
    assert deep_motes(mote_case(single, 0.029)[0]).sum() == 0
    assert deep_motes(mote_case(single, 0.05, level=1.0, read=9.0)[0]).sum() == 0
    idle = scored(case, np.ones(case.flat.shape))['deep']
    half = scored(case, 1 - shadow / 2)['deep']
    assert 3.0 < idle < 5.3
    assert half == pytest.approx(idle / 2, rel=0.03)
    assert scored(case, case.flat)['deep'] < 1e-4
    assert scored(mote_case(single, 0.02)[0], 1.0)['deep'] is None
    assert scored(replace(case, fields=None), 1.0)['deep'] is None


def test_clean_scenes_have_a_column_of_their_own(single):
    """Scenes without artifacts are not in the medians of the others."""
    entries = {'a': SINGLE | {'id': 'a'}, 'b': SINGLE | {'id': 'b', 'difficulty': 0.0}}
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


def test_changed_simulator_is_noticed(monkeypatch, capsys):
    """The command says which scenes are no longer those of the manifest."""
    manifest = design.read_manifest()
    first = next(iter(manifest['checks']))
    manifest['checks'] = {first: manifest['checks'][first] | {'truth': 'other'}}
    monkeypatch.setattr(run, 'make_case', lambda entry: make_case(SINGLE))
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
def test_processes_give_the_same_results():
    """Scenes in two processes score as in one."""
    calls = {'nothing': methods.METHODS['nothing'].calls['single']}
    jobs = [(SINGLE | {'id': name, 'seed': i}, calls) for i, name in enumerate('ab')]
    one = [r for records in runner.run_all(jobs) for r in records]
    two = [r for records in runner.run_all(jobs, processes=2) for r in records]
    assert {r['scene']: r['scores'] for r in one} == {
        r['scene']: r['scores'] for r in two
    }


# ----------------------------------------------------------------- the methods
def test_radial_plane_finds_its_own_model():
    """The fit of profile and plane is exact where its model holds."""
    y, x = np.mgrid[:120, :160]
    r2 = ((y - 59.5) ** 2 + (x - 79.5) ** 2) / (60**2 + 80**2)
    profile = 1 - 0.3 * r2 - 0.1 * r2**2
    plane = 0.4 * (x - 79.5) - 0.2 * (y - 59.5)
    image = 1000 * profile + plane
    image[40:56, 40:56] += 500
    flat, gradient = fit_radial_plane(CCDData(image, unit='adu'))
    # Medians of curved blocks are not quite their centres.
    np.testing.assert_allclose(flat, profile / profile.mean(), atol=2e-3)
    np.testing.assert_allclose(gradient, plane, atol=1.0)


def test_background_flat_follows_a_smooth_sky():
    """Background2D gives a smooth vignette back, beside stars."""
    y, x = np.mgrid[:256, :256]
    vignette = 1 - 0.05 * ((y - 128) ** 2 + (x - 128) ** 2) / 128**2
    image = np.random.default_rng(2).normal(1000 * vignette, 20)
    image[100:104, 60:64] += 3000
    flat = classical.background_flat(CCDData(image, unit='adu'))
    error = flat / vignette
    assert np.std(error / np.median(error)) < 0.01


def test_median_of_a_night_beats_nothing():
    """The superflat of a wide dither is much better than no flat."""
    case = make_case(NIGHT | {'dither': 30.0, 'n': 9, 'gradient': 0.0})
    superflat = scored(case, classical.median_superflat(case.frames))
    nothing = scored(case, 1.0)
    assert superflat['total'] < 0.4 * nothing['total']
    flat, gradient = classical.radial_plane_of_median(case.frames)
    assert flat.shape == gradient.shape == case.flat.shape
    assert classical.background_flat_of_median(case.frames).shape == case.flat.shape


def test_one_name_for_both_parts():
    """A method of one's own may have a function for either part."""
    options = run._parser().parse_args(
        [
            '--methods=',
            '--single-method=mine=benchmarks.blindflat.classical:nothing',
            '--night-method=mine=benchmarks.blindflat.classical:median_superflat',
        ]
    )
    chosen = run._methods(options)
    assert list(chosen) == ['nothing', 'mine']
    assert sorted(chosen['mine'].calls) == ['night', 'single']


def test_all_methods_can_be_imported():
    """Every function that the table names exists."""
    for method in methods.METHODS.values():
        assert method.calls
        for spec in method.calls.values():
            assert callable(methods.load(spec))


def test_peers_that_are_not_there_are_named(monkeypatch):
    """Programs that are not installed are not run, and the reason is given."""
    monkeypatch.setattr(methods.shutil, 'which', lambda name: None)
    monkeypatch.setenv('BLINDFLAT_BASICPY_PYTHON', '/nowhere/python')
    assert 'siril-cli' in methods.METHODS['siril'].missing()
    assert '/nowhere/python' in methods.METHODS['basicpy'].missing()
    monkeypatch.delenv('BLINDFLAT_BASICPY_PYTHON')
    assert '--basicpy-python' in methods.METHODS['basicpy'].missing()


@pytest.mark.siril
@pytest.mark.skipif(not shutil.which('siril-cli'), reason='needs siril-cli')
def test_siril_takes_a_plane_out():
    """Siril's background of a plane is the plane."""
    y, x = np.mgrid[:200, :240]
    plane = 2.0 * (x - 119.5) - 1.0 * (y - 99.5)
    noise = np.random.default_rng(3).normal(0, 5, plane.shape)
    ccd = CCDData((3000 + plane + noise).astype('f4'), unit='adu')
    flat, gradient = peers.siril_subsky(ccd)
    assert flat == 1.0
    np.testing.assert_allclose(gradient - gradient.mean(), plane, atol=12)
    assert peers.siril_version().startswith('1.')


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
