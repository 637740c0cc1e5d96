# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Frames that stay the same from run to run, and what is measured on them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from astroflat.training.flat_frames import FrameComposer, FrameOptions
from astroflat.training.flat_losses import scene_rms
from astroflat.training.pools import ArrayPool, draw_components, draw_day, draw_night

__all__ = [
    'check_manifest',
    'make_validation',
    'measure_flat',
    'validation_manifest',
]

_NAMES = ('night', 'day', 'smooth', 'dust', 'gradient')
_PRODUCERS = ((draw_night, 0.4), (draw_day, 0.2), (draw_components, 0.4))
_BATCH = 16

Batches = Sequence[Mapping[str, torch.Tensor]]


def make_validation(
    n: int = 256,
    *,
    seed: int = 2026,
    size: int = 256,
    options: FrameOptions | None = None,
) -> list[dict[str, torch.Tensor]]:
    """
    Make frames to measure on, of skies and fields that no training draws.

    Parameters
    ----------
    n : int, optional
        Frames, at least.
    seed : int, optional
        Seed of everything that is drawn.
    size : int, optional
        Side of the squares that the frames are made of.
    options : FrameOptions or None, optional
        How often frames have what.

    Returns
    -------
    list of dict
        Batches in memory, the parts of `~astroflat.training.flat_frames.Frames`
        by name.

    Notes
    -----
    Made on the processor, whatever the training uses: the same seed gives the
    same frames on every machine with the same versions of NumPy and PyTorch.
    `validation_manifest` tells whether it did.
    """
    # The workers of a training have seeds of two small numbers.
    pool = ArrayPool(
        _PRODUCERS, size=size, capacity=max(8, n // 2), n_workers=0, seed=seed << 20
    )
    pool.wait(_NAMES, max(8, n // 2))
    composer = FrameComposer(pool, options=options, seed=seed)
    batches, made = [], 0
    while made < n:
        batches.append(composer.compose(min(_BATCH, n)).to_dict())
        made += len(batches[-1]['cells'])
    return batches


def validation_manifest(batches: Batches, **facts: Any) -> dict[str, Any]:
    """
    Say which frames a set has.

    Parameters
    ----------
    batches : sequence of dict
        As from `make_validation`.
    **facts : object
        What else to note, such as the seed.

    Returns
    -------
    dict
        ``frames``, ``shapes``, ``sha256`` of all numbers, and the facts.
    """
    digest = hashlib.sha256()
    for batch in batches:
        for name, values in batch.items():
            digest.update(f'{name}{tuple(values.shape)}'.encode())
            digest.update(values.contiguous().cpu().numpy().tobytes())
    return {
        **facts,
        'frames': sum(len(batch['cells']) for batch in batches),
        'shapes': [list(batch['cells'].shape) for batch in batches],
        'sha256': digest.hexdigest(),
    }


def check_manifest(manifest: Mapping[str, Any], path: Path | str) -> None:
    """
    Write the manifest of a run, or compare it with the one that is there.

    Parameters
    ----------
    manifest : dict
        As from `validation_manifest`.
    path : path-like
        JSON file.

    Raises
    ------
    ValueError
        If the file tells of other frames.
    """
    path = Path(path)
    if path.exists():
        known = json.loads(path.read_text(encoding='utf-8'))
        if known['sha256'] != manifest['sha256']:
            msg = (
                f'{path.name} tells of other validation frames (sha256 '
                f'{known["sha256"][:12]}, not {manifest["sha256"][:12]}): go on with '
                'the seed, size and versions of the run, or take another folder'
            )
            raise ValueError(msg)
        return
    path.write_text(json.dumps(manifest, indent=2) + '\n', encoding='utf-8')


@torch.no_grad()
def measure_flat(
    model: torch.nn.Module, batches: Batches, *, bf16: bool = False
) -> dict[str, float]:
    """
    Compare the networks with the truth, and doing nothing with it.

    Parameters
    ----------
    model : torch.nn.Module
        A `~astroflat.training.flat_nets.FlatNets`.
    batches : sequence of dict
        Frames on the device of the model.
    bf16 : bool, optional
        Compute in bfloat16.

    Returns
    -------
    dict of float
        In per cent: medians over the frames of the root mean square errors of
        log V (``flat``), G and log D under dust, and of doing nothing
        (``..._none``); ``sky``, the error of the light of an even sky; and
        means of shares.
    """
    rows: dict[str, list] = {}
    for frames in batches:
        kind = frames['cells'].device.type
        with torch.autocast(kind, torch.bfloat16, enabled=bf16):
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
    fields: torch.Tensor,
    better: torch.Tensor,
    dust: torch.Tensor,
    frames: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Return numbers of each frame."""
    truth = frames['fields']
    error = fields[:, :2] - truth
    under = (frames['dust'].abs() > 0.01) & (frames['valid'] > 0)
    left = torch.where(under, dust[:, :1] - frames['dust'], torch.nan)
    nothing = torch.where(under, frames['dust'], torch.nan)
    off = (frames['dust'].abs() < 1e-3) & (torch.sigmoid(dust[:, 2:]) > 0.5)
    ours = torch.stack([scene_rms(error[:, i], 0.0) for i in (0, 1)], dim=1)
    none = torch.stack([scene_rms(truth[:, i], 0.0) for i in (0, 1)], dim=1)
    close = (dust[:, :1] - frames['dust']).abs() < dust[:, 1:2].exp()
    covered = error.abs() < fields[:, 2:].exp()
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
        'share_covered': covered.float().mean((2, 3)),
        'share_covered_dust': close.float().mean((1, 2, 3)),
    }
