# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Who advised, in cards of a header."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from astroflat._provenance import add_history, logging_enabled, set_card

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

__all__ = ['copy_advice', 'note_advice']

_ROLES = {'D': 'dust mask', 'I': 'fill'}
_CARDS = {
    'model': ('MODEL', 'model'),
    'prompt': ('PROMP', 'SHA-256 of the prompt, its start'),
    'response': ('RESP', 'response id'),
    'time': ('TIME', 'time of the answer, UTC'),
    'seed': ('SEED', 'seed'),
}
_MARK = 'astroflat gemini'


def note_advice(
    meta: MutableMapping,
    role: Literal['D', 'I'],
    answers: Iterable[dict[str, Any]],
    *,
    add_keyword: Any = True,
) -> None:
    """
    Write to the metadata who gave advice, in place.

    Parameters
    ----------
    meta : `~astropy.io.fits.Header` or dict
        The metadata.

    role : {'D', 'I'}
        For the detection of dust or for the inpainting.

    answers : iterable of dict
        The provenance of the answers; cards are written for the first, a
        line of HISTORY for each.

    add_keyword : bool, str, `ccdproc.Keyword` or dict, optional
        As in ccdproc.
    """
    if not logging_enabled(add_keyword):
        return
    for number, answer in enumerate(answers):
        if number == 0:
            _set_cards(meta, role, answer)
        if 'fallback' in answer:
            text = f'no advice for the {_ROLES[role]}, done offline'
        else:
            text = (
                f'{_ROLES[role]} by {answer["model"]}, prompt {answer["prompt"]}, '
                f'response {answer["response"]}, {answer["time"]}'
            )
        add_history(meta, f'{_MARK}: {text}')


def _set_cards(meta: MutableMapping, role: str, answer: dict[str, Any]) -> None:
    """Write the cards of one answer."""
    set_card(meta, f'AF{role}BY', ('offline' if 'fallback' in answer else 'gemini', ''))
    for name, (card, comment) in _CARDS.items():
        if name in answer:
            value = answer[name]
            if isinstance(value, str):
                value = value.encode('ascii', 'replace').decode()
            set_card(meta, f'AF{role}{card}', (value, f'{_ROLES[role]}: {comment}'))


def copy_advice(source: MutableMapping, target: MutableMapping) -> None:
    """
    Copy what `note_advice` wrote from one header to another.

    Parameters
    ----------
    source, target : `~astropy.io.fits.Header` or dict
        The metadata; the target is changed in place.
    """
    for role in _ROLES:
        for card in ('BY', *(card for card, _ in _CARDS.values())):
            name = f'AF{role}{card}'
            if name in source:
                target[name] = source[name]
    lines = source.get('HISTORY', [])
    for line in [lines] if isinstance(lines, str) else list(lines):
        if line.startswith(_MARK) and line not in list(target.get('HISTORY', [])):
            add_history(target, line)
