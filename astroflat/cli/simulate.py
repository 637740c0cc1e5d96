# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""``astroflat simulate``: a video or a night with known truth."""

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
    from astroflat.degradation import SCENE_KINDS

    parser.add_argument(
        'job', choices=('video', 'night', 'figures'), help='what to simulate'
    )
    parser.add_argument(
        '-o', '--output', required=True, metavar='FOLDER', help='where to write'
    )
    parser.add_argument(
        '--kind', choices=[k for k in SCENE_KINDS if k != 'image'], help='what it shows'
    )
    parser.add_argument('-n', type=int, metavar='N', help='number of frames')
    parser.add_argument(
        '--size', type=_size, metavar='WIDTHxHEIGHT', help='for example 640x480'
    )
    parser.add_argument('--dither', type=float, help='largest offset in pixels')
    parser.add_argument(
        '--pattern', help='of the offsets: random, spiral, grid, line, drift, none'
    )
    parser.add_argument('--difficulty', type=float, help='of the fields, 0 to 1')
    parser.add_argument('--bits', type=int, choices=(8, 12, 16), help='of a video')
    parser.add_argument('--seed', type=int, default=1, help='default 1')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace existing files'
    )
    parser.add_argument('-q', '--quiet', action='store_true', help='no summary')


def _size(text: str) -> tuple[int, int]:
    """Read a size such as ``640x480`` and return ``(ny, nx)``."""
    import argparse

    width, _, height = text.lower().partition('x')
    if not (width.isdigit() and height.isdigit()):
        msg = f'{text!r} is not a size; write for example 640x480'
        raise argparse.ArgumentTypeError(msg)
    return int(height), int(width)


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
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    jobs = {'video': _video, 'night': _night, 'figures': _figures}
    common.say(jobs[args.job](args, folder), quiet=args.quiet)
    return 0


def _given(args: argparse.Namespace, **names: str) -> dict[str, Any]:
    """Return the arguments that were given, under the names of the function."""
    pairs = ((names[key], getattr(args, key)) for key in names)
    return {name: value for name, value in pairs if value is not None}


def _video(args: argparse.Namespace, folder: Path) -> str:
    """Write a video and its truth."""
    from astropy.table import Table

    from astroflat.degradation import simulate_video
    from astroflat.degradation._truth_files import write_truth

    options = _given(
        args,
        n='n',
        size='shape',
        kind='kind',
        dither='drift',
        pattern='pattern',
        difficulty='difficulty',
        bits='bits',
    )
    video = simulate_video(rng=args.seed, **options)
    video.write(folder / 'video.ser', overwrite=args.overwrite)
    (folder / 'truth').mkdir(exist_ok=True)
    tables = {'shifts': Table(video.shifts, names=('dy', 'dx'))}
    if video.fields is not None:
        tables['fields'] = video.fields.truth
    write_truth(
        folder / 'truth',
        images={
            'flat': video.flat,
            'gradient': video.gradient,
            'dust_mask': video.dust_mask,
        },
        tables=tables,
        overwrite=args.overwrite,
    )
    return f'video.ser with {len(video)} frames, and truth/, in {folder}'


def _night(args: argparse.Namespace, folder: Path) -> str:
    """Write a night and its truth."""
    from astroflat.degradation import simulate_night

    options = _given(
        args,
        n='n',
        size='shape',
        kind='kind',
        dither='dither',
        pattern='pattern',
        difficulty='difficulty',
    )
    night = simulate_night(rng=args.seed, **options)
    night.write(folder, overwrite=args.overwrite)
    return f'{len(night)} frames, and truth/, in {folder}'


def _figures(args: argparse.Namespace, folder: Path) -> str:
    """Draw every kind of artifact and write the figures."""
    from astroflat.visualization import plot_artifacts, save_figure

    common.wants_figure(True)
    shape = args.size or (300, 400)
    difficulty = 0.7 if args.difficulty is None else args.difficulty
    figures = plot_artifacts(shape, difficulty=difficulty, rng=args.seed)
    for name, figure in figures.items():
        path = folder / f'artifact_{name}.png'
        save_figure(figure, path, overwrite=args.overwrite)
    return f'{len(figures)} figures in {folder}'
