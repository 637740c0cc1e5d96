# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Files of a night: what they are, and which belong together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from night_folder import SHAPE, write

from astroflat.pipelines._night_files import NightFile, kind_of, list_night
from astroflat.pipelines._night_groups import NightOptions
from astroflat.pipelines._night_plan import make_plan
from astroflat.pipelines._night_sets import (
    choose_flats,
    choose_offset,
    differences,
    make_sets,
)

ONES = np.ones(SHAPE, np.uint16)


def file(name, kind, *, exposure=60.0, mjd=60000.8, master=False, **settings):
    """Return a file of a camera."""
    common = {'shape': SHAPE, 'camera': 'Cam', 'binning': 1, 'temperature': -10.0}
    return NightFile(
        name, kind, 'test', common | settings, exposure, mjd, 'M 1', master, '1'
    )


@pytest.mark.parametrize(
    ('card', 'kind'),
    [
        ('Light Frame', 'light'),
        ('OBJECT', 'light'),
        ('science', 'light'),
        ('SKY', 'light'),
        ('Bias Frame', 'bias'),
        ('zero', 'bias'),
        ('Dark Frame', 'dark'),
        ('DARKFLAT', 'dark'),
        ('Flat Field', 'flat'),
        ('sky flat', 'flat'),
        ('Twilight', 'flat'),
        ('domeflat', 'flat'),
        ('focus', 'other'),
    ],
)
def test_kinds_by_card(card, kind):
    """The words of many programs are understood, in any case."""
    found, why = kind_of({'IMAGETYP': card}, 'x.fits', 10.0)
    assert (found, why) == (kind, f'IMAGETYP = {card}')
    assert kind_of({'OBSTYPE': card.upper()}, 'x.fits', 10.0)[0] == kind


def test_guesses_are_said():
    """Without a card, names, folders and exposures tell, and the reason says so."""
    cases = [
        ('flat_R_1.fits', 2.0, 'flat', 'guessed from its name'),
        ('darks/0001.fits', 2.0, 'dark', 'guessed from its folder, darks'),
        ('0001.fits', 0.0, 'bias', 'guessed from its exposure of 0 s'),
        ('0001.fits', 30.0, 'light', 'guessed, as nothing says otherwise'),
    ]
    for name, exposure, kind, why in cases:
        found, said = kind_of({}, name, exposure)
        assert found == kind
        assert why in said
    assert kind_of({'PICTTYPE': 4}, 'x.fits', 1.0) == ('flat', 'PICTTYPE = 4')
    said = kind_of({'IMAGETYP': 'qwerty'}, 'flat.fits', 1.0)[1]
    assert said.startswith('IMAGETYP = qwerty; guessed')


def test_listing(tmp_path):
    """Folders are looked into; results, truth, cubes and damage are not used."""
    write(tmp_path, 'lights/a.fits', ONES, 'Light Frame', EXPTIME=30.0, FILTER='R')
    write(tmp_path, 'b.fit', ONES, None, EXPTIME=0.0)
    write(tmp_path, 'cube.fits', np.ones((2, *SHAPE)), 'Light Frame')
    write(tmp_path, 'done.fits', ONES, 'Light Frame', AFMETH='night')
    write(tmp_path, 'truth/flat.fits', ONES, None)
    write(tmp_path, '.hidden/flat.fits', ONES, 'Flat Field')
    write(tmp_path, 'old/c.fits', ONES, 'Light Frame')
    (tmp_path / 'old' / 'night.json').write_text('{}')
    write(tmp_path, 'out/d.fits', ONES, 'Light Frame')
    cut = write(tmp_path, 'cut.fits', ONES, 'Light Frame')
    cut.write_bytes(cut.read_bytes()[:9000])
    (tmp_path / 'text.fits').write_text('no FITS at all')
    packed = fits.CompImageHDU(ONES, fits.Header({'IMAGETYP': 'FLAT', 'FILTER': 'R'}))
    packed.writeto(tmp_path / 'packed.fits.fz')

    files = {f.name: f for f in list_night(tmp_path, leave=tmp_path / 'out')}
    kinds = {name: f.kind for name, f in files.items()}
    assert kinds == {
        'lights/a.fits': 'light',
        'b.fit': 'bias',
        'cube.fits': 'other',
        'done.fits': 'other',
        'cut.fits': 'damaged',
        'text.fits': 'damaged',
        'packed.fits.fz': 'flat',
    }
    light = files['lights/a.fits']
    assert light.settings == {
        'shape': list(SHAPE),
        'camera': 'Cam',
        'filter': 'R',
        'binning': 1,
        'temperature': -10.0,
    }
    assert (light.exposure, light.target) == (30.0, '')
    assert light.mjd == pytest.approx(60735.8333333, abs=1e-6)
    assert 'bytes are missing' in files['cut.fits'].why
    assert files['packed.fits.fz'].settings['shape'] == list(SHAPE)
    flat_only = list_night(tmp_path, recursive=False, leave=tmp_path / 'out')
    assert 'lights/a.fits' not in {f.name for f in flat_only}
    with pytest.raises(NotADirectoryError, match='no folder'):
        list_night(tmp_path / 'nowhere', leave=tmp_path)


def test_links_do_not_multiply(tmp_path):
    """A link to a folder above or beside gives no file a second name."""
    write(tmp_path, 'lights/a.fits', ONES, 'Light Frame')
    try:
        (tmp_path / 'lights' / 'up').symlink_to('..', target_is_directory=True)
        (tmp_path / 'a_link').symlink_to('lights', target_is_directory=True)
    except OSError:
        pytest.skip('no links here')
    files = list_night(tmp_path, leave=tmp_path / 'out')
    assert [f.name for f in files] == ['lights/a.fits']


def test_folder_above(tmp_path, monkeypatch):
    """The folder itself may have any name, ``..`` too."""
    write(tmp_path, 'truth/a.fits', ONES, 'Light Frame')
    (tmp_path / 'truth' / 'inside').mkdir()
    monkeypatch.chdir(tmp_path / 'truth' / 'inside')
    for folder in ('..', tmp_path / 'truth'):
        files = list_night(Path(folder), leave=tmp_path / 'out')
        assert [f.name for f in files] == ['a.fits']


def test_sets():
    """Darks part by exposure, flats by filter and night, bias by neither."""
    files = [
        file('b1', 'bias', exposure=0.0, filter='R', mjd=60000.1),
        file('b2', 'bias', exposure=0.0, filter='B', mjd=60001.8),
        file('d1', 'dark', exposure=60.0),
        file('d2', 'dark', exposure=30.0),
        file('f1', 'flat', exposure=1.0, filter='R', temperature=-10.0),
        file('f2', 'flat', exposure=3.0, filter='R', temperature=5.0),
        file('f3', 'flat', exposure=3.0, filter='R', mjd=59970.8),
        file('f4', 'flat', exposure=3.0, filter='B'),
    ]
    names = {
        kind: sorted([f.name for f in s.files] for s in make_sets(kind, files))
        for kind in ('bias', 'dark', 'flat')
    }
    assert names == {
        'bias': [['b1', 'b2']],
        'dark': [['d1'], ['d2']],
        'flat': [['f1', 'f2'], ['f3'], ['f4']],
    }


def test_masters_step_back():
    """Combined frames are used only where there are no single ones; the newest."""
    old = file('m1', 'bias', master=True, mjd=60000.0)
    new = file('m2', 'bias', master=True, mjd=60001.0)
    (one,) = make_sets('bias', [file('b', 'bias'), old])
    assert [f.name for f in one.files] == ['b']
    (one,) = make_sets('bias', [new, old])
    assert [f.name for f in one.files] == ['m2']


def test_offset_choice():
    """The same exposure, else a scaled dark with a bias, else the bias, else none."""
    bias = make_sets('bias', [file('b1', 'bias', exposure=0.0)])
    darks = make_sets(
        'dark',
        [
            file('d60', 'dark', exposure=60.0),
            file('d300', 'dark', exposure=300.0),
            file('warm', 'dark', exposure=120.0, temperature=10.0),
        ],
    )
    light = file('l', 'light').settings

    def chosen(exposure, biases=bias, settings=light):
        offset = choose_offset(settings, exposure, 60000.8, biases, darks)
        dark = offset.dark and offset.dark.files[0].name
        return offset.bias is not None, dark, offset.scale

    assert chosen(60.4) == (False, 'd60', 1.0)
    assert chosen(90.0) == (True, 'd300', 0.3)
    assert chosen(120.0) == (True, 'd300', 0.4)
    assert chosen(600.0) == (True, 'd300', 2.0)
    # More than five times: more noise than help.
    assert chosen(1600.0) == (True, None, 1.0)
    assert chosen(90.0, biases=[]) == (False, None, 1.0)
    assert chosen(60.0, settings=light | {'binning': 2}) == (False, None, 1.0)
    nothing = choose_offset(light, 90.0, None, [], [])
    assert 'zero point is unknown' in nothing.doubts[0]
    scaled = choose_offset(light, 1200.0, None, bias, darks)
    assert 'scaled by 4' in scaled.doubts[0]


def test_flat_choice():
    """The right filter before the right angle, before the nearest night."""
    light = make_sets('light', [file('l', 'light', filter='R', rotator=359.8)])[0]
    flats = [
        file('far', 'flat', filter='R', rotator=0.2, mjd=59970.8),
        file('near', 'flat', filter='R', rotator=0.2, mjd=60000.7),
        file('turned', 'flat', filter='R', rotator=90.0),
        file('blue', 'flat', filter='B', rotator=0.2),
        file('binned', 'flat', filter='R', rotator=0.2, binning=2),
    ]
    for names, wanted in [
        (('far', 'near', 'turned', 'blue', 'binned'), ('near', [], 0.1)),
        (('far', 'turned'), ('far', [], 30.0)),
        (('turned', 'blue'), ('turned', ['rotator'], 0.0)),
        (('blue', 'binned'), ('blue', ['filter'], 0.0)),
    ]:
        sets = make_sets('flat', [f for f in flats if f.name in names])
        found, wrong, days = choose_flats(light, sets)
        assert found.files[0].name == wanted[0]
        assert wrong == wanted[1]
        assert days == pytest.approx(wanted[2], abs=1e-6)
    sets = make_sets('flat', flats[4:])
    assert choose_flats(light, sets) == (None, [], None)


def test_differences():
    """What one side does not tell is no difference; 1 and '1.0' are the same."""
    a = {'gain': 1, 'rotator': 359.5, 'filter': 'r '}
    b = {'gain': '1.0', 'rotator': 0.2, 'filter': 'R', 'camera': 'X'}
    assert differences(a, b, ('gain', 'rotator', 'filter', 'camera')) == []
    assert differences(a, {'rotator': 2.0}, ('rotator',)) == ['rotator']


def test_plan_says_what_is_doubtful():
    """Stale flats, other filters, and a night without anything are told."""
    files = [
        file('l1', 'light', filter='R'),
        file('l2', 'light', filter='R', exposure=30.0),
        file('f', 'flat', filter='B', mjd=59940.8),
    ]
    plan = make_plan(files, NightOptions())
    (group,) = plan.groups
    text = ' '.join(group.doubts)
    assert 'stale: 60 days' in text
    assert 'differ in filter: B and R' in text
    assert 'zero point is unknown' in text
    assert 'no uncertainties' in text
    assert sorted(group.offsets) == [30.0, 60.0]
    with pytest.raises(ValueError, match='no lights, but 1 flat'):
        make_plan(files[2:], NightOptions())
    with pytest.raises(ValueError, match='compressed and not'):
        make_plan([file('a.fits', 'light'), file('a.fits.gz', 'light')], NightOptions())


def test_sample_is_spread():
    """Of many lights an even sample decides, the same every time."""
    files = [file(f'{i:03d}', 'light', mjd=60000 + i / 1e3) for i in range(100)]
    (group,) = make_plan(files, NightOptions(sample=10)).groups
    assert [f.name for f in group.sample] == [f'{i:03d}' for i in range(0, 100, 10)]
