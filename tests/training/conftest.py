# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What the tests of the training share."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch')
sys.path.insert(0, str(Path(__file__).parent))

from collect_site import quick, site  # noqa: E402, F401


class FixedPool:
    """Skies and fields of closed form, as a pool holds them."""

    device = torch.device('cpu')

    def __init__(self, n: int = 6, size: int = 64) -> None:
        rng = np.random.default_rng(3)
        y, x = np.mgrid[:size, :size] / size - 0.5
        near = np.exp(-((y - 0.1) ** 2 + x**2) / 0.05)
        made = {
            'night': [rng.gamma(0.1, 0.3, (size, size)) for _ in range(n)],
            'day': [0.2 * np.sin(9 * x + i) for i in range(n)],
            'smooth': [0.02 * (i + 1) * (0.15 - x**2 - y**2) for i in range(n)],
            'dust': [-0.05 * (i + 1) * near for i in range(n)],
            'gradient': [0.05 * (x + i * y) for i in range(n)],
        }
        self.arrays = {
            k: torch.tensor(np.stack(v), dtype=torch.float16) for k, v in made.items()
        }
        self.made = dict.fromkeys(made, n)

    def filled(self, name: str) -> int:
        """Return the number of entries."""
        return len(self.arrays[name])


@pytest.fixture(scope='session')
def fixed_pool() -> type[FixedPool]:
    """Return the class of a pool that needs no simulation."""
    return FixedPool
