# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Images that wait in a file while memory is needed for something else."""

from __future__ import annotations

from tempfile import TemporaryFile

import numpy as np

__all__ = ['Parked']


class Parked:
    """
    Images in a temporary file.

    Parameters
    ----------
    images : list of `~numpy.ndarray`
        Any shapes and types. Give up all other references to them.

    Notes
    -----
    The uncertainty needs three more solutions, each with a dozen images; what is
    finished need not be in memory beside them.
    """

    def __init__(self, images: list[np.ndarray]) -> None:
        self._kinds = [(image.shape, image.dtype) for image in images]
        # Closed, and with that removed, by `back`.
        self._file = TemporaryFile()  # noqa: SIM115
        for image in images:
            np.ascontiguousarray(image).tofile(self._file)

    def back(self) -> list[np.ndarray]:
        """
        Read the images again; the file is gone then.

        Returns
        -------
        images : list of `~numpy.ndarray`
            Bit for bit what they were.
        """
        self._file.seek(0)
        with self._file as file:
            return [
                np.fromfile(file, dtype, int(np.prod(shape))).reshape(shape)
                for shape, dtype in self._kinds
            ]
