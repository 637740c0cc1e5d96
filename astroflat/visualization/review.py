# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A person's eye on a solution: accept it, reject it, or have it made again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from astroflat.visualization._backend import backend_name, has_window
from astroflat.visualization._review_sheet import plot_review
from astroflat.visualization._review_state import Review

if TYPE_CHECKING:
    import os

    from astroflat.solution import FlatSolution

__all__ = ['Review', 'plot_review', 'review']

# In these, showing a figure returns at once, whatever it is told.
_NOTEBOOKS = ('ipympl', 'widget', 'nbagg', 'notebook')
_SIZE = (13.0, 8.0)


def review(
    solution: FlatSolution,
    *,
    image: Any = None,
    headless: bool | None = None,
    sheet: str | os.PathLike | None = None,
    overwrite: bool = False,
    block: bool | None = None,
) -> Review:
    """
    Look at a solution, edit its mask, accept it or have it made again.

    Parameters
    ----------
    solution : FlatSolution
        As returned by any estimator. Mask, search and fill can be changed for
        those of `astroflat.dust_flat`; the others can be looked at, weakened,
        accepted and rejected.

    image : CCDData, array_like or path, optional
        The image to show before and after; by default the median that a dust
        flat was made of. The others need one.

    headless : bool, optional
        Open no window and make the contact sheet of `plot_review` instead.
        By default that is done where matplotlib has no window to open.

    sheet : path-like, optional
        Write the contact sheet to this file: ``.png``, ``.pdf`` or ``.svg``.
        With a window it shows what was decided.

    overwrite : bool, optional
        Whether an existing file may be replaced.

    block : bool, optional
        Wait until the window is closed. The default waits, except in
        notebooks, where the result follows what is done in the figure.

    Returns
    -------
    review : Review
        With ``decision``, ``solution``, ``mask``, ``options`` and
        ``strength``. The decision is 'pending' if the window was closed
        without one, and without a window.

    Raises
    ------
    ValueError
        If there is no image to show, or it has another shape than the flat.

    FileExistsError
        If the contact sheet exists and ``overwrite`` is `False`.

    See Also
    --------
    plot_review : The contact sheet alone.

    Notes
    -----
    ``space`` blinks before and after, both on one scale; ``m`` shows the mask
    with its margin; ``p`` and ``e`` paint and erase, ``del`` removes the
    object below the pointer, ``u`` undoes; the sliders set the sensitivity of
    the search, the radius by which the mask is grown and the strength, the
    share of the correction that is applied; ``r`` makes the flat again, and
    if nothing has changed asks an adviser such as Gemini for another answer;
    ``a`` accepts and ``x`` rejects. All keys are listed in the window.

    The person changes mask and settings, never pixels: the flat that is
    returned is the one that `astroflat.dust_flat` makes with them, exactly 1
    where the mask and its margin are not. The cards ``AFREVIEW``,
    ``AFSTREN``, ``AFPAINT`` and ``AFERASE`` record what was decided. An
    accepted solution keeps the verdict of its report; a rejected one is
    rejected there too.

    Examples
    --------
    >>> import numpy as np
    >>> import astroflat as af
    >>> from astroflat.visualization import review
    >>> y, x = np.mgrid[:96, :96]
    >>> dusty = np.where(np.hypot(x - 50, y - 40) < 6, 0.8, 1.0)
    >>> noise = np.random.default_rng(0).normal(0, 3, dusty.shape)
    >>> result = review(af.dust_flat(1000 * dusty + noise), headless=True)
    >>> result.decision, int(result.mask[40, 50])
    ('pending', 1)
    """
    from astroflat._files import check_output

    if sheet is not None:
        check_output(sheet, overwrite=overwrite)
    state = Review(solution, image=image)
    backend = backend_name()
    if headless is None:
        headless = not has_window(backend)
    if headless:
        state.figure = plot_review(state)
    else:
        _open_window(state, backend, block)
    if sheet is not None:
        from astroflat.visualization.figures import save_figure

        save_figure(plot_review(state), sheet, overwrite=overwrite)
    return state


def _open_window(state: Review, backend: str, block: bool | None) -> None:
    """Open the window and wait for it."""
    import matplotlib.pyplot as plt

    from astroflat.visualization._review_window import ReviewWindow

    figure = plt.figure('astroflat review', figsize=_SIZE, clear=True)
    state.figure = figure
    # Nothing else keeps the window's controls alive.
    figure._astroflat_window = ReviewWindow(state, figure)
    if block is None:
        block = not any(name in backend for name in _NOTEBOOKS)
    plt.show(block=block)
