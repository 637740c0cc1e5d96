# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""``astroflat selfflat``: flats from the science frames themselves."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from astroflat.cli import _common as common

__all__ = ['add_arguments', 'run']

# Names that ask for one file.
_IMAGES = ('.fits', '.fit', '.fts', '.tif', '.tiff', '.xisf')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Add the arguments of the command.

    Parameters
    ----------
    parser : `argparse.ArgumentParser`
        The parser of the command.
    """
    common.add_source(parser)
    common.add_output(parser, 'a folder for the flats')
    common.add_offsets(parser)
    common.add_resources(parser)
    group = parser.add_argument_group('flat')
    group.add_argument(
        '--flat', metavar='FILE', help='repair this flat instead of making one'
    )
    group.add_argument(
        '--method',
        choices=('auto', 'sky', 'fields', 'kll', 'stars', 'dust', 'repair'),
        default='auto',
        help='default: what the frames allow',
    )
    group.add_argument(
        '--groups', action='store_true', help='only list the groups of frames'
    )
    group.add_argument(
        '--figure',
        action=argparse.BooleanOptionalAction,
        default=None,
        help='draw a figure beside each flat; default: if matplotlib is there',
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
        0, or 3 if a report rejects its flat.
    """
    from astroflat._files import check_output
    from astroflat.selfcal import group_frames, self_flat

    groups = group_frames(common.one_or_many(args.source))
    if args.groups:
        for group in groups:
            common.say(f'{group.label}: {_count(group.frames)}')
        return 0
    figure = common.wants_figure(args.figure)
    folder = _folder(args.output)
    names = {g.label: folder / f'flat_{g.label}.fits' for g in groups}
    # A folder that is not there yet has no files to replace.
    for path in names.values() if folder.exists() else ():
        for ending in _endings(args, figure):
            check_output(common.beside(path, ending), overwrite=args.overwrite)
    status = 0
    for group in groups:
        solution = self_flat(
            group.frames,
            None if args.flat is None else Path(args.flat),
            bias=args.bias,
            dark=args.dark,
            method=args.method,
            n_threads=args.threads,
            progress_bar=not args.quiet,
        )
        folder.mkdir(parents=True, exist_ok=True)
        _write(solution, names[group.label], args, figure)
        rejected = solution.report is not None and solution.report.verdict == 'reject'
        status = 3 if rejected else status
    return status


def _folder(output: str) -> Path:
    """Return the folder for the flats; it is easily taken for a file."""
    folder = Path(output)
    if folder.suffix.lower() in _IMAGES and not folder.is_dir():
        msg = (
            f'--output {output}: each group of frames gets a flat of its own, so name '
            f'a folder, such as {folder.stem}/'
        )
        raise ValueError(msg)
    return folder


def _count(frames: Any) -> str:
    """Return the number of frames in words."""
    return f'{len(frames)} frames' if isinstance(frames, list) else str(frames)


def _endings(args: argparse.Namespace, figure: bool) -> list[str]:
    """Return the suffixes of the files that are written."""
    return ['.fits', *([] if args.no_report else ['.json']), *(['.png'] * figure)]


def _write(solution: Any, path: Path, args: argparse.Namespace, figure: bool) -> None:
    """Write one flat with its gradient, report and figure."""
    solution.write(path, overwrite=args.overwrite)
    report = solution.report
    if report is not None and not args.no_report:
        report.write(common.beside(path, '.json'), overwrite=args.overwrite)
    if figure:
        _draw(solution, common.beside(path, '.png'), args.overwrite)
    common.say(path.name, quiet=args.quiet)
    for line in solution.stages['choice']:
        common.say(f'  {line}', quiet=args.quiet)
    common.say(str(report), quiet=args.quiet)


def _draw(solution: Any, path: Path, overwrite: bool) -> None:
    """Draw the flat and its uncertainty."""
    from astroflat.visualization import plot_comparison, save_figure

    if solution.method == 'repair':
        from astroflat.cli.repair import draw_repair

        draw_repair(solution, path, overwrite=overwrite)
        return
    panels = [('flat', solution.flat, 'flat')]
    if solution.flat.uncertainty is not None:
        panels.append(('standard deviation', solution.flat.uncertainty.array, 'sigma'))
    if solution.gradient is not None:
        panels.append(('gradient', solution.gradient, 'gradient'))
    lines = [*solution.stages['choice'], *str(solution.report).splitlines()]
    save_figure(
        plot_comparison([(solution.method, panels)], lines=lines, title=path.stem),
        path,
        overwrite=overwrite,
    )
