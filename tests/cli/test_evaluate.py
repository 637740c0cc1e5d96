# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of ``astroflat evaluate``."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import gaussian_filter

from astroflat.cli import main
from astroflat.quality._inject import add_star, star_profile

SHAPE = (160, 180)


@pytest.fixture
def files(tmp_path):
    """Write a true sky, a noisy image, two results, a flat and frames."""
    rng = np.random.default_rng(0)
    truth = np.full(SHAPE, 300.0)
    for y in range(20, 150, 25):
        for x in range(20, 170, 25):
            add_star(truth, *star_profile(None, 3.0, (float(y), x + 0.4)), 4000)
    noisy = truth + rng.normal(0, 6, SHAPE)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    flat = 1 - 0.2 * ((x - 90) ** 2 + (y - 80) ** 2) / 90**2
    images = {
        'truth': truth,
        'noisy': noisy,
        'good': 0.5 * (truth + noisy),
        'blurred': gaussian_filter(noisy, 2),
        'flat': flat,
        'inverse': 1 / flat,
        'frames': 500 * flat + rng.normal(0, 2, (4, *SHAPE)) + 50,
        'bias': np.full(SHAPE, 50.0),
    }
    for name, data in images.items():
        fits.writeto(tmp_path / f'{name}.fits', data.astype('f4'))
    return {name: str(tmp_path / f'{name}.fits') for name in images}


def rows_of(folder):
    """Read the rows of the CSV."""
    with (folder / 'evaluate.csv').open(newline='', encoding='utf-8') as file:
        return {row['result']: row for row in csv.DictReader(file)}


def test_images_against_truth(files, tmp_path, capsys):
    """A row per result, a summary, a page and figures; 3 if one is rejected."""
    out = tmp_path / 'out'
    arguments = ['evaluate', files['good'], files['blurred'], '--truth', files['truth']]
    arguments += ['--before', files['noisy'], '-o', str(out)]
    assert main(arguments) == 3
    rows = rows_of(out)
    assert rows['good']['verdict'] == 'accept'
    assert rows['blurred']['verdict'] == 'reject'
    assert float(rows['good']['psnr_gain_db']) == pytest.approx(6.02, abs=0.01)
    summary = json.loads((out / 'evaluate.json').read_text(encoding='utf-8'))
    assert summary['verdict'] == 'reject'
    assert all(reason.startswith('blurred: ') for reason in summary['reasons'])
    page = (out / 'evaluate.html').read_text(encoding='utf-8')
    assert page.count('<img') == len(list(out.glob('*.png'))) == 6
    assert (out / 'good_sources.csv').exists()
    assert 'good\nimage against truth: accept' in capsys.readouterr().out
    assert main(arguments) == 1
    assert 'overwrite' in capsys.readouterr().err
    assert main([*arguments, '--overwrite', '--no-figure', '-q']) == 3
    assert capsys.readouterr().out == ''


def test_flats_against_truth(files, capsys):
    """Flats are judged up to a factor; nothing is written unless asked for."""
    arguments = ['evaluate', files['flat'], '--flat', '--truth', files['flat']]
    assert main(arguments) == 0
    assert 'flat against truth: accept' in capsys.readouterr().out
    assert main(['evaluate', files['inverse'], *arguments[2:]]) == 3


def test_flats_on_frames(files, tmp_path):
    """A flat is judged by frames, with a bias and a known flat."""
    arguments = ['evaluate', files['flat'], '--frames', files['frames']]
    arguments += ['--bias', files['bias'], '--truth', files['flat']]
    out = tmp_path / 'out'
    assert main([*arguments, '-o', str(out), '-q']) == 0
    row = rows_of(out)['flat']
    assert float(row['flatness_ratio']) < 0.1
    assert abs(float(row['vign_slope'])) < 0.05
    arguments[1] = files['inverse']
    assert main([*arguments, '-q']) == 3


def test_something_to_compare_with(files, capsys):
    """Without truth and frames there is nothing to say."""
    assert main(['evaluate', files['flat']]) == 1
    assert '--truth' in capsys.readouterr().err


def test_results_of_one_name(files, tmp_path):
    """Files of one name in two folders are told apart."""
    other = tmp_path / 'other'
    other.mkdir()
    fits.writeto(other / 'good.fits', fits.getdata(files['noisy']))
    arguments = ['evaluate', files['good'], str(other / 'good.fits')]
    arguments += ['--truth', files['truth'], '-o', str(tmp_path / 'out')]
    assert main([*arguments, '--no-figure', '-q', '--fwhm', '3']) == 0
    assert list(rows_of(tmp_path / 'out')) == ['good_1', 'good_2']
