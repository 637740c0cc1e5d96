# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Exported flats applied by Siril, run without a window, where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess

import numpy as np
import pytest
from astropy.io import fits

import astroflat as af
from astroflat.io import read_image, write_flat, write_image

SIRIL = shutil.which('siril-cli')
SHAPE = (60, 81)
pytestmark = [
    pytest.mark.siril,
    pytest.mark.skipif(SIRIL is None, reason='siril-cli is not installed'),
]


def siril(folder, *commands):
    """Run commands in a folder and return what Siril said."""
    script = folder / 'run.ssf'
    script.write_text(
        '\n'.join(['requires 1.0.0', 'setext fit', *commands, 'close', ''])
    )
    # Its settings are kept out of the home of whoever runs the tests.
    env = {**os.environ, 'HOME': str(folder), 'XDG_CONFIG_HOME': str(folder)}
    done = subprocess.run(
        [SIRIL, '-d', str(folder), '-s', str(script)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=env,
    )
    assert 'Script execution finished successfully' in done.stdout, done.stdout[-3000:]
    return done.stdout


@pytest.fixture
def flat():
    """Return a flat with dust, also in the middle of the frame."""
    flat = np.ones(SHAPE, np.float32)
    rng = np.random.default_rng(11)
    flat[5:15, 10:30] = rng.uniform(0.6, 0.99, (10, 20))
    flat[28:33, 38:46] = 0.7
    flat[50, 70:75] = 0.3
    return flat


@pytest.fixture
def lights(tmp_path, flat):
    """Write two 16-bit frames with a gradient, so that a flip is noticed."""
    rng = np.random.default_rng(12)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    frames = [
        (flat * (1000 + 20 * y + 3 * x + rng.normal(0, 20, SHAPE))).astype(np.uint16)
        for _ in range(2)
    ]
    for number, frame in enumerate(frames, 1):
        write_image(frame, tmp_path / f'light_{number:05d}.fit')
    return frames


def corrected(path):
    """Return what Siril has written, in the counts of the camera."""
    data = fits.getdata(path)
    return data * 65535.0 if data.dtype.kind == 'f' else data.astype(float)


def relative_difference(found, wanted):
    """Return the largest relative difference."""
    return float(np.abs(found / wanted - 1).max())


@pytest.mark.parametrize('command', ['idiv flat', 'fdiv flat 1'])
def test_division_by_the_float32_flat(tmp_path, flat, lights, command):
    """The recipe: load, divide, save; the same frame but for float32 rounding."""
    write_flat(flat, tmp_path / 'flat.fit')
    siril(tmp_path, 'set32bits', 'load light_00001', command, 'save out')
    ours = af.DegradationModel(str(tmp_path / 'flat.fit')).correct(lights[0])
    assert relative_difference(corrected(tmp_path / 'out.fit'), ours) < 3e-7


def test_division_by_the_16_bit_flat(tmp_path, flat, lights):
    """A 16-bit FITS flat is as good as its steps of 1/65535."""
    write_flat(flat, tmp_path / 'flat.fit', dtype='uint16')
    siril(tmp_path, 'set32bits', 'load light_00001', 'idiv flat', 'save out')
    found = corrected(tmp_path / 'out.fit')
    ours = af.DegradationModel(flat).correct(lights[0])
    assert relative_difference(found, ours) < 0.51 / 65535 / flat.min()
    clean = flat == 1
    assert relative_difference(found[clean], lights[0][clean]) < 3e-7


@pytest.mark.parametrize('dtype', ['uint16', 'float32'])
@pytest.mark.parametrize('suffix', ['.tif', '.png'])
def test_tiff_needs_its_rows_reversed(tmp_path, flat, lights, dtype, suffix):
    """Siril shows FITS bottom up and TIFF top down; flip_rows makes them agree."""
    if suffix == '.png' and dtype == 'float32':
        pytest.skip('PNG has no floating point')
    write_flat(flat, tmp_path / f'flat{suffix}', dtype=dtype, flip_rows=True)
    write_flat(flat, tmp_path / f'wrong{suffix}', dtype=dtype)
    for name in ('flat', 'wrong'):
        siril(tmp_path, f'load {name}{suffix}', f'save {name}')
        siril(
            tmp_path, 'set32bits', 'load light_00001', f'idiv {name}', f'save o_{name}'
        )
    ours = af.DegradationModel(flat).correct(lights[0])
    limit = 3e-7 if dtype == 'float32' else 0.51 / 65535 / flat.min()
    assert relative_difference(corrected(tmp_path / 'o_flat.fit'), ours) < limit
    assert relative_difference(corrected(tmp_path / 'o_wrong.fit'), ours) > 0.1
    # Our own reader undoes the reversal.
    from_file = af.DegradationModel(str(tmp_path / f'flat{suffix}')).correct(lights[0])
    assert np.allclose(from_file, ours, rtol=3e-5)


def test_preprocess_scales_by_the_middle_of_the_flat(tmp_path, flat, lights):
    """The command preprocess multiplies by the mean of the middle ninth of the flat."""
    write_flat(flat, tmp_path / 'flat.fit')
    said = siril(tmp_path, 'set32bits', 'preprocess light_ -flat=flat -prefix=c_')
    ny, nx = SHAPE
    middle = flat[ny // 3 : 2 * (ny // 3), nx // 3 : 2 * (nx // 3)].astype(float)
    assert middle.mean() < 0.99
    assert f'auto evaluated: {middle.mean():.3f}' in said
    for number, light in enumerate(lights, 1):
        found = corrected(tmp_path / f'c_light_{number:05d}.fit')
        ours = af.DegradationModel(flat).correct(light)
        assert relative_difference(found, ours * middle.mean()) < 1e-6


def test_preprocess_with_a_clean_middle(tmp_path, flat, lights):
    """Without dust in the middle the factor is 1, and preprocess is exact."""
    flat[20:40, 27:54] = 1
    write_flat(flat, tmp_path / 'flat.fit')
    siril(tmp_path, 'set32bits', 'preprocess light_ -flat=flat -prefix=c_')
    found = corrected(tmp_path / 'c_light_00002.fit')
    ours = af.DegradationModel(flat).correct(lights[1])
    assert relative_difference(found, ours) < 3e-7


def test_16_bits_round_the_result(tmp_path, flat, lights):
    """With set16bits the corrected frame is rounded to whole counts."""
    flat[20:40, 27:54] = 1
    write_flat(flat, tmp_path / 'flat.fit')
    siril(tmp_path, 'set16bits', 'preprocess light_ -flat=flat -prefix=c_')
    found = corrected(tmp_path / 'c_light_00001.fit')
    ours = af.DegradationModel(flat).correct(lights[0])
    assert np.abs(found - ours).max() <= 0.51


def test_colour_both_ways(tmp_path):
    """RGB of 16 bits through FITS, PNG and TIFF: Siril's rows run the other way."""
    rng = np.random.default_rng(13)
    data = rng.integers(0, 65536, (20, 30, 3)).astype(np.uint16)
    for suffix in ('.fit', '.tif', '.png'):
        write_image(data, tmp_path / f'ours{suffix}')
    siril(
        tmp_path,
        'load ours.fit',
        'savepng siril',
        'savetif siril',
        'load ours.tif',
        'save tif',
        'load ours.png',
        'save png',
    )
    for name in ('siril.png', 'siril.tif', 'tif.fit', 'png.fit'):
        assert np.array_equal(read_image(tmp_path / name).data[::-1], data), name
