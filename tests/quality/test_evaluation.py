# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of reports that join the measures, and of their pages and figures."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys

import numpy as np
import pytest
from astropy.nddata import CCDData
from astropy.table import Table
from scipy.ndimage import gaussian_filter

from astroflat import FlatSolution
from astroflat.quality import (
    Evaluation,
    QualityReport,
    evaluate_flat,
    evaluate_frames,
    evaluate_image,
    flat_residual,
    image_metrics,
    inject_audit,
    match_sources,
    stack_flatness,
)
from astroflat.quality._inject import add_star, star_profile

SHAPE = (200, 240)


def true_flat():
    """Return a vignette with dust."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    flat = 1 - 0.3 * ((x - 120) ** 2 + (y - 100) ** 2) / 120**2
    return flat * (1 - 0.05 * (np.hypot(x - 80, y - 90) < 12))


def images(noise=6.0):
    """Return a true sky of stars and a noisy image."""
    truth = np.full(SHAPE, 300.0)
    rng = np.random.default_rng(0)
    for y in range(20, 190, 30):
        for x in range(20, 230, 30):
            star = star_profile(None, 3.0, (y + rng.uniform(), x + rng.uniform()))
            add_star(truth, *star, 10 ** rng.uniform(2.7, 4.2))
    return truth, truth + rng.normal(0, noise, SHAPE)


def night(flat):
    """Return dithered frames through a flat, and their offsets."""
    rng = np.random.default_rng(1)
    offsets = rng.uniform(-15, 15, (5, 2))
    places = rng.uniform(25, np.array(SHAPE) - 25, (25, 2))
    frames = np.full((5, *SHAPE), 200.0)
    for frame, offset in zip(frames, offsets, strict=True):
        for place in places:
            add_star(frame, *star_profile(None, 3.0, tuple(place + offset)), 3e4)
    return frames * flat + rng.normal(0, 2, frames.shape), offsets


def test_flat_against_doing_nothing():
    """The right flat is accepted in any scale, its inverse rejected."""
    truth = true_flat()
    good = evaluate_flat(3 * truth, truth).report
    assert good.verdict == 'accept'
    assert good.numbers['error_ratio'] == pytest.approx(0, abs=1e-9)
    same = flat_residual(1.0, truth)
    assert good.numbers['nothing_dust_percent'] == same['dust_percent']
    nothing = evaluate_flat(1.0, truth).report
    assert nothing.verdict == 'accept'
    assert nothing.numbers['error_ratio'] == 1
    assert evaluate_flat(1 / truth, truth).report.verdict == 'reject'
    solution = FlatSolution(CCDData(truth.astype('f4'), unit=''))
    assert evaluate_flat(solution, truth).report.verdict == 'accept'


def test_a_flat_that_trades_dust_for_noise_is_weak():
    """A smaller total does not hide a part that got worse."""
    truth = true_flat()
    noisy = truth * np.random.default_rng(0).normal(1, 0.01, SHAPE)
    report = evaluate_flat(noisy, truth).report
    assert report.numbers['error_ratio'] < 0.2
    assert report.verdict == 'weak'
    assert report.reasons[0].startswith('the pixel error grows')


def test_where_there_is_nothing_to_correct():
    """On an even truth the best flat is 1, and an invented one is rejected."""
    even = np.ones(SHAPE)
    assert evaluate_flat(1.0, even).report.verdict == 'accept'
    assert evaluate_flat(even + 1e-5, even).report.verdict == 'accept'
    assert evaluate_flat(true_flat(), even).report.verdict == 'reject'


def test_image_report_joins_the_measures():
    """The numbers are those of the single measures."""
    truth, noisy = images()
    result = 0.5 * (truth + noisy)
    evaluation = evaluate_image(result, truth, before=noisy)
    numbers = evaluation.report.numbers
    assert numbers['rmse'] == image_metrics(result, truth)['rmse']
    noise = numbers['harm_noise_before']
    match = match_sources(result, truth, noise=noise)
    assert numbers['completeness'] == match.completeness
    assert numbers['psnr_gain_db'] == pytest.approx(20 * np.log10(2))
    assert evaluation.report.verdict == 'accept', evaluation.report.reasons
    assert len(evaluation.tables['Sources']) == len(match.to_table())


def test_doing_nothing_gains_nothing():
    """An image that was not processed has the gain 0 in every measure."""
    truth, noisy = images()
    numbers = evaluate_image(noisy, truth, before=noisy).report.numbers
    assert numbers['psnr_gain_db'] == numbers['ssim_gain'] == 0
    assert numbers['average_precision'] == numbers['average_precision_before']
    assert numbers['harm_gain_percent'] == 0
    worse = evaluate_image(gaussian_filter(noisy, 1.5), truth, before=noisy)
    assert worse.report.verdict == 'reject'


def test_image_without_before_or_in_colour():
    """Without the image before there is no verdict; colours are averaged."""
    truth, noisy = images()
    report = evaluate_image(noisy, truth).report
    assert report.verdict == 'accept'
    assert not any(name.startswith('harm') for name in report.numbers)
    colour = np.stack([noisy] * 3, axis=-1)
    other = evaluate_image(colour, np.stack([truth] * 3, axis=-1)).report
    assert other.numbers['completeness'] == report.numbers['completeness']
    table = Table({'x': [20.5], 'y': [20.5], 'flux': [1e4]})
    assert (
        'completeness' in evaluate_image(noisy, truth, catalogue=table).report.numbers
    )


def test_frames_with_and_without_the_flat():
    """The right flat helps stack and photometry; its inverse is rejected."""
    flat = true_flat()
    frames, offsets = night(flat)
    good = evaluate_frames(flat, frames, truth=flat, offsets=offsets, gain=5.0)
    numbers = good.report.numbers
    assert good.report.verdict == 'accept'
    assert numbers['flatness_ratio'] < 0.1
    assert abs(numbers['vign_slope']) < 0.1 < numbers['nothing_vign_slope']
    assert numbers['flatness_mmag'] < 0.2 * numbers['nothing_flatness_mmag']
    assert numbers['n_stars'] == numbers['nothing_n_stars']
    direct = stack_flatness(frames, flat, flat=flat, border=20, box=25)
    assert numbers['bkg_mad'] == pytest.approx(direct['bkg_mad'])
    bad = evaluate_frames(2 - flat, frames, offsets=offsets, gain=5.0).report
    assert bad.verdict == 'reject'
    assert any('uneven' in reason for reason in bad.reasons)
    assert any('photometry' in reason for reason in bad.reasons)
    ramp = np.linspace(0, 80, SHAPE[1]) * np.ones(SHAPE)
    tilted = evaluate_frames(flat, frames + ramp, gradient=ramp, offsets=offsets)
    assert tilted.report.numbers['bkg_mad'] == pytest.approx(
        numbers['bkg_mad'], rel=0.05
    )


def test_frames_without_stars():
    """The stack is judged, and the report says why the photometry is not."""
    flat = true_flat()
    frames = 500 * flat + np.random.default_rng(0).normal(0, 2, (3, *SHAPE))
    in_counts = CCDData(2e4 * flat, unit='adu')
    evaluation = evaluate_frames(in_counts, frames)
    assert evaluation.report.verdict == 'accept'
    assert 'aligned' in evaluation.report.numbers['photometry']
    assert evaluation.figures() == {}


def test_figures_are_drawn_when_asked_for():
    """Making a report does not import matplotlib; drawing does."""
    code = (
        'import sys, numpy as np\n'
        'from astroflat.quality import evaluate_flat\n'
        'truth = np.linspace(0.9, 1.1, 64) * np.ones((64, 1))\n'
        'evaluation = evaluate_flat(truth, truth)\n'
        'assert "matplotlib" not in sys.modules\n'
        'assert len(evaluation.figures()) == 1\n'
        'assert "matplotlib.figure" in sys.modules\n'
        'assert "matplotlib.pyplot" not in sys.modules\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


def test_page_holds_everything(tmp_path):
    """Figures, numbers and tables are in one file without links or scripts."""
    truth, noisy = images()
    evaluation = evaluate_image(0.5 * (truth + noisy), truth, before=noisy)
    evaluation.write_html(tmp_path / 'page.html')
    page = (tmp_path / 'page.html').read_text(encoding='utf-8')
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == len(evaluation.plots) == 3
    assert all(base64.b64decode(p).startswith(b'\x89PNG') for p in pictures)
    text = re.sub(r'base64,[^"]+', '', page)
    assert not re.search(r'<script|http|href|<link', text)
    assert page.count('<table>') == 2
    assert 'psnr_gain_db' in page
    with pytest.raises(FileExistsError):
        evaluation.write_html(tmp_path / 'page.html', figures=False)
    evaluation.write_html(tmp_path / 'page.html', figures=False, overwrite=True)
    assert '<img' not in (tmp_path / 'page.html').read_text(encoding='utf-8')


def test_page_escapes_text():
    """Nothing of a name, a reason, a caption or a table becomes markup."""
    evil = '<b onclick="x">&'
    report = QualityReport(evil, {evil: evil, 'n': 1.23456789}, {}, 'weak', [evil])
    page = report.to_html(tables={evil: [{evil: evil, 'b': None}]})
    assert '<b' not in page.replace('<body>', '')
    assert page.count('&lt;b onclick=') >= 6
    assert '1.235' in page
    assert '1.23456789' in page
    assert '>weak<' in page


def test_page_of_many_rows_and_odd_figures():
    """A long table is cut with a note; only figures and PNG are figures."""
    report = QualityReport('many')
    page = report.to_html(tables={'t': Table({'i': np.arange(400)})})
    assert 'and 100 more rows' in page
    png = b'\x89PNG\r\n\x1a\nrest'
    assert base64.b64encode(png).decode() in report.to_html(figures={'p': png})
    with pytest.raises(ValueError, match='PNG'):
        report.to_html(figures={'p': b'GIF89a'})
    with pytest.raises(TypeError, match='str'):
        report.to_html(figures={'p': 'plot.png'})
    assert report.to_html(tables={'empty': []}).count('<section>') == 0


def test_figure_of_a_dark_style():
    """A page keeps the ground of a figure: light text stays readable."""
    from matplotlib.figure import Figure
    from PIL import Image

    from astroflat._report_html import _png

    figure = Figure(figsize=(1, 1), facecolor='black')
    with Image.open(io.BytesIO(_png(figure))) as image:
        assert image.convert('RGB').getpixel((0, 0)) == (0, 0, 0)


def test_merged_reports():
    """The worst verdict wins, and names tell where numbers come from."""
    good = QualityReport('a', {'n': 1}, {'limit': 2})
    bad = good.check(False, 'reject', 'broken')
    merged = QualityReport.merge('both', {'x': good, 'y': bad})
    assert merged.verdict == 'reject'
    assert merged.reasons == ['y: broken']
    assert merged.numbers == {'x_n': 1, 'y_n': 1}
    assert merged.thresholds == {'x_limit': 2, 'y_limit': 2}
    assert QualityReport.merge('none', {}).verdict == 'accept'


def test_every_figure_can_be_drawn(tmp_path):
    """Figures of small results render to files."""
    from astroflat import visualization as vis

    truth, noisy = images()
    flat = true_flat()
    frames, offsets = night(flat)
    audit = inject_audit(lambda image: image, noisy, n=2, snr=(5, 20))
    evaluation = evaluate_frames(flat, frames, offsets=offsets)
    figures = {
        'flat': vis.plot_flat_residual(1.0, flat),
        'image': vis.plot_image_residual(noisy, truth),
        'audit': vis.plot_injection_audit(audit),
        **evaluation.figures(),
        **evaluate_image(noisy, truth).figures(),
    }
    for i, figure in enumerate(figures.values()):
        vis.save_figure(figure, tmp_path / f'{i}.png', dpi=40)
    assert len(list(tmp_path.iterdir())) == 7


def test_evaluation_of_nothing(tmp_path):
    """An evaluation without figures and tables is a page of its report."""
    Evaluation(QualityReport('empty')).write_html(tmp_path / 'empty.html')
    assert 'empty' in (tmp_path / 'empty.html').read_text(encoding='utf-8')
