# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the command that restores images, with a stand-in for the restorer."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

import astroflat
from astroflat._progress import progress
from astroflat._report import QualityReport
from astroflat.cli import main
from astroflat.io import read_image
from astroflat.neural.restorer import Restorer
from astroflat.psf import PSFField, TooFewStarsError, moffat_kernel

SHAPE = (180, 220)


class StandIn:
    """Halve what is above 100, and remember what it was told."""

    made: list = []  # noqa: RUF012

    def __init__(self, model, *, device, n_threads):
        self.device = 'cpu'
        self.card = SimpleNamespace(name='stand-in', version='1')
        self.asked = (model, device, n_threads)
        self.calls = []
        self.made.append(self)

    def restore(self, image, *, full_output=False, **options):
        """Return half of the image in the way of the real one."""
        self.calls.append(options)
        if options.get('fwhm') == 19.0:
            msg = '0 usable stars; give fwhm= or psf='
            raise TooFewStarsError(msg)
        planes = image.shape[2] if image.data.ndim == 3 else 1
        for _ in range(planes):
            for _ in progress(range(4), description='tiles'):
                pass
        result = image.copy()
        result.data = (0.5 * (image.data.astype('f4') - 100) + 100).astype('f4')
        report = QualityReport('restore', {'fwhm_before_pix': 3.0, 'n_stars': 9})
        report = report.check(options.get('gain') != 666, 'reject', 'a bad number')
        residual = image.data - result.data
        return (
            SimpleNamespace(image=result, residual=residual, report=report)
            if full_output
            else result
        )


@pytest.fixture(autouse=True)
def restorer(monkeypatch):
    """Put the stand-in in the place of the restorer."""
    StandIn.made = []
    monkeypatch.setattr(astroflat, 'Restorer', StandIn, raising=False)
    return StandIn


@pytest.fixture
def light(tmp_path):
    """Write an image with stars."""
    image = np.random.default_rng(1).normal(100, 2, SHAPE)
    for x, y in ((40, 40), (120, 50), (180, 130), (60, 140), (110, 100)):
        image[y - 15 : y + 16, x - 15 : x + 16] += 4000 * moffat_kernel(3.0, size=31)
    path = tmp_path / 'light.fits'
    fits.PrimaryHDU(image.astype('f4'), fits.Header({'OBJECT': 'M 1'})).writeto(path)
    return path


def run(*argv):
    """Run a command."""
    return main(['restore', *(str(a) for a in argv)])


def told():
    """Return what the last call was told."""
    return StandIn.made[-1].calls[-1]


def test_one_image(light, tmp_path, capsys):
    """A file gets its result, report and figure; progress goes to standard output."""
    out = tmp_path / 'sharp.fits'
    assert run(light, '-o', out, '--fwhm', 3.2, '--strength', 0.6) == 0
    before, after = fits.getdata(light), fits.getdata(out)
    assert np.allclose(after, 0.5 * (before - 100) + 100)
    assert fits.getheader(out)['OBJECT'] == 'M 1'
    assert told()['fwhm'] == 3.2
    assert told()['strength'] == 0.6
    assert told()['denoise'] == 1.0
    assert 'protect' not in told()
    report = json.loads((tmp_path / 'sharp.json').read_text())
    assert report['verdict'] == 'accept'
    assert report['numbers']['frames']['sharp.fits']['numbers']['n_stars'] == 9
    assert report['numbers']['model'] == 'stand-in 1'
    assert (tmp_path / 'sharp.png').stat().st_size > 10_000
    lines = capsys.readouterr().out.splitlines()
    done = [int(m[1]) for m in map(re.compile(r'progress (\d+) % ').match, lines) if m]
    assert done == sorted(done)
    assert done[0] == 0
    assert done[-1] == 100
    # The tiles of the network are seen.
    assert len(done) >= 6
    assert lines[-1] == '1 images restored on cpu; 0 samples clipped'


def test_folder_of_several_formats(light, tmp_path, capsys):
    """Every image keeps its name and kind; residuals lie beside them."""
    from astroflat.io.export import write_image

    rgb = np.random.default_rng(2).uniform(0, 60000, (*SHAPE, 3)).astype('u2')
    write_image(rgb, tmp_path / 'rgb.tif')
    write_image(rgb, tmp_path / 'look.png')
    out = tmp_path / 'out'
    names = [light, tmp_path / 'rgb.tif', tmp_path / 'look.png']
    assert run(*names, '-o', out, '--fwhm', 3, '--residuals', '--no-figure') == 0
    tif, png = (read_image(out / name).data for name in ('rgb.tif', 'look.png'))
    assert tif.dtype == np.float32
    assert tif.shape == (*SHAPE, 3)
    assert np.allclose(tif, 0.5 * (rgb.astype('f4') - 100) + 100)
    assert png.dtype == np.uint16
    residual = fits.getdata(out / 'light_residual.fits')
    assert np.allclose(residual, fits.getdata(light) - fits.getdata(out / 'light.fits'))
    assert not (out / 'restore.png').exists()
    frames = json.loads((out / 'restore.json').read_text())['numbers']['frames']
    assert list(frames) == ['light.fits', 'rgb.tif', 'look.png']
    found = re.findall(r'progress (\d+) %', capsys.readouterr().out)
    assert [int(n) for n in found] == sorted(int(n) for n in found)


def test_arguments_reach_the_restorer(light, tmp_path):
    """Kernel, mask, weights, noise, model and device are handed on."""
    kernel = moffat_kernel(3.0, size=21)
    fits.PrimaryHDU(kernel).writeto(tmp_path / 'star.fits')
    weights = np.zeros(SHAPE, 'f4')
    weights[:50] = 1
    fits.PrimaryHDU(weights).writeto(tmp_path / 'weights.fits')
    options = ['--psf', tmp_path / 'star.fits', '--protect', tmp_path / 'weights.fits']
    options += ['--mask', tmp_path / 'weights.fits', '--gain', 1.5, '--readnoise', 3]
    options += ['--offset', 90, '--saturation', 5e4]
    options += ['--model', 'mine', '--device', 'cpu', '--threads', 2, '-q']
    out = tmp_path / 'a.tif'
    assert run(light, '-o', out, *options, '--no-figure', '--no-report') == 0
    assert StandIn.made[-1].asked == ('mine', 'cpu', 2)
    assert np.allclose(told()['psf'], kernel)
    assert np.array_equal(told()['protect'], weights)
    assert np.array_equal(told()['mask'], weights > 0)
    assert (told()['gain'], told()['readnoise']) == (1.5, 3.0)
    assert (told()['offset'], told()['saturation']) == (90.0, 5e4)
    assert sorted(p.name for p in tmp_path.glob('a.*')) == ['a.tif']
    assert run(light, '-o', out, '--protect', 'bright', '--overwrite', '-q') == 0
    assert told()['protect'] == 'bright'
    assert told()['fwhm'] is None


def test_stars_as_a_table(light, tmp_path):
    """The stars of an image are written, and used for another one."""
    stars = tmp_path / 'stars.ecsv'
    options = ['--no-figure', '-q']
    assert run(light, '-o', tmp_path / 'a.fits', '--write-psf', stars, *options) == 0
    field = PSFField.read(stars)
    assert field.fwhm == pytest.approx(3.0, rel=0.02)
    assert run(light, '-o', tmp_path / 'b.fits', '--psf', stars, *options) == 0
    assert told()['psf'].fwhm == pytest.approx(field.fwhm)


def test_stars_are_those_of_the_restorer(tmp_path):
    """Stars that are full or masked are none of those that are written."""
    image = np.random.default_rng(1).normal(100, 1, SHAPE)
    narrow, wide = (moffat_kernel(width, size=31) for width in (3.0, 4.0))
    for i in range(10):
        y, x = 40 + 100 * (i // 5), 25 + 40 * (i % 5)
        star = 20_000 * wide if i > 4 else 5000 * narrow
        image[y - 15 : y + 16, x - 15 : x + 16] += star
    fits.PrimaryHDU(image.astype('f4')).writeto(tmp_path / 'light.fits')
    mask = np.zeros(SHAPE, np.uint8)
    mask[:90] = 1
    fits.PrimaryHDU(mask).writeto(tmp_path / 'mask.fits')
    full = str(100 + 10_000 * wide.max())
    cases = (['--saturation', full], 3.0), (['--mask', tmp_path / 'mask.fits'], 4.0)
    for options, width in cases:
        args = ['-o', tmp_path / 'a.fits', '--no-figure', '-q', '--overwrite']
        args += ['--write-psf', tmp_path / 'stars.ecsv', *options]
        assert run(tmp_path / 'light.fits', *args) == 0
        field = PSFField.read(tmp_path / 'stars.ecsv')
        assert field.fwhm == pytest.approx(width, rel=0.02)


def test_preview(tmp_path):
    """Only patches are restored, with the star of their place, and shown."""
    rng = np.random.default_rng(3)
    image = rng.normal(100, 1, (520, 530))
    for x, y in rng.integers(20, 500, (30, 2)):
        image[y - 12 : y + 13, x - 12 : x + 13] += 3000 * moffat_kernel(2.5, size=25)
    path = tmp_path / 'light.fits'
    fits.PrimaryHDU(image.astype('f4')).writeto(path)
    look = tmp_path / 'look.png'
    assert run(path, '-o', look, '--preview', 2) == 0
    assert look.stat().st_size > 10_000
    assert len(StandIn.made[-1].calls) == 2
    kernel = told()['psf']
    assert kernel.sum() == pytest.approx(1)
    assert list(tmp_path.glob('*.fits')) == [path]


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (['--strength', 1.5], '--strength must be from 0 to 1'),
        (['--denoise', -1], '--denoise must be from 0 to 1'),
        (['--fwhm', 0], '--fwhm must be positive'),
        (['--fwhm', 19], 'give --fwhm or --psf'),
        (['--preview', 0], '--preview must be at least 1'),
        (['-o', 'b.jpg'], "the suffix of 'b.jpg' is not one of"),
        (['--psf', 'missing.fits'], 'missing.fits'),
        (['--protect', 'missing.fits'], 'missing.fits'),
    ],
)
def test_errors_exit_with_one(light, tmp_path, capsys, options, text):
    """What a user can do something about ends with 1, one line, and no file."""
    assert run(light, '-o', tmp_path / 'a.fits', *options) == 1
    captured = capsys.readouterr()
    assert text in captured.err
    assert captured.err.count('\n') == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ['light.fits']


def test_existing_files(light, tmp_path, capsys):
    """Outputs are not replaced unasked, inputs never."""
    out = tmp_path / 'a.fits'
    assert run(light, '-o', out, '-q', '--no-figure') == 0
    n_calls = len(StandIn.made[-1].calls)
    assert n_calls == 1
    assert run(light, '-o', out, '-q', '--no-figure') == 1
    assert '--overwrite' in capsys.readouterr().err
    assert StandIn.made[-1].calls == []
    assert run(light, '-o', out, '-q', '--no-figure', '--overwrite') == 0
    assert run(light, '-o', light, '-q', '--overwrite') == 1
    assert 'own result' in capsys.readouterr().err
    assert run(light, out, '-o', tmp_path / 'b.fits', '-q') == 1
    assert 'give a folder' in capsys.readouterr().err


def test_figure_of_a_png(tmp_path):
    """The figure does not take the place of an image that is a PNG itself."""
    from astroflat.io.export import write_image

    image = np.random.default_rng(2).uniform(0, 60000, SHAPE).astype('u2')
    write_image(image, tmp_path / 'restore.png')
    where = [tmp_path / 'restore.png', '-o']
    assert run(*where, tmp_path / 'sharp.png', '--fwhm', 3, '-q') == 0
    assert run(*where, tmp_path / 'out', '--fwhm', 3, '-q') == 0
    for name in ('sharp', 'out/restore'):
        assert read_image(tmp_path / f'{name}.png').data.shape == SHAPE
        assert (tmp_path / f'{name}.figure.png').stat().st_size > 10_000


@pytest.mark.parametrize('name', ['a.json', 'a.png', 'stars.ecsv'])
def test_files_beside_are_kept(light, tmp_path, capsys, name):
    """What is there beside the output is not replaced unasked, nor found too late."""
    (tmp_path / name).write_text('mine')
    where = [light, '-o', tmp_path / 'a.fits', '-q', '--write-psf']
    assert run(*where, tmp_path / 'stars.ecsv') == 1
    assert f'{name!r} exists; use --overwrite' in capsys.readouterr().err
    assert StandIn.made[-1].calls == []
    assert (tmp_path / name).read_text() == 'mine'
    assert not (tmp_path / 'a.fits').exists()


def test_residuals_of_names_with_dots(light, tmp_path, capsys):
    """Each image gets its own residual, whatever its name."""
    image = fits.getdata(light)
    for name in ('m1.001.fits', 'm1.002.fits', 'm1.002.fits.gz'):
        fits.writeto(tmp_path / name, image)
    out, options = tmp_path / 'out', ('--fwhm', 3, '--residuals', '--no-figure', '-q')
    names = [tmp_path / f'm1.00{k}.fits' for k in (1, 2)]
    assert run(*names, '-o', out, *options) == 0
    found = sorted(path.name for path in out.glob('*_residual.fits'))
    assert found == ['m1.001_residual.fits', 'm1.002_residual.fits']
    names = [tmp_path / f'm1.002.fits{end}' for end in ('', '.gz')]
    assert run(*names, '-o', tmp_path / 'b', *options) == 1
    assert 'same name' in capsys.readouterr().err


def test_warnings_in_a_process_of_their_own(tmp_path):
    """A warning is a line that begins with the name of the program."""
    from PIL import Image

    Image.new('L', (64, 64), 9).save(tmp_path / 'a.jpg')
    command = [sys.executable, '-m', 'astroflat', 'correct', str(tmp_path / 'a.jpg')]
    command += ['-o', str(tmp_path / 'out'), '-q', '--device', 'cpu']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    assert lines[0].startswith("astroflat: warning: 'a.jpg' is a JPEG")


def test_rejected_result(light, tmp_path):
    """A result that its own report rejects is written, and the exit code is 3."""
    out = tmp_path / 'a.fits'
    assert run(light, '-o', out, '--gain', 666, '-q', '--no-figure') == 3
    report = json.loads((tmp_path / 'a.json').read_text())
    assert report['verdict'] == 'reject'
    assert report['reasons'] == ['a.fits: a bad number']
    assert out.exists()


def test_wrong_arguments_exit_with_two(light, tmp_path):
    """A width and a kernel cannot both be given."""
    with pytest.raises(SystemExit) as error:
        run(light, '-o', tmp_path / 'a.fits', '--fwhm', 3, '--psf', 'a.fits')
    assert error.value.code == 2


def test_with_the_network(light, tmp_path, monkeypatch, capsys):
    """The network that comes with astroflat sharpens what the command hands it."""
    if 'restore' not in list(astroflat.list_models()['task']):
        pytest.skip('needs the network that comes with astroflat')
    monkeypatch.setattr(astroflat, 'Restorer', Restorer)
    out = tmp_path / 'sharp.fits'
    options = ['--residuals', '--no-figure', '--device', 'cpu']
    assert run(light, '-o', out, *options) in (0, 3)
    header = fits.getheader(out)
    assert header['AFMETH'] == 'restore'
    assert header['AFFWHMIN'] == pytest.approx(3.0, rel=0.05)
    before, after = fits.getdata(light), fits.getdata(out)
    for x, y in ((40, 40), (120, 50), (180, 130)):
        part = np.s_[y - 12 : y + 13, x - 12 : x + 13]
        assert after[y, x] > 1.3 * before[y, x]
        fluxes = [(image[part] - 100).sum() for image in (before, after)]
        assert fluxes[1] == pytest.approx(fluxes[0], rel=0.05)
    # The noise is gone, and what was taken is noise.
    sky = np.s_[70:110, 10:60]
    assert after[sky].std() < 0.5 * before[sky].std()
    residual = fits.getdata(tmp_path / 'sharp_residual.fits')
    assert residual[sky].std() == pytest.approx(2, rel=0.2)
    assert capsys.readouterr().out.count('progress') >= 4
