# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The fuzzer is a script; its tests import it as it is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

# The limits of memory and time are those of POSIX.
collect_ignore = ['fuzz_files.py', 'test_fuzz_files.py'] if os.name == 'nt' else []
