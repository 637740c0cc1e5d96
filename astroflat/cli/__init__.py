# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The command line: ``astroflat COMMAND``.

Each command is a module with ``add_arguments(parser)`` and ``run(args)``; only
the one that is asked for is imported.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ['main']

_COMMANDS = {
    'demo': 'make data with known truth, correct them, show what is left',
    'median': 'combine a video or frames to their exact median',
    'dustflat': 'make a flat of the dust from a video, frames or one flat',
    'selfflat': 'make flats from the science frames, by the method they allow',
    'night': 'calibrate a whole night, and say what was decided',
    'repair': 'bring a flat that is nearly right up to date from frames',
    'correct': 'apply a flat to frames or a video',
    'denoise': 'remove noise from frames or a video',
    'restore': 'sharpen and denoise images, by the stars in them',
    'simulate': 'write a video or a night with known truth',
    'evaluate': 'judge flats and images by truth or on frames',
    'train': 'train a network, on simulated frames and your own',
    'view': 'show a result in the browser, from this machine only',
    'info': 'describe a video, a file or this installation',
}

# What arguments that errors speak of are called here.
_OPTIONS = {
    'overwrite=True': '--overwrite',
    'fwhm=': '--fwhm',
    'psf=': '--psf',
    'protect must': '--protect must',
}
# What a user can do something about; anything else is a fault of ours and
# shows its traceback.
_EXPECTED = (OSError, ValueError, TypeError, ImportError, MemoryError)


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    status : int
        0 on success, 1 on an error, 2 for wrong arguments.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    command = next((a for a in argv if a in _COMMANDS), None)
    args = _parser(command).parse_args(argv)
    # From its import on astropy shows warnings in its own way; ours comes after.
    importlib.import_module('astropy')
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            return int(args.run(args) or 0)
        except KeyboardInterrupt:
            print('astroflat: interrupted', file=sys.stderr)
            return 130
        except Exception as error:
            if args.traceback or not _expected(error):
                raise
            # Functions speak of arguments, commands of options.
            text = str(error)
            for name, option in _OPTIONS.items():
                text = text.replace(name, option)
            print(f'astroflat: error: {text}', file=sys.stderr)
            return 1


def _expected(error: Exception) -> bool:
    """Tell whether a user can do something about an error."""
    from astropy.units import UnitsError

    from astroflat._exceptions import AstroflatError

    return isinstance(error, (*_EXPECTED, UnitsError, AstroflatError))


def _parser(command: str | None) -> argparse.ArgumentParser:
    """Return the parser; only the given command has its arguments."""
    parser = argparse.ArgumentParser(
        prog='astroflat',
        description='Flat fields for when the real flats are missing, stale or wrong.',
    )
    parser.add_argument('--version', action=_Version, nargs=0)
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, text in _COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument(
            '--traceback', action='store_true', help='show where an error arose'
        )
        if name == command:
            module = importlib.import_module(f'astroflat.cli.{name}')
            module.add_arguments(sub)
            sub.set_defaults(run=module.run)
    return parser


class _Version(argparse.Action):
    """Print the version; it is not looked up for anything else."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from astroflat import __version__

        print(f'astroflat {__version__}')
        parser.exit()


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    """Show a warning in one line."""
    print(f'astroflat: warning: {message}', file=sys.stderr)
