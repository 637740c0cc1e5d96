# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Train a network that sees every pixel: the reference design.

``astroflat train flat --architecture attention`` trains `AttentionResUNetFG` on the
same frames as the networks that are shipped, at full resolution and in many
sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from astroflat.training.attention_unet import AttentionResUNetFG
from astroflat.training.flat import FlatData
from astroflat.training.flat_losses import scene_rms
from astroflat.training.full_frames import FullComposer
from astroflat.training.full_losses import FullWeights, full_loss
from astroflat.training.loop import FitResult, FitSettings, fit
from astroflat.training.pools import ArrayPool

__all__ = ['export_full', 'measure_full', 'train_full']

_NAMES = ('night', 'day', 'smooth', 'dust', 'gradient')
_BATCH = 8


def train_full(
    folder: Path | str,
    settings: FitSettings,
    *,
    data: FlatData | None = None,
    model: AttentionResUNetFG | None = None,
    weights: FullWeights | None = None,
    start: Path | str | None = None,
    resume: bool = True,
    say: Callable[[str], None] = print,
) -> FitResult:
    """
    Train a network at full resolution on simulated frames.

    Parameters
    ----------
    folder : path-like
        Folder for the tables, the checkpoint and ``flat-full.safetensors``, the
        averaged weights.
    settings : FitSettings
        How to train.
    data : FlatData or None, optional
        What on.
    model : AttentionResUNetFG or None, optional
        The network; 32 channels and 4 grids by default.
    weights : FullWeights or None, optional
        Weights of the terms of the loss.
    start : path-like or None, optional
        A ``flat-full.safetensors`` to begin with.
    resume : bool, optional
        Go on from the checkpoint in the folder, if there is one.
    say : callable, optional
        What is told about the run.

    Returns
    -------
    FitResult
        Network and numbers.
    """
    from safetensors.torch import load_file, save_file

    data, folder = data or FlatData(), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model = model or AttentionResUNetFG(width=32, depth=4)
    if start is not None:
        model.load_state_dict(load_file(str(start)), strict=True)
    measured = _validation(data, model.multiple, settings.device)
    pool = _pool(data, settings.device)
    pool.start()
    try:
        pool.wait(_NAMES, min(data.first, data.pool))
        say(f'pool {pool.made}')
        composer = FullComposer(pool, multiple=model.multiple, options=data.options)

        def draw(generator: torch.Generator) -> dict[str, torch.Tensor]:
            pool.take(limit=2)
            composer.follow(generator)
            return vars(composer.compose(data.batch))

        def validate(network: torch.nn.Module) -> dict[str, float]:
            numbers = measure_full(network, measured)
            say(str(numbers))
            return numbers

        result = fit(
            model,
            draw,
            lambda network, frames: full_loss(network, frames, weights),
            settings,
            folder,
            resume=resume,
            validate=validate if measured else None,
        )
    finally:
        pool.close()
    save_file(
        {k: v.contiguous().cpu() for k, v in result.average.state_dict().items()},
        folder / 'flat-full.safetensors',
        metadata={
            'settings': str(asdict(settings)),
            'weights': str((weights or FullWeights()).to_dict()),
            'images': str(result.images),
        },
    )
    return result


def _pool(data: FlatData, device: str) -> ArrayPool:
    return ArrayPool(
        data.producers(),
        size=data.size,
        capacity=data.pool,
        n_workers=data.workers,
        seed=data.seed,
        device=device,
    )


def _validation(
    data: FlatData, multiple: int, device: str, seed: int = 2026
) -> list[dict[str, torch.Tensor]]:
    """Make frames of skies and fields that no training draws."""
    if not data.validation:
        return []
    n = max(_BATCH, data.validation // 2)
    pool = ArrayPool(
        FlatData().producers(), size=data.size, capacity=n, n_workers=0, seed=seed << 20
    )
    pool.wait(_NAMES, n)
    composer = FullComposer(pool, multiple=multiple, options=data.options, seed=seed)
    made = [
        vars(composer.compose(_BATCH)) for _ in range(-(-data.validation // _BATCH))
    ]
    return [{k: v.to(device) for k, v in batch.items()} for batch in made]


@torch.no_grad()
def measure_full(
    model: torch.nn.Module, batches: list[dict[str, torch.Tensor]]
) -> dict[str, float]:
    """
    Compare a network with the truth, and doing nothing with it.

    Parameters
    ----------
    model : torch.nn.Module
        Gives log F, G and confidence.
    batches : list of dict
        The parts of `~astroflat.training.full_frames.FullFrames` by name, on the
        device of the model.

    Returns
    -------
    dict of float
        In per cent: medians over the frames of the root mean square errors of
        log F and G, and of doing nothing (``..._none``).
    """
    rows: dict[str, list[torch.Tensor]] = {}
    for batch in batches:
        log_flat, gradient, _ = model(batch['image'])
        pairs = {'flat': log_flat, 'gradient': gradient}
        for name, found in pairs.items():
            truth = batch['log_flat' if name == 'flat' else name]
            rows.setdefault(name, []).append(_rms(found - truth, batch['valid']))
            rows.setdefault(f'{name}_none', []).append(_rms(truth, batch['valid']))
    return {
        name: round(100 * float(torch.cat(values).median()), 3)
        for name, values in rows.items()
    }


def _rms(error: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Return the scatter of each frame about its mean."""
    share = valid.mean(dim=(1, 2, 3))
    mean = (error * valid).mean(dim=(1, 2, 3)) / share
    centred = (error - mean[:, None, None, None]) * valid
    return scene_rms(centred[:, 0], 0.0) / share.sqrt()


def export_full(model: AttentionResUNetFG, path: Path | str, card: Any = None) -> Path:
    """
    Write a network at full resolution as an ONNX file.

    Parameters
    ----------
    model : AttentionResUNetFG
        The network.
    path : path-like
        The file.
    card : ModelCard or None, optional
        What it is.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ValueError
        If the file does not give what the network gives, to 1e-4.
    """
    from astroflat.neural.cards import embed_card
    from astroflat.training.export import check_parity, export_onnx

    side = 4 * model.multiple
    names = ('log_flat', 'gradient', 'confidence')
    example = torch.rand(2, 4, side, side + model.multiple)
    export_onnx(model, path, [example], input_names=('image',), output_names=names)
    check_parity(model, path, [torch.rand(1, 4, side, 2 * side)])
    if card is not None:
        embed_card(path, card)
    return Path(path)
