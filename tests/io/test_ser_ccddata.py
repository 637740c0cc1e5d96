# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""SER videos through ``CCDData.read`` and ``CCDData.write``."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from astropy.io import registry
from astropy.nddata import CCDData

from astroflat.io import SERFile, ccddata

NOON = 637134768000000000


def test_registered():
    """Importing the containers registers the format."""
    formats = registry.get_formats(CCDData)
    row = formats[formats['Format'] == 'ser'][0]
    assert (row['Read'], row['Write'], row['Auto-identify']) == ('Yes', 'Yes', 'Yes')
    ccddata.register()


def test_read(make_ser, scene):
    """A frame, counted from either end, comes with names, pattern and time."""
    path = make_ser(
        scene, color_id=8, depth=12, names=(b'me', b'cam', b'tube'),
        trailer=[NOON + i for i in range(5)],
    )  # fmt: skip
    ccd = CCDData.read(path, format='ser')
    assert ccd.unit == 'adu'
    assert ccd.dtype == np.uint16
    np.testing.assert_array_equal(ccd.data, scene[0])
    ccd = CCDData.read(str(path), frame=-1, unit='electron')
    np.testing.assert_array_equal(ccd.data, scene[4])
    assert ccd.unit == 'electron'
    assert ccd.meta['DATE-OBS'] == '2020-01-01T12:00:00.0000004'
    assert ccd.meta['BAYERPAT'] == 'RGGB'
    assert ccd.meta['OBSERVER'] == 'me'
    assert ccd.meta['SERFRAME'] == 4
    cube = CCDData.read(path, frame='all')
    np.testing.assert_array_equal(cube.data, scene)


def test_options(make_ser, scene):
    """Byte order and partial reading are passed on."""
    path = make_ser(scene, cut=178 + 2 * 1536)
    with pytest.warns(UserWarning, match='reading 2'):
        cube = CCDData.read(path, format='ser', frame='all', partial=True)
    assert cube.shape == (2, 24, 32)
    swapped = CCDData.read(make_ser(scene), byteorder='big')
    np.testing.assert_array_equal(swapped.data, scene[0].byteswap())


def test_write(tmp_path, scene):
    """A frame or a cube is written with names, pattern and time."""
    meta = {'OBSERVER': 'me', 'BAYERPAT': 'GRBG', 'DATE-OBS': '2020-01-01T12:00:00'}
    CCDData(scene[0], unit='adu', meta=meta).write(tmp_path / 'one.ser')
    with SERFile(tmp_path / 'one.ser') as video:
        assert video.shape == (1, 24, 32)
        assert video.color == 'GRBG'
        assert video.observer == 'me'
        assert video.timestamps.tolist() == [NOON]
    CCDData(scene, unit='adu').write(tmp_path / 'all.ser', bit_depth=12)
    with SERFile(tmp_path / 'all.ser') as video:
        np.testing.assert_array_equal(video[:], scene)
    with pytest.raises(OSError, match='overwrite'):
        CCDData(scene, unit='adu').write(tmp_path / 'all.ser')


def test_content_decides(make_ser, scene):
    """A SER video is recognised under any name."""
    path = make_ser(scene, file='video.dat')
    np.testing.assert_array_equal(CCDData.read(path).data, scene[0])


def test_registered_when_nddata_is_there(make_ser, scene):
    """With astropy.nddata there, the import of astroflat.io is enough."""
    path = str(make_ser(scene))
    code = (
        'import sys, astroflat.io\n'
        'assert "astropy.nddata" not in sys.modules\n'
        'for name in [n for n in sys.modules if n.startswith("astroflat")]:\n'
        '    del sys.modules[name]\n'
        'from astropy.nddata import CCDData\n'
        'import astroflat.io\n'
        f'assert CCDData.read({path!r}, format="ser").shape == (24, 32)\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True, timeout=60)
