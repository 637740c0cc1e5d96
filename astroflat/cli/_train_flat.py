# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""``astroflat train flat``: train the networks that find F and G in one frame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

__all__ = ['add_arguments', 'run']

# What neither the command line nor a recipe says.
_DEFAULTS = {
    'seconds': None,
    'steps': 1_000_000,
    'batch': 64,
    'rate': 1e-3,
    'accumulate': 1,
    'seed': 1,
    'pool_seed': None,
    'device': 'auto',
    'workers': None,
    'first': 1000,
    'pool': 20_000,
    'size': 256,
    'images': None,
    'share': 0.3,
    'nebulae': None,
    'day': None,
    'parts': 'both',
    'curriculum': 0.0,
    'validation': 256,
    'start': None,
    'bf16': None,
    'compile': False,
    'architecture': 'shipped',
    'width': 32,
    'depth': 4,
    'perceptual': 0.0,
}
_DATA = (
    'batch',
    'size',
    'first',
    'pool',
    'workers',
    'images',
    'share',
    'nebulae',
    'parts',
    'curriculum',
    'validation',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Add the arguments of the command.

    Parameters
    ----------
    parser : `argparse.ArgumentParser`
        The parser of the command.
    """
    parser.add_argument(
        '-o', '--folder', required=True, help='folder of the run, made if need be'
    )
    parser.add_argument(
        '--recipe',
        metavar='NAME',
        help='settings to begin with: flat (the shipped weights) or a JSON file',
    )
    parser.add_argument(
        '--resume', action='store_true', help='go on with the run in the folder'
    )
    parser.add_argument(
        '-q', '--quiet', action='store_true', help='print nothing on the way'
    )
    _add_network(parser.add_argument_group('network'))
    _add_run(parser.add_argument_group('run'))
    _add_data(parser.add_argument_group('frames'))


def _add_network(group: Any) -> None:
    """Add which network to train."""
    group.add_argument(
        '--architecture',
        choices=('shipped', 'attention'),
        help='the two that come with astroflat, or the attention U-Net that sees '
        'every pixel',
    )
    group.add_argument(
        '--parts',
        choices=('both', 'fields', 'dust'),
        help='which of the two networks to train; default both',
    )
    group.add_argument('--width', type=int, help='channels of the U-Net; default 32')
    group.add_argument('--depth', type=int, help='grids of the U-Net; default 4')
    group.add_argument(
        '--perceptual',
        type=float,
        metavar='WEIGHT',
        help='weight of LPIPS for the U-Net (torchmetrics); default 0',
    )


def _add_run(group: Any) -> None:
    """Add how to train."""
    group.add_argument('--seconds', type=float, help='time of the training')
    group.add_argument('--steps', type=int, help='most steps of the optimiser')
    group.add_argument('--batch', type=int, help='frames in a batch; default 64')
    group.add_argument('--accumulate', type=int, help='batches for each step')
    group.add_argument('--rate', type=float, help='highest learning rate')
    group.add_argument('--seed', type=int, help='start of the random numbers')
    group.add_argument(
        '--device', choices=('auto', 'cpu', 'cuda'), help='default: cuda if there'
    )
    group.add_argument(
        '--start',
        metavar='WEIGHTS',
        help='begin with a .safetensors file, a folder with both ONNX files, or '
        "'shipped'",
    )
    group.add_argument(
        '--bf16',
        action='store_true',
        default=None,
        help='compute in bfloat16; default on CUDA',
    )
    group.add_argument(
        '--float32', dest='bf16', action='store_false', help='compute in float32'
    )
    group.add_argument(
        '--compile', action='store_true', default=None, help='compile the networks'
    )


def _add_data(group: Any) -> None:
    """Add what to train on."""
    group.add_argument(
        '--workers', type=int, help='processes that simulate; 0: a fixed pool'
    )
    group.add_argument('--first', type=int, help='skies to wait for; default 1000')
    group.add_argument('--pool', type=int, help='skies to keep; default 20000')
    group.add_argument(
        '--pool-seed', type=int, help='seed of the skies; default that of the run'
    )
    group.add_argument('--size', type=int, help='side of the frames; default 256')
    group.add_argument(
        '--images',
        metavar='FOLDER',
        help='own images as skies (FITS, TIFF, PNG, JPEG): linear and flat',
    )
    group.add_argument(
        '--share', type=float, help='part of the skies out of them; default 0.3'
    )
    group.add_argument(
        '--nebulae',
        type=float,
        metavar='PART',
        help='part of the simulated night skies that nebulae fill; default 3/7',
    )
    group.add_argument(
        '--day',
        type=float,
        metavar='PART',
        help='part of the frames that show the Sun or the Moon; default 0.35',
    )
    group.add_argument(
        '--curriculum',
        type=float,
        metavar='PART',
        help='part of the run in which the strength of the fields rises; default 0',
    )
    group.add_argument(
        '--validation', type=int, help='frames of the validation; default 256'
    )


def run(args: argparse.Namespace) -> int:
    """
    Run the command.

    Parameters
    ----------
    args : `argparse.Namespace`
        The arguments.

    Returns
    -------
    status : int
        0.

    Raises
    ------
    ValueError
        If there is a run in the folder and it is not to be resumed.
    """
    if (Path(args.folder) / 'checkpoint.json').exists() and not args.resume:
        msg = f'there is a run in {args.folder!r}: add --resume, or take another folder'
        raise ValueError(msg)
    options = _options(args)
    train, name = _training(options)
    result = train(
        args.folder,
        _settings(options),
        data=_data(options),
        start=options['start'],
        resume=args.resume,
        say=_silent if args.quiet else _say,
    )
    seconds = result.seconds
    print(f'{result.steps} steps, {result.images} images, {seconds:.0f} s')
    print(f'weights: {Path(args.folder) / name}')
    return 0


def _data(options: dict[str, Any]) -> Any:
    """Return what to train on."""
    from astroflat.training.flat import FlatData
    from astroflat.training.flat_frames import FrameOptions

    frames = None if options['day'] is None else FrameOptions(day=options['day'])
    same = {name: options[name] for name in _DATA}
    return FlatData(seed=options['pool_seed'], options=frames, **same)


def _training(options: dict[str, Any]) -> tuple[Any, str]:
    """Return what trains the network, and the name of its weights."""
    if options['architecture'] == 'shipped':
        from astroflat.training.flat import train_flat

        return train_flat, 'flat.safetensors'
    if options['parts'] != 'both':
        msg = f'--parts must be both for the attention U-Net, not {options["parts"]!r}'
        raise ValueError(msg)
    import functools

    from astroflat.training.attention_unet import AttentionResUNetFG
    from astroflat.training.full_flat import train_full
    from astroflat.training.full_losses import FullWeights

    model = AttentionResUNetFG(width=options['width'], depth=options['depth'])
    weights = FullWeights(perceptual=options['perceptual'])
    train = functools.partial(train_full, model=model, weights=weights)
    return train, 'flat-full.safetensors'


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """Join the defaults, the recipe, and what was given."""
    from astroflat.training.recipes import load_recipe

    recipe: dict[str, Any] = {}
    if args.recipe:
        content = load_recipe(args.recipe)
        recipe = content.get('options', {})
        unknown = sorted(set(recipe) - set(_DEFAULTS))
        if unknown or content.get('network') != 'flat':
            msg = f'recipe {args.recipe!r} is not for this network (unknown: {unknown})'
            raise ValueError(msg)
    given = {k: v for k in _DEFAULTS if (v := getattr(args, k)) is not None}
    options = _DEFAULTS | recipe | given
    options['device'] = _device(options['device'])
    if options['pool_seed'] is None:
        options['pool_seed'] = options['seed']
    if options['bf16'] is None:
        options['bf16'] = options['device'] == 'cuda'
    if options['seconds'] is None and options['steps'] == _DEFAULTS['steps']:
        msg = 'say how long to train: --seconds, --steps or --recipe'
        raise ValueError(msg)
    return options


def _device(name: str) -> str:
    """Return where to train."""
    import torch

    usable = torch.cuda.is_available()
    if name == 'auto':
        return 'cuda' if usable else 'cpu'
    if name == 'cuda' and not usable:
        msg = 'device: PyTorch finds no GPU; use cpu, or a build of PyTorch for CUDA'
        raise ValueError(msg)
    return name


def _settings(options: dict[str, Any]) -> Any:
    """Return the settings of the loop."""
    import torch

    from astroflat.training.loop import FitSettings

    if options['device'] == 'cuda':
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    same = ('steps', 'rate', 'accumulate', 'seed', 'device', 'bf16', 'compile')
    return FitSettings(
        max_seconds=options['seconds'],
        channels_last=True,
        validate_seconds=30.0,
        save_seconds=120.0,
        **{name: options[name] for name in same},
    )


def _say(text: str) -> None:
    print(text, flush=True)


def _silent(text: str) -> None:
    """Say nothing."""
    del text
