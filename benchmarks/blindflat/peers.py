# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Programs of others, run as their users run them, in processes of their own."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits

# Siril keeps images of real numbers between 0 and 1; noise may be negative.
_SIRIL_SCALE = 65535.0
_SIRIL_PEDESTAL = 0.1
_SIRIL_DEGREE = 4
_SIRIL_SCRIPT = f"""\
requires 1.0.0
setext fits
setcpu 1
seqsubsky light_ {_SIRIL_DEGREE} -prefix=flat_
"""
_LIMIT = 900.0


def siril_subsky(ccd):
    """
    Remove the background of one frame with Siril's ``seqsubsky``.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData`
        The frame.

    Returns
    -------
    tuple
        1 for the flat, and the background as gradient.
    """
    # Siril makes no sequence of a single frame.
    flat, gradients = siril_subsky_frames([ccd, ccd])
    return flat, gradients[0]


def siril_subsky_frames(frames):
    """
    Remove the background of each frame with Siril's ``seqsubsky``.

    Parameters
    ----------
    frames : list of `~astropy.nddata.CCDData`
        The frames.

    Returns
    -------
    tuple
        1 for the flat, and a list of the backgrounds as gradients.

    Notes
    -----
    Siril dithers what it subtracts by some ADU, which would count against it
    in faint frames. Its background is a polynomial, and as such it is read.
    """
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for i, ccd in enumerate(frames, start=1):
            data = (ccd.data / _SIRIL_SCALE + _SIRIL_PEDESTAL).astype(np.float32)
            fits.writeto(folder / f'light_{i:05d}.fits', data)
        (folder / 'run.ssf').write_text(_SIRIL_SCRIPT)
        _run(['siril-cli', '-d', str(folder), '-s', str(folder / 'run.ssf')])
        corrected = [
            fits.getdata(folder / f'flat_light_{i:05d}.fits')
            for i in range(1, len(frames) + 1)
        ]
    return 1.0, [
        _polynomial(ccd.data - _SIRIL_SCALE * image.astype(float))
        for ccd, image in zip(frames, corrected, strict=True)
    ]


def basicpy_flat(frames, *, mode='default'):
    """
    Estimate the flat with BaSiCPy at its default settings.

    Parameters
    ----------
    frames : list of `~astropy.nddata.CCDData`
        The frames.

    mode : {'default', 'autotune'}, optional
        Whether to let it search for its settings first.

    Returns
    -------
    `~numpy.ndarray`
        The flat.

    Notes
    -----
    It runs under the interpreter in ``BLINDFLAT_BASICPY_PYTHON``, since it
    asks for an older SciPy than astroflat.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / 'frames.npy', Path(folder) / 'flat.npy'
        np.save(source, np.stack([ccd.data for ccd in frames]).astype(np.float32))
        worker = Path(__file__).with_name('basicpy_worker.py')
        python = os.environ['BLINDFLAT_BASICPY_PYTHON']
        _run([python, str(worker), mode, str(source), str(target)])
        return np.load(target)


def basicpy_autotuned(frames):
    """
    Estimate the flat with BaSiCPy, which searches for its settings first.

    Parameters
    ----------
    frames : list of `~astropy.nddata.CCDData`
        The frames.

    Returns
    -------
    `~numpy.ndarray`
        The flat, see `basicpy_flat`.
    """
    return basicpy_flat(frames, mode='autotune')


def siril_version():
    """
    Ask Siril for its version.

    Returns
    -------
    str
        The version.
    """
    return re.sub(r'^\D*', '', _run(['siril-cli', '--version']).strip())


def basicpy_version():
    """
    Ask the other interpreter for the version of BaSiCPy.

    Returns
    -------
    str
        The version.
    """
    code = 'import importlib.metadata as m; print(m.version("basicpy"))'
    return _run([os.environ['BLINDFLAT_BASICPY_PYTHON'], '-c', code]).strip()


def _polynomial(image):
    """Return the polynomial of Siril's degree that is behind a noisy image."""
    y, x = (np.linspace(-1.0, 1.0, size) for size in image.shape)
    matrix = np.zeros((_SIRIL_DEGREE + 1, _SIRIL_DEGREE + 1))
    powers = [(i, j) for i, j in np.ndindex(matrix.shape) if i + j <= _SIRIL_DEGREE]
    # Every fourth pixel decides 15 numbers well enough.
    terms = [np.outer(y[::4] ** i, x[::4] ** j).ravel() for i, j in powers]
    values = image[::4, ::4].ravel()
    solution = np.linalg.lstsq(np.stack(terms, axis=1), values, rcond=None)[0]
    for place, value in zip(powers, solution, strict=True):
        matrix[place] = value
    return np.polynomial.polynomial.polygrid2d(y, x, matrix)


def _run(command):
    """Run a program; raise with the end of what it said if it failed."""
    result = subprocess.run(
        command,
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
        text=True,
        errors='replace',
        timeout=_LIMIT,
    )
    if result.returncode:
        tail = (result.stderr or result.stdout).strip()[-400:]
        msg = f'{Path(command[0]).name} ended with {result.returncode}: {tail}'
        raise RuntimeError(msg)
    return result.stdout
