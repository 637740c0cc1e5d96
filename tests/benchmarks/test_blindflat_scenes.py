# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The benchmark of blind flats: its list of scenes, and the frames."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData

from benchmarks.blindflat import design
from benchmarks.blindflat.scenes import fingerprint, make_case, same_fingerprint

ROOT = Path(__file__).parents[2]


def test_manifest_is_reproducible(tmp_path):
    """The committed list of scenes is what the design gives, byte by byte."""
    manifest = design.read_manifest()
    again = design.make_manifest(checks=False)
    assert again == {k: v for k, v in manifest.items() if k != 'checks'}
    design.write_manifest(manifest, tmp_path / 'copy.json')
    assert (tmp_path / 'copy.json').read_text() == design.MANIFEST.read_text()


def test_manifest_covers_the_design():
    """Single frames are a full factorial; nights cross dithers and kinds."""
    manifest = design.read_manifest()
    assert len(manifest['single']) >= 200
    cells = Counter(
        (e['kind'], e['difficulty'], e['noise'])
        for e in manifest['single']
        if e['difficulty'] > 0
    )
    assert len(cells) == 11 * 5 * 4
    assert set(cells.values()) == {1}
    nights = [e for e in manifest['night'] if e['difficulty'] > 0]
    assert len({(e['geometry'], e['kind']) for e in nights}) == len(nights) == 42
    assert {e['dither'] for e in nights if e['geometry'] == 'small'} == {4.0}
    assert {e['pattern'] for e in nights if e['geometry'] == 'one direction'} == {
        'line'
    }
    seeds = [e['seed'] for e in design.scenes(manifest).values()]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize('name', ['s001', 's002'])
def test_checked_scenes_are_as_in_the_manifest(name):
    """The simulator still makes the scenes that the manifest was made with."""
    manifest = design.read_manifest()
    case = make_case(design.scenes(manifest)[name])
    assert same_fingerprint(fingerprint(case), manifest['checks'][name])


def test_fingerprint_notices_a_change(single):
    """Another flat or other noise is another fingerprint; the same is the same."""
    mark = fingerprint(single)
    assert fingerprint(make_case(single.entry)) == mark
    flat = single.flat * np.linspace(0.99, 1.01, single.flat.shape[1])
    assert not same_fingerprint(fingerprint(replace(single, flat=flat)), mark)
    loud = CCDData(2 * single.frames[0].data, unit=u.adu)
    assert not same_fingerprint(fingerprint(replace(single, frames=[loud])), mark)


@pytest.mark.parametrize('part', ['single', 'night'])
def test_frames_are_the_truth_and_noise(part, request):
    """Frames scatter about S F + G as photons and readout do."""
    case = request.getfixturevalue(part)
    for frame, light, gradient in zip(
        case.frames, case.light, case.gradients, strict=True
    ):
        gain, read = frame.meta['GAIN'], frame.meta['RDNOISE']
        expected = light * case.flat + gradient
        sigma = np.sqrt(expected / gain + (read / gain) ** 2)
        scaled = (frame.data - expected) / sigma
        assert abs(np.median(scaled)) < 0.05
        assert 1.4826 * np.median(np.abs(scaled)) == pytest.approx(1, abs=0.05)
    assert case.flat.mean() == pytest.approx(1, abs=1e-5)
    assert frame.dtype == np.float32


def test_dark_scenes_stay_positive(single):
    """Scattered light keeps a lunar frame with a strong gradient positive."""
    case = make_case(
        single.entry | {'kind': 'moon', 'difficulty': 1.0, 'noise': 'high'}
    )
    assert (case.light[0] * case.flat + case.gradients[0]).min() > 0
