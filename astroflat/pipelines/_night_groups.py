# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The plan of a night: its options, and what each group of lights gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from astroflat.pipelines._night_files import output_name
from astroflat.pipelines._night_sets import FrameSet, Offset
from astroflat.pipelines._stages import hash_of_values

if TYPE_CHECKING:
    from astroflat.pipelines._night_files import NightFile

__all__ = ['GroupPlan', 'NightOptions', 'NightPlan']


@dataclass(frozen=True)
class NightOptions:
    """
    What results depend on, besides the files.

    Parameters
    ----------
    flats : str
        Where flats come from.

    denoise, restore : bool
        More steps.

    device : str
        Where networks run.

    sample : int
        The number of lights that a flat is checked with or made from.
    """

    flats: str = 'auto'
    denoise: bool = False
    restore: bool = False
    device: str = 'auto'
    sample: int = 60


@dataclass
class GroupPlan:
    """
    What a group of lights gets.

    Parameters
    ----------
    lights : FrameSet
        The lights.

    offsets : dict of Offset
        What is subtracted, by exposure.

    flats : FrameSet or None
        The flats that were found.

    wrong : list of str
        Settings in which they differ.

    flat_offset : Offset
        What is subtracted from the flats.

    flat_scales : tuple of float
        What the dark is multiplied by for each flat.

    noise : tuple
        Flats and bias frames that the noise is measured from.

    strip : NightFile or None
        The light whose overscan tells the read noise, without bias frames.

    gain : float or None
        That of the header.

    readnoise : float or None
        That of the header, where no frames tell it.

    sample : list of NightFile
        The lights that the flat is checked with or made from.

    words, doubts : list of str
        What was decided before any pixel was looked at.

    key : str
        A hash of all that the flat depends on.
    """

    lights: FrameSet
    offsets: dict[float | None, Offset]
    flats: FrameSet | None = None
    wrong: list[str] = field(default_factory=list)
    flat_offset: Offset = field(default_factory=Offset)
    flat_scales: tuple[float, ...] = ()
    noise: tuple[list[NightFile], list[NightFile]] = ((), ())
    strip: NightFile | None = None
    gain: float | None = None
    readnoise: float | None = None
    sample: list[NightFile] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    key: str = ''

    @property
    def needed(self) -> list[NightFile]:
        """The frames that masters, noise and the flat are made of."""
        offsets = [*self.offsets.values(), self.flat_offset]
        sets = [s for o in offsets for s in (o.bias, o.dark, o.zero)]
        files = [f for s in (*sets, self.flats) if s is not None for f in s.files]
        return [*files, *self.noise[0], *self.noise[1], *self.sample]

    @property
    def sample_offset(self) -> Offset:
        """What is subtracted from the lights of the sample."""
        return self.offsets[self.sample[0].exposure]

    def offset_of(self, file: NightFile) -> Offset:
        """
        Return what is subtracted from a light.

        Parameters
        ----------
        file : NightFile
            The light.

        Returns
        -------
        offset : Offset
            That of its exposure.
        """
        return self.offsets[file.exposure]

    def frame_key(self, file: NightFile, options: NightOptions) -> str:
        """
        Return a hash of all that the result of a light depends on.

        Parameters
        ----------
        file : NightFile
            The light.

        options : NightOptions
            The options.

        Returns
        -------
        key : str
            40 hexadecimal digits.
        """
        offset = self.offset_of(file).key
        return hash_of_values([list(file.key), offset, self.key, repr(options)])

    @property
    def measures_noise(self) -> bool:
        """Whether there is anything that tells the read noise."""
        found = bool(self.noise[1]) or self.strip is not None
        return found or self.readnoise is not None

    @property
    def has_zero(self) -> bool:
        """Whether something is subtracted from every light that holds the bias."""
        frames = [(o.bias, o.dark) for o in self.offsets.values()]
        return all(any(f is not None for f in pair) for pair in frames)

    @property
    def noise_key(self) -> str:
        """A hash of what the noise is measured from."""
        if self.readnoise is not None:
            return hash_of_values(['header', self.gain, self.readnoise])
        parts = [[list(f.key) for f in fs] for fs in self.noise]
        return hash_of_values(parts if self.strip is None else [*parts, self.strip.key])


@dataclass
class NightPlan:
    """
    All that is to be done.

    Parameters
    ----------
    files : list of NightFile
        What there is.

    groups : list of GroupPlan
        The groups of lights.

    words : list of str
        What was found and guessed.

    doubts : list of str
        What is odd about the folder.
    """

    files: list[NightFile]
    groups: list[GroupPlan]
    words: list[str]
    doubts: list[str]

    def outputs(self, file: NightFile, options: NightOptions) -> dict[str, str]:
        """
        Return the names of the results of a light.

        Parameters
        ----------
        file : NightFile
            The light.

        options : NightOptions
            The options.

        Returns
        -------
        names : dict of str
            By step, relative to the folder of the results.
        """
        name = output_name(file.name)
        names = {'calibrated': name}
        if options.denoise:
            names['denoised'] = f'denoised/{name}'
        if options.restore:
            names['restored'] = f'restored/{name}'
        return names
