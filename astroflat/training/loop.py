# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
One loop that trains every network.

It knows nothing of images: batches and losses are functions. Runs are capped
by steps or by seconds, can be resumed, and write what they do to a table.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroflat.training import _checkpoint
from astroflat.training._ema import WeightAverage
from astroflat.training._graph import CapturedStep
from astroflat.training._log import Table

if TYPE_CHECKING:
    import torch

__all__ = ['FitResult', 'FitSettings', 'fit', 'schedule']

Terms = dict[str, 'torch.Tensor']


@dataclass(frozen=True)
class FitSettings:
    """
    How to train.

    Parameters
    ----------
    steps : int, optional
        Number of steps of the optimiser.
    max_seconds : float or None, optional
        End earlier when this time is over; the rate then follows the clock,
        so that it is low at the end in any case.
    rate : float, optional
        Highest learning rate.
    final : float, optional
        Learning rate at the end as a fraction of the highest.
    warmup : float, optional
        Part of the run in which the rate rises.
    weight_decay : float, optional
        Decay of the weights (not of biases and scales) in AdamW.
    clip : float or None, optional
        Largest norm of the gradient.
    accumulate : int, optional
        Batches for each step.
    average : float, optional
        Weight of the past in the moving average of the weights.
    device : str, optional
        Where to train, ``'cpu'`` or ``'cuda'``.
    bf16 : bool, optional
        Compute the network in bfloat16; weights and losses stay float32.
    channels_last : bool, optional
        Keep channels last in memory.
    compile : bool, optional
        Compile the network if that works on this machine.
    graph : bool, optional
        Record the passes of a step once and replay them: on a GPU, for batches
        of one shape, each a step of its own.
    log_every, validate_every, save_every : int or None, optional
        Steps between rows of the log, validations, and checkpoints.
    validate_seconds, save_seconds : float or None, optional
        The same in seconds.
    seed : int, optional
        Start of the random numbers.
    """

    steps: int = 1000
    max_seconds: float | None = None
    rate: float = 1e-3
    final: float = 0.01
    warmup: float = 0.03
    weight_decay: float = 1e-4
    clip: float | None = 1.0
    accumulate: int = 1
    average: float = 0.999
    device: str = 'cpu'
    bf16: bool = False
    channels_last: bool = False
    compile: bool = False
    graph: bool = False
    log_every: int = 20
    validate_every: int | None = None
    validate_seconds: float | None = None
    save_every: int | None = None
    save_seconds: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that cannot be."""
        for name in ('steps', 'accumulate', 'log_every'):
            if getattr(self, name) < 1:
                msg = f'{name} must be at least 1, not {getattr(self, name)}'
                raise ValueError(msg)
        if not 0.0 <= self.warmup < 1.0:
            msg = f'warmup must be in [0, 1), not {self.warmup}'
            raise ValueError(msg)
        if self.graph and (self.accumulate > 1 or self.device == 'cpu'):
            msg = 'graph must be False on a CPU and where batches are accumulated'
            raise ValueError(msg)


@dataclass
class FitResult:
    """
    What came out of a run.

    Parameters
    ----------
    model : `torch.nn.Module`
        Network with the last weights.
    average : `torch.nn.Module`
        Network with the averaged weights, the one to use.
    steps : int
        Steps done, those before a resumption included.
    images : int
        Images seen.
    seconds : float
        Time spent.
    skipped : int
        Steps left out because the loss or its gradient was not finite.
    terms : dict of float
        Means of the terms of the loss over the last row of the log.
    validation : dict of float
        Numbers of the last validation.
    """

    model: Any
    average: Any
    steps: int
    images: int
    seconds: float
    skipped: int
    terms: dict[str, float] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)


def fit(
    model: torch.nn.Module,
    batches: Callable[[torch.Generator], Any] | Iterable[Any],
    loss: Callable[[torch.nn.Module, Any], Terms],
    settings: FitSettings,
    folder: Path | str,
    *,
    resume: bool = True,
    validate: Callable[[torch.nn.Module], dict[str, float]] | None = None,
) -> FitResult:
    """
    Train a network.

    Parameters
    ----------
    model : `torch.nn.Module`
        Network; it is moved to the device of the settings and trained in
        place.
    batches : callable or iterable
        ``batches(generator)`` gives the next batch, drawn with a generator of
        torch on the device. Only such a function can be resumed exactly; an
        iterable starts anew. Tensors of the batch are moved to the device.
    loss : callable
        ``loss(model, batch)`` gives named terms; ``'loss'`` is minimised, the
        others are logged.
    settings : FitSettings
        How to train.
    folder : path-like
        Folder for ``log.csv``, ``validation.csv`` and the checkpoint.
    resume : bool, optional
        Go on from the checkpoint in the folder, if there is one.
    validate : callable, optional
        ``validate(model)`` gives numbers for the averaged network. If one of
        them is a ``'stop'`` that is not 0, the run ends.

    Returns
    -------
    FitResult
        The networks and the numbers of the run.

    Notes
    -----
    AdamW (Loshchilov and Hutter 2019) with a linear rise and a cosine fall of
    the rate. The gradient is clipped as it is, without any scaling: bfloat16
    needs none.
    """
    run = _Run(model, loss, settings, Path(folder))
    if resume:
        run.load()
    draw = batches if callable(batches) else _from_iterable(batches)
    while not run.finished:
        run.step(draw)
        run.report(validate)
    run.finish(validate)
    return run.result()


def schedule(progress: float, settings: FitSettings) -> float:
    """
    Return the learning rate at a time of the run.

    Parameters
    ----------
    progress : float
        Part of the run that is over, 0 to 1.
    settings : FitSettings
        Highest rate, its rise and its end.

    Returns
    -------
    float
        Learning rate.

    Examples
    --------
    >>> from astroflat.training.loop import FitSettings, schedule
    >>> settings = FitSettings(rate=1.0, final=0.1, warmup=0.2)
    >>> [round(schedule(t, settings), 3) for t in (0.1, 0.2, 0.6, 1.0)]
    [0.5, 1.0, 0.55, 0.1]
    """
    progress = min(max(progress, 0.0), 1.0)
    if progress < settings.warmup:
        return settings.rate * max(progress / settings.warmup, 1e-3)
    t = (progress - settings.warmup) / (1.0 - settings.warmup)
    wave = 0.5 * (1.0 + math.cos(math.pi * t))
    return settings.rate * (settings.final + (1.0 - settings.final) * wave)


class _Run:
    """A run: networks, optimiser, clock, counts and tables."""

    def __init__(
        self,
        model: torch.nn.Module,
        loss: Callable[[torch.nn.Module, Any], Terms],
        settings: FitSettings,
        folder: Path,
    ) -> None:
        import torch

        folder.mkdir(parents=True, exist_ok=True)
        self.settings, self.folder, self.loss = settings, folder, loss
        torch.manual_seed(settings.seed)
        self.model = model.to(settings.device)
        if settings.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
        self.average = WeightAverage(self.model, settings.average)
        self.optimizer = _optimizer(self.model, settings)
        self.generator = torch.Generator(device=settings.device)
        self.generator.manual_seed(settings.seed)
        self.forward = _compiled(self.model) if settings.compile else self.model
        self.backward = self._backward
        if settings.graph:
            self.backward = CapturedStep(self._backward, list(self.model.parameters()))
        self.steps = self.images = self.skipped = 0
        self.before, self.start = 0.0, time.monotonic()
        self.validated = self.saved = 0.0
        self.stopped = False
        self.sums: dict[str, Any] = {}
        self.counted = 0
        self.terms: dict[str, float] = {}
        self.validation: dict[str, float] = {}
        self.log = Table(folder / 'log.csv')
        self.checks = Table(folder / 'validation.csv')

    @property
    def seconds(self) -> float:
        """Time spent, before a resumption too."""
        return self.before + time.monotonic() - self.start

    @property
    def progress(self) -> float:
        """Part of the run that is over."""
        done = self.steps / self.settings.steps
        if self.settings.max_seconds:
            done = max(done, self.seconds / self.settings.max_seconds)
        return done

    @property
    def finished(self) -> bool:
        """Whether all steps are done, the time is over, or nothing gets better."""
        return self.stopped or self.progress >= 1.0

    def step(self, draw: Callable[[torch.Generator], Any]) -> None:
        """Make one step of the optimiser, or leave it out."""
        import torch

        rate = schedule(self.progress, self.settings)
        for group in self.optimizer.param_groups:
            group['lr'] = rate
        self.model.train()
        terms: dict[str, Any] = {}
        for _ in range(self.settings.accumulate):
            batch = _to_device(draw(self.generator), self.settings.device)
            self.images += _size(batch)
            for name, value in self.backward(batch).items():
                terms[name] = terms.get(name, 0.0) + value
        limit = self.settings.clip or math.inf
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        self.steps += 1
        if bool(torch.isfinite(norm) & torch.isfinite(terms['loss'])):
            self.optimizer.step()
            self.average.update(self.model)
            self._count({**terms, 'gradient': norm})
        else:
            self.skipped += 1
        if not self.settings.graph:
            self.optimizer.zero_grad(set_to_none=True)
        self.rate = rate

    def _backward(self, batch: Any) -> Terms:
        """Add the gradient of one batch; return its terms, detached."""
        import torch

        kind = torch.device(self.settings.device).type
        # What is cast in a recorded pass must be cast again in each replay.
        with torch.autocast(
            kind,
            torch.bfloat16,
            enabled=self.settings.bf16,
            cache_enabled=not self.settings.graph,
        ):
            terms = self.loss(self.forward, batch)
        share = 1.0 / self.settings.accumulate
        (terms['loss'] * share).backward()
        return {name: value.detach().float() * share for name, value in terms.items()}

    def _count(self, terms: Terms) -> None:
        """Add to the sums for the next row, without waiting for the device."""
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.counted += 1

    def report(self, validate: Callable | None) -> None:
        """Log, validate and save when it is time."""
        settings = self.settings
        if self.steps % settings.log_every == 0:
            self._write_row()
        late = _due(self.seconds, self.validated, settings.validate_seconds)
        if validate and (late or _every(self.steps, settings.validate_every)):
            self._validate(validate)
        late = _due(self.seconds, self.saved, settings.save_seconds)
        if late or _every(self.steps, settings.save_every):
            self.save()

    def finish(self, validate: Callable | None) -> None:
        """Write the last rows and the last checkpoint."""
        if self.counted:
            self._write_row()
        if validate and self.checks.last_step != self.steps:
            self._validate(validate)
        self.save()

    def _write_row(self) -> None:
        """Write the mean terms since the last row."""
        means = {k: float(v) / self.counted for k, v in self.sums.items()}
        self.terms, self.sums, self.counted = means or self.terms, {}, 0
        self.log.write({**self._head(), 'rate': self.rate, **self.terms})

    def _validate(self, validate: Callable) -> None:
        """Write the numbers of a validation of the averaged network."""
        self.validation = validate(self.average.model)
        self.stopped = bool(self.validation.pop('stop', False))
        self.checks.write({**self._head(), **self.validation})
        self.validated = self.seconds

    def _head(self) -> dict[str, float]:
        """First columns of each table."""
        return {
            'step': self.steps,
            'seconds': round(self.seconds, 2),
            'images': self.images,
            'skipped': self.skipped,
        }

    def _parts(self) -> dict[str, Any]:
        """Return what a checkpoint holds and fills."""
        return {
            'models': {'model': self.model, 'average': self.average.model},
            'optimizer': self.optimizer,
            'generators': {'batches': self.generator},
        }

    def save(self) -> None:
        """Write a checkpoint."""
        state = {
            **self._head(),
            'updates': self.average.updates,
            'settings': asdict(self.settings),
        }
        _checkpoint.save_checkpoint(self.folder, state=state, **self._parts())
        self.saved = self.seconds

    def load(self) -> None:
        """Go on from a checkpoint, if there is one."""
        state = _checkpoint.load_checkpoint(self.folder, **self._parts())
        if state is None:
            return
        self.steps, self.images = state['step'], state['images']
        self.skipped, self.before = state['skipped'], state['seconds']
        self.average.updates = state['updates']
        self.validated = self.saved = self.before
        self.log.cut(self.steps)
        self.checks.cut(self.steps)

    def result(self) -> FitResult:
        """Return what came out."""
        return FitResult(
            model=self.model.eval(),
            average=self.average.model,
            steps=self.steps,
            images=self.images,
            seconds=self.seconds,
            skipped=self.skipped,
            terms=self.terms,
            validation=self.validation,
        )


def _optimizer(model: torch.nn.Module, settings: FitSettings) -> Any:
    """AdamW without decay of biases and scales."""
    import torch

    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {'params': [p for p in parameters if p.ndim > 1]},
        {'params': [p for p in parameters if p.ndim <= 1], 'weight_decay': 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group['params']],
        lr=settings.rate,
        weight_decay=settings.weight_decay,
        foreach=True,
    )


def _compiled(model: torch.nn.Module) -> Callable:
    """Return the compiled network, or the network where that does not work."""
    import torch

    compiled = torch.compile(model)
    broken = []

    def forward(*args: Any) -> Any:
        if not broken:
            try:
                return compiled(*args)
            except Exception as error:  # noqa: BLE001
                # The compiler has many ways to fail: no C compiler, no Triton.
                broken.append(error)
        return model(*args)

    return forward


def _from_iterable(batches: Iterable[Any]) -> Callable[[Any], Any]:
    """Return a function that gives the items of an iterable, over and over."""
    iterator = iter(batches)

    def draw(generator: Any) -> Any:  # noqa: ARG001
        nonlocal iterator
        try:
            return next(iterator)
        except StopIteration:
            iterator = iter(batches)
            return next(iterator)

    return draw


def _to_device(batch: Any, device: str) -> Any:
    """Move all tensors of a batch."""
    if isinstance(batch, dict):
        return {key: _to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        return type(batch)(_to_device(value, device) for value in batch)
    if hasattr(batch, 'to'):
        return batch.to(device, non_blocking=True)
    return batch


def _size(batch: Any) -> int:
    """Return the number of images in a batch: the first axis of its first tensor."""
    if isinstance(batch, dict):
        batch = list(batch.values())
    if isinstance(batch, (tuple, list)):
        return next((_size(part) for part in batch), 0)
    return int(batch.shape[0]) if getattr(batch, 'ndim', 0) else 0


def _every(step: int, period: int | None) -> bool:
    """Whether a step is a multiple of a period."""
    return period is not None and step % period == 0


def _due(now: float, last: float, period: float | None) -> bool:
    """Whether a period is over."""
    return period is not None and now - last >= period
