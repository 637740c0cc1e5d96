# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the commands as a user runs them."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import Table

import astroflat as af
from astroflat.cli import main
from astroflat.cli._common import beside, parse_bytes, say
from astroflat.io import open_frames, write_ser

SHAPE = (96, 128)


@pytest.fixture
def video(tmp_path):
    """Write a video with one speck of 20 % at (y, x) = (40, 60)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    flat = np.where(np.hypot(y - 40, x - 60) < 5, 0.8, 1.0)
    frames = rng.normal(1000 * flat, 10, (21, *SHAPE)).astype('u2')
    write_ser(tmp_path / 'sun.ser', frames, bit_depth=12)
    return tmp_path / 'sun.ser'


def run(*argv):
    """Run a command."""
    return main([str(a) for a in argv])


def test_dustflat_and_correct(video, tmp_path, capsys):
    """The flat, its report and figure are written, and correct the video."""
    flat = tmp_path / 'flat.fits'
    assert run('dustflat', video, '-o', flat) == 0
    data = fits.getdata(flat)
    assert abs(data[40, 60] - 0.8) < 0.01
    assert (data[:20] == 1).all()
    report = json.loads((tmp_path / 'flat.json').read_text())
    assert report['verdict'] == 'accept'
    (mote,) = Table.read(tmp_path / 'flat.ecsv', format='ascii.ecsv')
    assert (mote['x'], mote['y']) == pytest.approx((60, 40), abs=0.2)
    assert mote['depth'] == pytest.approx(0.2, abs=0.02)
    assert (tmp_path / 'flat.png').stat().st_size > 10_000
    assert 'dust flat: accept' in capsys.readouterr().out
    clean = tmp_path / 'clean.ser'
    assert run('correct', video, '--flat', flat, '-o', clean) == 0
    frames = np.array([open_frames(clean)[i] for i in range(21)])
    assert abs(frames[:, 38:43, 58:63].mean() - 1000) < 5
    assert (
        json.loads((tmp_path / 'clean.json').read_text())['numbers']['n_frames'] == 21
    )


def test_catalogue_of_a_mosaic(tmp_path):
    """Dust that is found in planes of one colour has its place in the mosaic."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    flat = np.where(np.hypot(y - 40, x - 60) < 10, 0.8, 1.0)
    write_ser(
        tmp_path / 'sun.ser', rng.normal(900 * flat, 9, (9, *SHAPE)).astype('u2'),
        bit_depth=12, color='RGGB',
    )  # fmt: skip
    out = tmp_path / 'flat.fits'
    assert run('dustflat', tmp_path / 'sun.ser', '-o', out, '-q', '--no-figure') == 0
    (mote,) = Table.read(tmp_path / 'flat.ecsv', format='ascii.ecsv')
    assert (mote['x'], mote['y']) == pytest.approx((60, 40), abs=0.6)
    assert mote['radius'] == pytest.approx(10, abs=0.6)
    assert (mote['xmin'], mote['xmax']) == pytest.approx((51, 69), abs=3)


def test_median(video, tmp_path):
    """The median command writes what NumPy computes."""
    out = tmp_path / 'median.fits'
    assert run('median', video, '-o', out, '-q') == 0
    with open_frames(video) as stack:
        frames = np.array([stack[i] for i in range(21)])
    assert np.array_equal(fits.getdata(out), np.median(frames, axis=0).astype('f4'))
    assert fits.getheader(out)['NCOMBINE'] == 21
    ccd, flat = CCDData.read(out), af.median_flat(video)
    assert np.array_equal(ccd.uncertainty.array, flat.uncertainty.array)
    assert ccd.unit == flat.unit
    assert ccd.header['BITDEPTH'] == flat.meta['BITDEPTH'] == 12


def test_median_keeps_the_header(tmp_path):
    """The cards of the first frame are kept, with their comments."""
    names = [tmp_path / f'{i}.fits' for i in range(3)]
    for i, name in enumerate(names):
        header = fits.Header({'NUMBER': i})
        header['OBJECT'] = ('M 57', 'what was seen')
        fits.PrimaryHDU(np.full((8, 9), i, 'u2'), header).writeto(name)
    out = tmp_path / 'median.fits'
    assert run('median', *names, '-o', out, '-q') == 0
    data, header = fits.getdata(out, header=True)
    assert (data == 1).all()
    assert (header['OBJECT'], header['NUMBER']) == ('M 57', 0)
    assert header.comments['OBJECT'] == 'what was seen'
    assert 'BZERO' not in header


def test_median_of_a_video_needs_no_astropy_fits(video, tmp_path):
    """What takes long to import is not imported."""
    code = (
        'import sys; from astroflat.cli import main; '
        f'assert main(["median", {str(video)!r}, "-o", "m.fits", "-q"]) == 0; '
        'print({"astropy.io.fits", "astropy.units", "numba"} & set(sys.modules))'
    )
    command = [sys.executable, '-c', code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout.strip() == b'set()', done.stdout


@pytest.mark.parametrize('scale', [(), ('--scale', 'median')])
def test_median_says_nothing_of_the_first_file(tmp_path, scale):
    """What describes the file of a frame does not describe the median."""
    for i in range(3):
        header = fits.Header({'BLANK': -5, 'DATAMAX': 1 + i, 'OBJECT': 'M 13'})
        hdu = fits.PrimaryHDU(np.full((8, 9), 1 + i, 'i2'), header)
        hdu.writeto(tmp_path / f'{i}.fits', checksum=True)
    out = tmp_path / 'm.fits'
    assert run('median', tmp_path / '*.fits', '-o', out, '-q', *scale) == 0
    header = fits.getheader(out)
    assert header['OBJECT'] == 'M 13'
    assert not {'BLANK', 'DATAMAX', 'CHECKSUM', 'DATASUM', 'BZERO'} & set(header)
    assert (header['NCOMBINE'], header['NSAMPMIN'], header['NSAMPMAX']) == (3, 3, 3)


def test_median_of_a_night(tmp_path):
    """Bias, scaling and normalisation make a flat with mean 1."""
    rng = np.random.default_rng(0)
    truth = np.linspace(0.8, 1.2, SHAPE[1])
    bias = CCDData(np.full(SHAPE, 300, 'u2'), unit='adu')
    bias.write(tmp_path / 'bias.fits')
    names = []
    for i in range(9):
        light = rng.poisson(truth * (2000 + 300 * i), SHAPE) + 300
        names.append(tmp_path / f'light_{i}.fits')
        CCDData(light.astype('u2'), unit='adu').write(names[-1])
    out = tmp_path / 'flat.fits'
    args = ['--bias', tmp_path / 'bias.fits', '--scale', 'median', '--normalize', '-q']
    assert run('median', *names, '-o', out, *args) == 0
    data = fits.getdata(out)
    assert abs(data.mean(dtype=float) - 1) < 1e-6
    assert np.abs(data / truth - 1).std() < 0.01


def test_errors_are_one_line(video, tmp_path, capsys):
    """What a user can mend is said in one line, and nothing is written."""
    out = tmp_path / 'out.fits'
    assert run('dustflat', tmp_path / 'none.ser', '-o', out) == 1
    error = capsys.readouterr().err
    assert error.startswith('astroflat: error: ')
    assert 'none.ser' in error
    assert error.count('\n') == 1
    out.write_text('mine')
    assert run('median', video, '-o', out) == 1
    assert 'use --overwrite' in capsys.readouterr().err
    assert out.read_text() == 'mine'


def test_no_home_path_is_told(tmp_path, capsys):
    """Messages and headers name files, not folders."""
    assert run('info', tmp_path / 'none.ser') == 1
    assert str(tmp_path) not in capsys.readouterr().err


def test_wrong_arguments(capsys):
    """Wrong arguments give the usage and status 2."""
    for argv in ([], ['nothing'], ['median'], ['median', 'a', '-o', 'b', '--what']):
        with pytest.raises(SystemExit) as error:
            main(argv)
        assert error.value.code == 2
    assert 'usage: astroflat' in capsys.readouterr().err


def test_process(video, tmp_path):
    """The command runs as a process of its own, with its exit status."""
    command = [sys.executable, '-W', 'error', '-m', 'astroflat']
    done = subprocess.run(
        [*command, 'median', str(video), '-o', str(tmp_path / 'm.fits')],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [*command, 'info', 'none.ser'], capture_output=True, check=False
    )
    assert done.returncode == 1


def test_simulate(tmp_path):
    """A simulated night has its truth beside it and repeats with its seed."""
    args = ['simulate', 'night', '-n', '3', '--size', '64x48', '--seed', '5', '-q']
    assert run(*args, '-o', tmp_path / 'a') == 0
    assert run(*args, '-o', tmp_path / 'b') == 0
    for name in ('light_0002.fits', 'truth/flat.fits'):
        one, two = (fits.getdata(tmp_path / f / name) for f in 'ab')
        assert one.shape == (48, 64)
        assert np.array_equal(one, two)


def test_info(video, capsys):
    """Info describes a file and the installation, also as JSON."""
    assert run('info', video, '--json') == 0
    facts = json.loads(capsys.readouterr().out)[0]
    assert facts['frames'] == 21
    assert facts['depth'] == '12 bit'
    assert run('info') == 0
    assert 'onnxruntime' in capsys.readouterr().out


def test_info_of_networks(capsys):
    """Info names the devices and the networks."""
    assert run('info', '--json') == 0
    out, err = capsys.readouterr()
    facts = json.loads(out)
    names = list(af.list_models()['name'])
    assert 'cpu' in facts['devices'].split(' (')[0].split(', ')
    assert all(name in facts['models'] for name in names)
    assert names or facts['models'] == 'none'
    assert err == ''


@pytest.mark.parametrize(
    ('text', 'size'), [('256M', 256e6), ('2g', 2e9), ('1000', 1000), ('1.5k', 1500)]
)
def test_sizes(text, size):
    """Sizes have suffixes."""
    assert parse_bytes(text) == size


def test_names_beside():
    """Reports take the name of the output, compressed or not."""
    assert beside('a/flat.fits', '.json').as_posix() == 'a/flat.json'
    assert beside('flat.fits.gz', '.png').name == 'flat.png'


def test_signs_that_the_output_does_not_know(monkeypatch):
    """A summary that cannot be encoded is printed with escapes, not an error."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(raw, encoding='ascii'))
    say('1.2 ± 0.1 σ, Nébula_\udcfc.fits')
    assert raw.getvalue().strip() == rb'1.2 \xb1 0.1 \u03c3, N\xe9bula_\udcfc.fits'
