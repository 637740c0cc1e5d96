# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A key, no cache of the user's, and the server beside this file."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.config import set_temp_cache

sys.path.insert(0, str(Path(__file__).parent))

KEY = 'AIza-Test-0123456789-abcdefghijklmnopqr'


@pytest.fixture(autouse=True, scope='session')
def _one_context():
    """Read the certificates once: nothing here is encrypted."""
    context = ssl.create_default_context()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, 'create_default_context', lambda *_, **__: context)
        yield


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    for name in (
        'GOOGLE_API_KEY',
        'GOOGLE_GEMINI_BASE_URL',
        'GOOGLE_GENAI_USE_VERTEXAI',
        'HTTP_PROXY',
        'http_proxy',
        'ALL_PROXY',
        'all_proxy',
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('GEMINI_API_KEY', KEY)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    (tmp_path / 'cache').mkdir()
    # astropy 7.1 follows the variable only where a folder of its own is there.
    with set_temp_cache(tmp_path / 'cache'):
        yield


@pytest.fixture
def key():
    """Return the key of the tests."""
    return KEY


@pytest.fixture(scope='session')
def flat():
    """
    Return a flat with three dust shadows, its truth, its mask and its objects.

    The vignette falls by a seventh, the noise is 0.4 %.
    """
    ny, nx = 200, 320
    y, x = np.mgrid[:ny, :nx]
    vignette = 1 - 0.15 * ((x - 160) ** 2 + (y - 100) ** 2) / 160**2
    mask = np.zeros((ny, nx), dtype=bool)
    dust = np.ones((ny, nx))
    places = [(60, 80, 9, 0.05), (120, 240, 13, 0.08), (160, 60, 5, 0.2)]
    for cy, cx, radius, depth in places:
        inside = np.hypot(y - cy, x - cx) <= radius
        dust[inside] *= 1 - depth
        mask |= inside
    truth = 3000 * vignette
    noise = np.random.default_rng(1).normal(1, 0.004, (ny, nx))
    image = (truth * dust * noise).astype(np.float32)
    objects = [
        {
            'kind': 'disc',
            'box_2d': [
                1000 * (cy + 0.5 - radius) / ny,
                1000 * (cx + 0.5 - radius) / nx,
                1000 * (cy + 0.5 + radius) / ny,
                1000 * (cx + 0.5 + radius) / nx,
            ],
            'confidence': 0.9,
        }
        for cy, cx, radius, _ in places
    ]
    return {'image': image, 'truth': truth, 'mask': mask, 'objects': objects}
