# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Which method frames allow, and what to do if it does not accept its result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._report import QualityReport
from astroflat.selfcal._repair_frames import as_offset
from astroflat.selfcal._survey import Survey, survey

if TYPE_CHECKING:
    from collections.abc import Callable

    from astroflat.selfcal.grouping import FrameGroup
    from astroflat.solution import FlatSolution

__all__ = ['Means', 'one_group']

_METHODS = ('auto', 'sky', 'fields', 'kll', 'stars', 'dust', 'repair')
# Two axes of dither in pixels that a solution with registered frames needs.
_MIN_DITHER = 1.0
_MIN_SKY_FRAMES = 5
# Sky levels that differ by more tell F from G.
_LEVEL_RATIO = 1.5
_MOSTLY = 0.4


@dataclass(frozen=True)
class Means:
    """
    What a method may use.

    Attributes
    ----------
    threads : int
        The number of threads.

    client : object or None
        A dask client.

    progress_bar : bool
        Whether to show bars.

    add_keyword : object
        What to write to the metadata.
    """

    threads: int = 1
    client: Any = None
    progress_bar: bool = False
    add_keyword: Any = True


def one_group(
    group: FrameGroup,
    flat: Any,
    offsets: tuple[Any, Any],
    method: str,
    means: Means,
) -> FlatSolution:
    """
    Make the flat of one group.

    Parameters
    ----------
    group : FrameGroup
        The frames.

    flat : object or None
        A flat to repair.

    offsets : tuple
        Bias and dark.

    method : str
        The method, or 'auto'.

    means : Means
        Threads and the like.

    Returns
    -------
    solution : FlatSolution
        With the choice in its stages.
    """
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
            level = as_offset(*offsets, stack.shape[1:], stack.unit)
            found = survey(stack, level, one_field=group.n_fields == 1, means=means)
            words.append(found.in_words())
            plan = _plan(found)
        runs = _runs(stack, flat, offsets, found, group, means)
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
    means: Means,
) -> dict[str, Callable[[], FlatSolution]]:
    """Return the methods, ready to run."""
    from astroflat import selfcal

    common = {
        'bias': offsets[0],
        'dark': offsets[1],
        'n_threads': means.threads,
        'add_keyword': means.add_keyword,
    }
    shown = {**common, 'progress_bar': means.progress_bar}
    spread = {**shown, 'client': means.client}
    moves = None if found is None else found.offsets
    # Frames of different fields have no common offsets.
    sky_moves = False if group.n_fields > 1 else moves

    def dust() -> FlatSolution:
        # The pipelines stand above this package.
        from astroflat.pipelines import dust_flat

        return dust_flat(stack, **shown)

    def stars() -> FlatSolution:
        if any(value is not None for value in offsets):
            frames = (_less(stack, i, offsets) for i in range(len(stack)))
            return selfcal.star_flat(list(frames), flat, add_keyword=means.add_keyword)
        return selfcal.star_flat(stack, flat, add_keyword=means.add_keyword)

    return {
        'repair': lambda: selfcal.repair_flat(flat, stack, **common),
        'sky': lambda: selfcal.sky_flat(stack, offsets=sky_moves, **spread),
        'fields': lambda: selfcal.solve_fields(
            stack, sky_moves, exposure=_exposures(stack), **spread
        ),
        'kll': lambda: selfcal.kll_flat(stack, moves, **spread),
        'stars': stars,
        'dust': dust,
    }


def _exposures(stack: Any) -> list[float] | None:
    """Return exposure times if all headers have one and they differ."""
    times = [h.get('EXPTIME', h.get('EXPOSURE')) for h in stack.headers]
    try:
        found = [float(t) for t in times]
    except (TypeError, ValueError):
        return None
    return found if min(found) > 0 and max(found) > _LEVEL_RATIO * min(found) else None


def _less(stack: Any, i: int, offsets: tuple[Any, Any]) -> Any:
    """Return a frame less bias and dark."""
    from astroflat._nddata import unpack

    frame = unpack(stack.ccd(i))
    return frame.ccd(frame.data - as_offset(*offsets, frame.shape, stack.unit))


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
