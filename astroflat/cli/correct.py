# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""``astroflat correct``: apply a flat, or find the fields of each frame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroflat.cli import _common as common

if TYPE_CHECKING:
    import argparse

__all__ = ['add_arguments', 'run']

# What only the networks can be told, and what they are told by default.
_NETWORK = {
    'mode': 'both',
    'parts': 'all',
    'strength': 1.0,
    'stretched': False,
    'model': 'default',
    'force': False,
    'keep_flats': False,
    'figure': False,
}


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
    parser.add_argument(
        '--flat',
        metavar='FILE',
        help='the flat; without one, networks find the fields of each image file',
    )
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
    _add_network(parser.add_argument_group('without --flat'))
    common.add_resources(parser)


def _add_network(group: Any) -> None:
    """Add what the networks can be told."""
    group.add_argument(
        '--mode',
        choices=('both', 'multiplicative', 'additive'),
        default='both',
        help='what the unevenness of the sky is due to; default both',
    )
    group.add_argument(
        '--parts',
        choices=('all', 'dust', 'smooth'),
        default='all',
        help='what to correct; default all',
    )
    group.add_argument(
        '--strength',
        type=float,
        default=1.0,
        metavar='S',
        help='how much of it, 0 to 1; default 1',
    )
    group.add_argument(
        '--stretched',
        action='store_true',
        help='the images are stretched for display, not linear',
    )
    group.add_argument(
        '--model',
        metavar='FOLDER',
        default='default',
        help='a folder with flat-fields.onnx and flat-dust.onnx',
    )
    group.add_argument(
        '--device',
        choices=('auto', 'cpu', 'cuda'),
        default='auto',
        help='where the networks run; default auto',
    )
    group.add_argument(
        '--force',
        action='store_true',
        help='correct even if the report rejects the fields',
    )
    group.add_argument(
        '--keep-flats', action='store_true', help='write each flat beside its frame'
    )
    group.add_argument(
        '--figure',
        action='store_true',
        help='draw each frame before and after, and what was found, as NAME.fields.png',
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
        0, or 3 if the fields of a frame were rejected.
    """
    if args.flat is None:
        return _run_networks(args)
    from astroflat import DegradationModel, correct_frames

    _refuse_network_options(args)
    model = DegradationModel(
        Path(args.flat),
        None if args.gradient is None else Path(args.gradient),
        normalize=args.normalize,
    )
    if not args.no_report:
        others = [common.beside(args.output, '.json')]
        common.check_beside(args.output, others, overwrite=args.overwrite)
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


def _refuse_network_options(args: argparse.Namespace) -> None:
    """Raise if an option was given that a flat leaves without effect."""
    given = [
        f'--{name.replace("_", "-")}'
        for name, default in _NETWORK.items()
        if getattr(args, name) != default
    ]
    if given:
        msg = f'{", ".join(given)} would do nothing with --flat; leave out one of them'
        raise ValueError(msg)


def _run_networks(args: argparse.Namespace) -> int:
    """Find and remove the fields of each frame."""
    from astroflat.neural import FlatCorrector
    from astroflat.pipelines import correct_singles

    if args.gradient or args.normalize:
        msg = '--gradient and --normalize belong to --flat; give the flat too'
        raise ValueError(msg)
    if not args.no_report:
        _check_reports(args)
    report = correct_singles(
        common.one_or_many(args.source),
        FlatCorrector(args.model, device=args.device, n_threads=args.threads),
        output=args.output,
        bias=args.bias,
        restore_bias=args.restore_bias,
        dtype=args.dtype,
        min_value=args.min_value,
        overwrite=args.overwrite,
        force=args.force,
        keep_solutions=args.keep_flats,
        figures=common.wants_figure(args.figure),
        progress_bar=not args.quiet,
        mode=args.mode,
        parts=args.parts,
        strength=args.strength,
        stretched=args.stretched,
    )
    for name, single in report.reports.items():
        if not args.no_report:
            path = common.beside(Path(args.output) / name, '.json')
            single.write(path, overwrite=args.overwrite)
        common.say(f'{name}\n{single}', quiet=args.quiet)
    common.say(
        f'{sum(p is not None for p in report.paths)} frames corrected, '
        f'{report.n_rejected} rejected; {report.n_clipped} samples clipped, '
        f'{report.n_masked} not corrected',
        quiet=args.quiet,
    )
    return 3 if report.n_rejected and not args.force else 0


def _check_reports(args: argparse.Namespace) -> None:
    """Check that each frame can have its report, before anything is done."""
    from astroflat._files import check_output
    from astroflat.pipelines.apply import _image_files

    files = _image_files(common.one_or_many(args.source)) or []
    reports = [common.beside(Path(args.output) / file.name, '.json') for file in files]
    if len(set(reports)) < len(reports):
        msg = (
            'two inputs differ in nothing but the suffix, and would share one report; '
            'correct them into different folders, or give --no-report'
        )
        raise ValueError(msg)
    for path in reports:
        if path.exists():
            check_output(path, overwrite=args.overwrite)


def _write_report(report: Any, args: argparse.Namespace) -> None:
    """Write the counts beside the output."""
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
