# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""How sure the large scales of a flat are, beyond the covariance of the fit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from astroflat.selfcal._coarse_result import CoarseResult

__all__ = ['large_sigma']

# The priors are estimated from the frames: in simulated nights errors are this many
# times those of the covariance.
_LEARNT = 1.25
# What diffuse light changes is in doubt by all of it, up to about this much.
_MOST = 0.05


def large_sigma(
    fit: CoarseResult, without: CoarseResult | None
) -> tuple[np.ndarray, float]:
    """
    Return the uncertainty of the cells of a flat.

    Parameters
    ----------
    fit : CoarseResult
        The fit.

    without : CoarseResult or None
        The same without diffuse light that moves with the sky; None if the fit has
        none either.

    Returns
    -------
    sigma : `~numpy.ndarray`
        Standard deviations of the logarithm of the flat, of mean 0, cell by cell.

    doubt : float
        The part that comes from diffuse light, root mean square.

    Notes
    -----
    The fit takes diffuse light for a sum of few bright cells. The halo of a galaxy or
    a cluster is smooth instead, dithers hardly move it, and the covariance knows
    nothing of that. What the flat changes if there is no such light tells how much
    hangs on it.
    """
    variance = _LEARNT**2 * _cell_variance(fit.covariance)
    doubt = 0.0
    if without is not None:
        change = fit.log_flat - without.log_flat
        change = change - change.mean()
        size = float(np.sqrt(np.mean(change**2)))
        change = change / math.hypot(1, size / _MOST)
        doubt = size / math.hypot(1, size / _MOST)
        variance = variance + change.ravel() ** 2
    return np.sqrt(variance).reshape(fit.log_flat.shape), doubt


def _cell_variance(covariance: np.ndarray) -> np.ndarray:
    """Return variances of cells of a field whose mean is given."""
    mean = covariance.mean(axis=0)
    return np.maximum(np.diag(covariance) - 2 * mean + covariance.mean(), 0)
