# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""``astroflat view``: a result in the browser."""

from __future__ import annotations

import argparse
from pathlib import Path

from astroflat.cli import _common as common

__all__ = ['add_arguments', 'run']

_PORTS = 65536


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Add the arguments of the command.

    Parameters
    ----------
    parser : `argparse.ArgumentParser`
        The parser of the command.
    """
    parser.add_argument(
        'result',
        metavar='RESULT',
        help='a flat or a corrected image, a JSON report, a page, or a folder of them',
    )
    parser.add_argument(
        '--image',
        metavar='FILE',
        help='the image to show before and after; default: the median among the stages',
    )
    parser.add_argument(
        '--port',
        type=_port,
        default=0,
        metavar='N',
        help='the port; default: a free one',
    )
    parser.add_argument(
        '--no-browser', action='store_true', help='print the address and open nothing'
    )


def _port(text: str) -> int:
    """Read a port."""
    if not text.isdecimal() or int(text) >= _PORTS:
        msg = f'{text!r} is no port; write a number from 0 to {_PORTS - 1}'
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def run(args: argparse.Namespace) -> int:
    """
    Run the command, until it is interrupted.

    Parameters
    ----------
    args : `argparse.Namespace`
        The arguments.

    Returns
    -------
    status : int
        0.
    """
    common.wants_figure(choice=True)
    from astroflat.visualization._view_page import Site
    from astroflat.visualization._view_result import find_results
    from astroflat.visualization._view_server import PageServer

    before = None if args.image is None else Path(args.image)
    if before is not None and not before.is_file():
        msg = f'--image: {before.name!r} does not exist'
        raise FileNotFoundError(msg)
    site = Site(find_results(Path(args.result), before))
    with PageServer(site.find, args.port) as server:
        common.say(server.url)
        common.say('Only programs on this machine can reach it. Ctrl-C ends it.')
        if not args.no_browser:
            _open_browser(server.url)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            common.say('\nended')
    return 0


def _open_browser(url: str) -> None:
    """Open the page; without a browser the address was printed."""
    import webbrowser

    if not webbrowser.open(url):
        common.say('there is no browser to open; copy the address into one')
