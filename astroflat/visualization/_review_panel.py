# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The sliders and buttons beside the image of a review."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.visualization._image_view import STRETCHES

if TYPE_CHECKING:
    from astroflat.visualization._review_window import ReviewWindow

__all__ = ['Panel']

_LEFT, _WIDTH = 0.735, 0.24
# The sensitivity is a ratio of odds: equal steps are equal factors.
_DECADES = (-1.0, 1.0)
_MAX_RADIUS = 20.0


class Panel:
    """
    Sliders, buttons and text.

    Parameters
    ----------
    window : ReviewWindow
        What they act on.

    limits : tuple of float
        The values shown as black and white at first.
    """

    def __init__(self, window: ReviewWindow, limits: tuple[float, float]) -> None:
        self.window = window
        self.sliders: dict[str, Any] = {}
        self.buttons: dict[str, Any] = {}
        self._add_sliders()
        self._add_cuts(limits)
        self._add_stretch()
        self._add_buttons()
        figure = window.figure
        place = {'va': 'top', 'family': 'monospace', 'fontsize': 7.5}
        self._text = figure.text(_LEFT - 0.01, 0.36, '', **place)
        from astroflat.visualization._review_window import HELP

        figure.text(_LEFT - 0.01, 0.175, HELP, color='0.35', **place)

    def write(self, text: str) -> None:
        """
        Show the state.

        Parameters
        ----------
        text : str
            A few lines.
        """
        self._text.set_text(text)

    def _axes(self, top: float, height: float = 0.025, **place: float) -> Any:
        """Return axes for a control, from the top of the figure."""
        left, width = place.get('left', _LEFT + 0.06), place.get('width', 0.14)
        return self.window.figure.add_axes((left, 1 - top - height, width, height))

    def _add_sliders(self) -> None:
        """Add those that this solution knows."""
        review = self.window.review
        if review.editable:
            if review.options.detector == 'classical':
                start = float(np.clip(np.log10(review.sensitivity), *_DECADES))
                self._slider('sensitivity', 0.05, _DECADES, start, self._sensitivity)
                self._label_odds(start)
            radius = min(review.radius, _MAX_RADIUS)
            self._slider('radius', 0.09, (0, _MAX_RADIUS), radius, self._radius)
        self._slider('strength', 0.13, (0, 1), review.strength, self._strength)

    def _slider(
        self, name: str, top: float, span: tuple[float, float], start: float, act: Any
    ) -> None:
        from matplotlib.widgets import Slider

        slider = Slider(self._axes(top), name, *span, valinit=start)
        slider.label.set_fontsize(9)
        slider.valtext.set_fontsize(9)
        slider.valtext.set_x(1.06)
        slider.on_changed(act)
        self.sliders[name] = slider

    def _label_odds(self, decades: float) -> None:
        """Show the sensitivity itself, not its logarithm."""
        self.sliders['sensitivity'].valtext.set_text(f'{10**decades:.2f}')

    def _sensitivity(self, value: float) -> None:
        self.window.review.sensitivity = 10**value
        self._label_odds(value)
        self.window.refresh()

    def _radius(self, value: float) -> None:
        self.window.review.radius = value
        self.window.refresh()

    def _strength(self, value: float) -> None:
        self.window.review.strength = float(value)
        self.window.refresh()

    def _add_cuts(self, limits: tuple[float, float]) -> None:
        """Add the values shown as black and white."""
        from matplotlib.widgets import RangeSlider

        spread = limits[1] - limits[0]
        span = (limits[0] - spread, limits[1] + spread)
        self.cuts = RangeSlider(
            self._axes(0.17), 'black, white', *span, valinit=limits, valfmt='%.4g'
        )
        self.cuts.label.set_fontsize(9)
        # Two numbers do not fit beside it.
        self.cuts.valtext.set_visible(False)
        self.cuts.on_changed(self._cut)

    def _cut(self, limits: tuple[float, float]) -> None:
        low, high = map(float, limits)
        if high > low:
            self.window.view.limits = (low, high)
            self.window.refresh()

    def _add_stretch(self) -> None:
        """Add the choice of the stretch."""
        from matplotlib.widgets import RadioButtons

        ax = self._axes(0.205, 0.125, left=_LEFT, width=_WIDTH - 0.005)
        self.stretch = RadioButtons(ax, STRETCHES)
        self.stretch.on_clicked(self.window.set_stretch)

    def _add_buttons(self) -> None:
        """Add the buttons in rows of two."""
        from matplotlib.widgets import Button

        window = self.window
        rows = [
            (('before / after', window.toggle), ('blink', window.blink)),
            (('mask', window.toggle_mask), ('flat', window.toggle_flat)),
            (
                ('paint', lambda: window.choose('paint')),
                ('erase', lambda: window.choose('erase')),
            ),
            (('move', lambda: window.choose('view')), ('undo', window.undo)),
            (('redo (r)', window.redo), ('reject', window.reject)),
            (('accept', window.accept),),
        ]
        for i, row in enumerate(rows):
            for j, (name, act) in enumerate(row):
                width = _WIDTH / 2 - 0.005 if len(row) > 1 else _WIDTH - 0.005
                left = _LEFT + j * _WIDTH / 2
                ax = self._axes(0.345 + 0.045 * i, 0.038, left=left, width=width)
                color = '#c8e6c9' if name == 'accept' else '0.9'
                button = Button(ax, name, color=color)
                button.label.set_fontsize(9)
                button.on_clicked(lambda _, act=act: act())
                self.buttons[name] = button
