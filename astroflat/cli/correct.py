# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""``astroflat correct``: apply a flat to frames or a video."""

from __future__ import annotations

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
    common.add_source(parser)
    common.add_output(parser, 'a .ser or .fits file for a video or cube, else a folder')
    parser.add_argument('--flat', metavar='FILE', required=True, help='the flat')
    parser.add_argument(
        '--normalize',
        choices=('mean', 'median'),
        help='divide the flat by its mean or median first (a flat in counts)',
    )
    parser.add_argument('--gradient', metavar='FILE', help='a gradient to subtract')
    parser.add_argument('--bias', metavar='FILE', help='a master bias to subtract')
    parser.add_argument(
        '--restore-bias', action='store_true', help='add the bias again afterwards'
    )
    parser.add_argument(
        '--dtype',
        choices=('keep', 'float32'),
        default='keep',
        help='keep the type of the input or write float32; default keep',
    )
    parser.add_argument(
        '--min-value',
        type=float,
        default=0.05,
        metavar='F',
        help='do not divide where the flat is smaller; default 0.05',
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
        0.
    """
    from pathlib import Path

    from astroflat import DegradationModel, correct_frames

    model = DegradationModel(
        Path(args.flat),
        None if args.gradient is None else Path(args.gradient),
        normalize=args.normalize,
    )
    report = correct_frames(
        common.one_or_many(args.source),
        model,
        output=args.output,
        bias=args.bias,
        restore_bias=args.restore_bias,
        dtype=args.dtype,
        min_value=args.min_value,
        overwrite=args.overwrite,
        n_threads=args.threads,
        progress_bar=not args.quiet,
    )
    _write_report(report, args)
    common.say(
        f'{report.n_frames} frames corrected; {report.n_clipped} samples clipped, '
        f'{report.n_masked} not corrected',
        quiet=args.quiet,
    )
    return 0


def _write_report(report: Any, args: argparse.Namespace) -> None:
    """Write the counts beside the output."""
    from pathlib import Path

    from astroflat.quality import QualityReport

    if args.no_report:
        return
    output = Path(args.output)
    path = (
        output / 'correct.json' if output.is_dir() else common.beside(output, '.json')
    )
    QualityReport(
        'correct',
        {
            'n_frames': report.n_frames,
            'n_clipped': report.n_clipped,
            'n_masked': report.n_masked,
            'files': [p.name for p in report.paths],
        },
    ).write(path, overwrite=True)
