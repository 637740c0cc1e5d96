# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What is asked: everything that leaves the machine, and nothing else."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroflat._files import atomic_path

if TYPE_CHECKING:
    import os

__all__ = ['GeminiRequest']

# Answers to requests of another form are not the same answers.
_VERSION = 1


@dataclass(frozen=True)
class GeminiRequest:
    """
    A request to the service, complete but for the key.

    Parameters
    ----------
    model : str
        The name of the model.

    prompt : str
        The text, before the images.

    images : tuple of bytes
        PNG files.

    config : dict, optional
        The parameters of the generation.

    base_url : str or None, optional
        The address of the service; `None` is that of Google.

    Notes
    -----
    The key, the names of files, headers and coordinates are not part of it:
    pixels, prompt and parameters are all that is sent.

    Examples
    --------
    >>> from astroflat.genai import GeminiRequest
    >>> request = GeminiRequest('some-model', 'What is this?', (b'PNG...',))
    >>> print(request)
    request to Gemini, not sent
      model      some-model
      service    https://generativelanguage.googleapis.com
      parameters {}
      image 1    6 bytes, sha256 590e3b196fcd...
      prompt     13 characters, sha256 0b12ba39ab4d...
    <BLANKLINE>
    What is this?
    """

    model: str
    prompt: str
    images: tuple[bytes, ...] = field(default=(), repr=False)
    config: dict[str, Any] = field(default_factory=dict)
    base_url: str | None = None

    @property
    def prompt_hash(self) -> str:
        """The SHA-256 of the prompt, 64 hexadecimal digits."""
        return _sha256(self.prompt.encode())

    @property
    def digest(self) -> str:
        """The SHA-256 of all that the answer depends on."""
        parts = {
            'version': _VERSION,
            'model': self.model,
            'prompt': self.prompt,
            'images': [_sha256(image) for image in self.images],
            'config': self.config,
            'base_url': self.base_url,
        }
        return _sha256(json.dumps(parts, sort_keys=True, default=repr).encode())

    def body(self) -> bytes:
        """
        Return the body of the HTTP request, byte by byte.

        Returns
        -------
        body : bytes
            JSON, made by the client itself, which is stopped before it opens
            a connection.

        Raises
        ------
        GeminiSetupError
            If the client is not installed.
        """
        from astroflat.genai._client import draft

        return draft(self).content

    def url(self) -> str:
        """
        Return where the request would go.

        Returns
        -------
        url : str
            The address; the key is not in it.
        """
        from astroflat.genai._client import draft

        return draft(self).url

    def write(
        self, folder: str | os.PathLike, *, overwrite: bool = False
    ) -> list[Path]:
        """
        Write all that would be sent to files that can be looked at.

        Parameters
        ----------
        folder : path-like
            Where; it is made if needed.

        overwrite : bool, optional
            Whether existing files may be replaced.

        Returns
        -------
        paths : list of `pathlib.Path`
            ``request.json``, the body; ``prompt.txt``; ``image_1.png`` ...
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        files = {'request.json': self.body(), 'prompt.txt': self.prompt.encode()}
        for number, image in enumerate(self.images, start=1):
            files[f'image_{number}.png'] = image
        for name, content in files.items():
            with atomic_path(folder / name, overwrite=overwrite) as temporary:
                temporary.write_bytes(content)
        return [folder / name for name in files]

    def __str__(self) -> str:
        service = self.base_url or 'https://generativelanguage.googleapis.com'
        lines = [
            'request to Gemini, not sent',
            f'  model      {self.model}',
            f'  service    {service}',
            f'  parameters {json.dumps(self.config, sort_keys=True, default=repr)}',
        ]
        for number, image in enumerate(self.images, start=1):
            digest = _sha256(image)[:12]
            lines.append(f'  image {number}    {len(image)} bytes, sha256 {digest}...')
        lines.append(
            f'  prompt     {len(self.prompt)} characters, '
            f'sha256 {self.prompt_hash[:12]}...'
        )
        return '\n'.join([*lines, '', self.prompt])


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
