# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Figures of measures: residuals, fluxes, detection, injected stars, repeatability."""

from __future__ import annotations

from itertools import cycle
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.visualization.figures import _plane, display_limits, plot_image

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    'plot_detection_curve',
    'plot_flat_residual',
    'plot_flux_scatter',
    'plot_image_residual',
    'plot_injection_audit',
    'plot_photometric_flatness',
]

# Told apart by everybody, and in print: dark against light.
_BEFORE, _AFTER, _THIRD = '#d95f02', '#1b5e9b', '#6a3d9a'
_COLORS = (_AFTER, _THIRD, '#2e7d32', '#7f7f7f', '#c2185b')
_NOT_PROCESSED = ('before', 'nothing done')


def plot_flat_residual(estimate: Any, truth: Any) -> Figure:
    """
    Show an estimated flat, the true one, and what is left of the true one.

    Parameters
    ----------
    estimate : CCDData, array_like or path
        The estimated flat.

    truth : CCDData, array_like or path
        The true flat.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        Both flats with common limits, the map of ``estimate / truth - 1`` in
        per cent, and its histogram beside that of doing nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.visualization import plot_flat_residual
    >>> truth = np.linspace(0.8, 1.2, 64)[None] * np.ones((64, 1))
    >>> len(plot_flat_residual(truth**1.1, truth).axes)
    6
    """
    true = _plane(truth)
    guess = np.broadcast_to(_plane_or_number(estimate), true.shape)
    ratio = _percent(guess / true)
    nothing = _percent(1 / true)
    figure = _figure(11, 8)
    axes = figure.subplots(2, 2)
    limits = tuple(np.nanpercentile(true / np.nanmedian(true), [0.5, 99.5]))
    for ax, image, title in (
        (axes[0, 0], guess, 'estimate'),
        (axes[0, 1], true, 'truth'),
    ):
        scaled = image / np.nanmedian(image)
        plot_image(scaled, ax=ax, title=title, limits=limits, colorbar=title == 'truth')
    _residual_map(axes[1, 0], ratio, 'estimate / truth - 1 (%)')
    _histograms(axes[1, 1], {'nothing done': nothing, 'estimate': ratio}, 'error (%)')
    return figure


def plot_image_residual(image: Any, truth: Any, *, before: Any = None) -> Figure:
    """
    Show an image, the true one, and the errors.

    Parameters
    ----------
    image : CCDData, array_like or path
        The image to judge.

    truth : CCDData, array_like or path
        What it should be.

    before : CCDData, array_like or path, optional
        The image before it was processed.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The images with common limits, the maps of their errors with common
        limits, and histograms of the errors.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.visualization import plot_image_residual
    >>> truth = np.zeros((32, 32))
    >>> noisy = np.random.default_rng(0).normal(size=(32, 32))
    >>> figure = plot_image_residual(noisy / 2, truth, before=noisy)
    >>> [ax.get_title() for ax in figure.axes[:3]]
    ['before', 'result', 'truth']
    """
    true = _plane(truth)
    images = {'result': _plane(image)}
    images = images if before is None else {'before': _plane(before), **images}
    errors = {name: data - true for name, data in images.items()}
    ratio = min(max(true.shape[0] / true.shape[1], 0.5), 1.6)
    figure = _figure(4 * (len(images) + 1), 8 * ratio + 1.2)
    axes = figure.subplots(2, len(images) + 1)
    limits = display_limits(next(iter(images.values())))
    first = next(iter(errors.values()))
    for j, (name, data) in enumerate(images.items()):
        plot_image(data, ax=axes[0, j], title=name, limits=limits)
        _residual_map(axes[1, j], errors[name], f'{name} - truth', like=first)
    plot_image(true, ax=axes[0, -1], title='truth', limits=limits)
    _histograms(axes[1, -1], errors, 'error')
    return figure


def plot_flux_scatter(match: Any) -> Figure:
    """
    Show fluxes over those of the reference.

    Parameters
    ----------
    match : SourceMatch
        As returned by `astroflat.quality.match_sources`.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The ratio over the flux with its median and robust scatter, and the
        histogram of the ratio.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from astroflat.quality import SourceMatch
    >>> from astroflat.visualization import plot_flux_scatter
    >>> pairs = Table({'flux': [1.0, 2.0], 'flux_reference': [1.0, 2.1]})
    >>> pairs['counted'] = True
    >>> none = Table({'x': []})
    >>> len(plot_flux_scatter(SourceMatch(pairs, none, none, 1.0, 1.0)).axes)
    2
    """
    from astroflat.quality.photometry import flux_scatter

    table = match.pairs
    flux, true = (np.asarray(table[n], float) for n in ('flux', 'flux_reference'))
    good = np.isfinite(flux) & (true > 0)
    ratio = 100 * (flux[good] / true[good] - 1)
    figure = _figure(10, 4)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1])
    left.plot(true[good], ratio, '.', ms=4, color=_AFTER, alpha=0.6)
    left.set_xscale('log')
    result = flux_scatter(match, interval='analytic')
    bias, scatter = result['flux_bias_percent'], result['flux_scatter_percent']
    for ax in (left, right):
        ax.axhline(0, color='0.5', lw=0.8)
        ax.axhline(bias, color=_BEFORE, lw=1.2)
    if np.isfinite(scatter):
        left.axhspan(bias - scatter, bias + scatter, color=_BEFORE, alpha=0.12, lw=0)
    reach = 1.2 * np.percentile(np.abs(ratio), 98) if ratio.size else 1.0
    reach = max(reach, 1e-3)
    left.set_ylim(-reach, reach)
    left.set_xlabel('flux of the reference')
    left.set_ylabel('flux / reference - 1 (%)')
    left.set_title(
        f'{result["n_pairs"]} pairs: bias {bias:.2g} %, scatter {scatter:.2g} %',
        fontsize=10,
    )
    right.hist(
        ratio, bins=40, range=(-reach, reach), orientation='horizontal', color=_AFTER
    )
    right.set_xlabel('number')
    return _finish(figure)


def plot_detection_curve(curves: Any) -> Figure:
    """
    Show purity over completeness, and both over the threshold.

    Parameters
    ----------
    curves : DetectionCurve or dict of DetectionCurve
        As returned by `astroflat.quality.detection_curve`; several by their
        names, such as before and after.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The precision-recall curve, and completeness, purity and F1 over the
        threshold.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from astroflat.quality import DetectionCurve
    >>> from astroflat.visualization import plot_detection_curve
    >>> table = Table({'nsigma': [5.0, 3.0], 'completeness': [0.5, 1.0]})
    >>> table['purity'], table['f1'] = [1.0, 0.8], [0.67, 0.89]
    >>> len(plot_detection_curve(DetectionCurve(table, noise=1.0)).axes)
    2
    """
    curves = _named(curves, 'image')
    figure = _figure(10, 4.2)
    left, right = figure.subplots(1, 2)
    for name, color in _pick_colors(curves).items():
        curve, table = curves[name], curves[name].table
        label = f'{name}: average precision {curve.average_precision:.3f}'
        left.plot(
            table['completeness'], table['purity'], 'o-', ms=3, c=color, label=label
        )
        best = curve.best
        left.plot(best['completeness'], best['purity'], 'o', ms=9, mfc='none', c=color)
        for column, style in (('completeness', '-'), ('purity', '--'), ('f1', ':')):
            text = f'{name}, {column.replace("f1", "F1")}'
            right.plot(table['nsigma'], table[column], style, c=color, label=text)
    left.set(xlabel='completeness', ylabel='purity', xlim=(-0.03, 1.03))
    left.set_title('ring: largest F1', fontsize=10)
    right.set(xlabel='threshold (noise per pixel)', xscale='log')
    for ax in (left, right):
        ax.set_ylim(-0.03, 1.05)
        ax.legend(fontsize=7.5)
    _plain_ticks(right)
    return _finish(figure)


def plot_injection_audit(audit: Any) -> Figure:
    """
    Show what became of injected stars.

    Parameters
    ----------
    audit : InjectionAudit
        As returned by `astroflat.quality.inject_audit`.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        Over the signal-to-noise ratio: the completeness before and after,
        the separability from blank sky, the response, and the shifts.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.quality import inject_audit
    >>> from astroflat.visualization import plot_injection_audit
    >>> frame = np.random.default_rng(0).normal(100, 5, (160, 160))
    >>> audit = inject_audit(lambda image: image, frame, n=3, snr=(5, 20))
    >>> len(plot_injection_audit(audit).axes)
    4
    """
    table = audit.table
    snr = np.asarray(table['snr'], float)
    figure = _figure(11, 7)
    axes = figure.subplots(2, 2)
    for side, color, dodge in (('before', _BEFORE, 0.97), ('after', _AFTER, 1.03)):
        found = np.asarray(table[f'completeness_{side}'], float)
        bars = [
            found - table[f'completeness_{side}_low'],
            table[f'completeness_{side}_high'] - found,
        ]
        axes[0, 0].errorbar(
            snr * dodge, found, np.abs(bars), fmt='o-', ms=4, c=color, label=side
        )
        axes[0, 1].plot(snr, table[f'separability_{side}'], 'o-', ms=4, c=color)
        axes[1, 1].plot(snr, table[f'shift_{side}'], 'o-', ms=4, c=color)
    response, error = table['response_percent'], table['response_error_percent']
    axes[1, 0].errorbar(snr, response, error, fmt='o-', ms=4, c=_AFTER)
    axes[1, 0].axhline(100, color='0.5', lw=0.8)
    axes[0, 1].axhline(0.5, color='0.5', lw=0.8)
    axes[0, 0].legend(fontsize=8)
    titles = {
        axes[0, 0]: 'completeness',
        axes[0, 1]: 'separability from blank sky',
        axes[1, 0]: 'response: flux out / flux in (%)',
        axes[1, 1]: 'distance from the true place (px)',
    }
    for ax, title in titles.items():
        ax.set_title(title, fontsize=10)
        ax.set(xlabel='signal-to-noise ratio', xscale='log')
        _plain_ticks(ax)
    return _finish(figure)


def plot_photometric_flatness(results: Any) -> Figure:
    """
    Show the residuals of repeated photometry.

    Parameters
    ----------
    results : PhotometricFlatness or dict of PhotometricFlatness
        As returned by `astroflat.quality.photometric_flatness`; several by
        their names, such as before and after.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        For each the residuals on the detector with common limits; and
        histograms of all.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import Table
    >>> from astroflat.quality import PhotometricFlatness
    >>> from astroflat.visualization import plot_photometric_flatness
    >>> table = Table({'x': [3.0, 9.0], 'y': [4.0, 8.0], 'residual_mmag': [1.0, -1.0]})
    >>> table['used'] = True
    >>> numbers = {'flatness_mmag': 1.0, 'noise_mmag': 0.5}
    >>> offsets = np.zeros((2, 2))
    >>> result = PhotometricFlatness(table, table, offsets, numbers, (16, 16))
    >>> len(plot_photometric_flatness(result).axes)
    3
    """
    results = _named(results, 'frames')
    figure = _figure(4.2 * len(results) + 4.5, 4.2)
    axes = figure.subplots(1, len(results) + 1)
    used = {
        name: result.table[np.asarray(result.table['used'], bool)]
        for name, result in results.items()
    }
    first = np.abs(next(iter(used.values()))['residual_mmag'])
    reach = max(float(np.percentile(first, 95)), 0.1) if len(first) else 1.0
    for ax, (name, result) in zip(axes, results.items(), strict=False):
        points = ax.scatter(
            used[name]['x'],
            used[name]['y'],
            c=used[name]['residual_mmag'],
            s=9,
            cmap='RdBu_r',
            vmin=-reach,
            vmax=reach,
        )
        ny, nx = result.shape
        ax.set(xlim=(-0.5, nx - 0.5), ylim=(-0.5, ny - 0.5), aspect='equal')
        numbers = result.numbers
        ax.set_title(
            f'{name}: flatness {numbers["flatness_mmag"]:.2g} mmag '
            f'(noise {numbers["noise_mmag"]:.2g})',
            fontsize=10,
        )
    figure.colorbar(points, ax=axes[:-1].tolist(), label='residual (mmag)')
    residuals = {name: np.asarray(t['residual_mmag']) for name, t in used.items()}
    _histograms(axes[-1], residuals, 'residual (mmag)')
    return _finish(figure)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout='constrained')


def _finish(figure: Figure) -> Figure:
    """Give all axes the same small ticks."""
    for ax in figure.axes:
        ax.tick_params(labelsize=8)
    return figure


def _named(results: Any, name: str) -> Mapping[str, Any]:
    return results if isinstance(results, dict) else {name: results}


def _pick_colors(names: Mapping[str, Any]) -> dict[str, str]:
    """Return a colour for each name; what was not processed always has its own."""
    others = [name for name in names if name not in _NOT_PROCESSED]
    colors = dict(zip(others, cycle(_COLORS), strict=False))
    return {name: colors.get(name, _BEFORE) for name in names}


def _plane_or_number(image: Any) -> Any:
    return float(image) if isinstance(image, Real) else _plane(image)


def _percent(ratio: np.ndarray) -> np.ndarray:
    """Return a ratio, less its median, in per cent."""
    return 100 * (ratio / np.nanmedian(ratio) - 1)


def _reach(values: np.ndarray, percentile: float) -> float:
    """Return a limit for both signs that few values pass."""
    finite = np.abs(values[np.isfinite(values)])
    return max(float(np.percentile(finite, percentile)), 1e-6) if finite.size else 1.0


def _residual_map(
    ax: Axes, values: np.ndarray, title: str, like: np.ndarray | None = None
) -> None:
    """Draw a map of errors in two colours about zero."""
    reach = _reach(values if like is None else like, 99)
    rms = float(np.sqrt(np.nanmean(values**2)))
    plot_image(
        values,
        ax=ax,
        title=f'{title}: rms {rms:.3g}',
        limits=(-reach, reach),
        cmap='RdBu_r',
        colorbar=True,
    )


def _histograms(ax: Axes, values: Mapping[str, np.ndarray], label: str) -> None:
    """Draw histograms as lines over a common range."""
    reach = max(_reach(v, 99) for v in values.values())
    for name, color in _pick_colors(values).items():
        finite = values[name][np.isfinite(values[name])]
        text = f'{name}: rms {np.sqrt(np.mean(finite**2)):.3g}' if finite.size else name
        ax.hist(
            finite.ravel(),
            bins=int(np.clip(2 * np.sqrt(finite.size), 15, 101)),
            range=(-reach, reach),
            histtype='step',
            color=color,
            label=text,
            lw=1.3,
        )
    ax.axvline(0, color='0.5', lw=0.8)
    ax.set_xlabel(label)
    ax.set_ylabel('number')
    # Logarithmic, so that wide tails show beside a narrow peak; with room for
    # the legend above.
    ax.set_yscale('log')
    ax.set_ylim(0.8, 8 * max(ax.get_ylim()[1], 1))
    ax.legend(fontsize=8, loc='upper right')


def _plain_ticks(ax: Axes) -> None:
    """Write 1, 2, 5, 10 on a logarithmic axis."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(StrMethodFormatter('{x:g}'))
    ax.xaxis.set_minor_formatter(NullFormatter())
