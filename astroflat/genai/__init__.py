# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
An adviser that sees: Gemini, asked for masks and fills. Opt-in.

It takes the place of the offline detector and the offline fill, with the same
interface. What it says is drawn, put in place, scaled and checked here; pixels
off the mask are never taken from it. Nothing is sent before one of its objects
is called.
"""

from astroflat.genai._adviser import DryRunStop
from astroflat.genai._cache import clear_cache
from astroflat.genai._limits import AdviserLimits
from astroflat.genai._prompts import DETECT_PROMPT, INPAINT_PROMPT
from astroflat.genai._request import GeminiRequest
from astroflat.genai._write import write_advice
from astroflat.genai.detector import GeminiDetection, GeminiDetector
from astroflat.genai.errors import (
    GeminiBlockedError,
    GeminiConnectionError,
    GeminiEmptyError,
    GeminiError,
    GeminiKeyError,
    GeminiMalformedError,
    GeminiQuotaError,
    GeminiRefusedError,
    GeminiRequestError,
    GeminiServerError,
    GeminiSetupError,
    GeminiTimeoutError,
)
from astroflat.genai.inpainter import GeminiInpainter

__all__ = [
    'AdviserLimits',
    'DETECT_PROMPT',
    'DryRunStop',
    'GeminiBlockedError',
    'GeminiConnectionError',
    'GeminiDetection',
    'GeminiDetector',
    'GeminiEmptyError',
    'GeminiError',
    'GeminiInpainter',
    'GeminiKeyError',
    'GeminiMalformedError',
    'GeminiQuotaError',
    'GeminiRefusedError',
    'GeminiRequest',
    'GeminiRequestError',
    'GeminiServerError',
    'GeminiSetupError',
    'GeminiTimeoutError',
    'INPAINT_PROMPT',
    'clear_cache',
    'write_advice',
]
