# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The fuzzer is a script; its tests import it as it is."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
