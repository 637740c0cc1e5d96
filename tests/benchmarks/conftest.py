# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The benchmarks are in the checkout, not in the package."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

collect_ignore = []
if (ROOT / 'benchmarks' / 'blindflat').exists():
    sys.path.insert(0, str(ROOT))
else:
    collect_ignore += ['test_blindflat.py', 'test_denoise_real.py']
