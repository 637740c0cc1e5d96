# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The networks that come with astroflat."""

from __future__ import annotations

import functools


@functools.cache
def _corrector():
    """Return the corrector, made once in each process."""
    import astroflat as af

    return af.FlatCorrector(device='cpu', n_threads=1)


def flat_corrector(ccd):
    """
    Estimate the fields of one frame.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData`
        The frame.

    Returns
    -------
    FlatSolution
        Flat, gradient and report.
    """
    return _corrector().estimate(ccd)
