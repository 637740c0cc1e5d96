# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Adapt the denoiser to the frames of one camera, without truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ['adapt', 'load_shipped', 'prepare_frame']


def adapt(
    frames: Sequence[Any],
    output: Path | str,
    *,
    aligned: bool = False,
    axis: str | None = None,
    model: Any = 'default',
    steps: int = 400,
    seconds: float | None = None,
    rate: float = 1e-4,
    count: int = 4,
    size: int = 96,
    device: str = 'cpu',
    seed: int = 0,
    **noise: Any,
) -> Path:
    """
    Train a denoiser further on a user's own frames.

    Parameters
    ----------
    frames : sequence of CCDData, array_like or path
        Frames of one camera, linear.
    output : path-like
        The ONNX file to write. The tables of the training are in a folder beside
        it.
    aligned : bool, optional
        Whether the frames show the same sky pixel by pixel: then each is predicted
        from another one (Noise2Noise). Otherwise blind spots are used.
    axis : {'row', 'column'}, optional
        Noise that neighbours share along rows or columns.
    model : str, path-like or Model, optional
        Network to start from, one that astroflat has trained.
    steps : int, optional
        Steps of the optimiser.
    seconds : float, optional
        End earlier.
    rate : float, optional
        Learning rate.
    count, size : int, optional
        Squares in a batch and their side in pixels, a multiple of 16.
    device : str, optional
        ``'cpu'`` or ``'cuda'``.
    seed : int, optional
        Start of the random numbers.
    **noise
        ``gain``, ``readnoise`` and ``offset`` as in `astroflat.Denoiser.denoise`.

    Returns
    -------
    Path
        The ONNX file; `astroflat.Denoiser` takes it.

    Raises
    ------
    ValueError
        If there are no frames, or aligned frames are fewer than two or differ in
        shape.
    """
    import torch

    from astroflat.training.blind import blind_loss, pair_loss
    from astroflat.training.loop import FitSettings, fit

    output = Path(output)
    images = [prepare_frame(frame, **noise) for frame in frames]
    _check(images, aligned=aligned, size=size)
    network = load_shipped(model)
    generator = torch.Generator().manual_seed(seed + 1)

    def _batches(draws: torch.Generator) -> torch.Tensor:
        """Cut squares."""
        return _squares(images, count, size, draws, aligned=aligned)

    def _loss(net: Any, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compare with another exposure, or hide pixels."""
        if aligned:
            return pair_loss(net, batch[:, :1], batch[:, 1:])
        return blind_loss(net, batch, generator=generator, axis=axis)

    settings = FitSettings(
        steps=steps,
        max_seconds=seconds,
        rate=rate,
        device=device,
        average=0.99,
        seed=seed,
    )
    folder = output.with_suffix('')
    result = fit(network, _batches, _loss, settings, folder, resume=False)
    facts = {
        'network': network.settings,
        'data': f'{len(images)} frames of the user',
        'method': 'Noise2Noise' if aligned else 'blind spots',
        'start': str(model),
        'images': result.images,
        'steps': result.steps,
    }
    _write(result.average, model, output, facts)
    return output


def prepare_frame(frame: Any, **noise: Any) -> np.ndarray:
    """
    Return what the network sees of a frame.

    Parameters
    ----------
    frame : CCDData, array_like or path
        Frame ``(ny, nx)``.
    **noise
        ``gain``, ``readnoise`` and ``offset``.

    Returns
    -------
    ndarray of float32
        Height above the local level in standard deviations of the noise; 0 where
        a pixel is bad.
    """
    from astroflat._nddata import unpack
    from astroflat.neural._local_level import fill_bad, level_grid, level_rows
    from astroflat.neural._noise_estimate import find_noise

    parts = unpack(frame, name='frames')
    found = find_noise(parts.data, parts.bad, meta=parts.meta, **noise)
    values = found.model.forward(parts.data).astype(np.float32)
    values = fill_bad(values, parts.bad)
    level = level_rows(level_grid(values), slice(0, len(values)), values.shape[1])
    return np.where(parts.bad, np.float32(0), values - level)


def load_shipped(model: Any = 'default') -> Any:
    """
    Make the network of torch out of an ONNX file that astroflat has exported.

    Parameters
    ----------
    model : str, path-like or Model, optional
        As in `astroflat.neural.find_model`.

    Returns
    -------
    DenoiseNet
        Network with the weights of the file.
    """
    import onnx
    import torch
    from onnx import numpy_helper

    from astroflat.neural.models import find_model
    from astroflat.training._unet import DenoiseNet

    found = find_model(model, task='denoise')
    settings = dict(found.card.training['network'])
    network = DenoiseNet(tuple(settings.pop('widths')), **settings)
    stored = {i.name: i for i in onnx.load(found.path).graph.initializer}
    state = {
        name: torch.from_numpy(numpy_helper.to_array(stored[name]).copy())
        for name in network.state_dict()
    }
    network.load_state_dict(state, strict=True)
    return network


def _write(network: Any, model: Any, output: Path, facts: dict[str, Any]) -> None:
    """Write the graph of the network that was started from, with new weights."""
    from dataclasses import replace

    import onnx
    from onnx import numpy_helper

    from astroflat.neural.cards import embed_card
    from astroflat.neural.models import find_model

    found = find_model(model, task='denoise')
    proto = onnx.load(found.path)
    state = network.state_dict()
    for tensor in proto.graph.initializer:
        if tensor.name in state:
            array = state[tensor.name].detach().cpu().numpy()
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    temporary = output.with_suffix('.part')
    onnx.save(proto, temporary)
    temporary.replace(output)
    card = replace(found.card, name=output.stem, training=facts, metrics={})
    embed_card(output, card)


def _check(images: list[np.ndarray], *, aligned: bool, size: int) -> None:
    """Raise unless squares can be cut from the frames."""
    if len(images) < 1 + aligned:
        msg = f'{len(images)} frames are too few; give {1 + aligned} or more'
        raise ValueError(msg)
    if aligned and len({image.shape for image in images}) > 1:
        msg = 'aligned frames must have one shape'
        raise ValueError(msg)
    smallest = min(min(image.shape) for image in images)
    if smallest < size:
        msg = f'frames of {smallest} pixels are smaller than size={size}'
        raise ValueError(msg)


def _squares(
    images: list[np.ndarray], count: int, size: int, draws: Any, *, aligned: bool
) -> Any:
    """Cut squares out, turned and mirrored; of aligned frames two in one."""
    import torch

    def whole(high: int) -> int:
        return int(torch.randint(high, (1,), generator=draws, device=draws.device))

    squares = []
    for _ in range(count):
        first = whole(len(images))
        ny, nx = images[first].shape
        y, x = whole(ny - size + 1), whole(nx - size + 1)
        chosen = [first]
        if aligned:
            chosen.append((first + 1 + whole(len(images) - 1)) % len(images))
        cut = np.stack([images[k][y : y + size, x : x + size] for k in chosen])
        cut = np.rot90(cut, whole(4), axes=(1, 2))
        cut = cut[:, ::-1] if whole(2) else cut
        squares.append(torch.from_numpy(np.ascontiguousarray(cut)))
    return torch.stack(squares)
