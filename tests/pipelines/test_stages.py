# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of stages that are kept on disk."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.nddata import CCDData, StdDevUncertainty

from astroflat.io import open_frames
from astroflat.pipelines._stages import StageStore, fingerprint


class Counter:
    """Make images and count how often that was done."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        """Make an image."""
        self.calls += 1
        data = np.random.default_rng(0).normal(size=(5, 6)).astype('f4')
        return CCDData(
            data,
            unit='adu',
            mask=data > 1,
            uncertainty=StdDevUncertainty(np.abs(data)),
            meta={'FILTER': 'R'},
        )


def test_second_run_reads(tmp_path):
    """A stage with the same key is read, bit for bit, not computed."""
    make = Counter()
    first = StageStore(tmp_path, 'key').run('median', {'a': 1}, make)
    store = StageStore(tmp_path, 'key')
    second = store.run('median', {'a': 1}, make)
    assert make.calls == 1
    assert store.reused == ['median']
    assert second.data.tobytes() == first.data.tobytes()
    assert np.array_equal(second.mask, first.mask)
    assert np.array_equal(second.uncertainty.array, first.uncertainty.array)
    assert second.meta['FILTER'] == 'R'


@pytest.mark.parametrize(('key', 'settings'), [('other', 1), ('key', 2)])
def test_change_is_noticed(tmp_path, key, settings):
    """Other inputs and other settings are computed again."""
    make = Counter()
    StageStore(tmp_path, 'key').run('median', 1, make)
    StageStore(tmp_path, key).run('median', settings, make)
    assert make.calls == 2


def test_later_stages_follow(tmp_path):
    """A change of an early stage makes the later ones again."""
    make = Counter()
    for settings, calls in [(1, 2), (1, 2), (2, 4)]:
        store = StageStore(tmp_path, 'key')
        store.run('one', settings, make)
        store.run('two', 'same', make)
        assert make.calls == calls


@pytest.mark.parametrize('damage', ['delete', 'truncate', 'index'])
def test_broken_file_is_made_again(tmp_path, damage):
    """A deleted, truncated or foreign file is not trusted."""
    make = Counter()
    StageStore(tmp_path, 'key').run('median', 1, make)
    path = tmp_path / 'median.fits'
    if damage == 'delete':
        path.unlink()
    elif damage == 'truncate':
        path.write_bytes(path.read_bytes()[:1000])
    else:
        (tmp_path / 'stages.json').write_text('{"median.fits": ')
    StageStore(tmp_path, 'key').run('median', 1, make)
    assert make.calls == 2


def test_no_folder_keeps_nothing(tmp_path):
    """Without a folder nothing is written."""
    StageStore(None, 'key').run('median', 1, Counter())
    assert not list(tmp_path.iterdir())


def test_fingerprints(tmp_path):
    """Content, type, mask and time of change are part of the key."""
    array = np.arange(6.0)
    keys = {
        fingerprint(array),
        fingerprint(array + 1),
        fingerprint(array.astype('f4')),
        fingerprint(array.reshape(2, 3)),
        fingerprint(np.ma.array(array, mask=array > 2)),
        fingerprint(None),
        fingerprint([array, array]),
    }
    assert len(keys) == 7
    assert fingerprint(array) == fingerprint(array.copy())
    path = tmp_path / 'a.fits'
    path.write_bytes(b'1')
    before = fingerprint(path)
    assert before == fingerprint(str(path))
    path.write_bytes(b'12')
    assert fingerprint(path) != before


def _with_error(value):
    data = np.zeros((4, 5))
    return CCDData(data, unit='adu', uncertainty=StdDevUncertainty(data + value))


def _dask(value):
    return pytest.importorskip('dask.array').from_array(np.full((3, 4, 5), value))


@pytest.mark.parametrize(
    'make',
    [
        lambda value: open_frames(np.full((3, 4, 5), value)),
        lambda value: open_frames(np.arange(80.0).reshape(4, 4, 5))[value : value + 2],
        _with_error,
        _dask,
    ],
    ids=['stack', 'part', 'uncertainty', 'dask'],
)
def test_content_counts(make):
    """Inputs that print alike but hold other numbers have other keys."""
    assert fingerprint(make(1)) == fingerprint(make(1))
    assert fingerprint(make(1)) != fingerprint(make(2))


def test_pattern_stands_for_its_files(tmp_path):
    """A file more that matches a pattern is noticed."""
    (tmp_path / 'a1.fits').write_bytes(b'1')
    before = fingerprint(str(tmp_path / 'a*.fits'))
    assert before == fingerprint(str(tmp_path / 'a*.fits'))
    (tmp_path / 'a2.fits').write_bytes(b'2')
    assert before != fingerprint(str(tmp_path / 'a*.fits'))
