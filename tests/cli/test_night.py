# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The command ``astroflat night``."""

from __future__ import annotations

import json

import pytest
from astropy.io import fits

from astroflat.cli import main
from astroflat.degradation import simulate_night


@pytest.fixture
def night(tmp_path):
    """Write a simulated night, which has lights alone."""
    return simulate_night(3, (96, 128), dither=5, rng=1).write(tmp_path / 'night')


def run(*argv):
    """Run the command."""
    return main(['night', *map(str, argv)])


def test_night(night, tmp_path, capsys):
    """Lights are calibrated, told of, and left alone the second time."""
    output = tmp_path / 'out'
    command = (night, '--output', output, '--flats', 'none', '--workers', '2')
    assert run(*command, '--dry-run') == 0
    assert not output.exists()
    assert '3 to do' in capsys.readouterr().out
    assert run(*command) == 0
    out = capsys.readouterr().out
    assert 'found 3 lights' in out
    assert '3 lights calibrated, 0 were before, 0 failed' in out
    assert sorted(p.name for p in output.iterdir()) == [
        'light_0001.fits',
        'light_0002.fits',
        'light_0003.fits',
        'night.csv',
        'night.html',
        'night.json',
    ]
    assert run(*command) == 0
    assert 'nothing to do: 3 lights' in capsys.readouterr().out
    assert run(*command, '--quiet') == 0
    assert capsys.readouterr().out == ''


def test_exit_status(night, capsys):
    """Rejected flats give 3, errors 1, wrong arguments 2."""
    assert run(night, '--flats', 'given', '-q') == 3
    report = json.loads((night / 'calibrated/night.json').read_text())
    assert report['verdict'] == 'reject'
    assert 'there are no flats' in ' '.join(report['reasons'])
    assert run(night, '--flats', 'none') == 1
    assert '--overwrite' in capsys.readouterr().err
    assert run(night, '--flats', 'none', '--overwrite', '-q') == 0
    assert run(night / 'nowhere') == 1
    for wrong in (['--flats', 'x'], ['--mem-limit', 'much'], []):
        with pytest.raises(SystemExit) as stop:
            run(*([night, *wrong] if wrong else []))
        assert stop.value.code == 2


def test_damaged_light(night):
    """One light that is cut short gives 3; the others are there."""
    path = night / 'light_0002.fits'
    path.write_bytes(path.read_bytes()[:9000])
    assert run(night, '--flats', 'none', '-q') == 3
    names = [p.name for p in (night / 'calibrated').glob('*.fits')]
    assert sorted(names) == ['light_0001.fits', 'light_0003.fits']


def test_denoised(night):
    """Denoised lights go beside the calibrated ones, with the network in the header."""
    assert run(night, '--flats', 'none', '--denoise', '--device', 'cpu', '-q') == 0
    header = fits.getheader(night / 'calibrated/denoised/light_0001.fits')
    assert header['AFMETH'] == 'denoise'
    assert len(header['AFMODSHA']) > 10
    assert (night / 'calibrated/light_0001.fits').is_file()
