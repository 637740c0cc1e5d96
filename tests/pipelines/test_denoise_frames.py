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
        history = str(hdus[0].header['HISTORY'])
        assert 'denoised' in history
        assert 'divided' not in history


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


@pytest.mark.parametrize(('option', 'side'), [([], 3), (['--max-bin', '2'], 2)])
def test_bins_of_the_command(tmp_path, option, side):
    """Stars out of focus are seen in means of pixels, up to those allowed."""
    y, x = np.mgrid[:250, :300] % 50 - 25.0
    light = 300.0 + 300.0 * np.exp(-0.5 * (x**2 + y**2) / 4.25**2)
    frame = np.random.default_rng(1).poisson(light).astype('u2')
    path, out = tmp_path / 'light.fits', tmp_path / 'clean'
    fits.writeto(path, frame, fits.Header({'EGAIN': 1.0}))
    command = ['denoise', str(path), '-o', str(out), '--device', 'cpu', '-q']
    assert main([*command, *option]) == 0
    assert fits.getheader(out / 'light.fits')['AFBIN'] == side


def test_png_stays_whole(denoiser, frames, tmp_path):
    """A format for people keeps its type."""
    from astroflat.io.export import write_image

    write_image(frames[0], tmp_path / 'in.png', dtype='uint16')
    denoise_frames(tmp_path / 'in.png', denoiser, output=tmp_path / 'out')
    data = af.read_image(tmp_path / 'out' / 'in.png')[0]
    assert data.dtype.kind == 'u'
    assert data.std() < 8.0


LEVELS = ((200.0, 400.0), (500.0, 1500.0))


def mosaic(seed, shape=(128, 160)):
    """A frame behind a mosaic of colours, with the noise of photons."""
    light = np.tile(LEVELS, (shape[0] // 2, shape[1] // 2))
    return np.random.default_rng(seed).poisson(light).astype('u2')


def check_colours(clean, original, denoiser, atol):
    """Each colour is as if it were denoised alone."""
    for y in (0, 1):
        for x in (0, 1):
            part = np.asarray(clean[y::2, x::2], float)
            level = LEVELS[y][x]
            assert part.mean() == pytest.approx(level, rel=0.01)
            assert part.std() < 0.4 * level**0.5
            alone = denoiser.denoise(original[y::2, x::2].astype('f4'), gain=1.0)
            np.testing.assert_allclose(part, alone, atol=atol)


@pytest.mark.parametrize(('name', 'atol'), [('in.tif', 1e-4), ('in.png', 0.501)])
def test_mosaic_files(denoiser, tmp_path, name, atol):
    """Files without a header are mosaics if the user says so; colours stay apart."""
    from astroflat.io.export import write_image

    original = mosaic(1)
    write_image(original, tmp_path / name, dtype='uint16')
    where = [str(tmp_path / name), '-o', str(tmp_path / 'out')]
    options = ['--bayer', '--gain', '1', '--device', 'cpu', '--no-figure', '-q']
    assert main(['denoise', *where, *options]) == 0
    clean = af.read_image(tmp_path / 'out' / name)[0]
    assert clean.dtype == (np.float32 if name.endswith('tif') else np.uint16)
    check_colours(clean, original, denoiser, atol)


def test_mosaic_video(denoiser, tmp_path):
    """A video says itself that it is a mosaic, and still does after that."""
    frames = np.array([mosaic(k) for k in range(2)])
    write_ser(tmp_path / 'in.ser', frames, color='RGGB')
    report = denoise_frames(
        tmp_path / 'in.ser', denoiser, output=tmp_path / 'out.ser', gain=1.0
    )
    assert (report.n_frames, report.n_clipped) == (2, 0)
    with open_frames(tmp_path / 'out.ser') as stack:
        assert stack.color == 'RGGB'
        for k in range(2):
            check_colours(np.asarray(stack[k]), frames[k], denoiser, 0.501)


def test_colour_stack(denoiser, tmp_path):
    """Of a stack of colour frames each plane is denoised, in each frame."""
    light = np.full((2, 64, 80, 3), (200.0, 400.0, 900.0))
    frames = np.random.default_rng(4).poisson(light).astype('f4')
    denoise_frames(frames, denoiser, output=tmp_path / 'out.fits', gain=1.0)
    cube = fits.getdata(tmp_path / 'out.fits')
    assert cube.shape == (2, 3, 64, 80)
    for k in range(2):
        alone = denoiser.denoise(frames[k], gain=1.0)
        np.testing.assert_allclose(np.moveaxis(cube[k], 0, -1), alone, rtol=1e-5)
        assert alone[..., 2].std() < 0.4 * frames[k][..., 2].std()


def test_preview(frames, tmp_path):
    """A preview writes a figure and no frame."""
    fits.writeto(tmp_path / 'light.fits', np.tile(frames[0], (4, 4)))
    out = tmp_path / 'look.png'
    where = [str(tmp_path / 'light.fits'), '-o', str(out)]
    status = main(['denoise', *where, '--preview', '2', '--device', 'cpu', '-q'])
    assert status == 0
    assert out.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ['light.fits', 'look.png']


@pytest.mark.parametrize('source', ['file', 'array'])
def test_single_image(denoiser, frames, tmp_path, source):
    """One image gives one image with its header, not a cube of one frame."""
    cards = {'OBJECT': 'M 1', 'EGAIN': 1.0, 'CRVAL1': 10.0, 'CTYPE1': 'RA---TAN'}
    cards |= {'CRVAL2': 20.0, 'CTYPE2': 'DEC--TAN'}
    path, out = tmp_path / 'light.fits', tmp_path / 'out.fits'
    fits.writeto(path, frames[0], fits.Header(cards))
    given = path if source == 'file' else frames[:1]
    denoise_frames(given, denoiser, output=out)
    clean, header = fits.getdata(out), fits.getheader(out)
    assert clean.shape == (80, 96)
    assert clean.dtype.kind == 'f'
    assert header['AFMETH'] == 'denoise'
    assert header['AFMODEL'].startswith('denoise-sky')
    if source == 'file':
        assert header['OBJECT'] == 'M 1'
        assert header['CTYPE1'] == 'RA---TAN'
        assert header['AFGAIN'] == 1.0
        alone = denoiser.denoise(af.io.read_ccd(path)).data
        np.testing.assert_array_equal(clean, alone)
    with pytest.raises(FileExistsError, match='own result'):
        denoise_frames(path, denoiser, output=path, overwrite=True)
    with pytest.raises(ValueError, match='to be a folder'):
        denoise_frames(path, denoiser, output=tmp_path / 'out.tif')
    path.rename(tmp_path / 'a.jpg')
    with pytest.raises(ValueError, match=r"suffix of 'a\.jpg'"):
        denoise_frames(tmp_path / 'a.jpg', denoiser, output=tmp_path / 'out')


def test_files_beside_are_kept(frames, tmp_path, capsys):
    """A picture that is there beside the output is not replaced unasked."""
    write_ser(tmp_path / 'in.ser', frames, bit_depth=12)
    (tmp_path / 'out.png').write_text('mine')
    where = ['denoise', str(tmp_path / 'in.ser'), '-o', str(tmp_path / 'out.ser')]
    assert main([*where, '--device', 'cpu', '-q']) == 1
    assert "'out.png' exists; use --overwrite" in capsys.readouterr().err
    assert (tmp_path / 'out.png').read_text() == 'mine'
    assert not (tmp_path / 'out.ser').exists()
    assert main([*where, '--device', 'cpu', '-q', '--preview', '0']) == 1
    assert '--preview must be at least 1' in capsys.readouterr().err


def test_output_beside_the_input(denoiser, frames, tmp_path):
    """Originals are never replaced."""
    fits.writeto(tmp_path / 'light.fits', frames[0])
    with pytest.raises(FileExistsError, match='choose another folder'):
        denoise_frames(
            tmp_path / 'light.fits', denoiser, output=tmp_path, overwrite=True
        )
