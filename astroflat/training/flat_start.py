# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Weights to begin with, from a training or out of ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

__all__ = ['load_onnx_weights', 'load_start']

_FILES = {'fields': 'flat-fields', 'dust': 'flat-dust'}


def load_start(model: torch.nn.Module, start: Path | str) -> torch.nn.Module:
    """
    Fill `FlatNets` with weights.

    Parameters
    ----------
    model : torch.nn.Module
        A `~astroflat.training.flat_nets.FlatNets`.
    start : path-like
        A file ``flat.safetensors``, a folder with ``flat-fields.onnx`` and
        ``flat-dust.onnx``, or ``'shipped'`` for those that come with astroflat.

    Returns
    -------
    torch.nn.Module
        The same, in place.

    Raises
    ------
    ValueError
        If there are no such weights.
    """
    from astroflat.neural import find_model

    if str(start) == 'shipped':
        for part, name in _FILES.items():
            load_onnx_weights(getattr(model, part), find_model(name).path)
    elif Path(start).is_dir():
        for part, name in _FILES.items():
            load_onnx_weights(getattr(model, part), Path(start) / f'{name}.onnx')
    elif Path(start).is_file():
        from safetensors.torch import load_file

        model.load_state_dict(load_file(str(start)), strict=True)
    else:
        msg = (
            f'start must be a .safetensors file, a folder with {_FILES["fields"]}.onnx '
            f"and {_FILES['dust']}.onnx, or 'shipped', not {str(start)!r}"
        )
        raise ValueError(msg)
    return model


def load_onnx_weights(model: torch.nn.Module, path: Path | str) -> torch.nn.Module:
    """
    Fill a network with the weights of its ONNX file.

    Parameters
    ----------
    model : torch.nn.Module
        The network that was exported.
    path : path-like
        The file.

    Returns
    -------
    torch.nn.Module
        The same, in place. Kernels that are kept in half precision are widened.

    Raises
    ------
    ValueError
        If the file lacks a weight, or has one of another size.
    """
    import onnx
    from onnx import numpy_helper

    proto = onnx.load(str(path))
    known = {
        tensor.name.removesuffix('_half'): numpy_helper.to_array(tensor)
        for tensor in proto.graph.initializer
    }
    wanted = model.state_dict()
    # The exporter turns scales of channels into constants without their names,
    # in the order in which they are used.
    nameless = iter([v for k, v in known.items() if v.ndim == 3 and k not in wanted])
    known |= dict(zip(_scales(wanted), nameless, strict=False))
    state: dict[str, Any] = {}
    for name, old in wanted.items():
        values = known.get(name)
        if values is None or values.size != old.numel():
            found = 'nothing' if values is None else f'{values.shape}'
            msg = f'{Path(path).name}: {name} needs {tuple(old.shape)}, not {found}'
            raise ValueError(msg)
        values = values.astype(np.float32).reshape(tuple(old.shape))
        state[name] = torch.from_numpy(values)
    model.load_state_dict(state, strict=True)
    return model


def _scales(state: dict[str, Any]) -> list[str]:
    """List the scales of the blocks: of its norm, then of its result."""
    blocks = [name.removesuffix('.gain') for name in state if name.endswith('.gain')]
    return [f'{block}.{part}' for block in blocks for part in ('norm.weight', 'gain')]
