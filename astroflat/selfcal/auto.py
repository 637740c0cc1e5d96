# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The one call: look at the frames, choose a method, say why."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from astroflat._arrays import n_threads as count_threads
from astroflat._report import QualityReport
from astroflat.selfcal._repair_frames import as_offset
from astroflat.selfcal._survey import Survey, survey
from astroflat.selfcal.grouping import FrameGroup, group_frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from astroflat.solution import FlatSolution

__all__ = ['self_flat', 'self_flats']

Method = Literal['auto', 'sky', 'fields', 'kll', 'stars', 'dust', 'repair']
_METHODS = ('auto', 'sky', 'fields', 'kll', 'stars', 'dust', 'repair')
# Two axes of dither in pixels that a solution with registered frames needs.
_MIN_DITHER = 1.0
_MIN_SKY_FRAMES = 5
# Sky levels that differ by more tell F from G.
_LEVEL_RATIO = 1.5
_MOSTLY = 0.4


def self_flat(
    source: Any,
    flat: Any = None,
    *,
    bias: Any = None,
    dark: Any = None,
    method: Method = 'auto',
    n_threads: int | None = None,
    add_keyword: Any = True,
) -> FlatSolution:
    """
    Make a flat from the science frames, by the method that they allow.

    Parameters
    ----------
    source : ImageFileCollection, folder, list, video, array, FrameStack ...
        Frames of one camera through one filter. For several, use
        `self_flats`.

    flat : FlatSolution, CCDData, array_like or path, optional
        A flat that is nearly right, which is then repaired.

    bias, dark : CCDData, array_like, path or number, optional
        Subtracted from the frames.

    method : str, optional
        'auto', or 'sky' (`sky_flat`), 'fields' (`solve_fields`), 'kll'
        (`kll_flat`), 'stars' (`star_flat`), 'dust' (`astroflat.dust_flat`),
        'repair' (`repair_flat`).

    n_threads : int, optional
        The number of threads; all processors by default.

    add_keyword : bool, str, `ccdproc.Keyword` or dict, optional
        What to write to the metadata, as in ccdproc.

    Returns
    -------
    solution : FlatSolution
        That of the method. ``stages['choice']`` is a list of sentences: what
        the frames are like, what was chosen, and why;
        ``stages['survey']`` has the numbers.

    Raises
    ------
    ValueError
        If the frames belong to several groups, or no method works.

    See Also
    --------
    self_flats : For frames of several cameras, filters ...

    Notes
    -----
    The choice, in this order: with a flat, it is repaired. Fewer than three
    frames show nothing but dust. A video, or frames filled by the Sun, the Moon
    or a nebula, are solved as registered frames (`kll_flat`), if they are
    dithered along both axes. Frames that show the sky give a sky flat; if their
    levels differ by more than 1.5, `solve_fields` tells the flat from additive
    light first. What fails, or does not accept its own result, is followed by
    the next. If none accepts, the one with the least uncertainty is returned. The
    last resort is the flat of the dust alone, which leaves all else as it is.

    Examples
    --------
    >>> import numpy as np
    >>> import astroflat as af
    >>> rng = np.random.default_rng(0)
    >>> truth = 1 - 0.1 * np.linspace(-1, 1, 96)[:, None] ** 2 * np.ones(128)
    >>> frames = rng.normal(1000 * truth, 10, (2, 96, 128)).astype('f4')
    >>> solution = af.self_flat(frames, truth, n_threads=1)
    >>> solution.method
    'repair'
    >>> print(solution.stages['choice'][-1])
    chosen: repair, because a flat was given
    """
    groups = group_frames(source)
    if len(groups) > 1:
        found = ', '.join(f'{g.label} ({len(g.frames)})' for g in groups)
        msg = (
            f'source holds {len(groups)} groups of frames: {found}; use self_flats, or '
            'give the frames of one'
        )
        raise ValueError(msg)
    return _one_group(
        groups[0], flat, (bias, dark), method, count_threads(n_threads), add_keyword
    )


def self_flats(
    source: Any,
    flat: Any = None,
    *,
    bias: Any = None,
    dark: Any = None,
    method: Method = 'auto',
    temperature_step: float = 3.0,
    rotator_step: float = 1.0,
    n_threads: int | None = None,
    add_keyword: Any = True,
) -> dict[str, FlatSolution]:
    """
    Make a flat of each camera, filter, binning, temperature and rotator angle.

    Parameters
    ----------
    source : ImageFileCollection, folder, list ...
        The frames.

    flat : FlatSolution, CCDData, array_like, path or dict, optional
        A flat that is nearly right, or one for each label.

    bias, dark : CCDData, array_like, path, number or dict, optional
        Subtracted from the frames; a dictionary holds one for each label.

    method : str, optional
        As in `self_flat`.

    temperature_step, rotator_step : float, optional
        As in `group_frames`.

    n_threads : int, optional
        The number of threads; all processors by default.

    add_keyword : bool, str, `ccdproc.Keyword` or dict, optional
        What to write to the metadata, as in ccdproc.

    Returns
    -------
    solutions : dict of FlatSolution
        By the labels of the groups.

    See Also
    --------
    group_frames : See the groups and their labels first.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> import astroflat as af
    >>> rng = np.random.default_rng(0)
    >>> frames = [
    ...     CCDData(rng.normal(900, 9, (64, 80)), unit='adu', meta={'FILTER': f})
    ...     for f in ('R', 'R', 'B', 'B')
    ... ]
    >>> flats = {'R': np.ones((64, 80)), 'B': np.ones((64, 80))}
    >>> list(af.selfcal.self_flats(frames, flats, n_threads=1))
    ['R', 'B']
    """
    groups = group_frames(
        source, temperature_step=temperature_step, rotator_step=rotator_step
    )
    solutions = {}
    for group in groups:
        own = [
            value.get(group.label) if isinstance(value, dict) else value
            for value in (flat, bias, dark)
        ]
        solutions[group.label] = _one_group(
            group,
            own[0],
            (own[1], own[2]),
            method,
            count_threads(n_threads),
            add_keyword,
        )
    return solutions


def _one_group(
    group: FrameGroup,
    flat: Any,
    offsets: tuple[Any, Any],
    method: str,
    workers: int,
    add_keyword: Any,
) -> FlatSolution:
    """Make the flat of one group."""
    from astroflat.io import open_frames

    if method not in _METHODS:
        msg = f'method must be one of {_METHODS}, not {method!r}'
        raise ValueError(msg)
    if method == 'repair' and flat is None:
        msg = "method 'repair' needs a flat to repair: flat="
        raise ValueError(msg)
    with open_frames(group.frames) as stack:
        found = None
        words = [f'group {group.label}: {len(stack)} frames']
        plan = [(method, 'it was asked for')]
        if method == 'auto' and flat is not None:
            plan = [('repair', 'a flat was given')]
        elif method == 'auto':
            level = as_offset(*offsets, stack.shape[1:3])
            found = survey(stack, level, one_field=group.n_fields == 1, workers=workers)
            words.append(found.in_words())
            plan = _plan(found)
        runs = _runs(stack, flat, offsets, found, group, workers, add_keyword)
        return _first_that_works(plan, runs, words, found)


def _plan(found: Survey) -> list[tuple[str, str]]:
    """Return methods, the best first, with reasons."""
    if found.n_frames < 3:
        return [('dust', f'{found.n_frames} frames show nothing but dust')]
    plan = []
    dithered = found.dither[0] >= _MIN_DITHER
    crowded = found.video or found.filled > _MOSTLY
    if crowded and dithered:
        plan.append(('kll', 'objects fill the frames, which are dithered'))
    if not crowded and not found.color and found.n_frames >= _MIN_SKY_FRAMES:
        if found.level_ratio >= _LEVEL_RATIO:
            text = f'the levels of the sky differ {found.level_ratio:.1f} times'
            plan.append(('fields', text))
        plan.append(('sky', 'most of the frames is sky'))
    if crowded and not found.color and found.n_frames >= _MIN_SKY_FRAMES:
        plan.append(('sky', 'there is sky between the objects'))
    if not crowded and dithered:
        plan.append(('kll', 'the frames are dithered'))
    plan.append(('dust', 'nothing but dust can be found for sure'))
    return plan


def _runs(
    stack: Any,
    flat: Any,
    offsets: tuple[Any, Any],
    found: Survey | None,
    group: FrameGroup,
    workers: int,
    add_keyword: Any,
) -> dict[str, Callable[[], FlatSolution]]:
    """Return the methods, ready to run."""
    from astroflat import selfcal

    common = {
        'bias': offsets[0],
        'dark': offsets[1],
        'n_threads': workers,
        'add_keyword': add_keyword,
    }
    moves = None if found is None else found.offsets
    # Frames of different fields have no common offsets.
    sky_moves = False if group.n_fields > 1 else moves

    def dust() -> FlatSolution:
        # The pipelines stand above this package.
        from astroflat.pipelines import dust_flat

        return dust_flat(stack, **common)

    def stars() -> FlatSolution:
        if any(value is not None for value in offsets):
            frames = (_less(stack, i, offsets) for i in range(len(stack)))
            return selfcal.star_flat(list(frames), flat, add_keyword=add_keyword)
        return selfcal.star_flat(stack, flat, add_keyword=add_keyword)

    return {
        'repair': lambda: selfcal.repair_flat(flat, stack, **common),
        'sky': lambda: selfcal.sky_flat(stack, offsets=sky_moves, **common),
        'fields': lambda: selfcal.solve_fields(stack, sky_moves, **common),
        'kll': lambda: selfcal.kll_flat(stack, moves, **common),
        'stars': stars,
        'dust': dust,
    }


def _less(stack: Any, i: int, offsets: tuple[Any, Any]) -> Any:
    """Return a frame less bias and dark."""
    from astroflat._nddata import unpack

    frame = unpack(stack.ccd(i))
    return frame.ccd(frame.data - as_offset(*offsets, frame.shape))


def _first_that_works(
    plan: list[tuple[str, str]],
    runs: dict[str, Callable[[], FlatSolution]],
    words: list[str],
    found: Survey | None,
) -> FlatSolution:
    """Run methods until one accepts its own result; else return the surest."""
    results: list[tuple[tuple, FlatSolution, str]] = []
    for method, why in plan:
        if method == 'dust' and any(order[0] == 'weak' for order, _, _ in results):
            # It would leave what the others have found, if only roughly.
            continue
        try:
            solution = runs[method]()
        except ValueError as error:
            if len(plan) == 1:
                raise
            words.append(f'{method} failed: {error}')
            continue
        verdict = 'accept' if solution.report is None else solution.report.verdict
        text = f'chosen: {method}, because {why}'
        if verdict == 'accept' or len(plan) == 1:
            return _told(solution, [*words, text], found)
        size = _uncertainty(solution)
        words.append(
            f'{method}: {verdict}, uncertain by {100 * size:.2g} %: '
            + '; '.join(solution.report.reasons)
        )
        results.append(((verdict, size), solution, text))
    if not results:
        msg = 'no method can make a flat of these frames: ' + '; '.join(words)
        raise ValueError(msg)
    # 'weak' is after 'reject' in the alphabet, and before it in worth.
    _, solution, text = min(results, key=lambda r: (r[0][0] == 'reject', r[0][1]))
    if len(results) > 1:
        text += '; none accepts its result, and this is the surest'
    return _told(solution, [*words, text], found)


def _uncertainty(solution: FlatSolution) -> float:
    """Return the rms relative uncertainty of a flat; infinity if it has none."""
    flat = solution.flat
    if flat.uncertainty is None:
        return np.inf
    ratio = flat.uncertainty.array / flat.data
    known = np.isfinite(ratio)
    return float(np.sqrt(np.mean(ratio[known] ** 2))) if known.any() else np.inf


def _told(
    solution: FlatSolution, words: list[str], found: Survey | None
) -> FlatSolution:
    """Return a solution that knows how it was chosen."""
    stages = {**solution.stages, 'choice': words, 'survey': found}
    report = solution.report
    if report is not None:
        numbers = {**report.numbers, 'choice': words[-1]}
        report = QualityReport(
            report.method, numbers, report.thresholds, report.verdict, report.reasons
        )
    return replace(solution, stages=stages, report=report)
