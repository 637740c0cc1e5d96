# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""``astroflat night``: a whole night in one command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from astroflat.cli import _common as common

if TYPE_CHECKING:
    import argparse

__all__ = ['add_arguments', 'run']

_STATUS = """\
exit status: 0 if every light is calibrated and no flat is rejected; 1 on an error
(nothing is half-written; the same command goes on); 2 for wrong arguments; 3 if a
flat is rejected or a light could not be calibrated; 130 if interrupted.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Add the arguments of the command.

    Parameters
    ----------
    parser : `argparse.ArgumentParser`
        The parser of the command.
    """
    parser.epilog = _STATUS
    parser.add_argument('folder', metavar='FOLDER', help='the folder of the night')
    parser.add_argument(
        '-o',
        '--output',
        metavar='FOLDER',
        help='the folder of the results; default: calibrated, inside of FOLDER',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace results that were made of other frames or settings',
    )
    parser.add_argument(
        '--dry-run', action='store_true', help='print the plan and write nothing'
    )
    parser.add_argument(
        '-q', '--quiet', action='store_true', help='no progress and no summary'
    )
    _add_steps(parser.add_argument_group('what is done'))
    _add_workers(parser.add_argument_group('where it is done'))


def _add_steps(group: argparse._ArgumentGroup) -> None:
    """Add what is done with the lights."""
    group.add_argument(
        '--flats',
        choices=('auto', 'given', 'lights', 'single', 'none'),
        default='auto',
        help='where flats come from; default: those found, checked and repaired by '
        'the lights, or else the lights themselves',
    )
    group.add_argument(
        '--denoise', action='store_true', help='write denoised lights as well'
    )
    group.add_argument(
        '--restore', action='store_true', help='write restored lights as well'
    )
    group.add_argument(
        '--sample',
        type=int,
        default=60,
        metavar='N',
        help='lights that decide on a flat at most; default: %(default)s',
    )
    group.add_argument(
        '--overscan',
        default='auto',
        metavar='SECTION',
        help="what no light reaches, such as '[1025:1056, *]', or none; default: "
        'BIASSEC of the headers',
    )
    group.add_argument(
        '--trim',
        default='auto',
        metavar='SECTION',
        help='what is kept of raw frames, or none; default: TRIMSEC or DATASEC of the '
        'headers, or what is left beside the overscan',
    )
    group.add_argument(
        '--no-recursive',
        action='store_true',
        help='do not look into folders inside of FOLDER',
    )
    group.add_argument(
        '--keep-masters',
        action='store_true',
        help='keep the masters of bias, dark and flat',
    )


def _add_workers(group: argparse._ArgumentGroup) -> None:
    """Add where the work is done."""
    group.add_argument(
        '--workers',
        type=int,
        metavar='N',
        help='frames at a time; default: as many as there are processors, as far as '
        'the memory allows',
    )
    group.add_argument(
        '--processes', action='store_true', help='processes in place of threads'
    )
    group.add_argument(
        '--mem-limit',
        type=common.parse_bytes,
        default=4e9,
        metavar='SIZE',
        help='memory for the frames at work, such as 2G; default: 4G',
    )
    group.add_argument(
        '--scheduler',
        metavar='ADDRESS',
        help='the scheduler of a dask cluster, such as tcp://host:8786',
    )
    group.add_argument(
        '--device',
        choices=('auto', 'cpu', 'cuda'),
        default='auto',
        help='where networks run; default: on a GPU if there is one',
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
        0, or 3 if a flat is rejected or a light could not be calibrated.
    """
    from astroflat.pipelines import run_night

    report = run_night(
        args.folder,
        output=args.output,
        flats=args.flats,
        denoise=args.denoise,
        restore=args.restore,
        device=args.device,
        recursive=not args.no_recursive,
        sample=args.sample,
        overwrite=args.overwrite,
        dry_run=args.dry_run,
        keep_masters=args.keep_masters,
        n_workers=args.workers,
        processes=args.processes,
        mem_limit=args.mem_limit,
        scheduler=args.scheduler,
        overscan=None if args.overscan == 'none' else args.overscan,
        trim=None if args.trim == 'none' else args.trim,
        progress_bar=not args.quiet,
    )
    common.say(str(report), quiet=args.quiet)
    return 0 if report.success else 3
