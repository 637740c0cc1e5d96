# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The real service; only with ``--remote-data`` and a key in the environment.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

import astroflat as af
from astroflat.genai import GeminiDetector, GeminiInpainter, GeminiRefusedError

pytest.importorskip('google.genai')

# Read before the fixture puts a key for tests in its place.
REAL_KEY = os.environ.get('GOOGLE_API_KEY') or os.environ.get('GEMINI_API_KEY')

pytestmark = [
    pytest.mark.remote_data,
    pytest.mark.skipif(not REAL_KEY, reason='needs GEMINI_API_KEY'),
]


@pytest.fixture(autouse=True)
def _real_key(monkeypatch):
    monkeypatch.setenv('GEMINI_API_KEY', REAL_KEY)


def test_shapes(flat):
    """The model finds the two large shadows of a simple flat."""
    found = af.detect_dust(flat['image'], detector=GeminiDetector(cache=False))
    assert found.mask[60, 80]
    assert found.mask[120, 240]
    assert found.mask.mean() < 0.1
    assert found.provenance['response']


def test_image_mask(flat):
    """A painted mask is taken, or refused for a reason that is measured."""
    gemini = GeminiDetector(cache=False, answer='image')
    try:
        found = af.detect_dust(flat['image'], detector=gemini)
    except GeminiRefusedError:
        assert gemini.stages[-1]['numbers']
    else:
        assert found.mask[120, 240]


def test_fill(flat):
    """A fill is taken, or refused for a reason that is measured."""
    gemini = GeminiInpainter(cache=False)
    try:
        filled = af.inpaint(flat['image'], flat['mask'], method=gemini)
    except GeminiRefusedError:
        assert gemini.stages[-1]['numbers']
    else:
        inside = flat['mask']
        assert np.abs((filled / flat['truth'] - 1)[inside]).mean() < 0.03
        assert np.array_equal(filled[~inside], flat['image'][~inside])
