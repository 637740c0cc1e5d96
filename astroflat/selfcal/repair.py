# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A flat that is nearly right, brought up to date by frames of the night."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from astroflat._arrays import n_threads as count_threads
from astroflat._nddata import unpack
from astroflat.selfcal._repair_apply import apply_changes, pack
from astroflat.selfcal._repair_examine import examine
from astroflat.solution import FlatSolution

if TYPE_CHECKING:
    from collections.abc import Collection

    from astroflat._nddata import Frame

__all__ = ['RepairOptions', 'repair_flat']

Change = Literal['moved', 'gone', 'new', 'strength', 'depth']
_CHANGES = ('moved', 'gone', 'new', 'strength', 'depth')
# The median of a flat that is divided by its mean.
_LEVELS = (0.2, 5.0)


@dataclass(frozen=True)
class RepairOptions:
    """
    The settings of `astroflat.repair_flat`.

    Parameters
    ----------
    reach : float, optional
        The largest shift of a mote to look for, in pixels.

    min_shift : float, optional
        A mote that moved by less, in pixels, is left where it is.

    smooth_degree : int, optional
        The largest degree of a smooth correction, 2 to 8; 0 for none. What
        all frames have in common at large scale, except for a plane, then
        counts as an error of the flat, although it may be the sky.

    n_groups : int, optional
        The number of groups of frames; each in turn judges the changes made
        from the others.

    detection : dict, optional
        Further arguments of `astroflat.detect_dust`.

    margin, relative_margin, feather : float, optional
        How far motes reach beyond what was detected, as in
        `astroflat.pipelines.DustFlatOptions`.

    Examples
    --------
    >>> from astroflat.selfcal import RepairOptions
    >>> RepairOptions(reach=60).min_shift
    1.0
    """

    reach: float = 32.0
    min_shift: float = 1.0
    smooth_degree: int = 0
    n_groups: int = 5
    detection: dict[str, Any] = field(default_factory=dict)
    margin: float = 2.0
    relative_margin: float = 0.3
    feather: float = 1.5

    def __post_init__(self) -> None:
        if self.smooth_degree not in (0, *range(2, 9)):
            msg = f'smooth_degree must be 0 or 2 to 8, not {self.smooth_degree!r}'
            raise ValueError(msg)
        if not self.n_groups >= 2:
            msg = f'n_groups must be at least 2, not {self.n_groups!r}'
            raise ValueError(msg)
        if not (0 < self.reach <= 500 and self.min_shift >= 0):
            msg = (
                'reach must be in (0, 500] and min_shift at least 0, not '
                f'{self.reach!r} and {self.min_shift!r}'
            )
            raise ValueError(msg)


def repair_flat(
    flat: Any,
    frames: Any,
    *,
    bias: Any = None,
    dark: Any = None,
    mask: Any = None,
    changes: Collection[Change] = ('moved', 'gone', 'new', 'strength'),
    options: RepairOptions | None = None,
    n_threads: int | None = None,
    add_keyword: Any = True,
) -> FlatSolution:
    """
    Bring a flat that is nearly right up to date by frames of the night.

    Motes that moved are moved, motes that are gone are taken out, new ones are
    put in, and a vignette that is too strong or too weak is brought to its
    right strength. All else stays as it is, to the last bit.

    Parameters
    ----------
    flat : FlatSolution, CCDData, array_like or path
        The flat: of last month, of another filter, with motes out of place.
        One in counts is divided by its mean first.

    frames : path, list, array, FrameStack ...
        Two or more frames of the sky, as in `astroflat.open_frames`, not
        registered. More frames see fainter motes; a dither tells dark clouds
        from dust.

    bias, dark : CCDData, array_like, path or number, optional
        Subtracted from the frames.

    mask : array_like of bool, optional
        Pixels of the detector that are not to be used or changed.

    changes : collection of str, optional
        What may be changed: ``'moved'``, ``'gone'`` and ``'new'`` motes, and
        the ``'strength'`` of the vignette or a pedestal. ``'depth'``, which
        is not in the default, scales all motes by one factor.

    options : RepairOptions, optional
        Further settings.

    n_threads : int, optional
        The number of threads; all processors by default.

    add_keyword : bool, str, `ccdproc.Keyword` or dict, optional
        What to write to the metadata, as in ccdproc.

    Returns
    -------
    solution : FlatSolution
        ``flat``, the repaired flat. ``report`` says what was changed and how
        many pixels. ``stages`` has ``motes``, a `~astropy.table.QTable` with
        what happened to each; ``change``, new flat over old one, exactly 1
        where nothing was changed; ``sigma``, the standard deviation of the
        logarithm of ``change``, 0 there; ``ratio``, the mean of frames over
        the old flat; and ``motion``.

    Raises
    ------
    ValueError
        If there are fewer than two frames, the shapes differ, or the sky is
        not positive after bias and dark.

    See Also
    --------
    dust_flat : A flat of the dust alone, from the frames alone.

    Notes
    -----
    Each frame is divided by the flat and by its own smooth sky; stars and
    nebulae are masked. In the mean of the frames a mote that moved shows as a
    bright ghost where it was and a dark one where it is. The dust is taken off
    the flat with `astroflat.inpaint`, and the transmission of each mote becomes
    a template that is fitted to the frames: strength and place, beside a
    quadratic surface for the sky. A motion that all motes share is looked for
    with a vote over shifts and rotations (the filter is not back in place),
    and over shifts in proportion to the radius (the light comes from another
    direction, and far motes move more). Motes that are too faint to tell
    follow if all others moved. What is left is searched for new motes.

    A change is made only if it pays in frames that it was not made from: the
    frames are split into groups, each group is compared with what the others
    predict, and the chi-square must fall by at least 25 in all and in three
    groups of four. So a flat that is right stays as it is.

    The strength of the vignette is the exponent that its smooth part needs
    so that the sky of every frame is a plane. Where the motes need the same
    factor, the flat has a pedestal, which is taken off instead. A sky that
    is curved in all frames alike cannot be told from a vignette; its
    uncertainty is estimated by leaving out parts of the detector.

    Where nothing was changed, the uncertainty is that of the flat given.

    Examples
    --------
    >>> import numpy as np
    >>> import astroflat as af
    >>> rng = np.random.default_rng(0)
    >>> y, x = np.mgrid[:160, :200]
    >>> def mote(x0, y0):
    ...     return 1 - 0.08 * (np.hypot(x - x0, y - y0) < 9)
    >>> old, now = mote(60, 80), mote(66, 77) * mote(140, 60)
    >>> frames = rng.normal(1000 * now, 8, (6, 160, 200)).astype('f4')
    >>> solution = af.repair_flat(rng.normal(old, 0.001), frames)
    >>> solution.stages['motes']['action'].tolist()
    ['moved', 'new']
    >>> bool(np.std(solution.flat.data / now) < 0.4 * np.std(old / now))
    True
    """
    options = options or RepairOptions()
    unknown = set(changes) - set(_CHANGES)
    if isinstance(changes, str) or unknown:
        msg = f'changes must be a collection out of {_CHANGES}, not {changes!r}'
        raise ValueError(msg)
    frame = _as_flat(flat, mask)
    workers = count_threads(n_threads)
    findings = examine(frame, frames, (bias, dark), changes, options, workers)
    change, sigma = apply_changes(findings)
    return pack(findings, change, sigma, flat, add_keyword)


def _as_flat(flat: Any, mask: Any) -> Frame:
    """Return the flat as it will be returned, but for the changes."""
    from dataclasses import replace

    from astropy import units as u

    if isinstance(flat, FlatSolution):
        flat = flat.flat
    frame = unpack(flat, name='flat', mask=mask)
    good = ~frame.bad & (frame.data > 0)
    level = float(np.median(frame.data[good])) if good.any() else np.nan
    if not level > 0:
        msg = f'the median of flat is {level}; a flat must be positive'
        raise ValueError(msg)
    # A file that does not tell its unit is read as adu, and no flat has 1 adu.
    counts = frame.unit not in (None, u.dimensionless_unscaled, u.adu)
    if counts or not _LEVELS[0] < level < _LEVELS[1]:
        return unpack(FlatSolution.from_image(frame.ccd(frame.data)).flat)
    data = np.where(np.isfinite(frame.data), frame.data, 1).astype(np.float32)
    lost = ~np.isfinite(frame.data)
    bad = lost if frame.mask is None else lost | frame.mask
    return replace(frame, data=data, mask=bad if bad.any() else None)
