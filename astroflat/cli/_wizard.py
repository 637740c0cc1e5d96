# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""``astroflat dustflat --interactive``: one stage after the other, on approval."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.cli._wizard_previews import Previews
from astroflat.cli._wizard_settings import HELP, SETTINGS, change, show_settings

if TYPE_CHECKING:
    from astroflat.pipelines._dust_steps import DustSteps
    from astroflat.solution import FlatSolution

__all__ = ['STAGES', 'Wizard']

STAGES = ('detect', 'mask', 'fill', 'match', 'flat')
_MOVES = {'a': 1, 'accept': 1, 'b': -1, 'back': -1, 'q': None, 'quit': None}


class Wizard:
    """
    Ask at every stage of a dust flat.

    Parameters
    ----------
    steps : DustSteps
        The stages.

    previews : Previews
        Where the previews go.

    mask : `~numpy.ndarray` of bool, optional
        Take this as the dust at first.
    """

    def __init__(
        self, steps: DustSteps, previews: Previews, mask: np.ndarray | None = None
    ) -> None:
        self.steps = steps
        self.previews = previews
        self.given = mask
        self.strength = 1.0
        self.made: dict[str, Any] = {}
        self.edits: Any = None
        self._found: Any = None
        self._advice: dict[str, list] = {}

    def run(self) -> FlatSolution | None:
        """
        Go through the stages.

        Returns
        -------
        solution : FlatSolution or None
            The flat that was accepted; None if the person left.
        """
        place = 0
        while place < len(STAGES):
            stage = STAGES[place]
            self._make(stage)
            self.previews.show(stage, self)
            print(f'\n[{place + 1}/{len(STAGES)}] {self._describe(stage)}')
            move = self._answer(stage)
            if move is None:
                return None
            place = max(0, place + move)
        return self._accepted()

    def _make(self, stage: str) -> None:
        """Compute a stage, unless it is there."""
        if stage in self.made:
            return
        print(f'{stage} ...', flush=True)
        self.made[stage] = getattr(self, f'_make_{stage}')()

    def _make_detect(self) -> Any:
        from astroflat.visualization._mask_edits import MaskEdits, merge_detection

        if self._found is None:
            self._found = self.steps.detect(self.given)
            edits = MaskEdits(self._found.mask)
            if self.edits is not None:
                edits.keep(self.edits)
            self.edits = edits
        mask = self.edits.mask & np.isfinite(self.steps.image)
        if np.array_equal(mask, self._found.mask):
            return self._found
        return merge_detection(self._found, mask, self.steps.image)

    def _make_mask(self) -> np.ndarray:
        return self.steps.weigh(self.made['detect'])

    def _make_fill(self) -> Any:
        return self.steps.fill(self.made['mask'])

    def _make_match(self) -> Any:
        return self.steps.match(self.made['fill'], self.made['mask'])

    def _make_flat(self) -> FlatSolution:
        from astroflat.pipelines._dust_steps import merge_advice

        made = self.made
        solution = self.steps.package(
            made['detect'], made['mask'], made['match'], self.strength
        )
        return merge_advice(solution, self._advice)

    def _describe(self, stage: str) -> str:
        """Say what a stage has made."""
        made = self.made[stage]
        if stage == 'detect':
            share = 100 * float(np.mean(made.mask))
            text = f'detect: {len(made)} objects, {share:.3g} % of the pixels'
            if self.edits.n_painted or self.edits.n_erased:
                text += f', {self.edits.n_painted} pixels painted'
                text += f', {self.edits.n_erased} erased'
        elif stage == 'mask':
            share = 100 * float(np.mean(made > 0))
            text = f'mask: {share:.3g} % of the pixels will be touched'
        elif stage == 'fill':
            text = 'fill: what would be there without the dust'
        elif stage == 'match':
            same = made is self.made['fill']
            text = 'match: the fill is in the scale of the image' if same else 'match'
        else:
            text = f'flat\n{made.report}'
        return f'{text}\n    {show_settings(stage, self)}'

    # ---- answers

    def _answer(self, stage: str) -> int | None:
        """Ask until there is a move: 1, 0 to show the stage again, -1, or None."""
        while True:
            words = self.previews.ask(stage).split()
            try:
                move = self._act(stage, words)
            except (ValueError, RuntimeError, ImportError) as error:
                print(f'{error}')
                continue
            if move != 'ask':
                return move

    def _act(self, stage: str, words: list[str]) -> Any:
        """Do what an answer says."""
        word = words[0].lower() if words else '?'
        if word in _MOVES:
            return _MOVES[word]
        if '=' in word:
            return self._set(stage, ' '.join(words))
        if word in ('r', 'redo'):
            return self._redo(stage)
        if word in ('e', 'edit') and stage in ('detect', 'flat'):
            return self._edit(stage)
        if word in ('paint', 'erase', 'undo') and stage == 'detect':
            return self._draw(word, [float(w) for w in words[1:]])
        print(HELP[stage])
        return 'ask'

    def _forget(self, stage: str) -> None:
        """Drop a stage and what follows from it."""
        for name in STAGES[STAGES.index(stage) :]:
            self.made.pop(name, None)

    def _set(self, stage: str, text: str) -> int:
        """Change settings and make the stage again; go back if it fails."""
        old = self.steps.options, self.strength, self._found, dict(self.made)
        given, edits = self.given, self.edits
        for setting in text.split():
            change(stage, setting, self)
        if stage == 'detect':
            self._found = self.given = None
        self._forget(stage)
        try:
            self._make(stage)
        except Exception:
            self.steps.options, self.strength, self._found, self.made = old
            self.given, self.edits = given, edits
            raise
        return 0

    def _redo(self, stage: str) -> Any:
        """Ask an adviser for another answer."""
        name = {'detect': 'detector', 'fill': 'inpainter'}.get(stage)
        adviser = getattr(self.steps.options, name, None) if name else None
        if not hasattr(adviser, 'reroll'):
            names = ', '.join(f'{key}=' for key in SETTINGS[stage])
            print(f'it would come out the same; change {names} first')
            return 'ask'
        self._advice.setdefault(name, []).extend(adviser.stages)
        self.steps.options = replace(self.steps.options, **{name: adviser.reroll()})
        if stage == 'detect':
            self._found = self.given = None
        self._forget(stage)
        return 0

    def _draw(self, word: str, numbers: list[float]) -> int:
        """Paint, erase or undo by numbers."""
        if word == 'undo':
            if not self.edits.undo():
                msg = 'nothing to undo'
                raise ValueError(msg)
        elif word == 'erase' and len(numbers) == 2:
            if not self.edits.remove(*numbers):
                msg = 'there is no object'
                raise ValueError(msg)
        elif len(numbers) == 3:
            self.edits.begin()
            x, y, radius = numbers
            self.edits.stroke((x, y), (x, y), radius=radius, erase=word == 'erase')
        else:
            msg = f'write {word} X Y RADIUS'
            raise ValueError(msg)
        self._forget('detect')
        return 0

    def _edit(self, stage: str) -> int:
        """Open the window of the review and take over what is accepted there."""
        if not self.previews.window:
            msg = 'there is no window; use paint X Y RADIUS and erase X Y [RADIUS]'
            raise ValueError(msg)
        from astroflat.visualization import review

        for name in STAGES:
            self._make(name)
        state = review(self.made['flat'], headless=False)
        if state.decision != 'accepted':
            print('nothing was accepted in the window: all is as before')
            return 0
        self._take(state)
        return 1 if stage == 'flat' else 0

    def _take(self, state: Any) -> None:
        """Take over mask, settings and flat of a review."""
        if state.found is not self.made['detect']:
            self._found, self.given = state.found, None
            self.edits.detected = state.found.mask
        self.edits.replace(state.mask)
        self.steps.options, self.strength = state.options, state.strength
        stages = state.solution.stages
        self._forget('detect')
        self.made['detect'] = stages['detection']
        self.made['mask'] = self.steps.weigh(stages['detection'])
        self.made['fill'] = self.made['match'] = stages['clean']
        self.made['flat'] = state.solution

    def _accepted(self) -> FlatSolution:
        """Return the flat with the decision in its header."""
        from astroflat.visualization._review_state import note_decision

        return note_decision(
            self.made['flat'],
            'accepted',
            strength=self.strength,
            n_painted=self.edits.n_painted,
            n_erased=self.edits.n_erased,
        )
