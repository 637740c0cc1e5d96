# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The one call: look at the frames, choose a method, say why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from astroflat._arrays import n_threads as count_threads
from astroflat.selfcal._choice import Means, one_group
from astroflat.selfcal.grouping import group_frames

if TYPE_CHECKING:
    from astroflat.solution import FlatSolution

__all__ = ['self_flat', 'self_flats']

Method = Literal['auto', 'sky', 'fields', 'kll', 'stars', 'dust', 'repair']


def self_flat(
    source: Any,
    flat: Any = None,
    *,
    bias: Any = None,
    dark: Any = None,
    method: Method = 'auto',
    n_threads: int | None = None,
    client: Any = None,
    progress_bar: bool = False,
    add_keyword: Any = True,
) -> FlatSolution:
    """
    Make a flat from the science frames, by the method that they allow.

    Parameters
    ----------
    source : ImageFileCollection, folder, pattern, list, video, array ...
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

    client : `dask.distributed.Client`, optional
        Handed to the methods that take one.

    progress_bar : bool, optional
        Whether to show bars, where the methods have them.

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
    means = Means(count_threads(n_threads), client, progress_bar, add_keyword)
    groups = group_frames(source)
    if len(groups) > 1:
        found = ', '.join(f'{g.label} ({len(g.frames)})' for g in groups)
        msg = (
            f'source holds {len(groups)} groups of frames: {found}; use self_flats, or '
            'give the frames of one'
        )
        raise ValueError(msg)
    return one_group(groups[0], flat, (bias, dark), method, means)


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
    client: Any = None,
    progress_bar: bool = False,
    add_keyword: Any = True,
) -> dict[str, FlatSolution]:
    """
    Make a flat of each camera, filter, binning, temperature and rotator angle.

    Parameters
    ----------
    source : ImageFileCollection, folder, pattern, list ...
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

    client : `dask.distributed.Client`, optional
        Handed to the methods that take one.

    progress_bar : bool, optional
        Whether to show bars, where the methods have them.

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
    means = Means(count_threads(n_threads), client, progress_bar, add_keyword)
    groups = group_frames(
        source, temperature_step=temperature_step, rotator_step=rotator_step
    )
    solutions = {}
    for group in groups:
        own = [
            value.get(group.label) if isinstance(value, dict) else value
            for value in (flat, bias, dark)
        ]
        solutions[group.label] = one_group(
            group, own[0], (own[1], own[2]), method, means
        )
    return solutions
