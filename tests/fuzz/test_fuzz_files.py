# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A few hundred cases of the file fuzzer, and that it would notice a fault."""

from __future__ import annotations

import logging

import numpy as np
import pytest

pytest.importorskip('tifffile')
pytest.importorskip('onnxruntime')

import fuzz_files
import fuzz_mutators
import fuzz_seeds

CASES = {
    'ser': 80,
    'fits': 40,
    'tiff': 50,
    'png': 80,
    'xisf': 80,
    'onnx': 50,
    'card': 150,
}


@pytest.fixture(scope='module')
def seeds(tmp_path_factory):
    """Return the sound files."""
    return fuzz_seeds.make_seeds(tmp_path_factory.mktemp('seeds'))


@pytest.mark.parametrize('kind', fuzz_seeds.FORMATS)
def test_survived(kind, seeds, tmp_path, monkeypatch):
    """Every damaged file is read, or refused for a reason; nothing else happens."""
    monkeypatch.setattr(logging.getLogger('tifffile'), 'disabled', True)
    found = fuzz_files.run_cases(20, kind, range(CASES[kind]), tmp_path, seeds=seeds)
    assert set(found) == {'read', 'refused'}, found
    assert sum(n for n, _ in found.values()) == CASES[kind]
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize('kind', fuzz_seeds.FORMATS)
def test_same_case(kind, seeds):
    """A number names one file, and the next number another."""
    cases = [fuzz_files.make_case(seeds, 1, kind, n)[0] for n in (5, 5, 6, 7)]
    assert cases[0] == cases[1]
    assert len(set(cases)) > 1


@pytest.mark.parametrize(
    ('error', 'clear'),
    [
        (ValueError('too short'), True),
        (FileNotFoundError(2, 'no such file'), True),
        (ValueError(), False),
        (KeyError('NAXIS'), False),
        (IndexError('list index out of range'), False),
        (MemoryError('1 TB'), False),
        (RecursionError('too deep'), False),
        (UnicodeDecodeError('utf-8', b'\xff', 0, 1, 'bad'), False),
        (TypeError("'int' object is not iterable"), False),
    ],
)
def test_fault_is_noticed(tmp_path, error, clear):
    """A reader that fails by accident is told from one that refuses."""

    def reader(path, rng):
        raise error

    outcome = fuzz_files.attempt(tmp_path / 'file', b'', reader, None)
    assert (outcome == 'refused') == clear
    assert clear or type(error).__name__ in outcome


def test_left_file_is_noticed(tmp_path):
    """A reader that leaves a file behind is a finding, even if it succeeds."""

    def reader(path, rng):
        path.with_name('part.tmp').touch()

    outcome = fuzz_files.attempt(tmp_path / 'file', b'', reader, None)
    assert outcome == "reader leaves ['part.tmp']"


def test_checksum_is_repaired(seeds):
    """Damage inside PNG chunks gets past their checksums."""
    import zlib

    data = fuzz_mutators.png_chunk(np.random.default_rng(3), seeds['png'][0])
    size = int.from_bytes(data[8:12], 'big')
    crc = int.from_bytes(data[16 + size : 20 + size], 'big')
    assert data != seeds['png'][0]
    assert crc == zlib.crc32(data[12 : 16 + size])
