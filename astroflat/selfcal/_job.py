# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The steps from frames to a flat that `sky_flat` and `solve_fields` share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.selfcal._coarse import CoarseFit
from astroflat.selfcal._doubt import large_sigma
from astroflat.selfcal._fine import combine_fine, two_halves
from astroflat.selfcal._grid import Grid
from astroflat.selfcal._hot import HotPixels
from astroflat.selfcal._light import Light
from astroflat.selfcal._objects import STARS, find_objects
from astroflat.selfcal._shrink import shrink

if TYPE_CHECKING:
    from collections.abc import Callable

    from astroflat.selfcal._coarse_result import CoarseResult, Extra
    from astroflat.selfcal._fine import Fine
    from astroflat.selfcal._night import Night
    from astroflat.selfcal._objects import ObjectMask

__all__ = ['Detail', 'Job']

# Dithers (rms, pixels) that tell stars from dust.
_WIDE = 3.0
# At first only what is surely a star: dust has bright rims.
_SURE = 8.0
# Noise of a single frame: what is below it need not be masked.
_FAINT = 1.0


@dataclass(frozen=True)
class Detail:
    """
    The flat at full resolution.

    Parameters
    ----------
    flat, sigma : `~numpy.ndarray` of float32
        Flat with mean 1, and its standard deviation.

    fine : Fine
        What was combined.

    numbers : dict
        See `shrink`.
    """

    flat: np.ndarray
    sigma: np.ndarray
    fine: Fine
    numbers: dict[str, float]


class Job:
    """
    Frames on their way to a flat.

    Parameters
    ----------
    night : Night
        The frames.

    nsigma, growth : float
        How objects are masked.

    mem_limit : float
        Bytes for bands of frames.

    client : object or None
        A dask client.

    progress : callable or None
        Called with the number of rows done and of all rows.

    scene : bool, optional
        Whether to fit diffuse light that moves with the sky.

    glow : bool, optional
        Whether there may be glow that is not to be masked.

    extra : Extra or None, optional
        What to find besides the flat.
    """

    def __init__(
        self,
        night: Night,
        *,
        nsigma: float,
        growth: float,
        mem_limit: float,
        client: Any = None,
        progress: Callable | None = None,
        scene: bool = True,
        glow: bool = False,
        extra: Extra | None = None,
    ) -> None:
        self.night = night
        self.scene = scene
        self.extra = extra
        self.nsigma, self.growth = nsigma, growth
        self.options = {'mem_limit': mem_limit, 'client': client}
        self.progress = progress
        self.grid = Grid.of(night.shape)
        self._hot = HotPixels(night.shape)
        self.noise = np.array(night.each(self._noise_of, range(night.n)))
        if self.wide:
            # Stars do not stay in a pixel.
            night.hot = self._hot.found()
        self.half = two_halves(night.n, night.offsets)
        self.objects: ObjectMask | None = None
        self.light: Light | None = None
        self._fitted: Extra | None = None
        self.values = self.counts = np.zeros(0)
        # What moves with the sky is no glow.
        self.sizes = {'sizes': STARS} if glow and not self.wide else {}

    @property
    def wide(self) -> bool:
        """Whether the dithers tell stars from dust."""
        offsets = self.night.offsets
        if offsets is None:
            return False
        spread = np.sqrt(((offsets - offsets.mean(axis=0)) ** 2).sum(axis=1).mean())
        return bool(spread > _WIDE)

    @property
    def places(self) -> float:
        """How many cells of the sky a pixel sees, one after the other."""
        offsets = self.night.offsets
        if offsets is None:
            return float(self.night.n)
        spread = ((offsets - offsets.mean(axis=0)) ** 2).sum(axis=1).mean()
        share = 1 - np.exp(-0.5 * spread / self.grid.cell**2)
        return float(1 + (self.night.n - 1) * share)

    def run(self) -> Detail:
        """
        Mask, fit and combine, twice.

        Returns
        -------
        detail : Detail
            The flat.
        """
        # What is faint in one frame and elsewhere in the next averages out.
        deep = max(self.nsigma, _FAINT * np.sqrt(self.night.n))
        nsigma = deep if self.wide else self.nsigma
        self._round(None, max(_SURE, nsigma) if self.wide else nsigma)
        detail = self._shrink(self.combine(self.light))[0]
        if not self.wide:
            # Stars are brighter than their surroundings, dust is darker.
            detail = np.minimum(detail, np.median(detail))
        self._round(self.light.flat() * detail, nsigma)
        return self.finish(self.light, self.progress)

    def _round(self, model: np.ndarray | None, nsigma: float) -> None:
        """Find objects, measure the sky between them, and fit it."""
        night = self.night
        self.objects = find_objects(
            night, model, nsigma=nsigma, growth=self.growth, **self.sizes
        )
        found = night.each(self._cells_of, range(night.n))
        self.values = np.array([values for values, _ in found])
        self.counts = np.array([counts for _, counts in found])
        self._check_cells()
        # Masks of the first round need no more than the flat.
        self.light = self.fit(None if model is None else self.extra)

    def fit(self, extra: Extra | None) -> Light:
        """
        Fit the fields to the cells.

        Parameters
        ----------
        extra : Extra or None
            What to find besides the flat.

        Returns
        -------
        light : Light
            The fields.
        """
        self._fitted = extra
        return Light(self.grid, self._fit(extra, scene=self.scene))

    def _fit(self, extra: Extra | None, *, scene: bool) -> CoarseResult:
        night = self.night
        return CoarseFit(
            self.grid,
            self.values,
            self.counts,
            self.noise,
            night.offsets if scene else None,
            night.exposures(),
            night.times(),
            extra,
        ).run()

    def _check_cells(self) -> None:
        """Raise if a frame shows no sky."""
        level = np.nanmedian(np.where(self.counts > 0, self.values, np.nan), axis=1)
        bad = np.flatnonzero(~(level > 0))
        if bad.size:
            msg = (
                f'the sky of {self.night.stack.label(int(bad[0]))} has the level '
                f'{level[bad[0]]:g}: a flat needs light; subtract the right bias, or '
                'leave this frame out'
            )
            raise ValueError(msg)

    def level_of(self, i: int) -> float:
        """
        Return the median of a frame.

        Parameters
        ----------
        i : int
            The frame.

        Returns
        -------
        level : float
            Of every tenth row or so.
        """
        frame = self.night.read(i)
        return float(np.nanmedian(frame[:: max(1, frame.shape[0] // 100)]))

    def _noise_of(self, i: int) -> float:
        """Return the noise of a pixel of a frame relative to its level."""
        frame = self.night.read(i)
        if not np.isfinite(frame).any():
            msg = (
                f'{self.night.stack.label(i)} has no good pixel, all are masked or not '
                'finite; leave this frame out'
            )
            raise ValueError(msg)
        step = max(1, frame.shape[0] // 1000)
        steps = np.diff(frame[::step], axis=1)
        steps = steps[np.isfinite(steps)]
        level = float(np.nanmedian(frame[::step]))
        noise = 1.4826 * float(np.median(np.abs(steps - np.median(steps)))) / 2**0.5
        self._hot.add(frame, noise)
        return max(noise / max(abs(level), 1e-30), 1e-5)

    def _cells_of(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the medians of the cells of a frame, off the objects."""
        frame = self.night.read(i)
        frame[self.objects.frame(i)] = np.nan
        values, counts = self.grid.medians(frame)
        return values.ravel(), counts.ravel()

    def combine(self, light: Light, progress: Callable | None = None) -> Fine:
        """
        Combine the frames over the coarse fit.

        Parameters
        ----------
        light : Light
            The coarse fit.

        progress : callable, optional
            Called with rows done.

        Returns
        -------
        fine : Fine
            The ratio.
        """
        return combine_fine(
            self.night,
            light,
            self.objects,
            self.noise,
            half=self.half,
            progress=progress,
            **self.options,
        )

    def finish(self, light: Light, progress: Callable | None = None) -> Detail:
        """
        Return the flat at full resolution.

        Parameters
        ----------
        light : Light
            The coarse fit.

        progress : callable, optional
            Called with rows done.

        Returns
        -------
        detail : Detail
            Flat, uncertainty and numbers.
        """
        fine = self.combine(light, progress)
        value, error, numbers = self._shrink(fine)
        flat = light.flat() * value
        bare = None
        if light.fit.scene is not None:
            bare = self._fit(self._fitted, scene=False)
        cells, doubt = large_sigma(light.fit, bare)
        large = self.grid.enlarge(cells)
        numbers = numbers | {'diffuse_doubt_percent': 100 * doubt}
        scatter = light.fit.numbers['sky_scatter'] / np.sqrt(self.places)
        relative = np.sqrt((error / value) ** 2 + large**2 + scatter**2)
        good = True if self.night.mask is None else ~self.night.mask
        flat /= flat.mean(dtype=np.float64, where=good)
        return Detail(flat, (relative * flat).astype(np.float32), fine, numbers)

    def _shrink(self, fine: Fine) -> tuple[np.ndarray, np.ndarray, dict]:
        """Separate the detail of the flat from noise."""
        free = np.maximum(fine.count - 1, 1)
        usual = float(np.median(free[fine.count > 1])) if (fine.count > 1).any() else 1
        # The median of a reduced chi-square is below its mean.
        scatter = float(np.nanmedian(fine.scatter)) / (1 - 2 / (9 * usual)) ** 3
        weight = np.where(fine.weight > 0, fine.weight, np.nan)
        sigma = np.sqrt(max(scatter, 0.1) / weight + self._pedestal() ** 2)
        difference = 0.5 * (fine.halves[0] - fine.halves[1])
        return shrink(fine.ratio, sigma, difference)

    def _pedestal(self) -> float:
        """Return the noise of bias and dark relative to the sky, at most."""
        level = float(np.median(self.light.fit.sky))
        total = 0.0
        cal = self.night.calibration
        for plane in (cal.offset, cal.dark):
            if plane is not None:
                steps = np.diff(np.asarray(plane, float), axis=1)
                # One pixel that is no number must not make all noise unknown.
                steps = steps[np.isfinite(steps)]
                total += (1.4826 * np.median(np.abs(steps)) / 2**0.5 / level) ** 2
        return float(np.sqrt(total))
