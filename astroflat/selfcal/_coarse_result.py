# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What goes into the coarse fit and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from astroflat.selfcal._added import Added
    from astroflat.selfcal._scene import Scene

__all__ = ['CoarseResult', 'Extra']


@dataclass(frozen=True)
class CoarseResult:
    """
    Fields of large scale.

    Parameters
    ----------
    log_flat : `~numpy.ndarray`
        On the grid, mean 0.

    covariance : `~numpy.ndarray`
        Of its cells, one after the other.

    sky : `~numpy.ndarray`
        ``(n,)``, level of the sky in the unit of the frames.

    terms : `~numpy.ndarray`
        ``(n, 5)``, gradient of each frame, see `gradient_basis`, in units of
        ``scale``.

    scale : `~numpy.ndarray`
        ``(n,)``, the median level of each frame.

    scene : Scene or None
        Light that moves with the sky.

    numbers : dict
        ``chi`` (residual over noise), ``object_share`` (of the sky),
        ``sky_scatter`` (relative, of what passes for sky) and ``strength``.

    added : Added or None
        What the detector adds to every frame.

    gradient_sigma : `~numpy.ndarray` or None
        Of the cells, uncertainty of what is added to a mean frame.

    tests : dict
        See `compare_models`; empty without ``added``.
    """

    log_flat: np.ndarray
    covariance: np.ndarray
    sky: np.ndarray
    terms: np.ndarray
    scale: np.ndarray
    scene: Scene | None
    numbers: dict[str, float]
    added: Added | None = None
    gradient_sigma: np.ndarray | None = None
    tests: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Extra:
    """
    What `solve_fields` wants besides.

    Parameters
    ----------
    exposure : `~numpy.ndarray`
        ``(n,)``, mean 1: how what is added goes with the frames.

    levels : `~numpy.ndarray` or None, optional
        ``(n,)``, light of the sky up to a factor.

    additive, multiplicative : bool, optional
        Which fields there are.
    """

    exposure: np.ndarray
    levels: np.ndarray | None = None
    additive: bool = True
    multiplicative: bool = True
