# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Flats in whatever form they come."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from astropy import units as u

from astroflat._nddata import unpack
from astroflat.solution import FlatSolution

__all__ = ['as_solution']


def as_solution(flat: Any, gradient: Any = None) -> FlatSolution:
    """
    Return a flat, and a gradient, as a solution that corrects frames.

    Parameters
    ----------
    flat : FlatSolution, CCDData, array_like or path
        The flat. One in counts is divided by its mean; one without a unit is
        taken as it is.

    gradient : CCDData, array_like or path, optional
        The gradient, in place of that of the solution.

    Returns
    -------
    solution : FlatSolution
        The flat and the gradient.
    """
    if not isinstance(flat, FlatSolution):
        frame = unpack(flat, name='flat')
        if frame.unit in (None, u.dimensionless_unscaled):
            flat = FlatSolution(frame.ccd(frame.data), method='given')
        else:
            flat = FlatSolution.from_image(frame.ccd(frame.data), method='given')
    if gradient is None:
        return flat
    # A plain array is in the unit of the frames, whatever that is.
    return replace(flat, gradient=gradient)
