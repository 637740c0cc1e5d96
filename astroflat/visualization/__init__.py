# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Figures of results; nothing is ever drawn unless asked for."""

from astroflat.visualization.artifacts import plot_artifacts
from astroflat.visualization.figures import (
    plot_comparison,
    plot_dust_flat,
    plot_image,
    save_figure,
)
from astroflat.visualization.quality_figures import (
    plot_detection_curve,
    plot_flat_residual,
    plot_flux_scatter,
    plot_image_residual,
    plot_injection_audit,
    plot_photometric_flatness,
)
from astroflat.visualization.review import Review, plot_review, review

__all__ = [
    'Review',
    'plot_artifacts',
    'plot_comparison',
    'plot_detection_curve',
    'plot_dust_flat',
    'plot_flat_residual',
    'plot_flux_scatter',
    'plot_image',
    'plot_image_residual',
    'plot_injection_audit',
    'plot_photometric_flatness',
    'plot_review',
    'review',
    'save_figure',
]
