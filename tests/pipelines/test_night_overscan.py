# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Nights of a camera with an overscan whose level drifts."""

from __future__ import annotations

import re

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.wcs import WCS
from night_folder import GAIN, READNOISE, SHAPE, expose, flat_field, sky_scene, write

import astroflat as af
from astroflat.io.images import read_ccd
from astroflat.pipelines import run_night
from astroflat.pipelines._night_overscan import prepare
from astroflat.pipelines._night_sections import Sections, find_sections

STRIP, LIGHT = '[129:144,*]', '[1:128,3:98]'
RAW = (100, 144)


def raw_frame(light, rng, pedestal, dark=0.0):
    """Return a frame with rows beside the image, an overscan, and a pedestal."""
    full = np.zeros(RAW)
    full[2:98, :128] = light
    counts = expose(full, rng, dark=0.0).astype(int)
    rows = np.linspace(-1, 1, RAW[0])[:, None] ** 2
    return np.clip(np.rint(counts + pedestal + 6 * rows), 0, 65535).astype('u2')


def make_overscan_night(folder, *, n_bias=3, cards=True, seed=3):
    """Write a night whose pedestal is another one in every frame."""
    rng = np.random.default_rng(seed)
    flat = flat_field()
    said = {'BIASSEC': STRIP, 'TRIMSEC': LIGHT} if cards else {}
    scenes = {}
    for i in range(n_bias):
        data = raw_frame(np.zeros(SHAPE), rng, rng.uniform(0, 300))
        write(folder, f'bias_{i}.fits', data, 'Bias Frame', EXPTIME=0.0, **said)
    for i in range(5):
        data = raw_frame(flat * (20000 - 1500 * i), rng, rng.uniform(0, 300))
        cards = {'FILTER': 'R', 'EXPTIME': 2.0, **said}
        write(folder, f'flat_{i}.fits', data, 'Flat Field', **cards)
    for i in range(4):
        scene = sky_scene(rng)
        data = raw_frame(scene * flat, rng, rng.uniform(0, 300))
        cards = {'FILTER': 'R', 'EXPTIME': 60.0, 'minutes': i, **said}
        path = write(folder, f'R_{i}.fits', data, 'Light Frame', **cards)
        scenes[path.name] = scene
    return scenes


def check(output, scenes, flat_error=0.004):
    """Assert that the results are the sky, within their uncertainty if known."""
    for name, scene in scenes.items():
        ccd = read_ccd(output / name)
        assert ccd.shape == SHAPE
        assert ccd.data.dtype == np.float32
        off = np.median(ccd.data / scene - 1)
        assert abs(off) < flat_error
        if ccd.uncertainty is not None:
            chi = (ccd.data - scene) / ccd.uncertainty.array
            assert abs(np.std(chi) - 1) < 0.05


def test_cards_are_followed(tmp_path):
    """A pedestal that drifts by a third of the sky is gone; frames are trimmed."""
    scenes = make_overscan_night(tmp_path / 'raw')
    report = run_night(tmp_path / 'raw', output=tmp_path / 'out', n_workers=1)
    assert (report.n_done, report.n_failed) == (4, 0)
    check(tmp_path / 'out', scenes)
    header = fits.getheader(tmp_path / 'out' / 'R_0.fits')
    assert (header['AFOSCAN'], header['AFTRIM']) == (STRIP, LIGHT)
    assert not {'BIASSEC', 'TRIMSEC', 'DATASEC'} & set(header)
    # Two rows were cut below.
    assert WCS(header).wcs.crpix.tolist() == [64, 46]
    text = f'12 frames: overscan {STRIP} subtracted, trimmed to {LIGHT}'
    assert text in str(report)
    assert not (tmp_path / 'out' / '.night').exists()
    again = run_night(tmp_path / 'raw', output=tmp_path / 'out')
    assert (again.n_done, again.n_kept) == (0, 4)


def test_without_it_the_pedestal_stays(tmp_path):
    """The same frames as they are: the drift is an error that no flat mends."""
    scenes = make_overscan_night(tmp_path / 'raw')
    options = {'output': tmp_path / 'out', 'n_workers': 1, 'flats': 'given'}
    run_night(tmp_path / 'raw', overscan=None, trim=LIGHT, **options)
    off = [
        np.median(read_ccd(tmp_path / 'out' / name).data / scene - 1)
        for name, scene in scenes.items()
    ]
    assert np.ptp(off) > 0.05
    with pytest.raises(FileExistsError, match='other frames or with other settings'):
        run_night(tmp_path / 'raw', **options)


def test_sections_are_given(tmp_path):
    """Without cards the sections of the call are taken; they change the results."""
    scenes = make_overscan_night(tmp_path / 'raw', cards=False)
    run_night(
        tmp_path / 'raw',
        output=tmp_path / 'out',
        overscan=STRIP,
        trim=LIGHT,
        n_workers=2,
    )
    check(tmp_path / 'out', scenes)


def test_overscan_alone_is_a_zero_point(tmp_path):
    """Without any bias the overscan gives the level, and this is said."""
    scenes = make_overscan_night(tmp_path / 'raw', n_bias=0)
    report = run_night(tmp_path / 'raw', output=tmp_path / 'out', n_workers=1)
    check(tmp_path / 'out', scenes)
    assert 'neither bias nor dark: the overscan is the zero point' in str(report)
    # It tells the read noise too, and with two flats the gain.
    (gain,) = re.findall(
        r'gain ([\d.]+) e/adu, measured from two flats and the', str(report)
    )
    assert float(gain) == pytest.approx(GAIN, rel=0.03)
    (noise,) = re.findall(
        r'read noise ([\d.]+) e, measured from the overscan', str(report)
    )
    assert float(noise) == pytest.approx(READNOISE, rel=0.06)
    assert read_ccd(tmp_path / 'out' / 'R_0.fits').uncertainty is not None
    assert 'the zero point is unknown' not in str(report)


def test_bias_that_was_not_treated_alike(tmp_path):
    """A trimmed master bias is used; that its pedestal must be gone is a doubt."""
    make_overscan_night(tmp_path / 'raw', n_bias=0)
    master = np.zeros(SHAPE, 'f4')
    write(tmp_path / 'raw', 'bias.fits', master, 'Master Bias', EXPTIME=0.0)
    report = run_night(tmp_path / 'raw', dry_run=True)
    assert 'a pedestal in it would be subtracted twice' in str(report)


def test_light_with_a_wrong_card(tmp_path):
    """A light whose card makes no sense stays as it is, which is a doubt."""
    make_overscan_night(tmp_path / 'raw')
    path = tmp_path / 'raw' / 'R_1.fits'
    data = bytearray(path.read_bytes())
    at = data.index(b"BIASSEC = '[129:144,*]'")
    data[at : at + 23] = b"BIASSEC = '[129:144,x]'"
    path.write_bytes(bytes(data))
    report = run_night(tmp_path / 'raw', output=tmp_path / 'out', flats='given')
    # It is trimmed by nobody, and a group of its own.
    assert report.n_done == 4
    assert 'is no section' in str(report)


@pytest.mark.parametrize(
    ('cards', 'shape', 'expected'),
    [
        ({'BIASSEC': STRIP, 'TRIMSEC': LIGHT}, RAW, Sections(STRIP, LIGHT)),
        ({'BIASSEC': STRIP, 'DATASEC': LIGHT}, RAW, Sections(STRIP, LIGHT)),
        ({'BIASSEC': STRIP}, RAW, Sections(STRIP, '[1:128,1:100]')),
        ({'BIASSEC': '[1:16,1:100]'}, RAW, Sections('[1:16,1:100]', '[17:144,1:100]')),
        ({'BIASSEC': '[129:144]'}, RAW, Sections('[129:144]', '[1:128,1:100]')),
        ({'BIASSEC': '[  1: 16,   1: 100]'}, (90, 40), Sections()),
        ({'BIASSEC': '[*,97:100]'}, RAW, Sections('[*,97:100]', '[1:144,1:96]')),
        # Trimmed before, or never more than the image.
        ({'BIASSEC': STRIP, 'TRIMSEC': LIGHT}, SHAPE, Sections()),
        ({'TRIMSEC': '[1:128,1:96]'}, SHAPE, Sections()),
        ({'TRIMSEC': LIGHT}, RAW, Sections('', LIGHT)),
        ({}, RAW, Sections()),
    ],
)
def test_find_sections(cards, shape, expected):
    """Cards are read; those of a frame that was trimmed are left alone."""
    assert find_sections(cards, shape) == expected


@pytest.mark.parametrize(
    ('cards', 'reason'),
    [
        ({'BIASSEC': '[120:144,*]', 'TRIMSEC': LIGHT}, 'overlaps the image'),
        ({'BIASSEC': '[129:144,1:50]', 'TRIMSEC': LIGHT}, 'is shorter than the image'),
        ({'BIASSEC': '[40:44,*]'}, 'nothing says where light falls'),
        ({'BIASSEC': 'none', 'TRIMSEC': LIGHT}, 'is no section'),
        ({'BIASSEC': '[20:10,*]'}, 'is no section'),
    ],
)
def test_cards_without_sense(cards, reason):
    """Cards that cannot be followed are left, and that is a doubt."""
    found = find_sections(cards, RAW)
    assert not found
    assert reason in found.doubt


@pytest.mark.parametrize(
    ('option', 'value', 'reason'),
    [
        ('overscan', '[1:16,*,*]', 'overscan: .* is no section'),
        ('overscan', '[140:160,*]', 'overscan .* is not inside of a frame of 144'),
        ('trim', 'all', 'trim: .all. is no section'),
    ],
)
def test_wrong_arguments(option, value, reason, tmp_path):
    """A section that is none, or leads out of the frame, is refused."""
    make_overscan_night(tmp_path)
    with pytest.raises(ValueError, match=reason):
        run_night(tmp_path, **{option: value}, dry_run=True)


def test_colours_keep_their_places():
    """Cut by an odd number of rows or columns, a mosaic has another pattern."""
    rng = np.random.default_rng(2)
    level = np.tile([[100, 200], [200, 400]], (20, 30)) + 50
    data = rng.normal(level, 1)
    data[:, 50:] = rng.normal(50, 1, (40, 10))
    meta = fits.Header({'BAYERPAT': 'RGGB', 'LTV1': 0.0, 'SATURATE': 4000})
    raw = CCDData(data, unit='adu', meta=meta)
    for trim, pattern in (
        ('[1:50,1:40]', 'RGGB'),
        ('[2:49,1:40]', 'GRBG'),
        ('[1:50,2:39]', 'GBRG'),
        ('[2:49,2:39]', 'BGGR'),
    ):
        image = prepare(raw, Sections('[51:60,*]', trim))
        assert image.meta['BAYERPAT'] == pattern
        levels = {'R': 100, 'G': 200, 'B': 400}
        for place, color in zip(np.ndindex(2, 2), pattern, strict=True):
            plane = image.data[place[0] :: 2, place[1] :: 2]
            assert abs(plane.mean() - levels[color]) < 0.5
        assert image.meta['SATURATE'] == pytest.approx(3950, abs=1)
        assert image.meta['LTV1'] == 1 - int(trim[1])
    assert raw.meta['BAYERPAT'] == 'RGGB'
    np.testing.assert_array_equal(raw.data, data)


def test_command(tmp_path, capsys):
    """The command takes sections, and none."""
    from astroflat.cli import main

    make_overscan_night(tmp_path, cards=False)
    argv = ['night', str(tmp_path), '--dry-run', '--overscan', STRIP, '--trim', LIGHT]
    assert main(argv) == 0
    assert 'R: 4 x 60 s, 128 x 96 pixels' in capsys.readouterr().out
    assert main(['night', str(tmp_path), '--dry-run', '--overscan', 'none']) == 0
    assert 'R: 4 x 60 s, 144 x 100 pixels' in capsys.readouterr().out
    assert af.run_night(tmp_path, dry_run=True).dry_run
