# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Which fields the frames support."""

from __future__ import annotations

import numpy as np
from scipy import linalg

__all__ = ['compare_models']

# Eigenvalues of a precision below this share of its largest are rounding.
_LEAST = 1e-13


def compare_models(
    matrix: np.ndarray,
    vector: np.ndarray,
    prior: np.ndarray,
    without: dict[str, slice],
    n_data: int,
) -> dict[str, float]:
    """
    Test whether a least-squares fit needs some of its unknowns.

    Parameters
    ----------
    matrix : `~numpy.ndarray`
        Normal equations of the data, divided by their variance.

    vector : `~numpy.ndarray`
        Their right-hand side, for unknowns counted from where the prior has
        its mean.

    prior : `~numpy.ndarray`
        Precision of the unknowns beforehand.

    without : dict of slice
        Name of a simpler model -> the unknowns that it has not.

    n_data : int
        Number of data.

    Returns
    -------
    numbers : dict
        For each simpler model ``_delta_bic``, twice the logarithm of how much
        less likely it makes the data, positive where the full model is better
        (what the Bayesian information criterion approximates); ``_f``, how
        much the fit gains by what the model leaves out, per well determined
        number, and ``_p``, the probability of that by chance.

    Notes
    -----
    The evidence of a linear model with a Gaussian prior is exact; that the
    flat enters as an exponential is neglected.
    """
    from scipy.stats import f as f_distribution

    full = np.arange(len(vector))
    evidence, fit, known = _evidence(matrix, vector, prior, full)
    numbers: dict[str, float] = {}
    for name, left_out in without.items():
        kept = np.delete(full, left_out)
        other = _evidence(matrix, vector, prior, kept)
        extra = max(known - other[2], 0.1)
        ratio = max(fit - other[1], 0.0) / extra
        numbers[f'{name}_f'] = float(ratio)
        numbers[f'{name}_p'] = float(
            f_distribution.sf(ratio, extra, max(n_data - known, 1))
        )
        numbers[f'{name}_delta_bic'] = float(evidence - other[0])
    return numbers


def _definite(precision: np.ndarray) -> tuple[np.ndarray, float]:
    """Return a precision and the logarithm of its determinant, rounding mended."""
    try:
        factor = linalg.cho_factor(precision, lower=True)[0]
        return precision, float(2 * np.log(np.diag(factor)).sum())
    except linalg.LinAlgError:
        # The inverse of a covariance may have lost its smallest eigenvalues.
        values, vectors = linalg.eigh((precision + precision.T) / 2)
        values = np.maximum(values, _LEAST * values[-1])
        return (vectors * values) @ vectors.T, float(np.log(values).sum())


def _evidence(
    matrix: np.ndarray, vector: np.ndarray, prior: np.ndarray, kept: np.ndarray
) -> tuple[float, float, float]:
    """Return twice the log evidence, the gain of the fit, and what is determined."""
    part = np.ix_(kept, kept)
    own, before = _definite(prior[part])
    factor = linalg.cho_factor(matrix[part] + own, lower=True, overwrite_a=True)
    gain = float(vector[kept] @ linalg.cho_solve(factor, vector[kept]))
    determinant = 2 * np.log(np.diag(factor[0])).sum() - before
    # The lower half of the inverse, which is a third of the work of solving.
    inverse = np.tril(linalg.lapack.dpotri(factor[0], lower=1, overwrite_c=1)[0])
    lost = float(2 * (inverse * own).sum() - np.diag(inverse) @ np.diag(own))
    return gain - determinant, gain, len(kept) - lost
