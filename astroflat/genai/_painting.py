# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""An image with holes as it is sent, and what its answers are checked against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.genai import _prompts
from astroflat.genai._canvas import Canvas, Stretch
from astroflat.genai._images import decode_image, encode_png
from astroflat.genai._limits import check_limits
from astroflat.genai._register import align
from astroflat.genai._request import GeminiRequest
from astroflat.genai.errors import GeminiRefusedError

if TYPE_CHECKING:
    from astroflat.genai._answer import Answer
    from astroflat.genai.inpainter import GeminiInpainter

__all__ = ['Painting', 'thinned']

_MODEL = 'gemini-3-pro-image'
# Means of squares of this side are compared: noise is no disagreement.
_SQUARE = 8
# Half a step of eight bits.
_LEAST_DETAIL = 0.5 / 255


def thinned(copies: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Leave as many copies as the holes, or a twentieth of the frame, have room."""
    from scipy import ndimage

    labels, n = ndimage.label(copies)
    area = np.bincount(labels.ravel(), minlength=n + 1)
    budget = min(int(mask.sum()), copies.size // 20)
    chosen = np.zeros(n + 1, dtype=bool)
    for number in 1 + np.random.default_rng(0).permutation(n):
        if area[chosen].sum() + area[number] <= budget or not chosen.any():
            chosen[number] = True
    return chosen[labels]


class Painting:
    """An image with holes as it is sent, and what its answers are checked against."""

    def __init__(
        self,
        data: np.ndarray,
        mask: np.ndarray,
        hidden: np.ndarray,
        adviser: GeminiInpainter,
    ) -> None:
        self.data, self.hidden, self.adviser = data, hidden, adviser
        self.holes = mask | hidden
        self.good = np.isfinite(data) & ~self.holes
        if not self.good.any():
            msg = 'no good pixel is left outside the mask to fill the holes from'
            raise ValueError(msg)
        self.level = float(np.median(data[self.good]))
        self.canvas = Canvas.fit(data.shape, max_side=adviser.max_side, pad=True)
        self.stretch = Stretch.fit(data, self.good, tail=0.02, room=0.3)
        grey = self.stretch.forward(np.where(self.good, data, np.nan))
        grey = np.where(self.good, grey, np.median(grey[self.good]))
        self.grey = np.clip(grey, 0, 1)
        self.sent = self.canvas.place(self.grey)
        self.known = self.canvas.place(self.good.astype(float)) > 0.999
        # What is touched, beyond the rounding of the means.
        white = (self.canvas.place(self.holes.astype(float)) > 1e-6).astype(float)
        self.images = tuple(
            encode_png(np.rint(255 * self.canvas.border(image)))
            for image in (self.sent, white)
        )

    def request(self, seed: int) -> GeminiRequest:
        """Return the question."""
        adviser = self.adviser
        image = {'aspect_ratio': self.canvas.ratio}
        if adviser.size is not None:
            image['image_size'] = adviser.size
        config: dict[str, Any] = {
            'seed': seed,
            'response_modalities': ['TEXT', 'IMAGE'],
            'image_config': image,
        }
        words = adviser.prompt or _prompts.INPAINT_PROMPT
        return GeminiRequest(
            adviser.model or _MODEL,
            f'{words}\n\n{_prompts.PAINT_FORMAT}',
            self.images,
            config | adviser.parameters,
            adviser.base_url,
        )

    def read(self, answer: Answer, stage: dict) -> np.ndarray:
        """Make the filled image of an answer, or raise."""
        painted = self.canvas.crop(decode_image(answer.final_image().data))
        if np.ptp(painted) == 0:
            msg = 'the answer of Gemini is refused: it is one even grey'
            raise GeminiRefusedError(msg)
        alignment = align(self.sent, painted, self.known)
        stage['alignment'] = alignment
        numbers = {
            'shift_percent': 100 * alignment.largest / max(self.sent.shape),
            'residual_pixels': alignment.residual,
            'blocks': alignment.blocks,
        }
        stage['numbers'] = numbers
        check_limits(numbers, self.adviser.limits)
        grey = self.canvas.enlarge(alignment.undo(painted))
        stage['painted'] = self._match(self.stretch.inverse(grey))
        numbers.update(self._agreement(stage['painted'], grey))
        check_limits(numbers, self.adviser.limits)
        filled = self._without_seams(stage['painted'])
        numbers.update(self._control(filled))
        check_limits(numbers, self.adviser.limits)
        return filled

    def _match(self, values: np.ndarray) -> np.ndarray:
        """Bring the answer to the photometric scale of the unmasked pixels."""
        from astroflat.dust.histogram import match_histogram

        data = np.where(self.good, self.data, np.nan)
        return match_histogram(
            values.astype(float), data, mask=~self.good, method='local', degree=2
        )

    def _agreement(self, matched: np.ndarray, grey: np.ndarray) -> dict[str, float]:
        """Compare means of small squares off the mask."""
        from astroflat.dust._inpaint_covariance import pixel_noise

        wanted, found = (
            _square_means(image, self.good) for image in (self.data, matched)
        )
        numbers = {
            'mismatch_percent': 100
            * float(np.sqrt(np.mean((found - wanted) ** 2)))
            / max(abs(self.level), 1e-30),
            'step_percent': 100
            * float((self.stretch.high - self.stretch.low) / 255)
            / max(abs(self._typical()), 1e-30),
        }
        # Before the matching, which can turn a negative into a positive.
        sent, painted = (_square_means(image, self.good) for image in (self.grey, grey))
        noise = pixel_noise(self.grey, self.good) / _SQUARE
        # Only what rises above the noise and the steps can be expected to come back.
        if np.std(sent) > max(4 * noise, _LEAST_DETAIL) and np.std(painted) > 0:
            numbers['correlation'] = float(np.corrcoef(sent, painted)[0, 1])
        return numbers

    def _typical(self) -> float:
        """Return the level in the unit that was stretched."""
        return self.level if self.stretch.background is None else 1.0

    def _without_seams(self, matched: np.ndarray) -> np.ndarray:
        """Subtract in the holes what the answer differs by around them."""
        from astroflat.dust.inpainting import inpaint

        rest = np.where(self.good, matched - self.data, np.nan)
        inside = inpaint(rest, self.holes, method='polynomial')
        filled = np.where(self.holes, matched - inside, self.data)
        return filled.astype(self.data.dtype)

    def _control(self, filled: np.ndarray) -> dict[str, float]:
        """Compare with the truth, and with the offline method, where both are known."""
        from astroflat.dust.inpainting import inpaint

        if not self.hidden.any():
            return {}
        truth = self.data[self.hidden]
        data = np.where(self.good, self.data, np.nan)
        offline = inpaint(data, self.hidden, method=self.adviser.offline)
        ours, theirs = (
            float(np.sqrt(np.mean((image[self.hidden] - truth) ** 2)))
            for image in (filled, offline)
        )
        level = max(abs(self.level), 1e-30)
        return {
            'control_percent': 100 * ours / level,
            'offline_percent': 100 * theirs / level,
            'over_offline': ours / max(theirs, 1e-9 * level),
        }


def _square_means(image: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Return the means of squares that are good for the most part."""
    ny, nx = (n - n % _SQUARE or n for n in image.shape)
    shape = (ny // min(_SQUARE, ny), min(_SQUARE, ny), nx // min(_SQUARE, nx), -1)
    use = good[:ny, :nx].reshape(shape)
    count = use.sum(axis=(1, 3))
    total = np.where(use, image[:ny, :nx].reshape(shape), 0).sum(axis=(1, 3))
    enough = count >= 0.5 * count.max()
    return (total[enough] / count[enough]).astype(float)
