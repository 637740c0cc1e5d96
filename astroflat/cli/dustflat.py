# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""``astroflat dustflat``: a flat of the dust."""

from __future__ import annotations

import argparse
from typing import Any

from astroflat.cli import _common as common
from astroflat.cli._adviser import add_adviser, advisers, dry_run

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
    common.add_output(parser, 'the flat: .fits, .tif or .xisf')
    common.add_offsets(parser)
    common.add_resources(parser)
    group = parser.add_argument_group('dust')
    group.add_argument(
        '--sensitivity', type=float, help='larger finds fainter dust; default 1'
    )
    group.add_argument(
        '--min-depth', type=float, metavar='D', help='leave dust fainter than this'
    )
    group.add_argument(
        '--polarity',
        choices=('dark', 'bright', 'both'),
        help='dark dust, bright defects or both',
    )
    group.add_argument(
        '--margin', type=float, help='grow the mask by so many pixels; default 2'
    )
    group.add_argument('--mask', metavar='FILE', help='take this mask as the dust')
    group.add_argument(
        '--inpaint',
        choices=('gp', 'polynomial', 'biharmonic', 'gemini'),
        help='how holes are filled; default gp',
    )
    group.add_argument(
        '--detector',
        choices=('classical', 'gemini'),
        help='what looks for the dust; default classical. gemini sends a copy of the '
        'image to Google',
    )
    add_adviser(parser)
    group.add_argument(
        '--interactive',
        action='store_true',
        help='look at every stage, accept it or do it again with other settings; '
        'without a window the previews are written beside the flat',
    )
    output = parser.add_argument_group('output')
    output.add_argument(
        '--scale',
        type=float,
        metavar='N',
        help='write 16-bit integers with 1.0 = N (65535 for PixInsight)',
    )
    output.add_argument(
        '--stages', metavar='FOLDER', help='keep the stages here and resume from them'
    )
    output.add_argument(
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
    from astroflat._files import check_output

    figure = common.wants_figure(args.figure)
    outputs = [args.output, common.beside(args.output, '.ecsv')]
    outputs += [] if args.no_report else [common.beside(args.output, '.json')]
    outputs += [common.beside(args.output, '.png')] if figure else []
    outputs += _interactive_outputs(args) if args.interactive else []
    for path in outputs:
        check_output(path, overwrite=args.overwrite)
    if args.dry_run:
        return dry_run(args, _options(args), lambda options: _solve(args, options))
    solution = (_ask if args.interactive else _solve)(args, _options(args))
    if solution is None:
        common.say('left without writing a flat')
        return 1
    _write(args, solution, figure=figure)
    return 3 if solution.report.verdict == 'reject' else 0


def _solve(args: argparse.Namespace, options: Any) -> Any:
    """Make the flat."""
    from astroflat import dust_flat

    return dust_flat(
        common.one_or_many(args.source),
        bias=args.bias,
        dark=args.dark,
        mask=None if args.mask is None else _read_mask(args.mask),
        options=options,
        stage_dir=args.stages,
        n_threads=args.threads,
        progress_bar=not args.quiet,
    )


def _interactive_outputs(args: argparse.Namespace) -> list[Any]:
    """Return what is written in addition; raise if it cannot be done."""
    from astroflat.cli._wizard import STAGES
    from astroflat.cli._wizard_previews import preview_path

    if args.dry_run:
        msg = '--interactive and --dry-run exclude each other'
        raise ValueError(msg)
    common.wants_figure(choice=True)
    previews = [] if _has_window() else [preview_path(args.output, s) for s in STAGES]
    return [common.beside(args.output, '.mask.fits'), *previews]


def _has_window() -> bool:
    """Tell whether matplotlib can open a window."""
    from astroflat.visualization._backend import backend_name, has_window

    return has_window(backend_name())


def _ask(args: argparse.Namespace, options: Any) -> Any:
    """Make the flat stage by stage, and write the mask that was agreed on."""
    from astropy.io import fits

    from astroflat._files import atomic_path
    from astroflat.cli._wizard import Wizard
    from astroflat.cli._wizard_previews import Previews
    from astroflat.pipelines._dust_steps import DustSteps
    from astroflat.pipelines._planes import join_planes

    steps = DustSteps.open(
        common.one_or_many(args.source),
        bias=args.bias,
        dark=args.dark,
        options=options,
        stage_dir=args.stages,
        n_threads=args.threads,
        progress_bar=not args.quiet,
    )
    mask = None if args.mask is None else _read_mask(args.mask)
    previews = Previews(args.output, window=_has_window())
    solution = Wizard(steps, previews, mask).run()
    if solution is not None:
        found = solution.stages['detection'].mask.astype('u1')
        path = common.beside(args.output, '.mask.fits')
        with atomic_path(path, overwrite=args.overwrite) as temporary:
            image = join_planes([found], solution.flat.shape[:2])
            fits.PrimaryHDU(image).writeto(temporary)
    return solution


def _write(args: argparse.Namespace, solution: Any, *, figure: bool) -> None:
    """Write the flat and what belongs to it."""
    from astroflat.io import write_flat

    options = {} if args.scale is None else {'dtype': 'uint16', 'scale': args.scale}
    written = write_flat(solution, args.output, overwrite=args.overwrite, **options)
    motes = common.beside(args.output, '.ecsv')
    _motes(solution).write(motes, format='ascii.ecsv', overwrite=args.overwrite)
    if not args.no_report:
        path = common.beside(args.output, '.json')
        solution.report.write(path, overwrite=args.overwrite)
    if figure:
        _draw(solution, common.beside(args.output, '.png'), args.overwrite)
    if args.stages is not None:
        _write_advice(solution, args.stages)
    common.say(str(solution.report), quiet=args.quiet)
    if written.n_clipped:
        common.say(f'  clipped above 1: {written.n_clipped} pixels', quiet=args.quiet)


def _motes(solution: Any) -> Any:
    """Return the catalogue of the dust in the pixels of the flat."""
    from astroflat.dust.catalogue import enlarge_catalogue

    found = solution.stages['detection']
    factor = solution.flat.shape[0] // found.mask.shape[0]
    return enlarge_catalogue(found.catalogue, factor)


def _write_advice(solution: Any, folder: str) -> None:
    """Write what an adviser returned beside the other stages."""
    for role, stages in solution.stages.get('advice', {}).items():
        from astroflat.genai import write_advice

        write_advice(stages, folder, name=f'gemini_{role}')


def _options(args: argparse.Namespace) -> Any:
    """Return the settings that were given."""
    from astroflat.pipelines import DustFlatOptions

    detection = {
        name: getattr(args, name)
        for name in ('sensitivity', 'min_depth', 'polarity')
        if getattr(args, name) is not None
    }
    settings = {'detection': detection}
    if args.margin is not None:
        settings['margin'] = args.margin
    if args.inpaint is not None:
        settings['inpainter'] = args.inpaint
    settings.update(advisers(args, detection))
    return DustFlatOptions(**settings)


def _read_mask(path: str) -> Any:
    """Read a mask: what is not 0 is dust."""
    from astroflat.io import read_image

    return read_image(path)[0] > 0


def _draw(solution: Any, path: Any, overwrite: bool) -> None:
    """Draw the figure of a dust flat."""
    from astroflat.visualization import plot_dust_flat, save_figure

    save_figure(plot_dust_flat(solution), path, overwrite=overwrite)
