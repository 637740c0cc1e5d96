# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Settings of the test run: versions in the header, one plotting backend.
"""

from __future__ import annotations

import os

# Before anything can import them: no window, no telemetry, in no test.
os.environ.setdefault('MPLBACKEND', 'agg')
os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')

import hypothesis

try:
    from pytest_astropy_header.display import PYTEST_HEADER_MODULES, TESTED_VERSIONS
except ImportError:
    PYTEST_HEADER_MODULES, TESTED_VERSIONS = {}, {}

hypothesis.settings.register_profile('default', deadline=None, max_examples=30)
hypothesis.settings.register_profile('ci', deadline=None, derandomize=True)
hypothesis.settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE', 'default'))


def pytest_configure(config: object) -> None:  # noqa: ARG001
    """
    List the packages that decide the numbers in the header of the run.

    Parameters
    ----------
    config : object
        The configuration of pytest (unused).
    """
    from astroflat import __version__

    PYTEST_HEADER_MODULES.clear()
    PYTEST_HEADER_MODULES.update(
        {
            'numpy': 'numpy',
            'scipy': 'scipy',
            'astropy': 'astropy',
            'ccdproc': 'ccdproc',
            'photutils': 'photutils',
            'scikit-image': 'skimage',
            'numba': 'numba',
            'matplotlib': 'matplotlib',
            'dask': 'dask',
        }
    )
    TESTED_VERSIONS['astroflat'] = __version__
