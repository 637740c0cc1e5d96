# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""SER videos as Siril reads them, where Siril is installed."""

from __future__ import annotations

import os
import shutil
import subprocess

import numpy as np
import pytest

from astroflat.io import SERFile, open_frames, write_ser

SIRIL = shutil.which('siril-cli')
pytestmark = [
    pytest.mark.siril,
    pytest.mark.skipif(SIRIL is None, reason='siril-cli is not installed'),
]


def siril_median(folder, name, color):
    """Return Siril's median of a video, in samples, the first row on top."""
    script = folder / 'median.ssf'
    script.write_text(
        'requires 1.0.0\nset16bits\nsetext fit\n'
        f'stack {name} med -nonorm -out=siril\nclose\n'
    )
    command = [SIRIL, '-d', str(folder), '-s', str(script)]
    # Its settings are kept out of the home of whoever runs the tests.
    env = {**os.environ, 'HOME': str(folder), 'XDG_CONFIG_HOME': str(folder)}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=env
    )
    assert (folder / 'siril.fit').exists(), done.stdout[-2000:]
    with open_frames(folder / 'siril.fit', color=color) as stack:
        frame = stack[0]
    # Siril stores the bottom row first.
    return frame[::-1]


@pytest.mark.parametrize(
    ('depth', 'order', 'color'),
    [
        (16, 'little', 'mono'),
        (16, 'big', 'mono'),
        (12, 'little', 'mono'),
        (8, 'little', 'mono'),
        (16, 'little', 'RGB'),
        (8, 'little', 'BGR'),
        (16, 'little', 'RGGB'),
    ],
)
def test_same_samples(tmp_path, depth, order, color):
    """Siril reads from our video what we wrote, and so do we."""
    rng = np.random.default_rng(depth)
    shape = (40, 60, 3) if color in ('RGB', 'BGR') else (40, 60)
    ramp = np.linspace(0.2, 0.7, 60).reshape(60, *shape[2:] and (1,))
    top = 2**depth - 1
    frame = (top * ramp + rng.normal(0, top / 50, shape)).clip(0, top)
    frame = frame.astype(np.uint8 if depth <= 8 else np.uint16)
    write_ser(
        tmp_path / 'video.ser', [frame] * 3, color=color, bit_depth=depth,
        byteorder=order,
    )  # fmt: skip
    with SERFile(tmp_path / 'video.ser') as video:
        assert video.byteorder_evidence.agrees
        ours = video[1]
    np.testing.assert_array_equal(ours, frame)
    theirs = siril_median(
        tmp_path, 'video', 'RGB' if len(shape) == 3 else 'mono'
    ).astype(float)
    np.testing.assert_allclose(theirs, ours, atol=1e-3)
