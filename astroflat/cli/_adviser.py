# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The options of the adviser."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroflat.cli import _common as common

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ['add_adviser', 'advisers', 'dry_run']

_ROLES = ('detector', 'inpaint')


def add_adviser(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for Gemini."""
    group = parser.add_argument_group(
        'Gemini',
        'Used by --detector gemini and --inpaint gemini only. An 8-bit copy of the '
        'image goes to Google; --dry-run shows it. The key is read from '
        'GEMINI_API_KEY.',
    )
    group.add_argument(
        '--gemini-model',
        action='append',
        default=[],
        metavar='[ROLE:]NAME',
        help='the model; ROLE is detector or inpaint, needed if both are asked',
    )
    group.add_argument(
        '--prompt-file',
        action='append',
        default=[],
        metavar='[ROLE:]FILE',
        help='your words to the model, in a text file',
    )
    group.add_argument(
        '--gemini-mask',
        choices=('shapes', 'image'),
        help='whether the mask comes as boxes and polygons, or painted; default shapes',
    )
    group.add_argument(
        '--gemini-seed',
        type=int,
        metavar='N',
        help='another seed gives another answer; default 0',
    )
    group.add_argument(
        '--gemini-url', metavar='URL', help='another address of the service'
    )
    group.add_argument(
        '--gemini-cache', metavar='FOLDER', help='where answers are kept'
    )
    group.add_argument(
        '--on-error',
        choices=('raise', 'offline'),
        help='without a usable answer: stop, or go on without Gemini; default raise',
    )
    group.add_argument(
        '--dry-run',
        action='store_true',
        help='write what would be sent beside the output, send nothing, and stop',
    )


def advisers(args: argparse.Namespace, detection: dict[str, Any]) -> dict[str, Any]:
    """
    Return the advisers that were asked for, as settings of a dust flat.

    Parameters
    ----------
    args : `argparse.Namespace`
        The arguments.

    detection : dict
        The settings of the offline detector.

    Returns
    -------
    settings : dict
        With ``detector`` and ``inpainter`` where they are Gemini.
    """
    asked = [role for role in _ROLES if getattr(args, role) == 'gemini']
    _check(args, asked)
    settings: dict[str, Any] = {}
    if 'detector' in asked:
        from astroflat.genai import GeminiDetector

        settings['detector'] = GeminiDetector(
            offline=detection,
            **({} if args.gemini_mask is None else {'answer': args.gemini_mask}),
            **_shared(args, 'detector', asked),
        )
    if 'inpaint' in asked:
        from astroflat.genai import GeminiInpainter

        settings['inpainter'] = GeminiInpainter(**_shared(args, 'inpaint', asked))
    return settings


def _check(args: argparse.Namespace, asked: list[str]) -> None:
    """Raise if an option has nothing to act on."""
    given = [
        '--' + name.replace('_', '-')
        for name in (
            'gemini_model',
            'prompt_file',
            'gemini_mask',
            'gemini_seed',
            'gemini_url',
            'gemini_cache',
            'on_error',
            'dry_run',
        )
        if getattr(args, name) not in (None, [], False)
    ]
    if given and not asked:
        msg = f'{given[0]} needs --detector gemini or --inpaint gemini'
        raise ValueError(msg)
    if args.mask is not None and 'detector' in asked:
        msg = '--mask and --detector gemini exclude each other'
        raise ValueError(msg)


def _shared(args: argparse.Namespace, role: str, asked: list[str]) -> dict[str, Any]:
    """Return the settings that both advisers know."""
    settings = {
        'seed': args.gemini_seed,
        'base_url': args.gemini_url,
        'cache': args.gemini_cache,
        'on_error': args.on_error,
        'model': _of_role(args.gemini_model, role, asked, '--gemini-model'),
    }
    path = _of_role(args.prompt_file, role, asked, '--prompt-file')
    if path is not None:
        settings['prompt'] = Path(path).read_text(encoding='utf-8').strip()
    return {name: value for name, value in settings.items() if value is not None}


def _of_role(values: list[str], role: str, asked: list[str], name: str) -> str | None:
    """Return the value that is meant for a role."""
    for value in values:
        head, colon, rest = value.partition(':')
        if colon and head in _ROLES:
            if head not in asked:
                msg = f'{name} {value}: --{head} gemini was not asked for'
                raise ValueError(msg)
            if head == role:
                return rest
        elif len(asked) > 1:
            msg = f'{name} {value}: write detector:{value} or inpaint:{value}'
            raise ValueError(msg)
        else:
            return value
    return None


def dry_run(args: argparse.Namespace, options: Any, solve: Callable) -> int:
    """
    Write what would be sent, and send nothing.

    Parameters
    ----------
    args : `argparse.Namespace`
        The arguments.

    options : `astroflat.pipelines.DustFlatOptions`
        The settings.

    solve : callable
        Does the job with given settings.

    Returns
    -------
    status : int
        0.
    """
    from astroflat.genai import DryRunStop

    stopped = {
        name: replace(adviser, stop_before_sending=True)
        for name, adviser in vars(options).items()
        if hasattr(adviser, 'stop_before_sending')
    }
    try:
        solve(replace(options, **stopped))
    except DryRunStop as stop:
        request = stop.request
    else:
        common.say('no dust was found: nothing would be sent', quiet=args.quiet)
        return 0
    folder = common.beside(args.output, '.request')
    paths = request.write(folder, overwrite=args.overwrite)
    common.say(str(request), quiet=args.quiet)
    names = ', '.join(path.name for path in paths)
    common.say(f'\nwritten to {folder}: {names}', quiet=args.quiet)
    if len(stopped) > 1:
        common.say('what the fill would be asked depends on this answer')
    return 0
