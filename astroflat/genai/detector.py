# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Gemini looks for the dust; what it says is drawn and checked here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from astroflat._nddata import unpack
from astroflat.dust.detection import DustDetection
from astroflat.genai import _prompts
from astroflat.genai._adviser import Adviser
from astroflat.genai._canvas import Canvas, Stretch
from astroflat.genai._images import decode_image, encode_png
from astroflat.genai._limits import check_limits, darkness
from astroflat.genai._register import mask_shift
from astroflat.genai._request import GeminiRequest
from astroflat.genai._shapes import draw_shapes, parse_shapes
from astroflat.genai.errors import GeminiError

if TYPE_CHECKING:
    from astroflat.genai._answer import Answer

__all__ = ['GeminiDetection', 'GeminiDetector']

_MODELS = {'shapes': 'gemini-3.8-flash', 'image': 'gemini-3-pro-image'}
# The place of a mask is judged in an image of at most this size, if it has
# at least so many objects.
_JUDGED_SIDE, _JUDGED_OBJECTS = 512, 3


@dataclass(frozen=True)
class GeminiDetection(DustDetection):
    """
    The dust that Gemini reported.

    Parameters
    ----------
    mask, probability, catalogue, labels
        As in `~astroflat.dust.DustDetection`.

    stages : dict, optional
        ``request``, ``answer``, ``text``, ``images`` (all that came, as
        files), ``shapes`` or ``painted``, and ``numbers``.

    provenance : dict, optional
        Model, prompt hash, response id, time, seed; or the reason for which
        the offline detector was used.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.genai import GeminiDetection
    >>> detection = GeminiDetection.from_mask(np.eye(4, dtype=bool))
    >>> detection.provenance
    {}
    """

    stages: dict[str, Any] = field(default_factory=dict, repr=False)
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class GeminiDetector(Adviser):
    """
    Ask a Gemini model where the dust is.

    An 8-bit copy of the image leaves the machine. See the notes.

    Parameters
    ----------
    answer : {'shapes', 'image'}, optional
        ``'shapes'``: boxes and polygons in JSON, drawn here at full
        resolution. ``'image'``: a mask painted by a model of images, which
        moves pixels; its place is checked.

    threshold : float, optional
        Objects, or pixels, of at least this confidence are taken.

    offline : dict, optional
        Arguments of `astroflat.detect_dust` for the fall-back.

    model : str or None, optional
        The name of the model. `None` takes ``gemini-3.8-flash`` for shapes
        and ``gemini-3-pro-image`` for images.

    prompt : str or None, optional
        Your words in place of `DETECT_PROMPT`. What form the answer must
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

    timeout : float, optional
        Seconds for one attempt.

    attempts : int, optional
        How often a request is sent if the service is busy or fails (408,
        429, 5xx).

    delay : float, optional
        Seconds before the second attempt; it doubles for each further one.

    cache : path-like, bool or None, optional
        The folder in which answers are kept, so that the same question costs
        nothing again; `None` for the cache folder of astropy, `False` for
        none.

    base_url : str or None, optional
        Another address of the service: https, or http on this machine.

    stop_before_sending : bool, optional
        Raise `DryRunStop`, which carries the request, instead of asking.

    Attributes
    ----------
    stages : list of dict
        One per answer, in the order in which they came, refused ones too.

    See Also
    --------
    astroflat.detect_dust : Takes this as ``detector``.

    Notes
    -----
    The key is taken from the environment variable ``GOOGLE_API_KEY`` or
    ``GEMINI_API_KEY``, or from a file ``.env`` if python-dotenv is installed,
    at the moment it is needed, and is kept nowhere.

    What is sent: the image divided by its smooth background, with raised
    contrast, as an 8-bit PNG; the prompt; the parameters. No header, no file
    name, no coordinates. `dry_run` shows it to the byte.

    Coordinates come in thousandths of the frame. In a frame of 4000 pixels
    they are 4 pixels apart; the mask is grown by half a step.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.genai import GeminiDetector
    >>> flat = np.random.default_rng(0).normal(1.0, 0.01, (90, 120))
    >>> request = GeminiDetector(seed=3).dry_run(flat)
    >>> request.model, request.config['seed'], len(request.images)
    ('gemini-3.8-flash', 3, 1)

    With a key, ``af.detect_dust(flat, detector=GeminiDetector())`` asks.
    """

    answer: Literal['shapes', 'image'] = 'shapes'
    threshold: float = 0.5
    offline: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.answer not in _MODELS:
            msg = f"answer must be 'shapes' or 'image', not {self.answer!r}"
            raise ValueError(msg)
        if not 0 < self.threshold <= 1:
            msg = f'threshold must be above 0 and at most 1, not {self.threshold!r}'
            raise ValueError(msg)

    def detect(self, data: np.ndarray, bad: np.ndarray) -> GeminiDetection:
        """
        Find the dust.

        Parameters
        ----------
        data : `~numpy.ndarray`
            The image, ``(ny, nx)``.

        bad : `~numpy.ndarray` of bool
            Pixels that say nothing.

        Returns
        -------
        detection : GeminiDetection
            The dust, none of it on bad pixels.

        Raises
        ------
        GeminiError
            One of its kinds, with ``on_error='raise'``.
        """
        view = _View(data, bad, self)
        try:
            return self._ask(view.request, view.read)
        except GeminiError as error:
            self._fall_back(error)
            return self._offline(data, bad, error)

    def dry_run(self, flat: Any, *, mask: Any = None) -> GeminiRequest:
        """
        Return what would be sent, and send nothing.

        Parameters
        ----------
        flat : CCDData, NDData, Quantity, masked array, array_like or path
            The image.

        mask : array_like of bool, optional
            Pixels to ignore.

        Returns
        -------
        request : GeminiRequest
            Print it, or write it to files with its ``write``.
        """
        frame = unpack(flat, name='flat', mask=mask)
        return _View(frame.data, frame.bad, self).request(self.seed)

    def _offline(
        self, data: np.ndarray, bad: np.ndarray, error: GeminiError
    ) -> GeminiDetection:
        """Find the dust without Gemini."""
        from astroflat.dust.detection import detect_dust

        found = detect_dust(data, mask=bad, **self.offline)
        return GeminiDetection(
            found.mask,
            found.probability,
            found.catalogue,
            found.labels,
            stages={'error': error},
            provenance={'fallback': str(error)},
        )


class _View:
    """An image as it is sent, and what its answers are checked against."""

    def __init__(
        self, data: np.ndarray, bad: np.ndarray, adviser: GeminiDetector
    ) -> None:
        self.data, self.good, self.adviser = data, ~bad, adviser
        if not self.good.any():
            msg = 'the image has no good pixel'
            raise ValueError(msg)
        self.canvas = Canvas.fit(
            data.shape, max_side=adviser.max_side, pad=adviser.answer == 'image'
        )
        stretch = Stretch.fit(data, self.good, tail=0.2, room=0.1)
        grey = stretch.forward(np.where(self.good, data, np.nan))
        self.grey = np.where(self.good, grey, np.median(grey[self.good]))
        sent = self.canvas.border(self.canvas.place(np.clip(self.grey, 0, 1)))
        self.png = encode_png(np.rint(255 * sent))

    def request(self, seed: int) -> GeminiRequest:
        """Return the question."""
        adviser = self.adviser
        config: dict[str, Any] = {'seed': seed}
        if adviser.answer == 'shapes':
            form = _prompts.SHAPES_FORMAT
            config['response_mime_type'] = 'application/json'
            config['response_json_schema'] = _prompts.SHAPES_SCHEMA
        else:
            form = _prompts.MASK_FORMAT
            config['response_modalities'] = ['TEXT', 'IMAGE']
            config['image_config'] = {'aspect_ratio': self.canvas.ratio}
        return GeminiRequest(
            adviser.model or _MODELS[adviser.answer],
            f'{adviser.prompt or _prompts.DETECT_PROMPT}\n\n{form}',
            (self.png,),
            config | adviser.parameters,
            adviser.base_url,
        )

    def read(self, answer: Answer, stage: dict) -> GeminiDetection:
        """Make the detection of an answer, or raise."""
        if self.adviser.answer == 'shapes':
            stage['shapes'] = parse_shapes(answer.text)
            probability = draw_shapes(stage['shapes'], self.data.shape)
        else:
            painted = decode_image(answer.final_image().data)
            stage['painted'] = self.canvas.crop(painted, order=1)
            probability = self.canvas.enlarge(stage['painted'], order=1)
        probability = np.where(self.good, np.clip(probability, 0, 1), 0)
        mask = self._mask(probability)
        stage['numbers'] = self._numbers(mask)
        check_limits(stage['numbers'], self.adviser.limits)
        return self._detection(mask, probability.astype(np.float32), stage)

    def _mask(self, probability: np.ndarray) -> np.ndarray:
        """Return what is sure enough, grown by what the coordinates leave open."""
        from astroflat.dust.masks import dilate_mask

        mask = probability >= self.adviser.threshold
        if self.adviser.answer == 'shapes':
            mask = dilate_mask(mask, radius=max(self.data.shape) / 2000)
        return mask & self.good

    def _numbers(self, mask: np.ndarray) -> dict[str, float]:
        """Measure a mask against the image."""
        from scipy import ndimage

        numbers = {
            'mask_percent': 100 * float(mask.mean()),
            'objects': int(ndimage.label(mask)[1]),
        }
        if numbers['objects'] >= _JUDGED_OBJECTS:
            small = Canvas.fit(self.data.shape, max_side=_JUDGED_SIDE)
            image = small.place(self.grey)
            dark = darkness(image, small.place(self.good.astype(float)) > 0.5)
            under = small.place(mask.astype(float)) >= 0.5
            reach = max(8, max(small.size) // 20)
            shift, gain = mask_shift(dark, under, reach=reach)
            numbers['shift_percent'] = 100 * shift / max(small.size)
            numbers['shift_gain'] = gain
        return numbers

    def _detection(
        self, mask: np.ndarray, probability: np.ndarray, stage: dict
    ) -> GeminiDetection:
        """Return the detection with a catalogue measured here."""
        image = np.where(self.good, self.data, np.nan)
        # Around a level of 0 no depth can be given: it is NaN.
        with np.errstate(all='ignore'):
            found = GeminiDetection.from_mask(mask, image)
        if len(found):
            surest = np.zeros(len(found) + 1)
            np.maximum.at(surest, found.labels[mask], probability[mask])
            found.catalogue['probability'] = surest[1:]
        return replace(
            found,
            probability=np.where(mask, np.maximum(probability, 1e-6), probability),
            stages=stage,
            provenance=stage['provenance'],
        )
