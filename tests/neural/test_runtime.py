# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the import of ONNX Runtime."""

from __future__ import annotations

import os
import subprocess
import sys

CODE = """
import os, sys
from astroflat.neural import available_devices
assert 'onnxruntime' not in sys.modules
assert 'cpu' in available_devices()
print(os.environ['ORT_DISABLE_TELEMETRY'])
"""


def run(tmp_path, **variables):
    """Run the code in a process of its own with an empty home."""
    environment = {k: v for k, v in os.environ.items() if k != 'ORT_DISABLE_TELEMETRY'}
    environment |= {'HOME': str(tmp_path), **variables}
    return subprocess.run(
        [sys.executable, '-c', CODE],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )


def test_telemetry_is_off_before_the_import(tmp_path):
    """The switch is set, nothing is said, and nothing is left in the home."""
    result = run(tmp_path)
    assert result.stdout.strip() == '1'
    assert result.stderr == ''
    assert not list(tmp_path.glob('.cache/Microsoft*'))


def test_choice_of_the_user_stays(tmp_path):
    """A value that is already set is not changed."""
    assert run(tmp_path, ORT_DISABLE_TELEMETRY='0').stdout.strip() == '0'
