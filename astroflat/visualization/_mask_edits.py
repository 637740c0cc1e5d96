# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A mask of dust that a person paints on, with undo."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from astroflat.dust import DustDetection

__all__ = ['MaskEdits', 'merge_detection']

_MAX_UNDO = 50


class MaskEdits:
    """
    What was painted and erased on top of a detected mask.

    The edits are kept apart from the mask below: they stay when the dust is
    searched again with other settings.

    Parameters
    ----------
    detected : `~numpy.ndarray` of bool
        The mask below, ``(ny, nx)``; it is not modified.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.visualization._mask_edits import MaskEdits
    >>> edits = MaskEdits(np.zeros((9, 9), bool))
    >>> edits.begin()
    >>> edits.stroke((4, 4), (4, 4), radius=1)
    >>> int(edits.mask.sum()), edits.undo(), int(edits.mask.sum())
    (5, True, 0)
    """

    def __init__(self, detected: np.ndarray) -> None:
        self.detected = detected
        # 1 where painted, -1 where erased, 0 where the detection counts.
        self._edits = np.zeros(detected.shape, np.int8)
        self._past: list[bytes] = []

    @property
    def mask(self) -> np.ndarray:
        """The mask with the edits."""
        return (self.detected | (self._edits > 0)) & (self._edits >= 0)

    @property
    def n_painted(self) -> int:
        """The number of pixels that only the person marked."""
        return int(np.count_nonzero((self._edits > 0) & ~self.detected))

    @property
    def n_erased(self) -> int:
        """The number of detected pixels that the person took away."""
        return int(np.count_nonzero((self._edits < 0) & self.detected))

    @property
    def key(self) -> bytes:
        """The edits in a form that can be compared and kept."""
        return zlib.compress(self._edits.tobytes(), 1)

    def keep(self, older: MaskEdits) -> None:
        """
        Take over what was done on another mask of the same shape.

        Parameters
        ----------
        older : MaskEdits
            The other; it is not modified.
        """
        self._edits, self._past = older._edits.copy(), list(older._past)

    def replace(self, mask: np.ndarray) -> None:
        """
        Make the edits those that lead to a mask.

        Parameters
        ----------
        mask : `~numpy.ndarray` of bool
            What `mask` is to be.
        """
        self.begin()
        self._edits = mask.astype(np.int8) - self.detected.astype(np.int8)

    def begin(self) -> None:
        """Start a stroke: one call of `undo` takes all of it back."""
        self._past = [*self._past, self.key][-_MAX_UNDO:]

    def undo(self) -> bool:
        """
        Take the last stroke back.

        Returns
        -------
        undone : bool
            Whether there was one.
        """
        if not self._past:
            return False
        flat = np.frombuffer(zlib.decompress(self._past.pop()), np.int8)
        self._edits = flat.reshape(self._edits.shape).copy()
        return True

    def stroke(
        self,
        start: tuple[float, float],
        stop: tuple[float, float],
        *,
        radius: float,
        erase: bool = False,
    ) -> None:
        """
        Mark all pixels within a distance of a line.

        Parameters
        ----------
        start, stop : tuple of float
            The ends of the line as ``(x, y)`` in pixels.

        radius : float
            The distance.

        erase : bool, optional
            Erase instead of paint.
        """
        (x0, y0), (x1, y1) = start, stop
        ny, nx = self._edits.shape
        left = max(0, int(np.ceil(min(x0, x1) - radius)))
        low = max(0, int(np.ceil(min(y0, y1) - radius)))
        right = min(nx, int(np.floor(max(x0, x1) + radius)) + 1)
        high = min(ny, int(np.floor(max(y0, y1) + radius)) + 1)
        if left >= right or low >= high:
            return
        y, x = np.ogrid[low:high, left:right]
        dx, dy = x1 - x0, y1 - y0
        along = ((x - x0) * dx + (y - y0) * dy) / (dx**2 + dy**2 or 1)
        along = np.clip(along, 0, 1)
        near = (x - x0 - along * dx) ** 2 + (y - y0 - along * dy) ** 2 <= radius**2
        self._edits[low:high, left:right][near] = -1 if erase else 1

    def remove(self, x: float, y: float) -> int:
        """
        Erase the whole object at a place.

        Parameters
        ----------
        x, y : float
            The place in pixels.

        Returns
        -------
        n_pixels : int
            How many pixels it had; 0 if there is none.
        """
        from scipy import ndimage

        mask = self.mask
        row, column = round(y), round(x)
        if not (0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]):
            return 0
        if not mask[row, column]:
            return 0
        labels = ndimage.label(mask, np.ones((3, 3)))[0]
        chosen = labels == labels[row, column]
        self.begin()
        self._edits[chosen] = -1
        return int(chosen.sum())


def merge_detection(
    detection: DustDetection, mask: np.ndarray, image: np.ndarray
) -> DustDetection:
    """
    Return a detection with an edited mask.

    Parameters
    ----------
    detection : DustDetection
        What was found.

    mask : `~numpy.ndarray` of bool
        The mask as edited.

    image : `~numpy.ndarray`
        The image, for the depths of what is new.

    Returns
    -------
    detection : DustDetection
        Objects that nobody touched keep their row; what was changed or added
        is measured on the image, with probability 1.
    """
    from astropy.table import vstack

    from astroflat.dust import DustDetection

    if detection.labels is None or not len(detection.catalogue):
        new = DustDetection.from_mask(mask, image)
        return replace(detection, **vars(new))
    labels = np.where(detection.mask, detection.labels, 0)
    # What was painted next to an object is part of it: it has changed.
    changed = _near(mask ^ detection.mask)
    kept = np.setdiff1d(np.unique(labels), [0, *np.unique(labels[changed])])
    old = np.isin(labels, kept)
    new = DustDetection.from_mask(mask & ~old, image)
    table = detection.catalogue[np.isin(detection.catalogue['id'], kept)]
    first = int(detection.catalogue['id'].max()) + 1
    added = new.catalogue.copy()
    added['id'] = np.arange(first, first + len(added))
    numbers = np.where(new.labels > 0, new.labels + first - 1, 0)
    probability = np.where(mask & ~old, 1, np.where(mask, detection.probability, 0))
    # All else stays: an adviser that found the dust is not forgotten.
    return replace(
        detection,
        mask=mask,
        probability=probability.astype(np.float32),
        catalogue=vstack([table, added], metadata_conflicts='silent')
        if len(added)
        else table,
        labels=np.where(old, labels, numbers).astype(np.int32),
    )


def _near(mask: np.ndarray) -> np.ndarray:
    """Grow a mask by one pixel."""
    from scipy import ndimage

    return ndimage.binary_dilation(mask, np.ones((3, 3)))
