# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""``astroflat demo``: the main job on data with known truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroflat.cli import _common as common

if TYPE_CHECKING:
    import argparse

__all__ = ['add_arguments', 'run']


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Add the arguments of the command.

    Parameters
    ----------
    parser : `argparse.ArgumentParser`
        The parser of the command.
    """
    parser.add_argument(
        '-o',
        '--output',
        default='astroflat-demo',
        metavar='FOLDER',
        help='where to write; default astroflat-demo',
    )
    parser.add_argument('--quick', action='store_true', help='smaller and faster')
    parser.add_argument('--seed', type=int, default=1, help='another seed; default 1')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace the files of an earlier run'
    )
    common.add_resources(parser)


def run(args: argparse.Namespace) -> int:
    """
    Run the command.

    Parameters
    ----------
    args : `argparse.Namespace`
        The arguments.

    Returns
    -------
    status : int
        0, or 3 if the corrections are not much better than doing nothing.
    """
    from astroflat.pipelines.demo import run_demo

    common.say(
        'simulating a video and a night, making their flats ...', quiet=args.quiet
    )
    result = run_demo(
        args.output,
        quick=args.quick,
        seed=args.seed,
        overwrite=args.overwrite,
        n_threads=args.threads,
        progress_bar=not args.quiet,
    )
    if common.wants_figure(None):
        _draw(result, args.overwrite)
    for line in ['', *result.table(), '']:
        common.say(line, quiet=args.quiet)
    names = ', '.join(sorted(p.name for p in Path(args.output).iterdir()))
    common.say(f'in {args.output}: {names}', quiet=args.quiet)
    return 3 if result.report.verdict == 'reject' else 0


def _draw(result: Any, overwrite: bool) -> None:
    """Draw the figure of the demonstration."""
    from astroflat.visualization import plot_comparison, save_figure

    rows = [
        ('solar video', result.images['video']),
        ('dithered night', result.images['night']),
    ]
    figure = plot_comparison(
        rows, lines=result.table(), title='astroflat demo: data with known truth'
    )
    save_figure(figure, result.folder / 'demo.png', overwrite=overwrite)
