# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Compare choices made for the networks of flats, each with several seeds.

Run ``python benchmarks/flat_choices.py --images 20000 --device cuda``. Every
variant is trained on the same number of frames out of the same pool, with three
seeds, and measured on the same frames that no training draws. What is printed is
the mean over the seeds of the median errors in per cent, and their scatter: a
choice counts when it is better by more than that.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from astroflat.training.attention_unet import AttentionResUNetFG
from astroflat.training.flat import FlatData
from astroflat.training.flat_frames import FrameComposer
from astroflat.training.flat_losses import LossWeights, flat_loss
from astroflat.training.flat_nets import FieldsNet, FlatNets
from astroflat.training.flat_validation import make_validation, measure_flat
from astroflat.training.full_flat import measure_full
from astroflat.training.full_frames import FullComposer
from astroflat.training.full_losses import full_loss
from astroflat.training.loop import FitSettings, fit
from astroflat.training.pools import ArrayPool

NAMES = ('night', 'day', 'smooth', 'dust', 'gradient')
N_SORTED = 16
SHOWN = ('flat', 'gradient', 'sky', 'dust')


class Blind(nn.Module):
    """Networks that do not see some of the channels of the cells."""

    def __init__(self, change):
        super().__init__()
        self.nets, self.change = FlatNets(), change

    def forward(self, cells, pixels):
        """Run both networks."""
        return self.nets(*self.change(cells, pixels))


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


VARIANTS = {
    'as shipped': (FlatNets, None),
    'means of the cells, not sorted': (lambda: Blind(means_only), None),
    'no coordinates': (lambda: Blind(no_place), None),
    'no attention': (without_attention, None),
    'no term of the even sky': (FlatNets, LossWeights(sky=0.0)),
    'every pixel: attention U-Net': (
        lambda: AttentionResUNetFG(width=32, depth=5),
        None,
    ),
}


def train_one(name, seed, pool, frames, args):
    """Train a variant and measure it."""
    make, weights = VARIANTS[name]
    torch.manual_seed(seed)
    model = make()
    full = isinstance(model, AttentionResUNetFG)
    composer = FullComposer(pool) if full else FrameComposer(pool)
    batch = args.batch // 4 if full else args.batch

    def draw(generator):
        composer.follow(generator)
        return vars(composer.compose(batch))

    def loss(network, batch):
        if full:
            return full_loss(network, batch)
        return flat_loss(network, batch, weights)

    settings = FitSettings(
        steps=1_000_000 if args.seconds else max(1, args.images // batch),
        max_seconds=args.seconds,
        device=args.device,
        bf16=args.device == 'cuda',
        channels_last=True,
        average=0.99,
        seed=seed,
    )
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = fit(model, draw, loss, settings, folder, resume=False)
    measure = measure_full if full else measure_flat
    numbers = measure(result.average.eval(), frames['full' if full else 'cells'])
    seconds = time.perf_counter() - start
    return numbers | {'images': result.images, 'seconds': round(seconds, 1)}


def make_frames(args):
    """Make the frames to measure on, for both kinds of networks."""
    n = args.validation
    seed = 2026
    producers = FlatData().producers()
    pool = ArrayPool(
        producers, size=args.size, capacity=max(8, n // 2), n_workers=0, seed=7 << 20
    )
    pool.wait(NAMES, max(8, n // 2))
    composer = FullComposer(pool, seed=seed)
    full = [vars(composer.compose(8)) for _ in range(n // 8)]
    cells = make_validation(n, seed=seed, size=args.size)
    return {
        kind: [{k: v.to(args.device) for k, v in b.items()} for b in made]
        for kind, made in (('cells', cells), ('full', full))
    }


def summarise(rows):
    """Return mean and scatter over the seeds."""
    out = {'seeds': len(rows), 'images': rows[0]['images']}
    for name in SHOWN:
        values = [row[name] for row in rows if name in row]
        if values:
            spread = statistics.stdev(values) if len(values) > 1 else float('nan')
            out[name] = [round(statistics.mean(values), 4), round(spread, 4)]
    return out | {'seconds': [row['seconds'] for row in rows]}


def main():
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--images', type=int, default=20_000)
    parser.add_argument('--seconds', type=float, help='equal time, not equal images')
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--batch', type=int, default=96)
    parser.add_argument('--size', type=int, default=256)
    parser.add_argument('--entries', type=int, default=1500)
    parser.add_argument('--validation', type=int, default=256)
    parser.add_argument('--workers', type=int, default=None)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--variant', action='append', choices=VARIANTS)
    parser.add_argument('--end', type=float, help='start nothing new after seconds')
    parser.add_argument('--json', type=Path, help='write the numbers to this file')
    args = parser.parse_args()
    began = time.monotonic()
    pool = ArrayPool(
        FlatData().producers(),
        size=args.size,
        capacity=args.entries,
        n_workers=args.workers,
        seed=3,
        device=args.device,
    )
    pool.start()
    try:
        frames = make_frames(args)
        pool.wait(NAMES, args.entries)
    finally:
        pool.close()
    print(f'frames and pool: {time.monotonic() - began:.0f} s', flush=True)
    names = args.variant or list(VARIANTS)
    rows = {name: [] for name in names}
    for seed in range(args.seeds):
        for name in names:
            if args.end and time.monotonic() - began > args.end:
                continue
            rows[name].append(train_one(name, seed, pool, frames, args))
            print(name, seed, rows[name][-1], flush=True)
            table = {key: summarise(found) for key, found in rows.items() if found}
            if args.json:
                args.json.write_text(json.dumps(table, indent=1) + '\n')
    for name, found in table.items():
        print(f'{name:34s}', found)


if __name__ == '__main__':
    main()
