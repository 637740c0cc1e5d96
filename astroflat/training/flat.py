# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Train the networks that find F and G in one frame.

``python -m astroflat.training.flat --folder runs/flat --seconds 480 --device
cuda`` trains both networks on frames that are simulated meanwhile.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from astroflat.training.flat_frames import FrameComposer
from astroflat.training.flat_losses import LossWeights, flat_loss, scene_rms
from astroflat.training.flat_nets import FlatNets
from astroflat.training.loop import FitResult, FitSettings, fit
from astroflat.training.pools import (
    ArrayPool,
    draw_components,
    draw_day,
    draw_night,
)

__all__ = ['main', 'train_flat']

_NAMES = ('night', 'day', 'smooth', 'dust', 'gradient')
# Workers' turns: components take half as long as skies.
_PRODUCERS = ((draw_night, 0.4), (draw_day, 0.3), (draw_components, 0.3))


def train_flat(
    folder: Path | str,
    settings: FitSettings,
    *,
    batch: int = 64,
    weights: LossWeights | None = None,
    start: Path | str | None = None,
    n_workers: int | None = None,
    first: int = 1000,
    n_validation: int = 8,
    say: Callable[[str], None] = print,
) -> FitResult:
    """
    Train `FlatNets` on simulated frames.

    Parameters
    ----------
    folder : path-like
        Folder for the log, the checkpoint and ``flat.safetensors``, the
        averaged weights.
    settings : FitSettings
        How to train.
    batch : int, optional
        Frames of 256 x 256 pixels per step.
    weights : LossWeights or None, optional
        Weights of the terms of the loss.
    start : path-like or None, optional
        Weights to begin with, a file ``flat.safetensors``.
    n_workers : int or None, optional
        Processes that simulate; all but one processor by default.
    first : int, optional
        Skies and fields that have to be there before the training starts. The
        validation is made of these.
    n_validation : int, optional
        Batches of the validation, made once.
    say : callable, optional
        What is told about the run.

    Returns
    -------
    FitResult
        Networks and numbers.
    """
    from safetensors.torch import load_file, save_file

    pool = ArrayPool(_PRODUCERS, n_workers=n_workers, device=settings.device)
    pool.start()
    try:
        pool.wait(_NAMES, first)
        say(f'pool {pool.made}')
        composer = FrameComposer(pool, seed=9)
        held = [vars(composer.compose(batch)) for _ in range(n_validation)]
        composer = FrameComposer(pool, seed=settings.seed + 100)

        def draw(_: torch.Generator) -> dict[str, torch.Tensor]:
            pool.take(limit=2)
            return vars(composer.compose(batch))

        def validate(model: torch.nn.Module) -> dict[str, float]:
            numbers = _validate(model, held, settings)
            say(f'{numbers} {pool.made}')
            return numbers

        def loss(model: Any, frames: dict[str, torch.Tensor]) -> dict:
            return flat_loss(model, frames, weights)

        model = FlatNets()
        if start is not None:
            model.load_state_dict(load_file(start), strict=True)
        result = fit(model, draw, loss, settings, folder, validate=validate)
    finally:
        pool.close()
    save_file(
        {k: v.contiguous().cpu() for k, v in result.average.state_dict().items()},
        Path(folder) / 'flat.safetensors',
        metadata={'settings': str(asdict(settings)), 'images': str(result.images)},
    )
    return result


@torch.no_grad()
def _validate(
    model: torch.nn.Module, held: Sequence[dict], settings: FitSettings
) -> dict[str, float]:
    """Return medians over frames, in per cent, and the truth beside them."""
    rows: dict[str, list] = {}
    kind = torch.device(settings.device).type
    for frames in held:
        with torch.autocast(kind, torch.bfloat16, enabled=settings.bf16):
            fields, better, _, dust = model(frames['cells'], frames['pixels'])
        for name, values in _scores(fields, better, dust, frames).items():
            rows.setdefault(name, []).append(values.flatten().float().cpu())
    joined = {name: torch.cat(values) for name, values in rows.items()}
    out = {
        name: round(100 * float(v.nanmedian()), 3)
        for name, v in joined.items()
        if not name.startswith('share')
    }
    shares = {n: v for n, v in joined.items() if n.startswith('share')}
    return out | {n: round(100 * float(v.nanmean()), 1) for n, v in shares.items()}


def _scores(
    fields: torch.Tensor, better: torch.Tensor, dust: torch.Tensor, frames: dict
) -> dict[str, torch.Tensor]:
    truth = frames['fields']
    error = fields[:, :2] - truth
    under = (frames['dust'].abs() > 0.01) & (frames['valid'] > 0)
    left = torch.where(under, dust[:, :1] - frames['dust'], torch.nan)
    nothing = torch.where(under, frames['dust'], torch.nan)
    off = (frames['dust'].abs() < 1e-3) & (torch.sigmoid(dust[:, 2:]) > 0.5)
    ours = torch.stack([scene_rms(error[:, i], 0.0) for i in (0, 1)], dim=1)
    none = torch.stack([scene_rms(truth[:, i], 0.0) for i in (0, 1)], dim=1)
    return {
        'flat': ours[:, 0],
        'flat_none': none[:, 0],
        'gradient': ours[:, 1],
        'gradient_none': none[:, 1],
        'sky': scene_rms(error.sum(dim=1), 0.0),
        'dust': left.square().nanmean(dim=(1, 2, 3)).sqrt(),
        'dust_none': nothing.square().nanmean(dim=(1, 2, 3)).sqrt(),
        'share_false_dust': off.float().mean(dim=(1, 2, 3)),
        'share_better': (ours < none).float(),
        'share_judged': ((better > 0) == (ours < none)).float(),
        'share_covered': (error.abs() < fields[:, 2:].exp()).float().mean((2, 3)),
        'share_covered_dust': (
            (dust[:, :1] - frames['dust']).abs() < dust[:, 1:2].exp()
        )
        .float()
        .mean((1, 2, 3)),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """
    Train from the command line.

    Parameters
    ----------
    argv : sequence of str or None, optional
        Arguments; those of the process by default.

    Returns
    -------
    int
        0.
    """
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('--folder', required=True)
    parser.add_argument('--seconds', type=float)
    parser.add_argument('--steps', type=int, default=1_000_000)
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--rate', type=float, default=1e-3)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--compile', action='store_true')
    parser.add_argument('--workers', type=int)
    parser.add_argument('--first', type=int, default=1000)
    parser.add_argument('--start', help='weights to begin with')
    parser.add_argument('--seed', type=int, default=1)
    args = parser.parse_args(argv)
    cuda = args.device.startswith('cuda')
    if cuda:
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    settings = FitSettings(
        steps=args.steps,
        max_seconds=args.seconds,
        rate=args.rate,
        device=args.device,
        bf16=True,
        channels_last=True,
        compile=args.compile,
        validate_seconds=30.0,
        save_seconds=120.0,
        seed=args.seed,
    )
    result = train_flat(
        args.folder,
        settings,
        batch=args.batch,
        n_workers=args.workers,
        first=args.first,
    )
    print(f'{result.steps} steps, {result.images} images, {result.seconds:.0f} s')  # noqa: T201
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
