# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""How flat and sky are fitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from astroflat.selfcal._kll_layout import Interpolation

__all__ = ['FitOptions']


@dataclass(frozen=True)
class FitOptions:
    """
    How to fit.

    Attributes
    ----------
    interpolation : {'nearest', 'linear', 'cubic'}
        Of the sky.

    clip : float or None
        The limit of the robust weights in standard deviations.

    tolerance : float
        The rms error of the logarithm of the flat that may be left.

    max_iterations : int
        Of the conjugate gradients, each time.

    passes : int
        How often samples are weighed anew.

    free_levels : bool
        Whether the brightness of the frames is fitted.

    threads : int
        The number of threads.

    ridge : float
        The weight of a flat of one, in units of that of all frames.

    mem_limit : float
        Beyond this many bytes, weights and residuals lie in a scratch file.
    """

    interpolation: Interpolation = 'cubic'
    clip: float | None = 5.0
    tolerance: float = 1e-4
    max_iterations: int = 300
    passes: int = 4
    free_levels: bool = True
    threads: int = 1
    ridge: float = 0.0
    mem_limit: float = np.inf
