# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The maker of nights beside this file."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
