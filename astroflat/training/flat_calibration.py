# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What the card of the networks for flats says of frames unlike the training's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from astroflat.neural._smooth import frame_features

__all__ = ['feature_limits']

# Shares of the frames of the calibration beyond which one is unusual.
_UNUSUAL = 0.995
# A frame is foreign at this many times the distance of the farthest of them.
_FOREIGN = 1.25


def feature_limits(session: Any, frames: Iterable[np.ndarray]) -> dict[str, Any]:
    """
    Measure where frames lie in the features of the network of smooth fields.

    Parameters
    ----------
    session : Session
        The network.
    frames : iterable of `~numpy.ndarray`
        Frames like those of the training, but not out of it: a hundred or
        more.

    Returns
    -------
    dict
        ``features_mean`` and ``features_spread``, and the distances beyond
        which a frame is ``unusual`` and ``foreign``.
    """
    rows = [
        frame_features(frame, ~np.isfinite(frame), session).mean(axis=0)
        for frame in frames
    ]
    features = np.stack(rows)
    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
    distances = np.sqrt(np.mean(((features - mean) / spread) ** 2, axis=1))
    return {
        'features_mean': [round(float(v), 6) for v in mean],
        'features_spread': [round(float(v), 6) for v in spread],
        'unusual': round(float(np.quantile(distances, _UNUSUAL)), 3),
        'foreign': round(float(_FOREIGN * distances.max()), 3),
    }
