# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The commands selfflat and repair."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable

from astroflat.cli import main

SHAPE = (96, 128)
BIAS = 300


def run(*args):
    """Run a command."""
    return main([str(arg) for arg in args])


@pytest.fixture(scope='module')
def night(tmp_path_factory):
    """Write lights with a mote, a flat with it elsewhere, and a bias."""
    folder = tmp_path_factory.mktemp('night')
    rng = np.random.default_rng(1)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]

    def mote(y0, x0):
        return 1 - 0.1 / (1 + np.exp((np.hypot(y - y0, x - x0) - 9) / 0.8))

    vignette = np.exp(-0.1 * ((x / 64 - 1) ** 2 + (y / 48 - 1) ** 2))
    for i in range(4):
        data = rng.normal(2000 * vignette * mote(45, 66), 15) + BIAS
        header = fits.Header({'FILTER': 'R', 'IMAGETYP': 'LIGHT'})
        hdu = fits.PrimaryHDU(np.rint(data).astype('u2'), header)
        hdu.writeto(folder / f'light_{i}.fits')
    fits.PrimaryHDU(np.full(SHAPE, BIAS, 'u2')).writeto(folder / 'bias.fits')
    stale = (vignette * mote(40, 60) * rng.normal(1, 0.001, SHAPE)).astype('f4')
    fits.PrimaryHDU(stale).writeto(folder / 'stale.fits')
    return folder, vignette * mote(45, 66), stale


def test_repair(night, tmp_path, capsys):
    """The flat is repaired and written with report, catalogue and figure."""
    folder, truth, stale = night
    out = tmp_path / 'fresh.fits'
    lights = sorted(folder.glob('light*'))
    args = ['repair', folder / 'stale.fits', *lights, '-o', out]
    args += ['--bias', folder / 'bias.fits', '--threads', 1]
    assert run(*args) == 0
    assert 'repair: accept' in capsys.readouterr().out
    fresh = fits.getdata(out)
    assert np.std(fresh / truth) < 0.3 * np.std(stale / truth)
    assert (fresh != stale).mean() < 0.25
    report = json.loads((tmp_path / 'fresh.json').read_text())
    assert report['numbers']['n_changed_pixels'] == np.count_nonzero(fresh != stale)
    motes = QTable.read(tmp_path / 'fresh.ecsv')
    assert list(motes['action']) == ['moved']
    assert (tmp_path / 'fresh.png').stat().st_size > 5000
    assert run(*args, '-q') == 1
    assert '--overwrite' in capsys.readouterr().err


def test_repair_of_nothing(night, tmp_path):
    """What may not be changed is not."""
    folder, _, stale = night
    out = tmp_path / 'same.fits'
    lights = sorted(folder.glob('light*'))
    options = ['--bias', folder / 'bias.fits', '--change', 'strength', '-q']
    options += ['--no-figure', '--no-report', '--reach', 10, '--min-shift', 2]
    assert run('repair', folder / 'stale.fits', *lights, '-o', out, *options) == 0
    assert (fits.getdata(out) == stale).all()
    assert sorted(p.name for p in tmp_path.iterdir()) == ['same.ecsv', 'same.fits']


def test_selfflat(night, tmp_path, capsys):
    """Each group gets a flat; the choice is explained."""
    folder, _, _ = night
    lights = sorted(folder.glob('light*'))
    assert run('selfflat', *lights, '-o', tmp_path / 'x', '--groups') == 0
    assert capsys.readouterr().out == 'R: 4 frames\n'
    out = tmp_path / 'flats'
    args = ['selfflat', *lights, '-o', out, '--bias', folder / 'bias.fits']
    assert run(*args, '--method', 'dust', '--threads', 1) == 0
    text = capsys.readouterr().out
    assert 'chosen: dust, because it was asked for' in text
    names = sorted(p.name for p in out.iterdir())
    assert names == ['flat_R.fits', 'flat_R.json', 'flat_R.png']
    data = fits.getdata(out / 'flat_R.fits')
    assert data[45, 66] == pytest.approx(0.9, abs=0.02)
    assert data[5, 5] == 1
    report = json.loads((out / 'flat_R.json').read_text())
    assert report['numbers']['choice'].startswith('chosen: dust')
    assert run(*args, '--method', 'dust') == 1
    assert '--overwrite' in capsys.readouterr().err


def test_selfflat_repairs(night, tmp_path):
    """With a flat, it is repaired."""
    folder, truth, stale = night
    lights = sorted(folder.glob('light*'))
    args = ['selfflat', *lights, '-o', tmp_path, '--bias', folder / 'bias.fits']
    assert run(*args, '--flat', folder / 'stale.fits', '-q') == 0
    fresh = fits.getdata(tmp_path / 'flat_R.fits')
    assert np.std(fresh / truth) < 0.3 * np.std(stale / truth)
    assert (tmp_path / 'flat_R.png').exists()


def test_selfflat_errors(night, tmp_path, capsys):
    """Errors are one line, and nothing is left behind."""
    folder, _, _ = night
    lights = sorted(folder.glob('light*'))
    args = ['selfflat', *lights, '-o', tmp_path / 'out', '--method', 'repair']
    assert run(*args) == 1
    assert 'needs a flat' in capsys.readouterr().err


def test_output_of_selfflat_is_a_folder(night, tmp_path, capsys):
    """The name of an image is refused before anything is computed."""
    out = tmp_path / 'flat.fits'
    assert run('selfflat', *sorted(night[0].glob('light*')), '-o', out) == 1
    assert 'name a folder, such as flat/' in capsys.readouterr().err
    assert not out.exists()
