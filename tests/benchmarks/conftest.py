# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The benchmarks are in the checkout, not in the package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

collect_ignore = []
if (ROOT / 'benchmarks' / 'blindflat').exists():
    sys.path.insert(0, str(ROOT))
else:
    collect_ignore += ['test_denoise_real.py']
    collect_ignore_glob = ['test_blindflat_*.py']

SINGLE = {
    'id': 's000',
    'seed': 4,
    'kind': 'starfield',
    'difficulty': 0.8,
    'noise': 'low',
    'shape': [96, 120],
}
NIGHT = SINGLE | {
    'id': 'n00',
    'geometry': 'small',
    'pattern': 'random',
    'dither': 4.0,
    'n': 3,
    'gradient': 0.15,
}


@pytest.fixture(scope='session')
def single():
    """Return a small single frame of blindflat."""
    from benchmarks.blindflat.scenes import make_case

    return make_case(SINGLE)


@pytest.fixture(scope='session')
def night():
    """Return a small night of blindflat."""
    from benchmarks.blindflat.scenes import make_case

    return make_case(NIGHT)


@pytest.fixture(scope='session')
def scored():
    """Return a function that scores what a method returned."""
    from benchmarks.blindflat.score import as_answer, score

    def function(case, result):
        answer = as_answer(result, shape=case.flat.shape, n_frames=len(case.frames))
        return score(case, answer)

    return function
