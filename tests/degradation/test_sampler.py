# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Random fields: seeds, grades, truth."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from astropy.table import QTable
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from astroflat.degradation import (
    FIELD_KINDS,
    SCENE_KINDS,
    MoteOptics,
    fields,
    sample_fields,
    scenes,
)
from astroflat.degradation._draws import DRAWS
from astroflat.degradation._render import render_product, render_sum

SHAPE = (120, 160)

CODE = """
from astroflat.degradation import sample_fields
import hashlib
sampled = sample_fields((120, 160), difficulty=0.8, rng=42)
print(hashlib.sha256(sampled.flat.tobytes() + sampled.gradient.tobytes()).hexdigest())
"""


def _digest(sampled):
    return hashlib.sha256(
        sampled.flat.tobytes() + sampled.gradient.tobytes()
    ).hexdigest()


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), difficulty=st.floats(0, 1))
def test_fields_are_physical(seed, difficulty):
    """F is finite, positive and of mean 1; G is finite; both are float32."""
    sampled = sample_fields((64, 80), difficulty=difficulty, rng=seed)
    assert sampled.flat.dtype == sampled.gradient.dtype == np.float32
    assert np.isfinite(sampled.flat).all()
    assert np.isfinite(sampled.gradient).all()
    assert sampled.flat.min() > 0
    assert_allclose(sampled.flat.mean(dtype=float), 1.0, atol=1e-6)
    assert np.abs(sampled.gradient).max() < 1.5


def test_same_seed_same_bytes():
    """A seed decides every byte; another seed makes other fields."""
    one = sample_fields(SHAPE, difficulty=0.8, rng=42)
    two = sample_fields(SHAPE, difficulty=0.8, rng=np.random.default_rng(42))
    assert _digest(one) == _digest(two)
    assert _digest(one) != _digest(sample_fields(SHAPE, difficulty=0.8, rng=43))
    assert list(one.truth['parameters']) == list(two.truth['parameters'])


def test_same_bytes_in_another_process():
    """The bytes do not depend on the process, its hashing or its threads."""
    run = subprocess.run(
        [sys.executable, '-c', CODE],
        capture_output=True,
        text=True,
        check=True,
        env={
            'PYTHONHASHSEED': '7',
            'OMP_NUM_THREADS': '1',
            'PYTHONPATH': ':'.join(sys.path),
        },
    )
    assert run.stdout.strip() == _digest(sample_fields(SHAPE, difficulty=0.8, rng=42))


def test_draws_of_a_seed_do_not_change():
    """What a seed draws stays the same from version to version."""
    truth = sample_fields(SHAPE, difficulty=1.0, rng=2024).truth
    text = json.dumps(
        [
            [kind, {name: float(f'{value:.4g}') for name, value in values.items()}]
            for kind, values in zip(
                truth['kind'].tolist(),
                map(json.loads, truth['parameters']),
                strict=True,
            )
        ]
    )
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert digest == '1791bad53f422857'


def test_difficulty_zero_is_clean():
    """Nothing is drawn at difficulty 0."""
    sampled = sample_fields(SHAPE, difficulty=0.0, rng=1)
    assert (sampled.flat == 1).all()
    assert (sampled.gradient == 0).all()
    assert not sampled.dust_mask.any()
    assert len(sampled.truth) == 0


@pytest.mark.parametrize('seed', range(6))
def test_difficulty_is_monotone(seed):
    """The same layout gets stronger with the difficulty."""
    grades = np.linspace(0, 1, 6)
    samples = [sample_fields(SHAPE, difficulty=grade, rng=seed) for grade in grades]
    for spread in (
        [sample.flat.std() for sample in samples],
        [sample.gradient.std() for sample in samples],
        [len(sample.models) for sample in samples],
        [sample.dust_mask.mean() for sample in samples],
    ):
        assert (np.diff(spread) >= -1e-7).all()
    assert samples[-1].flat.std() > 0.02


def test_low_difficulty_is_a_part_of_high_difficulty():
    """The motes of an easy field are among those of a hard one, weaker."""
    easy = sample_fields(SHAPE, difficulty=0.4, rng=3, kinds=['motes'])
    hard = sample_fields(SHAPE, difficulty=0.9, rng=3, kinds=['motes'])
    places = {(row['x'].value, row['y'].value): row['amplitude'] for row in hard.truth}
    assert 0 < len(easy.truth) < len(hard.truth)
    for row in easy.truth:
        strong = places[row['x'].value, row['y'].value]
        assert_allclose(row['amplitude'] / strong, 0.4 / 0.9, rtol=1e-6)


@pytest.mark.parametrize('kind', FIELD_KINDS)
def test_each_kind_alone(kind):
    """A kind that is asked for is drawn, and nothing else."""
    sampled = sample_fields(SHAPE, difficulty=1.0, rng=8, kinds=kind)
    assert set(sampled.kinds) == {kind}
    adds = kind in ('linear', 'quadratic', 'moonlight', 'glow', 'bias')
    assert (np.ptp(sampled.flat) == 0) == adds
    assert (np.ptp(sampled.gradient) > 0) == adds
    assert set(sampled.truth['component']) == {'G' if adds else 'F'}
    assert sampled.dust_mask.any() == (kind in ('motes', 'specks', 'fibers'))


def test_leaving_out_a_kind_leaves_the_others():
    """Each kind has its own stream of random numbers."""
    both = sample_fields(SHAPE, rng=5, kinds=['vignetting', 'motes'])
    one = sample_fields(SHAPE, rng=5, kinds=['motes'])
    assert np.array_equal(both.component('motes'), one.component('motes'))


def test_boxes_equal_the_whole_frame():
    """The flat made on boxes is the flat made pixel by pixel."""
    sampled = sample_fields(
        SHAPE, difficulty=1.0, rng=4, kinds=['vignetting', 'motes', 'specks', 'fibers']
    )
    whole = render_product(sampled.models, SHAPE, boxes=False) / sampled.scale
    assert_allclose(sampled.flat, whole, atol=1e-5)


def test_truth_rebuilds_the_fields(tmp_path):
    """The table of truth, read back from a file, is all that the fields were."""
    sampled = sample_fields(SHAPE, difficulty=0.9, rng=12)
    path = tmp_path / 'truth.ecsv'
    sampled.truth.write(path)
    table = QTable.read(path)
    models = [
        getattr(fields, row['model'])(**json.loads(row['parameters'])) for row in table
    ]
    factors = [model for model in models if isinstance(model, fields.MULTIPLIES)]
    terms = [model for model in models if not isinstance(model, fields.MULTIPLIES)]
    flat = render_product(factors, SHAPE)
    assert_allclose(flat / flat.mean(), sampled.flat, atol=2e-5)
    assert_allclose(render_sum(terms, SHAPE), sampled.gradient, atol=2e-6)


def test_components_multiply_to_the_flat():
    """The kinds of the flat, taken apart, make the flat again."""
    sampled = sample_fields(SHAPE, difficulty=0.7, rng=6)
    product = np.ones(SHAPE)
    for kind in set(sampled.truth['kind'][sampled.truth['component'] == 'F'].tolist()):
        product *= sampled.component(kind)
    assert_allclose(product / sampled.scale, sampled.flat, rtol=1e-5)


def test_dust_mask_is_where_dust_is():
    """The mask covers what the dust changes by more than 0.2 %, without holes."""
    sampled = sample_fields(SHAPE, difficulty=1.0, rng=9, kinds=['motes', 'specks'])
    dust = sampled.component('motes', 'specks')
    assert sampled.dust_mask[np.abs(dust - 1) > 0.0021].all()
    assert (
        not sampled.dust_mask[np.abs(dust - 1) == 0].any()
        or (sampled.dust_mask & (dust == 1)).mean() < 0.01
    )


def test_motes_of_a_surface_share_their_size():
    """A window and a filter make two sizes of shadows at most."""
    optics = MoteOptics(f_ratio=6.0, obstruction=0.3, pixel_size=60.0)
    sampled = sample_fields(
        SHAPE, difficulty=1.0, rng=1, kinds=['motes'], optics=optics
    )
    assert (
        len({round(float(radius), 6) for radius in sampled.truth['radius'].value}) <= 2
    )
    assert {model.hole.value for model in sampled.models} == {0.3}


def test_slow_beams_have_more_specks():
    """At f/40 dust near the detector is sharp."""

    def count(f_ratio):
        return sum(
            len(
                sample_fields(
                    SHAPE,
                    difficulty=1,
                    rng=seed,
                    kinds=['specks'],
                    optics=MoteOptics(f_ratio=f_ratio),
                ).models
            )
            for seed in range(8)
        )

    assert count(40.0) > 1.8 * count(5.0)


@pytest.mark.parametrize(
    ('arguments', 'word'),
    [
        ({'shape': (0, 5)}, 'shape'),
        ({'shape': 7}, 'shape'),
        ({'shape': (9, 9), 'difficulty': 1.5}, 'difficulty'),
        ({'shape': (9, 9), 'kinds': ['dirt']}, 'dirt'),
    ],
)
def test_arguments_out_of_range(arguments, word):
    """What cannot be is refused with the name of the argument."""
    with pytest.raises(ValueError, match=word):
        sample_fields(**arguments)


def test_component_of_both_sorts_is_refused():
    """Factors and terms have no common component."""
    sampled = sample_fields(SHAPE, rng=1, kinds=['motes', 'linear'])
    with pytest.raises(ValueError, match='apart'):
        sampled.component('motes', 'linear')


def test_names_are_those_that_can_be_drawn():
    """The lists of kinds and the functions that draw them agree."""
    assert tuple(DRAWS) == FIELD_KINDS
    assert set(SCENE_KINDS) == {*scenes._NIGHT, *scenes._DAY, 'image'}
