# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Train the restorer on simulated skies: ``python -m astroflat.training.restore``.

Nothing heavy is imported at the top: the processes that draw scenes read this
module too.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from astroflat.training._log import device_name, tell
from astroflat.training._restore_source import Source

__all__ = ['compare', 'main', 'train']

#: What `compare` leaves out or takes instead, by name.
VARIANTS: dict[str, dict[str, float]] = {
    'all': {},
    'no clean': {'clean': 0.0},
    'no slope': {'slope': 0.0},
    'no laplacian': {'laplacian': 0.0},
    'no histogram': {'histogram': 0.0},
    'no bright': {'bright': 0.0},
    'no background': {'background': 0.0},
    'no flux': {'flux': 0.0},
    'no bias': {'bias': 0.0},
    'pixels only': dict.fromkeys(
        ('slope', 'laplacian', 'histogram', 'bright', 'background', 'flux', 'bias'),
        0.0,
    ),
}

# What the pools are made with, and the defaults of `train`.
_POOLS = {'size': 128, 'pool': 3000, 'workers': None, 'seed': 0}


def train(
    folder: Path | str,
    *,
    seconds: float | None = None,
    steps: int = 400_000,
    device: str = 'cpu',
    batch: int = 48,
    size: int = 128,
    pool: int = 3000,
    kernels: int = 2048,
    workers: int | None = None,
    rate: float = 1e-3,
    accumulate: int = 1,
    compile: bool = False,  # noqa: A002
    start: Path | str | None = None,
    weights: dict[str, float] | None = None,
    width: int = 80,
    groups: int = 4,
    checks: int = 4,
    seed: int = 0,
    source: Any = None,
    say: Any = None,
) -> Path:
    """
    Train the restorer on simulated skies with known truth.

    Parameters
    ----------
    folder : path-like
        Folder of the run: weights, tables, checkpoint. A run is gone on with.
    seconds : float, optional
        Time for this call, the start included.
    steps : int, optional
        Most steps of the optimiser.
    device : str, optional
        ``'cpu'`` or ``'cuda'``.
    batch, size : int, optional
        Squares in a batch and their side in pixels, a multiple of 16.
    pool : int, optional
        Pieces of extended light to hold.
    kernels : int, optional
        Point-spread functions to hold.
    workers : int, optional
        Processes that draw light.
    rate : float, optional
        Highest learning rate.
    accumulate : int, optional
        Batches for each step of the optimiser.
    compile : bool, optional
        Compile the network.
    start : path-like, optional
        Weights to begin with, if there is nothing to go on with.
    weights : dict, optional
        Weights of terms of the loss that differ from those by default.
    width, groups : int, optional
        Of ``astroflat.training.restore_nets.RestoreNet``.
    checks : int, optional
        Batches that the network is judged on.
    seed : int, optional
        Start of the random numbers.
    source : optional
        Pools to share with other runs.
    say : callable, optional
        Takes one line of text on the way.

    Returns
    -------
    Path
        ``restore.safetensors``, the averaged weights; they are written at each
        validation already.
    """
    begin = time.monotonic()
    folder = Path(folder)
    shared = nullcontext(source) if source else Source(size, pool, workers, seed)
    with shared as pools:
        # The processes are forked before torch starts any thread.
        import torch

        from astroflat.training._checkpoint import load_weights, save_weights
        from astroflat.training._restore_check import Validation
        from astroflat.training._restore_loss import WEIGHTS, restore_loss
        from astroflat.training.loop import FitSettings, fit
        from astroflat.training.restore_nets import RestoreNet

        torch.manual_seed(seed)
        model = RestoreNet(width, groups=groups)
        if start is not None:
            load_weights(model, start)
        if device == 'cuda':
            torch.backends.cudnn.benchmark = True
            torch.backends.cuda.matmul.allow_tf32 = True
        maker = pools.maker(device, kernels, batch)
        check = Validation(pools.held_out(device, batch, checks, kernels), say=say)
        tell(say, f'{len(pools.pool)} scenes after {time.monotonic() - begin:.1f} s')
        terms = {**WEIGHTS, **(weights or {})}
        settings = FitSettings(
            steps=steps,
            max_seconds=_until(folder, seconds, begin),
            rate=rate,
            device=device,
            bf16=device == 'cuda',
            channels_last=device == 'cuda',
            compile=compile,
            graph=device == 'cuda' and accumulate == 1,
            accumulate=accumulate,
            validate_seconds=30.0,
            save_seconds=45.0,
            seed=seed,
        )
        loss = partial(restore_loss, weights=terms)
        path = folder / 'restore.safetensors'

        def validate(average: Any) -> dict[str, float]:
            row = check(average)
            save_weights(average, path, metadata={'network': model.settings})
            return row

        result = fit(model, maker, loss, settings, folder, validate=validate)
        drawn = sum(pools.pool.made.values()) // 2
    known = {'size': size, 'seed': seed, 'start': str(start and Path(start).name)}
    facts = _facts(result, **known, device=device, loss=terms)
    save_weights(result.average, path, metadata={**facts, 'scenes': drawn})
    _summarise(say, result, device)
    tell(say, f'{drawn} scenes, {path}')
    return path


def _facts(result: Any, **options: Any) -> dict[str, Any]:
    """Return what the weights say of their training."""
    return {
        'network': result.model.settings,
        'images': result.images,
        'steps': result.steps,
        'seconds': round(result.seconds, 1),
        **options,
        'device': device_name(options['device']),
        'validation': result.validation,
    }


def _summarise(say: Any, result: Any, device: str) -> None:
    """Tell how fast a training was."""
    speed = result.images / max(result.seconds, 1e-9)
    tell(say, f'{result.steps} steps, {result.images} squares, {speed:.0f} squares/s')
    tell(say, f'{result.skipped} steps skipped')
    if device == 'cuda':
        import torch

        memory = torch.cuda.max_memory_allocated() / 2**30
        tell(say, f'{memory:.1f} GiB of the device at most')


def compare(
    folder: Path | str,
    *,
    seconds: float,
    names: list[str] | None = None,
    say: Any = None,
    **options: Any,
) -> dict[str, Any]:
    """
    Train once for each variant of the loss, equally long, and write a table.

    Parameters
    ----------
    folder : path-like
        Folder of the runs, and of ``ablation.json``.
    seconds : float
        Time for each.
    names : list of str, optional
        Variants, by default all. They share the scenes.
    say : callable, optional
        Takes one line of text on the way.
    **options
        Of `train`.

    Returns
    -------
    dict
        Numbers of the last validation for each variant, with the images seen.
    """
    from safetensors import safe_open

    folder = Path(folder)
    rows = {}
    with Source(*({**_POOLS, **options}[name] for name in _POOLS)) as source:
        # All variants see the same scenes, from the first step on.
        source.fill(options.get('device', 'cpu'))
        options['source'] = source
        for name in names or VARIANTS:
            place = folder / name.replace(' ', '-')
            tell(say, f'== {name}')
            weights = VARIANTS[name]
            path = train(place, seconds=seconds, weights=weights, say=say, **options)
            with safe_open(str(path), framework='pt') as file:
                facts = json.loads(file.metadata()['astroflat'])
            rows[name] = {'images': facts['images'], **facts['validation']}
            text = json.dumps(rows, indent=1)
            (folder / 'ablation.json').write_text(text + '\n', encoding='utf-8')
    return rows


def _until(folder: Path, seconds: float | None, begin: float) -> float | None:
    """Seconds of the run, those before a resumption included, at which to end."""
    if seconds is None:
        return None
    before, path = 0.0, folder / 'checkpoint.json'
    if path.exists():
        before = json.loads(path.read_text(encoding='utf-8'))['seconds']
    # What comes after the last step takes some seconds, and starting Python did.
    rest = seconds - (time.monotonic() - begin) - min(25.0, 0.1 * seconds)
    return max(before + rest, before + 1.0)


def main(arguments: list[str] | None = None) -> int:
    """
    Train from the command line, as ``astroflat train restore`` does.

    Parameters
    ----------
    arguments : list of str, optional
        Arguments instead of those of the process.

    Returns
    -------
    int
        0.
    """
    from astroflat.cli import main as run

    return run(
        ['train', 'restore', *(sys.argv[1:] if arguments is None else arguments)]
    )


if __name__ == '__main__':
    sys.exit(main())
