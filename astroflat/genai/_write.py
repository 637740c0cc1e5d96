# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What an adviser returned, as files that can be looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroflat._files import atomic_path

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

__all__ = ['write_advice']

_MAGIC = {b'\x89PNG': '.png', b'\xff\xd8\xff': '.jpg', b'RIFF': '.webp'}


def write_advice(
    stages: Iterable[dict[str, Any]],
    folder: str | os.PathLike,
    *,
    name: str = 'answer',
) -> list[Path]:
    """
    Write every text and every image that came back.

    Parameters
    ----------
    stages : iterable of dict
        The ``stages`` of a `GeminiDetector` or `GeminiInpainter`.

    folder : path-like
        Where; it is made if needed. Files of the same names are replaced.

    name : str, optional
        The start of the names of the files.

    Returns
    -------
    paths : list of `pathlib.Path`
        ``NAME_1.json`` with provenance, numbers and text, and
        ``NAME_1_image_1.png``. No name is taken from an answer, and the
        suffix follows from the content.

    Examples
    --------
    >>> import tempfile
    >>> from astroflat.genai import write_advice
    >>> stage = {'text': 'no dust', 'images': [], 'provenance': {'seed': 0}}
    >>> [path.name for path in write_advice([stage], tempfile.mkdtemp())]
    ['answer_1.json']
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, bytes] = {}
    for number, stage in enumerate(stages, start=1):
        kept = {
            key: stage[key] for key in ('provenance', 'numbers', 'text') if key in stage
        }
        if 'error' in stage:
            kept['error'] = f'{type(stage["error"]).__name__}: {stage["error"]}'
        files[f'{name}_{number}.json'] = json.dumps(kept, indent=2).encode()
        for i, image in enumerate(stage.get('images', ()), start=1):
            suffix = next((s for m, s in _MAGIC.items() if image.startswith(m)), '.bin')
            files[f'{name}_{number}_image_{i}{suffix}'] = image
    for path, content in files.items():
        with atomic_path(folder / path, overwrite=True) as temporary:
            temporary.write_bytes(content)
    return [folder / path for path in files]
