# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Where the files of a night are, and what makes its masters."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroflat.pipelines._night_files import output_name
from astroflat.pipelines._night_masters import FlatTask, MasterTask
from astroflat.pipelines._night_noise import NoiseTask
from astroflat.pipelines._stages import hash_of_values

if TYPE_CHECKING:
    from astroflat.pipelines._night_files import NightFile
    from astroflat.pipelines._night_groups import GroupPlan, NightOptions, NightPlan
    from astroflat.pipelines._night_sets import FrameSet, Offset
    from astroflat.pipelines._night_store import NightStore

__all__ = ['NightTasks', 'calibration_cards', 'full_scale', 'mosaic_pattern']


@dataclass
class NightTasks:
    """
    What is to be done.

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
    """

    folder: Path
    store: NightStore
    plan: NightPlan
    options: NightOptions

    def _source(self, file: NightFile) -> str:
        """Return where a frame is, without its overscan if it has one."""
        if not file.sections:
            return os.fspath(self.folder / file.name)
        place = self.store.work / 'trimmed' / hash_of_values(list(file.key))[:16]
        return os.fspath(place / output_name(Path(file.name).name))

    def _master_tasks(self, groups: list[GroupPlan]) -> list[list[MasterTask]]:
        """Return the bias frames, and the darks after them."""
        first, second = {}, {}
        for offset in (o for g in groups for o in (*g.offsets.values(), g.flat_offset)):
            bias, dark = self.offset_paths(offset)
            zero = self.zero_path(offset)
            if zero is not None and bias is None:
                first[zero] = MasterTask(self._paths(offset.zero), zero)
            if bias is not None:
                first[bias] = MasterTask(self._paths(offset.bias), bias)
            if dark is not None:
                second[dark] = MasterTask(self._paths(offset.dark), dark, bias)
        return [list(first.values()), list(second.values())]

    def offset_paths(self, offset: Offset) -> tuple[str | None, str | None]:
        """
        Return where the masters of an offset are.

        Parameters
        ----------
        offset : Offset
            What is subtracted.

        Returns
        -------
        bias, dark : str or None
            The files.
        """
        bias = dark = None
        if offset.bias is not None:
            bias = self.store.path('bias', offset.bias.key)
        if offset.dark is not None:
            freed = '' if offset.bias is None else f'-{offset.bias.key[:12]}'
            dark = self.store.path('dark', offset.dark.key + freed)
        return bias, dark

    def zero_path(self, offset: Offset) -> str | None:
        """
        Return where the bias is that tells which counts are light.

        Parameters
        ----------
        offset : Offset
            What is subtracted.

        Returns
        -------
        zero : str or None
            The file.
        """
        if offset.zero is None:
            return None
        return self.store.path('bias', offset.zero.key)

    def _paths(self, frames: FrameSet | list[NightFile]) -> tuple[str, ...]:
        """Return the paths of frames."""
        files = getattr(frames, 'files', frames)
        return tuple(self._source(f) for f in files)

    def _flat_path(self, group: GroupPlan) -> str:
        """Return where a master flat is."""
        key = group.flats.key + group.flat_offset.key[:12]
        return self.store.path('flat', key)

    def _flat_task(self, group: GroupPlan) -> FlatTask:
        """Return what makes a master flat."""
        bias, dark = self.offset_paths(group.flat_offset)
        file = group.flats.files[0]
        return FlatTask(
            self._paths(group.flats),
            self._flat_path(group),
            bias,
            dark,
            group.flat_scales,
            full_scale(file),
            file.master,
        )

    def _noise_path(self, group: GroupPlan) -> str | None:
        """Return where the noise of the camera is."""
        return (
            self.store.path('noise', group.noise_key, '.json')
            if group.measures_noise
            else None
        )

    def _noise_task(self, group: GroupPlan) -> NoiseTask:
        """Return what measures the noise."""
        flats, bias = (self._paths(f) for f in group.noise)
        strip = ()
        if group.strip is not None:
            path = os.fspath(self.folder / group.strip.name)
            strip = (path, group.strip.sections.overscan)
        return NoiseTask(
            flats,
            bias,
            self._noise_path(group),
            group.gain,
            strip,
            group.readnoise,
        )


def mosaic_pattern(file: NightFile) -> str:
    """
    Return the colours of a mosaic.

    Parameters
    ----------
    file : NightFile
        A frame.

    Returns
    -------
    pattern : str
        Four letters, or nothing.
    """
    pattern = str(file.cards.get('BAYERPAT', '') or '').strip()
    return pattern if len(pattern) == 4 else ''


def full_scale(file: NightFile) -> float | None:
    """
    Return the largest value that a pixel of a file can have.

    Parameters
    ----------
    file : NightFile
        A frame.

    Returns
    -------
    value : float or None
        None if its header does not tell.
    """
    full = file.cards.get('SATURATE')
    if isinstance(full, (int, float)):
        return float(full)
    bits = file.cards.get('BITPIX')
    if bits == 16:
        return 65535.0 if file.cards.get('BZERO') == 32768 else 32767.0
    return None


def calibration_cards(group: GroupPlan, offset: Offset) -> dict[str, Any]:
    """
    Return cards that say what a light was calibrated with.

    Parameters
    ----------
    group : GroupPlan
        Its group.

    offset : Offset
        What was subtracted.

    Returns
    -------
    cards : dict
        Values and comments by keyword.
    """
    done = 'B' * (offset.bias is not None or offset.dark is not None)
    done += 'D' * (offset.dark is not None)
    cards: dict[str, Any] = {
        'AFGROUP': (group.lights.label[:60], 'group of lights'),
        'CALSTAT': (done, 'bias and dark subtracted'),
    }
    counts = {
        'AFNBIAS': (offset.bias, 'bias frames'),
        'AFNDARK': (offset.dark, 'dark frames'),
        'AFNFLAT': (group.flats, 'flats found'),
    }
    for name, (frames, text) in counts.items():
        if frames is not None:
            cards[name] = (len(frames.files), text)
    if offset.scale != 1:
        cards['AFDSCALE'] = (round(offset.scale, 6), 'factor of the dark')
    return cards
