# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The methods in the table, and how any other one is found.

A method for single frames is called with one `~astropy.nddata.CCDData`, one
for nights with a list of them. It returns a flat, or (flat, gradient), or an
`astroflat.FlatSolution`. One setting for all scenes: no method may look at
what kind of scene it is given.
"""

from __future__ import annotations

import importlib
import os
import shutil
from dataclasses import dataclass, field

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData

import astroflat as af

_HERE = 'benchmarks.blindflat'


@dataclass(frozen=True)
class Method:
    """
    A method of the benchmark.

    Parameters
    ----------
    name : str
        Short name, for the command line and the results.

    label : str
        What the table calls it.

    calls : dict of str
        ``module:function`` by part, 'single' and 'night'.

    needs : callable, optional
        Returns why the method cannot run here, or None.
    """

    name: str
    label: str
    calls: dict[str, str] = field(default_factory=dict)
    needs: object = None

    def missing(self):
        """Return why the method cannot run here, or None."""
        return self.needs() if self.needs is not None else None


def _siril_missing():
    """Return why Siril cannot run here, or None."""
    return None if shutil.which('siril-cli') else 'siril-cli is not on the path'


def _basicpy_missing():
    """Return why BaSiCPy cannot run here, or None."""
    python = os.environ.get('BLINDFLAT_BASICPY_PYTHON')
    if not python:
        return 'no Python with basicpy given (--basicpy-python)'
    return None if shutil.which(python) else f'{python} is not a program'


METHODS = {
    method.name: method
    for method in (
        Method(
            'nothing',
            'doing nothing',
            {'single': f'{_HERE}.methods:nothing', 'night': f'{_HERE}.methods:nothing'},
        ),
        Method(
            'background2d',
            'photutils Background2D as a sky flat',
            {
                'single': f'{_HERE}.methods:background_flat',
                'night': f'{_HERE}.methods:background_flat_of_median',
            },
        ),
        Method(
            'radial_plane',
            'robust radial + plane fit',
            {
                'single': f'{_HERE}.radial_plane:fit_radial_plane',
                'night': f'{_HERE}.methods:radial_plane_of_median',
            },
        ),
        Method(
            'median',
            'unregistered median superflat',
            {'night': f'{_HERE}.methods:median_superflat'},
        ),
        Method(
            'basicpy',
            'BaSiCPy',
            {'night': f'{_HERE}.peers:basicpy_flat'},
            needs=_basicpy_missing,
        ),
        Method(
            'basicpy_autotune',
            'BaSiCPy, settings searched (autotune)',
            {'night': f'{_HERE}.peers:basicpy_autotuned'},
            needs=_basicpy_missing,
        ),
        Method(
            'siril',
            'Siril subsky (degree 4)',
            {
                'single': f'{_HERE}.peers:siril_subsky',
                'night': f'{_HERE}.peers:siril_subsky_frames',
            },
            needs=_siril_missing,
        ),
        Method(
            'dust_flat',
            'astroflat dust_flat (dust only)',
            {
                'single': f'{_HERE}.methods:dust_flat',
                'night': f'{_HERE}.methods:dust_flat_of_frames',
            },
        ),
    )
}


def load(spec):
    """
    Import a function.

    Parameters
    ----------
    spec : str
        ``module:function``.

    Returns
    -------
    callable
        The function.

    Raises
    ------
    ValueError
        If there is no colon in it.
    """
    module, colon, name = spec.partition(':')
    if not colon:
        msg = f'a method is given as module:function, not {spec!r}'
        raise ValueError(msg)
    return getattr(importlib.import_module(module), name)


def custom(spec, part):
    """
    Make a method of a function given on the command line.

    Parameters
    ----------
    spec : str
        ``module:function``, or ``name=module:function``.

    part : {'single', 'night'}
        Which half of the benchmark it is for.

    Returns
    -------
    Method
        The method.
    """
    name, equals, target = spec.rpartition('=')
    name = name if equals else target
    load(target)
    return Method(name, name, {part: target})


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
    from astropy.stats import SigmaClip
    from photutils.background import Background2D, MedianBackground
    from photutils.segmentation import detect_sources
    from scipy.ndimage import binary_dilation

    options = {
        'filter_size': 3,
        'sigma_clip': SigmaClip(3.0),
        'bkg_estimator': MedianBackground(),
        'exclude_percentile': 80,
    }
    first = Background2D(ccd.data, box, **options)
    threshold = first.background + 2 * first.background_rms
    sources = detect_sources(ccd.data, threshold, 5)
    mask = None if sources is None else binary_dilation(sources.data > 0, iterations=3)
    background = Background2D(ccd.data, box, mask=mask, **options).background
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
    Stars are brighter than the sky, and so only dark shadows are looked for.
    """
    options = af.pipelines.DustFlatOptions(detection={'polarity': 'dark'})
    return af.dust_flat(ccd, options=options, n_threads=1)


def dust_flat_of_frames(frames):
    """
    Find and fill the dust of the median of frames with `astroflat.dust_flat`.

    Parameters
    ----------
    frames : list of `~astropy.nddata.CCDData`
        The frames.

    Returns
    -------
    `~astroflat.FlatSolution`
        A flat that is 1 off the dust.
    """
    options = af.pipelines.DustFlatOptions(median={'scale': 'median'})
    return af.dust_flat(frames, options=options, n_threads=1)


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
    from benchmarks.blindflat.radial_plane import fit_radial_plane

    return fit_radial_plane(_median(frames))


def _median(frames):
    """Return the median of the frames, each scaled to the same median."""
    median = af.median_flat(frames, scale='median', uncertainty=None, n_threads=1)
    filled = np.where(np.isfinite(median.data), median.data, np.nanmedian(median.data))
    return CCDData(filled, unit=u.adu)
