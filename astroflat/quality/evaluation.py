# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""All the measures that apply to a result, in one report."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._nddata import unpack
from astroflat._report import QualityReport
from astroflat.quality._flats import as_solution
from astroflat.quality.curve import DetectionCurve, detection_curve
from astroflat.quality.detection import DetectionSettings
from astroflat.quality.flatness import stack_flatness
from astroflat.quality.harm import do_no_harm
from astroflat.quality.images import image_metrics
from astroflat.quality.limits import HarmLimits, judge
from astroflat.quality.matching import SourceMatch, match_sources
from astroflat.quality.metrics import flat_residual
from astroflat.quality.pairing import open_pair
from astroflat.quality.photometry import flux_scatter
from astroflat.quality.repeatability import photometric_flatness

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from matplotlib.figure import Figure

__all__ = ['Evaluation', 'evaluate_flat', 'evaluate_frames', 'evaluate_image']

# An error of a flat that is too small to be called one, in per cent.
_NEGLIGIBLE = 0.02
_FEW_STARS = 10


@dataclass(frozen=True)
class Evaluation:
    """
    A report with the tables and the figures that belong to it.

    Parameters
    ----------
    report : QualityReport
        Numbers and verdict.

    tables : dict of `~astropy.table.Table`, optional
        Tables by their captions.

    plots : dict of callable, optional
        Functions that draw a figure, by its caption. None is called before
        it is asked for.

    Examples
    --------
    >>> from astroflat.quality import Evaluation, QualityReport
    >>> evaluation = Evaluation(QualityReport('nothing'))
    >>> evaluation.report.verdict, evaluation.figures()
    ('accept', {})
    """

    report: QualityReport
    tables: Mapping[str, Any] = field(default_factory=dict)
    plots: Mapping[str, Callable[[], Figure]] = field(default_factory=dict)

    def figures(self) -> dict[str, Figure]:
        """
        Draw the figures.

        Returns
        -------
        figures : dict of `~matplotlib.figure.Figure`
            The figures by their captions.
        """
        return {caption: draw() for caption, draw in self.plots.items()}

    def write_html(
        self,
        path: str | os.PathLike,
        *,
        figures: bool = True,
        overwrite: bool = False,
    ) -> None:
        """
        Write everything as a web page that needs no other file.

        Parameters
        ----------
        path : str or path-like
            The file.

        figures : bool, optional
            Whether to draw the figures, which needs matplotlib.

        overwrite : bool, optional
            Whether an existing file may be replaced.
        """
        self.report.write_html(
            path,
            figures=self.figures() if figures else None,
            tables=self.tables,
            overwrite=overwrite,
        )


def evaluate_flat(
    flat: Any,
    truth: Any,
    *,
    dust_mask: Any = None,
    mask: Any = None,
    border: int = 0,
    limits: HarmLimits | None = None,
) -> Evaluation:
    """
    Judge a flat by the true one, and by doing nothing.

    Parameters
    ----------
    flat : FlatSolution, CCDData, array_like or path
        The estimated flat.

    truth : CCDData, array_like or path
        The true flat.

    dust_mask, mask, border
        As in `flat_residual`.

    limits : HarmLimits, optional
        What the verdict rests on: its ``error_ratio``.

    Returns
    -------
    evaluation : Evaluation
        The numbers of `flat_residual`; the same of doing nothing as
        ``nothing_...``; and ``error_ratio``, the total over that of doing
        nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.quality import evaluate_flat
    >>> truth = np.linspace(0.8, 1.2, 64)[None] * np.ones((64, 1))
    >>> evaluate_flat(truth**0.9, truth).report.verdict
    'accept'
    >>> evaluate_flat(1 / truth, truth).report.verdict
    'reject'
    """
    from astroflat.solution import FlatSolution

    flat = flat.flat if isinstance(flat, FlatSolution) else flat
    limits = limits or HarmLimits()
    options = {'dust_mask': dust_mask, 'mask': mask, 'border': border}
    numbers = flat_residual(flat, truth, **options)
    nothing = flat_residual(1.0, truth, **options)
    numbers |= {
        f'nothing_{name}': v for name, v in nothing.items() if name.endswith('percent')
    }
    total, start = numbers['total_percent'], nothing['total_percent']
    # Where there is nothing to correct, an error is compared with what would
    # not be noticed.
    enough = start > _NEGLIGIBLE
    ratio = total / start if enough else max(1.0, total / _NEGLIGIBLE)
    numbers['error_ratio'] = ratio
    report = QualityReport('flat against truth', numbers, limits.to_dict())
    reason = 'the error is {value} times that of doing nothing (limit {limit})'
    report = judge(report, limits, 'error_ratio', ratio, reason, margin=1e-6)
    for part in ('large', 'dust', 'pixel'):
        now, was = numbers[f'{part}_percent'], nothing[f'{part}_percent']
        reason = f'the {part} error grows from {was:.3g} to {now:.3g} %'
        # A part without pixels is NaN and passes.
        report = report.check(not now > was + _NEGLIGIBLE, 'weak', reason)
    plots = {'Flat against truth': partial(_draw, 'plot_flat_residual', flat, truth)}
    return Evaluation(report, {}, plots)


def evaluate_image(
    image: Any,
    truth: Any,
    *,
    before: Any = None,
    catalogue: Any = None,
    settings: DetectionSettings | None = None,
    peak: float | None = None,
    mask: Any = None,
    limits: HarmLimits | None = None,
) -> Evaluation:
    """
    Judge an image by the true one: pixels, fluxes, detection.

    Parameters
    ----------
    image : CCDData, array_like or path
        The image to judge. Sources of a colour image are looked for in the
        mean of its planes.

    truth : CCDData, array_like or path
        What it should be.

    before : CCDData, array_like or path, optional
        The image before it was processed. With it the gains are measured,
        the thresholds refer to its noise, and `do_no_harm` decides.

    catalogue : `~astropy.table.Table`, optional
        The true sources, with ``x``, ``y`` and ``flux``; by default those
        that are found in the truth.

    settings : DetectionSettings, optional
        How sources are found.

    peak : float, optional
        The signal that PSNR and SSIM refer to.

    mask : array_like of bool, optional
        True marks pixels to leave out.

    limits : HarmLimits, optional
        What the verdict rests on.

    Returns
    -------
    evaluation : Evaluation
        The numbers of `image_metrics`, of the match with the truth, of
        `flux_scatter`, the average precision and the best F1, and those of
        `do_no_harm` as ``harm_...``. Tables of the sources and of the
        detection curve.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.quality import evaluate_image
    >>> y, x = np.mgrid[:64, :64]
    >>> truth = 100 + 80 * np.exp(-((x - 30) ** 2 + (y - 20) ** 2) / 3.4)
    >>> noisy = truth + np.random.default_rng(0).normal(0, 2, (64, 64))
    >>> evaluation = evaluate_image((truth + noisy) / 2, truth, before=noisy)
    >>> evaluation.report.verdict
    'accept'
    >>> round(evaluation.report.numbers['psnr_gain_db'], 1)
    6.0
    """
    settings = settings or DetectionSettings()
    numbers = image_metrics(image, truth, peak=peak, mask=mask, before=before)
    mono, true = _mono(image, 'image'), _mono(truth, 'truth')
    start = None if before is None else _mono(before, 'before')
    noise = open_pair(mono if start is None else start, true, settings, None, mask)[3]
    options = {'settings': settings, 'noise': noise, 'mask': mask}
    reference = true if catalogue is None else catalogue
    match = match_sources(mono, reference, **options)
    numbers |= match.scores()
    numbers |= flux_scatter(match, free_scale=catalogue is not None)
    images = {'result': mono} if start is None else {'before': start, 'result': mono}
    curves = {}
    if noise > 0:
        curves = {
            k: detection_curve(v, reference, **options) for k, v in images.items()
        }
    for name, curve in curves.items():
        suffix = '' if name == 'result' else f'_{name}'
        numbers[f'average_precision{suffix}'] = curve.average_precision
        numbers[f'best_f1{suffix}'] = float(curve.best['f1'])
    report = QualityReport('image against truth', numbers)
    if start is not None:
        harm = do_no_harm(start, mono, truth=true, limits=limits, **options)
        numbers |= {f'harm_{name}': v for name, v in harm.numbers.items()}
        report = replace(harm, method=report.method, numbers=numbers)
    return _with_sources(report, match, curves, (mono, true, start))


def _with_sources(
    report: QualityReport,
    match: SourceMatch,
    curves: dict[str, DetectionCurve],
    images: tuple[np.ndarray, np.ndarray, np.ndarray | None],
) -> Evaluation:
    """Add the tables and the figures of an image."""
    image, truth, before = images
    tables = {'Sources': match.to_table()}
    plots = {
        'Errors': partial(_draw, 'plot_image_residual', image, truth, before=before),
        'Fluxes': partial(_draw, 'plot_flux_scatter', match),
    }
    if curves:
        tables['Detection over the threshold'] = curves['result'].table
        plots['Detection'] = partial(_draw, 'plot_detection_curve', curves)
    return Evaluation(report, tables, plots)


def evaluate_frames(
    flat: Any,
    frames: Any,
    *,
    truth: Any = None,
    gradient: Any = None,
    bias: Any = None,
    offsets: Any = None,
    settings: DetectionSettings | None = None,
    gain: float | None = None,
    limits: HarmLimits | None = None,
) -> Evaluation:
    """
    Judge a flat by real frames: their stack and the photometry of their stars.

    Parameters
    ----------
    flat : FlatSolution, CCDData, array_like or path
        The flat to judge.

    frames : FrameStack, path, list or array_like
        Dithered frames that the flat was not made from.

    truth : CCDData, array_like or path, optional
        A flat that is known to be good.

    gradient, bias : CCDData, array_like or path, optional
        What is subtracted from the frames.

    offsets : array_like, optional
        The shifts of the frames, as in `photometric_flatness`.

    settings : DetectionSettings, optional
        How stars are found.

    gain : float, optional
        Electrons per unit of the frames.

    limits : HarmLimits, optional
        What the verdict rests on: its ``flatness_ratio``.

    Returns
    -------
    evaluation : Evaluation
        The numbers of `stack_flatness` and `photometric_flatness` with and
        (``nothing_...``) without the flat, for the same stars. If the stars do
        not suffice, ``photometry`` says why.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.quality import evaluate_frames
    >>> y, x = np.mgrid[:200, :200]
    >>> flat = 1 - 0.2 * ((x - 100) ** 2 + (y - 100) ** 2) / 100**2
    >>> frames = 500 * flat + np.random.default_rng(0).normal(0, 2, (3, 200, 200))
    >>> evaluation = evaluate_frames(flat, frames)
    >>> evaluation.report.verdict
    'accept'
    """
    from astroflat.io import open_frames

    limits = limits or HarmLimits()
    solution = as_solution(flat, gradient)
    with open_frames(frames) as stack:
        options = {'bias': bias, **_fit_blocks(stack.shape[1:3])}
        stacked = stack_flatness(stack, truth, flat=solution, **options)
        nothing = stack_flatness(stack, truth, **options)
        photometry, problem = _photometry(stack, solution, offsets, settings, gain)
    numbers = stacked | {
        f'nothing_{n}': v for n, v in nothing.items() if n != 'n_frames'
    }
    ratio = stacked['bkg_mad'] / nothing['bkg_mad'] if nothing['bkg_mad'] else 1.0
    numbers['flatness_ratio'] = ratio
    if problem:
        numbers['photometry'] = f'not measured: {problem}'
    for name, result in photometry.items():
        prefix = 'nothing_' if name == 'nothing done' else ''
        numbers |= {f'{prefix}{k}': v for k, v in result.numbers.items()}
    report = QualityReport('flat on frames', numbers, limits.to_dict())
    reason = 'the background is {value} times as uneven as without the flat'
    report = judge(report, limits, 'flatness_ratio', ratio, reason)
    if photometry:
        report = _judge_photometry(report)
    plots = {}
    if photometry:
        plots['Repeated photometry'] = partial(
            _draw, 'plot_photometric_flatness', photometry
        )
    return Evaluation(report, {}, plots)


def _photometry(
    stack: Any,
    solution: Any,
    offsets: Any,
    settings: DetectionSettings | None,
    gain: float | None,
) -> tuple[dict[str, Any], str]:
    """Measure the same stars without and with the flat, or say why not."""
    try:
        nothing = photometric_flatness(
            stack, offsets=offsets, settings=settings, gain=gain
        )
        corrected = photometric_flatness(
            stack,
            solution,
            offsets=nothing.offsets,
            catalogue=nothing.stars,
            settings=settings,
            gain=gain,
        )
    except ValueError as error:
        return {}, str(error)
    return {'nothing done': nothing, 'corrected': corrected}, ''


def _judge_photometry(report: QualityReport) -> QualityReport:
    """Compare the repeatability with and without the flat."""
    numbers = report.numbers
    now, was = numbers['flatness_mmag'], numbers['nothing_flatness_mmag']
    apart = numbers['flatness_mmag_low'] > numbers['nothing_flatness_mmag_high']
    # Resampling a handful of stars says little about their uncertainty.
    apart = apart and numbers['n_stars'] >= _FEW_STARS
    return report.check(
        not apart,
        'reject',
        f'the photometry gets worse: {was:.3g} mmag without, {now:.3g} mmag with it',
    )


def _fit_blocks(shape: tuple[int, ...]) -> dict[str, int]:
    """Return a border and blocks that fit into small frames too."""
    side = min(shape)
    return {'border': min(40, side // 10), 'box': max(2, min(48, side // 8))}


def _mono(image: Any, name: str) -> np.ndarray:
    """Return an image as one plane, NaN where it is bad."""
    frame = unpack(image, name=name, ndim=(2, 3))
    data = np.where(frame.bad, np.nan, frame.data)
    return data.mean(axis=-1) if data.ndim == 3 else data


def _draw(name: str, *args: Any, **options: Any) -> Figure:
    """Draw a figure; matplotlib is imported only here."""
    from astroflat import visualization

    return getattr(visualization, name)(*args, **options)
