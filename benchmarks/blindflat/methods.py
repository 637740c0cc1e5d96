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
            {
                'single': f'{_HERE}.classical:nothing',
                'night': f'{_HERE}.classical:nothing',
            },
        ),
        Method(
            'background2d',
            'photutils Background2D as a sky flat',
            {
                'single': f'{_HERE}.classical:background_flat',
                'night': f'{_HERE}.classical:background_flat_of_median',
            },
        ),
        Method(
            'radial_plane',
            'robust radial + plane fit',
            {
                'single': f'{_HERE}.radial_plane:fit_radial_plane',
                'night': f'{_HERE}.classical:radial_plane_of_median',
            },
        ),
        Method(
            'median',
            'unregistered median superflat',
            {'night': f'{_HERE}.classical:median_superflat'},
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
                'single': f'{_HERE}.classical:dust_flat',
                'night': f'{_HERE}.classical:dust_flat_of_median',
            },
        ),
        Method(
            'flat_corrector',
            'astroflat FlatCorrector (networks)',
            {'single': f'{_HERE}.networks:flat_corrector'},
        ),
        Method(
            'sky_flat',
            'astroflat sky_flat',
            {'night': f'{_HERE}.selfcal:sky_flat'},
        ),
        Method(
            'solve_fields',
            'astroflat solve_fields',
            {'night': f'{_HERE}.selfcal:solve_fields'},
        ),
        Method(
            'kll_flat',
            'astroflat kll_flat',
            {'night': f'{_HERE}.selfcal:kll_flat'},
        ),
        Method(
            'self_flat',
            'astroflat self_flat',
            {'night': f'{_HERE}.selfcal:self_flat'},
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
