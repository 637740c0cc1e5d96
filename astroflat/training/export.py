# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From a network of torch to an ONNX file that says what it is."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from astroflat.neural.cards import ModelCard

__all__ = ['check_parity', 'export_onnx', 'forget_origins']

_AXES = {0: 'batch', 2: 'height', 3: 'width'}


def export_onnx(
    model: torch.nn.Module,
    path: Path | str,
    example_inputs: Sequence[torch.Tensor],
    *,
    input_names: Sequence[str] = ('image',),
    output_names: Sequence[str] = ('result',),
    axes: Sequence[dict[int, str]] | None = None,
    card: ModelCard | None = None,
    opset: int = 18,
) -> Path:
    """
    Write a network as one ONNX file.

    Parameters
    ----------
    model : `torch.nn.Module`
        Network; exported in evaluation mode, float32, on the CPU.
    path : path-like
        File to write.
    example_inputs : sequence of `torch.Tensor`
        Inputs of a size that the network takes, with a batch of 2 or more: an
        axis of length 1 would be taken for a constant.
    input_names, output_names : sequence of str, optional
        Names in the file.
    axes : sequence of dict, optional
        Free axes of each input by number, with their names. By default batch,
        height and width of four-dimensional inputs, the batch of others.
    card : ModelCard, optional
        What the network is, put into the file.
    opset : int, optional
        Version of the operators.

    Returns
    -------
    Path
        The file.

    Notes
    -----
    The exporter of ``torch.export`` is used, whatever a network says on the
    way is held back, and weights stay inside the file.
    """
    import torch

    path = Path(path)
    inputs = tuple(example_inputs)
    if axes is None:
        axes = [_AXES if x.ndim == 4 else {0: 'batch'} for x in inputs]
    model = model.cpu().float().eval()
    shapes = tuple(dict.fromkeys(free, torch.export.Dim.AUTO) for free in axes)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            model,
            inputs,
            input_names=list(input_names),
            output_names=list(output_names),
            dynamic_shapes=shapes,
            opset_version=opset,
            dynamo=True,
            external_data=False,
        )
        proto = program.model_proto
    _name_axes(proto, axes, output_names)
    forget_origins(proto)
    temporary = path.with_suffix('.part')
    temporary.write_bytes(proto.SerializeToString())
    temporary.replace(path)
    if card is not None:
        from astroflat.neural.cards import embed_card

        embed_card(path, card)
    return path


def forget_origins(proto: Any) -> Any:
    """
    Remove where in the source the nodes of a model come from.

    Parameters
    ----------
    proto : onnx.ModelProto
        A model, changed in place. Its own metadata, and so its card, stays.

    Returns
    -------
    onnx.ModelProto
        The same without the lines of source, with the paths of the machine that
        exported it, which the exporter notes for each node.
    """
    graph = proto.graph
    parts = (graph.node, graph.value_info, graph.input, graph.output)
    for part in (*(item for items in parts for item in items), graph):
        part.doc_string = ''
        del part.metadata_props[:]
    for tensor in graph.initializer:
        tensor.doc_string = ''
        del tensor.metadata_props[:]
    return proto


def check_parity(
    model: torch.nn.Module,
    path: Path | str,
    inputs: Sequence[torch.Tensor],
    *,
    tolerance: float = 1e-4,
) -> float:
    """
    Compare a network with its ONNX file on the CPU.

    Parameters
    ----------
    model : `torch.nn.Module`
        Network.
    path : path-like
        Its ONNX file.
    inputs : sequence of `torch.Tensor`
        Inputs, of another size than those of the export at best.
    tolerance : float, optional
        Largest difference allowed, in units of the largest output or of 1.

    Returns
    -------
    float
        Largest difference found.

    Raises
    ------
    ValueError
        If they differ by more.
    """
    import torch

    from astroflat.neural.runtime import load_onnxruntime

    ort = load_onnxruntime()
    session = ort.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    names = [slot.name for slot in session.get_inputs()]
    feeds = {n: x.numpy() for n, x in zip(names, inputs, strict=True)}
    with torch.no_grad():
        expected = model.cpu().float().eval()(*inputs)
    if isinstance(expected, torch.Tensor):
        expected = (expected,)
    worst = 0.0
    for mine, theirs in zip(expected, session.run(None, feeds), strict=True):
        scale = max(1.0, float(mine.abs().max()))
        worst = max(worst, float(np.abs(mine.numpy() - theirs).max()) / scale)
    if not worst <= tolerance:
        msg = f'{Path(path).name} differs from the network by {worst}, not {tolerance}'
        raise ValueError(msg)
    return worst


def _name_axes(
    proto: Any, axes: Sequence[dict[int, str]], output_names: Sequence[str]
) -> None:
    """Give the free axes their names, and those of the outputs that equal them."""
    known: dict[str, str] = {}
    for slot, free in zip(proto.graph.input, axes, strict=True):
        for axis, name in free.items():
            dim = slot.type.tensor_type.shape.dim[axis]
            if dim.dim_param:
                known[dim.dim_param] = name
            dim.dim_param = name
    for slot in proto.graph.output[: len(output_names)]:
        for dim in slot.type.tensor_type.shape.dim:
            if dim.dim_param in known:
                dim.dim_param = known[dim.dim_param]


@contextlib.contextmanager
def _quiet() -> Any:
    """Hold back what the exporter prints, logs and warns of."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter('ignore')
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
