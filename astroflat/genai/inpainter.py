# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Gemini paints the holes; what it paints is put in place, scaled and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from astroflat._nddata import unpack
from astroflat.dust._weights import mask_or_weights
from astroflat.genai import _prompts
from astroflat.genai._adviser import Adviser
from astroflat.genai._canvas import Canvas, Stretch
from astroflat.genai._images import decode_image, encode_png
from astroflat.genai._limits import check_limits
from astroflat.genai._register import align
from astroflat.genai._request import GeminiRequest
from astroflat.genai.errors import GeminiError, GeminiRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from astroflat.genai._answer import Answer

__all__ = ['GeminiInpainter']

_MODEL = 'gemini-3-pro-image'
# Means of squares of this side are compared: noise is no disagreement.
_SQUARE = 8
# Half a step of eight bits.
_LEAST_DETAIL = 0.5 / 255


@dataclass(frozen=True, kw_only=True)
class GeminiInpainter(Adviser):
    """
    Ask a Gemini model of images to paint what is under the dust.

    An 8-bit copy of the image, without the dust, leaves the machine.

    Parameters
    ----------
    size : {'1K', '2K', '4K'} or None, optional
        The size of the answer; `None` for models that know only one.

    offline : str or Inpainter, optional
        The method of `astroflat.inpaint` that the answer is compared with,
        and that fills the holes if there is no usable answer.

    model : str or None, optional
        The name of the model; `None` takes ``gemini-3-pro-image``.

    prompt : str or None, optional
        Your words in place of `INPAINT_PROMPT`. What form the answer must
        have is added to them.

    seed : int, optional
        The seed of the model; answers are similar, not the same, for one seed.

    rerolls : int, optional
        How many further seeds are tried after an answer that is empty,
        malformed or refused.

    on_error : {'raise', 'offline'}, optional
        What to do without a usable answer: raise, or warn and use the
        offline method.

    limits : AdviserLimits, optional
        When an answer is refused.

    parameters : dict, optional
        Further fields of ``google.genai.types.GenerateContentConfig``.

    max_side : int, optional
        Larger images are sent smaller: the longest side in pixels.

    timeout, attempts, delay : float, int, float, optional
        As in `GeminiDetector`.

    cache, base_url, stop_before_sending : optional
        As in `GeminiDetector`.

    Attributes
    ----------
    stages : list of dict
        One per answer: ``images`` and ``text`` as they came, ``painted``
        (brought back to the image), ``alignment``, ``numbers``.

    See Also
    --------
    astroflat.inpaint : Takes this as ``method``.

    Notes
    -----
    The image is divided by its smooth background, stretched, cut out under
    the mask, brought to a known aspect ratio with a mirrored border, and sent
    with the mask. Of the answer the border is cropped, an affine map is
    measured on the unmasked pixels and undone, the stretch inverted, and gain
    and offset, as polynomials of the position, are fitted to the unmasked
    pixels. What it then still differs by around each hole is continued into
    the hole and subtracted, so that there is no step at the edge.

    Copies of the holes on good pixels are cut out in the same request. What
    the model paints there, compared with what is there, gives the standard
    deviation of the fill, and it is refused if it errs more than the offline
    method does at the same places.

    The colours, or Bayer planes, of an image are one request each.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.genai import GeminiInpainter
    >>> image = np.random.default_rng(0).normal(1.0, 0.01, (90, 160))
    >>> hole = np.zeros(image.shape, dtype=bool)
    >>> hole[40:50, 70:80] = True
    >>> request = GeminiInpainter().dry_run(image, hole)
    >>> request.config['image_config']['aspect_ratio'], len(request.images)
    ('16:9', 2)
    """

    size: Literal['1K', '2K', '4K'] | None = '2K'
    offline: Any = 'gp'

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size not in {'1K', '2K', '4K', None}:
            msg = f"size must be '1K', '2K', '4K' or None, not {self.size!r}"
            raise ValueError(msg)

    def __call__(
        self, data: np.ndarray, mask: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the filled image and its standard deviation."""
        from astroflat.dust.inpainting import inpaint

        try:
            return self._fill(data, mask)
        except GeminiError as error:
            self._fall_back(error)
        return inpaint(data, mask, method=self.offline, return_uncertainty=True)

    def note_answers(
        self, meta: Any, *, start: int = 0, add_keyword: Any = True
    ) -> None:
        """
        Write to a header who painted, in place.

        Parameters
        ----------
        meta : `~astropy.io.fits.Header` or dict
            The metadata.

        start : int, optional
            The number of answers that came before, for other images.

        add_keyword : bool, str, `ccdproc.Keyword` or dict, optional
            As in ccdproc.
        """
        from astroflat.genai._cards import note_advice, tell_advice

        cards: dict[str, Any] = {}
        note_advice(cards, 'I', self.provenance[start:], add_keyword=add_keyword)
        tell_advice(cards, meta)

    def dry_run(self, image: Any, mask: Any) -> GeminiRequest:
        """
        Return what would be sent, and send nothing.

        Parameters
        ----------
        image : CCDData, NDData, Quantity, masked array, array_like or path
            The image.

        mask : array_like of bool or float
            The pixels to fill.

        Returns
        -------
        request : GeminiRequest
            Print it, or write it to files with its ``write``.
        """
        frame = unpack(image, name='image')
        hole = mask_or_weights(mask) > 0
        data = np.where(frame.bad | hole, np.nan, frame.data)
        drafts = []

        def note(painting: _Painting) -> np.ndarray:
            """Keep the request in place of asking."""
            drafts.append(painting.request(self.seed))
            return painting.data

        self._with_controls(data, hole, note)
        return drafts[-1]

    def _fill(
        self, data: np.ndarray, mask: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fill the holes, and their copies on good pixels, in one request."""
        results = []

        def paint(painting: _Painting) -> np.ndarray:
            results.append(self._ask(painting.request, painting.read))
            return results[-1]

        sigma = self._with_controls(data, mask, paint)
        return results[-1], sigma

    def _with_controls(
        self, data: np.ndarray, mask: np.ndarray, paint: Callable
    ) -> np.ndarray:
        """Call a function once, with control holes; return what they tell."""
        from astroflat.dust._inpaint_placebo import placebo_sigma

        calls = []

        def fill(_: np.ndarray, copies: np.ndarray) -> np.ndarray:
            hidden = _thinned(copies, mask)
            calls.append(hidden)
            filled = paint(_Painting(data, mask, hidden, self))
            # Copies that were not cut out tell nothing.
            return np.where(copies & ~hidden, np.nan, filled)

        sigma = placebo_sigma(data, mask, fill)
        if not calls:
            # No room for a copy: then nothing is known of the error.
            fill(data, np.zeros_like(mask))
        return sigma


def _thinned(copies: np.ndarray, mask: np.ndarray) -> np.ndarray:
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


class _Painting:
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
        white = (self.canvas.place(self.holes.astype(float)) > 0).astype(float)
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
