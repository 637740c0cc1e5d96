# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""``astroflat correct`` without a flat."""

import json

import numpy as np
import pytest
from astropy.io import fits

from astroflat.cli import main
from astroflat.degradation import make_scene, sample_fields


@pytest.fixture
def folder(tmp_path):
    """Return a folder with two frames, raw, and their bias."""
    for name, seed in (('a', 11), ('b', 12)):
        rng = np.random.default_rng(seed)
        light = make_scene((128, 160), kind='starfield', rng=rng, level=2000.0)
        kinds = ['vignetting']
        fields = sample_fields((128, 160), difficulty=1.0, rng=rng, kinds=kinds)
        frame = (rng.poisson(light * fields.flat) + 100).clip(0, 65535)
        header = fits.Header({'OBJECT': 'field', 'BUNIT': 'adu'})
        fits.writeto(tmp_path / f'{name}.fits', frame.astype('u2'), header)
    fits.writeto(tmp_path / 'bias.fits', np.full((128, 160), 100, 'u2'))
    return tmp_path


def run(folder, *args):
    """Correct the first frame."""
    return main(
        [
            'correct',
            str(folder / 'a.fits'),
            '--bias',
            str(folder / 'bias.fits'),
            '--device',
            'cpu',
            '--quiet',
            *args,
        ]
    )


def corner(image):
    """Return the level in the corners over that in the middle."""
    corners = np.median([image[:16, :16], image[-16:, :16], image[-16:, -16:]])
    return corners / np.median(image[56:72, 72:88])


def test_frame_becomes_even(folder):
    """Frame, header, type, report and flat."""
    out = folder / 'out'
    status = run(
        folder, '--output', str(out), '--restore-bias', '--keep-flats', '--force'
    )
    assert status == 0
    with fits.open(out / 'a.fits') as hdus:
        image, header = hdus[0].data, hdus[0].header
    assert image.dtype.newbyteorder('=') == np.uint16
    assert header['OBJECT'] == 'field'
    assert header['AFMODEL2'].startswith('flat-dust')
    assert len(header['AFMODSHA']) == 16
    before = fits.getdata(folder / 'a.fits').astype(float) - 100
    assert abs(corner(image - 100.0) - 1) < 0.5 * abs(corner(before) - 1)
    report = json.loads((out / 'a.json').read_text())
    assert report['numbers']['level'] > 1000
    assert (out / 'a.flat.fits').is_file()


def test_figure(folder, monkeypatch):
    """Drawn are the frame less its bias before and after, and the fields."""
    pytest.importorskip('matplotlib')
    from astroflat import visualization

    drawn = []
    draw = visualization.plot_comparison

    def spy(rows, **options):
        drawn.append({title: image for _, row in rows for title, image, _ in row})
        return draw(rows, **options)

    monkeypatch.setattr(visualization, 'plot_comparison', spy)
    out = folder / 'out'
    args = ['--output', str(out), '--figure', '--force', '--dtype', 'float32']
    assert run(folder, *args, '--keep-flats') == 0
    picture = (out / 'a.fields.png').read_bytes()
    assert picture.startswith(b'\x89PNG')
    before = fits.getdata(folder / 'a.fits').astype('f4') - 100
    assert np.array_equal(drawn[0]['before'], before)
    assert np.array_equal(drawn[0]['after'], fits.getdata(out / 'a.fits'))
    assert np.array_equal(drawn[0]['flat F'], fits.getdata(out / 'a.flat.fits'))
    # Nothing is written where the figure would replace another file.
    (out / 'a.fits').unlink()
    (out / 'a.json').unlink()
    assert run(folder, *args) == 1
    assert not (out / 'a.fits').exists()
    assert (out / 'a.fields.png').read_bytes() == picture


def test_own_folder_keeps_the_original(folder):
    """A file that is replaced by its own result is kept."""
    before = (folder / 'a.fits').read_bytes()
    assert run(folder, '--output', str(folder)) == 1
    assert (folder / 'a.fits').read_bytes() == before
    run(folder, '--output', str(folder), '--overwrite', '--force')
    assert (folder / 'a.fits.bak').read_bytes() == before
    assert (folder / 'a.fits').read_bytes() != before


def test_rejected_frame_is_not_written(folder):
    """Noise is no frame."""
    noise = np.random.default_rng(1).normal(0.05, 1, (128, 128)).astype('f4')
    fits.writeto(folder / 'noise.fits', noise)
    out = folder / 'out'
    args = ['correct', str(folder / 'noise.fits'), '--output', str(out), '--quiet']
    assert main([*args, '--device', 'cpu']) == 3
    assert not (out / 'noise.fits').exists()
    assert json.loads((out / 'noise.json').read_text())['verdict'] == 'reject'


def test_output_is_a_folder(folder, capsys):
    """A name of an image would become the name of a folder."""
    assert run(folder, '--output', str(folder / 'clean.fits')) == 1
    assert 'is to be a folder' in capsys.readouterr().err
    assert not (folder / 'clean.fits').exists()


def test_reports_are_checked_before(folder, capsys):
    """A report that is there, or that two frames share, stops it at the beginning."""
    out = folder / 'out'
    out.mkdir()
    (out / 'a.json').write_text('mine')
    assert run(folder, '--output', str(out)) == 1
    assert "'a.json' exists; use --overwrite" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ['a.json']
    assert (out / 'a.json').read_text() == 'mine'
    fits.writeto(folder / 'a.fit', fits.getdata(folder / 'a.fits'))
    args = ['correct', str(folder / 'a.fits'), str(folder / 'a.fit'), '--device', 'cpu']
    assert main([*args, '--output', str(folder / 'b'), '-q']) == 1
    assert 'would share one report' in capsys.readouterr().err
    assert not (folder / 'b').exists()


def test_options_of_a_flat_need_a_flat(folder, capsys):
    """Normalize belongs to a flat."""
    out = str(folder / 'out')
    assert run(folder, '--output', out, '--normalize', 'mean') == 1
    assert '--flat' in capsys.readouterr().err


def test_options_of_networks_exclude_a_flat(tmp_path, capsys):
    """An option that would do nothing is an error, not silence."""
    args = ['correct', 'a.fits', '-o', str(tmp_path / 'o'), '--flat', 'f.fits']
    assert main([*args, '--strength', '0.5', '--keep-flats']) == 1
    assert '--strength, --keep-flats would do nothing' in capsys.readouterr().err
