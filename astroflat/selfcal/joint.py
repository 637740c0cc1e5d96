# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What multiplies the light and what is added to it, from the same frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from astropy.nddata import CCDData, StdDevUncertainty

from astroflat.selfcal._coarse_result import Extra
from astroflat.selfcal._job import Job
from astroflat.selfcal._night import Night
from astroflat.selfcal._verdict import judge_flat
from astroflat.selfcal.sky import pack, register
from astroflat.solution import FlatSolution

__all__ = ['solve_fields']

Model = Literal['auto', 'multiplicative', 'additive', 'both']
_MODELS = ('auto', 'multiplicative', 'additive', 'both')

# Levels that differ by less (rms, relative) do not tell F from G.
_LEVER = 0.05
# That there is no F at all is believed only if they differ by more.
_LONG_LEVER = 0.1
# A night that drifts by less does not make sure of both.
_SURE_LEVER = 0.25
# Only sharp and bright objects are masked: glow is no object.
_STARS = 5.0
_CHANCE = 1e-3


def solve_fields(
    frames: Any,
    offsets: Any = None,
    *,
    exposure: Any = None,
    levels: Any = None,
    model: Model = 'auto',
    sky_model: bool = True,
    bias: Any = None,
    dark: Any = None,
    dark_scale: Any = False,
    mask: Any = None,
    nsigma: float = 3.0,
    growth: float = 3.0,
    mem_limit: float = 256e6,
    n_threads: int | None = None,
    client: Any = None,
    progress_bar: bool | Callable[[int, int], None] = False,
    unit: Any = None,
    add_keyword: Any = True,
) -> FlatSolution:
    r"""
    Solve for flat and gradient together, and test which of them there are.

    What scales with the level of the sky is the flat, what does not is the
    gradient: glow of an amplifier, a rest of bias, stray light.

    Parameters
    ----------
    frames : path, list, array, FrameStack, ImageFileCollection ...
        The frames, at least 3 of one plane, as in `astroflat.open_frames`;
        from twilight to dark, or of several exposure times.

    offsets : array_like, False or None, optional
        As in `sky_flat`.

    exposure : array_like, optional
        ``(n,)``, exposure times, if G grows with them as glow does. By
        default G is the same in all frames, as a rest of the bias is.

    levels : array_like, optional
        ``(n,)``, light of the sky of each frame where it is known up to a
        factor: exposure times under a steady source. Then G is found with its
        constant; otherwise a part of G that looks like F cannot be told from
        light, and is left out.

    model : {'auto', 'multiplicative', 'additive', 'both'}, optional
        What to solve for. 'auto' lets the frames decide.

    sky_model : bool, optional
        Whether to fit diffuse light that moves with the sky.

    bias, dark, dark_scale, mask, nsigma, growth : optional
        As in `sky_flat`.

    mem_limit, n_threads, client, progress_bar, unit, add_keyword : optional
        As in `sky_flat`.

    Returns
    -------
    solution : FlatSolution
        ``flat``; ``gradient`` in the unit of the frames, that of a mean
        frame, with its standard deviation; a ``report`` that says which model
        the frames support and why. ``stages`` are those of `sky_flat`, and
        ``levels``, ``model``, ``tests``, and ``frame_gradients``, a function
        that returns all that is added to a frame of a number.

    Raises
    ------
    ValueError
        If an argument makes no sense, or ``model`` is 'additive' or 'both'
        and the levels are too much alike to tell.

    See Also
    --------
    sky_flat : The flat alone.

    Notes
    -----
    The fit is that of `sky_flat`, on its coarse grid, with one field more: what
    is added to every frame in proportion to ``exposure``. It is expected to be
    smooth, of a strength that is learnt from the frames (the evidence of MacKay
    1992, https://doi.org/10.1162/neco.1992.4.3.415). The gradient of the sky of
    each frame drifts slowly from one to the next: as the level drifts as well,
    gradients that may change at random would be explained by flat and added light.

    Which fields there are is decided by the probability of the frames under F
    alone, G alone, and both, and by an F test of what the simpler model leaves
    unexplained; both have to prefer the larger model. Then the frames are fitted
    with these fields only. Where the levels differ by less than 5 % (rms, whichever
    frame is left out: a single one of another level has a sky of its own), no frame
    can tell, and only the flat is returned, with the reason in the report; a
    gradient of the sky that all frames have in common is then split from the flat
    by the priors of `sky_flat`, and the report says how large it is.

    A flat that may do harm is rejected, as by `sky_flat`. Glow smaller than a cell
    (1/24 of the longer side) is not resolved.
    Memory and bands are those of `sky_flat`.

    Examples
    --------
    >>> import numpy as np
    >>> import astroflat as af
    >>> y, x = np.mgrid[:128, :128] / 64 - 1
    >>> flat = 1 - 0.1 * (x**2 + y**2)
    >>> glow = 60 * np.exp(-((x - 1) ** 2 + (y - 1) ** 2) / 0.3)
    >>> rng = np.random.default_rng(0)
    >>> sky = np.array([300, 600, 1200, 2400, 4800])
    >>> frames = rng.poisson(sky[:, None, None] * flat + glow).astype('f4')
    >>> solution = af.solve_fields(frames, offsets=False)
    >>> solution.stages['model']
    'both'
    """
    from astroflat.combine._progress import show_progress

    if model not in _MODELS:
        msg = f'model must be one of {", ".join(_MODELS)}, not {model!r}'
        raise ValueError(msg)
    with (
        Night(
            frames,
            bias=bias,
            dark=dark,
            dark_scale=dark_scale,
            unit=unit,
            mask=mask,
            n_threads=n_threads,
        ) as night,
        show_progress(progress_bar, night.shape[0]) as progress,
    ):
        exposure, levels = _numbers(exposure, levels, night.n)
        notes = register(night, offsets)
        exposure = np.ones(night.n) if exposure is None else exposure / exposure.mean()
        job = Job(
            night,
            nsigma=max(nsigma, _STARS),
            growth=growth,
            mem_limit=mem_limit,
            client=client,
            progress=progress,
            scene=sky_model,
            glow=True,
        )
        job.extra, why = _start(job, model, Extra(exposure, levels))
        return _solve(job, model, why, notes, add_keyword)


def _numbers(exposure: Any, levels: Any, n: int) -> list[np.ndarray | None]:
    """Check numbers given by frame."""
    result: list[np.ndarray | None] = []
    for name, values in (('exposure', exposure), ('levels', levels)):
        if values is None:
            result.append(None)
            continue
        values = np.array(values, dtype=float)
        if values.shape != (n,) or not (np.isfinite(values) & (values > 0)).all():
            msg = f'{name} must be {n} positive numbers, one per frame'
            raise ValueError(msg)
        result.append(values)
    return result


def _start(job: Job, model: str, wish: Extra) -> tuple[Extra | None, str]:
    """Return what to fit first, and why no more than that."""
    spread = _spread(job, wish)
    if spread >= _LEVER:
        names = {'multiplicative': {'additive': False}}
        names['additive'] = {'multiplicative': False}
        return replace(wish, **names.get(model, {})), ''
    text = (
        f'the levels of the sky differ by {100 * spread:.1f} % only: the frames cannot '
        'tell what is added to the light from what multiplies it'
    )
    if model in ('additive', 'both'):
        msg = f"{text}; add frames of other levels, or pass model='multiplicative'"
        raise ValueError(msg)
    return None, text + '; the gradient is that of the sky, by prior'


def _spread(job: Job, wish: Extra) -> float:
    """Return how much levels differ over what is added, whatever frame is left out."""
    levels = wish.levels
    if levels is None:
        levels = np.array(job.night.each(job.level_of, range(job.night.n)))
    ratio = levels / wish.exposure
    # A single frame of another level has another sky as well: it is no lever.
    rest = [np.delete(ratio, i) for i in range(len(ratio))]
    return float(min(np.std(part) / abs(np.mean(part)) for part in rest))


def _solve(
    job: Job, model: str, why: str, notes: list[str], add_keyword: Any
) -> FlatSolution:
    """Solve and pack."""
    detail = job.run()
    fit = job.light.fit
    tests = {'level_spread_percent': 100 * _spread(job, job.extra or _alike(job))}
    tests |= fit.tests
    choice, reasons = 'multiplicative', []
    if why:
        notes = [*notes, why]
    else:
        choice, reason = _choose(model, tests)
        reasons.append(reason)
    if choice != 'both' and model == 'auto' and not why:
        kept = {'additive': choice == 'additive'}
        kept['multiplicative'] = choice == 'multiplicative'
        job.light = job.fit(replace(job.extra, **kept))
        detail = job.finish(job.light)
    spread = tests['level_spread_percent']
    if choice == 'both' and spread < 100 * _SURE_LEVER:
        text = f'F and G are told apart by levels that differ by {spread:.0f} % only'
        notes = [*notes, text]
    report = judge_flat(job, detail, 'solve fields', notes)
    report.numbers.update(model=choice, **tests)
    report = replace(report, reasons=[*report.reasons, *reasons])
    light = job.light
    sigma = job.grid.enlarge(light.fit.gradient_sigma.reshape(job.grid.cells))
    return pack(
        job,
        detail,
        report,
        'fields',
        add_keyword,
        gradient=CCDData(
            light.gradient(None),
            unit=job.night.request.unit,
            uncertainty=StdDevUncertainty(sigma),
        ),
        levels=light.fit.sky,
        model=choice,
        tests=tests,
        frame_gradients=light.gradient,
    )


def _alike(job: Job) -> Extra:
    """Return a request for nothing."""
    return Extra(np.ones(job.night.n))


def _choose(model: str, tests: dict[str, float]) -> tuple[str, str]:
    """Choose a model, and say why."""
    spread = tests['level_spread_percent']
    if model in ('multiplicative', 'additive'):
        return model, f'{model} as asked for; the levels differ by {spread:.0f} %'
    text = (
        f'levels differ by {spread:.0f} %; against both, F alone has F = '
        f'{tests["multiplicative_f"]:.2f} (p = {tests["multiplicative_p"]:.1g}), '
        f'G alone F = {tests["additive_f"]:.2f} (p = {tests["additive_p"]:.1g})'
    )
    if model == 'both':
        return model, f'both as asked for; {text}'
    cost = {name: tests[f'{name}_delta_bic'] for name in ('multiplicative', 'additive')}
    best = min(cost, key=cost.get)
    if cost[best] > 0 and all(tests[f'{name}_p'] < _CHANCE for name in cost):
        return 'both', 'the frames support F and G; ' + text
    if best == 'additive' and spread < 100 * _LONG_LEVER:
        return 'both', 'a flat is likelier than none; ' + text
    words = {'multiplicative': 'F', 'additive': 'G'}[best]
    return best, f'the frames support {words} alone; {text}'
