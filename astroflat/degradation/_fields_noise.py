# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Response and readout patterns as models of astropy."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.modeling import Parameter

from astroflat.degradation import _profiles_noise as noise
from astroflat.degradation._fields_base import PixelModel

__all__ = ['BiasResidual2D', 'LineResponse2D', 'ResponseNoise2D']


class ResponseNoise2D(PixelModel):
    """
    Response of pixels that differs at random, white or in smooth blobs.

    Parameters
    ----------
    amplitude : float
        Standard deviation of the response.
    scale : float
        Spacing of the blobs in pixels; below 1 every pixel is independent.
    seed : float
        Number of the pattern, a whole number below 2**31. Never fitted.

    See Also
    --------
    astroflat.degradation.profiles.white_noise : Independent pixels.
    astroflat.degradation.profiles.lattice_noise : Smooth blobs.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation.fields import ResponseNoise2D
    >>> y, x = np.mgrid[:200, :200]
    >>> response = ResponseNoise2D(amplitude=0.01, scale=0, seed=3)(x, y)
    >>> bool(abs(response.std() - 0.01) < 2e-4)
    True
    """

    amplitude = Parameter(default=0.01)
    scale = Parameter(default=0.0, fixed=True)
    seed = Parameter(default=0, fixed=True)

    @staticmethod
    def evaluate(x: Any, y: Any, amplitude: Any, scale: Any, seed: Any) -> Any:
        """Return the response at pixel coordinates."""
        scale, seed = np.asarray(scale).item(), int(np.asarray(seed).item())
        if scale < 1.0:
            return 1.0 + amplitude * noise.white_noise(x, y, seed=seed)
        return 1.0 + amplitude * noise.lattice_noise(x, y, scale=scale, seed=seed)


class LineResponse2D(PixelModel):
    """
    Response that differs from row to row or from column to column.

    Parameters
    ----------
    amplitude : float
        Standard deviation of the response.
    seed : float
        Number of the pattern, a whole number below 2**31. Never fitted.
    axis : float
        0 for rows, 1 for columns.

    See Also
    --------
    astroflat.degradation.profiles.line_noise : The formula.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation.fields import LineResponse2D
    >>> y, x = np.mgrid[:4, :6]
    >>> columns = LineResponse2D(amplitude=0.01, seed=3, axis=1)(x, y)
    >>> bool((columns == columns[0]).all())
    True
    """

    amplitude = Parameter(default=0.005)
    seed = Parameter(default=0, fixed=True)
    axis = Parameter(default=0, fixed=True)

    @staticmethod
    def evaluate(x: Any, y: Any, amplitude: Any, seed: Any, axis: Any) -> Any:
        """Return the response at pixel coordinates."""
        seed, axis = int(np.asarray(seed).item()), int(np.asarray(axis).item())
        return 1.0 + amplitude * noise.line_noise(x, y, seed=seed, axis=axis)


class BiasResidual2D(PixelModel):
    """
    What is left of the bias: column offsets and a ramp from the first row.

    Parameters
    ----------
    columns : float
        Standard deviation of the column offsets.
    ramp : float
        Excess in the first row that is read.
    decay : float
        Rows over which the ramp falls to 1/e.
    seed : float
        Number of the pattern, a whole number below 2**31. Never fitted.

    See Also
    --------
    astroflat.degradation.profiles.line_noise : The column offsets.

    Examples
    --------
    >>> from astroflat.degradation.fields import BiasResidual2D
    >>> float(BiasResidual2D(columns=0, ramp=4, decay=50)(3, 0))
    4.0
    """

    columns = Parameter(default=0.0)
    ramp = Parameter(default=0.0)
    decay = Parameter(default=100.0, bounds=(1e-3, None))
    seed = Parameter(default=0, fixed=True)

    @staticmethod
    def evaluate(x: Any, y: Any, columns: Any, ramp: Any, decay: Any, seed: Any) -> Any:
        """Return the added signal at pixel coordinates."""
        seed = int(np.asarray(seed).item())
        offsets = columns * noise.line_noise(x, y, seed=seed, axis=1)
        return offsets + ramp * np.exp(-y / decay)
