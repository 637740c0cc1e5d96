# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Flat and gradient told apart by how they go with the level of the sky."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ['Separation', 'compare_models', 'separate']

_ROUNDS = 30


@dataclass(frozen=True)
class Separation:
    """
    What goes with the sky and what does not, cell by cell.

    Parameters
    ----------
    model : str
        'multiplicative', 'additive' or 'both'.

    flat, gradient : `~numpy.ndarray`
        ``(cells,)``: F with mean 1, and G in the unit of the frames.

    levels : `~numpy.ndarray`
        ``(n,)``, sky of each frame.

    terms : `~numpy.ndarray`
        ``(n, 5)``, what each frame has of its own, mean over the frames 0.

    flat_sigma, gradient_sigma : `~numpy.ndarray`
        Of the cells.

    chi_square : float
        Weighted sum of squared residuals.

    n_parameters : int
        What was fitted.

    gains : `~numpy.ndarray`
        ``(n,)``, how much of G each frame has.
    """

    model: str
    flat: np.ndarray
    gradient: np.ndarray
    levels: np.ndarray
    terms: np.ndarray
    flat_sigma: np.ndarray
    gradient_sigma: np.ndarray
    chi_square: float
    n_parameters: int
    gains: np.ndarray


def separate(
    values: np.ndarray,
    weights: np.ndarray,
    basis: np.ndarray,
    *,
    model: str,
    start: np.ndarray,
    exposure: np.ndarray,
    fixed_levels: bool,
    own_terms: bool,
) -> Separation:
    """
    Fit ``F s + G e`` and a polynomial of each frame to cells.

    Parameters
    ----------
    values : `~numpy.ndarray`
        ``(n, cells)``, light of the sky.

    weights : `~numpy.ndarray`
        Inverse variances; 0 where not known.

    basis : `~numpy.ndarray`
        ``(cells, terms)``.

    model : {'multiplicative', 'additive', 'both'}
        Whether G, F or neither is left out.

    start : `~numpy.ndarray`
        ``(n,)``, levels of the sky to start from.

    exposure : `~numpy.ndarray`
        ``(n,)``, e, how G goes with the frames.

    fixed_levels : bool
        Whether the levels are known.

    own_terms : bool
        Whether each frame has a polynomial of its own.

    Returns
    -------
    separation : Separation
        By alternating least squares.
    """
    n, cells = values.shape
    levels = start.astype(float).copy()
    terms = np.zeros((n, basis.shape[1]))
    flat, gradient = np.ones(cells), np.zeros(cells)
    for _ in range(_ROUNDS):
        rest = values - terms @ basis.T
        flat, gradient, sigmas = _cells(rest, weights, levels, exposure, model)
        if fixed_levels and not own_terms:
            break
        before = levels.copy()
        flat = np.where(np.isfinite(flat), flat, 1.0)
        levels, terms = _frames(
            values,
            weights,
            basis,
            (flat, gradient, exposure, levels),
            fixed_levels=fixed_levels,
            own_terms=own_terms,
        )
        if not fixed_levels:
            levels = _anchored(levels, start, model)
        if np.allclose(levels, before, rtol=1e-7):
            break
    rest = values - terms @ basis.T
    flat, gradient, sigmas = _cells(rest, weights, levels, exposure, model)
    residual = rest - flat * levels[:, None] - gradient * exposure[:, None]
    seen = (weights > 0).sum(axis=0) > 1
    if not fixed_levels and model == 'both':
        flat, gradient, levels = _gauge((flat, sigmas[0]), gradient, levels, exposure)
    # A cell that no two frames show is like the others, as far as is known.
    middle = np.median(flat[seen]), np.median(gradient[seen])
    spread = np.std(flat[seen]) + 1e-3, np.std(gradient[seen]) + 1e-6
    flat, gradient = (
        np.where(seen, v, m) for v, m in zip((flat, gradient), middle, strict=True)
    )
    sigmas = [np.where(seen, v, m) for v, m in zip(sigmas, spread, strict=True)]
    mean = flat.mean()
    count = {'multiplicative': cells, 'additive': cells, 'both': 2 * cells}[model]
    own = 0 if fixed_levels else n - 1
    own += (n - 1) * basis.shape[1] if own_terms else 0
    return Separation(
        model,
        flat / mean,
        gradient,
        levels * mean,
        terms,
        sigmas[0] / mean,
        sigmas[1],
        float((weights * residual**2).sum()),
        count + own,
        exposure,
    )


def _cells(
    values: np.ndarray,
    weights: np.ndarray,
    levels: np.ndarray,
    exposure: np.ndarray,
    model: str,
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Fit F and G in every cell."""
    s, e = levels[:, None], exposure[:, None]
    ss, se, ee = ((weights * a).sum(axis=0) for a in (s * s, s * e, e * e))
    sv, ev = ((weights * a * values).sum(axis=0) for a in (s, e))
    tiny = 1e-30
    zero = np.zeros(values.shape[1])
    if model == 'multiplicative':
        return (
            sv / np.maximum(ss, tiny),
            zero,
            (1 / np.sqrt(np.maximum(ss, tiny)), zero),
        )
    if model == 'additive':
        gradient = (ev - se) / np.maximum(ee, tiny)
        return zero + 1, gradient, (zero, 1 / np.sqrt(np.maximum(ee, tiny)))
    determinant = np.maximum(ss * ee - se**2, 1e-12 * ss * ee + tiny)
    flat = (ee * sv - se * ev) / determinant
    gradient = (ss * ev - se * sv) / determinant
    return flat, gradient, (np.sqrt(ee / determinant), np.sqrt(ss / determinant))


def _frames(
    values: np.ndarray,
    weights: np.ndarray,
    basis: np.ndarray,
    fields: tuple,
    *,
    fixed_levels: bool,
    own_terms: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit level and polynomial of every frame."""
    flat, gradient, exposure, levels = fields
    columns = [] if fixed_levels else [flat]
    columns += list(basis.T) if own_terms else []
    design = np.stack(columns, axis=1)
    found = []
    for k, frame in enumerate(values):
        rest = frame - gradient * exposure[k]
        if fixed_levels:
            rest = rest - flat * levels[k]
        w = weights[k][:, None]
        normal = design.T @ (w * design)
        normal += 1e-9 * np.trace(normal) * np.eye(len(normal))
        found.append(np.linalg.solve(normal, design.T @ (w[:, 0] * rest)))
    found = np.array(found)
    if not fixed_levels:
        levels, found = found[:, 0], found[:, 1:]
    if not own_terms:
        return levels, np.zeros((len(values), basis.shape[1]))
    # What all frames share belongs to the fields.
    shared = (exposure[:, None] * found).sum(axis=0) / (exposure**2).sum()
    return levels, found - exposure[:, None] * shared


def _anchored(levels: np.ndarray, start: np.ndarray, model: str) -> np.ndarray:
    """Undo what makes no difference: scale and, beside a free G, zero of levels."""
    if model == 'multiplicative':
        return levels * (start.mean() / levels.mean())
    if model == 'additive':
        return levels + (start.mean() - levels.mean())
    spread = levels.std()
    stretch = start.std() / spread if spread > 1e-12 * abs(start.mean()) else 1.0
    return start.mean() + stretch * (levels - levels.mean())


def _gauge(
    known: tuple, gradient: np.ndarray, levels: np.ndarray, exposure: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Move the part of G that looks like F into the levels."""
    flat, sigma = known
    centred = flat - np.median(flat)
    power = float((centred**2).sum())
    # A flat that is all noise is flat.
    if np.std(flat) > 2 * np.median(sigma):
        share = float((centred * (gradient - np.median(gradient))).sum() / power)
    else:
        share = float(np.median(gradient) / np.median(flat))
    return flat, gradient - share * flat, levels + share * exposure


def compare_models(
    fits: dict[str, Separation], n_data: int, cells: tuple[int, int]
) -> dict[str, float]:
    """
    Test which of three models the frames support.

    Parameters
    ----------
    fits : dict of Separation
        'multiplicative', 'additive' and 'both'.

    n_data : int
        Independent values.

    cells : tuple of int
        Shape of the grid.

    Returns
    -------
    numbers : dict
        For each simpler model against 'both' the F statistic of what it
        leaves out, its probability by chance, and the difference of the
        Bayesian information criteria, positive where 'both' is better.

    Notes
    -----
    What is left out (G of the one, the departure of F from 1 of the other) is
    tested in its smooth part, the first 35 cosines: glow and vignetting are
    smooth, and one number per cell would drown them in noise.
    """
    from scipy.stats import f as f_distribution

    full = fits['both']
    free = max(n_data - full.n_parameters, 1)
    noise = full.chi_square / free
    basis = _cosines(cells)
    left_out = {
        'multiplicative': (full.gradient, full.gradient_sigma),
        'additive': (full.flat - 1, full.flat_sigma),
    }
    numbers: dict[str, float] = {'noise_chi': float(np.sqrt(noise))}
    for name, (field, sigma) in left_out.items():
        weight = 1 / np.maximum(sigma, 1e-30) ** 2
        field = field - (weight * field).sum() / weight.sum()
        normal = basis.T @ (weight[:, None] * basis)
        vector = basis.T @ (weight * field)
        gain = float(vector @ np.linalg.lstsq(normal, vector, rcond=None)[0])
        extra = basis.shape[1]
        ratio = gain / extra / max(noise, 1e-30)
        numbers[f'{name}_f'] = float(ratio)
        numbers[f'{name}_p'] = float(f_distribution.sf(ratio, extra, free))
        numbers[f'{name}_delta_bic'] = float(
            gain / max(noise, 1e-30) - extra * np.log(max(n_data, 2))
        )
    return numbers


def _cosines(cells: tuple[int, int], order: int = 6) -> np.ndarray:
    """Return two-dimensional cosines without the constant."""
    axes = [
        np.cos(np.pi * np.arange(order)[:, None] * (np.arange(m) + 0.5) / m)
        for m in cells
    ]
    return np.stack(
        [
            np.outer(axes[0][i], axes[1][j]).ravel()
            for i in range(order)
            for j in range(order)
            if i + j > 0
        ],
        axis=1,
    )
