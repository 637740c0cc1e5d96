# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A whole night: found, calibrated, flattened, and reported on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from astroflat._arrays import n_threads as count_threads
from astroflat._report import QualityReport

if TYPE_CHECKING:
    import os

    from astroflat.pipelines._night_groups import NightPlan

__all__ = ['NightReport', 'run_night']

Flats = Literal['auto', 'given', 'lights', 'single', 'none']
_FLATS = ('auto', 'given', 'lights', 'single', 'none')
# Bytes per pixel that one frame at work needs at most, masters included.
_BYTES = 130
# The same for the decision on the flat of a group, however many lights decide.
_DECIDING = 410


@dataclass(frozen=True)
class NightReport:
    """
    What `run_night` found, decided and did.

    Parameters
    ----------
    output : `pathlib.Path`
        The folder of the results.

    verdict : {'accept', 'weak', 'reject'}
        The worst of the verdicts on the flats; 'reject' also if a light could
        not be calibrated.

    reasons : list of str
        Why.

    lines : list of str
        What was found and decided, in sentences.

    frames : list of dict
        One for each light: name, status, files, level of the sky ...

    n_done, n_kept, n_failed : int
        Lights that were calibrated now, that had been, and that could not be.

    dry_run : bool
        Whether this is a plan only.

    Examples
    --------
    >>> from pathlib import Path
    >>> from astroflat.pipelines import NightReport
    >>> NightReport(Path('out'), n_done=3).success
    True
    """

    output: Path
    verdict: str = 'accept'
    reasons: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    frames: list[dict[str, Any]] = field(default_factory=list)
    n_done: int = 0
    n_kept: int = 0
    n_failed: int = 0
    dry_run: bool = False

    @property
    def success(self) -> bool:
        """Whether every light is calibrated, and no flat is rejected."""
        return self.n_failed == 0 and self.verdict != 'reject'

    @property
    def paths(self) -> list[Path]:
        """The files of the results, without the report."""
        return [self.output / n for f in self.frames for n in f.get('files', {})]

    @property
    def report(self) -> QualityReport:
        """The same as a `~astroflat.quality.QualityReport`."""
        numbers = {
            'n_lights': len(self.frames),
            'n_done': self.n_done,
            'n_kept': self.n_kept,
            'n_failed': self.n_failed,
        }
        return QualityReport('night', numbers, {}, self.verdict, self.reasons)

    def __str__(self) -> str:
        return '\n'.join(self.lines)


def run_night(
    folder: str | os.PathLike,
    *,
    output: str | os.PathLike | None = None,
    flats: Flats = 'auto',
    denoise: bool = False,
    restore: bool = False,
    device: Literal['auto', 'cpu', 'cuda'] = 'auto',
    recursive: bool = True,
    sample: int = 60,
    overwrite: bool = False,
    dry_run: bool = False,
    keep_masters: bool = False,
    n_workers: int | None = None,
    processes: bool = False,
    mem_limit: float = 4e9,
    overscan: str | None = 'auto',
    trim: str | None = 'auto',
    client: Any = None,
    scheduler: str | None = None,
    progress_bar: bool = False,
) -> NightReport:
    """
    Calibrate a whole night, and say what was decided.

    Parameters
    ----------
    folder : path-like
        The folder with lights, flats, darks and bias frames, as FITS, in any
        folders inside of it. It is not changed.

    output : path-like, optional
        The folder of the results; ``calibrated`` inside of ``folder`` by
        default.

    flats : {'auto', 'given', 'lights', 'single', 'none'}, optional
        Check the flats that are found with the lights, repair them if they
        are not right, and make flats of the lights where there are none; take
        those that are found, unchecked; make all of the lights; find the
        fields of each light in the light itself; or do not flatten.

    denoise, restore : bool, optional
        Write denoised or restored frames as well, in folders of these names.

    device : {'auto', 'cpu', 'cuda'}, optional
        Where networks run.

    recursive : bool, optional
        Whether to look into folders inside of ``folder``.

    sample : int, optional
        The number of lights of a group that decide on its flat at most.

    overwrite : bool, optional
        Whether results of other frames or settings may be replaced. Those
        that are up to date stay.

    dry_run : bool, optional
        Plan only; nothing is written.

    keep_masters : bool, optional
        Keep the masters of bias, dark and flat in the folder ``masters`` of
        the results.

    n_workers : int, optional
        The number of frames to work on at a time; by default as many as there
        are processors, as far as ``mem_limit`` allows.

    processes : bool, optional
        Processes in place of threads.

    mem_limit : float, optional
        Bytes of memory for the frames at work. To decide on a flat takes some
        410 bytes for each pixel of a frame in any case, one group after the
        other on this machine; the plan says so where that is more.

    overscan, trim : str or None, optional
        The part of a raw frame that no light reaches, whose level is
        subtracted, and the part that is kept: sections as FITS writes them,
        such as ``'[1025:1056, *]'``, for all frames of the size of the lights.
        'auto' takes those of ``BIASSEC``, and of ``TRIMSEC`` or ``DATASEC``;
        `None` leaves frames as they are.

    client : `dask.distributed.Client`, optional
        A cluster to work on. Its workers see both folders under the same
        paths.

    scheduler : str, optional
        The address of its scheduler instead.

    progress_bar : bool, optional
        Show the progress and the time left on standard error.

    Returns
    -------
    report : NightReport
        What was found, decided and done. ``print(report)`` tells it all.

    Raises
    ------
    ValueError
        If there are no lights, or an option is not known.

    FileExistsError
        If a result exists that was made of other frames or with other
        settings, and ``overwrite`` is `False`; nothing is written.

    BlockingIOError
        If another run is at work in the folder of the results.

    See Also
    --------
    astroflat.selfcal.group_frames : How lights are grouped.
    astroflat.repair_flat : How flats are checked and repaired.
    astroflat.self_flat : How flats are made of lights.

    Notes
    -----
    Frames are told apart by ``IMAGETYP`` and its relatives, else by names of
    files and folders; every guess is reported. Lights are grouped by camera,
    filter, binning, gain, temperature, rotator angle and size. A dark of the
    same exposure is subtracted, else a bias and a scaled dark, else the bias.
    Masters are medians. The gain is that of the header, or measured from two
    flats and two bias frames; the read noise is measured from bias frames or
    the overscan, or that of the header. They give the uncertainties.

    The results are the calibrated lights, with mask, uncertainty and WCS,
    under their own names, and ``night.html``, ``night.json`` and
    ``night.csv``. Every file is complete or absent. After a kill at any
    moment the same call goes on, and the bytes are those of a run that was
    not killed. When all is done it does nothing.

    Examples
    --------
    >>> import tempfile
    >>> import astroflat as af
    >>> from astroflat.degradation import simulate_night
    >>> folder = tempfile.mkdtemp()
    >>> _ = simulate_night(3, (96, 128), dither=5, rng=1).write(folder)
    >>> report = af.run_night(folder, flats='none')
    >>> report.n_done, report.success
    (3, True)
    >>> sorted(p.name for p in report.output.iterdir())[:3]
    ['light_0001.fits', 'light_0002.fits', 'light_0003.fits']
    >>> af.run_night(folder, flats='none').n_kept
    3
    """
    from astroflat.pipelines._night_files import list_night
    from astroflat.pipelines._night_groups import NightOptions
    from astroflat.pipelines._night_job import NightJob
    from astroflat.pipelines._night_plan import make_plan
    from astroflat.pipelines._night_sections import with_sections
    from astroflat.pipelines._night_store import NightStore

    _check(flats=flats, sample=sample, n_workers=n_workers, mem_limit=mem_limit)
    folder = Path(folder)
    target = folder / 'calibrated' if output is None else Path(output)
    if target.resolve() == folder.resolve():
        msg = f'output is the folder of the night, {folder.name!r}; choose another'
        raise ValueError(msg)
    options = NightOptions(flats, denoise, restore, device, sample)
    files = list_night(folder, recursive=recursive, leave=target)
    files = with_sections(files, overscan, trim)
    job = NightJob(
        folder, NightStore(target), make_plan(files, options), options, progress_bar
    )
    job.look()
    _note_memory(job, mem_limit)
    n = _count_workers(job.plan, n_workers, mem_limit)
    if dry_run:
        return _planned(job)
    complete = job.store.report.is_file() and not _missing_pages(target)
    if keep_masters and not (target / 'masters').is_dir():
        complete = False
    if not job.todo and complete:
        job.store.finish()
        return _finished(job)
    pool = {'n': n, 'processes': processes, 'client': client, 'scheduler': scheduler}
    return _work(job, pool, overwrite=overwrite, keep_masters=keep_masters)


def _check(*, flats: str, sample: int, n_workers: int | None, mem_limit: float) -> None:
    """Check options."""
    if flats not in _FLATS:
        msg = f'flats must be one of {_FLATS}, not {flats!r}'
        raise ValueError(msg)
    if not sample >= 1:
        msg = f'sample must be at least 1, not {sample!r}'
        raise ValueError(msg)
    if n_workers is not None and not n_workers >= 1:
        msg = f'n_workers must be at least 1, not {n_workers!r}'
        raise ValueError(msg)
    if not mem_limit > 0:
        msg = f'mem_limit must be positive, not {mem_limit!r}'
        raise ValueError(msg)


def _count_workers(plan: NightPlan, n_workers: int | None, mem_limit: float) -> int:
    """Return how many frames are worked on at a time."""
    shapes = [g.lights.settings['shape'] for g in plan.groups]
    largest = max(ny * nx for ny, nx in shapes)
    fitting = int(mem_limit // (largest * _BYTES))
    return max(1, min(count_threads(n_workers), fitting))


def _note_memory(job: Any, mem_limit: float) -> None:
    """Say what a decision on a flat takes, where that is more than is allowed."""
    if job.options.flats not in ('auto', 'lights'):
        return
    for group in {id(g): g for g, _, _ in job.todo}.values():
        ny, nx = group.lights.settings['shape']
        # Of a mosaic the cells are looked at, not the pixels.
        mosaic = group.lights.files[0].cards.get('BAYERPAT')
        need = _DECIDING * ny * nx / (4 if mosaic else 1)
        if need > mem_limit and group.key not in job.settled:
            # The results must not depend on the memory: it is said, not evaded.
            group.words.append(
                f'to decide on the flat takes {need / 1e9:.1f} GB, more than mem_limit '
                f'({mem_limit / 1e9:.1f} GB); flats="given" needs no more than that'
            )


def _missing_pages(folder: Path) -> bool:
    """Tell whether a page of the report was removed."""
    return not all((folder / f'night.{e}').is_file() for e in ('html', 'csv'))


def _work(
    job: Any, pool: dict[str, Any], *, overwrite: bool, keep_masters: bool
) -> NightReport:
    """Do what is left to do, and report on it."""
    from astroflat.pipelines._night_pages import write_pages
    from astroflat.pipelines._night_workers import make_workers

    job.check_outputs(overwrite=overwrite)
    job.store.folder.mkdir(parents=True, exist_ok=True)
    with job.store.locked():
        job.begin()
        with make_workers(**pool) as workers:
            job.run(workers, masters=keep_masters)
        result = _finished(job)
        if keep_masters:
            job.keep_masters()
        write_pages(job, result)
        job.store.finish()
    return result


def _planned(job: Any) -> NightReport:
    """Return the plan."""
    from astroflat.pipelines._night_words import plan_lines

    return NightReport(
        job.store.folder,
        lines=plan_lines(job),
        n_kept=len(job.records),
        dry_run=True,
    )


def _finished(job: Any) -> NightReport:
    """Return what was done."""
    from astroflat.pipelines._night_words import judge, report_lines

    verdict, reasons = judge(job)
    failed = [
        {'name': name, 'status': 'failed', 'why': why}
        for name, why in job.failures.items()
    ]
    frames = [*job.records.values(), *failed]
    result = NightReport(
        job.store.folder,
        verdict,
        reasons,
        frames=sorted(frames, key=lambda f: f['name']),
        n_done=job.n_done,
        n_kept=len(job.records) - job.n_done,
        n_failed=len(job.failures),
    )
    result.lines.extend(report_lines(job, result))
    return result
