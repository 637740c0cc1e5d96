# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Train the networks that find F and G in one frame.

``astroflat train flat --folder runs/flat --seconds 480 --device cuda`` trains
both networks on frames that are simulated meanwhile.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch

from astroflat.training.flat_figures import draw_curves, draw_panels
from astroflat.training.flat_frames import FrameComposer, FrameOptions, Parts
from astroflat.training.flat_losses import LossWeights, flat_loss
from astroflat.training.flat_nets import FlatNets
from astroflat.training.flat_start import load_start
from astroflat.training.flat_validation import (
    check_manifest,
    make_validation,
    measure_flat,
    validation_manifest,
)
from astroflat.training.loop import FitResult, FitSettings, fit
from astroflat.training.pools import (
    NEBULAE,
    STARS,
    ArrayPool,
    Producer,
    draw_components,
    draw_day,
    draw_night,
)
from astroflat.training.user_images import OwnImages

__all__ = ['FlatData', 'main', 'train_flat']

_NAMES = ('night', 'day', 'smooth', 'dust', 'gradient')
# Workers' turns: components take half as long as skies.
_PRODUCERS = ((draw_night, 0.4), (draw_day, 0.3), (draw_components, 0.3))
# The curriculum begins with fields of at most this part of the full strength.
_EASY = 0.25


@dataclass(frozen=True)
class FlatData:
    """
    What the networks are trained on.

    Parameters
    ----------
    batch : int, optional
        Frames per step; a quarter of it where they are twice as large.
    size : int, optional
        Side in pixels of the squares that frames are cut from, a multiple of 64.
    first : int, optional
        Skies and fields that have to be there before the training starts.
    pool : int, optional
        Skies and fields that are kept, at most.
    workers : int or None, optional
        Processes that simulate; all but one processor by default. With 0
        nothing is added to the first ones, and a run can be repeated bit by
        bit.
    images : path-like or None, optional
        Folder with own images, linear and flat, to be taken as skies too.
    share : float, optional
        Part of the night skies that is taken from them.
    nebulae : float or None, optional
        Part of the simulated night skies that nebulae fill; three of seven by
        default.
    parts : {'both', 'fields', 'dust'}, optional
        The network to train; the other stays as it is.
    curriculum : float, optional
        Part of the run in which the strength of the fields rises.
    validation : int, optional
        Frames of the validation, 0 for none.
    options : FrameOptions or None, optional
        How often frames have what.
    seed : int, optional
        Seed of the skies and fields; that of the batches is in the settings.
    """

    batch: int = 64
    size: int = 256
    first: int = 1000
    pool: int = 20_000
    workers: int | None = None
    images: Path | str | None = None
    share: float = 0.3
    nebulae: float | None = None
    parts: Parts = 'both'
    curriculum: float = 0.0
    validation: int = 256
    options: FrameOptions | None = None
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.size < 64 or self.size % 64:
            msg = f'size must be a multiple of 64, not {self.size}'
            raise ValueError(msg)
        for name in ('batch', 'first', 'pool'):
            if getattr(self, name) < 1:
                msg = f'{name} must be at least 1, not {getattr(self, name)}'
                raise ValueError(msg)
        if self.parts not in get_args(Parts):
            msg = f'parts must be one of {list(get_args(Parts))}, not {self.parts!r}'
            raise ValueError(msg)
        for name in ('share', 'curriculum', 'nebulae'):
            if not 0.0 <= (getattr(self, name) or 0.0) <= 1.0:
                msg = f'{name} must be between 0 and 1, not {getattr(self, name)}'
                raise ValueError(msg)

    def producers(self) -> list[tuple[Producer, float]]:
        """Return who draws what, and how often."""
        (_, share), *rest = _PRODUCERS
        night = [_PRODUCERS[0]]
        if self.nebulae is not None:
            night = [
                (partial(draw_night, kinds=NEBULAE), self.nebulae * share),
                (partial(draw_night, kinds=STARS), (1.0 - self.nebulae) * share),
            ]
        if self.images is not None:
            own = (OwnImages(self.images), self.share * share)
            night = [(draw, (1.0 - self.share) * part) for draw, part in night]
            night.append(own)
        return [(draw, part) for draw, part in night if part > 0] + rest


def train_flat(
    folder: Path | str,
    settings: FitSettings,
    *,
    data: FlatData | None = None,
    model: FlatNets | None = None,
    weights: LossWeights | None = None,
    start: Path | str | None = None,
    resume: bool = True,
    say: Callable[[str], None] = print,
) -> FitResult:
    """
    Train `FlatNets` on simulated frames.

    Parameters
    ----------
    folder : path-like
        Folder for the tables, the checkpoint, the figures, ``validation.json``
        and ``flat.safetensors``, the averaged weights.
    settings : FitSettings
        How to train.
    data : FlatData or None, optional
        What on.
    model : FlatNets or None, optional
        The networks; those that are shipped by default.
    weights : LossWeights or None, optional
        Weights of the terms of the loss.
    start : path-like or None, optional
        Weights to begin with, see `~astroflat.training.flat_start.load_start`.
    resume : bool, optional
        Go on from the checkpoint in the folder, if there is one.
    say : callable, optional
        What is told about the run.

    Returns
    -------
    FitResult
        Networks and numbers.
    """
    from safetensors.torch import save_file

    data, folder = data or FlatData(), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model = model or FlatNets()
    if start is not None:
        load_start(model, start)
    _freeze(model, data.parts)
    pool = ArrayPool(
        data.producers(),
        size=data.size,
        capacity=data.pool,
        n_workers=data.workers,
        seed=data.seed,
        device=settings.device,
    )
    pool.start()
    try:
        validate = _Validation(folder, data, settings, say)
        pool.wait(_NAMES, min(data.first, data.pool))
        say(f'pool {pool.made}')
        draw = _Draw(pool, data, _Progress(folder, settings, resume=resume))

        def loss(model: Any, frames: dict[str, torch.Tensor]) -> dict:
            return flat_loss(model, frames, weights)

        result = fit(
            model,
            draw,
            loss,
            settings,
            folder,
            resume=resume,
            validate=validate if validate.batches else None,
        )
    finally:
        pool.close()
    save_file(
        {k: v.contiguous().cpu() for k, v in result.average.state_dict().items()},
        folder / 'flat.safetensors',
        metadata={
            'settings': str(asdict(settings)),
            'data': str(asdict(data)),
            'weights': str((weights or LossWeights()).to_dict()),
            'images': str(result.images),
        },
    )
    if _has_matplotlib():
        draw_curves(folder, folder / 'curves.png')
    return result


def _freeze(model: FlatNets, parts: Parts) -> None:
    """Leave a network that is not trained as it is."""
    for name in ('fields', 'dust'):
        getattr(model, name).requires_grad_(parts in ('both', name))


class _Draw:
    """Draws batches with the generator of the loop, so that it can be resumed."""

    def __init__(self, pool: ArrayPool, data: FlatData, progress: _Progress) -> None:
        self.pool, self.data, self.progress = pool, data, progress
        self.composer = FrameComposer(pool, options=data.options, parts=data.parts)

    def __call__(self, generator: torch.Generator) -> dict[str, torch.Tensor]:
        self.pool.take(limit=2)
        self.composer.follow(generator)
        if self.data.curriculum:
            part = min(1.0, self.progress() / self.data.curriculum)
            self.composer.ceiling = _EASY + (1.0 - _EASY) * part
        return self.composer.compose(self.data.batch).to_dict()


class _Progress:
    """Tells which part of a run is over, from the calls and the clock."""

    def __init__(self, folder: Path, settings: FitSettings, *, resume: bool) -> None:
        import time

        self.settings, self.clock = settings, time.monotonic
        state = folder / 'checkpoint.json'
        known = json.loads(state.read_text()) if resume and state.exists() else {}
        self.calls = settings.accumulate * known.get('step', 0)
        self.start = self.clock() - known.get('seconds', 0.0)

    def __call__(self) -> float:
        done = self.calls / (self.settings.steps * self.settings.accumulate)
        self.calls += 1
        if self.settings.max_seconds:
            done = max(done, (self.clock() - self.start) / self.settings.max_seconds)
        return done


class _Validation:
    """Measures the averaged networks on the same frames each time."""

    def __init__(
        self,
        folder: Path,
        data: FlatData,
        settings: FitSettings,
        say: Callable[[str], None],
    ) -> None:
        self.folder, self.settings, self.say = folder, settings, say
        self.batches: list[dict[str, torch.Tensor]] = []
        if not data.validation:
            return
        made = make_validation(data.validation, size=data.size, options=data.options)
        manifest = validation_manifest(made, size=data.size)
        check_manifest(manifest, folder / 'validation.json')
        self.batches = [
            {name: values.to(settings.device) for name, values in batch.items()}
            for batch in made
        ]
        say(f'validation: {manifest["frames"]} frames {manifest["sha256"][:12]}')

    def __call__(self, model: torch.nn.Module) -> dict[str, float]:
        numbers = measure_flat(model, self.batches, bf16=self.settings.bf16)
        if _has_matplotlib():
            draw_panels(model, self.batches[0], self.folder / 'samples.png')
        self.say(str(numbers))
        return numbers


def _has_matplotlib() -> bool:
    return importlib.util.find_spec('matplotlib') is not None


def main(argv: Sequence[str] | None = None) -> int:
    """
    Train from the command line, as ``astroflat train flat`` does.

    Parameters
    ----------
    argv : sequence of str or None, optional
        Arguments; those of the process by default.

    Returns
    -------
    int
        0.
    """
    import sys

    from astroflat.cli import main as run

    return run(['train', 'flat', *(sys.argv[1:] if argv is None else argv)])


if __name__ == '__main__':
    raise SystemExit(main())
