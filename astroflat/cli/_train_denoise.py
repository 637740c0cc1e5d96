# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""``astroflat train denoise``: on simulated skies, or further on own frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
        required=True,
        metavar='FILE.onnx',
        help='the network; tables and weights go into a folder of that name',
    )
    parser.add_argument(
        '--frames',
        nargs='+',
        metavar='FILE',
        help='train the network further on these frames or this folder, without truth',
    )
    parser.add_argument(
        '--by',
        metavar='COLUMN',
        help='frames with the same value here, as object or date, are judged together',
    )
    parser.add_argument(
        '--aligned',
        action='store_true',
        help='the frames show the same sky pixel by pixel (Noise2Noise)',
    )
    parser.add_argument(
        '--axis', choices=('row', 'column'), help='noise is shared along this axis'
    )
    parser.add_argument('--gain', type=float, metavar='G', help='electrons per ADU')
    parser.add_argument('--readnoise', type=float, metavar='R', help='electrons')
    parser.add_argument('--model', default='default', help='network to start from')
    parser.add_argument(
        '--start', metavar='FILE', help='weights to start from on simulated skies'
    )
    parser.add_argument('--steps', type=int, metavar='N', help='steps at most')
    parser.add_argument('--seconds', type=float, metavar='T', help='time at most')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '-q', '--quiet', action='store_true', help='print nothing on the way'
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
        0.
    """
    output = Path(args.output)
    if output.suffix.lower() != '.onnx':
        msg = f'output {output.name!r} must end in .onnx'
        raise ValueError(msg)
    if args.frames:
        from astroflat.training.adapt import adapt

        adapt(
            args.frames if len(args.frames) > 1 else args.frames[0],
            output,
            aligned=args.aligned,
            axis=args.axis,
            model=args.model,
            steps=args.steps or 400,
            seconds=args.seconds,
            device=args.device,
            seed=args.seed,
            by=args.by,
            gain=args.gain,
            readnoise=args.readnoise,
        )
    else:
        from astroflat.training.denoise import train
        from astroflat.training.denoise_export import export_denoiser

        weights = train(
            output.with_suffix(''),
            steps=args.steps or 200_000,
            seconds=args.seconds,
            device=args.device,
            start=args.start,
            seed=args.seed,
            say=lambda text: common.say(text, quiet=args.quiet),
        )
        export_denoiser(weights, output, name=output.stem)
    common.say(f'{output}: use it with astroflat denoise --model', quiet=args.quiet)
    return 0
