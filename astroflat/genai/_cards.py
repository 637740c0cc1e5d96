# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Who advised, in cards of a header."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from astroflat._provenance import add_history, logging_enabled, set_card

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

__all__ = ['note_advice', 'tell_advice']

_ROLES = {'D': 'dust mask', 'I': 'fill'}
_CARDS = {
    'by': ('BY', 'done by gemini or offline'),
    'model': ('MODEL', 'model'),
    'prompt': ('PROMP', 'SHA-256 of the prompt, its start'),
    'response': ('RESP', 'response id'),
    'time': ('TIME', 'time of the answer, UTC'),
    'seed': ('SEED', 'seed'),
    'number': ('NUMB', 'number of answers; this is the first'),
}


def note_advice(
    meta: MutableMapping,
    role: Literal['D', 'I'],
    answers: Sequence[dict[str, Any]],
    *,
    add_keyword: Any = True,
) -> None:
    """
    Write cards that tell who gave advice, in place.

    Parameters
    ----------
    meta : `~astropy.io.fits.Header` or dict
        The metadata.

    role : {'D', 'I'}
        For the detection of dust or for the inpainting.

    answers : sequence of dict
        The provenance of the answers. The last one that tells of a
        fall-back, or else the first, is written.

    add_keyword : bool, str, `ccdproc.Keyword` or dict, optional
        As in ccdproc.
    """
    if not answers or not logging_enabled(add_keyword):
        return
    offline = [answer for answer in answers if 'fallback' in answer]
    told = {'by': 'offline'} if offline else {**answers[0], 'by': 'gemini'}
    told['number'] = len(answers)
    for name, (card, comment) in _CARDS.items():
        if name in told:
            value = told[name]
            if isinstance(value, str):
                value = value.encode('ascii', 'replace').decode()
            set_card(meta, f'AF{role}{card}', (value, f'{_ROLES[role]}: {comment}'))


def tell_advice(source: MutableMapping, target: MutableMapping) -> None:
    """
    Copy what `note_advice` wrote to a header, and tell it in its history.

    Parameters
    ----------
    source, target : `~astropy.io.fits.Header` or dict
        The metadata; the target is changed in place.
    """
    for role, words in _ROLES.items():
        if f'AF{role}BY' not in source:
            continue
        told = {}
        for name, (card, comment) in _CARDS.items():
            if f'AF{role}{card}' in source:
                told[name] = source[f'AF{role}{card}']
                text = f'{words}: {comment}'
                set_card(target, f'AF{role}{card}', (told[name], text))
        if told['by'] == 'offline':
            line = f'no usable advice for the {words}, done offline'
        else:
            line = '{} by {model}, prompt {prompt}, response {response}, {time}'.format(
                words, **told
            )
        add_history(target, f'astroflat gemini: {line}')
