# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Compare choices made for the networks of flats, each with several seeds.

Run ``python benchmarks/flat_choices.py --images 20000 --device cuda``. Every
choice is trained on the same number of frames out of one pool, with three seeds,
and measured on frames that no training draws. With one seed all choices see the
same frames in the same order, so what is printed is, beside the mean of the median
errors in per cent and its scatter over the seeds, the difference to the networks
as they are shipped, seed by seed: a choice counts when that is larger than its
error.

``--within 110`` instead of ``--images`` measures the speed first and takes as many
frames as all runs can have in that time. ``--seconds`` ends the comparison
whatever is done by then: a run that is not over does not count, and the file of
``--json`` is written anew after each one that is.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from astroflat.training.attention_unet import AttentionResUNetFG
from astroflat.training.flat import FlatData
from astroflat.training.flat_frames import FrameComposer
from astroflat.training.flat_losses import LossWeights, flat_loss
from astroflat.training.flat_nets import FieldsNet, FlatNets
from astroflat.training.flat_validation import measure_flat
from astroflat.training.full_flat import measure_full
from astroflat.training.full_frames import FullComposer
from astroflat.training.full_losses import full_loss
from astroflat.training.loop import FitSettings, fit
from astroflat.training.pools import ArrayPool

NAMES = ('night', 'day', 'smooth', 'dust', 'gradient')
N_SORTED = 16
SHOWN = ('flat', 'gradient', 'sky', 'dust', 'share_false_dust')
# A network of every pixel is measured on other frames, V and D together.
FULL = ('full_flat', 'full_gradient')
SHIPPED = 'as shipped'
# Steps that are timed, and those before them that are not.
TIMED, COLD = 24, 4
# Part of the time that is kept for what is not a step.
SPARE = 0.06


class LateError(Exception):
    """The time is over."""


class Blind(nn.Module):
    """Networks that do not see some of the channels of the cells."""

    def __init__(self, change):
        super().__init__()
        self.nets, self.change = FlatNets(), change

    def forward(self, cells, pixels):
        """Run both networks."""
        return self.nets(*self.change(cells, pixels))


class OneSided(FlatNets):
    """Dust that can only darken: the head ends in a softplus."""

    def forward(self, cells, pixels):
        """Run both networks."""
        *fields, dust = super().forward(cells, pixels)
        dark = -0.1 * functional.softplus(10.0 * dust[:, :1])
        return (*fields, torch.cat([dark, dust[:, 1:]], dim=1))


def means_only(cells, pixels):
    """Replace the sorted values of a cell by their mean."""
    cells, pixels = cells.clone(), pixels.clone()
    cells[:, :N_SORTED] = cells[:, :N_SORTED].mean(dim=1, keepdim=True)
    pixels[:, N_SORTED : 2 * N_SORTED] = 0.0
    return cells, pixels


def no_place(cells, pixels):
    """Hide where in the frame a cell is."""
    cells = cells.clone()
    cells[:, -3:] = 0.0
    return cells, pixels


def without_attention():
    """Make networks whose coarsest grid has no attention."""
    fields = FieldsNet()
    fields.middle = nn.Sequential(fields.middle[1])
    return FlatNets(fields=fields)


def squared_dust(network, batch):
    """Return the loss with squares of the errors of dust instead of Huber's."""
    # The weights of the pixels as in the loss, squares that meet Huber's at 2 %.
    *_, dust = found = network(batch['cells'], batch['pixels'])
    terms = flat_loss(lambda *_: found, batch)
    truth = batch['dust']
    weight = batch['valid'] * (1.0 + (100.0 * truth.abs()).clamp_max(10.0))
    squares = 0.5 * ((dust[:, :1] - truth) / 0.02).square()
    dust_term = (weight * squares).mean()
    share = LossWeights().dust
    loss = terms['loss'] + share * (dust_term - terms['dust'])
    return terms | {'loss': loss, 'dust': dust_term}


def no_sky(network, batch):
    """Return the loss without the term of the even sky."""
    return flat_loss(network, batch, LossWeights(sky=0.0))


# In the order in which one would like to know.
CHOICES = {
    SHIPPED: (FlatNets, flat_loss),
    'means of the cells, not sorted': (lambda: Blind(means_only), flat_loss),
    'dust ends in a softplus': (OneSided, flat_loss),
    'no coordinates': (lambda: Blind(no_place), flat_loss),
    'no term of the even sky': (FlatNets, no_sky),
    'no attention': (without_attention, flat_loss),
    'squared errors of dust': (FlatNets, squared_dust),
    'every pixel, attention U-Net': (
        lambda: AttentionResUNetFG(width=32, depth=5),
        full_loss,
    ),
}


class Trainer:
    """
    Trains choices on one pool, until the time is over.

    Parameters
    ----------
    pool, held : ArrayPool
        Skies and fields to train on, and others to measure on.
    args : argparse.Namespace
        The options.
    end : float
        When to give up, by `time.monotonic`.
    """

    def __init__(self, pool, held, args, end):
        self.pool, self.args, self.end = pool, args, end
        self.frames = {
            kind: [vars(made.compose(16)) for _ in range(max(1, args.validation // 16))]
            for kind, made in (
                ('cells', FrameComposer(held, seed=2026)),
                ('full', FullComposer(held, seed=2026)),
            )
        }

    def batch(self, model):
        """Return the frames of a step."""
        full = isinstance(model, AttentionResUNetFG)
        return max(1, self.args.batch // 4) if full else self.args.batch

    def fit(self, name, seed, steps):
        """Train a choice; return what comes out."""
        torch.manual_seed(seed)
        model = CHOICES[name][0]()
        full = isinstance(model, AttentionResUNetFG)
        composer = (FullComposer if full else FrameComposer)(self.pool)

        def draw(generator):
            if time.monotonic() > self.end:
                raise LateError
            composer.follow(generator)
            return vars(composer.compose(self.batch(model)))

        settings = FitSettings(
            steps=steps or max(1, round(self.args.images / self.batch(model))),
            device=self.args.device,
            bf16=self.args.device == 'cuda',
            channels_last=True,
            average=0.95,
            log_every=10_000,
            seed=seed,
        )
        with tempfile.TemporaryDirectory() as folder:
            return fit(model, draw, CHOICES[name][1], settings, folder, resume=False)

    def speed(self, name):
        """Return the seconds that an image takes."""
        self.fit(name, 0, COLD)
        start = time.perf_counter()
        result = self.fit(name, 0, TIMED)
        return (time.perf_counter() - start) / (TIMED * self.batch(result.model))

    def run(self, name, seed):
        """Train a choice and measure it."""
        start = time.perf_counter()
        result = self.fit(name, seed, 0)
        network = result.average.eval()
        if isinstance(network, AttentionResUNetFG):
            numbers = measure_full(network, self.frames['full'])
            numbers = {f'full_{key}': value for key, value in numbers.items()}
        else:
            numbers = measure_flat(network, self.frames['cells'])
        seconds = round(time.perf_counter() - start, 1)
        counts = {'images': result.steps * self.batch(network), 'steps': result.steps}
        return numbers | counts | {'skipped': result.skipped, 'seconds': seconds}


def make_pools(args):
    """Make the pool to train on and the one to measure on, out of one draw."""
    data = FlatData()
    n_held = max(8, args.validation // 2)
    pool = ArrayPool(
        data.producers(),
        size=args.size,
        capacity=args.entries + n_held,
        n_workers=args.workers,
        seed=3,
        device=args.device,
    )
    pool.start()
    try:
        pool.wait(NAMES, args.entries + n_held)
    finally:
        pool.close()
    return _part(pool, slice(n_held, None)), _part(pool, slice(n_held))


def _part(pool, rows):
    part = ArrayPool([], size=pool.size, n_workers=0, device=pool.device)
    part.arrays = {name: values[rows] for name, values in pool.arrays.items()}
    part.made = {name: len(values) for name, values in part.arrays.items()}
    part.capacity = min(part.made.values())
    return part


def summarise(rows, shipped):
    """Return means and scatters over the seeds, and differences to the shipped."""
    out = {'seeds': sorted(rows), 'images': next(iter(rows.values()))['images']}
    for name in SHOWN + FULL:
        values = {seed: row[name] for seed, row in rows.items() if name in row}
        if not values:
            continue
        out[name] = _mean(list(values.values()), 1.0)
        both = [
            values[seed] - shipped[seed][name]
            for seed in values
            if name in shipped.get(seed, {})
        ]
        if both and rows is not shipped:
            out[f'{name}_more'] = _mean(both, 1.0 / math.sqrt(len(both)))
    return out | {'runs': list(rows.values())}


def _mean(values, share):
    """Return the mean, and the scatter of the values times a number."""
    spread = statistics.stdev(values) if len(values) > 1 else None
    return [
        round(statistics.mean(values), 4),
        None if spread is None else round(share * spread, 4),
    ]


def parse(argv=None):
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--images', type=int, default=20_000, help='of each run')
    parser.add_argument('--within', type=float, help='seconds for all runs together')
    parser.add_argument('--seconds', type=float, help='end after these, pool included')
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--batch', type=int, default=96)
    parser.add_argument('--size', type=int, default=256)
    parser.add_argument('--entries', type=int, default=1000)
    parser.add_argument('--validation', type=int, default=256)
    parser.add_argument('--workers', type=int, default=None)
    parser.add_argument('--device', default='cpu')
    parser.add_argument(
        '--choices',
        nargs='+',
        metavar='NAME',
        help='beginnings of names, or numbers; all by default: '
        + '; '.join(f'{i} {name}' for i, name in enumerate(CHOICES)),
    )
    parser.add_argument('--json', type=Path, help='write the numbers to this file')
    args = parser.parse_args(argv)
    args.names = list(CHOICES)
    if args.choices:
        try:
            args.names = [find_choice(text) for text in args.choices]
        except ValueError as error:
            parser.error(str(error))
    return args


def find_choice(text):
    """Return the name of a choice from its number or its beginning."""
    names = list(CHOICES)
    if text.isdigit() and int(text) < len(names):
        return names[int(text)]
    found = [name for name in names if name.startswith(text)]
    if len(found) != 1:
        msg = f'{text!r} is none, or more than one, of {names}'
        raise ValueError(msg)
    return found[0]


def compare(trainer, args, began):
    """Run all choices, those of most interest first; return the table."""
    rows, table = {name: {} for name in args.names}, {}
    jobs = [(name, seed) for name in args.names for seed in range(args.seeds)]
    for i, (name, seed) in enumerate(jobs):
        rows[name][seed] = row = trainer.run(name, seed)
        names = (*SHOWN, *FULL, 'steps', 'seconds')
        shown = {key: row[key] for key in names if key in row}
        elapsed = time.monotonic() - began
        head = f'{elapsed:6.1f} s  {i + 1}/{len(jobs)}'
        print(f'{head}  {name}, {seed}: {shown}', flush=True)
        shipped = rows.get(SHIPPED, {})
        table = {key: summarise(r, shipped) for key, r in rows.items() if r}
        if args.json:
            args.json.parent.mkdir(parents=True, exist_ok=True)
            args.json.write_text(json.dumps(table, indent=1) + '\n')
        yield table


def main(argv=None):
    """Run the comparison."""
    args, began = parse(argv), time.monotonic()
    end = began + (args.seconds or math.inf)
    pool, held = make_pools(args)
    trainer = Trainer(pool, held, args, end)
    print(f'{time.monotonic() - began:6.1f} s  pool {pool.made}', flush=True)
    table = {}
    try:
        if args.within:
            each = sum(map(trainer.speed, args.names)) * args.seeds
            left = args.within * (1.0 - SPARE)
            args.images = max(args.batch, int(left / each))
            elapsed = time.monotonic() - began
            print(f'{elapsed:6.1f} s  {args.images} images for each run', flush=True)
        for made in compare(trainer, args, began):
            table = made
    except LateError:
        print(f'{time.monotonic() - began:6.1f} s  the time is over', flush=True)
    for name, found in table.items():
        rest = {key: value for key, value in found.items() if key != 'runs'}
        print(f'{name:32s}', rest)
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
