# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The work of a night, step by step, each step only where it is not done yet."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroflat._progress import progress
from astroflat.pipelines._night_flats import GroupTask, SettledFlat, settle_flat
from astroflat.pipelines._night_frame import FrameTask, process_frame
from astroflat.pipelines._night_masters import (
    make_flat_master,
    make_master,
)
from astroflat.pipelines._night_noise import measure_noise
from astroflat.pipelines._night_overscan import PrepareTask, prepare_frame
from astroflat.pipelines._night_sets import Offset
from astroflat.pipelines._night_store import publish, read_json, write_json
from astroflat.pipelines._night_tasks import (
    NightTasks,
    calibration_cards,
    mosaic_pattern,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from astroflat.pipelines._night_files import NightFile
    from astroflat.pipelines._night_groups import GroupPlan
    from astroflat.pipelines._night_workers import Workers

__all__ = ['NightJob']


@dataclass
class NightJob(NightTasks):
    """
    What is to be done, and what is done already.

    Parameters
    ----------
    folder : `pathlib.Path`
        The folder of the night.

    store : NightStore
        The folder of the results.

    plan : NightPlan
        The plan.

    options : NightOptions
        The options.

    progress_bar : bool
        Whether to show the progress.

    n_threads : int or None
        Threads for the flats of groups.
    """

    progress_bar: bool = False
    n_threads: int | None = None
    records: dict[str, dict] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    settled: dict[str, SettledFlat] = field(default_factory=dict)
    todo: list[tuple[GroupPlan, NightFile, str]] = field(default_factory=list)

    def look(self) -> None:
        """Find out what is done already."""
        for file in self.plan.files:
            # Nobody knows what an unreadable file was: most files are lights.
            if file.kind == 'damaged' and file.cards.get('was') in ('light', ''):
                self.failures[file.name] = file.why
        last = self.store.last_report()
        known = {r['key']: r for r in last.get('frames', []) if r.get('key')}
        groups = {g['key']: g for g in last.get('groups', [])}
        for group in self.plan.groups:
            note = read_json(self.store.path('group', group.key, '.json'))
            if note is not None:
                self.settled[group.key] = SettledFlat(**note)
            elif (groups.get(group.key) or {}).get('flat'):
                kept = groups[group.key]['flat']
                self.settled[group.key] = SettledFlat(**{**kept, 'files': {}})
            for file in group.lights.files:
                key = group.frame_key(file, self.options)
                record = self.store.done(key, known)
                if record is None:
                    self.todo.append((group, file, key))
                else:
                    self.records[file.name] = record

    def check_outputs(self, *, overwrite: bool) -> None:
        """
        Make sure that nothing is replaced that an unfinished run did not write.

        Parameters
        ----------
        overwrite : bool
            Whether results of other inputs or settings may be replaced.
        """
        begun = read_json(self._begun) or {}
        if not overwrite:
            for _, file, key in self.todo:
                for name in self.plan.outputs(file, self.options).values():
                    taken = (self.store.folder / name).exists()
                    if taken and begun.get(name) != key:
                        msg = (
                            f'{name!r} exists, made of other frames or with other '
                            'settings; use overwrite=True to replace it'
                        )
                        raise FileExistsError(msg)

    def begin(self) -> None:
        """Note what is about to be written, for a run that goes on after this one."""
        mine = {
            name: key
            for _, file, key in self.todo
            for name in self.plan.outputs(file, self.options).values()
        }
        write_json(self._begun, (read_json(self._begun) or {}) | mine)

    @property
    def n_done(self) -> int:
        """The number of lights that were calibrated by this run."""
        return sum(file.name in self.records for _, file, _ in self.todo)

    @property
    def _begun(self) -> Path:
        return self.store.work / 'begun.json'

    def run(self, workers: Workers, *, masters: bool = False) -> None:
        """
        Do what is left to do.

        Parameters
        ----------
        workers : Workers
            Where it is done.

        masters : bool, optional
            Whether to make the masters of groups that are done, too.
        """
        groups = {id(g): g for g, _, _ in self.todo}.values()
        if masters:
            groups = self.plan.groups
        self._prepare(workers, list(groups))
        self._masters(workers, list(groups))
        ready = self._settle(workers, list(groups))
        tasks = [
            self._frame_task(g, f, key) for g, f, key in self.todo if g.key in ready
        ]
        done = self._go(workers, process_frame, tasks, 'lights')
        for task, result in done:
            if isinstance(result, Exception):
                self.failures[task.name] = _words(result)
            else:
                self.records[task.name] = result

    def _go(
        self, workers: Workers, function: Callable, tasks: list, description: str
    ) -> Iterator[tuple[Any, Any]]:
        """Run tasks with a bar that tells the time left."""
        return progress(
            workers.run(function, tasks),
            enabled=self.progress_bar and bool(tasks),
            total=len(tasks),
            description=description,
        )

    # ------------------------------------------------------------ overscan
    def _prepare(self, workers: Workers, groups: list[GroupPlan]) -> None:
        """Take the overscan off what masters and flats are made of."""
        files = {f.name: f for g in groups for f in g.needed if f.sections}
        tasks = {
            PrepareTask(os.fspath(self.folder / f.name), self._source(f), f.sections): f
            for f in files.values()
        }
        done = self._go(workers, prepare_frame, list(tasks), 'overscan')
        for task, result in done:
            # A light that cannot be read is missed, and named, where it is needed.
            if isinstance(result, Exception) and tasks[task].kind != 'light':
                raise result

    # ------------------------------------------------------------ masters
    def _masters(self, workers: Workers, groups: list[GroupPlan]) -> None:
        """Make the masters, the ones first that others need."""
        for tasks in self._master_tasks(groups):
            self._all(workers, make_master, tasks, 'bias and dark')
        flats = {g.flats.key: self._flat_task(g) for g in groups if g.flats is not None}
        noise = {g.noise_key: self._noise_task(g) for g in groups if g.measures_noise}
        self._all(workers, measure_noise, list(noise.values()), 'noise')
        tried = self._go(workers, make_flat_master, list(flats.values()), 'flats')
        for task, result in tried:
            if isinstance(result, Exception):
                self._bad_flats[task.output] = _words(result)

    def _all(
        self, workers: Workers, function: Callable, tasks: list, description: str
    ) -> None:
        """Run tasks that must not fail."""
        for _, result in self._go(workers, function, tasks, description):
            if isinstance(result, Exception):
                raise result

    _bad_flats: dict[str, str] = field(default_factory=dict)

    # ------------------------------------------------------------ flats
    def _settle(self, workers: Workers, groups: list[GroupPlan]) -> set[str]:
        """Decide on the flats; return the groups that have one, or need none."""
        tasks = {g.key: self._group_task(g) for g in groups}
        keys = {task.output: key for key, task in tasks.items()}
        # A flat takes all processors of this machine; a cluster takes them all.
        local = workers if workers.client is not None else type(workers)(1)
        done = self._go(local, settle_flat, list(tasks.values()), 'decide on flats')
        for task, result in done:
            key = keys[task.output]
            if isinstance(result, Exception):
                for group, file, _ in self.todo:
                    if group.key == key:
                        self.failures[file.name] = f'no flat: {_words(result)}'
            else:
                self.settled[key] = result
        return set(self.settled)

    def _group_task(self, group: GroupPlan) -> GroupTask:
        """Return what decides on the flat of a group."""
        bias, dark = self.offset_paths(group.sample_offset)
        flat = None
        if group.flats is not None:
            flat = self._flat_path(group)
            if flat in self._bad_flats:
                group.doubts.append(f'flats not used: {self._bad_flats[flat]}')
                flat = None
        return GroupTask(
            group.lights.label,
            self.options.flats,
            self._paths(group.sample),
            bias,
            dark,
            group.sample_offset.scale,
            flat,
            tuple(group.wrong),
            self.store.path('group', group.key),
            self.n_threads,
            mosaic_pattern(group.lights.files[0]),
        )

    # ------------------------------------------------------------ lights
    def _frame_task(self, group: GroupPlan, file: NightFile, key: str) -> FrameTask:
        """Return what calibrates a light."""
        offset = group.offset_of(file)
        bias, dark = self.offset_paths(offset)
        return FrameTask(
            file.name,
            key,
            os.fspath(self.folder / file.name),
            os.fspath(self.store.record_path(key)),
            os.fspath(self.store.folder),
            self.plan.outputs(file, self.options),
            bias,
            dark,
            offset.scale,
            self.zero_path(offset),
            self._noise_path(group),
            self.store.path('group', group.key, '.json'),
            self._history(group, offset),
            calibration_cards(group, offset),
            self.options.device,
            file.sections,
        )

    def _history(self, group: GroupPlan, offset: Offset) -> tuple[str, ...]:
        """Return lines on what was done, for the header."""
        words = [*offset.words, *self.settled[group.key].words]
        return tuple(w.replace('±', '+/-') for w in words)

    def keep_masters(self) -> None:
        """Copy the masters out of the work folder."""
        for path in sorted((self.store.work / 'masters').glob('*.fits')):
            target = self.store.folder / 'masters' / path.name
            publish(target, lambda temporary, p=path: shutil.copyfile(p, temporary))

    def report_groups(self) -> list[dict[str, Any]]:
        """
        Return what was decided on each group, for the report.

        Returns
        -------
        groups : list of dict
            Plain values.
        """
        return [
            {
                'label': g.lights.label,
                'key': g.key,
                'settings': g.lights.settings,
                'n_lights': len(g.lights.files),
                'lights': [f.name for f in g.lights.files],
                'words': g.words,
                'doubts': g.doubts,
                'flat': {**asdict(self.settled[g.key]), 'files': {}}
                if g.key in self.settled
                else None,
            }
            for g in self.plan.groups
        ]


def _words(error: Exception) -> str:
    """Return an error in one line."""
    text = ' '.join(str(error).split())
    return text or type(error).__name__
