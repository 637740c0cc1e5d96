# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Compare the confidence of `astroflat.FlatCorrector` with what is right.

Run ``python benchmarks/confidence.py --figure reliability.png``: frames like
those of the blind-flat benchmark, with other seeds, are corrected one by one.
For pixels of like confidence the share of those whose flat is right to 1 % is
printed, and the share of errors of F and of G within one standard deviation.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

_SHIFT = 9_000_000
_EDGES = np.linspace(0, 1, 11)


def samples(n_frames, shift=_SHIFT):
    """
    Correct frames and compare with their truth.

    Parameters
    ----------
    n_frames : int
        How many frames.

    shift : int, optional
        Added to the seeds of the benchmark.

    Yields
    ------
    tuple of `~numpy.ndarray`
        Confidence, error of F relative to the truth and its standard deviation,
        error of G in its standard deviations (empty where no G is found), of every
        97th pixel of a frame.
    """
    import astroflat as af
    from benchmarks.blindflat.design import read_manifest, scenes
    from benchmarks.blindflat.scenes import make_case

    corrector = af.FlatCorrector(device='cpu')
    for entry in list(scenes(read_manifest(), 'single').values())[:n_frames]:
        case = make_case(entry | {'seed': entry['seed'] + shift})
        solution = corrector.estimate(case.frames[0])
        error = solution.flat.data / case.flat
        error = error / np.median(error) - 1
        sigma = solution.flat.uncertainty.array / solution.flat.data
        ratio = _gradient_error(solution.gradient, case.gradients[0])
        parts = (solution.confidence, error, sigma, ratio)
        yield tuple(part.ravel()[::97] for part in parts)


def _gradient_error(found, truth):
    """Return the error of G in its standard deviations; the constant is free."""
    if found is None:
        return np.empty(0)
    error = found.data - found.data.mean() - (truth - truth.mean())
    return error / found.uncertainty.array


def main(argv=None):
    """
    Print the table, and draw it if asked to.

    Parameters
    ----------
    argv : list of str, optional
        Arguments.

    Returns
    -------
    int
        0.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--frames', type=int, default=242)
    parser.add_argument('--seed', type=int, default=_SHIFT, help='added to the seeds')
    parser.add_argument('--figure', help='file for the figure')
    args = parser.parse_args(argv)
    rows = list(samples(args.frames, args.seed))
    said, error, sigma, ratio = (
        np.concatenate(part) for part in zip(*rows, strict=True)
    )
    right = np.abs(error) < 0.01
    print(f'{len(rows)} frames; within one sigma: {np.mean(np.abs(error) < sigma):.3f}')
    n = sum(len(row[3]) > 0 for row in rows)
    print(f'{n} frames with G; within one sigma: {np.mean(np.abs(ratio) < 1):.3f}')
    table = []
    for low, high in itertools.pairwise(_EDGES):
        chosen = (said >= low) & (said <= high)
        if chosen.sum() > 200:
            row = (said[chosen].mean(), right[chosen].mean(), chosen.mean())
            table.append(row)
            print('said {:.2f}  right {:.2f}  share {:.3f}'.format(*row))
    if args.figure:
        draw(np.array(table), args.figure)
    return 0


def draw(table, path):
    """
    Draw what was right against what was said.

    Parameters
    ----------
    table : `~numpy.ndarray`
        Confidence, share that was right, share of the pixels.

    path : path-like
        The file.
    """
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(4, 3.6), layout='constrained')
    ax.plot([0, 1], [0, 1], color='0.7', lw=1)
    ax.scatter(table[:, 0], table[:, 1], s=20 + 400 * table[:, 2], alpha=0.8)
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel='confidence', ylabel='right to 1 %')
    fig.savefig(path, dpi=90)


if __name__ == '__main__':
    raise SystemExit(main())
