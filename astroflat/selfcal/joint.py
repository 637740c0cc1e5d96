# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What multiplies the light and what is added to it, from the same frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from astropy.nddata import CCDData, StdDevUncertainty

from astroflat.selfcal._job import Job
from astroflat.selfcal._light import Light
from astroflat.selfcal._night import Night
from astroflat.selfcal._prior import gradient_basis
from astroflat.selfcal._separate import Separation, compare_models, separate
from astroflat.selfcal._verdict import judge_flat
from astroflat.selfcal.sky import _offsets, pack
from astroflat.solution import FlatSolution

__all__ = ['solve_fields']

Model = Literal['auto', 'multiplicative', 'additive', 'both']
_MODELS = ('auto', 'multiplicative', 'additive', 'both')

# Levels that differ by less (rms, relative) do not tell F from G.
_LEVER = 0.03
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
    Cells of the coarse grid of `sky_flat`, freed of objects and diffuse light,
    are fitted by ``F s + G e`` and a polynomial of second degree of each frame
    that is not shared by the others. The models are nested: an F test over
    the cells, which are independent, and the Bayesian information criterion
    decide, on the smooth part of F and G; both have to prefer the larger
    model. Where the levels differ by less than 3 % (rms), no frame can tell,
    and only the flat is returned, with the reason in the report; a gradient
    of the sky that all frames have in common is then split from the flat by
    the priors of `sky_flat`, and the report says how large it is.

    Glow smaller than a cell (1/24 of the longer side) is not resolved.
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
    notes: list[str] = []
    given = _offsets(frames, offsets, notes, bias, dark, mask, n_threads, unit)
    with (
        Night(
            frames,
            offsets=given,
            bias=bias,
            dark=dark,
            dark_scale=dark_scale,
            unit=unit,
            mask=mask,
            n_threads=n_threads,
        ) as night,
        show_progress(progress_bar, night.shape[0]) as progress,
    ):
        request = _Request(model, *_numbers(exposure, levels, night.n))
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
        return _solve(job, request, notes, add_keyword)


@dataclass(frozen=True)
class _Request:
    """
    What was asked for.

    Parameters
    ----------
    model : str
        The model.

    exposure, levels : `~numpy.ndarray` or None
        Numbers of the frames.
    """

    model: str
    exposure: np.ndarray | None
    levels: np.ndarray | None


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


def _solve(
    job: Job, request: _Request, notes: list[str], add_keyword: Any
) -> FlatSolution:
    """Solve and pack."""
    detail = job.run()
    fits, tests = _fits(job, request)
    choice, why = _choose(request, tests)
    if tests['level_spread_percent'] < 100 * _LEVER:
        notes = [*notes, why]
        why = ''
    light = job.light
    gradient = sigma = None
    if choice != 'multiplicative':
        found = fits[choice]
        light = _replaced(job, found)
        job.light = light
        detail = job.finish(light)
        gradient, sigma = _gradient(job, found)
    report = judge_flat(job, detail, 'solve fields', notes)
    report.numbers.update(model=choice, **tests)
    report = replace(report, reasons=[*report.reasons, *([why] if why else [])])
    shared = light.gradient(None)
    total = shared if gradient is None else gradient
    uncertainty = None if sigma is None else StdDevUncertainty(sigma)
    unit = job.night.request.unit
    return pack(
        job,
        detail,
        report,
        'fields',
        add_keyword,
        gradient=CCDData(total, unit=unit, uncertainty=uncertainty),
        levels=light.fit.sky,
        model=choice,
        tests=tests,
        fits=fits,
        frame_gradients=light.gradient,
    )


def _fits(
    job: Job, request: _Request
) -> tuple[dict[str, Separation], dict[str, float]]:
    """Fit all models to the cells, and compare them."""
    fit, night = job.light.fit, job.night
    values = job.values.copy()
    if fit.scene is not None:
        flat = np.exp(fit.log_flat.ravel())
        values = values - flat * fit.scene.light() * fit.scale[:, None]
    known = np.isfinite(values) & (job.counts > 0)
    noise = 1.2533 * job.noise[:, None] * fit.scale[:, None]
    weights = known * np.maximum(job.counts, 1) / noise**2
    x, y = job.grid.xy
    basis = np.stack(gradient_basis(x, y), axis=1)
    exposure = request.exposure
    exposure = np.ones(night.n) if exposure is None else exposure / exposure.mean()
    start = fit.sky
    if request.levels is not None:
        start = request.levels * (fit.sky.sum() / request.levels.sum())
    own = night.n > 3
    options = {
        'start': start,
        'exposure': exposure,
        'fixed_levels': request.levels is not None,
        'own_terms': own,
    }
    options['basis'] = basis - basis.mean(axis=0)
    values = np.where(known, values, 0)
    first = separate(values, weights, model='both', **options)
    weights = weights * _robust(values, weights, first, options)
    fits = {
        name: separate(values, weights, model=name, **options) for name in _MODELS[1:]
    }
    tests = compare_models(fits, int(known.sum()), job.grid.cells)
    ratio = start / exposure
    tests['level_spread_percent'] = 100 * float(np.std(ratio) / np.mean(ratio))
    return fits, tests


def _robust(
    values: np.ndarray, weights: np.ndarray, fit: Separation, options: dict
) -> np.ndarray:
    """Return weights that give up outliers."""
    model = fit.flat * fit.levels[:, None] + fit.gradient * options['exposure'][:, None]
    model = model + fit.terms @ options['basis'].T
    z = (values - model) * np.sqrt(weights)
    used = weights > 0
    scale = 1.4826 * np.median(np.abs(z[used])) if used.any() else 1.0
    return 1 / (1 + (z / (3 * max(scale, 1e-6))) ** 2)


def _choose(request: _Request, tests: dict[str, float]) -> tuple[str, str]:
    """Choose a model, and say why."""
    spread = tests['level_spread_percent']
    alike = spread < 100 * _LEVER
    if alike:
        text = (
            f'the levels of the sky differ by {spread:.1f} % only: the frames cannot '
            'tell what is added to the light from what multiplies it'
        )
        if request.model in ('additive', 'both'):
            msg = f"{text}; add frames of other levels, or pass model='multiplicative'"
            raise ValueError(msg)
        return 'multiplicative', text + '; the gradient is that of the sky, by prior'
    text = (
        f'levels differ by {spread:.0f} %; against both, F alone has F = '
        f'{tests["multiplicative_f"]:.2f} (p = {tests["multiplicative_p"]:.1g}), '
        f'G alone F = {tests["additive_f"]:.2f} (p = {tests["additive_p"]:.1g})'
    )
    if request.model != 'auto':
        return request.model, f'{request.model} as asked for; {text}'
    cost = {name: tests[f'{name}_delta_bic'] for name in ('multiplicative', 'additive')}
    best = min(cost, key=cost.get)
    if cost[best] > 0 and all(tests[f'{name}_p'] < _CHANCE for name in cost):
        return 'both', 'the frames support F and G; ' + text
    words = {'multiplicative': 'F', 'additive': 'G'}[best]
    return best, f'the frames support {words} alone; {text}'


def _replaced(job: Job, found: Separation) -> Light:
    """Return the coarse fit with F and G in place of what it had."""
    fit, cells = job.light.fit, job.grid.cells
    flat = np.maximum(found.flat, 0.05)
    log_flat = np.log(flat)
    terms = found.terms / fit.scale[:, None]
    relative = found.flat_sigma / flat
    changed = replace(
        fit,
        log_flat=(log_flat - log_flat.mean()).reshape(cells),
        covariance=np.diag(relative**2),
        sky=found.levels * np.exp(log_flat.mean()),
        terms=terms,
    )
    return Light(job.grid, changed, found.gradient.reshape(cells), found.gains)


def _gradient(job: Job, found: Separation) -> tuple[np.ndarray, np.ndarray]:
    """Return G and its uncertainty at full resolution."""
    cells = job.grid.cells
    return (
        job.grid.enlarge(found.gradient.reshape(cells)),
        job.grid.enlarge(found.gradient_sigma.reshape(cells)),
    )
