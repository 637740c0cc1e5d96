# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The main job: frames in, a flat of the dust out."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData, StdDevUncertainty

from astroflat._nddata import Frame, to_ccd, unpack
from astroflat._provenance import record
from astroflat._report import QualityReport, to_mmag
from astroflat.pipelines._audit import control_holes, fill_error
from astroflat.pipelines._planes import join_planes, mean_plane, split_planes
from astroflat.pipelines._stages import StageStore, fingerprint
from astroflat.solution import FlatSolution

if TYPE_CHECKING:
    import os

    from astroflat.dust import DustDetection

__all__ = ['DustFlatOptions', 'dust_flat']

# The limits of the verdict, in per cent or as a ratio.
LIMITS = {
    'fill_over_dust_accept': 1 / 3,
    'fill_over_dust_reject': 1.0,
    'fill_percent_accept': 2.0,
    'fill_chi_accept': 5.0,
    'dust_percent_reject': 60.0,
    'bright_percent_accept': 0.0,
    'bright_percent_reject': 5.0,
    'touched_percent_accept': 25.0,
    'touched_percent_reject': 50.0,
}


# A defect of a flat can be bright, but not by a tenth: that is a star.
_SHINES = 1.1


@dataclass(frozen=True)
class DustFlatOptions:
    """
    The settings of `astroflat.dust_flat`.

    Parameters
    ----------
    median : dict, optional
        Further arguments of `astroflat.median_flat`: ``method``, ``scale``,
        ``sigma_clip``, ``mem_limit`` ...

    detector : str or object, optional
        As in `astroflat.detect_dust`; 'gemini' stands for an
        `astroflat.genai.GeminiDetector` with its defaults.

    detection : dict, optional
        Further arguments of `astroflat.detect_dust`: ``sensitivity``,
        ``min_depth``, ``polarity`` ...

    margin : float, optional
        How far the mask is grown beyond the detected dust, in pixels.

    relative_margin : float, optional
        And by this share of the radius of each object: shadows of large dust
        have wider edges, and hard specks a bright rim.

    feather : float, optional
        The softness of its edge, as ``sigma`` of `astroflat.feather_mask`.

    inpainter : str or object, optional
        As ``method`` of `astroflat.inpaint`; 'gemini' stands for an
        `astroflat.genai.GeminiInpainter` with its defaults.

    match : {'quantile', 'linear', 'local'} or None, optional
        Match the filled image to the observed one with
        `astroflat.match_histogram`. The fills that come with astroflat are in
        the scale of the image and need none; an image from elsewhere does.

    Examples
    --------
    >>> from astroflat.pipelines import DustFlatOptions
    >>> DustFlatOptions(detection={'min_depth': 0.02}).margin
    2.0
    """

    median: dict[str, Any] = field(default_factory=dict)
    detector: Any = 'classical'
    detection: dict[str, Any] = field(default_factory=dict)
    margin: float = 2.0
    relative_margin: float = 0.3
    feather: float = 1.5
    inpainter: Any = 'gp'
    match: str | None = None


def dust_flat(
    source: Any,
    *,
    bias: Any = None,
    dark: Any = None,
    mask: Any = None,
    options: DustFlatOptions | None = None,
    stage_dir: str | os.PathLike | None = None,
    n_threads: int | None = None,
    progress_bar: bool = False,
    add_keyword: Any = True,
) -> FlatSolution:
    """
    Make a flat of the dust from frames, a video or one image.

    The frames are combined to their median, the dust is found in it, what
    would be there without the dust is filled in, and the flat is the ratio of
    the two under the dust and **exactly 1.0** elsewhere.

    Parameters
    ----------
    source : path, list, array, CCDData, FrameStack ...
        A video or frames, as in `astroflat.open_frames`; or a single image,
        which is then taken to be the median: a flat, or a stack.

    bias, dark : CCDData, array_like or path, optional
        Subtracted from the frames. Without them, or with raw counts on a
        pedestal, the dust comes out too shallow.

    mask : array_like of bool, optional
        Take this as the dust, True = dust, instead of detecting it.

    options : DustFlatOptions, optional
        The settings of the stages.

    stage_dir : path-like, optional
        Keep the stages in this folder and take them from there when neither
        inputs nor settings have changed. Delete a file to redo its stage.

    n_threads : int, optional
        The number of threads; all processors by default.

    progress_bar : bool, optional
        Show the progress on standard error.

    add_keyword : bool, str, `ccdproc.Keyword` or dict, optional
        What to write to the metadata, as in ccdproc.

    Returns
    -------
    solution : FlatSolution
        ``flat`` is exactly 1 off the dust; ``report`` has the verdict;
        ``stages`` has ``median``, ``detection``, ``weight`` and ``clean``,
        and ``advice`` with what an adviser returned.

    Raises
    ------
    ValueError
        If the frames are not images of one size or have no signal.

    Notes
    -----
    The report is measured: copies of the holes are put where there is no
    dust and filled in the same way, and the error of the fill is compared
    with the depth of the dust, which is what doing nothing would leave.

    Colour and Bayer data are combined per pixel, searched in the mean of
    their planes, and filled plane by plane, so that colours do not mix.

    Examples
    --------
    >>> import numpy as np
    >>> import astroflat as af
    >>> y, x = np.mgrid[:128, :128]
    >>> rng = np.random.default_rng(0)
    >>> dusty = np.where(np.hypot(x - 60, y - 70) < 6, 0.9, 1.0)
    >>> frames = rng.normal(2000 * dusty, 20, (15, 128, 128)).astype('f4')
    >>> solution = af.dust_flat(frames)
    >>> bool(abs(solution.flat.data[70, 60] - 0.9) < 0.01)
    True
    >>> bool(solution.flat.data[10, 10] == 1)
    True
    """
    options = _with_advisers(options or DustFlatOptions())
    store = StageStore(stage_dir, fingerprint([source, bias, dark]))
    threads = {'n_threads': n_threads, 'progress_bar': progress_bar}
    opened, color = _open(source)
    observed = store.run(
        'median',
        (options.median, color),
        lambda: _observe(opened, bias, dark, options.median, threads),
    )
    frame = unpack(observed, ndim=(2, 3))
    planes = split_planes(np.where(frame.bad, np.nan, frame.data), color)
    sigma = _sigma_planes(frame, color)
    detection = _detect(planes, sigma, mask, options, frame, color)
    weight = _weight(detection, options)
    fill = _filler(options)
    clean = store.run(
        'clean',
        # The mask may be the user's, or the answer of somebody else.
        (*_fill_settings(options), fingerprint(weight)),
        lambda: _fill(frame, planes, weight, fill, options, add_keyword),
    )
    flat = _synthesize(frame, clean, weight, color)
    report = _report(planes, sigma, weight, flat, detection, fill, observed)
    record(
        flat.meta,
        'dustflat',
        history=f'{report.verdict}; exactly 1 off the dust, use norm_value=1',
        add_keyword=add_keyword,
        AFNDUST=(len(detection.catalogue), 'dust objects'),
        AFTOUCH=(report.numbers['touched_percent'], '[%] of the pixels not 1'),
    )
    advice = _advice(flat, clean, detection, options, add_keyword)
    stages = {
        'median': observed,
        'detection': detection,
        'weight': join_planes([weight], frame.shape),
        'clean': clean,
        'reused': list(store.reused),
        # As they are: a copy of an adviser would be a dictionary.
        'options': dict(vars(options)),
        'color': color,
        **advice,
    }
    return FlatSolution(flat, report=report, stages=stages, method='dust')


def _with_advisers(options: DustFlatOptions) -> DustFlatOptions:
    """Put objects in the place of the name 'gemini'."""
    changes = {}
    if options.detector == 'gemini':
        from astroflat.genai import GeminiDetector

        changes['detector'] = GeminiDetector(offline=options.detection)
    if options.inpainter == 'gemini':
        from astroflat.genai import GeminiInpainter

        changes['inpainter'] = GeminiInpainter()
    return replace(options, **changes) if changes else options


def _advice(
    flat: CCDData,
    clean: CCDData,
    detection: DustDetection,
    options: DustFlatOptions,
    add_keyword: Any,
) -> dict[str, Any]:
    """Write to the flat who advised, and return what the advisers returned."""
    advisers = {'detector': options.detector, 'inpainter': options.inpainter}
    stages = {
        name: list(adviser.stages)
        for name, adviser in advisers.items()
        if hasattr(adviser, 'stages')
    }
    if not stages:
        return {}
    from astroflat.genai._cards import note_advice, tell_advice

    found = getattr(detection, 'provenance', None)
    cards: dict[str, Any] = {}
    note_advice(cards, 'D', [found] if found else [], add_keyword=add_keyword)
    tell_advice(cards, flat.meta)
    tell_advice(clean.meta, flat.meta)
    return {'advice': stages}


def _open(source: Any) -> tuple[Any, str]:
    """Return a single image or an open stack, and its colour pattern."""
    from astroflat.io import open_frames

    if getattr(source, 'ndim', None) == 2:
        return source, 'mono'
    stack = open_frames(source)
    if len(stack) == 1:
        return stack.ccd(0), stack.color
    return stack, stack.color


def _observe(
    opened: Any, bias: Any, dark: Any, options: dict, threads: dict
) -> CCDData:
    """Return the image that shows the dust, with its uncertainty."""
    from astroflat.combine import median_flat

    if isinstance(opened, (CCDData, np.ndarray)) or not hasattr(opened, 'read_rows'):
        ccd = to_ccd(opened, unit=getattr(opened, 'unit', None) or u.adu)
        return _subtract(unpack(ccd, ndim=(2, 3)), bias=bias, dark=dark)
    with opened:
        return median_flat(opened, bias=bias, dark=dark, **options, **threads)


def _subtract(frame: Frame, **offsets: Any) -> CCDData:
    """Subtract bias and dark frame from an image, with their masks and errors."""
    data, bad, variance = frame.data, frame.mask, frame.variance
    for name, image in offsets.items():
        if image is None:
            continue
        offset = unpack(image, unit=frame.unit, ndim=(2, 3))
        if offset.shape != frame.shape:
            msg = f'{name} has the shape {offset.shape}, the image has {frame.shape}'
            raise ValueError(msg)
        data = data - offset.data
        if offset.bad.any():
            bad = offset.bad if bad is None else bad | offset.bad
        if variance is not None and offset.variance is not None:
            variance = variance + offset.variance
    return frame.ccd(data.astype(np.float32), mask=bad, variance=variance)


def _sigma_planes(frame: Frame, color: str) -> list[np.ndarray] | None:
    """Return the standard deviation of each plane, if it is known."""
    if frame.variance is None:
        return None
    return split_planes(np.sqrt(frame.variance), color)


def _detect(
    planes: list[np.ndarray],
    sigma: list[np.ndarray] | None,
    mask: Any,
    options: DustFlatOptions,
    frame: Frame,
    color: str,
) -> DustDetection:
    """Find the dust in the mean of the planes, or take the user's mask."""
    from astroflat.dust import DustDetection, detect_dust

    image = mean_plane(planes)
    bad = ~np.isfinite(image)
    if mask is not None:
        given = np.asarray(mask, bool)
        if given.shape != frame.shape[:2]:
            msg = f'mask has the shape {given.shape}, the frames have {frame.shape}'
            raise ValueError(msg)
        return DustDetection.from_mask(
            np.any(split_planes(given, color), axis=0) & ~bad, image
        )
    ccd = CCDData(
        np.where(bad, 0, image),
        unit=u.one,
        mask=bad if bad.any() else None,
        uncertainty=None
        if sigma is None or len(sigma) > 1
        else StdDevUncertainty(np.nan_to_num(sigma[0])),
    )
    return detect_dust(ccd, detector=options.detector, **options.detection)


def _weight(detection: DustDetection, options: DustFlatOptions) -> np.ndarray:
    """Return the weight of the correction: 1 on the dust, 0 off it."""
    from astroflat.dust import dilate_mask, feather_mask

    mask = dilate_mask(
        detection.mask, radius=options.margin, relative=options.relative_margin
    )
    return feather_mask(mask, sigma=options.feather)


def _fill_settings(options: DustFlatOptions) -> tuple:
    """Return the settings that the filled image depends on."""
    return (
        options.margin,
        options.relative_margin,
        options.feather,
        repr(options.inpainter),
        options.match,
        repr(options.detector),
        sorted(options.detection.items()),
    )


def _filler(options: DustFlatOptions) -> Any:
    """Return a function that fills holes and tells how sure it is."""
    from astroflat.dust import inpaint

    def fill(image: np.ndarray, holes: np.ndarray) -> tuple:
        return inpaint(image, holes, method=options.inpainter, return_uncertainty=True)

    return fill


def _fill(
    frame: Frame,
    planes: list[np.ndarray],
    weight: np.ndarray,
    fill: Any,
    options: DustFlatOptions,
    add_keyword: Any,
) -> CCDData:
    """Fill every plane where the weight is not zero."""
    from astroflat.dust import match_histogram

    holes = weight > 0
    before = len(getattr(options.inpainter, 'provenance', ()))
    filled, sigmas = [], []
    for plane in planes:
        clean, sigma = fill(plane, holes)
        if options.match is not None:
            clean = match_histogram(clean, plane, mask=holes, method=options.match)
        filled.append(clean)
        sigmas.append(np.zeros_like(clean) if sigma is None else sigma)
    data = join_planes(filled, frame.shape)
    sigma = np.where(
        join_planes([holes], frame.shape), join_planes(sigmas, frame.shape), 0
    )
    return frame.ccd(
        data.astype(np.float32),
        mask=~np.isfinite(data) if not np.isfinite(data).all() else None,
        variance=(sigma**2).astype(np.float32),
        meta=_fill_meta(frame, options, before, add_keyword),
    )


def _fill_meta(
    frame: Frame, options: DustFlatOptions, before: int, add_keyword: Any
) -> Any:
    """Return the metadata of the fill: those of the image, and who advised."""
    meta = copy.deepcopy(frame.meta)
    answers = getattr(options.inpainter, 'provenance', None)
    if answers:
        from astroflat.genai._cards import note_advice

        note_advice(meta, 'I', answers[before:], add_keyword=add_keyword)
    return meta


def _synthesize(
    frame: Frame, clean: CCDData, weight: np.ndarray, color: str
) -> CCDData:
    """Return the flat, made plane by plane."""
    from astroflat.dust import synthetic_flat

    observed = _split_frame(frame, color)
    filled = _split_frame(unpack(clean, ndim=(2, 3)), color)
    flats = [
        synthetic_flat(o, c, weight) for o, c in zip(observed, filled, strict=True)
    ]
    parts = [unpack(flat) for flat in flats]
    return frame.ccd(
        _join([p.data for p in parts], frame.shape),
        mask=_join([p.mask for p in parts], frame.shape),
        variance=_join([p.variance for p in parts], frame.shape),
        unit=u.dimensionless_unscaled,
        meta=parts[0].meta,
    )


def _split_frame(frame: Frame, color: str) -> list[CCDData]:
    """Return the planes of an image with mask and uncertainty."""
    planes = split_planes(frame.data, color)
    bad = split_planes(frame.bad, color)
    sigma = _sigma_planes(frame, color) or [None] * len(planes)
    return [
        CCDData(
            data,
            unit=frame.unit or u.one,
            mask=mask if mask.any() else None,
            uncertainty=None if error is None else StdDevUncertainty(error),
            meta=frame.meta,
        )
        for data, mask, error in zip(planes, bad, sigma, strict=True)
    ]


def _join(planes: list, shape: tuple[int, ...]) -> np.ndarray | None:
    """Join planes, of which some may be missing."""
    known = next((p for p in planes if p is not None), None)
    if known is None:
        return None
    return join_planes(
        [np.zeros_like(known) if p is None else p for p in planes], shape
    )


def _report(
    planes: list[np.ndarray],
    sigma: list[np.ndarray] | None,
    weight: np.ndarray,
    flat: CCDData,
    detection: DustDetection,
    fill: Any,
    observed: CCDData,
) -> QualityReport:
    """Measure what the fill is worth and give the verdict."""
    from astroflat.dust import dilate_mask

    holes = weight > 0
    bad = ~np.isfinite(planes[0])
    control = control_holes(holes, dilate_mask(holes | bad, radius=4))
    error = fill_error(planes[0], control, fill, None if sigma is None else sigma[0])
    dust = join_planes([detection.mask], flat.shape)
    depth = flat.data[dust] - 1.0
    numbers = {
        'n_frames': int(observed.meta.get('NCOMBINE', 1)),
        'n_dust': len(detection.catalogue),
        'touched_percent': 100 * float(np.mean(flat.data != 1)),
        'dust_percent': 100 * float(np.sqrt(np.mean(depth**2))) if dust.any() else 0.0,
        'bright_percent': 100 * float(np.mean(depth > _SHINES - 1))
        if dust.any()
        else 0.0,
        'control_pixels': int(control.sum()),
        **error,
    }
    numbers['dust_mmag'] = to_mmag(numbers['dust_percent'] / 100)
    numbers['fill_mmag'] = to_mmag(numbers['fill_percent'] / 100)
    return _judge(QualityReport('dust flat', numbers, LIMITS))


def _judge(report: QualityReport) -> QualityReport:
    """Compare the numbers with the limits."""
    n = report.numbers
    if n['n_dust'] == 0:
        return report.check(False, 'weak', 'no dust was found: the flat is 1')
    ratio = n['fill_percent'] / n['dust_percent'] if n['dust_percent'] else np.inf
    text = (
        f'the fill misses by {n["fill_percent"]:.2f} % where the truth is known; '
        f'doing nothing leaves {n["dust_percent"]:.2f} %'
    )
    for limit, verdict in (('reject', 'reject'), ('accept', 'weak')):
        report = report.check(
            n['bright_percent'] <= report.thresholds[f'bright_percent_{limit}'],
            verdict,
            f'{n["bright_percent"]:.2g} % of what was found shines: sources that stay '
            'on their pixels; use more dithered frames, or look for dark dust only',
        )
        if report.verdict == 'reject':
            break
    measured = n['control_pixels'] > 0
    report = report.check(
        measured, 'weak', 'no room for control holes: the fill was not measured'
    )
    limits = report.thresholds
    for limit, verdict in (
        ('fill_over_dust_reject', 'reject'),
        ('fill_over_dust_accept', 'weak'),
    ):
        passed = not measured or ratio < limits[limit]
        report = report.check(passed, verdict, text)
        if not passed:
            break
    report = report.check(
        not measured or n['fill_percent'] < limits['fill_percent_accept'], 'weak', text
    )
    report = report.check(
        n['dust_percent'] < limits['dust_percent_reject'],
        'reject',
        f'{n["dust_percent"]:.0f} % is no dust: are these gaps between sources?',
    )
    report = report.check(
        not n['fill_chi'] >= limits['fill_chi_accept'],
        'weak',
        f'the fill errs {n["fill_chi"]:.1f} times as much as it claims',
    )
    touched = f'{n["touched_percent"]:.0f} % of the pixels are touched'
    report = report.check(
        n['touched_percent'] < limits['touched_percent_reject'], 'reject', touched
    )
    return report.check(
        n['touched_percent'] < limits['touched_percent_accept'], 'weak', touched
    )
