# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What a network is, written inside its own file."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from astroflat._exceptions import ModelError
from astroflat.neural._embed import KEY, embed_card

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from astroflat.neural.models import Content, Model

__all__ = [
    'ModelCard',
    'card_of_content',
    'card_of_metadata',
    'embed_card',
    'read_card',
]

_FORMAT = 1
# A card is text for people and a few numbers.
_LONGEST = 2**20


@dataclass(frozen=True)
class ModelCard:
    """
    What a network is, what it takes and gives, and where it comes from.

    Parameters
    ----------
    name : str
        Its name, such as 'flat-fields-small'.

    task : str
        What it is for: 'flat-fields', 'flat-dust', 'denoise', 'restore', or
        any other word.

    version : str, optional
        Its version.

    description : str, optional
        One sentence.

    inputs, outputs : tuple of dict, optional
        One dictionary each: ``name``, ``channels`` and ``meaning``.

    multiple : int, optional
        The sides of its input must be multiples of this number of pixels.

    halo : int, optional
        How far, in pixels of its input, one pixel of the output looks.

    scale : float, optional
        The side of one pixel (cell) of its output, in pixels of its input.

    normalisation : str, optional
        How the input has to be scaled, in words.

    units : str, optional
        The units of its outputs, in words.

    training : dict, optional
        Data, images seen, seed, loss and device of the training.

    metrics : dict, optional
        What was measured on data that it was not trained on.

    licence : str, optional
        The licence of the weights, as an SPDX identifier.

    code_version : str, optional
        The version of astroflat that made it.

    date : str, optional
        When, as an ISO 8601 date.

    extra : dict, optional
        Everything else that the code which runs it has to know, such as the
        numbers of a calibration.

    Raises
    ------
    ModelError
        If a field has the wrong type, or cannot be written as JSON.

    Examples
    --------
    >>> from astroflat.neural import ModelCard
    >>> card = ModelCard('tiny', 'denoise', version='1', multiple=8, halo=32)
    >>> ModelCard.from_json(card.to_json()) == card
    True
    """

    name: str
    task: str
    version: str = ''
    description: str = ''
    inputs: tuple[dict[str, Any], ...] = ()
    outputs: tuple[dict[str, Any], ...] = ()
    multiple: int = 1
    halo: int = 0
    scale: float = 1.0
    normalisation: str = ''
    units: str = ''
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    licence: str = ''
    code_version: str = ''
    date: str = ''
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ('inputs', 'outputs'):
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        for name, kind in _TYPES.items():
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, bool):
                msg = f'the model card has {name}={value!r}; it must be a {_word(kind)}'
                raise ModelError(msg)
        if not (self.name and self.task):
            msg = 'the model card lacks a name or a task; give both'
            raise ModelError(msg)
        if self.multiple < 1 or self.halo < 0 or not 0 < self.scale < 1e6:
            msg = (
                f'the model card has multiple={self.multiple}, halo={self.halo}, '
                f'scale={self.scale}; they must be at least 1, 0 and positive'
            )
            raise ModelError(msg)

    def to_json(self) -> str:
        """
        Write the card as one JSON string.

        Returns
        -------
        text : str
            ASCII, keys in the order of the fields; the same card gives the
            same text.

        Raises
        ------
        ModelError
            If it holds something that JSON does not know (arrays, NaN), or is
            longer than 1 MiB.
        """
        fields = {'format': _FORMAT} | dataclasses.asdict(self)
        try:
            text = json.dumps(fields, allow_nan=False)
        except (TypeError, ValueError) as error:
            msg = f'the model card {self.name!r} cannot be written as JSON: {error}'
            raise ModelError(msg) from error
        if len(text) > _LONGEST:
            msg = f'the model card {self.name!r} is longer than 1 MiB; shorten it'
            raise ModelError(msg)
        return text

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """
        Read a card.

        Parameters
        ----------
        text : str
            What `to_json` wrote.

        Returns
        -------
        card : `ModelCard`
            Fields that this version does not know are in ``extra``.

        Raises
        ------
        ModelError
            If it is not a card, or one of a newer kind.
        """
        try:
            fields = json.loads(text) if len(text) <= _LONGEST else None
        except (ValueError, RecursionError):
            # The parser calls itself for each bracket inside a bracket.
            fields = None
        if not isinstance(fields, dict) or not {'name', 'task'} <= set(fields):
            msg = 'the model card is damaged, or not one of astroflat'
            raise ModelError(msg)
        if fields.pop('format', _FORMAT) != _FORMAT:
            msg = 'the model card is of a newer kind; update astroflat'
            raise ModelError(msg)
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = {name: fields.pop(name) for name in set(fields) - known}
        extra = fields.get('extra', {})
        if unknown and isinstance(extra, dict):
            fields['extra'] = {**extra, **unknown}
        return cls(**fields)


_TYPES: dict[str, Any] = {
    'name': str,
    'task': str,
    'version': str,
    'description': str,
    'inputs': tuple,
    'outputs': tuple,
    'multiple': int,
    'halo': int,
    'scale': (int, float),
    'normalisation': str,
    'units': str,
    'training': dict,
    'metrics': dict,
    'licence': str,
    'code_version': str,
    'date': str,
    'extra': dict,
}


def _word(kind: Any) -> str:
    """Return the name of a type, or of the last of several."""
    return kind[-1].__name__ if isinstance(kind, tuple) else kind.__name__


def card_of_metadata(metadata: Mapping[str, str]) -> ModelCard | None:
    """
    Return the card in the metadata of an ONNX file.

    Parameters
    ----------
    metadata : mapping of str to str
        The ``custom_metadata_map`` of ONNX Runtime.

    Returns
    -------
    card : `ModelCard` or None
        None if the file has none: it was not made for astroflat.
    """
    text = metadata.get(KEY)
    return None if text is None else ModelCard.from_json(text)


def read_card(model: str | os.PathLike | bytes | Model) -> ModelCard:
    """
    Read the card of an ONNX file.

    Parameters
    ----------
    model : str, path-like, bytes or `Model`
        The file, or its content.

    Returns
    -------
    card : `ModelCard`
        Its card.

    Raises
    ------
    ModelError
        If the file is not an ONNX file, is truncated, or has no card.

    Notes
    -----
    The file is parsed by ONNX Runtime, which checks it; the package ``onnx``
    is not needed.

    Examples
    --------
    >>> from astroflat.neural import read_card
    >>> read_card(b'not a network')
    Traceback (most recent call last):
        ...
    astroflat._exceptions.ModelError: 13 bytes: not an ONNX file, or truncated ...
    """
    from astroflat.neural.models import load_model

    return card_of_content(load_model(model))


def card_of_content(content: Content) -> ModelCard:
    """
    Return the card in the bytes of an ONNX file.

    Parameters
    ----------
    content : `~astroflat.neural.models.Content`
        The bytes.

    Returns
    -------
    card : `ModelCard`
        Its card.

    Raises
    ------
    ModelError
        If it is not an ONNX file, is truncated, or has no card.
    """
    from astroflat.neural._backend import read_metadata

    card = card_of_metadata(read_metadata(content.data, content.name))
    if card is None:
        msg = (
            f'{content.name}: an ONNX file without the card of astroflat, which says '
            'how to feed it; write one with astroflat.neural.embed_card'
        )
        raise ModelError(msg)
    return card
