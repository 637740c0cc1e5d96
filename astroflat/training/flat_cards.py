# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The cards of the networks for flats."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from astroflat import __version__
from astroflat.neural.cards import ModelCard

__all__ = ['flat_cards']

_NORMALISATION = 'arcsinh(4 (x / level - 1)) / 4; see astroflat.neural._cells'


def flat_cards(
    training: dict[str, Any],
    metrics: dict[str, Any],
    calibration: dict[str, dict[str, Any]],
    *,
    version: str = '1',
) -> dict[str, ModelCard]:
    """
    Make the cards of both networks.

    Parameters
    ----------
    training : dict
        What they were trained on, for how long, and where.
    metrics : dict
        What was measured on other frames.
    calibration : dict of dict
        The numbers of `astroflat.training.flat_calibration` by the names
        ``fields`` and ``dust``.
    version : str, optional
        Version of the weights.

    Returns
    -------
    dict of ModelCard
        By the names ``fields`` and ``dust``.
    """
    common = {
        'version': version,
        'multiple': 8,
        'normalisation': _NORMALISATION,
        'training': training,
        'metrics': metrics,
        'licence': 'BSD-3-Clause',
        'code_version': __version__.split('+')[0],
        'date': datetime.now(UTC).date().isoformat(),
    }
    fields = ModelCard(
        'flat-fields',
        'flat-fields',
        description='Vignetting and gradient of a whole frame on 64 x 64 cells.',
        inputs=(
            {
                'name': 'cells',
                'channels': 21,
                'meaning': '16 sorted values, valid share, noise, x, y, r squared',
            },
        ),
        outputs=(
            {
                'name': 'fields',
                'channels': 4,
                'meaning': 'log V, G over the level, logarithms of their sigmas',
            },
            {'name': 'better', 'channels': 2, 'meaning': 'log odds against none'},
            {'name': 'features', 'channels': 160, 'meaning': 'tell an unusual frame'},
        ),
        units='log V is dimensionless, G in units of the level of the frame',
        scale=0.5,
        extra=calibration['fields'],
        **common,
    )
    dust = ModelCard(
        'flat-dust',
        'flat-dust',
        description='Shadows of dust in cells of 4 x 4 pixels.',
        inputs=(
            {
                'name': 'cells',
                'channels': 34,
                'meaning': '16 pixels, 16 sorted values, valid share, noise',
            },
        ),
        outputs=(
            {
                'name': 'dust',
                'channels': 3,
                'meaning': 'log D, logarithm of its sigma, log odds of dust',
            },
        ),
        units='log D is dimensionless',
        halo=96,
        scale=2.0,
        extra=calibration['dust'],
        **common,
    )
    return {'fields': fields, 'dust': dust}
