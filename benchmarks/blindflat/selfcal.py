# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The methods of astroflat that take the frames of a night."""

from __future__ import annotations

import numpy as np

import astroflat as af


def sky_flat(frames):
    """
    Make a flat of the sky with `astroflat.sky_flat`.

    Parameters
    ----------
    frames : list of `~astropy.nddata.CCDData`
        The frames.

    Returns
    -------
    `~astroflat.FlatSolution`
        The flat, without a gradient: that of each frame is in its stages.
    """
    return af.sky_flat(frames, offsets=wcs_offsets(frames), n_threads=1)


def solve_fields(frames):
    """
    Find flat and gradients with `astroflat.solve_fields`.

    Parameters
    ----------
    frames : list of `~astropy.nddata.CCDData`
        The frames.

    Returns
    -------
    `~astroflat.FlatSolution`
        Flat, and the mean of the gradients.
    """
    return af.solve_fields(frames, offsets=wcs_offsets(frames), n_threads=1)


def kll_flat(frames):
    """
    Find the flat from what moves and what stays with `astroflat.kll_flat`.

    Parameters
    ----------
    frames : list of `~astropy.nddata.CCDData`
        The frames.

    Returns
    -------
    `~astroflat.FlatSolution`
        The flat.
    """
    return af.kll_flat(frames, wcs_offsets(frames), n_threads=1)


def self_flat(frames):
    """
    Let `astroflat.self_flat` choose.

    Parameters
    ----------
    frames : list of `~astropy.nddata.CCDData`
        The frames; offsets are measured, beginning with their coordinates.

    Returns
    -------
    `~astroflat.FlatSolution`
        The flat.
    """
    return af.self_flat(frames, n_threads=1)


def wcs_offsets(frames):
    """
    Return the offsets that the coordinates of the frames say.

    Parameters
    ----------
    frames : list of `~astropy.nddata.CCDData`
        The frames.

    Returns
    -------
    `~numpy.ndarray`
        ``(n, 2)``, dy and dx in pixels.
    """
    places = np.array([frame.wcs.wcs.crpix[::-1] for frame in frames])
    return places - places[0]
