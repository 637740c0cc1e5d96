# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of ``astroflat train``."""

from __future__ import annotations

import importlib.util
import json

import pytest

from astroflat.cli import main
from astroflat.training.recipes import load_recipe


def test_without_torch(monkeypatch, tmp_path, capsys):
    """What is missing is said with the command that installs it."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        'find_spec',
        lambda name: None if name == 'torch' else find(name),
    )
    assert main(['train', 'flat', '-o', str(tmp_path / 'run')]) == 1
    told = capsys.readouterr().err
    # And what else is not there.
    assert 'training needs torch' in told
    assert "pip install 'astroflat[train]'" in told
    assert not (tmp_path / 'run').exists()


def test_recipes(tmp_path):
    """The shipped recipe says what made the weights; others are refused by name."""
    recipe = load_recipe('flat')
    assert recipe['network'] == 'flat'
    assert recipe['options']['seed'] == 5
    assert recipe['run']['images'] == 736_800
    mine = tmp_path / 'mine.json'
    mine.write_text(json.dumps(recipe))
    assert load_recipe(mine) == recipe
    with pytest.raises(ValueError, match=r"recipe must be one of \[.*'flat'.*\]"):
        load_recipe('nothing')


def test_options(tmp_path):
    """What is given wins over the recipe, which wins over the defaults."""
    pytest.importorskip('torch')
    from astroflat.cli import _parser
    from astroflat.cli._train_flat import _options

    def options(*argv):
        return _options(
            _parser('train').parse_args(['train', 'flat', '-o', 'x', *argv])
        )

    joined = options('--recipe', 'flat', '--device', 'cpu', '--batch', '3', '--float32')
    expected = load_recipe('flat')['options'] | {
        'device': 'cpu',
        'batch': 3,
        'bf16': False,
    }
    assert {name: joined[name] for name in expected} == expected
    assert joined['validation'] == 256
    with pytest.raises(ValueError, match='how long to train'):
        options('--device', 'cpu')
    wrong = tmp_path / 'wrong.json'
    wrong.write_text(json.dumps({'network': 'flat', 'options': {'speed': 3}}))
    with pytest.raises(ValueError, match='speed'):
        options('--recipe', str(wrong))


def test_train(tmp_path, capsys, monkeypatch):
    """A run of one step leaves weights; another needs --resume."""
    pytest.importorskip('torch')
    pytest.importorskip('safetensors')
    from astroflat.training import flat
    from astroflat.training.flat_nets import DustNet, FieldsNet, FlatNets

    def small():
        sizes = ((8, 8, 8, 8), (1, 1, 1, 1))
        return FlatNets(FieldsNet(21, *sizes), DustNet(34, *sizes))

    monkeypatch.setattr(flat, 'FlatNets', small)
    folder = tmp_path / 'run'
    argv = ['train', 'flat', '-o', str(folder), '--device', 'cpu', '--batch', '2']
    argv += ['--workers', '0', '--first', '2', '--pool', '2', '--size', '64']
    argv += ['--validation', '0']
    assert main([*argv, '--steps', '1']) == 0
    assert '1 steps' in capsys.readouterr().out
    assert main([*argv, '--steps', '2']) == 1
    assert '--resume' in capsys.readouterr().err
    weights = folder / 'flat.safetensors'
    before = weights.read_bytes()
    assert main([*argv, '--steps', '2', '--resume', '-q']) == 0
    assert '2 steps' in capsys.readouterr().out
    assert weights.read_bytes() != before
    other = ['--start', str(weights), '--steps', '1', '-o', str(tmp_path / 'next')]
    assert main([*argv, *other]) == 0
    assert (
        main([*argv, '--start', 'no', '--steps', '1', '-o', str(tmp_path / 'x')]) == 1
    )
    assert 'start must be' in capsys.readouterr().err


def test_restore_hands_its_options_on(tmp_path, monkeypatch):
    """``train restore`` says what to train, and for how long."""
    pytest.importorskip('torch')
    from astroflat.training import restore

    seen = []
    monkeypatch.setattr(restore, 'train', lambda **options: seen.append(options))
    monkeypatch.setattr(restore, 'compare', lambda **options: seen.append(options))
    folder = str(tmp_path / 'run')
    assert main(['train', 'restore', '-o', folder, '--seconds', '5']) == 0
    assert main(['train', 'restore', '-o', folder, '--ablation', 'no flux']) == 0
    assert seen[0]['seconds'] == 5
    assert seen[0]['folder'] == tmp_path / 'run'
    assert seen[1]['names'] == ['no flux']
