# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Cards are put into ONNX files here, the only place that writes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroflat._exceptions import ModelError
from astroflat._files import atomic_path

if TYPE_CHECKING:
    import os

    from astroflat.neural.cards import ModelCard

__all__ = ['KEY', 'embed_card']

# The name of the card in the metadata of the file.
KEY = 'astroflat'


def embed_card(
    path: str | os.PathLike,
    card: ModelCard,
    *,
    output: str | os.PathLike | None = None,
    overwrite: bool = False,
) -> Path:
    """
    Write a card into an ONNX file.

    Parameters
    ----------
    path : str or path-like
        The ONNX file. Weights in files beside it are taken in.

    card : `ModelCard`
        The card; it replaces one that is there.

    output : str or path-like, optional
        The file to write. By default, ``path`` itself is replaced.

    overwrite : bool, optional
        Whether an existing ``output`` may be replaced.

    Returns
    -------
    output : `pathlib.Path`
        The file that was written, under a temporary name first.

    Raises
    ------
    ImportError
        If the package ``onnx`` (extra ``train``) is not installed.

    ModelError
        If ``path`` is not an ONNX file.

    FileExistsError
        If ``output`` exists and ``overwrite`` is `False`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from onnx import TensorProto, helper, save  # doctest: +SKIP
    >>> from astroflat.neural import ModelCard, embed_card, read_card
    >>> axes = ['batch', 1, 'rows', 'columns']
    >>> x, y = (
    ...     helper.make_tensor_value_info(n, TensorProto.FLOAT, axes) for n in 'xy'
    ... )  # doctest: +SKIP
    >>> node = helper.make_node('Identity', ['x'], ['y'])  # doctest: +SKIP
    >>> graph = helper.make_graph([node], 'same', [x], [y])  # doctest: +SKIP
    >>> path = Path(tempfile.mkdtemp()) / 'same.onnx'
    >>> save(helper.make_model(graph), path)  # doctest: +SKIP
    >>> path = embed_card(path, ModelCard('same', 'none'))  # doctest: +SKIP
    >>> read_card(path).task  # doctest: +SKIP
    'none'
    """
    onnx = _import_onnx()
    path = Path(path)
    in_place = output is None or Path(output) == path
    text = card.to_json()
    try:
        proto = onnx.load(path)
    except FileNotFoundError:
        raise
    except Exception as error:
        msg = f'{path.name}: not an ONNX file, or truncated ({error})'
        raise ModelError(msg) from error
    metadata = {item.key: item.value for item in proto.metadata_props}
    onnx.helper.set_model_props(proto, metadata | {KEY: text})
    output = path if in_place else Path(output)
    with atomic_path(output, overwrite=overwrite or in_place) as temporary:
        onnx.save(proto, temporary)
    return output


def _import_onnx() -> Any:
    """Import the package that writes ONNX files."""
    try:
        import onnx
    except ImportError as error:
        msg = "writing ONNX files needs onnx: pip install 'astroflat[train]'"
        raise ImportError(msg) from error
    return onnx
