# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Put the changes of a repair into the flat, and report them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units as u

from astroflat._provenance import record
from astroflat._report import QualityReport, to_mmag
from astroflat.solution import FlatSolution

if TYPE_CHECKING:
    from astropy.table import QTable

    from astroflat.selfcal._repair_choice import Choice
    from astroflat.selfcal._repair_examine import Findings

__all__ = ['apply_changes', 'mote_table', 'pack', 'pedestal_of']

#: The limits of the verdict.
LIMITS = {
    'n_frames_accept': 3,
    'strength_change_accept': 0.5,
    'depth_change_accept': 0.1,
    'least_depth_percent_accept': 5.0,
}


def pedestal_of(findings: Findings) -> float:
    """
    Return the pedestal of a flat in units of its level.

    Parameters
    ----------
    findings : Findings
        What is wrong with it.

    Returns
    -------
    pedestal : float
        0 unless vignette and motes need the same factor.
    """
    value, sigma = findings.depth
    strength = findings.strength
    both = strength.significant and abs(value - 1) > 4 * sigma
    alike = abs(value - strength.value) < 3 * np.hypot(sigma, strength.sigma)
    if not (both and alike):
        return 0.0
    weight = np.array([sigma, strength.sigma]) ** -2.0
    mean = float(np.sum(weight * [value, strength.value]) / weight.sum())
    return 1 - 1 / mean


def apply_changes(findings: Findings) -> tuple[np.ndarray, np.ndarray]:
    """
    Return what a flat has to be multiplied by.

    Parameters
    ----------
    findings : Findings
        What is wrong with it.

    Returns
    -------
    change : `~numpy.ndarray`
        Exactly 1 where nothing is done.

    sigma : `~numpy.ndarray`
        The standard deviation of its logarithm; exactly 0 there.
    """
    from astroflat.selfcal._repair_choice import mote_change

    change, variance = np.zeros(findings.frame.shape), 0.0
    pedestal = pedestal_of(findings) if 'strength' in findings.changes else 0.0
    scale = _mote_scale(findings) if not pedestal else 1.0
    change = mote_change(findings.choices, change.shape, scale)
    variance = _mote_variance(findings)
    for mote in findings.new:
        change[mote.box] += mote.values
        variance[mote.box] += mote.sigma**2
    variance[change == 0] = 0
    if pedestal:
        flat = np.exp(change) * findings.frame.data
        rest = np.maximum((flat - pedestal) / (1 - pedestal), 1e-3 * flat)
        change = change + np.log(rest / np.maximum(flat, 1e-30))
        slope = np.abs(np.log(np.maximum(rest, 1e-3)))
        variance = variance + (findings.depth[1] * slope) ** 2
    elif 'strength' in findings.changes and findings.strength.significant:
        smooth = findings.smooth - np.median(findings.smooth)
        change = change + (findings.strength.value - 1) * smooth
        variance = variance + (findings.strength.sigma * smooth) ** 2
    if findings.bent is not None and findings.bent[2]:
        change = change + findings.bent[0]
        variance = variance + findings.bent[1] ** 2
    change[~findings.good] = 0
    variance = np.where(findings.good, variance, 0)
    return np.exp(change), np.sqrt(variance)


def _mote_scale(findings: Findings) -> float:
    """Return the factor of the depth of the motes."""
    value, sigma = findings.depth
    wanted = 'depth' in findings.changes and abs(value - 1) > 4 * sigma
    return value if wanted else 1.0


def _mote_variance(findings: Findings) -> np.ndarray:
    """Return the variance of what is done to motes."""
    from astroflat.selfcal._repair_motes import place

    shape = findings.frame.shape
    variance = np.zeros(shape)
    scale = _mote_scale(findings)
    for choice in findings.choices:
        template = choice.template
        if choice.action == 'keep' and scale == 1:
            continue
        filled = findings.dust.sigma[template.box]
        variance[template.box] += np.where(template.values != 0, filled, 0) ** 2
        if choice.action == 'gone':
            continue
        box, values = place(template, choice.shift, shape)
        slopes = np.gradient(values) if min(values.shape) > 1 else (values, values)
        for slope, error in zip(slopes, choice.shift_sigma, strict=True):
            variance[box] += (slope * error) ** 2
        # The depth is that of the flat; the frames may have seen another one.
        error = _depth_error(choice, scale)
        variance[box] += (values * error) ** 2
    return variance


def _depth_error(choice: Choice, scale: float) -> float:
    """Return by how much the depth of a mote may be wrong, relatively."""
    if not choice.strength_sigma < 1:
        return 0.1
    return float(np.hypot(choice.strength_sigma, choice.strength - scale))


def mote_table(findings: Findings) -> QTable:
    """
    Return what happened to each mote.

    Parameters
    ----------
    findings : Findings
        What is wrong with the flat.

    Returns
    -------
    motes : `~astropy.table.QTable`
        ``x``, ``y`` (where it is now, where it was if it is gone),
        ``radius``, ``depth``, ``action`` ('keep', 'moved', 'follow', 'gone',
        'new', 'ghost': bright where the flat has a mote that was not detected
        in it, 'pair': both side by side), ``dx``, ``dy``, ``strength`` and
        ``strength_err`` (depth in the frames over that in the flat), ``gain``
        (decrease of chi-square in frames left out).
    """
    from astropy.table import QTable

    catalogue = findings.dust.detection.catalogue
    rows = [
        (
            c.template.x + c.shift[1],
            c.template.y + c.shift[0],
            c.template.radius,
            float(catalogue['depth'][c.template.row]),
            c.action,
            c.shift[1],
            c.shift[0],
            c.strength,
            c.strength_sigma,
            c.gain,
        )
        for c in findings.choices
    ]
    rows += [
        (m.x, m.y, m.radius, m.depth, m.action, 0.0, 0.0, np.nan, np.nan, m.gain)
        for m in findings.new
    ]
    names = ['x', 'y', 'radius', 'depth', 'action', 'dx', 'dy', 'strength']
    names += ['strength_err', 'gain']
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    table = QTable()
    for name, column in zip(names, columns, strict=True):
        table[name] = np.array(column, dtype='U6' if name == 'action' else float)
    for name in ('x', 'y', 'radius', 'dx', 'dy'):
        table[name] = table[name] * u.pix
    return table


def pack(
    findings: Findings,
    change: np.ndarray,
    sigma: np.ndarray,
    flat: Any,
    add_keyword: Any,
) -> FlatSolution:
    """
    Return the repaired flat.

    Parameters
    ----------
    findings : Findings
        What was wrong with it.

    change, sigma : `~numpy.ndarray`
        As from `apply_changes`.

    flat : object
        What the user gave.

    add_keyword : object
        As in `repair_flat`.

    Returns
    -------
    solution : FlatSolution
        The flat with its report.
    """
    frame = findings.frame
    touched = change != 1
    data = np.where(touched, frame.data * change, frame.data).astype(np.float32)
    touched = data != frame.data
    report = _judge(_numbers(findings, change, sigma, touched))
    uncertainty = {}
    if frame.variance is not None:
        extra = (frame.data * change * sigma) ** 2
        variance = np.where(touched, frame.variance * change**2 + extra, frame.variance)
        uncertainty = {'variance': variance.astype(np.float32)}
    n = int(np.count_nonzero(touched))
    record(
        frame.meta,
        'repair',
        history=f'{n} pixels changed ({100 * n / touched.size:.3g} %)',
        add_keyword=add_keyword,
        NPIXCHG=(n, 'pixels of the flat that were changed'),
        FRACCHG=(round(n / touched.size, 8), 'fraction of the pixels changed'),
    )
    result = frame.ccd(
        data, unit=u.dimensionless_unscaled, meta=frame.meta, **uncertainty
    )
    ratio, weight = findings.evidence.mean()
    given = flat if isinstance(flat, FlatSolution) else None
    return FlatSolution(
        result,
        gradient=None if given is None else given.gradient,
        coverage=(weight > 0).astype(np.int32) * len(findings.evidence.blocks),
        report=report,
        stages={
            'motes': mote_table(findings),
            'change': np.where(touched, change, 1).astype(np.float32),
            'sigma': np.where(touched, sigma, 0).astype(np.float32),
            'ratio': np.where(weight > 0, ratio, np.nan).astype(np.float32),
            'motion': findings.motion,
            'detection': findings.dust.detection,
        },
        method='repair',
    )


def _numbers(
    findings: Findings, change: np.ndarray, sigma: np.ndarray, touched: np.ndarray
) -> QualityReport:
    """Return what was found and done."""
    actions = [c.action for c in findings.choices]
    counts = {a: actions.count(a) for a in ('keep', 'moved', 'follow', 'gone')}
    dy, dx, angle = findings.motion.values
    size = np.sqrt(np.mean((change[touched] - 1) ** 2)) if touched.any() else 0.0
    left = np.sqrt(np.mean(sigma[touched] ** 2)) if touched.any() else 0.0
    pedestal = pedestal_of(findings) if 'strength' in findings.changes else 0.0
    least = _least_depth(findings)
    numbers = {
        'n_frames': len(findings.evidence.blocks),
        'n_motes': len(actions),
        'n_kept': counts['keep'],
        'n_moved': counts['moved'],
        'n_followed': counts['follow'],
        'n_gone': counts['gone'],
        'n_new': sum(m.action != 'ghost' for m in findings.new),
        'n_ghosts': sum(m.action != 'new' for m in findings.new),
        'motion': findings.motion.kind,
        'motion_x_pixels': dx,
        'motion_y_pixels': dy,
        'motion_degrees': float(np.rad2deg(angle)),
        'vignette_strength': findings.strength.value,
        'vignette_strength_sigma': findings.strength.sigma,
        'vignette_changed': bool(
            'strength' in findings.changes
            and findings.strength.significant
            and not pedestal
        ),
        'mote_strength': findings.depth[0],
        'mote_strength_sigma': findings.depth[1],
        'depth_changed': _mote_scale(findings) != 1,
        'pedestal': pedestal,
        'smooth_degree': 0 if findings.bent is None else findings.bent[2],
        'n_changed_pixels': int(np.count_nonzero(touched)),
        'changed_percent': 100 * float(np.mean(touched)),
        'change_percent': 100 * float(size),
        'change_mmag': to_mmag(float(size)),
        'sigma_percent': 100 * float(left),
        'sigma_mmag': to_mmag(float(left)),
        'least_depth_percent': least,
        'held_out_gain': float(
            sum(c.gain for c in findings.choices if c.action != 'keep')
            + sum(m.gain for m in findings.new)
        ),
    }
    return QualityReport('repair', numbers, LIMITS)


def _least_depth(findings: Findings) -> float:
    """Return the depth of a mote of 10 px that the frames would just show, in %."""
    weight = findings.evidence.weight.sum(axis=0)
    seen = weight[weight > 0]
    if not seen.size:
        return np.inf
    return float(500 / np.sqrt(np.median(seen) * np.pi * 100))


def _judge(report: QualityReport) -> QualityReport:
    """Compare the numbers with the limits."""
    n = report.numbers
    report = report.check(
        n['n_frames'] >= LIMITS['n_frames_accept'],
        'weak',
        f'only {n["n_frames"]} frames to check each other',
    )
    report = report.check(
        n['least_depth_percent'] <= LIMITS['least_depth_percent_accept'],
        'weak',
        'the frames are too noisy: a mote of 10 px is seen from a depth of '
        f'{n["least_depth_percent"]:.1f} % only',
    )
    change = abs(n['vignette_strength'] - 1)
    report = report.check(
        not n['vignette_changed'] or change <= LIMITS['strength_change_accept'],
        'weak',
        f'the vignette was scaled by {n["vignette_strength"]:.2f}: is it the flat of '
        'this telescope?',
    )
    depth = abs(n['mote_strength'] - 1)
    done = n['pedestal'] or n['depth_changed']
    sure = depth > 4 * n['mote_strength_sigma'] and not done
    return report.check(
        not sure or depth <= LIMITS['depth_change_accept'],
        'weak',
        f'the motes are {n["mote_strength"]:.2f} times as deep in the frames as in the '
        "flat; changes=(..., 'depth') scales them",
    )
