# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What can go wrong when a service is asked, one class for each remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from astroflat._exceptions import AstroflatError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    'GeminiBlockedError',
    'GeminiConnectionError',
    'GeminiEmptyError',
    'GeminiError',
    'GeminiKeyError',
    'GeminiMalformedError',
    'GeminiQuotaError',
    'GeminiRefusedError',
    'GeminiRequestError',
    'GeminiServerError',
    'GeminiSetupError',
    'GeminiTimeoutError',
]


class GeminiError(AstroflatError, RuntimeError):
    """The adviser gave no usable answer; base class of the more exact ones."""


class GeminiSetupError(GeminiError):
    """The client is not installed, or the address of the service is not safe."""


class GeminiKeyError(GeminiSetupError):
    """No key is in the environment, or the service does not accept it."""


class GeminiConnectionError(GeminiError):
    """The service could not be reached."""


class GeminiTimeoutError(GeminiConnectionError):
    """The answer did not come, or did not end, in time."""


class GeminiServerError(GeminiError):
    """The service failed (HTTP 5xx) at every attempt."""


class GeminiQuotaError(GeminiError):
    """Too many requests, or the quota is used up (HTTP 429)."""


class GeminiRequestError(GeminiError):
    """The service does not accept the request: unknown model, wrong parameter."""


class GeminiBlockedError(GeminiError):
    """The service declined for reasons of safety or policy."""


class GeminiEmptyError(GeminiError):
    """The answer has no text, or no image, where there should be one."""


class GeminiMalformedError(GeminiError, ValueError):
    """The answer is not what was asked for: broken, too large, out of range."""


class GeminiRefusedError(GeminiError, ValueError):
    """
    The answer is well formed, but fails a check against the image.

    Parameters
    ----------
    message : str
        Which check failed, with its number and limit.

    numbers : mapping, optional
        All numbers that were measured.
    """

    def __init__(
        self, message: str, numbers: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(message)
        self.numbers = dict(numbers or {})
