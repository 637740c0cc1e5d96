# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Train the denoiser on simulated skies: ``python -m astroflat.training.denoise``.

Nothing heavy is imported at the top: the processes that draw scenes read this
module too.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from astroflat.degradation._kinds import SCENE_KINDS
from astroflat.training._log import device_name, tell

__all__ = ['main', 'train']

# Where sources are close together it is hardest to tell them from noise.
_KINDS = (
    *(kind for kind in SCENE_KINDS if kind != 'image'),
    *('starfield',) * 4,
    *('globular_cluster',) * 2,
)
_FWHM = (1.3, 8.0)


def train(
    folder: Path | str,
    *,
    seconds: float | None = None,
    steps: int = 200_000,
    device: str = 'cpu',
    count: int = 96,
    size: int = 128,
    pool: int = 3072,
    workers: int | None = None,
    rate: float = 1.5e-3,
    start: Path | str | None = None,
    compile: bool = False,  # noqa: A002
    seed: int = 0,
    say: Any = None,
) -> Path:
    """
    Train the denoiser on simulated skies with known truth.

    Parameters
    ----------
    folder : path-like
        Folder of the run: weights, tables, checkpoint. A run is gone on with.
    seconds : float, optional
        Time for all, the start included.
    steps : int, optional
        Most steps of the optimiser.
    device : str, optional
        ``'cpu'`` or ``'cuda'``.
    count, size : int, optional
        Squares in a batch and their side in pixels.
    pool : int, optional
        Scenes to hold.
    workers : int, optional
        Processes that draw scenes.
    rate : float, optional
        Highest learning rate.
    start : path-like, optional
        Weights to start from, of the same network: a file ``.safetensors`` of
        another training, or a network in ONNX.
    compile : bool, optional
        Compile the network.
    seed : int, optional
        Start of the random numbers.
    say : callable, optional
        Takes one line of text on the way.

    Returns
    -------
    Path
        ``denoise.safetensors``, the averaged weights.
    """
    begin = time.monotonic()
    import torch

    from astroflat.training._checkpoint import save_weights
    from astroflat.training._denoise_data import NoisySquares
    from astroflat.training._denoise_loss import Validation, fit_doubt, supervised_loss
    from astroflat.training._unet import DenoiseNet
    from astroflat.training.denoise_export import start_network
    from astroflat.training.loop import FitSettings, fit
    from astroflat.training.scenes import SceneChoice, ScenePool

    folder = Path(folder)
    torch.manual_seed(seed)
    model = start_network(start) if start else DenoiseNet()
    if device == 'cuda':
        torch.backends.cudnn.benchmark = True
    with ScenePool(
        pool,
        SceneChoice(kinds=_KINDS, fwhm=_FWHM),
        device=device,
        workers=workers,
        seed=seed,
    ) as made:
        validate = Validation(_validation_batch(device), say=say)
        made.wait(min(pool, 8 * count))
        tell(say, f'{made.filled} scenes after {time.monotonic() - begin:.1f} s')
        left = None if seconds is None else seconds - (time.monotonic() - begin) - 8.0
        settings = FitSettings(
            steps=steps,
            max_seconds=left,
            rate=rate,
            device=device,
            bf16=device == 'cuda',
            channels_last=True,
            compile=compile,
            validate_seconds=20.0,
            save_seconds=45.0,
            seed=seed,
        )
        squares = NoisySquares(made, count, size)
        result = fit(
            model, squares, supervised_loss, settings, folder, validate=validate
        )
        fit_doubt(result.average, squares)
        result.validation = validate(result.average)
        drawn = made.made
    facts = {
        'network': model.settings,
        'images': result.images,
        'steps': result.steps,
        'seconds': round(result.seconds, 1),
        'scenes': drawn,
        'size': size,
        'seed': seed,
        'device': device_name(device),
        'start': str(start and Path(start).name),
        'loss': 'Huber of the noise after the transform; means over 4 and 16 pixels; '
        'fluxes in apertures above rings, one by one and in the mean',
        'validation': result.validation,
    }
    path = save_weights(result.average, folder / 'denoise.safetensors', metadata=facts)
    rate_ = result.images / max(result.seconds, 1e-9)
    tell(say, f'{result.steps} steps, {rate_:.0f} squares/s, {drawn} scenes, {path}')
    return path


def _validation_batch(device: str) -> dict[str, Any]:
    """Squares of scenes that no pool of a training draws."""
    import numpy as np
    import torch

    from astroflat.training._denoise_data import make_batch
    from astroflat.training._noise import Stabiliser
    from astroflat.training.scenes import DrawnScenes, SceneChoice, draw_one

    rng = np.random.default_rng([2026, 1126])
    choice = SceneChoice(shape=(160, 160), fwhm=_FWHM)
    made = [draw_one(choice, rng) for _ in range(48)]
    images = torch.from_numpy(np.stack([image for image, _ in made]))[:, None]
    level, fwhm, kind = torch.tensor([facts for _, facts in made]).unbind(1)
    scenes = DrawnScenes(images, level.float(), fwhm.float(), kind.long())
    generator = torch.Generator().manual_seed(7)
    batch = make_batch(scenes, Stabiliser('cpu'), generator, defects=0.3)
    return {name: value.to(device) for name, value in batch.items()}


def main(arguments: list[str] | None = None) -> int:
    """
    Train the denoiser from the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Arguments instead of those of the process.

    Returns
    -------
    int
        0.
    """
    parser = argparse.ArgumentParser('astroflat.training.denoise', description=__doc__)
    parser.add_argument('--folder', required=True, type=Path)
    parser.add_argument('--seconds', type=float)
    parser.add_argument('--steps', type=int, default=200_000)
    parser.add_argument('--device', default='cpu', choices=('cpu', 'cuda'))
    parser.add_argument('--count', type=int, default=96, help='squares in a batch')
    parser.add_argument('--size', type=int, default=128, help='side of a square')
    parser.add_argument('--pool', type=int, default=3072, help='scenes to hold')
    parser.add_argument('--workers', type=int, help='processes that draw scenes')
    parser.add_argument('--rate', type=float, default=1.5e-3)
    parser.add_argument('--start', type=Path, help='weights to start from')
    parser.add_argument('--compile', action='store_true')
    parser.add_argument('--seed', type=int, default=0)

    def _say(text: str) -> None:
        sys.stdout.write(text + '\n')
        sys.stdout.flush()

    train(**vars(parser.parse_args(arguments)), say=_say)
    return 0


if __name__ == '__main__':
    sys.exit(main())
