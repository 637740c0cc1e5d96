# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Purity and completeness of `astroflat.detect_dust` on simulated truth.

Run ``python benchmarks/dust_detection.py`` (some minutes) or ``--quick``;
``--first`` chooses other seeds, ``--list`` names what was missed or invented.

Flats: vignetting, motes, specks and pixel response of `sample_fields`, with
photon noise; or, as a set of its own, fibres too. Videos: the median of 60
frames of drifting granulation or of an active region, 8, 12 and 16 bit, with
the hard specks and fibres of a beam of f/40.

An object counts if it takes at least 3 % of the light of some pixel of the
frame and its SNR is at least 5. The SNR is that of its matched filter, the
root of the sum over the pixels of (share of the light / noise) squared; noise
is that of photons and pixel response in flats, the texture that is left in
the medians of videos.

Truth and detections are matched one to one. They may be matched if the
centres are closer than the larger of the equivalent radius and 3 px, or, for
fibres, if at least half of the pixels of each lie in the other, which may be
2 px wider. Completeness is the
share of the objects that have a partner, precision the share of the detections
that have one (of any depth): pieces of one object, found twice, are false.
Purity is the milder share of the detections that touch dust at all.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import astroflat as af
from astroflat.degradation import MoteOptics, sample_fields, simulate_video

DEPTHS = ((0.03, 0.06), (0.06, 0.15), (0.15, 1.0))
RADII = ((0.0, 2.0), (2.0, 4.0), (4.0, 15.0), (15.0, 200.0))
DUST = ('motes', 'specks', 'fibers')
LEAST_DEPTH, LEAST_SNR = 0.03, 5.0
FLAT, VIDEO = (600, 800), (400, 500)
# No image of these seeds was looked at while the detector was made, nor were
# any of its numbers fitted to them.
HELD_OUT = 5000
SETS = {
    'flats': ('motes', 'specks'),
    'flats with fibres': ('motes', 'specks', 'fibers'),
    'granulation': ('specks', 'fibers'),
    'active region': ('specks', 'fibers'),
}


def make_flat(seed: int, kinds: tuple[str, ...]) -> tuple:
    """Return the image of a flat, its relative noise and its fields."""
    rng = np.random.default_rng(seed)
    kinds = ('vignetting', *kinds, 'response')
    fields = sample_fields(FLAT, difficulty=0.7, rng=rng, kinds=kinds)
    electrons = 400_000.0 * fields.flat
    response = [r['amplitude'] for r in fields.truth if r['kind'] == 'response']
    noise = np.sqrt(1 / electrons + float(response[0]) ** 2)
    return rng.poisson(electrons), noise, fields


def make_video(seed: int, kind: str, bits: int) -> tuple:
    """Return the median of a solar video, its relative noise and its fields."""
    rng = np.random.default_rng(seed)
    kinds = ('vignetting', 'specks', 'fibers')
    optics = MoteOptics(f_ratio=40, pixel_size=3.5)
    fields = sample_fields(VIDEO, difficulty=0.9, rng=rng, kinds=kinds, optics=optics)
    video = simulate_video(
        60,
        VIDEO,
        kind=kind,
        bits=bits,
        drift=40,
        pattern='random',
        flat=fields,
        gradient=np.zeros(VIDEO, np.float32),
        rng=rng,
    )
    median = af.median_flat(video.array(), bias=np.full(VIDEO, video.camera.bias))
    texture = np.std(median.data / median.data.mean() / fields.flat)
    return median, np.full(VIDEO, texture), fields


def true_objects(fields: Any, noise: np.ndarray) -> Iterator[dict[str, Any]]:
    """Give each object of the truth with its pixels and its significance."""
    from scipy.ndimage import binary_fill_holes

    for row, model in zip(fields.truth, fields.models, strict=True):
        if row['kind'] not in DUST:
            continue
        x, y, reach = row['x'].value, row['y'].value, model.reach
        box = tuple(
            slice(max(0, int(c - reach)), min(n, int(c + reach) + 2))
            for c, n in zip((y, x), noise.shape, strict=True)
        )
        rows, columns = np.mgrid[box].astype(float)
        shade = 1 - model(columns, rows)
        mask = binary_fill_holes(shade > 0.2 * shade.max())
        yield {
            'kind': str(row['kind']),
            'x': float(x),
            'y': float(y),
            'radius': float(np.sqrt(max(mask.sum(), 1) / np.pi)),
            'depth': float(shade.max()),
            'snr': float(np.sqrt(((shade / noise[box]) ** 2).sum())),
            'box': box,
            'mask': mask,
        }


def match(objects: list[dict], found: af.dust.DustDetection) -> dict[int, int]:
    """Pair true objects and detections, each at most once."""
    from scipy.optimize import linear_sum_assignment

    table = found.catalogue
    worth = np.zeros((len(objects), len(table)))
    x, y = table['x'].value, table['y'].value
    areas = np.bincount(found.labels.ravel(), minlength=len(table) + 1)[1:]
    for i, item in enumerate(objects):
        inside = found.labels[item['box']][item['mask']]
        common = np.bincount(inside, minlength=len(table) + 1)[1:]
        overlap = common / (item['mask'].sum() + areas - common)
        near = np.hypot(x - item['x'], y - item['y']) < max(item['radius'], 3)
        fits = near
        if item['kind'] == 'fibers':
            wide = np.zeros(found.labels.shape, bool)
            wide[item['box']] = item['mask']
            inside = found.labels[af.dilate_mask(wide, radius=2)]
            within = np.bincount(inside, minlength=len(table) + 1)[1:]
            fits = (common >= 0.5 * item['mask'].sum()) & (within >= 0.5 * areas)
        worth[i] = fits * (1 + overlap)
    pairs = np.transpose(linear_sum_assignment(-worth))
    return {int(i): int(j) for i, j in pairs if worth[i, j] > 0}


def score(image: Any, noise: np.ndarray, fields: Any) -> dict[str, list]:
    """Return the true objects with their partners, and the detections."""
    found = af.detect_dust(image, polarity='dark')
    objects = list(true_objects(fields, noise))
    pairs = match(objects, found)
    dust = af.dilate_mask(fields.dust_mask, radius=2)
    detections = []
    for j, row in enumerate(found.catalogue):
        item = {name: _plain(row[name]) for name in ('x', 'y', 'radius', 'depth')}
        item |= {'kind': str(row['kind']), 'snr': float(row['snr'])}
        item['partner'] = j in pairs.values()
        item['dust'] = bool(dust[found.labels == row['id']].any())
        detections.append(item)
    for i, item in enumerate(objects):
        item['found'] = i in pairs
        item['counts'] = item['depth'] >= LEAST_DEPTH and item['snr'] >= LEAST_SNR
        item['covered'] = float(found.mask[item['box']][item['mask']].mean())
        del item['box'], item['mask']
    return {'objects': objects, 'detections': detections}


def _plain(value: Any) -> float:
    """Return a quantity as a number."""
    return float(getattr(value, 'value', value))


def _mean(values: list[bool]) -> float | None:
    """Return a share, if there is anything to share."""
    return float(np.mean(values)) if values else None


def summarise(name: str, cases: list[dict[str, list]]) -> dict[str, Any]:
    """Return completeness by depth and size, purity, precision and F1."""
    rows = [o for case in cases for o in case['objects'] if o['counts']]
    detections = [d for case in cases for d in case['detections']]
    hits, false = (
        sum(o['found'] for o in rows),
        sum(not d['partner'] for d in detections),
    )
    bins = []
    for low, high in DEPTHS:
        for small, large in RADII:
            part = [
                o['found']
                for o in rows
                if low <= o['depth'] < high and small <= o['radius'] < large
            ]
            bins.append(
                {
                    'depth': [low, high],
                    'radius': [small, large],
                    'n': len(part),
                    'completeness': _mean(part),
                }
            )
    return {
        'set': name,
        'images': len(cases),
        'objects': len(rows),
        'detections': len(detections),
        'completeness': _mean([o['found'] for o in rows]),
        'purity': _mean([d['dust'] for d in detections]),
        'precision': _mean([d['partner'] for d in detections]),
        'f1': 2 * hits / max(hits + len(rows) + false, 1),
        'kinds': {
            kind: [
                sum(o['found'] for o in rows if o['kind'] == kind),
                sum(o['kind'] == kind for o in rows),
            ]
            for kind in DUST
        },
        'bins': bins,
    }


def run(first: int, images: int, only: str = '') -> Iterator[tuple[str, list[dict]]]:
    """Run all sets, giving the name of each and its cases."""
    for name, kinds in SETS.items():
        if not name.startswith(only):
            continue
        if 'flats' in name:
            n = images if name == 'flats' else images // 2
            seeds = range(first, first + n)
            yield name, [score(*make_flat(s, kinds)) for s in seeds]
            continue
        for bits in (8, 12, 16):
            kind = name.replace(' ', '_')
            n = images // 2 if kind == 'granulation' else images // 4
            seeds = range(first + 500, first + 500 + n)
            cases = [score(*make_video(s, kind, bits)) for s in seeds]
            yield f'{name}, {bits} bit', cases


def show(first: int, cases: list[dict[str, list]]) -> None:
    """Name what was missed and what was invented."""
    for k, case in enumerate(cases):
        missed = [o for o in case['objects'] if o['counts'] and not o['found']]
        false = [d for d in case['detections'] if not d['partner']]
        for word, items in (('missed', missed), ('false', false)):
            for item in items:
                numbers = {
                    key: float(f'{value:.3g}') if isinstance(value, float) else value
                    for key, value in item.items()
                    if key not in ('found', 'counts', 'partner')
                }
                print(f'    {first + k} {word}', numbers)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--quick', action='store_true', help='a sixth of the images')
    parser.add_argument('--first', type=int, default=HELD_OUT, help='the first seed')
    parser.add_argument('--images', type=int, help='flats of the first set')
    parser.add_argument('--list', action='store_true', help='name errors')
    parser.add_argument('--only', default='', help='sets whose name begins so')
    parser.add_argument('--json', type=Path, help='file for the numbers')
    args = parser.parse_args()
    images = args.images or (8 if args.quick else 48)
    results = []
    for name, cases in run(args.first, images, args.only):
        result = summarise(name, cases)
        results.append(result)
        print(json.dumps({k: v for k, v in result.items() if k != 'bins'}))
        for row in result['bins']:
            if row['n']:
                print('   ', row)
        if args.list:
            show(args.first + 500 * ('bit' in name), cases)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2))


if __name__ == '__main__':
    main()
