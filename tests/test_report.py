# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the quality report."""

from __future__ import annotations

import json

import numpy as np
import pytest

from astroflat.quality import QualityReport, to_mmag


def test_checks_only_lower_the_verdict():
    """A later, milder failure does not lift the verdict."""
    report = QualityReport('m', {'n': 3})
    report = report.check(True, 'reject', 'never shown')
    assert report.verdict == 'accept'
    report = report.check(False, 'reject', 'bad').check(False, 'weak', 'so so')
    assert report.verdict == 'reject'
    assert report.reasons == ['bad', 'so so']


def test_json_is_strict(tmp_path):
    """NumPy values are converted and NaN becomes null."""
    numbers = {'a': np.float32(1.5), 'b': np.nan, 'c': np.arange(2), 'd': {1: None}}
    report = QualityReport('m', numbers, {'limit': np.int64(2)})
    report.write(tmp_path / 'r.json')
    content = json.loads((tmp_path / 'r.json').read_text())
    assert content['numbers'] == {'a': 1.5, 'b': None, 'c': [0, 1], 'd': {'1': None}}
    assert content['thresholds'] == {'limit': 2}


def test_unknown_verdict():
    """A verdict outside the three is refused."""
    with pytest.raises(ValueError, match='verdict'):
        QualityReport('m', verdict='fine')


def test_mmag():
    """One per cent is 10.8 mmag; a factor of 10 is 2500."""
    assert to_mmag(0.01) == pytest.approx(10.8034, abs=1e-4)
    assert to_mmag(9) == pytest.approx(2500)


def test_text():
    """The text names the verdict, the reasons and the numbers."""
    text = str(
        QualityReport('median', {'n_frames': 9}, verdict='weak', reasons=['few'])
    )
    assert text.splitlines()[0] == 'median: weak'
    assert '  - few' in text
    assert 'n_frames' in text
