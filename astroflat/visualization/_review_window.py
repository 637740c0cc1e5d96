# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The window of a review: what keys, buttons and the mouse do."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from astroflat.visualization._image_view import STRETCHES, ImageView, flat_limits
from astroflat.visualization._review_panel import Panel
from astroflat.visualization.figures import display_limits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from astroflat.visualization._review_state import Review

__all__ = ['HELP', 'ReviewWindow']

HELP = """\
space  before / after     b  blink by itself
m  mask     f  the flat   s  next stretch
p  paint    e  erase      v  move the view
[ ]  brush  u  undo       del  remove object
r  redo     a  accept     x  reject
wheel, + -  zoom          h  whole image
right drag, arrows  move  q  close"""
_BLINK_MS = 700
_ZOOM = 1.25
# By how much of the view the arrows move it.
_PAN = 0.15
_ARROWS = {'left': (-1, 0), 'right': (1, 0), 'up': (0, 1), 'down': (0, -1)}


class ReviewWindow:
    """
    Show a review in a figure and act on its events.

    Parameters
    ----------
    review : Review
        What is reviewed.

    figure : `~matplotlib.figure.Figure`
        An empty figure with a canvas.
    """

    def __init__(self, review: Review, figure: Figure) -> None:
        self.review = review
        self.figure = figure
        self.shown = 'after'
        self.show_mask = review.editable
        self.tool = 'view'
        self.brush = max(2.0, min(review.before.shape) / 100)
        self.status = ''
        self._drag: tuple[str, float, float] | None = None
        limits = display_limits(review.after)
        self.view = ImageView(
            figure.add_axes((0.03, 0.06, 0.68, 0.87)), review.before.shape, limits
        )
        self.panel = Panel(self, limits)
        self._timer = figure.canvas.new_timer(interval=_BLINK_MS)
        self._timer.add_callback(self.toggle)
        self.blinking = False
        self._connect()
        self.refresh()

    def _connect(self) -> None:
        """Take the events; the keys of matplotlib would collide with ours."""
        canvas = self.figure.canvas
        manager = canvas.manager
        if manager is not None and manager.key_press_handler_id is not None:
            canvas.mpl_disconnect(manager.key_press_handler_id)
        for name, act in (
            ('key_press_event', self._on_key),
            ('button_press_event', self._on_press),
            ('motion_notify_event', self._on_move),
            ('button_release_event', self._on_release),
            ('scroll_event', self._on_scroll),
            ('close_event', lambda _: self.stop()),
        ):
            canvas.mpl_connect(name, act)

    # ---- drawing

    def refresh(self) -> None:
        """Draw the present state."""
        review = self.review
        # Of a large image each of them takes a while: only what is shown.
        data = getattr(review, self.shown)
        limits = self.view.limits
        if self.shown == 'flat':
            self.view.limits = flat_limits(data)
        layers = []
        if self.show_mask and review.editable:
            # While a stroke is drawn its margin would be computed too often.
            margin = [] if self._drag else [(review.touched, 0.22)]
            layers = [*margin, (review.mask, 0.5)]
        self.view.show(data, layers)
        self.view.limits = limits
        self._write()
        self.figure.canvas.draw_idle()

    def _write(self) -> None:
        """Write title, state and report."""
        review = self.review
        mark = ' (changed: press r)' if review.stale else ''
        self.view.ax.set_title(
            f'{self.shown.upper()}{mark}', fontsize=12, fontweight='bold'
        )
        lines = [f'tool {self.tool}, brush {self.brush:.3g} px, {self.view.stretch}']
        if review.editable:
            lines.append(f'painted {review.n_painted} px, erased {review.n_erased} px')
        report = review.solution.report
        if report is not None:
            lines.append(f'report: {report.verdict}')
            lines += [textwrap.shorten(f'- {text}', 100) for text in report.reasons[:2]]
        lines.append(self.status)
        text = '\n'.join(textwrap.fill(line, 44) for line in lines)
        self.panel.write(text)

    def say(self, text: str, *, now: bool = False) -> None:
        """
        Show a message.

        Parameters
        ----------
        text : str
            The message.

        now : bool, optional
            Draw at once, because what follows takes long.
        """
        self.status = text
        self._write()
        if now:
            self.figure.canvas.draw()
            self.figure.canvas.flush_events()

    # ---- what can be done

    def toggle(self) -> bool:
        """Show before instead of after, or the other way; go on blinking."""
        self.shown = 'after' if self.shown == 'before' else 'before'
        self.refresh()
        return True

    def blink(self) -> None:
        """Start or stop to blink by itself."""
        self.blinking = not self.blinking
        (self._timer.start if self.blinking else self._timer.stop)()
        self.say('blinking; b stops' if self.blinking else '')
        self.refresh()

    def choose(self, tool: str) -> None:
        """
        Take a tool.

        Parameters
        ----------
        tool : {'view', 'paint', 'erase'}
            Its name.
        """
        if tool != 'view' and not self.review.editable:
            self.say('this solution has no mask to edit')
        else:
            self.tool, self.show_mask = tool, self.show_mask or tool != 'view'
        self.refresh()

    def toggle_mask(self) -> None:
        """Show the mask or hide it."""
        self.show_mask = not self.show_mask
        self.refresh()

    def toggle_flat(self) -> None:
        """Show the flat, or the corrected image again."""
        self.shown = 'after' if self.shown == 'flat' else 'flat'
        self.refresh()

    def set_stretch(self, name: str) -> None:
        """
        Take a stretch.

        Parameters
        ----------
        name : str
            One of 'linear', 'sqrt', 'asinh' and 'log'.
        """
        self.view.stretch = name
        self.refresh()

    def next_stretch(self) -> None:
        """Take the next stretch."""
        place = STRETCHES.index(self.view.stretch) + 1
        # The button tells `set_stretch`.
        self.panel.stretch.set_active(place % len(STRETCHES))

    def resize_brush(self, factor: float) -> None:
        """
        Make the brush larger or smaller.

        Parameters
        ----------
        factor : float
            By how much.
        """
        self.brush = min(max(self.brush * factor, 0.5), max(self.view.shape) / 4)
        self.refresh()

    def undo(self) -> None:
        """Take the last stroke back."""
        self.say('' if self.review.undo() else 'nothing to undo')
        self.refresh()

    def redo(self) -> None:
        """Make the flat again."""
        self._run(self._redo)

    def _redo(self) -> None:
        done = self.review.redo()
        self.shown = 'after' if done else self.shown
        self.status = 'made again' if done else 'nothing has changed'

    def accept(self) -> None:
        """Decide to use it, and close."""
        self._run(self.review.accept)
        self._end()

    def reject(self) -> None:
        """Decide not to use it, and close."""
        self._run(self.review.reject)
        self._end()

    def _run(self, act: Any) -> None:
        """Do what may take long or fail; a window must survive it."""
        self.say('computing ...', now=True)
        self.status = ''
        try:
            act()
        except (ValueError, RuntimeError, OSError, ImportError) as error:
            self.status = f'failed: {error}'
        self.refresh()

    def _end(self) -> None:
        if self.review.decision != 'pending':
            self.close()

    def close(self) -> None:
        """Close the window."""
        self.stop()
        if self.figure.canvas.manager is not None:
            import matplotlib.pyplot as plt

            plt.close(self.figure)

    def stop(self) -> None:
        """Stop the timer."""
        self._timer.stop()
        self.blinking = False

    # ---- events

    def _on_key(self, event: Any) -> None:
        """Act on a key."""
        if event.key in _ARROWS:
            self._pan_by_key(*_ARROWS[event.key])
        elif event.key in ('+', '=', '-'):
            x, y = self._place(event)
            self.view.zoom(1 / _ZOOM if event.key == '-' else _ZOOM, x, y)
            self.refresh()
        elif event.key in ('delete', 'backspace'):
            self._remove(event)
        elif event.key in self._keys():
            self._keys()[event.key]()

    def _keys(self) -> dict[str, Any]:
        """Return what the keys do."""
        return {
            ' ': self.toggle,
            'b': self.blink,
            'm': self.toggle_mask,
            'f': self.toggle_flat,
            's': self.next_stretch,
            'p': lambda: self.choose('paint'),
            'e': lambda: self.choose('erase'),
            'v': lambda: self.choose('view'),
            '[': lambda: self.resize_brush(0.8),
            ']': lambda: self.resize_brush(1.25),
            'u': self.undo,
            'ctrl+z': self.undo,
            'r': self.redo,
            'a': self.accept,
            'enter': self.accept,
            'x': self.reject,
            'h': self._home,
            'q': self.close,
        }

    def _home(self) -> None:
        self.view.home()
        self.refresh()

    def _place(self, event: Any) -> tuple[float, float]:
        """Return the place below the pointer, or the middle of the view."""
        if event.inaxes is self.view.ax:
            return event.xdata, event.ydata
        ax = self.view.ax
        return sum(ax.get_xlim()) / 2, sum(ax.get_ylim()) / 2

    def _pan_by_key(self, right: int, up: int) -> None:
        """Move the view by a part of it."""
        x, y = self.view.ax.get_xlim(), self.view.ax.get_ylim()
        self.view.pan(right * _PAN * (x[1] - x[0]), up * _PAN * (y[1] - y[0]))
        self.refresh()

    def _remove(self, event: Any) -> None:
        """Remove the object below the pointer."""
        if self.review.editable and event.inaxes is self.view.ax:
            self.review.erase(event.xdata, event.ydata)
            self.refresh()

    def _on_scroll(self, event: Any) -> None:
        """Zoom about the pointer."""
        if event.inaxes is self.view.ax:
            self.view.zoom(_ZOOM**event.step, event.xdata, event.ydata)
            self.refresh()

    def _on_press(self, event: Any) -> None:
        """Start a stroke, or to move the view."""
        toolbar = getattr(self.figure.canvas, 'toolbar', None)
        busy = toolbar is not None and str(getattr(toolbar, 'mode', ''))
        if event.inaxes is not self.view.ax or busy:
            return
        kind = self.tool if event.button == 1 else 'view'
        self._drag = (kind, event.xdata, event.ydata)
        if kind != 'view':
            self.review.begin_stroke()
            self._draw_to(event)

    def _on_move(self, event: Any) -> None:
        """Go on with it."""
        if self._drag is None or event.inaxes is not self.view.ax:
            return
        kind, x, y = self._drag
        if kind == 'view':
            # The place that was taken hold of stays below the pointer.
            self.view.pan(x - event.xdata, y - event.ydata)
            self.refresh()
        else:
            self._draw_to(event)

    def _draw_to(self, event: Any) -> None:
        """Paint or erase from the last place to this one."""
        kind, x, y = self._drag
        stop = (event.xdata, event.ydata)
        self.review.stroke((x, y), stop, radius=self.brush, erase=kind == 'erase')
        self._drag = (kind, *stop)
        self.refresh()

    def _on_release(self, _: Any) -> None:
        """End it."""
        if self._drag is not None:
            self._drag = None
            self.refresh()
