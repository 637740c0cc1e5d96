# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What a reviewer looks at, changes and decides; without any window."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from astroflat._nddata import unpack
from astroflat._provenance import add_history, set_card
from astroflat.visualization._mask_edits import MaskEdits, merge_detection

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from astroflat.dust import DustDetection
    from astroflat.solution import FlatSolution

__all__ = ['Review', 'note_decision']

Decision = Literal['pending', 'accepted', 'rejected']


class Review:
    """
    A solution under review: settings, edits of the mask, and a decision.

    The buttons and keys of `astroflat.visualization.review` call these
    methods; they can be called from a program as well.

    Parameters
    ----------
    solution : FlatSolution
        As returned by any estimator. Only one of `astroflat.dust_flat` has a
        mask and can be made again.

    image : CCDData, array_like or path, optional
        The image to show before and after; by default the median that a dust
        flat was made of.

    Attributes
    ----------
    decision : {'pending', 'accepted', 'rejected'}
        What the person decided.

    solution : FlatSolution
        The solution as it stands; after `accept` with all settings in it.

    strength : float
        The share of the correction that is applied, 0 to 1.

    figure : `~matplotlib.figure.Figure` or None
        The window, or the contact sheet.

    Raises
    ------
    ValueError
        If there is no image to show.

    Examples
    --------
    >>> import numpy as np
    >>> import astroflat as af
    >>> from astroflat.visualization import Review
    >>> y, x = np.mgrid[:96, :96]
    >>> dusty = np.where(np.hypot(x - 50, y - 40) < 6, 0.8, 1.0)
    >>> noise = np.random.default_rng(0).normal(0, 3, dusty.shape)
    >>> review = Review(af.dust_flat(1000 * dusty + noise))
    >>> review.paint(20, 70, radius=3)
    >>> review.stale
    True
    >>> review.accept()
    >>> review.decision, review.solution.flat.meta['AFPAINT']
    ('accepted', 29)
    """

    def __init__(self, solution: FlatSolution, *, image: Any = None) -> None:
        self.solution = self._base = self._original = solution
        self.decision: Decision = 'pending'
        self.strength = 1.0
        self.figure: Figure | None = None
        self._steps = _open_steps(solution)
        self._color = solution.stages.get('color', 'mono')
        self._set_image(image)
        self._detection = self._touched = None
        if self._steps is not None:
            self._detection = solution.stages['detection']
            self._edits = MaskEdits(self._detection.mask)
            self._done = self._state()

    def _set_image(self, image: Any) -> None:
        """Take the planes to show."""
        from astroflat.pipelines._planes import split_planes

        if image is None and self._steps is None:
            msg = (
                'image is needed: this solution does not keep the image that it was '
                'made of; pass one of the frames'
            )
            raise ValueError(msg)
        if image is None:
            image = self._steps.observed
        frame = unpack(image, name='image', ndim=(2, 3))
        if frame.shape != self.solution.flat.shape:
            msg = (
                f'image has the shape {frame.shape}, the flat has '
                f'{self.solution.flat.shape}'
            )
            raise ValueError(msg)
        data = np.where(frame.bad, np.nan, frame.data)
        self._planes = split_planes(data, self._color)
        # Colours are shown as their mean: none must dominate.
        levels = [abs(float(np.nanmedian(p))) or 1.0 for p in self._planes]
        self._levels = levels if len(levels) > 1 else [1.0]

    # ---- what is shown

    @property
    def editable(self) -> bool:
        """Whether there is a mask to edit and a flat to make again."""
        return self._steps is not None

    @property
    def before(self) -> np.ndarray:
        """The image with the artifacts, one plane."""
        return self._mean(self._planes)

    @property
    def after(self) -> np.ndarray:
        """The image corrected with the present strength, one plane."""
        flats = self._split(self._base.flat.data)
        planes = self._planes
        if self._base.gradient is not None:
            gradients = self._split(self._base.gradient.data)
            planes = [
                p - self.strength * g for p, g in zip(planes, gradients, strict=True)
            ]
        return self._mean(
            [
                p / (1 + self.strength * (f - 1))
                for p, f in zip(planes, flats, strict=True)
            ]
        )

    @property
    def flat(self) -> np.ndarray:
        """The flat with the present strength, one plane."""
        flats = self._split(self._base.flat.data)
        return 1 + self.strength * (sum(flats) / len(flats) - 1)

    @property
    def mask(self) -> np.ndarray | None:
        """The mask with the edits, True on dust; None if there is none."""
        return self._edits.mask if self.editable else None

    @property
    def found(self) -> DustDetection | None:
        """What the search found, without the edits."""
        return self._detection

    @property
    def touched(self) -> np.ndarray | None:
        """Where the weight of the correction is above 0, edits included."""
        if not self.editable:
            return None
        key = (self._edits.key, self.radius)
        if self._touched is None or self._touched[0] != key:
            weight = self._steps.weigh(replace(self._detection, mask=self.mask))
            self._touched = key, weight > 0
        return self._touched[1]

    def _split(self, data: np.ndarray) -> list[np.ndarray]:
        from astroflat.pipelines._planes import split_planes

        return split_planes(data, self._color)

    def _mean(self, planes: list[np.ndarray]) -> np.ndarray:
        """Return the mean of planes brought to one level."""
        if len(planes) == 1:
            return planes[0]
        parts = [p / level for p, level in zip(planes, self._levels, strict=True)]
        return sum(parts) / len(parts)

    # ---- settings

    @property
    def options(self) -> Any:
        """The settings of the dust flat, or None."""
        return self._steps.options if self.editable else None

    @property
    def sensitivity(self) -> float:
        """The sensitivity of the search; setting it asks for a new search."""
        return float(self.options.detection.get('sensitivity', 1.0))

    @sensitivity.setter
    def sensitivity(self, value: float) -> None:
        detection = {**self.options.detection, 'sensitivity': float(value)}
        self._steps.options = replace(self.options, detection=detection)

    @property
    def radius(self) -> float:
        """How far the mask is grown, in pixels: the margin."""
        return float(self.options.margin)

    @radius.setter
    def radius(self, value: float) -> None:
        self._steps.options = replace(self.options, margin=float(value))

    @property
    def stale(self) -> bool:
        """Whether settings or mask have changed since the flat was made."""
        return self.editable and self._state() != self._done

    def _state(self) -> tuple[float, float, bytes]:
        return self.sensitivity, self.radius, self._edits.key

    # ---- the mask

    @property
    def n_painted(self) -> int:
        """The number of pixels that the person added to the mask."""
        return self._edits.n_painted if self.editable else 0

    @property
    def n_erased(self) -> int:
        """The number of pixels that the person took from the mask."""
        return self._edits.n_erased if self.editable else 0

    def begin_stroke(self) -> None:
        """Start a stroke: `undo` takes back all that follows."""
        self._need_mask()
        self._edits.begin()

    def stroke(
        self,
        start: tuple[float, float],
        stop: tuple[float, float],
        *,
        radius: float,
        erase: bool = False,
    ) -> None:
        """
        Paint or erase along a line.

        Parameters
        ----------
        start, stop : tuple of float
            Its ends, ``(x, y)`` in pixels.

        radius : float
            The radius of the brush in pixels.

        erase : bool, optional
            Erase instead of paint.
        """
        self._need_mask()
        self._edits.stroke(start, stop, radius=radius, erase=erase)

    def paint(self, x: float, y: float, *, radius: float) -> None:
        """
        Add a disc to the mask.

        Parameters
        ----------
        x, y : float
            Its centre in pixels.

        radius : float
            Its radius in pixels.
        """
        self.begin_stroke()
        self.stroke((x, y), (x, y), radius=radius)

    def erase(self, x: float, y: float, *, radius: float | None = None) -> None:
        """
        Take a disc, or the whole object at a place, from the mask.

        Parameters
        ----------
        x, y : float
            The place in pixels.

        radius : float, optional
            The radius of the disc; by default the object goes.
        """
        self._need_mask()
        if radius is None:
            self._edits.remove(x, y)
            return
        self.begin_stroke()
        self.stroke((x, y), (x, y), radius=radius, erase=True)

    def undo(self) -> bool:
        """
        Take the last change of the mask back.

        Returns
        -------
        undone : bool
            Whether there was one.
        """
        return self.editable and self._edits.undo()

    def _need_mask(self) -> None:
        if not self.editable:
            msg = 'this solution has no mask; only those of dust_flat can be edited'
            raise ValueError(msg)

    # ---- doing it again, and deciding

    def redo(self) -> bool:
        """
        Make the flat again with the present settings and mask.

        Returns
        -------
        done : bool
            False if nothing has changed. If then an adviser made the fill or
            the mask, it is asked again with the next seed.
        """
        self._need_mask()
        searched = self.sensitivity != self._done[0]
        if not self.stale:
            rerolled = self._reroll()
            if not rerolled:
                return False
            searched = 'detector' in rerolled
        if searched:
            self._search()
        detection = self._edited()
        weight = self._steps.weigh(detection)
        clean = self._steps.match(self._steps.fill(weight), weight)
        made = self._package(detection, weight, clean)
        self._base = self.solution = made
        self._done = self._state()
        return True

    def _package(self, *stages: Any) -> FlatSolution:
        """Return the flat, with the answers of advisers to all attempts."""
        from astroflat.pipelines._dust_steps import merge_advice

        older = self._base.stages.get('advice', {})
        return merge_advice(self._steps.package(*stages), older)

    def _search(self) -> None:
        """Search the dust again; the edits stay."""
        self._detection = self._steps.detect()
        self._edits.detected = self._detection.mask
        self._touched = None

    def _reroll(self) -> list[str]:
        """Give the next seed to the advisers; return what they do."""
        advisers = {
            name: adviser.reroll()
            for name in ('detector', 'inpainter')
            if hasattr(adviser := getattr(self.options, name), 'reroll')
        }
        self._steps.options = replace(self.options, **advisers)
        return list(advisers)

    def _edited(self) -> DustDetection:
        """Return the detection with the edits."""
        mask = self.mask & np.isfinite(self._steps.image)
        if np.array_equal(mask, self._detection.mask):
            return self._detection
        return merge_detection(self._detection, mask, self._steps.image)

    def accept(self) -> None:
        """Decide to use it, after what is stale has been made again."""
        from astroflat.pipelines._dust_steps import scale_solution

        if self.stale:
            self.redo()
        solution = self._base
        if self.strength != 1 and self.editable:
            stages = solution.stages
            # The weight of a plane: that of the frame repeats it.
            weight = self._split(stages['weight'])[0]
            solution = self._package(
                stages['detection'], weight, stages['clean'], self.strength
            )
        elif self.strength != 1:
            solution = scale_solution(solution, self.strength)
        self._decide('accepted', solution)

    def reject(self) -> None:
        """Decide not to use it: the solution is the first one, rejected."""
        solution = self._original
        if solution.report is not None:
            report = solution.report.check(
                passed=False, verdict='reject', reason='the reviewer rejected it'
            )
            solution = replace(solution, report=report)
        self._decide('rejected', solution)

    def _decide(self, decision: Decision, solution: FlatSolution) -> None:
        """Write the decision to the solution and to its header."""
        summary = {'strength': self.strength}
        if self.editable:
            summary |= {
                'sensitivity': self.sensitivity,
                'radius': self.radius,
                'n_painted': self.n_painted,
                'n_erased': self.n_erased,
            }
        self.solution = note_decision(solution, decision, **summary)
        self.decision = decision

    def __repr__(self) -> str:
        return f'<Review {self.decision}, {self.solution!r}>'


def note_decision(
    solution: FlatSolution,
    decision: Decision,
    *,
    strength: float = 1.0,
    n_painted: int = 0,
    n_erased: int = 0,
    **settings: float,
) -> FlatSolution:
    """
    Write a decision to a solution and to its header.

    Parameters
    ----------
    solution : FlatSolution
        What was decided on; it is not modified.

    decision : {'accepted', 'rejected'}
        The decision.

    strength : float, optional
        The share of the correction that is applied.

    n_painted, n_erased : int, optional
        How many pixels the person added to the mask and took from it.

    **settings : float
        More to keep in ``stages['review']``.

    Returns
    -------
    solution : FlatSolution
        With the cards ``AFREVIEW``, and if accepted ``AFSTREN``, ``AFPAINT``
        and ``AFERASE``.
    """
    meta = copy.deepcopy(solution.flat.meta)
    set_card(meta, 'AFREVIEW', (decision, 'decision of the reviewer'))
    details = ''
    if decision == 'accepted':
        set_card(meta, 'AFSTREN', (strength, 'share of the correction'))
        set_card(meta, 'AFPAINT', (n_painted, 'pixels added to the mask'))
        set_card(meta, 'AFERASE', (n_erased, 'pixels taken from the mask'))
        details = (
            f', strength {strength:g}, {n_painted} pixels painted, {n_erased} erased'
        )
    add_history(meta, f'astroflat review: {decision} by a person{details}')
    flat = unpack(solution.flat, ndim=(2, 3)).ccd(solution.flat.data, meta=meta)
    summary = {'decision': decision, 'strength': strength}
    summary |= {'n_painted': n_painted, 'n_erased': n_erased, **settings}
    return replace(solution, flat=flat, stages={**solution.stages, 'review': summary})


def _open_steps(solution: FlatSolution) -> Any:
    """Return the stages of a dust flat, ready to be done again, or None."""
    stages = solution.stages
    if not {'median', 'detection', 'options', 'color'} <= stages.keys():
        return None
    from astroflat.pipelines import DustFlatOptions
    from astroflat.pipelines._dust_steps import DustSteps

    options = DustFlatOptions(**stages['options'])
    return DustSteps(stages['median'], stages['color'], options)
