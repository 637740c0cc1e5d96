# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Weights of the denoiser to the ONNX file that the denoiser runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ['HALO', 'export_denoiser', 'load_network', 'start_network']

#: How far a pixel of the result looks, in pixels, for the network as it is by
#: default; measured by changing single pixels.
HALO = 88

# Memory of the network for each pixel of a tile with its halo, measured.
_BYTES_PER_PIXEL = 540


def load_network(weights: Path | str) -> tuple[Any, dict[str, Any]]:
    """
    Make the network of a file of weights.

    Parameters
    ----------
    weights : path-like
        File written by `astroflat.training.denoise.train`.

    Returns
    -------
    tuple
        Network, and what the file says of its training.
    """
    import json

    from safetensors import safe_open

    from astroflat.training._checkpoint import load_weights
    from astroflat.training._unet import DenoiseNet

    with safe_open(str(weights), framework='pt') as file:
        facts = json.loads(file.metadata()['astroflat'])
    settings = dict(facts['network'])
    model = DenoiseNet(tuple(settings.pop('widths')), **settings)
    load_weights(model, weights)
    return model.eval(), facts


def start_network(source: Path | str) -> Any:
    """
    Make the network to start a training from.

    Parameters
    ----------
    source : path-like
        Weights of a training (``.safetensors``), or an ONNX file of astroflat.

    Returns
    -------
    DenoiseNet
        Network with these weights. The layer that says what error is left may be
        missing in the file: it is fitted at the end of each training.

    Raises
    ------
    ValueError
        If the weights are those of another network.
    """
    import json

    from safetensors import safe_open

    from astroflat.training._unet import DenoiseNet

    if Path(source).suffix != '.safetensors':
        from astroflat.training.adapt import load_shipped

        return load_shipped(source)
    with safe_open(str(source), framework='pt') as file:
        facts = json.loads((file.metadata() or {}).get('astroflat', '{}'))
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    settings = dict(facts.get('network', {'widths': DenoiseNet().settings['widths']}))
    model = DenoiseNet(tuple(settings.pop('widths')), **settings)
    missing, unknown = model.load_state_dict(tensors, strict=False)
    if unknown or any(not name.startswith('doubt.') for name in missing):
        msg = f'{source}: not weights of this network: {[*missing, *unknown][:3]}'
        raise ValueError(msg)
    return model


def export_denoiser(
    weights: Path | str,
    path: Path | str,
    *,
    name: str = 'denoise-sky',
    version: str = '1.0',
    metrics: dict[str, Any] | None = None,
) -> float:
    """
    Write a trained denoiser as an ONNX file with its card, and check it.

    Kernels are rounded to half precision and kept like that; all arithmetic
    stays in float32.

    Parameters
    ----------
    weights : path-like
        File written by `astroflat.training.denoise.train`.
    path : path-like
        File to write, ``.onnx``.
    name, version : str, optional
        Name and version on the card.
    metrics : dict, optional
        What was measured, for the card.

    Returns
    -------
    float
        Largest difference between the network and the file.
    """
    import torch

    from astroflat.training.export import check_parity, export_onnx
    from astroflat.training.flat_export import round_weights

    model, facts = load_network(weights)
    round_weights(model)
    path = Path(path)
    export_onnx(model, path, [torch.randn(2, 1, 64, 72)])
    _shrink(path, _card(model, facts, name, version, metrics))
    return max(
        check_parity(model, path, [10.0 * torch.randn(1, 1, 104, 200)]),
        check_parity(model, path, [torch.randn(3, 1, 8, 16)]),
    )


def _card(
    model: Any,
    facts: dict[str, Any],
    name: str,
    version: str,
    metrics: dict[str, Any] | None,
) -> Any:
    """Say what the network is."""
    import datetime as dt

    from astroflat import __version__
    from astroflat.neural.cards import ModelCard

    validation = facts.pop('validation', {})
    return ModelCard(
        name=name,
        task='denoise',
        version=version,
        description='Predicts the noise of linear frames of the sky, Sun and Moon.',
        inputs=({'name': 'image', 'channels': 1, 'meaning': _INPUT},),
        outputs=({'name': 'result', 'channels': 2, 'meaning': _OUTPUT},),
        multiple=model.multiple,
        halo=HALO,
        normalisation=_INPUT,
        units='standard deviations of the noise',
        training={'data': _DATA, **facts},
        metrics={**validation, **(metrics or {})},
        licence='BSD-3-Clause',
        code_version=__version__.split('+')[0],
        date=dt.datetime.now(tz=dt.UTC).date().isoformat(),
        extra={'bytes_per_pixel': _BYTES_PER_PIXEL},
    )


def _shrink(path: Path, card: Any) -> None:
    """Keep the kernels in half precision, and the card beside them."""
    import onnx

    from astroflat.neural.cards import embed_card
    from astroflat.training.flat_export import store_half

    proto = store_half(onnx.load(str(path)))
    onnx.checker.check_model(proto)
    temporary = path.with_suffix('.part')
    temporary.write_bytes(proto.SerializeToString())
    temporary.replace(path)
    embed_card(path, card)


_DATA = (
    'simulated skies, Sun and Moon of astroflat.degradation: stars of 1.3 to 8 pixels '
    'and blurred up to 17; noise of photons and readout, uneven pixels, rows, columns, '
    'glitches'
)
_INPUT = (
    'generalised Anscombe transform of the image minus its local level (medians of '
    'blocks of 16 pixels, interpolated), in standard deviations of the noise'
)
_OUTPUT = 'noise to be subtracted; standard deviation of the error that is left'
