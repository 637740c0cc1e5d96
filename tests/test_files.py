# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of files that are complete or absent."""

from __future__ import annotations

import pytest

from astroflat._files import atomic_path, check_output


def test_complete_file(tmp_path):
    """A finished block leaves one file under the final name."""
    with atomic_path(tmp_path / 'a.fits') as temporary:
        assert temporary.suffix == '.fits'
        temporary.write_bytes(b'1')
        assert not (tmp_path / 'a.fits').exists()
    assert [p.name for p in tmp_path.iterdir()] == ['a.fits']


def test_nothing_half_written(tmp_path):
    """A block that raises leaves nothing, and the old file as it was."""
    (tmp_path / 'a.txt').write_text('old')

    def fail():
        with atomic_path(tmp_path / 'a.txt', overwrite=True) as temporary:
            temporary.write_text('half')
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ['a.txt']
    assert (tmp_path / 'a.txt').read_text() == 'old'


def test_existing_file(tmp_path):
    """An existing file needs overwrite=True, and the message says so."""
    (tmp_path / 'a.txt').write_text('old')
    with pytest.raises(FileExistsError, match=r"'a.txt' exists; use overwrite=True"):
        check_output(tmp_path / 'a.txt')
    assert check_output(tmp_path / 'a.txt', overwrite=True).name == 'a.txt'


def test_missing_folder(tmp_path):
    """A missing folder and a folder given as a file are refused."""
    with pytest.raises(FileNotFoundError, match='folder'):
        check_output(tmp_path / 'none' / 'a.txt')
    with pytest.raises(IsADirectoryError):
        check_output(tmp_path)
