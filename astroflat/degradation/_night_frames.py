# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The frames of a simulated night and their truth."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData
from astropy.table import QTable
from astropy.time import Time
from astropy.wcs import WCS

from astroflat.degradation._cameras import Camera
from astroflat.degradation._lazy import LazyFrames
from astroflat.degradation._sky import SkyDrift
from astroflat.degradation.sampler import SampledFields
from astroflat.degradation.scenes import Scene
from astroflat.degradation.sensor import SensorPattern, expose

__all__ = ['SimulatedNight']


@dataclass(frozen=True)
class SimulatedNight:
    """
    Frames of a night and all that they were made of.

    Parameters
    ----------
    scene : Scene
        The sky, larger than a frame, with the catalogue of its stars.
    fields : SampledFields or None
        Truth of the fields, if they were drawn.
    flat : ndarray of float32
        True multiplicative field F, ``(ny, nx)``, mean 1.
    fixed : ndarray of float32
        Part of G in electrons that is the same in every frame: glow, bias.
    drift : SkyDrift
        Level of the sky, transparency and gradient of every frame.
    offsets : ndarray
        Offset (dy, dx) of the sky on the detector in every frame, ``(n, 2)``.
    camera : Camera
        The camera.
    pattern : SensorPattern
        Dark current and hot pixels.
    times : `~astropy.time.Time`
        Starts of the exposures.
    exposure : float
        Exposure time in seconds.
    cosmic_rays : float
        Mean number of cosmic rays on a frame.
    filter_name : str
        Name of the filter, for the headers.
    wcs : `~astropy.wcs.WCS`
        Coordinates of a frame without offset.
    seeds : ndarray
        Seed of the noise of every frame.

    Examples
    --------
    >>> from astroflat.degradation import simulate_night
    >>> night = simulate_night(4, (50, 60), rng=1)
    >>> ccd = night.frames[0]
    >>> ccd.shape, ccd.unit.to_string(), ccd.header['IMAGETYP']
    ((50, 60), 'adu', 'LIGHT')
    """

    scene: Scene
    fields: SampledFields | None
    flat: np.ndarray
    fixed: np.ndarray
    drift: SkyDrift
    offsets: np.ndarray
    camera: Camera
    pattern: SensorPattern
    times: Time
    exposure: float
    cosmic_rays: float
    filter_name: str
    wcs: WCS
    seeds: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets)

    def __iter__(self) -> Iterator[CCDData]:
        return iter(self.frames)

    @property
    def sky(self) -> np.ndarray:
        """Level of the sky of every frame in electrons per pixel, ``(n,)``."""
        return self.drift.level

    @property
    def dust_mask(self) -> np.ndarray:
        """True under the dust, as far as it was drawn."""
        if self.fields is None:
            return np.zeros(self.flat.shape, dtype=bool)
        return self.fields.dust_mask

    @cached_property
    def frames(self) -> LazyFrames:
        """Raw frames as CCDData, made when they are looked at."""
        return LazyFrames(self.frame, len(self))

    @cached_property
    def gradients(self) -> LazyFrames:
        """True additive fields G in electrons, one per frame."""
        return LazyFrames(self.gradient, len(self))

    def gradient(self, index: int) -> np.ndarray:
        """
        Evaluate the additive field of one frame.

        Parameters
        ----------
        index : int
            Number of the frame.

        Returns
        -------
        ndarray of float32
            G in electrons, without bias and dark current.
        """
        return self.drift.gradient(index, self.flat.shape) + self.fixed

    def light(self, index: int) -> np.ndarray:
        """
        Render what one frame would be without fields, noise and bias.

        Parameters
        ----------
        index : int
            Number of the frame.

        Returns
        -------
        ndarray of float32
            Electrons per pixel, sky included.
        """
        return self.scene.render(
            tuple(self.offsets[index]),
            background=float(self.drift.level[index]),
            transparency=float(self.drift.transparency[index]),
        )

    def frame(self, index: int) -> CCDData:
        """
        Make one raw frame.

        Parameters
        ----------
        index : int
            Number of the frame.

        Returns
        -------
        `~astropy.nddata.CCDData`
            uint16 ADU with header and WCS.
        """
        index = range(len(self))[index]
        ccd = expose(
            self.light(index),
            camera=self.camera,
            flat=self.flat,
            gradient=self.gradient(index),
            exposure=self.exposure,
            pattern=self.pattern,
            cosmic_rays=self.cosmic_rays,
            rng=np.random.default_rng(int(self.seeds[index])),
        )
        ccd.header['OBJECT'] = (self.scene.kind, 'simulated scene')
        ccd.header['FILTER'] = (self.filter_name, 'filter')
        ccd.header['DATE-OBS'] = (self.times[index].isot, 'start of exposure (UTC)')
        ccd.wcs = self._frame_wcs(index)
        return ccd

    def write(self, folder: str | os.PathLike, *, overwrite: bool = False) -> Path:
        """
        Write the raw frames and the truth beside them.

        Parameters
        ----------
        folder : str or path-like
            Folder, made if need be.
        overwrite : bool, optional
            Replace existing files.

        Returns
        -------
        `pathlib.Path`
            The folder: ``light_0001.fits`` and so on; in ``truth/`` the files
            ``flat.fits``, ``gradient_0001.fits`` and so on (electrons),
            ``dust_mask.fits``, ``frames.ecsv`` (offsets, sky, transparency),
            ``sources.ecsv`` and, for drawn fields, ``fields.ecsv``.
        """
        from astroflat.degradation._truth_files import write_night

        return write_night(self, folder, overwrite=overwrite)

    def table(self) -> QTable:
        """
        Tabulate the frames.

        Returns
        -------
        `~astropy.table.QTable`
            ``time``, ``dy``, ``dx``, ``sky``, ``transparency``.
        """
        table = QTable()
        table['time'] = self.times
        table['dy'] = self.offsets[:, 0] * u.pix
        table['dx'] = self.offsets[:, 1] * u.pix
        table['sky'] = self.drift.level * u.electron
        table['transparency'] = self.drift.transparency
        return table

    def _frame_wcs(self, index: int) -> WCS:
        """Coordinates of one frame: the reference pixel moves with the sky."""
        wcs = self.wcs.deepcopy()
        dy, dx = self.offsets[index]
        wcs.wcs.crpix = self.wcs.wcs.crpix + np.array([dx, dy])
        return wcs
