# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What a service answered, reduced to what is used, and kept as JSON."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from typing import Any

from astroflat.genai.errors import (
    GeminiBlockedError,
    GeminiEmptyError,
    GeminiMalformedError,
)

__all__ = ['Answer', 'AnswerImage', 'check_finished', 'read_answer']

_FORMAT = 'astroflat-gemini-answer-1'
# Reasons to end that are no decision about the content.
_FINE = {'', 'STOP', 'FINISH_REASON_UNSPECIFIED', 'OTHER'}
_EMPTY = {'NO_IMAGE', 'IMAGE_OTHER'}
_BROKEN = {
    'MAX_TOKENS',
    'CONTINUATION',
    'MALFORMED_FUNCTION_CALL',
    'MALFORMED_RESPONSE',
    'UNEXPECTED_TOOL_CALL',
    'TOO_MANY_TOOL_CALLS',
}


@dataclass(frozen=True)
class AnswerImage:
    """
    An image as it came.

    Parameters
    ----------
    mime : str
        What the service says that it is; it is not believed.

    data : bytes
        The file.

    thought : bool, optional
        A sketch on the way to the answer.
    """

    mime: str
    data: bytes
    thought: bool = False


@dataclass(frozen=True)
class Answer:
    """
    An answer of the service.

    Parameters
    ----------
    text : str
        All text that is no thought.

    images : tuple of AnswerImage
        All images, in the order in which they came.

    thoughts : str, optional
        The text of the thoughts.

    finish : str, optional
        Why the model ended.

    blocked : str, optional
        Why the request was blocked.

    response_id, model : str, optional
        The identifier of the answer, and the version of the model that gave it.

    time : str, optional
        When it came, UTC, ISO 8601.

    tokens : int, optional
        What it cost.

    cached : bool, optional
        Whether it was read from the disk.
    """

    text: str
    images: tuple[AnswerImage, ...] = ()
    thoughts: str = ''
    finish: str = ''
    blocked: str = ''
    response_id: str = ''
    model: str = ''
    time: str = ''
    tokens: int = 0
    cached: bool = False

    def to_json(self) -> str:
        """Return the answer as JSON, images in base64."""
        fields = asdict(self)
        del fields['cached']
        for image in fields['images']:
            image['data'] = base64.b64encode(image['data']).decode('ascii')
        return json.dumps({'format': _FORMAT, **fields}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Answer:
        """
        Read an answer that was kept.

        Parameters
        ----------
        text : str
            From `to_json`.

        Returns
        -------
        answer : Answer
            With ``cached`` set.

        Raises
        ------
        ValueError
            If it is anything else.
        """
        fields = json.loads(text)
        if not isinstance(fields, dict) or fields.pop('format', None) != _FORMAT:
            msg = 'this is no answer that was kept'
            raise ValueError(msg)
        try:
            images = tuple(
                AnswerImage(
                    str(item['mime']),
                    base64.b64decode(item['data'], validate=True),
                    bool(item['thought']),
                )
                for item in fields.pop('images')
            )
            tokens = int(fields.pop('tokens'))
            known = {name: str(value) for name, value in fields.items()}
            return cls(images=images, tokens=tokens, cached=True, **known)
        except (KeyError, TypeError, OverflowError) as error:
            msg = f'an answer that was kept is damaged: {error}'
            raise ValueError(msg) from None

    def final_image(self) -> AnswerImage:
        """
        Return the image that is the answer.

        Returns
        -------
        image : AnswerImage
            The last one that is no thought.

        Raises
        ------
        GeminiEmptyError
            If there is none.
        """
        images = [image for image in self.images if not image.thought]
        if not images:
            msg = (
                f'the answer has no image (finish reason {self.finish or "none"}); '
                'does the model make images? Try another one, or another seed'
            )
            raise GeminiEmptyError(msg)
        return images[-1]


def read_answer(response: Any, *, time: str) -> Answer:
    """
    Take from a response of the client what is used.

    Parameters
    ----------
    response : `google.genai.types.GenerateContentResponse`
        The response.

    time : str
        When it came.

    Returns
    -------
    answer : Answer
        Its parts; every field may be missing in a response.
    """
    candidate = next(iter(response.candidates or ()), None)
    content = None if candidate is None else candidate.content
    parts = [] if content is None else list(content.parts or ())
    feedback = response.prompt_feedback
    usage = response.usage_metadata
    return Answer(
        text=_text(parts, thought=False),
        images=tuple(
            AnswerImage(
                str(part.inline_data.mime_type or ''),
                bytes(part.inline_data.data),
                bool(part.thought),
            )
            for part in parts
            if part.inline_data is not None and part.inline_data.data
        ),
        thoughts=_text(parts, thought=True),
        finish=_name(None if candidate is None else candidate.finish_reason),
        blocked=_name(None if feedback is None else feedback.block_reason),
        response_id=str(response.response_id or ''),
        model=str(response.model_version or ''),
        time=time,
        tokens=int((usage and usage.total_token_count) or 0),
    )


def _text(parts: list[Any], *, thought: bool) -> str:
    """Join the text of the answer, or of the thoughts."""
    return ''.join(p.text for p in parts if p.text and bool(p.thought) is thought)


def _name(value: Any) -> str:
    """Return the name of an enumerated value, which may be a new one."""
    return '' if value is None else str(getattr(value, 'value', value))


def check_finished(answer: Answer) -> None:
    """
    Raise if the service did not answer to the end.

    Parameters
    ----------
    answer : Answer
        The answer.

    Raises
    ------
    GeminiBlockedError
        If the request or the answer was blocked.

    GeminiEmptyError
        If there is nothing in it.

    GeminiMalformedError
        If it was cut off.
    """
    finish = answer.finish
    if answer.blocked and answer.blocked != 'BLOCKED_REASON_UNSPECIFIED':
        msg = f'the service blocked the request: {answer.blocked}'
        raise GeminiBlockedError(msg)
    if finish in _BROKEN:
        msg = f'the answer was cut off or broken by the service: {finish}'
        raise GeminiMalformedError(msg)
    if finish not in _FINE | _EMPTY:
        msg = f'the service stopped the answer: {finish}'
        raise GeminiBlockedError(msg)
    if finish in _EMPTY or not (answer.text.strip() or answer.images):
        msg = (
            f'the answer is empty (finish reason {finish or "none"}); try another seed'
        )
        raise GeminiEmptyError(msg)
