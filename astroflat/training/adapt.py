# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Adapt the denoiser to the frames of one camera, without truth."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

    from astroflat.training.frame_tiles import FrameTiles

__all__ = ['adapt', 'load_shipped']

# With fewer parents than this none is kept back to judge.
_FEWEST = 5
_JUDGED_TILES = 24


def adapt(
    frames: Sequence[Any] | Path | str,
    output: Path | str,
    *,
    aligned: bool = False,
    axis: str | None = None,
    model: Any = 'default',
    steps: int = 400,
    patience: int | None = 5,
    by: str | None = None,
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
    frames : sequence of CCDData, array_like or path, or path
        Frames of one camera, linear; or a folder of them.
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
    patience : int, optional
        End when so many judgements, 20 in all, have brought nothing better.
    by : str, optional
        Column of the catalogue whose values tell parents apart, as ``'object'``:
        then no field is both learned from and judged with. By default each file.
    seconds : float, optional
        End earlier.
    rate : float, optional
        Learning rate.
    count, size : int, optional
        Tiles in a batch and their side in pixels, a multiple of 16.
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
        shape, or if files are of no use (see
        `astroflat.training.catalogue.check_catalogue`).

    Notes
    -----
    Files are catalogued first, in ``catalogue.ecsv`` of the folder beside the
    output, with the split of each. From five parents on a fifth of them is kept
    back; on tiles of these the network is judged, hiding the same pixels each time,
    and the best one is kept, that of the start included.
    """
    from astroflat.training.frame_tiles import FrameTiles, check_tiles
    from astroflat.training.loop import FitSettings, fit
    from astroflat.training.user_images import list_images

    if isinstance(frames, (str, os.PathLike)):
        frames = list_images(frames) if Path(frames).is_dir() else [frames]
    output, frames = Path(output), list(frames)
    folder = output.with_suffix('')
    if len(frames) < 1 + aligned:
        msg = f'{len(frames)} frames are too few; give {1 + aligned} or more'
        raise ValueError(msg)
    learn, judge = _divide(frames, folder, size=size, by=by, seed=seed)
    tiles = FrameTiles(frames, size, **noise)
    if aligned and len(set(tiles.shapes)) > 1:
        msg = 'aligned frames must have one shape'
        raise ValueError(msg)
    check_tiles(tiles)
    network = load_shipped(model)
    task = _Task(tiles, learn, count, aligned, axis, seed)
    best = _Best(task, judge, device, patience) if judge else None
    if best:
        best(network.to(device))
    settings = FitSettings(
        steps=steps,
        max_seconds=seconds,
        rate=rate,
        device=device,
        average=0.99,
        validate_every=max(1, steps // 20) if best else None,
        seed=seed,
    )
    result = fit(
        network, task.draw, task.loss, settings, folder, resume=False, validate=best
    )
    if best:
        result.average.load_state_dict(best.weights)
    facts = {
        'network': network.settings,
        'data': f'{len(frames)} frames of the user, {len(judge)} of them to judge',
        'method': 'Noise2Noise' if aligned else 'blind spots',
        'start': str(model),
        'images': result.images,
        'steps': result.steps,
        'judged': best.losses if best else [],
    }
    _write(result.average, model, output, facts)
    return output


def _divide(
    frames: list[Any], folder: Path, *, size: int, by: str | None, seed: int
) -> tuple[list[int], list[int]]:
    """Choose frames to learn from and to judge with; catalogue them if files."""
    from astroflat.training import catalogue

    if all(isinstance(frame, (str, os.PathLike)) for frame in frames):
        table = catalogue.catalogue_frames(frames)
        catalogue.check_catalogue(table, size=size)
        table = catalogue.split_catalogue(table, by=by, seed=seed)
        if len(set(table['parent'])) < _FEWEST:
            table['split'] = 'train'
        catalogue.check_catalogue(table, size=size)
        folder.mkdir(parents=True, exist_ok=True)
        catalogue.write_catalogue(table, folder / 'catalogue.ecsv', overwrite=True)
        judge = np.flatnonzero(table['split'] == 'validate').tolist()
    else:
        order = np.random.default_rng(seed).permutation(len(frames))
        held = len(frames) // _FEWEST
        judge = sorted(order[:held].tolist())
    return [k for k in range(len(frames)) if k not in judge], judge


@dataclass
class _Task:
    """What to draw, and what to learn from it."""

    tiles: FrameTiles
    frames: list[int]
    count: int
    aligned: bool
    axis: str | None
    seed: int

    def __post_init__(self) -> None:
        import torch

        self.generator = torch.Generator().manual_seed(self.seed + 1)

    def draw(self, draws: torch.Generator) -> torch.Tensor:
        """Cut tiles, turned and mirrored; of aligned frames two in one."""
        tiles = [self._one(draws, self.frames) for _ in range(self.count)]
        return _stack(tiles)

    def _one(self, draws: torch.Generator, frames: list[int]) -> np.ndarray:
        """Cut one tile."""
        from astroflat.neural._symmetry import N_WAYS, turn

        tiles = self.tiles
        first = frames[_whole(len(frames), draws)]
        ny, nx, planes = tiles.shapes[first]
        plane = _whole(planes, draws)
        y, x = (_whole(n - tiles.size + 1, draws) for n in (ny, nx))
        chosen = [first]
        if self.aligned:
            others = [k for k in self.frames if k != first]
            chosen.append(others[_whole(len(others), draws)])
        cut = np.stack([tiles.cut(k, plane, y, x).values for k in chosen])
        return turn(cut, _whole(N_WAYS, draws))

    def loss(self, net: Any, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compare with another exposure, or hide pixels."""
        return self._loss(net, batch, self.generator)

    def _loss(self, net: Any, batch: Any, generator: Any) -> dict[str, torch.Tensor]:
        from astroflat.training.blind import blind_loss, pair_loss

        if self.aligned:
            return pair_loss(net, batch[:, :1], batch[:, 1:])
        return blind_loss(net, batch, generator=generator, axis=self.axis)

    def judge(self, net: Any, batch: Any) -> float:
        """Return the loss where the same pixels are hidden each time."""
        import torch

        generator = torch.Generator().manual_seed(self.seed + 2)
        with torch.no_grad():
            return float(self._loss(net, batch, generator)['loss'])


class _Best:
    """Judges a network on tiles that it does not learn from; keeps the best."""

    def __init__(
        self, task: _Task, frames: list[int], device: str, patience: int | None
    ) -> None:
        import torch

        draws = torch.Generator().manual_seed(task.seed + 3)
        tiles = [task._one(draws, frames) for _ in range(_JUDGED_TILES)]
        self.task, self.patience = task, patience
        self.batch = _stack(tiles).to(device)
        self.losses: list[float] = []
        self.weights: dict[str, torch.Tensor] = {}

    def __call__(self, net: Any) -> dict[str, float]:
        """Judge, and say whether it is time to stop."""
        loss = self.task.judge(net, self.batch)
        if not self.losses or loss < min(self.losses):
            self.weights = {k: v.clone() for k, v in net.state_dict().items()}
        self.losses.append(round(loss, 6))
        since = len(self.losses) - 1 - int(np.argmin(self.losses))
        stop = self.patience is not None and since >= self.patience
        return {'loss': loss, 'stop': float(stop)}


def _whole(high: int, draws: torch.Generator) -> int:
    """Draw a whole number below another."""
    import torch

    return int(torch.randint(high, (1,), generator=draws, device=draws.device))


def _stack(tiles: list[np.ndarray]) -> torch.Tensor:
    """Make one tensor of tiles."""
    import torch

    return torch.stack([torch.from_numpy(np.ascontiguousarray(t)) for t in tiles])


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
    state = {}
    for name in network.state_dict():
        # Kernels may be kept in half precision.
        values = numpy_helper.to_array(stored.get(f'{name}_half', stored.get(name)))
        state[name] = torch.from_numpy(values.astype(np.float32))
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
        name = tensor.name.removesuffix('_half')
        if name in state:
            array = state[name].detach().cpu().numpy()
            kind = numpy_helper.to_array(tensor).dtype
            tensor.CopyFrom(numpy_helper.from_array(array.astype(kind), tensor.name))
    temporary = output.with_suffix('.part')
    onnx.save(proto, temporary)
    temporary.replace(output)
    card = replace(found.card, name=output.stem, training=facts, metrics={})
    embed_card(output, card)
