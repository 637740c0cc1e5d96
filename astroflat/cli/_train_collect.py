# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""``astroflat train collect``: fetch public images, with licence and credit."""

from __future__ import annotations

import re
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
    parser.add_argument(
        'source',
        nargs='*',
        metavar='SOURCE',
        help=(
            'a file with addresses (text, CSV, JSON), or the address of an image, a '
            'page, an archive or a Data2Dome feed'
        ),
    )
    parser.add_argument(
        '-o', '--output', required=True, metavar='FOLDER', help='where the images go'
    )
    _add_terms(parser)
    _add_archive(parser)
    _add_manners(parser)
    parser.add_argument(
        '--dry-run', action='store_true', help='list what would be fetched'
    )
    parser.add_argument('-q', '--quiet', action='store_true', help='no summary')


def _add_terms(parser: argparse.ArgumentParser) -> None:
    """Add what is kept."""
    terms = parser.add_argument_group('what is kept')
    terms.add_argument(
        '--licence', default='', metavar='TEXT', help='where the source says nothing'
    )
    terms.add_argument(
        '--credit', default='', metavar='TEXT', help='where the source says nothing'
    )
    terms.add_argument(
        '--any-licence', action='store_true', help='keep images of unknown licence too'
    )
    terms.add_argument(
        '--min-size',
        type=int,
        default=512,
        metavar='N',
        help='shorter side in pixels; default 512',
    )
    terms.add_argument('--max-images', type=int, metavar='N', help='stop after N')
    terms.add_argument(
        '--max-pages',
        type=int,
        default=20,
        metavar='N',
        help='pages of a feed or an archive to read; default 20',
    )


def _add_archive(parser: argparse.ArgumentParser) -> None:
    """Add the query of an archive."""
    parser.add_argument(
        '--mast',
        nargs='+',
        metavar='KEY=VALUE',
        help=(
            'ask the MAST archive through astroquery, for example '
            'obs_collection=HST objectname="M 51"'
        ),
    )


def _add_manners(parser: argparse.ArgumentParser) -> None:
    """Add how politely it is fetched."""
    manners = parser.add_argument_group('manners')
    manners.add_argument(
        '--contact', default='', metavar='TEXT', help='who runs this, sent along'
    )
    manners.add_argument(
        '--delay',
        type=float,
        default=1.0,
        metavar='S',
        help='seconds between requests to a host; default 1',
    )
    manners.add_argument(
        '--timeout', type=float, default=30.0, metavar='S', help='default 30 seconds'
    )
    manners.add_argument(
        '--retries', type=int, default=4, metavar='N', help='new tries; default 4'
    )
    manners.add_argument(
        '--max-bytes',
        type=common.parse_bytes,
        default=500e6,
        metavar='SIZE',
        help='the largest file; default 500M',
    )
    manners.add_argument(
        '--keep-partial',
        action='store_true',
        help='keep what is incomplete, and go on with it the next time',
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
        0, or 3 if there is nothing new and something failed.

    Raises
    ------
    ValueError
        If there is nothing to look at.
    """
    from astroflat.training.collect import collect_images

    sources: list[Any] = list(args.source)
    if args.mast:
        from astroflat.training.collect import query_archive

        count = args.max_images or 100
        sources.append(query_archive(max_products=count, **_criteria(args.mast)))
    if not sources:
        msg = 'give a list or an address of images, or --mast'
        raise ValueError(msg)
    names = ('licence', 'credit', 'min_size', 'max_images', 'max_pages', 'any_licence')
    names += ('contact', 'delay', 'timeout', 'retries', 'max_bytes', 'keep_partial')

    def tell(item: Any, what: str) -> None:
        common.say(f'{what}: {item.url}', quiet=args.quiet)

    report = collect_images(
        sources,
        args.output,
        dry_run=args.dry_run,
        on_item=tell,
        **{name: getattr(args, name) for name in names},
    )
    counts = ', '.join(f'{n} {what}' for what, n in sorted(report.counts.items()))
    common.say(counts or 'nothing found', quiet=args.quiet)
    return 3 if report.counts.get('failed') and not report.files else 0


def _criteria(pairs: list[str]) -> dict[str, str]:
    """Read criteria such as ``obs_collection=HST``."""
    for pair in pairs:
        if not re.match(r'\w+=.', pair):
            msg = f'--mast needs KEY=VALUE, not {pair!r}'
            raise ValueError(msg)
    return dict(pair.split('=', 1) for pair in pairs)
