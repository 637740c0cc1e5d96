# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Videos against their truth."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.ndimage import gaussian_filter

from astroflat.degradation import sample_fields, simulate_video
from astroflat.io import SERFile


@pytest.mark.parametrize(
    ('bits', 'dtype'), [(8, 'uint8'), (12, 'uint16'), (16, 'uint16')]
)
def test_bits_and_types(bits, dtype):
    """Samples fill their bits and have the right type."""
    video = simulate_video(2, (50, 60), bits=bits, rng=1, level=0.7)
    stack = video.array()
    assert str(stack.dtype) == dtype
    assert stack.shape == video.shape == (2, 50, 60)
    top = 2**bits - 1
    assert 0.3 * top < np.median(stack) < 0.95 * top
    assert stack.max() <= top


def test_frames_are_light_times_flat_plus_gradient():
    """Every frame agrees with its truth within its noise."""
    video = simulate_video(3, (80, 90), rng=3, kind='active_region', seeing=0.8)
    camera = video.camera
    for index, frame in enumerate(video.frames):
        light = video.light(index) * video.flat + video.gradient
        expected = np.minimum(light, camera.full_well) / camera.gain + camera.bias
        variance = (light + camera.read_noise**2 + camera.row_noise**2) / camera.gain**2
        pull = (frame - expected) / np.sqrt(variance + 1 / 12)
        free = light < 0.9 * camera.full_well
        assert abs(np.median(pull[free])) < 0.08
        assert_allclose(pull[free].std(), 1.0, atol=0.04)


def test_fields_stay_while_the_scene_moves():
    """The mean of many frames shows the flat, without the moving texture."""
    video = simulate_video(
        60, (64, 80), rng=2, pattern='random', drift=40, seeing=0.0, difficulty=1.0
    )
    mean = np.mean([frame.astype(float) for frame in video.frames], axis=0)
    mean = mean - video.camera.bias - video.gradient / video.camera.gain
    ratio = mean / video.flat
    assert np.ptp(video.flat) > 0.1
    assert (
        ratio.std() / ratio.mean() < 0.35 * video.light(0).std() / video.light(0).mean()
    )


def test_without_seeing_the_scene_only_shifts():
    """A frame without seeing is the scene at its shift."""
    video = simulate_video(4, (50, 60), rng=5, seeing=0.0)
    index = 2
    expected = video.scene.render(tuple(video.shifts[index]))
    assert_allclose(video.light(index), expected)


def test_seeing_moves_and_blurs():
    """Frames through air differ from the scene, more so in stronger air."""
    errors = []
    for seeing in (0.2, 0.6, 1.5):
        video = simulate_video(8, (60, 70), rng=5, seeing=seeing, pattern='none')
        still = video.scene.render()
        errors.append(
            np.mean([np.abs(video.light(i) - still).mean() for i in range(8)])
        )
    assert errors[0] < errors[1] < errors[2]
    nodes = simulate_video(300, (20, 20), rng=5, seeing=1.5).seeing.nodes
    assert_allclose(nodes.std(), 1.5, rtol=0.05)
    assert_allclose((nodes[1:] * nodes[:-1]).mean() / nodes.var(), 0.7, atol=0.05)


def test_stars_are_seen_through_air():
    """A scene with stars is blurred, and keeps its light."""
    video = simulate_video(
        3, (60, 60), rng=5, kind='open_cluster', seeing=1.0, pattern='none', level=0.05
    )
    still = video.scene.render()
    seen = np.mean([video.light(i) for i in range(3)], axis=0)
    assert seen.max() < still.max()
    assert_allclose(seen.mean(), still.mean(), rtol=0.05)


def test_same_seed_same_frames():
    """Frames depend on the seed alone, not on the order of looking."""
    one, two = (simulate_video(5, (40, 50), rng=8) for _ in range(2))
    last = one.frames[4]
    assert np.array_equal(last, two.array()[4])
    assert not np.array_equal(last, simulate_video(5, (40, 50), rng=9).frames[4])


def test_truth_has_dust():
    """The mask of the truth marks dark spots of the flat."""
    video = simulate_video(1, (200, 240), rng=4, difficulty=1.0)
    assert 0.002 < video.dust_mask.mean() < 0.6
    local = video.flat / gaussian_filter(video.flat, 12)
    assert local[video.dust_mask].min() < 0.9
    assert np.array_equal(video.dust_mask, video.fields.dust_mask)


def test_own_fields_are_used():
    """A flat and a gradient that are given are the truth."""
    flat, gradient = np.full((30, 40), 0.9), np.full((30, 40), 55.0)
    video = simulate_video(2, (30, 40), rng=1, flat=flat, gradient=gradient)
    assert_allclose(video.flat, 0.9)
    assert_allclose(video.gradient, 55.0)
    assert video.fields is None


def test_write_ser(tmp_path):
    """The file holds the frames, their bits and their times."""
    video = simulate_video(4, (40, 50), rng=1, bits=12, frame_rate=50.0)
    path = video.write(tmp_path / 'sun.ser')
    with SERFile(path) as ser:
        assert ser.shape == (4, 40, 50)
        assert ser.header.bit_depth == 12
        assert np.array_equal(ser[3], video.frames[3])
        assert_allclose((ser.times[1] - ser.times[0]).sec, 0.02, atol=1e-6)
    with pytest.raises(FileExistsError):
        video.write(path)


def test_negative_seeing_is_refused():
    """Air has no negative strength."""
    with pytest.raises(ValueError, match='seeing'):
        simulate_video(2, (30, 40), rng=1, seeing=-1.0)


def test_sampled_fields_bring_their_truth():
    """Fields sampled before keep their mask, table and gradient."""
    fields = sample_fields((60, 70), difficulty=0.9, rng=3, kinds=['motes', 'linear'])
    video = simulate_video(2, (60, 70), rng=1, flat=fields)
    assert video.fields is fields
    assert np.array_equal(video.flat, fields.flat)
    assert np.array_equal(video.dust_mask, fields.dust_mask)
    assert np.ptp(video.gradient) > 0


def test_kinds_choose_the_artifacts():
    """Only the artifacts that are asked for are drawn."""
    video = simulate_video(1, (60, 70), rng=1, kinds=['specks'])
    assert set(video.fields.kinds) == {'specks'}


def test_fields_of_another_shape_are_refused():
    """A flat has to fit the frames, and to be finite."""
    with pytest.raises(ValueError, match='flat has the shape'):
        simulate_video(1, (30, 40), rng=1, flat=np.ones((40, 30)))
    with pytest.raises(ValueError, match='gradient has values'):
        simulate_video(1, (30, 40), rng=1, gradient=np.full((30, 40), np.nan))
