# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Denoised files and videos, by the function and by the command.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.io import fits

import astroflat as af
from astroflat.cli import main
from astroflat.io import open_frames, write_ser
from astroflat.pipelines import denoise_frames


@pytest.fixture(scope='module')
def denoiser():
    """The network that comes with the package."""
    return af.Denoiser(device='cpu')


@pytest.fixture
def frames():
    """Three frames of 12 bits with a noise of 20 on 400."""
    return np.random.default_rng(2).poisson(400.0, (3, 80, 96)).astype('u2')


def test_video(denoiser, frames, tmp_path):
    """A video keeps its depth and its number of frames."""
    write_ser(tmp_path / 'in.ser', frames, bit_depth=12)
    report = denoise_frames(
        tmp_path / 'in.ser', denoiser, output=tmp_path / 'out.ser', gain=1.0
    )
    assert report.n_frames == 3
    assert report.n_clipped == 0
    assert report.noise_before[0] == pytest.approx(20.0, rel=0.15)
    assert report.noise_after[0] < 0.4 * report.noise_before[0]
    with open_frames(tmp_path / 'out.ser') as stack:
        assert (stack.shape, stack.bit_depth) == ((3, 80, 96), 12)
        assert np.std(stack[2]) < 8.0
        assert abs(np.mean(stack[2]) - frames[2].mean()) < 1.0


def test_cube(denoiser, frames, tmp_path):
    """A cube becomes float32 and says what was done."""
    report = denoise_frames(frames, denoiser, output=tmp_path / 'out.fits')
    assert report.paths == [tmp_path / 'out.fits']
    with fits.open(tmp_path / 'out.fits') as hdus:
        assert hdus[0].data.shape == (3, 80, 96)
        assert hdus[0].header['BITPIX'] == -32
        assert 'denoised' in str(hdus[0].header['HISTORY'])


def test_command(frames, tmp_path, capsys):
    """Files keep their names; a report and a figure are beside them."""
    inputs = []
    for k in range(2):
        path = tmp_path / f'light{k}.fits'
        fits.writeto(path, frames[k], fits.Header({'EGAIN': 1.0}))
        inputs.append(str(path))
    out = tmp_path / 'out'
    assert main(['denoise', *inputs, '-o', str(out), '--device', 'cpu', '-q']) == 0
    for k in range(2):
        clean = fits.getdata(out / f'light{k}.fits')
        assert clean.dtype.kind == 'f'
        assert clean.std() < 8.0
    numbers = json.loads((out / 'denoise.json').read_text())['numbers']
    assert numbers['files'] == ['light0.fits', 'light1.fits']
    assert (out / 'denoise.png').stat().st_size > 10_000
    assert main(['denoise', *inputs, '-o', str(out), '--device', 'cpu']) == 1
    assert '--overwrite' in capsys.readouterr().err


def test_png_stays_whole(denoiser, frames, tmp_path):
    """A format for people keeps its type."""
    from astroflat.io.export import write_image

    write_image(frames[0], tmp_path / 'in.png', dtype='uint16')
    denoise_frames(tmp_path / 'in.png', denoiser, output=tmp_path / 'out')
    data = af.read_image(tmp_path / 'out' / 'in.png')[0]
    assert data.dtype.kind == 'u'
    assert data.std() < 8.0


def test_preview(frames, tmp_path):
    """A preview writes a figure and no frame."""
    fits.writeto(tmp_path / 'light.fits', np.tile(frames[0], (4, 4)))
    out = tmp_path / 'look.png'
    where = [str(tmp_path / 'light.fits'), '-o', str(out)]
    status = main(['denoise', *where, '--preview', '2', '--device', 'cpu', '-q'])
    assert status == 0
    assert out.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ['light.fits', 'look.png']


def test_output_beside_the_input(denoiser, frames, tmp_path):
    """Originals are never replaced."""
    fits.writeto(tmp_path / 'light.fits', frames[0])
    with pytest.raises(FileExistsError, match='choose another folder'):
        denoise_frames(
            tmp_path / 'light.fits', denoiser, output=tmp_path, overwrite=True
        )
