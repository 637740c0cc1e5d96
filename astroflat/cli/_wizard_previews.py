# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The previews of the wizard, in a window or in files, and its questions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from astroflat.cli import _common as common

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

__all__ = ['Previews', 'preview_path']

_SIZE = (12, 5.5)
_WINDOW_SIZE = (12, 7.5)


def preview_path(output: str | Path, stage: str) -> Path:
    """
    Return the file of a preview.

    Parameters
    ----------
    output : path-like
        The flat.

    stage : str
        The stage.

    Returns
    -------
    path : `~pathlib.Path`
        Beside the flat.
    """
    return common.beside(output, f'.{stage}.png')


class Previews:
    """
    Show previews and ask what to do.

    Parameters
    ----------
    output : path-like
        The flat; without a window, previews are written beside it.

    window : bool
        Whether there is a window.
    """

    def __init__(self, output: str | Path, *, window: bool) -> None:
        self.output = output
        self.window = window

    def show(self, stage: str, wizard: Any) -> None:
        """
        Show a stage.

        Parameters
        ----------
        stage : str
            The stage.

        wizard : Wizard
            What has been made.
        """
        figure = self._open()
        # A window is no larger than the screen.
        _draw(figure, stage, wizard, 1 if self.window else 3)
        if self.window:
            import matplotlib.pyplot as plt

            plt.show(block=False)
            plt.pause(0.05)
            return
        from astroflat.visualization import save_figure

        path = preview_path(self.output, stage)
        # The first was checked before; every other one is ours.
        save_figure(figure, path, overwrite=True, dpi=80)
        print(f'preview: {path}')

    def _open(self) -> Figure:
        """Return an empty figure, in the window if there is one."""
        if self.window:
            import matplotlib.pyplot as plt

            return plt.figure(
                'astroflat dustflat',
                figsize=_WINDOW_SIZE,
                layout='constrained',
                clear=True,
            )
        from matplotlib.figure import Figure

        return Figure(figsize=_SIZE, layout='constrained')

    def ask(self, stage: str) -> str:
        """
        Ask what to do.

        Parameters
        ----------
        stage : str
            The stage.

        Returns
        -------
        answer : str
            What was typed.

        Raises
        ------
        OSError
            If there is nobody to answer.
        """
        try:
            return input(f'{stage}: accept, redo, back, quit, NAME=VALUE, ? > ')
        except EOFError:
            msg = (
                f'--interactive: no answer at the stage {stage}; no flat was written. '
                'Answers come from the terminal, or one per line from standard input'
            )
            raise OSError(msg) from None


def _draw(figure: Figure, stage: str, wizard: Any, n_motes: int) -> None:
    """Draw the preview of a stage."""
    from astroflat._nddata import unpack
    from astroflat.pipelines._planes import mean_plane, split_planes
    from astroflat.visualization import _stage_figures as draw

    steps, made = wizard.steps, wizard.made

    def plane(ccd: Any) -> Any:
        return mean_plane(split_planes(unpack(ccd, ndim=(2, 3)).data, steps.color))

    if stage == 'detect':
        draw.draw_detect(figure, steps.image, made['detect'])
    elif stage == 'mask':
        draw.draw_mask(
            figure, steps.image, made['detect'], made['mask'], n_motes=n_motes
        )
    elif stage == 'fill':
        clean = plane(made['fill'])
        draw.draw_fill(figure, steps.image, clean, made['detect'], n_motes=n_motes)
    elif stage == 'match':
        draw.draw_match(figure, steps.image, plane(made['match']), made['mask'])
    else:
        from astroflat.visualization import Review
        from astroflat.visualization._review_sheet import fill_sheet

        fill_sheet(figure, Review(made['flat']), n_motes=n_motes)
