# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""``astroflat repair``: bring a flat that is nearly right up to date."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from astroflat.cli import _common as common

__all__ = ['add_arguments', 'draw_repair', 'run']

_CHANGES = ('moved', 'gone', 'new', 'strength', 'depth')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Add the arguments of the command.

    Parameters
    ----------
    parser : `argparse.ArgumentParser`
        The parser of the command.
    """
    parser.add_argument('flat', metavar='FLAT', help='the flat to repair')
    common.add_source(parser)
    common.add_output(parser, 'the repaired flat: .fits, .tif or .xisf')
    common.add_offsets(parser)
    common.add_resources(parser)
    group = parser.add_argument_group('repair')
    group.add_argument(
        '--change',
        action='append',
        choices=_CHANGES,
        help='what may be changed, may be repeated; default: all but depth',
    )
    group.add_argument(
        '--reach',
        type=float,
        metavar='N',
        help='largest shift of a mote; default 32 px',
    )
    group.add_argument(
        '--min-shift',
        type=float,
        metavar='N',
        help='leave motes that moved by less; default 1 px',
    )
    group.add_argument(
        '--smooth-degree',
        type=int,
        metavar='N',
        help='correct what all frames share at large scale, up to this degree',
    )
    group.add_argument(
        '--figure',
        action=argparse.BooleanOptionalAction,
        default=None,
        help='draw a figure beside the flat; default: if matplotlib is there',
    )


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
        0, or 3 if the report rejects the flat.
    """
    from astroflat import repair_flat
    from astroflat._files import check_output
    from astroflat.io import write_flat

    figure = common.wants_figure(args.figure)
    report, picture, motes = (
        common.beside(args.output, ending) for ending in ('.json', '.png', '.ecsv')
    )
    wanted = [args.output, motes]
    wanted += [] if args.no_report else [report]
    wanted += [picture] if figure else []
    for path in wanted:
        check_output(path, overwrite=args.overwrite)
    options = {} if args.change is None else {'changes': tuple(args.change)}
    solution = repair_flat(
        Path(args.flat),
        common.one_or_many(args.source),
        bias=args.bias,
        dark=args.dark,
        options=_options(args),
        n_threads=args.threads,
        **options,
    )
    write_flat(solution, args.output, overwrite=args.overwrite)
    solution.stages['motes'].write(motes, format='ascii.ecsv', overwrite=args.overwrite)
    if not args.no_report:
        solution.report.write(report, overwrite=args.overwrite)
    if figure:
        draw_repair(solution, picture, overwrite=args.overwrite)
    common.say(str(solution.report), quiet=args.quiet)
    return 3 if solution.report.verdict == 'reject' else 0


def _options(args: argparse.Namespace) -> Any:
    """Return the settings that were given."""
    from astroflat.selfcal import RepairOptions

    names = ('reach', 'min_shift', 'smooth_degree')
    given = {n: getattr(args, n) for n in names if getattr(args, n) is not None}
    return RepairOptions(**given)


def draw_repair(solution: Any, path: Any, *, overwrite: bool = False) -> None:
    """
    Draw the frames over the flat before and after, and what was changed.

    Parameters
    ----------
    solution : FlatSolution
        As from `astroflat.repair_flat`.

    path : path-like
        The figure.

    overwrite : bool, optional
        Whether an existing file may be replaced.
    """
    import numpy as np
    from scipy import ndimage

    from astroflat.visualization import plot_comparison, save_figure

    ratio, change = solution.stages['ratio'], solution.stages['change']
    known = np.isfinite(ratio)
    weight = ndimage.gaussian_filter(known.astype(np.float32), 2)

    # Shallow ghosts are seen when the noise is averaged away.
    def _smooth(image: Any) -> Any:
        value = ndimage.gaussian_filter(np.where(known, image, 0), 2)
        return np.where(weight > 0.1, value / np.maximum(weight, 0.1), np.nan)

    panels = [
        ('frames / old flat', _smooth(ratio), 'ratio'),
        ('frames / new flat', _smooth(ratio / change), 'ratio'),
        ('new flat / old flat', change, 'change'),
    ]
    figure = plot_comparison(
        [('repair', panels)], lines=str(solution.report).splitlines(), title='repair'
    )
    save_figure(figure, path, overwrite=overwrite)
