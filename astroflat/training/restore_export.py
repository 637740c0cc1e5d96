# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Weights of the restorer to the ONNX file that the restorer runs."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import torch

from astroflat.training.export import check_parity, export_onnx
from astroflat.training.flat_export import round_weights, shrink_file
from astroflat.training.restore_nets import DIALS, PLANES, RestoreNet

__all__ = ['HALO', 'export_restorer', 'load_restorer']

#: How far a pixel of the result looks, in pixels, for what matters: what is further
#: away changes 999 of 1000 pixels by less than three hundredths of the noise.
HALO = 32
_INPUT = (
    'the image, the image through five linear filters of its point-spread function, '
    'all less the local level and over its noise; log2 of the relative noise; 1 where '
    'pixels are bad'
)
_DIALS = (
    'half of log2 of the width and of the wanted width in pixels; log2 of what the '
    'filters do to white noise'
)
_OUTPUT = (
    'the image at the wanted width, and at its own, both without noise; the standard '
    'deviation of the error of the first'
)


def load_restorer(weights: Path | str) -> tuple[RestoreNet, dict[str, Any]]:
    """
    Make the network of a file of weights.

    Parameters
    ----------
    weights : path-like
        File written by `astroflat.training.restore.train`.

    Returns
    -------
    tuple
        Network in evaluation mode, and what the file says of its training.
    """
    import json

    from safetensors import safe_open

    from astroflat.training._checkpoint import load_weights

    with safe_open(str(weights), framework='pt') as file:
        facts = json.loads(file.metadata()['astroflat'])
    settings = dict(facts['network'])
    model = RestoreNet(settings.pop('width'), **settings)
    load_weights(model, weights)
    return model.eval(), facts


def export_restorer(
    weights: Path | str,
    path: Path | str,
    *,
    name: str = 'restore-stars',
    version: str = '1.0',
    metrics: dict[str, Any] | None = None,
) -> float:
    """
    Write a trained restorer as an ONNX file with its card, and check it.

    Parameters
    ----------
    weights : path-like
        File written by `astroflat.training.restore.train`.
    path : path-like
        File to write, ``.onnx``. Its kernels are kept in half precision.
    name, version : str, optional
        Name and version on the card.
    metrics : dict, optional
        What was measured, for the card.

    Returns
    -------
    float
        Largest difference between the network and the file, relative to the largest
        value.

    Raises
    ------
    ValueError
        If they differ by more than 1e-4.
    """
    from astroflat import __version__
    from astroflat.neural.cards import ModelCard

    model, facts = load_restorer(weights)
    round_weights(model)
    validation = facts.pop('validation', {})
    facts['data'] = (
        'simulated frames: stars, extended light of astroflat.degradation, and '
        'point-spread functions of five kinds'
    )
    card = ModelCard(
        name=name,
        task='restore',
        version=version,
        description='Sharpens and denoises linear frames of the sky, Sun and Moon.',
        inputs=(
            {'name': 'planes', 'channels': len(PLANES), 'meaning': _INPUT},
            {'name': 'dials', 'channels': len(DIALS), 'meaning': _DIALS},
        ),
        outputs=({'name': 'result', 'channels': 3, 'meaning': _OUTPUT},),
        multiple=model.multiple,
        halo=HALO,
        normalisation=_INPUT,
        units='standard deviations of the noise',
        training=facts,
        metrics=metrics or validation,
        licence='BSD-3-Clause',
        code_version=__version__.split('+')[0],
        date=dt.datetime.now(tz=dt.UTC).date().isoformat(),
    )
    path = Path(path)
    side = 2 * model.multiple
    export_onnx(
        model,
        path,
        [_example(2, side, 3 * side), torch.zeros(2, len(DIALS))],
        input_names=('planes', 'dials'),
        axes=({0: 'batch', 2: 'height', 3: 'width'}, {0: 'batch'}),
    )
    shrink_file(path, card)
    return max(
        check_parity(model, path, [_example(1, 3 * side, side), torch.ones(1, 6)]),
        check_parity(model, path, [_example(3, side, side), torch.zeros(3, 6)]),
    )


def _example(n: int, ny: int, nx: int) -> torch.Tensor:
    """Values as they come: noise, and a few far above it."""
    generator = torch.Generator().manual_seed(ny)
    noise = torch.randn((n, len(PLANES), ny, nx), generator=generator)
    planes = 3.0 * torch.sinh(noise)
    planes[:, -2:] = noise[:, -2:] > 2.0
    return planes
