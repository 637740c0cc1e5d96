# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the wizard: answers in, a flat and its previews out."""

from __future__ import annotations

import builtins
import json
import os
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from matplotlib.backend_bases import KeyEvent

import astroflat as af
from astroflat import visualization
from astroflat.cli import dustflat, main
from astroflat.cli._wizard import Wizard
from astroflat.io import read_image, write_image
from astroflat.pipelines import DustFlatOptions
from astroflat.pipelines._dust_steps import DustSteps

SHAPE = (96, 128)
# A mote that is found, at (x, y), and one that is not.
DEEP, FAINT = (60, 40), (100, 70)


@pytest.fixture(autouse=True)
def _without_windows():
    """Draw in memory, and leave no figure open."""
    plt.switch_backend('agg')
    yield
    plt.close('all')


@pytest.fixture(scope='module')
def image(tmp_path_factory):
    """Write a median with a mote of 20 %, and one of 0.4 %."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    flat = np.where(np.hypot(x - DEEP[0], y - DEEP[1]) < 5, 0.8, 1.0)
    flat[np.hypot(x - FAINT[0], y - FAINT[1]) < 4] = 0.996
    noise = np.random.default_rng(0).normal(0, 4, SHAPE)
    path = tmp_path_factory.mktemp('wizard') / 'median.fits'
    write_image((1000 * flat + noise).astype('f4'), path)
    return path


@pytest.fixture
def wizard(image, tmp_path, monkeypatch):
    """Return a function that runs the command with answers."""
    out = tmp_path / 'flat.fits'

    def run(*answers, options=('--no-figure',), draw=False):
        left = iter(answers)
        if not draw:
            # Encoding the previews takes longer than all the rest.
            monkeypatch.setattr(visualization, 'save_figure', pretend)

        def answer(_):
            try:
                return next(left)
            except StopIteration:
                raise EOFError from None

        monkeypatch.setattr(builtins, 'input', answer)
        argv = ['dustflat', str(image), '-o', str(out), '--interactive', *options]
        return main(argv), out, list(left)

    return run


def pretend(_, path, **__):
    """Write a file in the place of a figure."""
    path.write_bytes(b'\x89PNG')


def flat_of(path):
    """Return the data of a flat."""
    return fits.getdata(path)


def test_accept_all_is_the_plain_command(wizard, image, tmp_path):
    """Accepting every stage gives the flat of the command, to the bit."""
    status, out, left = wizard(*'aaaaa', options=(), draw=True)
    assert (status, left) == (0, [])
    plain = tmp_path / 'plain.fits'
    assert main(['dustflat', str(image), '-o', str(plain), '-q', '--no-figure']) == 0
    assert np.array_equal(flat_of(out), flat_of(plain))
    header = fits.getheader(out)
    assert header['AFREVIEW'] == 'accepted'
    assert (header['AFPAINT'], header['AFERASE'], header['AFSTREN']) == (0, 0, 1)
    report = json.loads((tmp_path / 'flat.json').read_text())
    assert report == json.loads((tmp_path / 'plain.json').read_text())
    for stage in ('detect', 'mask', 'fill', 'match', 'flat'):
        assert (tmp_path / f'flat.{stage}.png').stat().st_size > 5000
    assert (tmp_path / 'flat.png').stat().st_size > 5000


def test_settings_at_every_stage(wizard, image):
    """Settings change the flat as the same settings of dust_flat do."""
    status, out, _ = wizard(
        'sensitivity=2 polarity=dark',
        'a',
        'margin=3 feather=1',
        'a',
        'inpainter=biharmonic',
        'a',
        'match=linear',
        'a',
        'a',
    )
    assert status == 0
    options = DustFlatOptions(
        detection={'sensitivity': 2.0, 'polarity': 'dark'},
        margin=3.0,
        feather=1.0,
        inpainter='biharmonic',
        match='linear',
    )
    expected = af.dust_flat(image, options=options)
    assert np.array_equal(flat_of(out), expected.flat.data)


def test_paint_erase_and_the_mask_that_is_written(wizard, image, tmp_path, capsys):
    """The mask is edited by numbers, and written so that it can be used again."""
    x, y = FAINT
    status, out, _ = wizard(
        f'paint {x} {y} 5',
        'paint 20 20 3',
        'undo',
        f'erase {DEEP[0]} {DEEP[1]}',
        *'aaaaa',
    )
    assert status == 0
    data = flat_of(out)
    assert data[y - 2 : y + 3, x - 2 : x + 3].mean() == pytest.approx(0.996, abs=2e-3)
    assert (data[30:50, 50:70] == 1).all()
    assert (data[15:25, 15:25] == 1).all()
    header = fits.getheader(out)
    assert header['AFPAINT'] == 81
    assert header['AFERASE'] > 60
    assert '81 pixels painted' in capsys.readouterr().out
    mask = read_image(tmp_path / 'flat.mask.fits').data
    assert mask.sum() == 81
    again = tmp_path / 'again.fits'
    argv = ['--mask', str(tmp_path / 'flat.mask.fits'), '-q', '--no-figure']
    assert main(['dustflat', str(image), '-o', str(again), *argv]) == 0
    assert np.array_equal(flat_of(again), data)


def test_back_strength_and_mistakes(wizard, capsys):
    """Wrong answers change nothing, and one can go back."""
    status, out, _ = wizard(
        '?',
        'nonsense',
        'r',
        'sensitivity=-1',
        'sensitivity=much',
        'margin=3',
        'paint 1',
        'paint a b c',
        'erase 1 1',
        'undo',
        'e',
        *'aaba',
        'inpainter=magic',
        *'aa',
        'strength=7',
        'strength=0.5',
        'a',
    )
    assert status == 0
    said = capsys.readouterr().out
    for text in (
        'NAME=VALUE change a setting',
        'it would come out the same; change sensitivity=, min_depth=',
        'sensitivity must be positive, not -1.0',
        "sensitivity must be a number, not 'much'",
        "'margin' is no setting of this stage",
        'write paint X Y RADIUS',
        'there is no object',
        'nothing to undo',
        'there is no window',
        'inpainter must be one of gp, polynomial',
        'strength must be from 0 to 1, not 7',
    ):
        assert text in said, text
    assert flat_of(out)[DEEP[1], DEEP[0]] == pytest.approx(0.9, abs=0.01)
    assert fits.getheader(out)['AFSTREN'] == 0.5


def test_leaving_writes_no_flat(wizard, tmp_path, capsys):
    """Leaving, and answers that end, write neither flat nor report."""
    status, _, _ = wizard('a', 'q')
    assert status == 1
    assert 'left without writing' in capsys.readouterr().out
    status, _, _ = wizard('a', options=['--overwrite'])
    assert status == 1
    assert 'no answer at the stage mask' in capsys.readouterr().err
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {'flat.detect.png', 'flat.mask.png'}


def test_refusals(wizard, tmp_path, capsys):
    """Existing files and a dry run are refused before anything is computed."""
    (tmp_path / 'flat.fill.png').write_bytes(b'mine')
    status, _, left = wizard('a')
    assert (status, left) == (1, ['a'])
    assert 'flat.fill.png' in capsys.readouterr().err
    assert (tmp_path / 'flat.fill.png').read_bytes() == b'mine'
    options = ['--dry-run', '--detector', 'gemini', '--overwrite']
    status, _, _ = wizard('a', options=options)
    assert status == 1
    assert 'exclude each other' in capsys.readouterr().err


def test_window(wizard, monkeypatch, tmp_path):
    """With a window the previews are shown there, and the mask edited there."""
    shown = []

    def show(*, block):
        window = getattr(plt.gcf(), '_astroflat_window', None)
        shown.append((plt.gcf().get_label(), block))
        if window is None:
            return
        canvas = window.figure.canvas
        canvas.draw = canvas.draw_idle = lambda: None
        window.view.ax.apply_aspect()
        place = window.view.ax.transData.transform(DEEP)
        for key in ('delete', 'r', 'a'):
            event = KeyEvent('key_press_event', canvas, key, *place)
            canvas.callbacks.process(event.name, event)

    monkeypatch.setattr(dustflat, '_has_window', lambda: True)
    monkeypatch.setattr(plt, 'show', show)
    monkeypatch.setattr(plt, 'pause', lambda _: None)
    status, out, _ = wizard('e', *'aaaaa')
    assert status == 0
    assert shown[:2] == [('astroflat dustflat', False), ('astroflat review', True)]
    assert len(shown) == 7
    assert (flat_of(out) == 1).all()
    assert fits.getheader(out)['AFERASE'] > 60
    assert not list(tmp_path.glob('flat.*.png'))


def test_redo_asks_an_adviser_again(image):
    """Redoing asks for another answer, and all answers are kept."""

    class Filler:
        def __init__(self, seed=0):
            self.seed, self.stages = seed, []

        def reroll(self):
            return Filler(self.seed + 1)

        def __call__(self, data, mask):
            if not self.stages:
                self.stages.append(self.seed)
            return np.where(mask, 1000.0 + self.seed, data)

    class Answers:
        window = False
        left = iter('aarraaa')

        def show(self, stage, wizard):
            """Show nothing."""

        def ask(self, _):
            return next(self.left)

    steps = DustSteps(
        CCDData.read(image, unit='adu'), 'mono', DustFlatOptions(inpainter=Filler())
    )
    solution = Wizard(steps, Answers()).run()
    assert solution.stages['advice']['inpainter'] == [0, 1, 2]
    assert solution.stages['clean'].data[DEEP[1], DEEP[0]] == 1002


def test_closed_terminal(image, tmp_path):
    """As a process without terminal and display it says what is missing."""
    argv = ['dustflat', str(image), '-o', str(tmp_path / 'f.fits'), '--interactive']
    code = 'import sys; from astroflat.cli import main; sys.exit(main(sys.argv[1:]))'
    done = subprocess.run(
        [sys.executable, '-c', code, *argv],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, 'MPLBACKEND': 'agg'},
    )
    assert done.returncode == 1
    assert 'no answer at the stage detect' in done.stderr
    assert (tmp_path / 'f.detect.png').exists()
