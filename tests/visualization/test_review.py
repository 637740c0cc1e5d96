# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the review: the state by calls, the window by matplotlib's events."""

from __future__ import annotations

from dataclasses import replace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from matplotlib.backend_bases import KeyEvent, MouseEvent

import astroflat as af
from astroflat.io import write_ser
from astroflat.pipelines import DustFlatOptions
from astroflat.visualization import Review, plot_review, review
from astroflat.visualization._image_view import crop
from astroflat.visualization._review_window import ReviewWindow

SHAPE = (96, 128)
# x, y, radius, depth of the motes; the second is too faint to be found.
DEEP, FAINT = (60, 40, 5, 0.2), (100, 70, 4, 0.004)


@pytest.fixture(autouse=True)
def _without_windows():
    """Draw in memory, and leave no figure open."""
    with mpl.rc_context({'backend': 'agg'}):
        plt.switch_backend('agg')
        yield
    plt.close('all')


def truth() -> np.ndarray:
    """Return the transmission of the dust."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    flat = np.ones(SHAPE)
    for x0, y0, radius, depth in (DEEP, FAINT):
        flat[np.hypot(x - x0, y - y0) < radius] -= depth
    return flat


@pytest.fixture(scope='module')
def solution():
    """Return a dust flat of a frame of known truth."""
    noise = np.random.default_rng(0).normal(0, 4, SHAPE)
    header = fits.Header({'OBJECT': 'Sun'})
    return af.dust_flat(
        CCDData(
            (1000 * truth() + noise).astype('f4'),
            unit='adu',
            header=header,
            uncertainty=StdDevUncertainty(np.full(SHAPE, 4, 'f4')),
        )
    )


class Driver:
    """Send events to the canvas of a window, in the pixels of the image."""

    def __init__(self, window: ReviewWindow) -> None:
        self.window = window
        self.canvas = window.figure.canvas
        # The pixels of the canvas are of no interest here, where things lie is.
        window.view.ax.apply_aspect()
        self.canvas.draw = self.canvas.draw_idle = lambda: None

    def _send(self, event) -> None:
        self.canvas.callbacks.process(event.name, event)

    def mouse(self, name: str, x: float, y: float, **options) -> None:
        """Send an event of the mouse."""
        place = self.window.view.ax.transData.transform((x, y))
        self._send(MouseEvent(name, self.canvas, *place, **options))

    def key(self, key: str, x: float = 10, y: float = 10) -> None:
        """Press a key above a place."""
        place = self.window.view.ax.transData.transform((x, y))
        self._send(KeyEvent('key_press_event', self.canvas, key, *place))

    def drag(self, *places: tuple[float, float], button: int = 1) -> None:
        """Press, move and release."""
        self.mouse('button_press_event', *places[0], button=button)
        for place in places[1:]:
            self.mouse('motion_notify_event', *place, button=button)
        self.mouse('button_release_event', *places[-1], button=button)

    def click(self, ax, share: float = 0.5) -> None:
        """Click on a control, at a share of its width."""
        box = ax.get_window_extent()
        place = (box.x0 + share * box.width, box.y0 + box.height / 2)
        for name in ('button_press_event', 'button_release_event'):
            self._send(MouseEvent(name, self.canvas, *place, button=1))

    def press(self, name: str) -> None:
        """Click on a button."""
        self.click(self.window.panel.buttons[name].ax)


@pytest.fixture
def driver(solution):
    """Open a window on the solution."""
    return Driver(ReviewWindow(Review(solution), plt.figure(figsize=(13, 8))))


# ---- the state, without a window


def test_accept_unchanged_keeps_every_bit(solution):
    """Accepting what is there changes the header and nothing else."""
    before = solution.flat.data.copy()
    state = Review(solution)
    state.accept()
    flat = state.solution.flat
    assert state.decision == 'accepted'
    assert flat.data.tobytes() == before.tobytes()
    assert np.array_equal(flat.uncertainty.array, solution.flat.uncertainty.array)
    assert flat.meta['OBJECT'] == 'Sun'
    assert flat.meta['AFREVIEW'] == 'accepted'
    assert (flat.meta['AFPAINT'], flat.meta['AFERASE']) == (0, 0)
    assert 'AFREVIEW' not in solution.flat.meta
    assert state.solution.report == solution.report


def test_redo_equals_a_dust_flat_of_the_same_mask(solution):
    """What is made again is what dust_flat makes of the edited mask."""
    state = Review(solution)
    assert not state.redo()
    state.paint(FAINT[0], FAINT[1], radius=5)
    assert state.stale
    assert state.redo()
    assert not state.stale
    whole = af.dust_flat(solution.stages['median'], mask=state.mask)
    assert np.array_equal(state.solution.flat.data, whole.flat.data)
    off = state.solution.stages['weight'] == 0
    assert (state.solution.flat.data[off] == 1).all()
    x, y = FAINT[:2]
    found = state.solution.flat.data[y - 2 : y + 3, x - 2 : x + 3].mean()
    assert found == pytest.approx(1 - FAINT[3], abs=0.002)
    assert (solution.flat.data[y - 5 : y + 6, x - 5 : x + 6] == 1).all()


def test_catalogue_follows_the_edits(solution):
    """Untouched objects keep their row, painted ones get a new one."""
    state = Review(solution)
    state.paint(FAINT[0], FAINT[1], radius=4)
    state.redo()
    old = solution.stages['detection'].catalogue
    new = state.solution.stages['detection']
    assert len(new.catalogue) == len(old) + 1
    assert new.catalogue[: len(old)]['snr'].tolist() == old['snr'].tolist()
    assert new.catalogue['x'][-1].value == pytest.approx(FAINT[0], abs=0.01)
    assert new.catalogue['area'][-1].value == 49
    assert sorted(new.catalogue['id']) == np.unique(new.labels)[1:].tolist()
    assert np.array_equal(new.labels > 0, new.mask)
    state.erase(DEEP[0], DEEP[1])
    state.redo()
    left = state.solution.stages['detection'].catalogue
    assert left['x'].value == pytest.approx([FAINT[0]], abs=0.01)


def test_erasing_everything_gives_a_flat_of_one(solution):
    """Without a mask nothing is corrected."""
    state = Review(solution)
    state.erase(DEEP[0], DEEP[1], radius=12)
    state.accept()
    assert (state.solution.flat.data == 1).all()
    assert (
        state.solution.flat.meta['AFERASE'] == solution.stages['detection'].mask.sum()
    )


def test_strength_is_linear(solution):
    """Half the strength is half the correction, shown as it is accepted."""
    state = Review(solution)
    state.strength = 0.5
    shown = state.after
    state.accept()
    flat = state.solution.flat.data
    assert flat == pytest.approx(1 + 0.5 * (solution.flat.data - 1), abs=2e-6)
    assert shown == pytest.approx(state.before / flat, rel=2e-6)
    assert flat[DEEP[1], DEEP[0]] == pytest.approx(0.9, abs=0.01)


def test_undo_takes_back_one_stroke_at_a_time(solution):
    """Undo restores the mask, as often as something was done."""
    state = Review(solution)
    masks = [state.mask]
    for x in (20, 30, 40):
        state.paint(x, 80, radius=3)
        masks.append(state.mask)
    for mask in masks[-2::-1]:
        assert state.undo()
        assert np.array_equal(state.mask, mask)
    assert not state.undo()
    assert not state.stale


def test_stroke_is_the_set_of_near_pixels(solution):
    """A stroke marks exactly the pixels within the radius of its line."""
    from astroflat.visualization._mask_edits import MaskEdits

    edits = MaskEdits(np.zeros((50, 60), bool))
    edits.stroke((10.3, 8.0), (44.0, 31.6), radius=3.2)
    y, x = np.mgrid[:50, :60]
    t = np.linspace(0, 1, 20001)
    near = [
        np.hypot(10.3 + t * 33.7 - i, 8 + t * 23.6 - j).min() <= 3.2
        for j, i in zip(y.ravel(), x.ravel(), strict=True)
    ]
    assert np.array_equal(edits.mask.ravel(), near)
    edits.stroke((-40, -40), (-30, -30), radius=3)
    edits.stroke((58, 48), (90, 90), radius=1, erase=True)
    assert np.array_equal(edits.mask.ravel(), near)


def test_reject_returns_the_first_solution(solution):
    """A rejected solution is the original, and its report says so."""
    state = Review(solution)
    state.paint(20, 20, radius=3)
    state.redo()
    state.reject()
    assert state.decision == 'rejected'
    assert np.array_equal(state.solution.flat.data, solution.flat.data)
    assert state.solution.report.verdict == 'reject'
    assert state.solution.flat.meta['AFREVIEW'] == 'rejected'


def test_sensitivity_searches_again_and_keeps_edits():
    """A new search with another sensitivity finds more; edits stay on top."""
    noise = np.random.default_rng(1).normal(0, 4, SHAPE)
    observed = 1000 * truth() + noise
    options = DustFlatOptions(detection={'sensitivity': 0.001})
    state = Review(af.dust_flat(observed, options=options))
    first = state.mask.copy()
    state.paint(20, 20, radius=2)
    state.sensitivity = 1.0
    assert state.stale
    state.redo()
    expected = af.detect_dust(observed).mask
    assert state.mask[18:23, 18:23].sum() == 13
    state.undo()
    assert np.array_equal(state.mask, expected)
    assert expected.sum() > 0
    assert first.sum() <= expected.sum()


def test_adviser_is_asked_again():
    """Redoing with nothing changed asks an adviser with the next seed."""

    class Filler:
        def __init__(self, seed=0):
            self.seed, self.stages = seed, []

        def reroll(self):
            return Filler(self.seed + 1)

        def __call__(self, image, mask):
            if not self.stages:
                self.stages.append({'seed': self.seed})
            return np.where(mask, 1000.0 + self.seed, image)

    observed = (1000 * truth()).astype('f4')
    options = DustFlatOptions(inpainter=Filler())
    state = Review(af.dust_flat(observed, options=options))
    for seed in (1, 2):
        assert state.redo()
        value = state.solution.flat.data[DEEP[1], DEEP[0]]
        assert value == pytest.approx(800 / (1000 + seed), rel=1e-6)
    state.radius = 3
    state.strength = 0.5
    state.accept()
    answers = state.solution.stages['advice']['inpainter']
    assert [answer['seed'] for answer in answers] == [0, 1, 2]


def test_edits_keep_what_an_adviser_said(solution):
    """An edited detection stays of its kind, with what it knows of its origin."""
    from astroflat.genai import GeminiDetection

    plain = solution.stages['detection']
    found = GeminiDetection(**vars(plain), provenance={'model': 'm', 'id': 'x'})
    for detection in (found, replace(found, labels=None)):
        stages = {**solution.stages, 'detection': detection}
        state = Review(replace(solution, stages=stages))
        state.paint(20, 20, radius=3)
        state.redo()
        edited = state.solution.stages['detection']
        assert edited.provenance == found.provenance
        assert edited.mask[20, 20]
        assert len(edited) == len(plain) + 1


def test_solutions_of_other_estimators():
    """Any solution can be shown on an image, weakened and accepted."""
    flat = CCDData(np.linspace(0.9, 1.1, 48).reshape(6, 8).astype('f4'), unit='')
    gradient = CCDData(np.full((6, 8), 4, 'f4'), unit='adu')
    sky = af.FlatSolution(flat, gradient=gradient, method='sky')
    with pytest.raises(ValueError, match='image is needed'):
        Review(sky)
    with pytest.raises(ValueError, match='image has the shape'):
        Review(sky, image=np.ones((6, 9)))
    state = Review(sky, image=100 * flat.data + 4)
    assert not state.editable
    assert state.mask is None
    assert state.after == pytest.approx(100, rel=1e-6)
    with pytest.raises(ValueError, match='no mask'):
        state.paint(1, 1, radius=1)
    state.strength = 0.5
    state.accept()
    assert state.solution.flat.data == pytest.approx(0.5 + flat.data / 2)
    assert (state.solution.gradient.data == 2).all()


def test_bayer_is_edited_plane_by_plane(tmp_path):
    """A Bayer mosaic is shown as one plane and made again with its colours."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:96, :128]
    dusty = np.where(np.hypot(x - 60, y - 40) < 12, 0.8, 1.0)
    colors = np.tile([[1.0, 0.5], [0.6, 0.3]], (48, 64))
    frames = rng.poisson(2500 * dusty * colors, (15, 96, 128)).astype('u2')
    write_ser(tmp_path / 'a.ser', frames, color='RGGB', bit_depth=12)
    state = Review(af.dust_flat(tmp_path / 'a.ser'))
    assert state.before.shape == state.after.shape == (48, 64)
    assert state.after[18:22, 28:32].mean() == pytest.approx(1, abs=0.01)
    state.paint(50, 10, radius=1)
    state.strength = 0.5
    state.accept()
    flat = state.solution.flat.data
    assert flat[36:44, 56:64].mean() == pytest.approx(0.9, abs=0.01)
    assert state.solution.stages['weight'][20:22, 100:102].min() == 1
    assert flat[80:, :40].tolist() == np.ones((16, 40)).tolist()


# ---- the window, by events


def test_paint_redo_accept_by_events(driver, solution):
    """A mote is painted with the mouse, the flat made again and accepted."""
    state = driver.window.review
    driver.key('p')
    driver.window.brush = 4
    x, y = FAINT[:2]
    driver.drag((x - 1, y), (x, y), (x + 1, y))
    assert state.mask[y, x - 4 : x + 5].all()
    assert driver.window.shown == 'after'
    assert 'press r' in driver.window.view.ax.get_title()
    driver.key('r')
    assert not state.stale
    assert state.solution.flat.data[y, x] != 1
    assert state.decision == 'pending'
    driver.key('a')
    assert state.decision == 'accepted'
    assert state.solution.flat.meta['AFPAINT'] == state.n_painted > 40
    assert not plt.fignum_exists(driver.window.figure.number)


def test_erase_undo_remove_by_events(driver, solution):
    """The eraser, undo and the removal of an object work on the mask."""
    state = driver.window.review
    detected = solution.stages['detection'].mask
    x, y = DEEP[:2]
    driver.press('erase')
    driver.window.brush = 1.5
    driver.drag((x, y), (x + 1, y))
    assert state.n_erased > 5
    driver.key('u')
    assert np.array_equal(state.mask, detected)
    driver.key('delete', x, y)
    assert not state.mask.any()
    driver.press('undo')
    assert np.array_equal(state.mask, detected)
    driver.key('x')
    assert state.decision == 'rejected'


def test_blink_shows_before_and_after_on_one_scale(driver, solution):
    """The artist gets both images, with the same limits; the timer toggles."""
    window = driver.window
    observed = solution.stages['median'].data
    assert np.array_equal(window.view.artist.get_array(), observed / solution.flat.data)
    limits = window.view.artist.get_clim()
    driver.key(' ')
    assert window.view.ax.get_title() == 'BEFORE'
    assert np.array_equal(window.view.artist.get_array(), observed)
    assert window.view.artist.get_clim() == limits
    driver.key('b')
    assert window.blinking
    window._timer._on_timer()
    assert window.shown == 'after'
    driver.press('blink')
    assert not window.blinking
    driver.key('f')
    assert np.array_equal(window.view.artist.get_array(), solution.flat.data)


def test_mask_overlay(driver, solution):
    """The overlay is opaque on the mask, faint on the margin, nothing off it."""
    window = driver.window
    alpha = window.view.overlay.get_array()[..., 3]
    mask, weight = solution.stages['detection'].mask, solution.stages['weight']
    assert (alpha[mask] == 0.5).all()
    assert np.allclose(alpha[(weight > 0) & ~mask], 0.22)
    assert (alpha[weight == 0] == 0).all()
    driver.key('m')
    assert not window.view.overlay.get_visible()


def test_zoom_and_pan_by_events(driver):
    """The wheel zooms about the pointer, a drag keeps the place below it."""
    ax = driver.window.view.ax
    driver.mouse('scroll_event', 40, 30, step=1)
    assert np.ptp(ax.get_xlim()) == pytest.approx(128 / 1.25)
    assert np.ptp(ax.get_ylim()) == pytest.approx(96 / 1.25)
    low = ax.get_xlim()[0]
    assert (40 - low) / (128 / 1.25) == pytest.approx(40.5 / 128)
    driver.drag((50, 50), (45, 52), button=3)
    assert ax.get_xlim()[0] == pytest.approx(low + 5)
    driver.key('left')
    assert ax.get_xlim()[0] == pytest.approx(low + 5 - 0.15 * 128 / 1.25)
    driver.key('h')
    assert ax.get_xlim() == (-0.5, 127.5)
    driver.key('-')
    assert ax.get_xlim() == (-0.5, 127.5)


def test_sliders_and_stretch_by_events(driver):
    """The sliders set what they are called, and the stretch the norm."""
    from astropy.visualization import SqrtStretch

    window, state = driver.window, driver.window.review
    sliders = window.panel.sliders
    driver.click(sliders['strength'].ax, 0.25)
    assert state.strength == pytest.approx(0.25, abs=0.01)
    assert not state.stale
    driver.click(sliders['radius'].ax, 0.4)
    assert state.radius == pytest.approx(8, abs=0.2)
    assert state.stale
    driver.click(sliders['sensitivity'].ax, 0.75)
    assert state.sensitivity == pytest.approx(10**0.5, rel=0.05)
    assert sliders['sensitivity'].valtext.get_text() == f'{state.sensitivity:.2f}'
    driver.key('s')
    assert window.view.stretch == 'sqrt'
    assert isinstance(window.view.artist.norm.stretch, SqrtStretch)
    high = window.view.limits[1]
    driver.click(window.panel.cuts.ax, 0.9)
    assert window.view.limits[1] > high
    window.panel.cuts.set_val((5.0, 5.0))
    assert window.view.limits[1] > window.view.limits[0]


def test_failures_are_shown(driver, monkeypatch):
    """An error does not close the window: it is written there."""
    state = driver.window.review

    def fail():
        msg = 'the service does not answer'
        raise RuntimeError(msg)

    monkeypatch.setattr(state, 'accept', fail)
    driver.key('enter')
    assert 'the service does not answer' in driver.window.panel._text.get_text()
    assert state.decision == 'pending'
    assert plt.fignum_exists(driver.window.figure.number)


def test_review_opens_a_window(solution, monkeypatch, tmp_path):
    """The function waits for the window and returns what was decided in it."""

    def show(*, block):
        assert block
        figure = plt.gcf()
        figure.canvas.draw()
        Driver(figure._astroflat_window).press('accept')

    monkeypatch.setattr(plt, 'show', show)
    sheet = tmp_path / 'sheet.png'
    result = review(solution, headless=False, sheet=sheet)
    assert result.decision == 'accepted'
    assert sheet.stat().st_size > 10_000


def test_notebooks_do_not_wait(solution, monkeypatch):
    """With ipympl the figure stays live and the function returns at once."""
    from astroflat.visualization import review as function

    module = __import__('sys').modules[function.__module__]
    monkeypatch.setattr(module, 'backend_name', lambda: 'module://ipympl.backend_nbagg')
    waits = []
    monkeypatch.setattr(plt, 'show', lambda *, block: waits.append(block))
    result = review(solution)
    assert waits == [False]
    assert result.decision == 'pending'
    Driver(result.figure._astroflat_window).key('a')
    assert result.decision == 'accepted'


def test_headless_writes_the_sheet(solution, tmp_path):
    """Where there is no window the contact sheet is made, and written if asked."""
    sheet = tmp_path / 'sheet.png'
    result = review(solution, sheet=sheet)
    assert result.decision == 'pending'
    assert sheet.read_bytes().startswith(b'\x89PNG')
    titles = [ax.get_title() for ax in result.figure.axes]
    assert titles[:4] == ['before', 'mask', 'after', 'flat']
    assert titles[4].startswith('disc 1, 19.9')
    with pytest.raises(FileExistsError):
        review(solution, sheet=sheet)
    review(solution, sheet=sheet, overwrite=True)


def test_sheet_of_any_solution(solution):
    """A sheet can be drawn of a solution without dust, and without motes."""
    flat = CCDData(np.ones((20, 30), 'f4'), unit='')
    figure = plot_review(af.FlatSolution(flat), image=np.ones((20, 30)))
    assert len(figure.axes) == 4
    assert len(plot_review(solution, n_motes=0).axes) == 4


def test_crop_averages_whole_blocks():
    """Large images are averaged in blocks, and lie where they are said to."""
    data = np.add.outer(np.arange(2500.0), np.arange(3001.0))
    part, extent = crop(data, (-0.5, 3000.5), (-0.5, 2499.5))
    assert part.shape == (833, 1000)
    assert extent == (-0.5, 2999.5, -0.5, 2498.5)
    assert part[0, 0] == pytest.approx(2)
    part, extent = crop(data, (99.6, 105.2), (2490, 2700))
    assert part[0].tolist() == data[2490, 100:106].tolist()
    assert extent == (99.5, 105.5, 2489.5, 2499.5)
