# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Gemini paints the holes; what it paints is put in place, scaled and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from astroflat._nddata import unpack
from astroflat.dust._weights import mask_or_weights
from astroflat.genai._adviser import Adviser
from astroflat.genai._painting import Painting, thinned
from astroflat.genai.errors import GeminiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from astroflat.genai._request import GeminiRequest

__all__ = ['GeminiInpainter']


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

        def _note(painting: Painting) -> np.ndarray:
            """Keep the request in place of asking."""
            drafts.append(painting.request(self.seed))
            return painting.data

        self._with_controls(data, hole, _note)
        return drafts[-1]

    def _fill(
        self, data: np.ndarray, mask: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fill the holes, and their copies on good pixels, in one request."""
        results = []

        def paint(painting: Painting) -> np.ndarray:
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
            hidden = thinned(copies, mask)
            calls.append(hidden)
            filled = paint(Painting(data, mask, hidden, self))
            # Copies that were not cut out tell nothing.
            return np.where(copies & ~hidden, np.nan, filled)

        sigma = placebo_sigma(data, mask, fill)
        if not calls:
            # No room for a copy: then nothing is known of the error.
            fill(data, np.zeros_like(mask))
        return sigma
