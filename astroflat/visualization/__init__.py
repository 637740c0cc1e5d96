# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Figures of results; nothing is ever drawn unless asked for."""

from astroflat.visualization.artifacts import plot_artifacts
from astroflat.visualization.figures import (
    plot_comparison,
    plot_dust_flat,
    plot_image,
    save_figure,
)

__all__ = [
    'plot_artifacts',
    'plot_comparison',
    'plot_dust_flat',
    'plot_image',
    'save_figure',
]
