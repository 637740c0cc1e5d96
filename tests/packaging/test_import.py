# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The root of the package: light to import, and complete.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import astroflat

# What costs more than 50 ms to import, or must not be imported unasked.
HEAVY = (
    'astropy.io.fits',
    'astropy.modeling',
    'astropy.nddata',
    'astropy.stats',
    'astropy.table',
    'astropy.units',
    'av',
    'ccdproc',
    'dask',
    'distributed',
    'google.genai',
    'matplotlib',
    'numba',
    'onnxruntime',
    'photutils',
    'scipy.ndimage',
    'skimage',
    'tifffile',
    'torch',
)


def modules_after(code: str) -> set[str]:
    """Return the names of the modules loaded by ``code`` in a fresh interpreter."""
    script = f'{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))'
    done = subprocess.run(
        [sys.executable, '-W', 'error', '-c', script],
        capture_output=True,
        check=True,
        text=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_root_import_is_light():
    """Importing the root loads none of the heavy packages."""
    assert not modules_after('import astroflat').intersection(HEAVY)


def test_command_line_import_is_light():
    """Asking for the version loads none of the heavy packages either."""
    code = """
import contextlib, io
from astroflat.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(['--version'])
"""
    assert not modules_after(code).intersection(HEAVY)


def test_heavy_names_load_on_demand():
    """A public name loads its own module, and the root stays otherwise lazy."""
    loaded = modules_after('import astroflat; astroflat.median_flat')
    assert 'astroflat.combine' in loaded
    assert not loaded.intersection(
        {'ccdproc', 'matplotlib', 'onnxruntime', 'photutils'}
    )


@pytest.mark.parametrize('name', astroflat.__all__)
def test_public_name_resolves(name):
    """Every name in ``__all__`` exists and is listed by ``dir``."""
    assert getattr(astroflat, name) is not None
    assert name in dir(astroflat)


def test_unknown_name():
    """A name that does not exist is an AttributeError that says so."""
    with pytest.raises(AttributeError, match='no_such_name'):
        astroflat.no_such_name  # noqa: B018


def test_version_is_a_version():
    """The version parses by the rules of Python packages."""
    from packaging.version import Version

    assert Version(astroflat.__version__) >= Version('0.0.0')
