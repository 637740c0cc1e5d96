# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What every estimator returns, and the one way to apply it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units as u

from astroflat._nddata import unpack
from astroflat._provenance import record
from astroflat._report import QualityReport
from astroflat.degradation.model import DegradationModel

if TYPE_CHECKING:
    import os

    from astropy.nddata import CCDData

__all__ = ['FlatSolution']


@dataclass(frozen=True)
class FlatSolution:
    """
    An estimate of the fields, with how sure it is.

    Every estimator returns one, and `correct` applies it.

    Parameters
    ----------
    flat : `~astropy.nddata.CCDData`
        The flat field, dimensionless, float32, finite everywhere, 1 under
        its mask, with its uncertainty where known.

    gradient : `~astropy.nddata.CCDData` or None, optional
        The additive gradient in the unit of the data.

    confidence : `~numpy.ndarray` or None, optional
        From 0 to 1 per pixel.

    coverage : `~numpy.ndarray` or None, optional
        The number of samples behind each pixel.

    report : QualityReport or None, optional
        Numbers and verdict.

    stages : dict, optional
        Intermediate results by name.

    method : str, optional
        How the fields were found.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> import astroflat as af
    >>> flat = CCDData(np.array([[1.0, 0.5]], dtype='f4'), unit='')
    >>> solution = af.FlatSolution(flat, method='known')
    >>> solution.correct(np.array([[10.0, 5.0]]))
    array([[10., 10.]])
    >>> solution.changed_fraction
    0.5
    """

    flat: CCDData
    gradient: CCDData | None = None
    confidence: np.ndarray | None = None
    coverage: np.ndarray | None = None
    report: QualityReport | None = None
    stages: dict[str, Any] = field(default_factory=dict)
    method: str = ''

    @classmethod
    def from_image(cls, image: Any, *, method: str = 'image') -> FlatSolution:
        """
        Make a full flat of an image of an even source.

        Parameters
        ----------
        image : CCDData, array_like or path
            A twilight flat, a light box or a median of the night's frames,
            free of bias and dark current, of shape ``(ny, nx)``.

        method : str, optional
            How the image was made.

        Returns
        -------
        solution : FlatSolution
            The image divided by its mean over the good pixels: float32,
            finite everywhere, 1 under the mask.

        Raises
        ------
        ValueError
            If the mean is not positive.
        """
        frame = unpack(image, name='image', ndim=(2, 3))
        bad = frame.bad
        level = np.mean(frame.data[~bad], dtype=float) if not bad.all() else np.nan
        if not level > 0:
            msg = f'the mean of image is {level}; a flat needs a positive level'
            raise ValueError(msg)
        scale = {None: 1, 'std': 1 / level, 'var': level**-2, 'ivar': level**2}
        factor = scale[frame.uncertainty_type]
        unc = None
        if frame.uncertainty is not None:
            unc = (frame.uncertainty * factor).astype(np.float32)
        record(frame.meta, method, history='divided by its mean')
        flat = frame.ccd(
            np.where(bad, 1, frame.data / level).astype(np.float32),
            mask=bad if bad.any() else None,
            uncertainty=unc,
            unit=u.dimensionless_unscaled,
            meta=frame.meta,
        )
        return cls(flat, method=method)

    @property
    def model(self) -> DegradationModel:
        """The fields as a `DegradationModel`."""
        return DegradationModel(self.flat, self.gradient)

    @property
    def changed(self) -> np.ndarray:
        """True where `correct` changes or masks a pixel."""
        changed = self.flat.data != 1
        if self.flat.mask is not None:
            changed = changed | self.flat.mask
        if self.gradient is not None:
            changed = changed | (self.gradient.data != 0)
        return changed

    @property
    def changed_fraction(self) -> float:
        """The fraction of the pixels that `correct` changes or masks."""
        return float(np.mean(self.changed))

    def correct(
        self,
        data: Any,
        *,
        min_value: float = 0.05,
        add_keyword: Any = True,
        n_threads: int | None = None,
    ) -> Any:
        """
        Remove the fields from an image.

        Parameters
        ----------
        data : CCDData, NDData, Quantity, masked array, array_like or path
            The observed image, ``(ny, nx)`` or ``(ny, nx, 3)``.

        min_value : float, optional
            Where the flat is below this, the pixel is masked, not divided.

        add_keyword : bool, str, `ccdproc.Keyword` or dict, optional
            What to write to the metadata, as in ccdproc.

        n_threads : int, optional
            The number of threads; all processors by default.

        Returns
        -------
        corrected : same kind as ``data``
            ``(data - gradient) / flat``; see `DegradationModel.correct`.
        """
        return self.model.correct(
            data, min_value=min_value, add_keyword=add_keyword, n_threads=n_threads
        )

    def write(
        self, path: str | os.PathLike, *, overwrite: bool = False, **options: Any
    ) -> Any:
        """
        Write the flat; the suffix chooses the format.

        Parameters
        ----------
        path : str or path-like
            The file: ``.fits``, ``.tif`` or ``.xisf``.

        overwrite : bool, optional
            Whether an existing file may be replaced.

        **options
            As in `astroflat.write_flat`.

        Returns
        -------
        report : `astroflat.io.WriteReport`
            What was written.
        """
        from astroflat.io import write_flat

        return write_flat(self, path, overwrite=overwrite, **options)

    def __repr__(self) -> str:
        verdict = 'no report' if self.report is None else self.report.verdict
        shape = self.flat.shape
        return (
            f'<FlatSolution {self.method or "unnamed"} {shape[1]}x{shape[0]}, '
            f'{verdict}, {100 * self.changed_fraction:.3g} % of the pixels changed>'
        )
