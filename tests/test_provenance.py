# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of what is written to the metadata."""

from __future__ import annotations

import ccdproc
import pytest
from astropy.io import fits

from astroflat._provenance import record


def test_cards_are_legal_fits():
    """All cards fit a FITS header and survive a round trip."""
    header = fits.Header()
    record(header, 'median', history='3 frames', NCOMBINE=(3, 'frames'), AFSCALE=1.5)
    again = fits.Header.fromstring(header.tostring())
    assert again['AFMETH'] == 'median'
    assert again['NCOMBINE'] == 3
    assert again.comments['NCOMBINE'] == 'frames'
    assert again['HISTORY'][0] == 'astroflat median: 3 frames'


@pytest.mark.parametrize('off', [None, False])
def test_switched_off(off):
    """Nothing is written when logging is switched off."""
    header = fits.Header()
    record(header, 'median', history='x', add_keyword=off, NCOMBINE=3)
    assert len(header) == 0


def test_ccdproc_configuration_is_honoured():
    """ccdproc.conf.auto_logging switches us off as well."""
    header = fits.Header()
    with ccdproc.conf.set_temp('auto_logging', False):
        record(header, 'median', history='x')
    assert len(header) == 0


@pytest.mark.parametrize(
    ('keyword', 'name', 'value'),
    [
        ('MYFLAT', 'MYFLAT', 'median'),
        (ccdproc.Keyword('MYKEY', value='yes'), 'MYKEY', 'yes'),
        ({'MYCARD': 7}, 'MYCARD', 7),
    ],
)
def test_user_keyword(keyword, name, value):
    """A keyword, a ccdproc.Keyword and a dictionary are written too."""
    header = fits.Header()
    record(header, 'median', add_keyword=keyword)
    assert header[name] == value


def test_history_is_ascii():
    """Characters that FITS does not allow are replaced."""
    header = fits.Header()
    record(header, 'median', history='µ is not ASCII\nnor is this one line')
    text = header['HISTORY'][0]
    assert text.isascii()
    assert '\n' not in text


def test_dictionary_is_not_shared():
    """HISTORY in a copied dictionary leaves the original's list alone."""
    original = {'HISTORY': ['first']}
    copied = dict(original)
    record(copied, 'median', history='second')
    assert original == {'HISTORY': ['first']}
    assert copied['HISTORY'] == ['first', 'astroflat median: second']
