# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What both advisers share: settings, asking, re-rolling, falling back."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from astroflat._exceptions import AstroflatWarning
from astroflat.genai import errors
from astroflat.genai._answer import check_finished
from astroflat.genai._cache import AnswerCache
from astroflat.genai._client import Patience, send
from astroflat.genai._keys import clean_text, find_key
from astroflat.genai._limits import AdviserLimits

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from astroflat.genai._answer import Answer
    from astroflat.genai._request import GeminiRequest

__all__ = ['Adviser', 'DryRunStop']

# After these another seed can help.
_WORTH_ANOTHER = (
    errors.GeminiEmptyError,
    errors.GeminiMalformedError,
    errors.GeminiRefusedError,
)


class DryRunStop(Exception):  # noqa: N818
    """
    Carry a request out of a job instead of sending it.

    Parameters
    ----------
    request : GeminiRequest
        What would have been sent.
    """

    def __init__(self, request: GeminiRequest) -> None:
        super().__init__('dry run: nothing was sent')
        self.request = request


@dataclass(frozen=True, kw_only=True)
class Adviser:
    """
    The settings that both advisers share.

    Parameters are described where they are used, in `GeminiDetector`.
    """

    model: str | None = None
    prompt: str | None = None
    seed: int = 0
    rerolls: int = 0
    on_error: Literal['raise', 'offline'] = 'raise'
    limits: AdviserLimits = field(default_factory=AdviserLimits)
    parameters: dict[str, Any] = field(default_factory=dict)
    max_side: int = 2048
    timeout: float = field(default=180.0, repr=False)
    attempts: int = field(default=4, repr=False)
    delay: float = field(default=1.0, repr=False)
    cache: str | os.PathLike | bool | None = field(default=None, repr=False)
    base_url: str | None = None
    stop_before_sending: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        # No field: it is no setting, and must not be copied with them.
        object.__setattr__(self, 'stages', [])
        if self.on_error not in {'raise', 'offline'}:
            msg = f"on_error must be 'raise' or 'offline', not {self.on_error!r}"
            raise ValueError(msg)
        for name, least in (('rerolls', 0), ('attempts', 1), ('max_side', 64)):
            value = getattr(self, name)
            if value != int(value) or value < least:
                msg = f'{name} must be an integer of at least {least}, not {value!r}'
                raise ValueError(msg)
        if not (0 < self.timeout < 86400 and 0 <= self.delay <= 60):
            msg = (
                'timeout must be above 0 seconds and below a day, delay 0 to 60, '
                f'not {self.timeout!r} and {self.delay!r}'
            )
            raise ValueError(msg)

    def reroll(self) -> Any:
        """
        Return the same adviser with the next seed, which may answer otherwise.

        Returns
        -------
        adviser : same class
            Nothing of the answers so far is in its ``stages``.
        """
        return replace(self, seed=self.seed + 1)

    def _ask(
        self, make: Callable[[int], GeminiRequest], read: Callable[[Answer, dict], Any]
    ) -> Any:
        """
        Ask, with other seeds while the answer is of no use.

        ``make`` returns the request for a seed; ``read`` makes of the answer
        what is wanted, or raises, and puts what it sees into a dictionary.
        """
        if self.stop_before_sending:
            raise DryRunStop(make(self.seed))
        for seed in range(self.seed, self.seed + self.rerolls + 1):
            try:
                return self._ask_once(make(seed), read, seed)
            except _WORTH_ANOTHER:
                if seed == self.seed + self.rerolls:
                    raise
        return None

    def _ask_once(
        self, request: GeminiRequest, read: Callable[[Answer, dict], Any], seed: int
    ) -> Any:
        """Take the answer from the disk or ask for it; keep it if it is whole."""
        cache, secret = AnswerCache(self.cache), None
        answer = cache.find(request.digest)
        if answer is None:
            secret = find_key()
            answer = send(
                request, secret, Patience(self.timeout, self.attempts, self.delay)
            )
        stage = {
            'request': request,
            'answer': answer,
            'text': answer.text,
            'images': [image.data for image in answer.images if not image.thought],
            'provenance': _provenance(request, answer, seed),
        }
        self.stages.append(stage)
        check_finished(answer)
        try:
            result = read(answer, stage)
        except errors.GeminiRefusedError:
            # Whole and to be had again: the same question has the same answer.
            cache.keep(request.digest, answer, secret)
            raise
        if not answer.cached:
            cache.keep(request.digest, answer, secret)
        return result

    def _fall_back(self, error: errors.GeminiError) -> None:
        """Raise, or warn that the offline method is taken."""
        if self.on_error == 'raise':
            raise error
        msg = f'{error}; the offline method is used instead'
        self.stages.append({'error': error, 'provenance': {'fallback': str(error)}})
        warnings.warn(msg, AstroflatWarning, stacklevel=4)

    @property
    def provenance(self) -> list[dict[str, Any]]:
        """What answered, once per call: model, prompt hash, response id, time."""
        return [stage['provenance'] for stage in self.stages]


def _provenance(request: GeminiRequest, answer: Answer, seed: int) -> dict[str, Any]:
    """Return what a header tells about an answer."""
    return {
        'model': clean_text(answer.model or request.model, longest=40),
        'prompt': request.prompt_hash[:16],
        'response': clean_text(answer.response_id, longest=40),
        'time': clean_text(answer.time, longest=30),
        'seed': seed,
        'request': request.digest[:16],
        'cached': answer.cached,
    }
