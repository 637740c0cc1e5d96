# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The stages of a dust flat, one at a time, for a person who looks at each.

`astroflat.dust_flat` runs through; here every stage can be done again with
other settings, or on a mask that somebody has edited.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units as u

from astroflat._nddata import unpack
from astroflat._provenance import record
from astroflat.pipelines._planes import join_planes, mean_plane, split_planes
from astroflat.pipelines._stages import StageStore, fingerprint
from astroflat.pipelines.dust_flat import (
    DustFlatOptions,
    _advice,
    _detect,
    _fill,
    _filler,
    _observe,
    _open,
    _report,
    _sigma_planes,
    _synthesize,
    _weight,
    _with_advisers,
)
from astroflat.solution import FlatSolution

if TYPE_CHECKING:
    import os

    from astropy.nddata import CCDData

    from astroflat._report import QualityReport
    from astroflat.dust import DustDetection

__all__ = ['DustSteps', 'merge_advice', 'scale_solution']


class DustSteps:
    """
    Make a dust flat of a median step by step.

    Parameters
    ----------
    observed : `~astropy.nddata.CCDData`
        The image that shows the dust, as ``stages['median']``.

    color : str, optional
        'mono', 'RGB' or a Bayer pattern.

    options : DustFlatOptions, optional
        The settings; assign to ``options`` to change them between steps.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from astroflat.pipelines._dust_steps import DustSteps
    >>> y, x = np.mgrid[:96, :96]
    >>> dusty = np.where(np.hypot(x - 50, y - 40) < 6, 0.8, 1.0)
    >>> noise = np.random.default_rng(0).normal(0, 3, dusty.shape)
    >>> steps = DustSteps(CCDData(1000 * dusty + noise, unit='adu'))
    >>> detection = steps.detect()
    >>> weight = steps.weigh(detection)
    >>> clean = steps.match(steps.fill(weight), weight)
    >>> flat = steps.flat(clean, weight)
    >>> bool(abs(flat.data[40, 50] - 0.8) < 0.01), bool(flat.data[5, 5] == 1)
    (True, True)
    """

    def __init__(
        self,
        observed: CCDData,
        color: str = 'mono',
        options: DustFlatOptions | None = None,
    ) -> None:
        self.observed = observed
        self.color = color
        self.options = _with_advisers(options or DustFlatOptions())
        self.frame = unpack(observed, ndim=(2, 3))
        data = np.where(self.frame.bad, np.nan, self.frame.data)
        self.planes = split_planes(data, color)
        self.sigma = _sigma_planes(self.frame, color)
        self.image = mean_plane(self.planes)

    @classmethod
    def open(
        cls,
        source: Any,
        *,
        bias: Any = None,
        dark: Any = None,
        options: DustFlatOptions | None = None,
        stage_dir: str | os.PathLike | None = None,
        **threads: Any,
    ) -> DustSteps:
        """
        Combine frames to the median to start from.

        Parameters
        ----------
        source, bias, dark, options, stage_dir
            As in `astroflat.dust_flat`, which shares the median kept there.

        **threads
            ``n_threads`` and ``progress_bar``.

        Returns
        -------
        steps : DustSteps
            Ready to detect.
        """
        opened, color = _open(source)
        options = options or DustFlatOptions()
        observed = StageStore(stage_dir, fingerprint([source, bias, dark])).run(
            'median',
            (options.median, color),
            lambda: _observe(opened, bias, dark, options.median, threads),
        )
        return cls(observed, color, options)

    def detect(self, mask: np.ndarray | None = None) -> DustDetection:
        """
        Find the dust, or take a mask of the shape of the frame.

        Parameters
        ----------
        mask : `~numpy.ndarray` of bool, optional
            Take this instead.

        Returns
        -------
        detection : DustDetection
            In the shape of a plane.
        """
        return _detect(
            self.planes, self.sigma, mask, self.options, self.frame, self.color
        )

    def weigh(self, detection: DustDetection) -> np.ndarray:
        """
        Grow and feather the mask.

        Parameters
        ----------
        detection : DustDetection
            The dust.

        Returns
        -------
        weight : `~numpy.ndarray` of float32
            1 on the dust, exactly 0 off it, in the shape of a plane.
        """
        return _weight(detection, self.options)

    def fill(self, weight: np.ndarray) -> CCDData:
        """
        Fill every plane where the weight is not zero.

        Parameters
        ----------
        weight : `~numpy.ndarray`
            As returned by `weigh`.

        Returns
        -------
        clean : `~astropy.nddata.CCDData`
            The image without the dust, not yet matched.
        """
        options = replace(self.options, match=None)
        fill = _filler(options)
        return _fill(self.frame, self.planes, weight, fill, options, add_keyword=True)

    def match(self, clean: CCDData, weight: np.ndarray) -> CCDData:
        """
        Bring the filled image to the scale of the observed one, if asked for.

        Parameters
        ----------
        clean : `~astropy.nddata.CCDData`
            As returned by `fill`.

        weight : `~numpy.ndarray`
            As returned by `weigh`.

        Returns
        -------
        clean : `~astropy.nddata.CCDData`
            The same object if ``options.match`` is None.
        """
        if self.options.match is None:
            return clean
        from astroflat.dust import match_histogram

        filled = unpack(clean, ndim=(2, 3))
        matched = [
            match_histogram(one, seen, mask=weight > 0, method=self.options.match)
            for one, seen in zip(
                split_planes(filled.data, self.color), self.planes, strict=True
            )
        ]
        return filled.ccd(join_planes(matched, self.frame.shape).astype(np.float32))

    def flat(
        self, clean: CCDData, weight: np.ndarray, strength: float = 1.0
    ) -> CCDData:
        """
        Return the flat.

        Parameters
        ----------
        clean : `~astropy.nddata.CCDData`
            As returned by `match`.

        weight : `~numpy.ndarray`
            As returned by `weigh`.

        strength : float, optional
            The share of the correction to apply, 0 to 1.

        Returns
        -------
        flat : `~astropy.nddata.CCDData`
            Exactly 1 where the weight is 0.
        """
        scaled = weight if strength == 1 else (strength * weight).astype(np.float32)
        return _synthesize(self.frame, clean, scaled, self.color)

    def report(
        self, flat: CCDData, detection: DustDetection, weight: np.ndarray
    ) -> QualityReport:
        """
        Measure what the fill is worth.

        Parameters
        ----------
        flat, detection, weight
            As returned by `flat`, `detect` and `weigh`.

        Returns
        -------
        report : QualityReport
            As that of `astroflat.dust_flat`.
        """
        fill = _filler(self.options)
        return _report(
            self.planes, self.sigma, weight, flat, detection, fill, self.observed
        )

    def package(
        self,
        detection: DustDetection,
        weight: np.ndarray,
        clean: CCDData,
        strength: float = 1.0,
    ) -> FlatSolution:
        """
        Return the flat with its report and stages.

        Parameters
        ----------
        detection, weight, clean, strength
            As in `flat` and `report`.

        Returns
        -------
        solution : FlatSolution
            As returned by `astroflat.dust_flat`.
        """
        flat = self.flat(clean, weight, strength)
        report = self.report(flat, detection, weight)
        record(
            flat.meta,
            'dustflat',
            history=f'{report.verdict}; exactly 1 off the dust, use norm_value=1',
            AFNDUST=(len(detection.catalogue), 'dust objects'),
            AFTOUCH=(report.numbers['touched_percent'], '[%] of the pixels not 1'),
        )
        advice = _advice(flat, clean, detection, self.options, add_keyword=True)
        stages = {
            'median': self.observed,
            'detection': detection,
            'weight': join_planes([weight], self.frame.shape),
            'clean': clean,
            'options': dict(vars(self.options)),
            'color': self.color,
            **advice,
        }
        return FlatSolution(flat, report=report, stages=stages, method='dust')


def scale_solution(solution: FlatSolution, strength: float) -> FlatSolution:
    """
    Return a share of a correction whose stages are not known.

    Parameters
    ----------
    solution : FlatSolution
        Any.

    strength : float
        The share, 0 to 1.

    Returns
    -------
    solution : FlatSolution
        With the flat ``1 + strength * (flat - 1)`` and the gradient times
        the share; the errors go with them.
    """
    if strength == 1:
        return solution
    frame = unpack(solution.flat, ndim=(2, 3))
    flat = frame.ccd(
        (1 + np.float32(strength) * (frame.data - 1)).astype(frame.data.dtype),
        variance=None if frame.variance is None else frame.variance * strength**2,
        unit=u.dimensionless_unscaled,
    )
    gradient = solution.gradient
    if gradient is not None:
        part = unpack(gradient, ndim=(2, 3))
        gradient = part.ccd(
            part.data * part.data.dtype.type(strength),
            variance=None if part.variance is None else part.variance * strength**2,
        )
    return replace(solution, flat=flat, gradient=gradient)


def merge_advice(solution: FlatSolution, older: dict[str, list]) -> FlatSolution:
    """
    Keep what advisers returned before they were asked again.

    Parameters
    ----------
    solution : FlatSolution
        With the last answers.

    older : dict of list
        Earlier answers, by the role of the adviser.

    Returns
    -------
    solution : FlatSolution
        With all answers in ``stages['advice']``, each once, in their order.
    """
    newer = solution.stages.get('advice', {})
    advice = {role: list(answers) for role, answers in older.items() if answers}
    for role, answers in newer.items():
        known = {id(answer) for answer in advice.get(role, [])}
        advice.setdefault(role, []).extend(a for a in answers if id(a) not in known)
    if not advice:
        return solution
    return replace(solution, stages={**solution.stages, 'advice': advice})
