# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Checkpoints of a training run: tensors in safetensors, the rest in JSON."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ['load_checkpoint', 'load_weights', 'save_checkpoint', 'save_weights']

_TENSORS = 'checkpoint-{step}.safetensors'
_STATE = 'checkpoint.json'


def save_weights(
    model: torch.nn.Module, path: Path | str, *, metadata: dict | None = None
) -> Path:
    """
    Write the weights of a network, to a temporary name first.

    Parameters
    ----------
    model : `torch.nn.Module`
        Network.
    path : path-like
        File to write, ``.safetensors``.
    metadata : dict, optional
        What else to say, one JSON string in the file.

    Returns
    -------
    Path
        The file.
    """
    path = Path(path)
    tensors = {name: value.detach() for name, value in model.state_dict().items()}
    _write_tensors(tensors, path, {'astroflat': json.dumps(metadata or {})})
    return path


def load_weights(model: torch.nn.Module, path: Path | str) -> dict:
    """
    Read the weights of a network.

    Parameters
    ----------
    model : `torch.nn.Module`
        Network to fill. Names and shapes must be those of the file.
    path : path-like
        File written by `save_weights`.

    Returns
    -------
    dict
        The metadata in the file.
    """
    from safetensors import safe_open

    with safe_open(str(path), framework='pt', device='cpu') as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    model.load_state_dict(tensors, strict=True)
    return json.loads(metadata.get('astroflat', '{}'))


def save_checkpoint(
    folder: Path,
    *,
    models: dict[str, torch.nn.Module],
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    generators: dict[str, torch.Generator],
) -> None:
    """
    Write all that a run needs to go on as if it had not stopped.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    models : dict
        Networks by name; the first is the one that the optimiser trains.
    optimizer : `torch.optim.Optimizer`
        Optimiser.
    state : dict
        Numbers and settings that fit into JSON, with the ``'step'``.
    generators : dict
        Further generators of random numbers by name.

    Notes
    -----
    The tensors are written under the number of their step, then the JSON file
    that names them is replaced in one move: a run that is killed at any time
    leaves a checkpoint whose parts belong together.
    """
    import torch

    tensors = {
        f'{name}/{key}': value.detach()
        for name, model in models.items()
        for key, value in model.state_dict().items()
    }
    trained = next(iter(models.values()))
    names = {id(p): name for name, p in trained.named_parameters()}
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            tensors[f'optimizer/{names[id(parameter)]}/{key}'] = torch.as_tensor(value)
    file = _TENSORS.format(step=state['step'])
    _write_tensors(tensors, folder / file, {})
    _write_json({**state, 'tensors': file, 'random': _states(generators)}, folder)
    for old in folder.glob(_TENSORS.format(step='*')):
        if old.name != file:
            old.unlink()


def load_checkpoint(
    folder: Path,
    *,
    models: dict[str, torch.nn.Module],
    optimizer: torch.optim.Optimizer,
    generators: dict[str, torch.Generator],
) -> dict[str, Any] | None:
    """
    Read what `save_checkpoint` wrote, if there is anything.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    models : dict
        Networks by name, filled.
    optimizer : `torch.optim.Optimizer`
        Optimiser, filled.
    generators : dict
        Generators of random numbers, set.

    Returns
    -------
    dict or None
        The state that was saved; None if the folder has no checkpoint.
    """
    from safetensors.torch import load_file

    path = folder / _STATE
    if not path.exists():
        return None
    state = json.loads(path.read_text(encoding='utf-8'))
    tensors = load_file(folder / state['tensors'])
    for name, model in models.items():
        start = f'{name}/'
        part = {
            k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)
        }
        model.load_state_dict(part, strict=True)
    _fill_optimizer(optimizer, next(iter(models.values())), tensors)
    _restore(state.pop('random'), generators)
    return state


def _fill_optimizer(
    optimizer: torch.optim.Optimizer,
    model: torch.nn.Module,
    tensors: dict[str, torch.Tensor],
) -> None:
    """Put the moments of the parameters back."""
    for name, parameter in model.named_parameters():
        start = f'optimizer/{name}/'
        for key, value in tensors.items():
            if key.startswith(start):
                field = key.removeprefix(start)
                # The count of the steps stays on the CPU, as torch keeps it.
                place = 'cpu' if field == 'step' else parameter.device
                value = value.clone(memory_format=_format(parameter, field))
                optimizer.state[parameter][field] = value.to(place)


def _format(parameter: torch.Tensor, field: str) -> torch.memory_format:
    """Keep the layout in memory of a parameter for its moments."""
    import torch

    if field != 'step' and parameter.ndim == 4 and not parameter.is_contiguous():
        return torch.channels_last
    return torch.contiguous_format


def _states(generators: dict[str, torch.Generator]) -> dict[str, str]:
    """Return the states of all generators of torch as text."""
    import torch

    states = {'cpu': torch.get_rng_state()}
    if torch.cuda.is_available():
        states['cuda'] = torch.cuda.get_rng_state()
    states.update({f'own/{k}': g.get_state() for k, g in generators.items()})
    return {
        name: base64.b64encode(state.cpu().numpy().tobytes()).decode('ascii')
        for name, state in states.items()
    }


def _restore(states: dict[str, str], generators: dict[str, torch.Generator]) -> None:
    """Set the generators of torch to what `_states` returned."""
    import torch

    for name, text in states.items():
        data = bytearray(base64.b64decode(text))
        state = torch.frombuffer(data, dtype=torch.uint8)
        if name == 'cpu':
            torch.set_rng_state(state)
        elif name == 'cuda' and torch.cuda.is_available():
            torch.cuda.set_rng_state(state)
        elif name.removeprefix('own/') in generators:
            generators[name.removeprefix('own/')].set_state(state)


def _write_tensors(
    tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]
) -> None:
    """Write tensors to a temporary name, then rename."""
    from safetensors.torch import save_file

    # Copies: tensors that share memory are refused.
    tensors = {
        name: value.cpu().contiguous().clone() for name, value in tensors.items()
    }
    temporary = path.with_suffix('.part')
    save_file(tensors, temporary, metadata=metadata)
    os.replace(temporary, path)  # noqa: PTH105


def _write_json(state: dict[str, Any], folder: Path) -> None:
    """Write the state to a temporary name, then rename."""
    temporary = folder / f'{_STATE}.part'
    temporary.write_text(json.dumps(state, indent=1) + '\n', encoding='utf-8')
    os.replace(temporary, folder / _STATE)  # noqa: PTH105
