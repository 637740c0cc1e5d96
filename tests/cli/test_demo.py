# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Test of the demonstration: its numbers are those of the truth."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.io import fits

from astroflat.cli import main
from astroflat.io import read_image
from astroflat.quality import flat_residual


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Run the demonstration once."""
    folder = tmp_path_factory.mktemp('demo')
    assert main(['demo', '--quick', '-q', '-o', str(folder)]) == 0
    return folder


def test_files(folder):
    """Everything that the README promises is there."""
    names = {p.name for p in folder.iterdir()}
    assert names >= {
        'demo.png',
        'night',
        'night_corrected',
        'night_flat.fits',
        'report.json',
        'video.ser',
        'video_corrected.ser',
        'video_flat.fits',
        'video_flat.tif',
    }


def test_numbers_are_those_of_the_files(folder):
    """The report repeats what the written flat measures against the truth."""
    numbers = json.loads((folder / 'report.json').read_text())['numbers']
    truth = fits.getdata(folder / 'night' / 'truth' / 'flat.fits')
    dust = fits.getdata(folder / 'night' / 'truth' / 'dust_mask.fits') > 0
    flat = fits.getdata(folder / 'night_flat.fits')
    measured = flat_residual(flat, truth, dust_mask=dust)
    assert measured['total_mmag'] == pytest.approx(
        numbers['night_astroflat_total_mmag'], rel=1e-6
    )
    nothing = flat_residual(1.0, truth, dust_mask=dust)
    assert numbers['night_nothing_total_mmag'] == pytest.approx(
        nothing['total_mmag'], rel=1e-6
    )


def test_16_bit_flat(folder):
    """The 16-bit TIFF is the flat times its scale."""
    flat = fits.getdata(folder / 'video_flat.fits').astype(float)
    tiff = read_image(folder / 'video_flat.tif')[0].astype(float)
    if tiff.max() > 2:
        tiff = tiff / 32768
    assert np.abs(tiff - flat).max() <= 0.5 / 32768 + 1e-7


def test_second_run_needs_overwrite(folder, capsys):
    """An earlier run is not overwritten unless asked."""
    assert main(['demo', '--quick', '-q', '-o', str(folder)]) == 1
    assert 'use --overwrite' in capsys.readouterr().err
