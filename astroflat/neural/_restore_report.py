# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What restoring did to the stars of a frame."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from astroflat._report import QualityReport
from astroflat.neural._restore_filter import TileFilter
from astroflat.psf._shapes import APERTURE

if TYPE_CHECKING:
    from astroflat._nddata import Frame
    from astroflat.neural._restore_optics import Optics

__all__ = ['make_report']

_LIMITS = {
    'fwhm_percent': 10.0,
    'flux_percent': 1.0,
    'shift_px': 0.05,
    'ring_percent': 5.0,
    'residual_sigma': 1.2,
    'residual_correlation': 0.15,
}


def make_report(
    frame: Frame, restored: np.ndarray, optics: Optics, residual: np.ndarray
) -> QualityReport:
    """
    Compare the stars of a frame before and after.

    Parameters
    ----------
    frame : Frame
        The frame.
    restored : ndarray
        The restored frame.
    optics : Optics
        Filters of the frame.
    residual : ndarray
        The frame less the restored one blurred again, over its noise.

    Returns
    -------
    QualityReport
        Medians over stars that are bright, alone and not saturated: ``fwhm_before``
        and ``fwhm_after`` in pixels; ``fwhm_percent``, the difference from what was
        asked for at their places; ``flux_percent``, what an aperture gained beside
        the light of the wings that came into it, and its uncertainty;
        ``shift_px`` of the centroids of all light in an aperture, less the noise of
        the frame, and its error; ``ring_percent``, the depth of
        rings over the height of the stars; ``residual_sigma``, the scatter of the
        residual over the noise, and ``residual_correlation``, that of neighbours.
    """
    numbers: dict[str, Any] = {'n_stars': 0, 'fwhm_wanted': round(optics.wanted, 3)}
    for name, value in optics.numbers.items():
        numbers[name] = value if isinstance(value, str) else round(value, 2)
    sizes = np.abs(residual[np.isfinite(residual)])
    if sizes.size:
        numbers['residual_sigma'] = round(float(np.median(sizes)) / 0.6745, 3)
        numbers['residual_correlation'] = round(_correlation(residual), 3)
    numbers |= _stars(frame, restored, optics)
    return _judge(QualityReport('restore', numbers, dict(_LIMITS)))


def _correlation(residual: np.ndarray) -> float:
    """Correlation of neighbours along both axes; outliers count little."""
    clipped = np.clip(np.nan_to_num(residual), -4.0, 4.0)
    power = float(np.mean(clipped**2))
    rows = float(np.mean(clipped[1:] * clipped[:-1]))
    columns = float(np.mean(clipped[:, 1:] * clipped[:, :-1]))
    return 0.5 * (rows + columns) / max(power, 1e-12)


def _stars(frame: Frame, restored: np.ndarray, optics: Optics) -> dict[str, Any]:
    """Measure stars before and after."""
    from astroflat.psf import TooFewStarsError, measure_stars

    bad = frame.bad
    before, after = _grey(frame.data), _grey(restored)
    if bad.ndim == 3:
        bad = bad.any(axis=2)
    try:
        table = measure_stars(before, mask=bad, fwhm=optics.fwhm)
    except TooFewStarsError:
        return {}
    radius = APERTURE * optics.fwhm
    rows = []
    for star in table[:200]:
        place = float(star['x']), float(star['y'])
        found = _measure(before, bad, place, radius)
        # Lopsided stars have their centroid elsewhere. There they are measured.
        old = _measure(before, bad, found.place, radius) if found else None
        new = _measure(after, bad, found.place, radius) if found else None
        if old and new:
            shift = math.dist(old.place, new.place)
            ring = _ring(after, found.place, optics)
            # Where stars are wider before, they are to be wider after.
            off = new.fwhm / optics.at(*found.place).wanted - 1.0
            widths = old.fwhm, new.fwhm, off
            rows.append((old.flux, new.flux, *widths, shift, old.error, ring))
    if not rows:
        return {}
    return _medians(np.array(rows), _growth(optics, radius))


def _ring(image: np.ndarray, place: tuple[float, float], optics: Optics) -> float:
    """Depth of the darkest place around a star below the sky, over its height."""
    half = math.ceil(3.0 * optics.fwhm)
    x, y = round(place[0]), round(place[1])
    cut = image[max(y - half, 0) : y + half + 1, max(x - half, 0) : x + half + 1]
    sky, spread = np.median(cut), 1.4826 * np.median(np.abs(cut - np.median(cut)))
    height = float(cut.max() - sky)
    # Noise has its lowest place too.
    return max(float(sky - 4.0 * spread - cut.min()), 0.0) / max(height, 1e-30)


def _growth(optics: Optics, radius: float) -> float:
    """Return what an aperture gains by the sharpening alone: light of the wings."""
    kernel = optics.middle
    half = max(kernel.values.shape) + math.ceil(2.0 * radius)
    shape = (2 * half, 2 * half)
    fluxes = []
    for spectrum in TileFilter(kernel, optics.strength).spectra(shape):
        image = np.fft.fftshift(np.fft.irfft2(spectrum, s=shape))
        found = _measure(image, np.zeros(shape, bool), (half, half), radius)
        fluxes.append(found.flux if found else 1.0)
    return fluxes[1] / fluxes[0]


def _medians(rows: np.ndarray, growth: float) -> dict[str, Any]:
    """Medians over the stars."""
    before, after, wide, narrow, off, moved, noise, rings = rows.T
    flux = 100.0 * (after / before / growth - 1.0)
    scatter = float(np.median(np.abs(flux - np.median(flux)))) * 1.4826
    shift, error = _shift(moved, noise)
    return {
        'n_stars': len(rows),
        'fwhm_before': round(float(np.median(wide)), 3),
        'fwhm_after': round(float(np.median(narrow)), 3),
        'fwhm_percent': round(100.0 * float(np.median(off)), 2),
        'flux_percent': round(float(np.median(flux)), 3),
        'flux_error_percent': round(1.2533 * scatter / math.sqrt(len(rows)), 3),
        'shift_px': round(shift, 4),
        'shift_error_px': round(error, 4),
        'ring_percent': round(100.0 * float(np.median(rings)), 2),
    }


def _shift(moved: np.ndarray, noise: np.ndarray) -> tuple[float, float]:
    """Return how far stars moved beside the noise of the frame, and its error."""
    # Those that are known better than what matters count alike.
    weights = 1.0 / (noise**2 + _LIMITS['shift_px'] ** 2)
    # The median of the square of the length of a vector of noise is 2 ln 2 times its
    # variance along an axis.
    left = _weighted_median(moved**2 - 2.0 * math.log(2.0) * noise**2, weights)
    typical = _weighted_median(noise**2, weights)
    count = weights.sum() ** 2 / (weights**2).sum()
    return math.sqrt(max(left, 0.0)), math.sqrt(2.0 * typical / math.sqrt(count))


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    sums = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(sums, 0.5 * sums[-1])])


def _grey(data: np.ndarray) -> np.ndarray:
    """One plane; of colours their mean."""
    return data if data.ndim == 2 else data.mean(axis=2)


class _Star(NamedTuple):
    """Flux over the ring around it, centroid and its noise, and width of a star."""

    flux: float
    place: tuple[float, float]
    error: float
    fwhm: float


def _measure(
    image: np.ndarray, bad: np.ndarray, place: tuple[float, float], radius: float
) -> _Star | None:
    """Measure a star in an aperture."""
    half = math.ceil(2.0 * radius)
    x, y = round(place[0]), round(place[1])
    rows, columns = slice(y - half, y + half + 1), slice(x - half, x + half + 1)
    if min(y, x) < half or bad[rows, columns].any():
        return None
    cut = np.asarray(image[rows, columns], dtype=np.float64)
    if cut.shape != (2 * half + 1, 2 * half + 1):
        return None
    v, u = np.mgrid[: len(cut), : len(cut)] - half
    far = np.hypot(v - (place[1] - y), u - (place[0] - x))
    around = cut[(far > 1.5 * radius) & (far <= 2.0 * radius)]
    cut, noise = cut - np.median(around), np.median(np.abs(around - np.median(around)))
    share = np.clip(radius + 0.5 - far, 0.0, 1.0)
    flux = float((cut * share).sum())
    dx, dy = (float((cut * share * w).sum()) / (flux or 1.0) for w in (u, v))
    if not flux > 0 or math.hypot(x + dx - place[0], y + dy - place[1]) > radius:
        return None
    lever = math.sqrt(float(((share * (u - dx)) ** 2).sum()))
    error = 1.4826 * float(noise) * lever / flux
    near = far < max(3.0, 0.7 * radius)
    return _Star(flux, (x + dx, y + dy), error, _width(cut, u, v, near, dx, dy))


def _width(
    cut: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
    near: np.ndarray,
    dx: float,
    dy: float,
) -> float:
    """Width of the round Gaussian that fits best."""
    from scipy.optimize import least_squares

    values, top = cut[near], float(cut[near].max())
    su, sv = u[near], v[near]

    def apart(p: np.ndarray) -> np.ndarray:
        square = (su - p[1]) ** 2 + (sv - p[2]) ** 2
        return p[0] * np.exp(-0.5 * square / p[3] ** 2) - values / top

    found = least_squares(apart, (1.0, dx, dy, 1.2)).x
    return abs(float(found[3])) * 2.3548


def _judge(report: QualityReport) -> QualityReport:
    """Say how far the result can be trusted."""
    numbers, limits = report.numbers, report.thresholds
    report = report.check(
        passed=abs(numbers.get('residual_correlation', 0.0))
        <= limits['residual_correlation'],
        verdict='weak',
        reason='the noise of neighbours is not independent, or the stars are others',
    )
    if not numbers['n_stars']:
        return report.check(passed=False, verdict='weak', reason='no stars to judge by')
    off = numbers['fwhm_percent']
    excused = 3.0 * numbers['flux_error_percent']
    checks = (
        (
            abs(off) <= limits['fwhm_percent'],
            f'stars are {off:.1f} % off the wanted width',
        ),
        (
            abs(numbers['flux_percent']) <= limits['flux_percent'] + excused,
            f'apertures changed by {numbers["flux_percent"]:.2f} %',
        ),
        (
            numbers['shift_px'] ** 2
            <= limits['shift_px'] ** 2 + 2.0 * numbers['shift_error_px'] ** 2,
            f'stars moved by {numbers["shift_px"]} pixels',
        ),
        (
            numbers['ring_percent'] <= limits['ring_percent'],
            f'rings of {numbers["ring_percent"]} % around stars: they are others',
        ),
        (
            numbers.get('residual_sigma', 0.0) <= limits['residual_sigma'],
            'more than noise is left when the result is blurred again',
        ),
    )
    for passed, reason in checks:
        report = report.check(passed=passed, verdict='weak', reason=reason)
    return report
