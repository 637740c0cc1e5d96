# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Purity and completeness of `astroflat.detect_dust` on simulated truth.

Run ``python benchmarks/dust_detection.py`` (some minutes) or ``--quick``.

Flats: vignetting, motes, specks and pixel response of `sample_fields`, with
photon noise. Videos: the median of drifting granulation, 8, 12 and 16 bit,
with hard specks. An object counts for completeness if its depth is at least
3 % and its matched-filter SNR, depth times the root of its area over the
noise per pixel, at least 5. It is found if a detection has its centre closer
than the larger of its radius and 3 px; a detection is false if it touches no
true dust at all.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import astroflat as af
from astroflat.degradation import sample_fields, simulate_video

DEPTHS = ((0.03, 0.06), (0.06, 0.15), (0.15, 1.0))
RADII = ((0.0, 4.0), (4.0, 15.0), (15.0, 100.0))
DUST = ('motes', 'specks')


def make_flat(seed, shape):
    """Return the image of a flat, its noise and its fields."""
    rng = np.random.default_rng(seed)
    kinds = ('vignetting', *DUST, 'response')
    fields = sample_fields(shape, difficulty=0.7, rng=rng, kinds=kinds)
    electrons = 400_000.0
    image = rng.poisson(electrons * fields.flat)
    return image, 1 / np.sqrt(electrons) + 0.004, fields


def make_video(seed, shape, bits):
    """Return the median of a solar video, its noise and its fields."""
    rng = np.random.default_rng(seed)
    kinds = ('vignetting', 'specks')
    fields = sample_fields(shape, difficulty=0.9, rng=rng, kinds=kinds)
    video = simulate_video(
        60,
        shape,
        kind='granulation',
        bits=bits,
        drift=40,
        pattern='random',
        flat=fields,
        gradient=np.zeros(shape, np.float32),
        rng=rng,
    )
    bias = np.full(shape, video.camera.bias)
    median = af.median_flat(video.array(), bias=bias)
    texture = np.std(median.data / median.data.mean() / fields.flat)
    return median, texture, fields


def score(image, noise, fields):
    """Return the true objects with whether they were found, and the false."""
    found = af.detect_dust(image, polarity='dark')
    table = found.catalogue
    x, y = table['x'].value, table['y'].value
    rows = []
    for row in fields.truth:
        if row['kind'] not in DUST:
            continue
        cx, cy, radius = row['x'].value, row['y'].value, row['radius'].value
        depth = float(row['amplitude'])
        snr = depth * np.sqrt(np.pi) * radius / noise
        hit = bool((np.hypot(x - cx, y - cy) < max(radius, 3)).any())
        rows.append({'depth': depth, 'radius': radius, 'snr': snr, 'found': hit})
    dust = af.dilate_mask(fields.dust_mask, radius=2)
    false = sum(
        not dust[found.labels == i].any()
        for i in table['id']
        if (found.labels == i).any()
    )
    return rows, len(table), int(false)


def summarise(name, cases):
    """Return completeness by depth and size, and purity."""
    rows = [r for case in cases for r in case[0] if r['snr'] >= 5]
    detections = sum(case[1] for case in cases)
    false = sum(case[2] for case in cases)
    deep = [r for r in rows if r['depth'] >= DEPTHS[0][0]]
    result = {
        'set': name,
        'images': len(cases),
        'objects': len(deep),
        'completeness': float(np.mean([r['found'] for r in deep])) if deep else None,
        'purity': 1 - false / detections if detections else None,
        'bins': [],
    }
    for low, high in DEPTHS:
        for small, large in RADII:
            part = [
                r['found']
                for r in rows
                if low <= r['depth'] < high and small <= r['radius'] < large
            ]
            result['bins'].append(
                {
                    'depth': [low, high],
                    'radius': [small, large],
                    'n': len(part),
                    'completeness': float(np.mean(part)) if part else None,
                }
            )
    return result


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    n = 4 if args.quick else 24
    shape = (600, 800)
    results = [summarise('flats', [score(*make_flat(s, shape)) for s in range(n)])]
    for bits in (8, 12, 16):
        cases = [
            score(*make_video(100 + s, (400, 500), bits)) for s in range(max(2, n // 4))
        ]
        results.append(summarise(f'videos, {bits} bit', cases))
    for result in results:
        print(json.dumps({k: v for k, v in result.items() if k != 'bins'}))
        for row in result['bins']:
            if row['n']:
                print('   ', row)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2))


if __name__ == '__main__':
    main()
