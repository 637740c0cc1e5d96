# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Where sharpening ends: pairs of stars, wrong widths, and empty sky.

Run ``python benchmarks/restore_limits.py`` (two minutes). The first table tells which
part of pairs of equal stars stands apart, by their distance in widths of the blurred
stars: two peaks within a quarter of the distance from where the stars are, with a dip
of at least a tenth between them. For single stars (distance 0) it is the part that has
come apart. *Denoised* is the frame without noise, but not sharpened. The second table
has the restorer told a width that is wrong: the depth of the ring around bright stars,
the width that comes out, and the error of their fluxes. The third counts peaks on sky
that has none.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
from scipy.ndimage import map_coordinates, maximum_filter

import astroflat as af

FWHM, BETA, SKY, READNOISE = 4.0, 3.0, 200.0, 4.0
EMPTY = (512, 512)
CELL, SIDE = 48, 10
DISTANCES = (0.0, 0.4, 0.5, 0.6, 0.8, 1.0)
RATIOS = (20, 200)
WRONG = (0.8, 0.9, 1.0, 1.1, 1.2)
CAMERA = {'gain': 1.0, 'readnoise': READNOISE, 'offset': 0.0}


def star(offset):
    """Return the image of a star in a cell."""
    return af.psf.moffat_kernel(FWHM, beta=BETA, size=CELL + 1, offset=offset)


def flux_of(ratio):
    """Return the flux of a star of a signal-to-noise ratio, against sky and itself."""
    weight = 1 / np.square(star((0.0, 0.0))).sum()
    noise = (SKY + READNOISE**2) * weight
    return (ratio**2 + math.sqrt(ratio**4 + 4 * ratio**2 * noise)) / 2


def field(distance, ratio, rng):
    """Return a frame of pairs in cells, and the places of their stars."""
    image = np.zeros((SIDE * CELL + CELL, SIDE * CELL + CELL))
    places = []
    for row in range(SIDE):
        for column in range(SIDE):
            middle = (np.array([column, row]) + 1) * CELL + rng.uniform(-0.5, 0.5, 2)
            angle = rng.uniform(0, 2 * np.pi)
            step = 0.5 * distance * FWHM * np.array([np.cos(angle), np.sin(angle)])
            pair = [middle - step, middle + step]
            places.append(pair)
            for place in pair:
                corner = np.round(place).astype(int)
                part = tuple(
                    slice(c - CELL // 2, c + CELL // 2 + 1) for c in corner[::-1]
                )
                share = flux_of(ratio) * (1 if distance else 0.5)
                image[part] += share * star(tuple(place - corner))
    frame = rng.poisson(image + SKY) + rng.normal(0, READNOISE, image.shape)
    return frame.astype(np.float32), np.array(places)


def apart(image, places, noise):
    """Return the part of pairs that are two peaks with a dip between them."""
    image = image - SKY
    tops = maximum_filter(image, 3) == image
    count = 0
    for first, second in places:
        found = [peak_near(image, tops, p, first, second) for p in (first, second)]
        if any(one is None for one in found) or np.array_equal(*found):
            continue
        along = np.linspace(0, 1, 25)
        track = [found[0][i] + along * (found[1][i] - found[0][i]) for i in (1, 0)]
        values = map_coordinates(image, track, order=1)
        lower = min(values[0], values[-1])
        count += lower > 5 * noise and values.min() < 0.9 * lower
    return count / len(places)


def peak_near(image, tops, place, first, second):
    """Return the peak that belongs to a star of a pair, or None."""
    reach = max(0.25 * np.hypot(*(second - first)), 1.0)
    x, y = np.round(place).astype(int)
    wide = math.ceil(reach) + 1
    part = np.s_[y - wide : y + wide + 1, x - wide : x + wide + 1]
    rows, columns = np.nonzero(tops[part])
    rows, columns = rows + y - wide, columns + x - wide
    near = np.hypot(rows - place[1], columns - place[0]) <= reach
    if not near.any():
        return None
    best = np.argmax(np.where(near, image[rows, columns], -np.inf))
    return np.array([columns[best], rows[best]])


def false_pairs(image, places, noise):
    """Return the part of single stars that have come apart."""
    image = image - SKY
    tops = maximum_filter(image, 3) == image
    count = 0
    for place in places[:, 0]:
        x, y = np.round(place).astype(int)
        wide = math.ceil(FWHM)
        part = np.s_[y - wide : y + wide + 1, x - wide : x + wide + 1]
        values = np.sort(image[part][tops[part]])
        # A second peak half as high as the first is a second star.
        count += len(values) > 1 and values[-2] > max(0.5 * values[-1], 5 * noise)
    return count / len(places)


def pairs(restorer):
    """Return the table of pairs."""
    noise = math.sqrt(SKY + READNOISE**2)
    rows = {}
    for ratio in RATIOS:
        for distance in DISTANCES:
            rng = np.random.default_rng(int(100 * distance) + ratio)
            frame, places = field(distance, ratio, rng)
            count = apart if distance else false_pairs
            # Peaks of the noise would count in the frame itself.
            rows[f'{ratio}, {distance}'] = {
                name: 100
                * count(
                    restorer.restore(
                        frame, psf=star((0.0, 0.0)), strength=strength, **CAMERA
                    ),
                    places,
                    noise,
                )
                for name, strength in (('denoised', 0.0), ('restored', 1.0))
            }
    return rows


def wrong_widths(restorer):
    """Return the table of wrong widths."""
    rng = np.random.default_rng(1)
    frame, places = field(0.0, 200, rng)
    singles = places[:, 0]
    rows = {}
    for factor in WRONG:
        kernel = af.psf.moffat_kernel(factor * FWHM, beta=BETA, size=49)
        restored = restorer.restore(frame, psf=kernel, **CAMERA)
        rows[factor] = around(restored, singles)
    return rows


def around(restored, places):
    """Return what is around stars: ring, width, and error of the flux."""
    stars = af.psf.measure_stars(restored, fwhm=2.0)
    depths, changes = [], []
    y, x = np.indices(restored.shape)
    for place in places:
        part = np.s_[
            int(place[1]) - 20 : int(place[1]) + 21,
            int(place[0]) - 20 : int(place[0]) + 21,
        ]
        r = np.hypot(y[part] - place[1], x[part] - place[0])
        after = restored[part] - SKY
        ring = [after[(r >= k) & (r < k + 1)].mean() for k in range(2, 9)]
        depths.append(min(ring) / after.max())
        inside = r < 2 * FWHM
        changes.append(after[inside].sum() / flux_of(200) - 1)
    return {
        'ring': 100 * float(np.median(depths)),
        'width': float(np.median(stars['fwhm'])) if len(stars) else math.nan,
        'flux': 100 * float(np.median(changes)),
    }


def empty_sky(restorer):
    """Return how many peaks appear on sky without anything, per million pixels."""
    rows = {}
    for sky in (20.0, 200.0, 2000.0):
        rng = np.random.default_rng(int(sky))
        frame = rng.poisson(sky, EMPTY) + rng.normal(0, READNOISE, EMPTY)
        frame = frame.astype(np.float32)
        restored = restorer.restore(frame, psf=star((0.0, 0.0)), **CAMERA)
        noise = math.sqrt(sky + READNOISE**2)
        rows[sky] = {
            f'{name} > {level}': 1e6
            / image.size
            * np.count_nonzero(
                (maximum_filter(image, 5) == image) & (image - sky > level * noise)
            )
            for name, image in (('frame', frame), ('restored', restored))
            for level in (3, 5)
        }
    return rows


def show(title, table):
    """Print a table."""
    print(f'\n{title}')
    names = list(next(iter(table.values())))
    print(f'{"":14s}' + ''.join(f'{name:>14s}' for name in names))
    for key, row in table.items():
        print(f'{key!s:14s}' + ''.join(f'{row[name]:14.2f}' for name in names))


def main():
    """Run all, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--model', default='default')
    parser.add_argument('--device', default='auto')
    parser.add_argument('--output', help='write the numbers as JSON')
    args = parser.parse_args()
    restorer = af.Restorer(args.model, device=args.device)
    tables = {
        'pairs that stand apart (%), by signal-to-noise ratio and distance': pairs(
            restorer
        ),
        'a wrong width: ring (% of peak), FWHM (pixels), flux (%)': wrong_widths(
            restorer
        ),
        'peaks per million pixels of empty sky, by its level': empty_sky(restorer),
    }
    for title, table in tables.items():
        show(title, table)
    if args.output:
        Path(args.output).write_text(json.dumps(tables, indent=1), encoding='utf-8')


if __name__ == '__main__':
    main()
