# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From the weights of a training to the two files that are shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from astroflat.training.export import check_parity, export_onnx
from astroflat.training.flat_nets import FlatNets

__all__ = ['export_flat', 'load_flat', 'round_weights', 'shrink_file', 'store_half']

# Smaller tensors stay as they are: biases, scales and constants.
_LEAST = 64


def load_flat(path: Path | str) -> FlatNets:
    """
    Read the weights of a training.

    Parameters
    ----------
    path : path-like
        A file ``flat.safetensors``.

    Returns
    -------
    FlatNets
        In evaluation mode.
    """
    from safetensors.torch import load_file

    model = FlatNets()
    model.load_state_dict(load_file(str(path)), strict=True)
    return model.eval()


def round_weights(model: torch.nn.Module) -> torch.nn.Module:
    """
    Round the kernels of a network to half precision, in place.

    Parameters
    ----------
    model : torch.nn.Module
        The network; it stays in float32.

    Returns
    -------
    torch.nn.Module
        The same.
    """
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() >= _LEAST:
                parameter.copy_(parameter.half().float())
    return model


def store_half(proto: Any) -> Any:
    """
    Keep the kernels of an ONNX model in half precision in the file.

    Parameters
    ----------
    proto : onnx.ModelProto
        A model in float32, whose kernels are exact in half precision. It is
        changed in place.

    Returns
    -------
    onnx.ModelProto
        The same; the kernels are widened when it is loaded, and all
        arithmetic stays in float32.
    """
    import onnx
    from onnx import helper, numpy_helper

    casts = []
    for tensor in proto.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        half = values.astype(np.float16)
        if values.size < _LEAST or not np.array_equal(half.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f'{name}_half'))
        cast = helper.make_node(
            'Cast', [f'{name}_half'], [name], to=onnx.TensorProto.FLOAT
        )
        casts.append(cast)
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(casts + nodes)
    return proto


def export_flat(
    weights: Path | str, folder: Path | str, cards: dict[str, Any]
) -> dict[str, Path]:
    """
    Write both networks as ONNX files.

    Parameters
    ----------
    weights : path-like
        A file ``flat.safetensors``.
    folder : path-like
        Where to write ``flat-fields.onnx`` and ``flat-dust.onnx``.
    cards : dict of ModelCard
        The cards by the names ``fields`` and ``dust``.

    Returns
    -------
    dict of Path
        The files by the same names.

    Raises
    ------
    ValueError
        If a file does not give what the network gives, to 1e-4.
    """
    nets = round_weights(load_flat(weights))
    out = {}
    for name, inputs, outputs in (
        ('fields', 21, ('fields', 'better', 'features')),
        ('dust', 34, ('dust',)),
    ):
        net = getattr(nets, name)
        path = Path(folder) / f'flat-{name}.onnx'
        example = torch.rand(2, inputs, 64, 48)
        export_onnx(net, path, [example], input_names=('cells',), output_names=outputs)
        shrink_file(path, cards.get(name))
        check_parity(net, path, [torch.rand(1, inputs, 40, 64)])
        out[name] = path
    return out


def shrink_file(path: Path, card: Any) -> None:
    """
    Store the kernels of a file in half precision, and the card beside them.

    Parameters
    ----------
    path : Path
        An ONNX file, rewritten.
    card : ModelCard or None
        What the network is.
    """
    import onnx

    from astroflat.neural.cards import embed_card

    proto = store_half(onnx.load(str(path)))
    onnx.checker.check_model(proto)
    temporary = path.with_suffix('.part')
    temporary.write_bytes(proto.SerializeToString())
    temporary.replace(path)
    if card is not None:
        embed_card(path, card)
