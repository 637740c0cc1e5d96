# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A user's frames on their way into a training: catalogue, splits, checks, tiles.
"""

from __future__ import annotations

import hashlib
import shutil

import numpy as np
import pytest
from astropy.nddata import CCDData

from astroflat.io import write_image
from astroflat.training.catalogue import (
    catalogue_frames,
    check_catalogue,
    read_catalogue,
    split_catalogue,
    subsample,
    write_catalogue,
)
from astroflat.training.frame_tiles import FrameTiles, check_tiles

KNOWN = {'gain': 1.0, 'readnoise': 3.0, 'offset': 100.0}


def frame(seed, shape=(64, 80), level=300.0):
    """A frame of sky alone."""
    rng = np.random.default_rng(seed)
    image = rng.poisson(level, shape) + 3.0 * rng.standard_normal(shape)
    return np.round(image + 100.0).astype('u2')


@pytest.fixture
def folder(tmp_path):
    """Eight frames of two fields, one of them twice."""
    for k in range(8):
        header = {'OBJECT': f'field {k % 2}', 'EXPTIME': 30.0, 'TELESCOP': 'small'}
        ccd = CCDData(frame(k), unit='adu', meta=header)
        ccd.write(tmp_path / f'light{k}.fits')
    return tmp_path


def test_catalogue(folder):
    """Hashes are those of the files, numbers those of the frames."""
    (folder / 'night').mkdir()
    shutil.copy(folder / 'light3.fits', folder / 'night' / 'again.fits')
    write_image(frame(5), folder / 'night' / 'other.tif')
    table = catalogue_frames(folder)
    assert len(table) == 10
    row = table[table['path'] == 'light2.fits'][0]
    digest = hashlib.sha256((folder / 'light2.fits').read_bytes()).hexdigest()
    assert row['sha256'] == digest
    assert (row['ny'], row['nx'], row['planes'], row['dtype']) == (64, 80, 1, 'uint16')
    assert (row['object'], row['exposure'], row['telescope']) == (
        'field 0',
        30,
        'small',
    )
    assert row['median'] == pytest.approx(400.0, abs=2.0)
    assert row['noise'] == pytest.approx(309.0**0.5, rel=0.05)
    doubles = {r['path']: r['duplicate_of'] for r in table if r['duplicate_of']}
    # The same bytes, and the same pixels in another format.
    assert doubles == {
        'night/again.fits': 'light3.fits',
        'night/other.tif': 'light5.fits',
    }


def test_catalogue_survives(folder):
    """What is written comes back."""
    table = split_catalogue(catalogue_frames(folder), by='object')
    path = write_catalogue(table, folder / 'lights.ecsv')
    back = read_catalogue(path)
    assert back.meta['root'] == str(folder)
    assert back.colnames == table.colnames
    for name in table.colnames:
        np.testing.assert_array_equal(back[name], table[name])
    with pytest.raises(OSError, match='exists'):
        write_catalogue(table, path)
    with pytest.raises(ValueError, match=r'must end in \.ecsv or \.parquet'):
        write_catalogue(table, folder / 'lights.txt')


def test_parquet(folder):
    """The catalogue in the other format."""
    pytest.importorskip('pyarrow')
    table = catalogue_frames(folder)
    back = read_catalogue(write_catalogue(table, folder / 'lights.parquet'))
    np.testing.assert_array_equal(back['sha256'], table['sha256'])


def test_split_keeps_parents_whole(folder):
    """A parent has one split; the order of the files and other parents do not count."""
    table = catalogue_frames(folder)
    split = split_catalogue(table, fractions=(0.5, 0.25, 0.25), seed=3)
    names, counts = np.unique(split['split'], return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == {
        'train': 4,
        'validate': 2,
        'test': 2,
    }
    again = split_catalogue(table[::-1], fractions=(0.5, 0.25, 0.25), seed=3)[::-1]
    assert list(again['split']) == list(split['split'])
    other = split_catalogue(table, fractions=(0.5, 0.25, 0.25), seed=4)
    assert list(other['split']) != list(split['split'])
    fields = split_catalogue(table, by='object', fractions=(0.5, 0.5, 0.0))
    assert len(set(zip(fields['object'], fields['split'], strict=True))) == 2
    check_catalogue(fields)
    fields['split'][0] = 'test'
    with pytest.raises(ValueError, match='field 0: in the splits'):
        check_catalogue(fields)
    with pytest.raises(ValueError, match='sum to 1'):
        split_catalogue(table, fractions=(0.5, 0.1, 0.1))
    with pytest.raises(ValueError, match='no column'):
        split_catalogue(table, by='colour')


def test_duplicates_stay_together(folder):
    """A copy is never judged with what was learned from its original."""
    for k in range(8):
        shutil.copy(folder / f'light{k}.fits', folder / f'z{k}.fits')
    split = split_catalogue(catalogue_frames(folder), fractions=(0.5, 0.5, 0.0))
    parts = dict(zip(split['path'], split['split'], strict=True))
    assert len(set(parts.values())) == 2
    assert all(parts[f'light{k}.fits'] == parts[f'z{k}.fits'] for k in range(8))


def test_subsample(folder):
    """A choice is the same each time, and takes from each split in proportion."""
    table = split_catalogue(catalogue_frames(folder), fractions=(0.5, 0.25, 0.25))
    chosen = subsample(table, 4, seed=1)
    assert sorted(chosen['split']) == ['test', 'train', 'train', 'validate']
    assert list(subsample(table, 4, seed=1)['path']) == list(chosen['path'])
    with pytest.raises(ValueError, match='count must be from 1 to 8'):
        subsample(table, 9)


def test_checks_fail_loudly(folder):
    """Each file that is of no use is named, with the reason."""
    (folder / 'broken.fits').write_bytes(b'SIMPLE  =                    T')
    write_image(np.full((64, 64), 7, 'u2'), folder / 'constant.fits')
    write_image(np.minimum(frame(9), 410), folder / 'full.fits')
    write_image(frame(10, (16, 64)), folder / 'small.fits')
    holes = frame(11).astype('f4')
    holes[:40] = np.nan
    write_image(holes, folder / 'holes.fits')
    write_image((frame(12) // 4).astype('u1'), folder / 'picture.png')
    shutil.copy(folder / 'light1.fits', folder / 'twice.fits')
    with pytest.raises(ValueError, match='7 problems') as caught:
        check_catalogue(catalogue_frames(folder), size=32)
    text = str(caught.value)
    for line in (
        'broken.fits: cannot be read',
        'constant.fits: constant',
        'full.fits: at its highest value',
        'small.fits: 64 x 16 pixels, fewer than 32',
        'holes.fits: more than half',
        'picture.png: a picture of 8 bits',
        'twice.fits: a duplicate of light1.fits',
    ):
        assert line in text
    assert 'light0' not in text


def test_tiles_lead_back():
    """Tiles cover all of a frame, and each leads back to its numbers."""
    image = frame(1, (70, 100)).astype('f4')
    image[5, 7] = np.nan
    tiles = FrameTiles([image], 32, stride=20, **KNOWN)
    back = np.full(image.shape, np.nan)
    for k in range(len(tiles)):
        tile = tiles[k]
        back[tile.y : tile.y + 32, tile.x : tile.x + 32] = tile.back()
    good = np.isfinite(image)
    assert np.isfinite(back).all()
    np.testing.assert_allclose(back[good], image[good], rtol=2e-6)
    assert tiles[0].values[5, 7] == 0.0
    spread = np.std([tiles[k].values.std() for k in range(len(tiles))])
    assert spread < 0.1


def test_tiles_are_lazy(tmp_path):
    """Frames are read when a tile of them is asked for, and forgotten again."""
    paths = [write_image(frame(k), tmp_path / f'{k}.fits').path for k in range(4)]
    tiles = FrameTiles(paths, 64, keep=2, **KNOWN)
    assert len(tiles) == 8
    assert not tiles._kept
    for k in range(len(tiles)):
        assert tiles[k].frame == k // 2
        assert len(tiles._kept) <= 2
    colour = FrameTiles([np.stack([frame(k) for k in range(3)], -1)], 64, **KNOWN)
    assert [colour[k].plane for k in range(len(colour))] == [0, 0, 1, 1, 2, 2]


def test_tiles_are_checked():
    """Noise that is not 1, or that neighbours share, is refused."""
    check_tiles(FrameTiles([frame(1, (96, 96))], 32, **KNOWN))
    with pytest.raises(ValueError, match=r'noise of 0\.\d'):
        check_tiles(
            FrameTiles([frame(1, (96, 96))], 32, gain=0.05, readnoise=0, offset=0)
        )
    blurred = frame(1, (96, 96)).astype('f4')
    blurred = (blurred[:, :-1] + blurred[:, 1:]) / 2**0.5
    with pytest.raises(ValueError, match='neighbours share noise'):
        check_tiles(FrameTiles([blurred], 32, gain=1.0, readnoise=3.0, offset=0.0))
