# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""``astroflat train restore``: train the network that sharpens and denoises."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

__all__ = ['add_arguments', 'run']

_OPTIONS = (
    'folder',
    'seconds',
    'steps',
    'device',
    'batch',
    'size',
    'pool',
    'kernels',
    'workers',
    'rate',
    'accumulate',
    'compile',
    'start',
    'width',
    'groups',
    'seed',
    'checks',
)


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
        '--folder',
        required=True,
        type=Path,
        help='folder of the run; a run that is there goes on',
    )
    run_ = parser.add_argument_group('run')
    run_.add_argument('--seconds', type=float, help='time of it all')
    run_.add_argument(
        '--steps', type=int, default=400_000, help='most steps of the optimiser'
    )
    run_.add_argument('--device', default='cpu', choices=('cpu', 'cuda'))
    run_.add_argument('--rate', type=float, default=1e-3, help='highest learning rate')
    run_.add_argument('--accumulate', type=int, default=1, help='batches for each step')
    run_.add_argument('--compile', action='store_true', help='compile the network')
    run_.add_argument('--start', type=Path, help='a .safetensors file to begin with')
    run_.add_argument('--seed', type=int, default=0, help='start of the random numbers')
    run_.add_argument('--width', type=int, default=80, help='channels')
    run_.add_argument('--groups', type=int, default=4, help='residual groups')
    data = parser.add_argument_group('frames')
    data.add_argument('--batch', type=int, default=48, help='squares in a batch')
    data.add_argument('--size', type=int, default=128, help='side of a square')
    data.add_argument('--pool', type=int, default=3000, help='scenes to keep')
    data.add_argument('--kernels', type=int, default=2048, help='PSFs to keep')
    data.add_argument('--workers', type=int, help='processes that simulate')
    data.add_argument('--checks', type=int, default=4, help='batches of the validation')
    data.add_argument(
        '--ablation',
        nargs='*',
        metavar='VARIANT',
        help='train variants of the loss instead, each for --seconds or --steps',
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
    from astroflat.training import restore

    options = {name: getattr(args, name) for name in _OPTIONS}
    if args.ablation is not None:
        restore.compare(**options, names=args.ablation, say=_say)
        return 0
    restore.train(**options, say=_say)
    print(f'weights: {args.folder / "restore.safetensors"}')
    return 0


def _say(text: str) -> None:
    print(text, flush=True)
