# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""``astroflat train``: train a network; each has a module of its own."""

from __future__ import annotations

import argparse
import importlib
import importlib.util

__all__ = ['add_arguments', 'run']

# Module ``astroflat.cli._train_NAME`` with ``add_arguments`` and ``run``.
_NETWORKS = {
    'flat': 'the networks that find F and G in one frame',
    'denoise': 'the network that predicts noise',
    'restore': 'the network that sharpens and denoises',
}
# What is no training, and needs no PyTorch.
_TOOLS = {
    'collect': 'fetch public images to train with, with licence and credit of each',
}
_NEEDED = ('torch', 'safetensors')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Add the arguments of the command.

    Parameters
    ----------
    parser : `argparse.ArgumentParser`
        The parser of the command.
    """
    networks = parser.add_subparsers(dest='network', required=True, metavar='NETWORK')
    texts = {name: f'Train {text}.' for name, text in _NETWORKS.items()}
    for name, text in {**_NETWORKS, **_TOOLS}.items():
        sub = networks.add_parser(name, help=text, description=texts.get(name, text))
        # Accepted before the name of the network and behind it.
        sub.add_argument(
            '--traceback',
            action='store_true',
            default=argparse.SUPPRESS,
            help='show where an error arose',
        )
        importlib.import_module(f'astroflat.cli._train_{name}').add_arguments(sub)


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

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing and args.network not in _TOOLS:
        msg = f"training needs {' and '.join(missing)}: pip install 'astroflat[train]'"
        raise ImportError(msg)
    return importlib.import_module(f'astroflat.cli._train_{args.network}').run(args)
