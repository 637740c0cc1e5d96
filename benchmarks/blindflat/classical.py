# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The methods in the table that run in this process."""

from __future__ import annotations

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData

import astroflat as af
from benchmarks.blindflat.radial_plane import fit_radial_plane


def nothing(frames):  # noqa: ARG001
    """
    Do nothing: F is 1 and G is 0.

    Parameters
    ----------
    frames : CCDData or list of CCDData
        Not looked at.

    Returns
    -------
    tuple of float
        Flat and gradient.
    """
    return 1.0, 0.0


def background_flat(ccd, *, box=32):
    """
    Take the background of `photutils.background.Background2D` for the flat.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData`
        The frame.

    box : int, optional
        Size of the meshes.

    Returns
    -------
    `~numpy.ndarray`
        The background over its mean, made twice: sources above 2 sigma of the
        first are left out of the second.
    """
    image = np.asarray(ccd.data)
    background = _background(image, box, mask=_sources(image, box)).background
    return background / background.mean()


def median_superflat(frames):
    """
    Take the median of the frames, not registered, for the flat.

    Parameters
    ----------
    frames : list of `~astropy.nddata.CCDData`
        The frames; each is scaled to the same median.

    Returns
    -------
    `~astroflat.FlatSolution`
        The median over its mean.
    """
    return af.FlatSolution.from_image(_median(frames), method='median')


def dust_flat(ccd):
    """
    Find and fill the dust of one frame with `astroflat.dust_flat`.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData`
        The frame.

    Returns
    -------
    `~astroflat.FlatSolution`
        A flat that is 1 off the dust.

    Notes
    -----
    It is made for medians of moving scenes. Here there are stars in the way:
    they are masked as for `background_flat`, and only dark shadows are
    looked for.
    """
    masked = CCDData(ccd.data, unit=u.adu, mask=_sources(np.asarray(ccd.data)))
    options = af.pipelines.DustFlatOptions(detection={'polarity': 'dark'})
    return af.dust_flat(masked, options=options, n_threads=1)


def dust_flat_of_median(frames):
    """
    Find and fill the dust of the median of frames with `astroflat.dust_flat`.

    Parameters
    ----------
    frames : list of `~astropy.nddata.CCDData`
        The frames.

    Returns
    -------
    `~astroflat.FlatSolution`
        A flat that is 1 off the dust, see `dust_flat`.
    """
    return dust_flat(_median(frames))


def background_flat_of_median(frames):
    """
    Take the background of the median of frames for the flat.

    Parameters
    ----------
    frames : list of `~astropy.nddata.CCDData`
        The frames.

    Returns
    -------
    `~numpy.ndarray`
        The flat, see `background_flat`.
    """
    return background_flat(_median(frames))


def radial_plane_of_median(frames):
    """
    Fit a radial profile and a plane to the median of frames.

    Parameters
    ----------
    frames : list of `~astropy.nddata.CCDData`
        The frames.

    Returns
    -------
    tuple of `~numpy.ndarray`
        Flat and gradient.
    """
    return fit_radial_plane(_median(frames))


def _median(frames):
    """Return the median of the frames, each scaled to the same median."""
    median = af.median_flat(frames, scale='median', uncertainty=None, n_threads=1)
    filled = np.where(np.isfinite(median.data), median.data, np.nanmedian(median.data))
    return CCDData(filled, unit=u.adu)


def _background(image, box, *, mask=None):
    """Return the background of an image in meshes."""
    from astropy.stats import SigmaClip
    from photutils.background import Background2D, MedianBackground

    return Background2D(
        image,
        box,
        mask=mask,
        filter_size=3,
        sigma_clip=SigmaClip(3.0),
        bkg_estimator=MedianBackground(),
        exclude_percentile=80,
    )


def _sources(image, box=32):
    """Return where sources stand 2 sigma above the background, and around."""
    from photutils.segmentation import detect_sources
    from scipy.ndimage import binary_dilation

    background = _background(image, box)
    threshold = background.background + 2 * background.background_rms
    sources = detect_sources(image, threshold, 5)
    if sources is None:
        return np.zeros(image.shape, bool)
    return binary_dilation(sources.data > 0, iterations=3)
